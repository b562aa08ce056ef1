"""What was run is recorded beside its outputs, and whoever joins folds sees whether they belong together."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import oof_ensemble, train, tta_predict
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_json, write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import epochs
from stages.learn.training_terms import Terms
from stages.params.load import parse
from stages.records import past_runs, run_record
from stages.records.run_record import Record
from tests.conftest import small


@pytest.fixture(scope="module")
def two_folds(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two folds of ce; never written to."""
    folder = tmp_path_factory.mktemp("two_folds") / "project"
    shutil.copytree(prepared, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_json(paths.LR_CHOSEN, {"lr": 0.003})
        train.run(small(), SILENT, None)
    return folder


@pytest.fixture
def trained(two_folds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `two_folds`, as the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(two_folds, folder)
    monkeypatch.chdir(folder)
    return folder


def test_folds_of_one_run_have_the_same_record_and_outputs_that_carry_its_key(trained: Path) -> None:
    first, second = (paths.train_run(fold).read_bytes() for fold in (0, 1))
    assert first == second
    record = run_record.of_fold(0)
    assert (record.params["loss"], record.params["train"]["epochs"], record.lr) == ("ce", 2, 0.003)
    for output in (paths.oof_logits(0), paths.weights(0)):
        assert run_record.mark_of(output) == record.run
    train.run(small(), SILENT, 0, Terms(fresh=True))
    assert paths.train_run(0).read_bytes() == first


def test_a_fold_of_another_method_is_named_and_nothing_is_joined(trained: Path) -> None:
    oof_ensemble.run(small(), SILENT)
    before = paths.OOF_METRICS.read_bytes()
    train.run(small(loss="focal"), SILENT, 0)
    message = (
        r"out/train: fold 0 was trained with loss: focal \(the others: ce\), so oof-ensemble would mix methods; run "
        r"`maskcli train --fold 0` \(or `dvc repro`\)"
    )
    with pytest.raises(UserError, match=message):
        oof_ensemble.run(small(), SILENT)
    # Where params.yaml asks for focal, the other fold is the one to train again.
    with pytest.raises(UserError, match=r"fold 1 was trained with loss: ce \(the others: focal\)"):
        oof_ensemble.run(small(loss="focal"), SILENT)
    assert paths.OOF_METRICS.read_bytes() == before


def test_params_typed_after_training_name_no_result(trained: Path) -> None:
    with pytest.raises(
        UserError, match=r"the folds were trained with loss: ce \(now: focal\), so oof-ensemble would call"
    ):
        oof_ensemble.run(small(loss="focal"), SILENT)
    oof_ensemble.run(small(tta={"views": ["identity"]}, budget={"minutes": 5.0}), SILENT)  # no matter of training
    assert past_runs.of_revision("workspace").loss == "ce"


def test_a_fold_whose_outputs_are_of_two_runs_is_seen(trained: Path) -> None:
    """As after a kill between weights and logits, or a `git checkout` without `dvc checkout`."""
    old = paths.oof_logits(1).read_bytes()
    for fold in (0, 1):
        train.run(small(loss="focal"), SILENT, fold)
    paths.oof_logits(1).write_bytes(old)
    with pytest.raises(UserError, match=r"out/train/1/oof_logits.npz: is of another run than out/train/1/run.json"):
        oof_ensemble.run(small(loss="focal"), SILENT)


def test_data_changed_since_is_no_data_of_these_folds(trained: Path) -> None:
    table = paths.PHOTOS.read_text()
    assert ",3," in table
    paths.PHOTOS.write_text(table.replace(",3,", ",4,", 1))
    with pytest.raises(UserError, match=r"the folds were trained with another out/prepare/photos\.csv"):
        oof_ensemble.run(small(), SILENT)


def test_other_code_and_libraries_are_told_and_joined(trained: Path) -> None:
    record = run_record.of_fold(1)
    other = record.model_copy(update={"run": "other", "setting": record.setting | {"torch": "1.0+cu1"}})
    run_record.write(paths.train_run(1), other)
    arrays = dict(np.load(paths.oof_logits(1)))
    np.savez(paths.oof_logits(1), **arrays | {"run": np.array("other")})
    paths.weights(1).unlink()
    said: list[str] = []
    oof_ensemble.run(small(), Talk(said.append))
    assert "oof-ensemble: computed with another torch (fold 0: " in said[0]
    assert "fold 1: 1.0+cu1" in said[0]


def test_the_joined_folds_record_says_what_was_run_and_the_arrays_carry_its_key(trained: Path) -> None:
    oof_ensemble.run(small(), SILENT)
    found = past_runs.of_revision("workspace")
    assert found.run == run_record.of_fold(0).run == str(np.load(paths.OOF_ARRAYS)["run"])
    assert found.params["ensemble"] == {"replicates": 100}
    assert read_json(paths.DECISION, "oof-ensemble")["run"] == found.run


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loss": "focal"}, "loss: ce (now: focal)"),
        ({"loss": "label_smoothing", "losses": {"label_smoothing": {"eps": 0.2}}}, "loss: ce (now: label_smoothing)"),
        ({"losses": {"focal": {"gamma": 1.0}}}, ""),  # options of a loss that is not in use
        ({"budget": {"minutes": 3.0}}, ""),
        ({"model": {"options": {"pad_type": "same"}}}, "model.options.pad_type: not set (now: same)"),
        ({"train": {"epochs": 3}, "seed": 1}, "seed: 0 (now: 1), train.epochs: 2 (now: 3)"),
    ],
)
def test_differences_are_those_of_method(changes: dict[str, Any], told: str) -> None:
    before, after = (Record(params=run_record.training(params)) for params in (small(), small(**changes)))
    assert run_record.in_words(run_record.differing(before, after), "now") == told


def test_a_record_of_another_version_counts_new_keys_with_their_default() -> None:
    params = run_record.training(small())
    del params["model"]["weights"]
    old = Record(params=params | {"gone": {"key": 1}})
    assert run_record.differing(old, Record(params=run_record.training(small()))) == {}
    assert list(run_record.differing(old, Record(params=run_record.training(small(model={"weights": "a.pth"}))))) == [
        "model.weights"
    ]


NAMED = (
    ({"train_bins": {"age": [30, 58]}}, {"train_bins": {}}, "train_bins.age: [30, 58] (now: not set)"),
    ({"axes": {"size": {"bins": [1.5]}}}, {"axes": {"size": {"bins": [2]}}}, "axes.size.bins: [1.5] (now: [2])"),
    (
        {"axes": {"label": {"levels": ["a"]}}},
        {"axes": {"label": {"levels": ["b"]}}},
        'axes.label.levels: ["a"] (now: ["b"])',
    ),
    (
        {"data": {"age_bins": [30, 58]}},
        {"axes": {"age": {"bins": [30, 60]}}},
        "axes.age.bins: [30, 58] (now: [30, 60])",
    ),
    ({"data": {"age_bins": [30, 60], "train_age_bins": None}}, {"axes": {"age": {"bins": [30, 60]}}}, ""),
    ({"age_regression": {"weight": 0.1}}, {"regression": {"weight": 0.0}}, "regression.weight: 0.1 (now: 0)"),
)


@pytest.mark.parametrize(("before", "after", "told"), NAMED)
def test_axes_and_bins_that_a_person_names_are_compared_and_old_keys_under_todays_names(
    before: dict[str, Any], after: dict[str, Any], told: str
) -> None:
    found = run_record.differing(Record(params=before), Record(params=after))
    assert run_record.in_words(found, "now").replace("(now: 0.0)", "(now: 0)") == told


def test_what_only_joining_reads_is_asked_of_joined_folds_alone(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prepared)
    params, other = small(), small(ensemble={"replicates": 107})
    fold = Record(params=run_record.training(params), data=run_record.contents(params))
    joined = fold.model_copy(update={"params": fold.params | {"ensemble": {"replicates": 100}}})
    assert run_record.not_asked(params, joined) == run_record.not_asked(other, fold) == {}
    assert run_record.not_asked(other, joined) == {"ensemble.replicates": (100, 107)}


def test_epochs_for_a_refit_are_not_taken_from_another_method(trained: Path) -> None:
    with pytest.raises(UserError, match=r"refit: the folds were trained with loss: ce \(now: focal\), so the epochs"):
        epochs.for_refit(small(loss="focal"), SILENT)
    said: list[str] = []
    epochs.run(small(loss="focal"), Talk(said.append))
    assert said == ["epochs: this is about what was trained: loss: ce (params.yaml now: focal)"]
    train.run(small(loss="focal"), SILENT, 0)
    said.clear()
    assert epochs.run(small(loss="focal"), Talk(said.append))["folds"] == [0]
    assert said == ["epochs: left out: fold 1 was trained with loss: ce (the others: focal)"]


def test_offsets_of_another_run_decide_no_answers(trained: Path) -> None:
    oof_ensemble.run(small(), SILENT)
    for fold in (0, 1):
        train.run(small(seed=1), SILENT, fold)
    params = small(seed=1, decision="adjusted")
    with pytest.raises(UserError, match=r"decision.json: was fitted on the OOF predictions of another run"):
        tta_predict.run(params, SILENT)
    for image in ({"face": 0.5}, {"height": 48}):
        with pytest.raises(UserError, match=r"the folds were trained with seed: 1 \(now: 0\), image\."):
            tta_predict.run(small(image=image), SILENT)


def test_without_label_noise_a_run_is_what_it_was_before_there_was_such_a_group() -> None:
    """Neither its key nor its record knows of the group while it is off, whatever stands in it."""
    off = parse({"label_noise": {"action": "none", "folds": 5, "share": 0.1}})
    before = run_record.made(parse({}), 0.003, {})
    assert "label_noise" not in before.params
    assert run_record.made(off, 0.003, {}) == before
    on = [parse({"label_noise": {"action": action}}) for action in ("drop", "weight", "smooth")]
    assert len({before.run, *(run_record.made(params, 0.003, {}).run for params in on)}) == 4


def test_a_record_without_label_noise_is_of_a_training_without_it_whatever_params_say_now() -> None:
    before = run_record.made(parse({}), 0.003, {})
    now = parse({"label_noise": {"action": "drop"}})
    assert run_record.not_asked(now, before) == {"label_noise.action": ("none", "drop")}
    assert run_record.as_run(now, before).label_noise.is_off
    assert not run_record.as_run(parse({}), run_record.made(now, 0.003, {})).label_noise.is_off
