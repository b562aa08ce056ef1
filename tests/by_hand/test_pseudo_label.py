"""Which eval photos `maskcli pseudo-label` chooses, and from whose predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.by_hand import pseudo_label
from stages.data.pixel_cache import open_cache
from stages.data.pseudo_labelled_photos import read_labels
from stages.data.task_and_classes import CONTEST
from stages.learn import model
from stages.params.schema import Params
from stages.submission.eval_predictions import predict_views
from tests.conftest import record_folds, small


def test_the_surest_of_each_class_are_chosen() -> None:
    probabilities = np.array(
        [
            [0.90, 0.05, 0.05],
            [0.95, 0.03, 0.02],
            [0.90, 0.10, 0.00],  # as sure as the first, and later
            [0.30, 0.40, 0.30],  # not sure
            [0.05, 0.05, 0.90],
            [0.99, 0.01, 0.00],
        ]
    )
    assert list(pseudo_label.select(probabilities, 0.8, 3)) == [0, 1, 4, 5]
    assert list(pseudo_label.select(probabilities, 0.9, 1)) == [4, 5]
    assert list(pseudo_label.select(probabilities, 1.0, 9)) == []


@given(
    arrays(np.float64, st.tuples(st.integers(1, 20), st.just(4)), elements=st.floats(0.01, 1)),
    st.floats(0, 1),
    st.integers(1, 5),
)
def test_no_class_exceeds_its_cap_and_nobody_surer_is_left_out(
    raw: np.ndarray, confidence: float, per_class: int
) -> None:
    probabilities = raw / raw.sum(1, keepdims=True)
    chosen = pseudo_label.select(probabilities, confidence, per_class)
    predicted, sure = probabilities.argmax(1), probabilities.max(1)
    assert (sure[chosen] >= confidence).all()
    left = np.setdiff1d(np.arange(len(raw)), chosen)
    for number in range(4):
        own = chosen[predicted[chosen] == number]
        others = left[(predicted[left] == number) & (sure[left] >= confidence)]
        assert len(own) <= per_class
        if len(others):
            assert len(own) == per_class
            assert sure[others].max() <= sure[own].min()


@pytest.fixture
def params(project: Path) -> Params:
    """Two folds' untrained models with different weights."""
    params = small(pseudo={"confidence": 0.0, "per_class": 50}, tta={"views": ["identity"]})
    record = record_folds(params)
    for fold in params.folds:
        torch.manual_seed(fold)
        shape = model.architecture(params, CONTEST)
        model.save(paths.weights(fold), shape, model.build(shape).state_dict(), record)
    return params


def test_a_fold_is_labelled_by_its_own_models_alone(params: Params) -> None:
    found = pseudo_label.run(params, SILENT)
    images = pd.read_csv(paths.EVAL, dtype={"ImageID": str})["ImageID"]
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
    table = read_labels(paths.PSEUDO_LABELS, images, 18)
    ways = {"0": [0], "1": [1], "all": [0, 1]}
    answers = []
    for part, folds in ways.items():
        weights = [paths.weights(fold) for fold in folds]
        expected = predict_views(params, CONTEST, pixels, SILENT, weights).mean(0)
        own = table[table["fold"] == part].set_index("ImageID").loc[images]
        assert list(own["label"]) == list(expected.argmax(1))
        assert own["confidence"].to_numpy() == pytest.approx(expected.max(1), rel=1e-4)
        assert found[f"fold_{part}"] == len(images) == found["eval_photos"]
        answers.append(expected.max(1))
    assert not np.allclose(answers[0], answers[1], rtol=1e-3)  # else the folds could not be told apart


def test_without_an_eval_set_there_is_nothing_to_label(params: Params) -> None:
    pd.read_csv(paths.EVAL)[:0].to_csv(paths.EVAL, index=False)
    with pytest.raises(UserError, match="pseudo-label: there is no eval set; to add one, name it in"):
        pseudo_label.run(params, SILENT)


def test_labels_from_folds_that_learnt_pseudo_labels_are_refused(params: Params) -> None:
    pseudo_label.run(params, SILENT)
    again = params.model_copy(update={"pseudo": params.pseudo.model_copy(update={"labels": "pseudo/labels.csv"})})
    with pytest.raises(UserError, match=r"have learnt their own labels; set pseudo/none\.csv"):
        pseudo_label.run(again, SILENT)


def test_nobody_sure_enough_is_said_and_the_old_file_stays(params: Params) -> None:
    paths.PSEUDO_LABELS.parent.mkdir()
    paths.PSEUDO_LABELS.write_text("as it was")
    strict = params.model_copy(update={"pseudo": params.pseudo.model_copy(update={"confidence": 1.0})})
    with pytest.raises(UserError, match=r"probability 1\.0 or more; lower pseudo\.confidence"):
        pseudo_label.run(strict, SILENT)
    assert paths.PSEUDO_LABELS.read_text() == "as it was"


def test_classes_that_get_no_photo_are_named(params: Params) -> None:
    found = pseudo_label.run(params, SILENT)
    table = pd.read_csv(paths.PSEUDO_LABELS)
    absent = 18 - table[table["fold"] == "all"]["label"].nunique()
    assert len(found["classes_without_any"].split(", ")) == absent


def test_a_fold_that_is_sure_of_nothing_counts_0(params: Params) -> None:
    pseudo_label.run(params, SILENT)
    surest = pd.read_csv(paths.PSEUDO_LABELS).groupby("fold")["confidence"].max()
    less, more = sorted(surest[["0", "1"]])
    assert less < more
    between = params.pseudo.model_copy(update={"confidence": (less + more) / 2})
    found = pseudo_label.run(params.model_copy(update={"pseudo": between}), SILENT)
    assert [found[f"fold_{part}"] > 0 for part in surest[["0", "1"]].index] == list(surest[["0", "1"]] == more)
    assert 0 in (found["fold_0"], found["fold_1"])
