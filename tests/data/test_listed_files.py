import ntpath
import os
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.data import listed_files, photo_files
from stages.data.listed_files import on_disk


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in (
        "a/1.png",
        "a/b/2.png",
        f"{unicodedata.normalize('NFD', 'é')}/{unicodedata.normalize('NFD', 'ü')}.png",
    ):
        (tmp_path / "base" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "base" / name).touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/3.png").touch()
    return tmp_path / "base"


def test_files_are_named_as_the_disk_has_them(base: Path) -> None:
    listed = ["a/1.png", "./a//b/2.png", unicodedata.normalize("NFC", "é/ü.png")]
    assert on_disk(listed, base) == (["a/1.png", "a/b/2.png", unicodedata.normalize("NFD", "é/ü.png")], {})


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("a/9.png", "is not in"),
        ("x/1.png", "is not in"),
        ("a/1.JPG", "has another ending in"),
        ("a/1", "has another ending in"),
        ("a/1.2", "is not in"),
        ("a/b", "is not in"),
        ("", "is empty"),
        ("/a/1.png", "is absolute"),
        ("../base/a/1.png", "leads out of its folder"),
        ("a/../a/1.png", "leads out of its folder"),
        ("a\\1.png", "holds a backslash"),
        ("a/" + "x" * 300, "is longer than a file name can be"),
        ("link.png", "is a link that leads out of"),
        ("linked/3.png", "lies behind a link that leads out of"),
    ],
)
def test_what_is_wrong_with_a_file(base: Path, file: str, problem: str) -> None:
    (base / "link.png").symlink_to(base.parent / "outside/3.png")
    (base / "linked").symlink_to(base.parent / "outside")
    _, problems = on_disk(["a/1.png", file], base)
    assert list(problems) == [1]
    assert problems[1][0].startswith(problem)


def test_on_windows_names_are_told_alike_and_another_drive_is_absolute(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "10:30.png").touch()
    assert on_disk(["10:30.png"], base) == (["10:30.png"], {})
    windows = SimpleNamespace(path=ntpath, scandir=os.scandir, fsencode=os.fsencode)
    for module in (listed_files, photo_files):
        monkeypatch.setattr(module, "os", windows)
    _, problems = on_disk(["./a//b/2.png", "C:/photos/1.png", "C:1.png"], base)
    assert {place: why for place, (why, _) in problems.items()} == {1: "is absolute", 2: "is absolute"}


def test_a_link_within_the_folder_is_a_file_like_others(base: Path) -> None:
    (base / "a/4.png").symlink_to("1.png")
    assert on_disk(["a/4.png"], base) == (["a/4.png"], {})
