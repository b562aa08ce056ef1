"""Small data sets of the layouts folder and table, what can be wrong with them, and what is odd and works."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

PETS = Path("pets")
TABLE = Path("photos.csv")
ROWS = [("cat/1.png", "p1", "cat"), ("cat/2.png", "p2", "cat"), ("dog/1.png", "p3", "dog"), ("dog/2.png", "p4", "dog")]
SMALL: dict[str, Any] = {"image": {"height": 16, "width": 16, "margin": 0}, "folds": [0, 1]}
OF_TABLE = {"layout": "table", "root": "pets", "train": "photos.csv", "file": "filename"}


def photo(*places: str, seed: int = 0) -> Callable[[], None]:
    """Photos in pets/, each of its own noise."""

    def write() -> None:
        for place in places:
            path = PETS / place
            path.parent.mkdir(parents=True, exist_ok=True)
            draw = np.random.default_rng([seed, *place.encode()])
            Image.fromarray(draw.integers(0, 256, (24, 24, 3), np.uint8)).save(path, "PNG")

    return write


def params(data: dict[str, Any], **others: Any) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(SMALL | {"data": data} | others, sort_keys=False), encoding="utf-8")


def folder(**data: Any) -> None:
    """Two classes of two photos, pets/<class>/<photo>."""
    photo(*(file for file, _, _ in ROWS))()
    params({"layout": "folder", "root": "pets"} | data)


def table(*rows: str, header: str = "filename,patient,diagnosis", axes: Any = None, **data: Any) -> Callable[[], None]:
    """The same photos by a table of these rows (None: the four), one axis `diagnosis`."""

    def write() -> None:
        photo(*(file for file, _, _ in ROWS))()
        TABLE.write_text("\n".join([header, *(rows or [",".join(row) for row in ROWS])]) + "\n", encoding="utf-8")
        params(OF_TABLE | data, axes=axes or {"diagnosis": {}})

    return write


def of_folder(*then: Callable[[], object], **data: Any) -> Callable[[], None]:
    def write() -> None:
        folder(**data)
        for step in then:
            step()

    return write


def by_pattern(**data: Any) -> Callable[[], None]:
    """The four, whose folder and number stand in columns of their own."""
    rows = [f"{file.removesuffix('.png').replace('/', ',')},{name}" for file, _, name in ROWS]
    return table(*rows, header="folder,id,diagnosis", **{"file": "{folder}/{id}.png"} | data)


def with_row(row: str, **options: Any) -> Callable[[], None]:
    """The four rows, and one more."""
    return table(*(",".join(one) for one in ROWS), row, **options)


def of_split(*rows: str) -> Callable[[], None]:
    """The four as training rows, and these; a column tells the split."""
    return table(
        *(f"{file},train,{name}" for file, _, name in ROWS), *rows, header="filename,part,diagnosis", split="part"
    )


def linked() -> None:
    photo("outside.png")()
    (PETS / "outside.png").rename("outside.png")
    (PETS / "cat/3.png").symlink_to(Path("outside.png").resolve())


def encoded(encoding: str) -> Callable[[], None]:
    def write() -> None:
        table()()
        TABLE.write_bytes("filename,patient,diagnosis\ncat/1.png,p1,고양이\n".encode(encoding))

    return write


AGES = {"diagnosis": {}, "age": {"bins": [30, 60], "regress": True, "scale": 10}}
WITH_AGE = "filename,patient,diagnosis,age"
FORMS = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]

REFUSED: dict[str, Callable[[], object]] = {
    "a layout that is not known": lambda: params({"layout": "foldr", "root": "pets"}),
    "a key of another layout": of_folder(file="filename"),
    "axes in a folder": lambda: (folder(), params({"layout": "folder"}, axes={"kind": {}, "age": {"bins": [3]}})),
    "a table without axes": lambda: params(OF_TABLE),
    "an axis called as a column of the tables": table(axes={"group": {}}),
    "an axis of two words": table(axes={"the diagnosis": {"column": "diagnosis"}}),
    "a key of an axis that is misspelt": table(axes={"diagnosis": {"colum": "diagnosis"}}),
    "an axis of levels and bins": table(axes={"diagnosis": {"levels": ["cat", "dog"], "bins": [3]}}),
    "bins out of order": table(axes={"diagnosis": {}, "age": {"bins": [60, 30]}}),
    "a level twice": table(axes={"diagnosis": {"levels": ["cat", "dog", "cat"]}}),
    "levels that are numbers": table(axes={"diagnosis": {"levels": [1, 2]}}),
    "two axes to regress": table(axes={"a": {"bins": [1], "regress": True}, "b": {"bins": [1], "regress": True}}),
    "a weight and nothing to regress": lambda: (
        folder(),
        params({"layout": "folder", "root": "pets"}, regression={"weight": 0.1}),
    ),
    "train_bins of no axis": lambda: (folder(), params({"layout": "folder", "root": "pets"}, train_bins={"age": [3]})),
    "a subset called by a number": lambda: (
        table()(),
        params(OF_TABLE, axes={"diagnosis": {}}, subsets={"3": {"diagnosis": "cat"}}),
    ),
    "a subset called as an axis": lambda: (
        table()(),
        params(OF_TABLE, axes={"diagnosis": {}}, subsets={"diagnosis": {"diagnosis": "cat"}}),
    ),
    "a subset of an axis that is misspelt": lambda: (
        table()(),
        params(OF_TABLE, axes={"diagnosis": {}}, subsets={"cats": {"diagnosi": "cat"}}),
    ),
    "data.age_bins, as it was called": lambda: params({"age_bins": [30, 60]}),
    "data.train_age_bins, as it was called": lambda: params({"train_age_bins": [30, 58]}),
    "age_regression, as it was called": lambda: params({}, age_regression={"weight": 0.1}),
    "lr_find.take, as it was called": lambda: params({}, lr_find={"take": "valley"}),
    "folder: no such folder": lambda: params({"layout": "folder", "root": "pets"}),
    "folder: no photo": lambda: (
        (PETS / "cat").mkdir(parents=True),
        params({"layout": "folder", "root": "pets"}),
    ),
    "folder: one class": lambda: (photo("cat/1.png", "cat/2.png")(), params({"layout": "folder", "root": "pets"})),
    "folder: classes that differ in case": of_folder(photo("Cat/3.png")),
    "folder: classes that differ in a blank": of_folder(photo("cat /3.png")),
    "folder: classes that differ in their Unicode form": of_folder(photo(*(f"{form}/1.png" for form in FORMS))),
    "folder: a photo in no class": of_folder(photo("1.png")),
    "folder: a folder of a class within another": of_folder(photo("dog/cat/3.png")),
    "folder: test/ without train/": of_folder(photo("test/cat/3.png")),
    "folder: a class in test/ that training lacks": lambda: (
        photo("train/cat/1.png", "train/dog/1.png", "test/cow/1.png")(),
        params({"layout": "folder", "root": "pets"}),
    ),
    "folder: a photo that is a link out of it": of_folder(linked),
    "folder: a link to a folder": of_folder(lambda: (PETS / "cow").symlink_to("cat")),
    "folder: a name that is not UTF-8": of_folder((PETS / os.fsdecode(b"cat/Jos\xe9.png")).touch),
    "folder: a WebP": of_folder(lambda: (PETS / "cat/3.webp").write_bytes(b"RIFF")),
    "folder: zero bytes": of_folder((PETS / "cat/3.png").touch),
    "table: not there": lambda: params(OF_TABLE, axes={"diagnosis": {}}),
    "table: empty": lambda: (table()(), TABLE.write_text("")),
    "table: cp949": encoded("cp949"),
    "table: UTF-16": encoded("utf-16"),
    "table: the column of labels is missing": table(header="filename,patient,kind"),
    "table: the column of labels is misspelt": table(header="filename,patient,diagnossis"),
    "table: the column of files is missing": table(header="image,patient,diagnosis"),
    "table: files without their endings": table(*(",".join(row).replace(".png", "") for row in ROWS)),
    "table: a column of a pattern is missing": by_pattern(file="{folder}/{number}.png"),
    "table: a column of a pattern is empty": lambda: (
        by_pattern()(),
        TABLE.write_text(TABLE.read_text() + "cat,,cat\n"),
    ),
    "table: a pattern that makes no file that is there": by_pattern(file="{folder}/{id}.jpg"),
    "table: a pattern of eval photos without their table": by_pattern(eval_file="{id}.png"),
    "table: a column of the eval photos' pattern is missing": lambda: (
        by_pattern(eval="test.csv", eval_file="{photo}.png")(),
        Path("test.csv").write_text("id\n9\n"),
    ),
    "table: a column twice": table(header="filename,diagnosis,diagnosis"),
    "table: one column for two things": table(axes={"diagnosis": {}, "kind": {"column": "diagnosis"}}),
    "table: two columns that cross": table(
        axes={"diagnosis": {"column": "patient"}, "patient": {"column": "diagnosis"}}
    ),
    "table: no label at all": table("cat/1.png,p1,", "dog/1.png,p3,"),
    "table: one class": table("cat/1.png,p1,cat", "cat/2.png,p2,cat"),
    "table: a label NaN": table("cat/1.png,p1,NaN", "cat/2.png,p2,cat", "dog/1.png,p3,dog"),
    "table: labels that differ in case": table("cat/1.png,p1,cat", "cat/2.png,p2,Cat", "dog/1.png,p3,dog"),
    "table: labels that differ in how a number is written": table(
        "cat/1.png,p1,1", "cat/2.png,p2,01", "dog/1.png,p3,2"
    ),
    "table: labels that look alike in Unicode": table("cat/1.png,p1,A", "cat/2.png,p2,\uff21", "dog/1.png,p3,dog"),
    "table: labels that differ in what cannot be seen": table(
        "cat/1.png,p1,cat", "cat/2.png,p2,cat\u200b", "dog/1.png,p3,dog"
    ),
    "table: a label that is no declared level": table(
        "cat/1.png,p1,cat", "cat/2.png,p2,cta", "dog/1.png,p3,dog", axes={"diagnosis": {"levels": ["cat", "dog"]}}
    ),
    "table: an age in words": table("cat/1.png,p1,cat,old", "dog/1.png,p3,dog,40", header=WITH_AGE, axes=AGES),
    "table: a label without the other": table("cat/1.png,p1,cat,", "dog/1.png,p3,dog,40", header=WITH_AGE, axes=AGES),
    "table: too few values": with_row("cat/3.png,p5"),
    "table: a file listed twice with different labels": with_row("cat/1.png,p1,dog"),
    "table: a file listed twice in different groups": with_row("cat/1.png,p9,cat", group="patient"),
    "table: a file that is not there": with_row("cat/9.png,p5,cat"),
    "table: a file that has another ending": with_row("cat/1.PNG,p5,cat"),
    "table: no file is there": table("1.png,p1,cat", "2.png,p2,dog"),
    "table: an absolute path": with_row("/pets/cat/1.png,p5,cat"),
    "table: a path with ..": with_row("../pets/cat/1.png,p5,cat"),
    "table: a backslash": with_row("cat\\1.png,p5,cat"),
    "table: a link out of the folder": lambda: (with_row("cat/3.png,p5,cat")(), linked()),
    "table: a file of zero bytes": lambda: (with_row("cat/3.png,p5,cat")(), (PETS / "cat/3.png").touch()),
    "table: no group": with_row("cat/3.png,,cat", group="patient"),
    "table: a group NaN": with_row("cat/3.png,NaN,cat", group="patient"),
    "table: a split that is not known": table(
        "cat/1.png,p1,cat,train", "dog/1.png,p3,dog,hold", header="filename,patient,diagnosis,set", split="set"
    ),
    "table: a class among eval photos that training lacks": table(
        *("cat/1.png,p1,cat,", "dog/1.png,p3,dog,", "dog/2.png,p4,cow,test"),
        header="filename,patient,diagnosis,set",
        split="set",
    ),
    "table: two values of an axis that is said to be constant": lambda: (
        with_row("cat/3.png,p1,dog", group="patient", axes={"diagnosis": {"constant": True}})(),
        photo("cat/3.png")(),
    ),
}


def divided() -> None:
    parts = {"train": 3, "val": 2, "test": 1}
    photo(
        *(
            f"{part}/{name}/deep/{number}.png"
            for part, n in parts.items()
            for name in ("cat", "dog")
            for number in range(n)
        )
    )()
    params({"layout": "folder", "root": "pets"})


def litter() -> None:
    for name in (".DS_Store", "Thumbs.db", "._1.png", ".hidden.png"):
        (PETS / "cat" / name).write_bytes(b"x")
    (PETS / "__MACOSX").mkdir()
    (PETS / ".ipynb_checkpoints").mkdir()
    photo("__MACOSX/1.png", ".ipynb_checkpoints/1.png")()


def rewritten(change: Callable[[str], bytes]) -> Callable[[], None]:
    """The table as it stands, written otherwise."""

    def write() -> None:
        table()()
        TABLE.write_bytes(change(TABLE.read_text()))

    return write


def flat_test() -> None:
    photo("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png", "test/a.png", "test/b.png")()
    params({"layout": "folder", "root": "pets"})


# What prepare ends with, and how many photos each class has.
WORKS: dict[str, tuple[Callable[[], object], dict[str, int], int]] = {
    "folder: class/photo": (folder, {"cat": 2, "dog": 2}, 0),
    "folder: train/, val/ and test/, photos at any depth": (divided, {"cat": 5, "dog": 5}, 2),
    "folder: photos without a class in test/": (flat_test, {"cat": 2, "dog": 2}, 2),
    "folder: hidden files, Thumbs.db and what macOS leaves": (of_folder(litter), {"cat": 2, "dog": 2}, 0),
    "folder: a folder within a class of the same name": (of_folder(photo("cat/cat/9.png")), {"cat": 3, "dog": 2}, 0),
    "folder: text beside the photos": (
        of_folder(lambda: (PETS / "cat/notes.txt").write_text("x")),
        {"cat": 2, "dog": 2},
        0,
    ),
    "folder: a folder without photos": (of_folder((PETS / "cow").mkdir), {"cat": 2, "dog": 2}, 0),
    "folder: a class of one photo": (of_folder(photo("cow/1.png")), {"cat": 2, "cow": 1, "dog": 2}, 0),
    "folder: a folder beside train/": (
        lambda: (divided(), photo("extra/1.png")()),
        {"cat": 5, "dog": 5},
        2,
    ),
    "folder: several folders beside train/": (
        lambda: (divided(), photo("extra/1.png", "spare/1.png")()),
        {"cat": 5, "dog": 5},
        2,
    ),
    "folder: one picture in two classes": (
        of_folder(lambda: (PETS / "dog/3.png").write_bytes((PETS / "cat/1.png").read_bytes())),
        {"cat": 2, "dog": 3},
        0,
    ),
    "folder: eval photos in a folder beside the classes": (
        of_folder(photo("holdout/a.png"), eval="pets/holdout"),
        {"cat": 2, "dog": 2},
        1,
    ),
    "folder: classes that are numbers": (
        lambda: (photo("10/1.png", "9/1.png", "9/2.png", "10/2.png")(), params({"layout": "folder", "root": "pets"})),
        {"9": 2, "10": 2},
        0,
    ),
    "table: commas": (table(), {"cat": 2, "dog": 2}, 0),
    "table: semicolons, a byte order mark, CRLF": (
        rewritten(lambda text: b"\xef\xbb\xbf" + text.replace(",", ";").replace("\n", "\r\n").encode()),
        {"cat": 2, "dog": 2},
        0,
    ),
    "table: tabs": (rewritten(lambda text: text.replace(",", "\t").encode()), {"cat": 2, "dog": 2}, 0),
    "table: blank lines, and blanks around values": (
        rewritten(lambda text: text.replace(",", " , ").replace("\n", "\n\n").encode()),
        {"cat": 2, "dog": 2},
        0,
    ),
    "table: 007 stays text": (
        table("cat/1.png,p1,007", "cat/2.png,p2,007", "dog/1.png,p3,8", "dog/2.png,p4,8"),
        {"007": 2, "8": 2},
        0,
    ),
    "table: a class called NA": (
        table("cat/1.png,p1,NA", "cat/2.png,p2,NA", "dog/1.png,p3,none", "dog/2.png,p4,none"),
        {"NA": 2, "none": 2},
        0,
    ),
    "table: numbers beside names": (
        table("cat/1.png,p1,1", "cat/2.png,p2,1", "dog/1.png,p3,dog", "dog/2.png,p4,dog"),
        {"1": 2, "dog": 2},
        0,
    ),
    "table: a row without a label is an eval photo": (
        lambda: (with_row("cat/3.png,p5,")(), photo("cat/3.png")()),
        {"cat": 2, "dog": 2},
        1,
    ),
    "table: a file listed twice with the same label": (with_row("./cat/1.png,p1,cat"), {"cat": 2, "dog": 2}, 0),
    "table: one label in two forms of Unicode": (
        table(
            *(f"cat/{number}.png,p1,{form}" for number, form in enumerate(FORMS, 1)),
            "dog/1.png,p3,dog",
            "dog/2.png,p4,dog",
        ),
        {FORMS[0]: 2, "dog": 2},
        0,
    ),
    "table: a declared level that no photo has": (
        table(axes={"diagnosis": {"levels": ["cow", "cat", "dog"]}}),
        {"cow": 0, "cat": 2, "dog": 2},
        0,
    ),
    "table: two axes, one of numbers": (
        table(
            *("cat/1.png,p1,cat,29", "cat/2.png,p2,cat,29", "dog/1.png,p3,dog,60", "dog/2.png,p4,dog,30.5"),
            header=WITH_AGE,
            axes={"diagnosis": {}, "age": {"bins": [30]}},
        ),
        {"cat <30": 2, "cat 30+": 0, "dog <30": 0, "dog 30+": 2},
        0,
    ),
    "table: a group written in two ways": (
        lambda: (with_row("cat/3.png,P1,cat", group="patient")(), photo("cat/3.png")()),
        {"cat": 3, "dog": 2},
        0,
    ),
    "table: eval photos that all have one label": (
        lambda: (
            of_split(*(f"{number}.png,test,cat" for number in range(10)))(),
            photo(*(f"{number}.png" for number in range(10)))(),
        ),
        {"cat": 2, "dog": 2},
        10,
    ),
    "table: eval photos that all have one label, which no training photo has": (
        lambda: (
            table(eval="sample.csv")(),
            Path("sample.csv").write_text("filename,diagnosis\n" + "".join(f"{n}.png,0\n" for n in range(10))),
            photo(*(f"{number}.png" for number in range(10)))(),
        ),
        {"cat": 2, "dog": 2},
        10,
    ),
    "table: files by a pattern, eval photos by another": (
        lambda: (
            by_pattern(eval="test.csv", eval_file="{id}.png")(),
            Path("test.csv").write_text("id\nhorse/9\n"),
            photo("horse/9.png")(),
        ),
        {"cat": 2, "dog": 2},
        1,
    ),
    "table: rows of the split train without a label": (
        lambda: (of_split("a.png,train,", "b.png,val,")(), photo("a.png", "b.png")()),
        {"cat": 2, "dog": 2},
        2,
    ),
    "table: some of the eval photos with labels": (
        lambda: (of_split("a.png,test,cat", "b.png,test,")(), photo("a.png", "b.png")()),
        {"cat": 2, "dog": 2},
        2,
    ),
    "table: a group with training and eval photos": (
        lambda: (with_row("cat/3.png,p1,", group="patient")(), photo("cat/3.png")()),
        {"cat": 2, "dog": 2},
        1,
    ),
}
