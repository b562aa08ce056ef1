"""Which photos weights have learnt from: what they carry of each training's photos, and how many of others are among these.

A photo is the hash of its file's content (the column `content`), so labels, names, folds, order and other photos play no part. Of
each training the MOST smallest hashes are kept, a bottom-k sketch (Broder 1997, doi:10.1109/SEQUEN.1997.666900; Bar-Yossef et al.
2002, doi:10.1007/3-540-45726-7_1): all of them where there are no more, else a random sample, which holds each of the n photos
with the chance k / n. The chance that none of m photos in common is found is (1 - k/n)^m at most: exp(-20) where m / n is 0.5 %.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stages.base import paths
from stages.records import run_record
from stages.records.run_record import Record

MOST = 4096  # hashes of a training, 44 kB in its weights


@dataclass(frozen=True)
class Learnt:
    """The photos that one training learnt from."""

    table: str  # digest of its photos.csv; empty where that is not known
    photos: int = 0  # how many, the same file once
    smallest: bytes = b""  # of their hashes, rising, 8 bytes each; empty: of before weights told them

    @property
    def hashes(self) -> np.ndarray:
        """uint64 [k], rising."""
        return np.frombuffer(self.smallest, ">u8").astype(np.uint64)

    @property
    def share(self) -> float:
        """Of the photos whose hashes are kept."""
        return len(self.smallest) / 8 / max(1, self.photos)


class Known:
    """Looks photos up among those of some trainings."""

    def __init__(self, trainings: Iterable[Learnt]) -> None:
        largest_first = sorted((one for one in trainings if one.smallest), key=lambda one: -one.share)
        self.counts = all(one.share >= 1 for one in largest_first)
        hashes = np.concatenate([np.empty(0, np.uint64), *(one.hashes for one in largest_first)])
        standing_for = np.concatenate(
            [np.empty(0), *(np.full(len(one.hashes), 1 / one.share) for one in largest_first)]
        )
        # A photo of several trainings is missed only where the one of the largest share does not hold it.
        self._hashes, first = np.unique(hashes, return_index=True)
        self._standing_for = standing_for[first]

    def __bool__(self) -> bool:
        return len(self._hashes) > 0

    def standing_for(self, contents: np.ndarray) -> np.ndarray:
        """How many learnt photos each of these, uint64 [N], stands for, float [N]: 0 where it is not found.

        Their sum estimates how many of N photos were learnt, without bias (Horvitz & Thompson 1952, doi:10.2307/2280784).
        """
        if not self:
            return np.zeros(len(contents))
        place = np.minimum(np.searchsorted(self._hashes, contents), len(self._hashes) - 1)
        return np.where(self._hashes[place] == contents, self._standing_for[place], 0.0)

    def in_words(self, standing_for: float, photos: int) -> str:
        """A sum of `standing_for` over so many photos as a number of them; an estimate has two digits, and is `about` that."""
        if self.counts:
            return str(round(standing_for))
        return f"about {min(photos, round(float(f'{standing_for:.2g}')))}"


def of(contents: np.ndarray, table: str = "") -> Learnt:
    """Photos by their hashes, uint64 [N]; 0: not known."""
    rising = np.sort(contents[contents > 0])  # np.unique would take twenty times as long
    distinct = rising[np.append(True, rising[1:] != rising[:-1])[: len(rising)]]
    return Learnt(table, len(distinct), distinct[:MOST].astype(">u8").tobytes())


def of_training(record: Record, contents: np.ndarray | None, begun_with: Sequence[Learnt]) -> tuple[Learnt, ...]:
    """What its weights are to carry: the photos of this training, and what its starting weights say of those before. As weights
    that know photos of a training do not begin it, trainings in a row have no photos in common, and are few.

    contents: of the photos that it learns from, uint64 [N]; None where they are not known.
    """
    table = record.data.get("photos", "")
    own = Learnt(table) if contents is None else of(contents, table)
    return tuple(dict.fromkeys([own, *begun_with]))


def of_weights(path: Path) -> tuple[Learnt, ...]:
    """The trainings of weights written here, the last one first, as they say themselves, or in a bundle of before they did the
    file that describes it; empty for weights from elsewhere.
    """
    try:
        trained = run_record.trained_in(path)
    except (OSError, ValueError):  # their reader tells what is wrong with them
        trained = {}
    return of_trained(trained) or _of_bundle(path.resolve().parent.parent / paths.OF_BUNDLE)


def of_file(file: BinaryIO) -> tuple[Learnt, ...]:
    """The same of an open .safetensors file, by what stands in itself. Raises ValueError where it is none."""
    return of_trained(run_record.mapping(run_record.described(file).get("trained")))


def of_trained(trained: dict[str, Any]) -> tuple[Learnt, ...]:
    """The same from `trained` of their metadata."""
    told = trained.get("learnt")
    if isinstance(told, list) and told:
        return tuple(_from_json(run_record.mapping(one)) for one in told)
    return _of_table(trained.get("photos"))


def to_json(learnt: Sequence[Learnt]) -> list[dict[str, Any]]:
    """As it stands in the metadata, which hold text alone."""
    return [
        {"table": one.table, "photos": one.photos, "smallest": base64.b64encode(one.smallest).decode()}
        for one in learnt
    ]


def _from_json(told: dict[str, Any]) -> Learnt:
    table = str(told.get("table", ""))
    try:
        photos, smallest = int(told["photos"]), base64.b64decode(str(told["smallest"]), validate=True)
    except (KeyError, TypeError, ValueError, OverflowError):
        return Learnt(table)
    return Learnt(table, photos, smallest) if len(smallest) % 8 == 0 and 8 * photos >= len(smallest) else Learnt(table)


def _of_table(digest: Any) -> tuple[Learnt, ...]:
    return (Learnt(str(digest)),) if digest else ()


def _of_bundle(contents: Path) -> tuple[Learnt, ...]:
    """The same of the networks of a bundle, from its maskcli.json; empty where that is not there, or damaged."""
    try:
        return _of_table(json.loads(contents.read_bytes())["origin"]["data"]["photos"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()
