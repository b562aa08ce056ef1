"""Pseudo-labelled eval photos join a fold's training side, and nothing else."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import oof_ensemble, train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT
from stages.data import pseudo_labelled_photos
from stages.data.fold_data import FoldData, open_fold
from stages.data.pixel_cache import open_cache
from stages.learn import augment, loader
from stages.params.schema import Params
from tests.conftest import small

LABELS = "pseudo/labels.csv"


def write_labels(rows: list[tuple[str, int, int]], split: str | None = None) -> pd.DataFrame:
    """A table of (fold, position in the eval set, label)."""
    images = pd.read_csv(paths.EVAL, dtype={"ImageID": str})["ImageID"]
    table = pd.DataFrame(
        [(fold, images[place], label, 0.99, split or pseudo_labelled_photos.split()) for fold, place, label in rows],
        columns=list(pseudo_labelled_photos.COLUMNS),
    )
    Path("pseudo").mkdir(exist_ok=True)
    table.to_csv(LABELS, index=False)
    return table


def with_labels(**changes: object) -> Params:
    return small(pseudo={"labels": LABELS}, **changes)


def joined(fold: int = 0) -> FoldData:
    return pseudo_labelled_photos.join(with_labels(), open_fold(small(), fold), str(fold))


@given(st.integers(1, 9), st.lists(st.integers(0, 8), max_size=6), st.data())
def test_two_caches_read_as_their_concatenation(first: int, rows: list[int], data: st.DataObject) -> None:
    pixels = np.arange((first + 9) * 12, dtype=np.uint8).reshape(-1, 2, 2, 3)
    a, b = pixels[:first], pixels[first:]
    both = pseudo_labelled_photos.TwoCaches(a, b, np.array(rows, int))
    whole = np.concatenate([a, b[rows]])
    which = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=12)), int)
    assert len(both) == len(whole)
    assert (both[which] == whole[which]).all()


def test_each_fold_gets_its_own_photos_with_their_pixels_and_labels(project: Path) -> None:
    write_labels([("0", 5, 17), ("0", 2, 3), ("1", 7, 9), ("all", 8, 4)])
    plain, data = open_fold(small(), 0), joined(0)
    photos = len(plain.labels)
    assert list(data.train[len(plain.train) :]) == [photos, photos + 1]
    assert list(data.train_labels[photos:]) == [17, 3]
    eval_pixels = open_cache(paths.EVAL_PIXELS, 42, small())
    assert (data.pixels[np.array([photos, 3, photos + 1])] == [eval_pixels[5], plain.pixels[3], eval_pixels[2]]).all()
    assert list(joined(1).train_labels[photos:]) == [9]


def test_class_counts_include_pseudo_labels(project: Path) -> None:
    write_labels([("0", 5, 17), ("0", 2, 17), ("0", 3, 1)])
    more = joined().class_counts - open_fold(small(), 0).class_counts
    assert more[17] == 2
    assert more[1] == 1
    assert more.sum() == 3


def test_pseudo_photos_are_never_in_a_validation_side_and_get_no_oof_prediction(project: Path) -> None:
    write_labels([(fold, place, place % 18) for fold in ("0", "1") for place in range(20)])
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    photos = len(pd.read_csv(paths.PHOTOS))
    for fold in (0, 1):
        assert (joined(fold).val == open_fold(small(), fold).val).all()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            train.run(with_labels(train={"epochs": 1}, regression={"weight": 1.0}), SILENT, fold)
        history = pd.read_csv(paths.history(fold))
        assert np.isfinite(history[["train_loss", "train_age_loss", "val_age_mae"]]).all(axis=None)
        with np.load(paths.oof_logits(fold)) as arrays:
            assert sorted(arrays["photo"]) == sorted(open_fold(small(), fold).val)
    found = oof_ensemble.join(with_labels(train={"epochs": 1}), photos, 18)
    assert found.selected.shape == (1, photos, 18)


def test_training_batches_hold_pseudo_photos_of_unknown_age(project: Path) -> None:
    write_labels([("0", 5, 17)])
    params, data = with_labels(), joined()
    order = loader.epoch_order(params, data, 0, 0)
    batches = list(loader.training(params, data, order, augment.make(params), loader.Place(0, 0)))
    which = np.concatenate([batch.which for batch in batches])
    ages = np.concatenate([batch.numbers.numpy() for batch in batches])
    assert sorted(which) == sorted(data.train)
    assert list(np.isnan(ages)) == list(which == len(data.labels) - 1)


def test_switched_off_nothing_changes_and_no_file_is_read(project: Path) -> None:
    data = open_fold(small(), 0)
    assert small().pseudo.labels == "pseudo/none.csv"
    assert not Path("pseudo").exists()
    assert pseudo_labelled_photos.join(small(), data, "0") is data


@pytest.mark.parametrize(
    ("rows", "split", "message"),
    [
        ([("0", 3, 18)], None, r"line 2 \(.*jpg\): label is no class from 0 to 17"),
        ([("0", 3, 1), ("0", 3, 2)], None, r"line 3 \(.*jpg\): ImageID stands twice in one fold"),
        ([("0", 3, 1)], "0123456789ab", "split is not that of out/kfold/folds.csv"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    project: Path, rows: list[tuple[str, int, int]], split: str | None, message: str
) -> None:
    write_labels(rows, split)
    with pytest.raises(UserError, match=message):
        joined()


def test_labels_of_an_eval_photo_that_was_replaced_under_its_name_are_refused(project: Path) -> None:
    write_labels([("0", 3, 1)])
    joined()
    images = pd.read_csv(paths.EVAL, dtype=str)
    images.loc[3, "content"] = "0123456789abcdef"
    images.to_csv(paths.EVAL, index=False)
    with pytest.raises(UserError, match=r"line 2 .*split is not that of .* be of other eval photos"):
        pseudo_labelled_photos.join(with_labels(), open_fold(small(), 0), "0")


def test_files_of_other_kinds_are_refused(project: Path) -> None:
    data = open_fold(small(), 0)
    with pytest.raises(UserError, match=r"pseudo/labels\.csv not found; run `maskcli pseudo-label`"):
        pseudo_labelled_photos.join(with_labels(), data, "0")
    Path("pseudo").mkdir()
    for content in ("", "a,b\n1,2\n", '"'):
        Path(LABELS).write_text(content)
        with pytest.raises(UserError, match=r"pseudo/labels\.csv: (is not a CSV table|must have the columns)"):
            pseudo_labelled_photos.join(with_labels(), data, "0")
    write_labels([])
    with pytest.raises(UserError, match="lists no photo; to train without pseudo-labels set"):
        pseudo_labelled_photos.join(with_labels(), data, "0")
    write_labels([("0", 3, 1)])
    Path(LABELS).write_text(Path(LABELS).read_text().replace(".jpg", ".jpeg"))
    with pytest.raises(UserError, match="ImageID is not in the eval set"):
        pseudo_labelled_photos.join(with_labels(), data, "0")


def test_a_labels_array_of_the_validation_side_is_untouched(project: Path) -> None:
    write_labels([("0", 5, 17)])
    plain, data = open_fold(small(), 0), joined()
    assert (data.labels[data.val] == plain.labels[plain.val]).all()
    assert (data.numbers[data.val] == plain.numbers[plain.val]).all()
