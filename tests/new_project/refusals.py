"""What init cannot begin with, by the name that docs/bad_input.md gives it: the words, and what they are said about."""

from collections.abc import Callable
from pathlib import Path

from tests.new_project import made


def photos() -> None:
    made.folder(Path("photos"), {"cat": 3, "dog": 3})


def one_class() -> None:
    made.folder(Path("photos/train"), {"cat": 3})


def table() -> None:
    made.table(Path("set"))


def two_labels() -> None:
    table()
    Path("two.csv").write_text(
        "file,kind,shape\n" + "".join(f"set/images/c00{n}.png,{n % 2},{n % 3}\n" for n in range(8))
    )


def no_files() -> None:
    Path("notes.csv").write_text("name,kind\none,a\ntwo,b\n")


def flat() -> None:
    made.photo(Path("photos/1.png"), "cat", 1)


def two_tables() -> None:
    flat()
    for name in ("a", "b"):
        Path(f"photos/{name}.csv").write_text("file,kind\n1.png,a\n")


def parts() -> None:
    for name in ("train_images", "test_images"):
        made.photo(Path(f"photos/{name}/1.png"), "cat", 1)


def standing() -> None:
    photos()
    Path("params.yaml").write_text("seed: 1\n")


CASES: dict[str, tuple[tuple[str, ...], Callable[[], None]]] = {
    "init: nothing to look at": ((), photos),
    "init: photos that are not there": (("gone",), photos),
    "init: a photo": (("photos/cat/000.png",), photos),
    "init: photos in no folders": (("photos",), flat),
    "init: several tables": (("photos",), two_tables),
    "init: parts of a set in place of classes": (("photos",), parts),
    "init: a project among the photos": (("photos", "--into", "photos"), photos),
    "init: a project below the photos": (("photos", "--into", "photos/cat"), photos),
    "init: an unknown layout": (("photos", "--layout", "folders"), photos),
    "init: a folder that is to be a table": (("photos", "--layout", "table"), photos),
    "init: a table that is to be a folder": (("set/photos.csv", "--layout", "folder"), table),
    "init: a label of a folder": (("photos", "--label", "kind"), photos),
    "init: no group of a folder": (("photos", "--group", ""), photos),
    "init: an eval set beside the contest's": (("data", "--layout", "contest", "--eval", "photos"), photos),
    "init: a label of the demo": (("--demo", "--label", "kind"), photos),
    "init: a layout of the demo": (("--demo", "--layout", "table"), photos),
    "init: a model beside an update": (("--update", "--model", "resnet18"), photos),
    "init: an overwriting update": (("--update", "--overwrite"), photos),
    "init: a label that is no column": (("set/photos.csv", "--label", "kinds"), table),
    "init: a group that is no column": (("set/photos.csv", "--group", "person"), table),
    "init: several columns that may be labels": (("two.csv",), two_labels),
    "init: a table without names of photos": (("notes.csv",), no_files),
    "init: one class": (("photos", "--layout", "folder", "--scratch"), one_class),
    "init: another params.yaml in the way": (("photos", "--scratch"), standing),
    "init: an unknown model": (("photos", "--scratch", "--model", "resnet18x"), photos),
    "init: an update of no project": (("--update",), photos),
}
