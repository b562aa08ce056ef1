"""Folders and tables go through prepare and kfold to a fold's data; what each layout has of its own is in tests/layouts.py."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import kfold, prepare
from stages.base import paths
from stages.base.talk import SILENT
from stages.data import photos, task_and_classes
from stages.data.fold_data import open_all, open_fold
from stages.params.load import load
from tests import layouts


def run() -> None:
    prepare.run(load(), SILENT)
    kfold.run(load(), SILENT)


def test_a_folder_goes_through_to_the_folds(tmp_path: Path) -> None:
    layouts.divided()
    run()
    own = task_and_classes.read(load())
    assert (own.layout, own.unit, own.class_names) == ("folder", "photo", ("cat", "dog"))
    assert own.axes[0].constant
    table = photos.read(own)
    assert (table["group"] == table["file"]).all()
    assert table["file"].iloc[0] == "train/cat/deep/0.png"
    assert table["file"].iloc[-1] == "val/dog/deep/1.png"
    assert pd.read_csv(paths.EVAL)[["ImageID", "label"]].to_numpy().tolist() == [
        ["cat/deep/0.png", 0],
        ["dog/deep/0.png", 1],
    ]
    sides = [open_fold(load(), fold) for fold in (0, 1)]
    assert sorted(np.concatenate([side.val for side in sides])) == list(range(10))
    assert np.isnan(sides[0].numbers).all()
    assert sides[0].class_counts.sum() == len(sides[0].train)


def test_groups_of_a_table_are_not_divided_and_constant_axes_are_found(tmp_path: Path) -> None:
    rows = [f"{kind}/{number}.png,p{number},{kind},{30 + number}" for number in range(6) for kind in ("cat", "dog")]
    layouts.photo(*(row.split(",")[0] for row in rows))()
    layouts.table(*rows, header=layouts.WITH_AGE, axes=layouts.AGES, group="patient")()
    run()
    own = task_and_classes.read(load())
    assert (own.unit, own.class_names) == (
        "group",
        ("cat <30", "cat 30-59", "cat 60+", "dog <30", "dog 30-59", "dog 60+"),
    )
    assert [axis.constant for axis in own.axes] == [False, True]
    assert own.regressed is not None
    assert pd.read_csv(paths.GROUPS).to_numpy().tolist() == [[f"p{number}", 30 + number] for number in range(6)]
    folds = pd.read_csv(paths.FOLDS).set_index("group")["fold"]
    assert folds.value_counts().tolist() == [3, 3]
    data = open_fold(load(), 0)
    table = photos.read(own)
    assert set(table["group"].iloc[data.val]) == set(folds.index[folds == 0])
    assert data.labels.tolist() == [1, 4] * 6
    assert open_all(load()).numbers.tolist() == [30 + number // 2 for number in range(12)]


def test_skip_leaves_out_the_group_of_a_faulty_row(tmp_path: Path) -> None:
    layouts.with_row("cat/9.png,p1,cat", group="patient", on_fault="skip")()
    prepare.run(load(), SILENT)
    assert photos.read(task_and_classes.read(load()))["group"].tolist() == ["p2", "p3", "p4"]
    assert list(pd.read_csv(paths.FAULTS)) == ["where", "problem", "mend", "group"]


def test_a_second_table_is_the_eval_set_and_its_labels_the_truth(tmp_path: Path) -> None:
    layouts.table(eval="eval.csv")()
    layouts.photo("a.png", "b.png")()
    Path("eval.csv").write_text("diagnosis;filename\ndog;a.png\ncat;b.png\n")
    prepare.run(load(), SILENT)
    assert photos.read_eval()[["ImageID", "label"]].to_numpy().tolist() == [["a.png", 1], ["b.png", 0]]
    Path("eval.csv").write_text("filename\na.png\nb.png\n")
    prepare.run(load(), SILENT)
    assert list(photos.read_eval()) == ["ImageID", "content"]


def test_classes_whose_levels_read_the_same_together_are_told(tmp_path: Path) -> None:
    rows = ["cat/1.png,red,wine glass", "cat/2.png,red wine,glass", "dog/1.png,red,glass", "dog/2.png,red,glass"]
    layouts.table(*rows, header="filename,colour,thing", axes={"colour": {}, "thing": {}})()
    told = (
        "photos.csv: two classes are called `red wine glass`, and only colour and thing tell them apart; rename a level"
    )
    assert photos.find(load()).warnings == [told]


def test_what_stands_beside_train_and_is_not_used_is_told_but_not_the_eval_set(tmp_path: Path) -> None:
    layouts.divided()
    layouts.photo("holdout/a.png")()
    for place in ("pets/holdout", str(tmp_path / "pets/holdout")):
        layouts.params({"layout": "folder", "root": "pets", "eval": place})
        found = photos.find(load())
        assert (len(found.eval), found.warnings) == (1, ["pets/test: stands beside train/: not used"])


def test_without_a_root_files_start_from_the_folder_of_the_table(tmp_path: Path) -> None:
    layouts.table(root=None, train="pets/photos.csv")()
    layouts.TABLE.rename("pets/photos.csv")
    prepare.run(load(), SILENT)
    assert photos.folder(load()) == Path("pets")
    assert len(photos.read(task_and_classes.read(load()))) == 4


def test_the_root_may_lie_outside_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.folder()
    outside = Path("pets").rename(tmp_path.parent / f"{tmp_path.name}-pets")
    layouts.params({"layout": "folder", "root": str(outside)})
    run()
    assert photos.read(task_and_classes.read(load()))["file"].iloc[0] == "cat/1.png"
    assert not Path("pets").exists()


def test_numbers_are_kept_as_they_are_written_to_photos_csv(tmp_path: Path) -> None:
    """A number just below a bin would be rounded up to it in the file, and be of another class when read again."""
    rows = ["cat/1.png,p1,cat,29.99999999", "cat/2.png,p2,cat,29", "dog/1.png,p3,dog,61", "dog/2.png,p4,dog,61.5"]
    layouts.table(*rows, header=layouts.WITH_AGE, axes=layouts.AGES)()
    run()
    table = photos.read(task_and_classes.read(load()))
    assert table["age"].tolist() == [29.99999999, 29, 61, 61.5]
    assert table["label"].tolist() == open_all(load()).labels.tolist() == [0, 0, 5, 5]


@pytest.mark.parametrize(
    ("days", "bins", "levels", "labels"),
    [
        ((20230131, 20221231, 20230103, 20230101), [20230101, 20230103], None, [2, 0, 2, 1]),
        ((19999.99, 20000, 20000.01, 5), [20000, 20000.005], ("<20000", "20000-20000.005", "20000.005+"), [0, 1, 2, 0]),
        (
            (2**53 - 1, 2**53 - 2, 1, -0.0),
            [5, 2**53 - 1],
            ("<5", "5-9007199254740990", "9007199254740991+"),
            [2, 1, 0, 0],
        ),
    ],
)
def test_numbers_of_many_digits_stay_on_their_side_of_a_bin(
    tmp_path: Path, days: tuple[float, ...], bins: list[float], levels: tuple[str, ...] | None, labels: list[int]
) -> None:
    rows = [f"{file},{patient},{day}" for (file, patient, _), day in zip(layouts.ROWS, days, strict=True)]
    layouts.table(*rows, axes={"diagnosis": {"bins": bins}}, group="patient")()
    run()
    own = task_and_classes.read(load())
    assert own.class_names == (levels or ("<20230101", "20230101-20230102", "20230103+"))
    assert photos.read(own)["diagnosis"].tolist() == photos.read_groups(own)["diagnosis"].tolist() == list(days)
    assert photos.read(own)["label"].tolist() == open_all(load()).labels.tolist() == labels


def test_numbers_of_the_eval_photos_may_have_decimals_where_those_of_training_have_none(tmp_path: Path) -> None:
    rows = [*(f"{file},train,{day}" for (file, _, _), day in zip(layouts.ROWS, (-1, 0, 29, 30), strict=True))]
    layouts.table(
        *rows, "a.png,test,29.7", "b.png,test,-0.5", axes={"diagnosis": {"bins": [0, 29.5]}}, split="patient"
    )()
    layouts.photo("a.png", "b.png")()
    prepare.run(load(), SILENT)
    assert photos.read(task_and_classes.read(load()))["diagnosis"].dtype.kind == "i"
    assert photos.read_eval()["label"].tolist() == [2, 0]


def test_numbers_of_more_digits_than_are_kept_are_of_the_class_that_the_kept_ones_are_of(tmp_path: Path) -> None:
    days = (1675123456789012345, 1675123456789012346, 1675123456789500000, 5)
    rows = [f"{file},{patient},{day}" for (file, patient, _), day in zip(layouts.ROWS, days, strict=True)]
    layouts.table(*rows, axes={"diagnosis": {"bins": [7, 1675123456789012346]}})()
    run()
    own = task_and_classes.read(load())
    table = photos.read(own)
    assert table["label"].tolist() == own.labels(table).tolist()


def test_a_split_that_is_not_known_is_not_told_to_be_an_eval_photo_too(tmp_path: Path) -> None:
    layouts.of_split("a.png,hold,")()
    layouts.photo("a.png")()
    assert photos.find(load()).warnings == []


@pytest.mark.parametrize(("group", "columns"), [("p9", ["ImageID", "group", "label"]), ("nan", ["ImageID", "label"])])
def test_eval_photos_of_no_group_are_scored_one_by_one(tmp_path: Path, group: str, columns: list[str]) -> None:
    layouts.table(*(f"{file},{who},{kind}" for file, who, kind in layouts.ROWS), group="patient")()
    Path("pets/new.csv").write_text(f"filename,patient,diagnosis\na.png,{group},cat\nb.png,{group},dog\n")
    layouts.photo("a.png", "b.png")()
    data = load().data.model_copy(update={"eval": "pets/new.csv"})
    found = photos.find(load().model_copy(update={"data": data}))
    assert (list(found.eval), found.eval_faults) == (columns, [])
