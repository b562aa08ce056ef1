"""A small project that answers new photos, and what maskcli predict cannot be asked there, by the names of docs/bad_input.md."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stages.base import paths
from stages.bundle.of_project import open_project
from stages.bundle.predictor import Predictor
from stages.params.schema import Params
from tests.bundle.made import draw_folds
from tests.conftest import SMALL, small

VIEWS = {"tta": {"views": ["identity", "hflip"]}}
PHOTO = "photos/a.jpg"


def judge(**changes: object) -> Params:
    """In a prepared project: the folds' models and OOF predictions, drawn, and oof-ensemble."""
    params = small(**VIEWS | changes)
    paths.PARAMS.write_text(yaml.safe_dump(SMALL | VIEWS | changes))
    draw_folds(params)
    return params


def photo(path: str = PHOTO, seed: int = 0, **how: object) -> Path:
    """A photo of noise, taller than wide, that shrinks to what the models see."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 9, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path, **{"quality": 95} | how)
    return Path(path)


def table(text: str) -> Callable[[], None]:
    return lambda: (photo(), Path("new.csv").write_text(text))[0] and None


def begun(made_by: object) -> Callable[[], None]:
    """A file of answers that was begun by something else."""

    def write() -> None:
        photo()
        Path("answers.csv.partial").write_text("file\nphotos/a.jpg\n")
        if made_by is not None:
            Path("answers.csv.partial.json").write_text(json.dumps(made_by))

    return write


def many() -> None:
    first = photo()
    for number in range(1001):
        Path(f"photos/{number}.jpg").hardlink_to(first)


def nothing() -> None:
    return None


Case = tuple[tuple[str, ...], Callable[[], object]]
# Told before a model is opened.
UNASKED: dict[str, Case] = {
    "a photo that is not there": (("nobody.jpg",), nothing),
    "a pattern that no photo has": (("photos/*.png",), photo),
    "a pattern that only other files have": (("*.txt",), lambda: Path("a.txt").write_text("a")),
    "a folder without photos": (("empty",), lambda: Path("empty").mkdir()),
    "a folder named x.jpg without photos": (("x.jpg",), lambda: Path("x.jpg").mkdir()),
    "a URL of a photo": (("https://example.org/a.jpg",), nothing),
    "a table with a URL": (("new.csv",), table("file\nphotos/a.jpg\nhttps://example.org/a.jpg\n")),
    "a table without a column of files": (("new.csv",), table("number,colour\n1,red\n")),
    "a --column that the table lacks": (("new.csv", "--column", "foto"), table("photo\nphotos/a.jpg\n")),
    "a table with an empty file": (("new.csv",), table("file,note\nphotos/a.jpg,\n,none\n")),
    "a table with a header alone": (("new.csv",), table("file\n")),
    "more photos than a terminal shows": (("photos",), many),
    "an --out that is there": (
        (PHOTO, "--out", "answers.csv"),
        lambda: (photo(), Path("answers.csv").write_text("mine\n")),
    ),
    "an --out of another format": ((PHOTO, "--out", "answers.xlsx"), photo),
    "an --out that is a folder": (("photos", "--out", "old.csv"), lambda: (photo(), Path("old.csv").mkdir())),
}
REFUSED: dict[str, Case] = {
    "--abstain in percent": ((PHOTO, "--abstain", "90"), photo),
    "--set with too few people": ((PHOTO, "--set", "0.99"), photo),
    "more classes than there are": ((PHOTO, "--top", "19"), photo),
    "--explain into a folder with files": (
        (PHOTO, "--explain", "maps"),
        lambda: (photo(), Path("maps").mkdir(), Path("maps/mine.png").write_text("mine")),
    ),
    "--explain into a file": ((PHOTO, "--explain", "maps"), lambda: (photo(), Path("maps").write_text("mine"))),
    "an --out that another command began": ((PHOTO, "--out", "answers.csv"), begun(None)),
    "an --out that other flags began": (
        (PHOTO, "--out", "answers.csv", "--top", "2"),
        lambda: begun(made_by(top=1))(),
    ),
}
FULL = "no room for all the answers"
# Said in the photo's own row; the others are answered.
UNREADABLE: dict[str, tuple[str, Callable[[], object]]] = {
    "a GIF that moves": ("photos/b.gif", lambda: animated("photos/b.gif")),
    "a photo of 20,000 x 20,000 px": ("photos/b.png", lambda: bomb("photos/b.png")),
    "a photo cut off": ("photos/b.jpg", lambda: cut("photos/b.jpg")),
    "a photo that a table lists and that is not there": (
        "new.csv",
        lambda: Path("new.csv").write_text("file\nphotos/b.jpg\n"),
    ),
    "a folder named as a photo in a table": (
        "new.csv",
        lambda: (Path("photos/b.jpg").mkdir(parents=True), Path("new.csv").write_text("file\nphotos/b.jpg\n")),
    ),
}


def made_by(**changes: object) -> dict[str, object]:
    """What the file's key says of the project's models and these flags."""
    from stages.by_hand import predict_rows

    return predict_rows.made_by(predict_rows.Form(**changes), open_project(small(**VIEWS)))  # type: ignore[arg-type]


def animated(path: str) -> None:
    frames = [Image.fromarray(np.full((20, 20, 3), grey, np.uint8)) for grey in (0, 200)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:])


def bomb(path: str) -> None:
    """A PNG that says it has so many pixels, and has none of them."""
    photo(path)
    content = bytearray(Path(path).read_bytes())
    content[16:24] = struct.pack(">II", 20_000, 20_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    Path(path).write_bytes(content)


def cut(path: str) -> None:
    content = photo(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


def judged(prepared: Path, folder: Path) -> Path:
    """A copy of a prepared project whose models can answer new photos."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy(prepared, folder))
        judge()
    return folder


def opened(project: Path) -> Predictor:
    """Its models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return open_project(small(**VIEWS))


def copy(project: Path, folder: Path) -> Path:
    shutil.copytree(project, folder)
    return folder


def linked(project: Path, folder: Path) -> Path:
    """The same in no time; for tests that change no file of it."""
    shutil.copytree(project, folder, copy_function=os.link)
    return folder
