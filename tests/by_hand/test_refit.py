"""A refit: all training people, epochs as in the folds, nothing to validate on."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import epochs, refit
from stages.data.fold_data import open_all, open_fold
from stages.data.photos import content_of
from stages.data.pixel_cache import open_cache
from stages.data.task_and_classes import CONTEST
from stages.learn import loader
from stages.params.schema import Params
from stages.records import learnt_photos
from stages.records.learnt_photos import Known
from stages.submission import write
from stages.submission.eval_predictions import predict_views
from tests.conftest import record_folds, small
from tests.tasks import PATIENTS, task_of


def fold_history(f1: list[float], params: Params) -> None:
    """Both folds' records and histories with this val_f1 after each epoch."""
    record_folds(params)
    for fold in (0, 1):
        columns: dict[str, Any] = {"epoch": range(1, len(f1) + 1), "val_f1": np.array(f1) + 0.01 * fold, "repeat": 0}
        write_csv(paths.history(fold), pd.DataFrame(columns | {"train_loss": 1.0, "val_loss": 1.0, "val_nll": 1.0}))


@pytest.fixture
def ready(project: Path) -> Path:
    """A project whose folds have been trained, as far as refit looks."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    fold_history([0.1, 0.2], small())
    return project


def run(params: Params, talk: Talk = SILENT) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return refit.run(params, talk)


def test_a_refit_trains_on_every_photo_and_keeps_the_epochs(ready: Path) -> None:
    said: list[str] = []
    params = small(refit={"seeds": 2})
    found = run(params, Talk(said.append))
    photos = len(pd.read_csv(paths.PHOTOS))
    assert found["train_photos"] == photos
    assert found["epochs"] == 2
    # k/(k-1) times the steps of a fold: an epoch of all photos, as often.
    fold_steps = 2 * len(loader.split(open_fold(params, 0).train, params.train.batch_size))
    assert found["steps"] == 2 * fold_steps
    history = pd.read_csv(paths.REFIT_HISTORY)
    assert history[["seed", "epoch"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert history[[f"drawn_{number}" for number in range(18)]].sum(axis=1).tolist() == [photos] * 4
    assert not any(name.startswith("val_") for name in history)
    assert history["train_loss"].notna().all()
    assert sum("refit seed 1: epoch  2" in line for line in said) == 1
    contents = content_of(pd.read_csv(paths.PHOTOS))
    for seed in range(2):
        (learnt,) = learnt_photos.of_weights(paths.refit_weights(seed))
        assert Known([learnt]).standing_for(contents).tolist() == [1.0] * photos
    assert json.loads(paths.REFIT_SUMMARY.read_text())["steps"] == found["steps"]


def test_the_submission_is_the_vote_of_the_seeds(ready: Path) -> None:
    params = small(refit={"seeds": 2, "epochs": 1}, tta={"views": ["identity", "hflip"]})
    found = run(params)
    assert (found["equal_answers"], found["decision"]) == (None, "argmax")
    images = pd.read_csv(paths.EVAL, dtype={"ImageID": str})["ImageID"]
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
    each = predict_views(params, CONTEST, pixels, SILENT, [paths.refit_weights(0), paths.refit_weights(1)])
    assert each.shape == (4, len(images), 18)
    assert not np.allclose(each[0], each[2])  # two seeds are two models
    with np.load(paths.REFIT_PROBABILITIES) as arrays:
        assert arrays["probabilities"] == pytest.approx(each.mean(0), abs=1e-6)
    submission = pd.read_csv(paths.REFIT_SUBMISSION)
    assert list(submission["ImageID"]) == list(images)
    assert list(submission["ans"]) == list(each.mean(0).argmax(1))


def test_the_same_seed_gives_the_same_refit_and_fewer_seeds_leave_none_behind(ready: Path) -> None:
    run(small(refit={"seeds": 2, "epochs": 1}))
    before = paths.refit_weights(0).read_bytes()
    run(small(refit={"seeds": 1, "epochs": 1}))
    assert paths.refit_weights(0).read_bytes() == before
    assert [path.name for path in paths.REFIT_MODELS.iterdir()] == ["0.safetensors"]


def test_patience_and_select_do_not_concern_a_refit(ready: Path) -> None:
    plain = small(refit={"seeds": 1, "epochs": 3})
    run(plain)
    before = paths.refit_weights(0).read_bytes()
    run(small(refit={"seeds": 1, "epochs": 3}, train={"patience": 1, "select": "best_f1"}))
    assert paths.refit_weights(0).read_bytes() == before
    assert len(pd.read_csv(paths.REFIT_HISTORY)) == 3


def test_without_an_eval_set_the_models_are_all_there_is(ready: Path) -> None:
    params = small(refit={"seeds": 1, "epochs": 1})
    run(params)
    pd.read_csv(paths.EVAL)[:0].to_csv(paths.EVAL, index=False)
    paths.EVAL_PIXELS.unlink()
    found = run(small(refit={"seeds": 1, "epochs": 2}))
    assert (found["eval_photos"], found["equal_answers"]) == (0, None)
    assert paths.refit_weights(0).is_file()
    assert not paths.REFIT_SUBMISSION.exists()  # nor that of the refit before
    assert not paths.REFIT_PROBABILITIES.exists()


def test_equal_answers_is_a_share_of_photos(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    for task in (CONTEST, PATIENTS, task_of(300)):
        images, answers = np.array(["a", "b", "c", "d"]), np.array([1, 2, 3, task.classes - 1])
        path.unlink(missing_ok=True)
        assert refit.equal_answers(task, images, answers, path) is None
        write.write(path, task, images, np.array([1, 2, 3, 5]))
        assert refit.equal_answers(task, images, answers, path) == 0.75
        write.write(path, task, images[::-1], answers[::-1])
        assert refit.equal_answers(task, images, answers, path) is None
    assert refit.equal_answers(CONTEST, images, answers, path) is None  # of another task


@pytest.mark.parametrize(
    ("f1", "schedule", "expected"),
    [
        ([0.1, 0.3, 0.5, 0.5, 0.5, 0.5], "constant", 3),  # a plateau: the earliest that is as good
        ([0.1, 0.3, 0.5, 0.4, 0.4, 0.4], "cosine", 3),  # a peak long before the schedule's end
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "cosine", 6),  # still rising
    ],
)
def test_auto_takes_the_epochs_that_the_advice_names(
    project: Path, f1: list[float], schedule: str, expected: int
) -> None:
    params = small(schedule={"name": schedule}, train={"epochs": 6})
    fold_history(f1, params)
    assert epochs.for_refit(params, SILENT) == expected
    advice = epochs.run(params, SILENT)
    assert advice["refit_epochs"] == expected
    assert advice["advice"].startswith(f"refit.epochs: {expected} for a refit")


def test_what_a_refit_cannot_do_is_said(project: Path) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    with pytest.raises(UserError, match="plateau lowers the learning rate by val_nll"):
        run(small(schedule={"name": "plateau"}))
    with pytest.raises(UserError, match=r"no fold has a history.csv yet"):
        run(small())
    assert not paths.REFIT.exists()


def test_all_photos_train_and_none_validates(project: Path) -> None:
    data, fold = open_all(small()), open_fold(small(), 0)
    assert list(data.train) == list(range(len(fold.labels)))
    assert len(data.val) == 0
    assert (data.class_counts == np.bincount(fold.train_labels, minlength=18)).all()


def test_a_refit_that_was_cut_off_goes_on(ready: Path) -> None:
    params = small(refit={"seeds": 2})
    run(params)
    whole = [paths.refit_weights(seed).read_bytes() for seed in (0, 1)]
    for path in (*paths.CHECKPOINTS.glob("*.ckpt"), *paths.REFIT_MODELS.iterdir()):
        path.unlink()

    class Stop(Exception):
        pass

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "seed 1: epoch  2" in line:
            raise Stop

    with pytest.raises(Stop):
        run(params, Talk(say))
    assert any("seed 0: epoch  1" in line for line in said)
    said.clear()
    run(params, Talk(said.append))
    assert not any("seed 0: epoch" in line or "seed 1: epoch  1" in line for line in said)
    assert [paths.refit_weights(seed).read_bytes() for seed in (0, 1)] == whole


def test_seeds_side_by_side_come_out_as_one_after_another_and_go_on_where_they_were(ready: Path) -> None:
    """The first refit is cut off while both seeds train; the second, which tells of refit seeds alone, ends them."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml", "threads": {"0": 1, "1": 1}, "device": "cpu"})
    alone = small(refit={"seeds": 2, "epochs": 3}, parallel={"jobs": 1, "threads": 1})
    together = alone.model_copy(update={"parallel": alone.parallel.model_copy(update={"jobs": 2})})
    run(alone)
    one_by_one = [
        path.read_bytes() for path in (paths.refit_weights(0), paths.refit_weights(1), paths.REFIT_SUBMISSION)
    ]

    class Stop(Exception):
        pass

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "seed 1: epoch  1" in line:
            raise Stop

    with pytest.raises(Stop):
        refit.run(together, Talk(say), fresh=True)
    assert any("seed 1: epoch  1" in line for line in said)
    said.clear()
    run(together, Talk(said.append))
    assert any(
        line.startswith("refit seed 1: goes on from") and line.endswith("`maskcli refit --fresh` would begin anew")
        for line in said
    )
    assert not any("fold" in line or "seed 1: epoch  1" in line for line in said)
    made = [path.read_bytes() for path in (paths.refit_weights(0), paths.refit_weights(1), paths.REFIT_SUBMISSION)]
    assert made == one_by_one
    said.clear()
    refit.run(alone, Talk(said.append), fresh=True)
    assert sum("epoch  1" in line for line in said) == 2
