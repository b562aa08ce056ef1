"""Which layout photos have, by how they lie."""

from pathlib import Path

import pytest

from stages.base.errors import UserError
from stages.new_project.recognise_layout import layout_of


def lay(*names: str) -> Path:
    for name in names:
        path = Path("data") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path("data")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train/train.csv", "train/images/one/mask1.jpg", "eval/info.csv"), ("contest", "data")),
        (("cat/1.jpg", "dog/2.PNG"), ("folder", "data")),
        (("cat/old/new/1.jpg", "dog/2.jpg", "notes.csv"), ("folder", "data")),
        (("train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg"), ("folder", "data")),
        (("labels.csv", "images/1.jpg", "images/2.jpg"), ("table", "data/labels.csv")),
        (("labels.tsv", "1.jpg", "2.jpg"), ("table", "data/labels.tsv")),
        (("labels.csv", "train_images/1.jpg", "test_images/2.jpg"), ("table", "data/labels.csv")),
        (("labels.csv", "skin_images_1/1.jpg", "skin_images_2/2.jpg"), ("table", "data/labels.csv")),
        (("labels.csv", "fold1/1.jpg", "fold2/2.jpg"), ("table", "data/labels.csv")),
        (("notes.csv", "real images/1.jpg", "fake images/2.jpg"), ("folder", "data")),
        (("notes.csv", "class_1/1.jpg", "class_2/2.jpg"), ("folder", "data")),
        (("car/1.jpg", "test tube/3.jpg"), ("folder", "data")),
        (("README.txt", "part_1/1.jpg", "part_2/2.jpg"), ("folder", "data")),
        (("LICENSE.txt", "labels.csv", "images/2.jpg"), ("table", "data/labels.csv")),
        (("Training/cat/1.jpg", "Training/dog/2.jpg", "Test/cat/3.jpg"), ("folder", "data")),
    ],
)
def test_layouts_are_told_apart(names: tuple[str, ...], expected: tuple[str, str]) -> None:
    layout, place = layout_of(lay(*names))
    assert (layout, str(place)) == expected


@pytest.mark.parametrize("name", ["a.parquet", "a.pq"])
def test_a_file_is_a_table(name: str) -> None:
    assert layout_of(lay(name) / name) == ("table", Path("data", name))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("1.jpg", "2.jpg"), "data: no layout is known in which photos lie like this; the layouts are contest ("),
        (("notes.txt",), "data: no layout is known"),
        (("one/1.jpg",), "data: no layout is known"),
        (
            ("a.csv", "b.csv", "images/1.jpg"),
            "data: holds 2 tables; name the one to begin with, as `maskcli init data/a.csv`",
        ),
        (
            ("sample_submission.csv", "train.csv", "train_images/1.jpg", "test_images/2.jpg"),
            "data: holds 2 tables; name the one to begin with, as `maskcli init data/train.csv`",
        ),
        (
            ("train_images/cat/1.jpg", "train_images/dog/1.jpg", "test_images/2.jpg"),
            "data: test_images and train_images seem to be parts of the data, not classes; name a table of their labels, call",
        ),
    ],
)
def test_what_is_none_of_them_is_told_in_one_line_that_names_them(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match="^" + message.replace("(", r"\(")):
        layout_of(lay(*names))


def test_what_is_not_there_and_what_is_no_table_is_told() -> None:
    with pytest.raises(UserError, match=r"^photos: not found; name a folder"):
        layout_of(Path("photos"))
    with pytest.raises(UserError, match=r"^data/1.jpg: is no folder and no table"):
        layout_of(lay("1.jpg") / "1.jpg")
