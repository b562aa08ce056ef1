"""Demo people whose photos are known by person, for the measurements of this folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stages.base.talk import Talk
from stages.data import demo_faces


def draw(folder: Path, seed: int, people: int) -> dict[str, str]:
    """Draw the demo data set of `seed` with so many eval people into `folder`; the person of every eval photo.

    The files do not tell, on purpose, so the drawing is watched: what a step adds is one person's.
    """
    known: dict[str, str] = {}

    def track(items: Iterable[Any], total: int, label: str, done: int = 0) -> Iterator[Any]:
        for number, item in enumerate(items):
            yield item
            for image in folder.parent.glob(f".{folder.name}.*.tmp/eval/images/*"):
                known.setdefault(image.name, str(number))

    demo_faces.write(folder, seed, people=12, eval_people=people, talk=Talk(track=track))
    return known
