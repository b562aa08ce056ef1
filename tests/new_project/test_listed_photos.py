"""Where the photos lie that tables list, as contests have them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from stages.base.errors import UserError
from stages.new_project import listed_photos
from stages.new_project.listed_photos import Listed, of_eval, of_train, other_table

HERE = Path("set")


def there(*files: str) -> None:
    for file in files:
        (HERE / file).parent.mkdir(parents=True, exist_ok=True)
        (HERE / file).touch()


def table(names: Sequence[str], column: str = "image_id") -> pd.DataFrame:
    return pd.DataFrame({"grade": ["0"] * len(names), column: list(names)}, dtype=object)


@pytest.mark.parametrize(
    ("files", "first", "found"),
    [
        (["7.png"], "7", (".", "{image_id}.png")),
        (["7.JPG"], "7", (".", "{image_id}.JPG")),
        (["7.png"], "7.png", (".", "image_id")),
        (["images/7.png"], "7", ("images", "{image_id}.png")),
        (["a/b/c/7.png"], "7.png", ("a/b/c", "image_id")),
        (["train/7.png", "test/7.png"], "7", ("train", "{image_id}.png")),
        (["train2017/7.png", "test2017/7.png"], "7", ("train2017", "{image_id}.png")),
        (["train/7.png", "7.png"], "7.png", (".", "image_id")),
        (["x/7.png", "y/7.png"], "7", None),
        (["train/7.png", "train_small/7.png"], "7", None),
        (["7.png", "7.jpg"], "7", None),
        (["8.png"], "7", None),
    ],
    ids=lambda value: "" if value is None else str(value),
)
def test_the_folder_and_the_ending_that_a_table_leaves_out_are_found(
    files: list[str], first: str, found: tuple[str, str] | None
) -> None:
    there(*files)
    wanted = Listed(HERE / found[0], found[1]) if found else None
    assert of_train(table([first, "no such file"]), None, HERE) == wanted
    assert of_train(table([first, "no such file"]), "image_id", HERE) == wanted


def test_the_same_names_in_two_folders_are_each_tables_own() -> None:
    there("train_images/1.png", "test_images/1.png", "train_images/2.png")
    mine, theirs = of_train(table(["1", "2"]), None, HERE), of_eval(table(["1", "3"], "id"), HERE)
    assert mine
    assert theirs
    assert (mine.seen_from(HERE), theirs.seen_from(HERE)) == ("train_images/{image_id}.png", "test_images/{id}.png")


def test_eval_photos_that_may_be_those_of_two_folders_are_asked_about() -> None:
    there("train_images/1.png", "scoring/1.png")
    with pytest.raises(UserError, match=r"its first photo is both set/(scoring|train_images)/\{id\}.png and set/"):
        of_eval(table(["1", "3"], "id"), HERE)
    there("scoring/3.png")
    assert of_eval(table(["3", "1"], "id"), HERE) == Listed(HERE / "scoring", "{id}.png")
    assert of_eval(table(["9"], "id"), HERE) is None


def test_a_column_that_stays_one_is_told_as_a_pattern_from_a_folder_above_alone() -> None:
    assert Listed(HERE / "images", "name").seen_from(HERE) == "images/{name}"
    assert Listed(HERE, "name").seen_from(HERE) == "name"


def test_a_column_of_labels_names_no_photos() -> None:
    there("0.png")
    assert of_train(table(["7", "8"]), None, HERE) is None


def test_a_table_of_other_photos_beside_it_is_found_the_test_set_first() -> None:
    there("train.csv")
    place = HERE / "train.csv"
    table(["1", "2"]).to_csv(place, index=False)
    assert other_table(place, "{image_id}.png") is None
    table(["2", "3"]).to_csv(HERE / "corrected.csv", index=False)  # of the same photos, in part
    table(["7", "8"], "other").to_csv(HERE / "extra.csv", index=False)
    (HERE / "broken.csv").write_bytes(b"\xff\xfe\x00")
    assert other_table(place, "{image_id}.png") is None
    table(["7", "8"]).to_csv(HERE / "sample_submission.csv", index=False)
    assert other_table(place, "{image_id}.png") == HERE / "sample_submission.csv"
    table(["7", "8"]).to_csv(HERE / "test.csv", index=False)
    assert other_table(place, "image_id") == HERE / "test.csv"


def test_folders_are_looked_into_as_deep_as_is_said() -> None:
    there("/".join(["a"] * (listed_photos.DEPTH + 1)) + "/7.png")
    assert of_train(table(["7"]), None, HERE) is None


@pytest.mark.parametrize("text", ["a sentence " * 30, "x" * 253, "\0"], ids=len)
def test_a_column_of_text_that_no_file_could_be_called_by_is_passed_over(text: str) -> None:
    there("7.png")
    for notes in ([text, text + "x"], [f"{text}.jpg", f"{text}x.jpg"]):
        found = of_train(table(["7", "8"], "code").assign(grade=notes), None, HERE)
        assert found == Listed(HERE, "{code}.png")
