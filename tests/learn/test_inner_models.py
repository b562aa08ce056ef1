"""Labels that are most likely wrong are found within a fold's training side, by models that never saw the photo's group."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.data.fold_data import FoldData, open_fold
from stages.learn import checkpoint, fit, inner_models, learner, noise_robust
from stages.learn.checkpoint import Keeper
from stages.learn.inner_models import Search
from stages.learn.noise_robust import Found
from stages.params.schema import Params
from tests.conftest import small
from tests.learn import doubting

LR = 0.003


def noisy(action: str = "drop", **more: Any) -> Params:
    return small(label_noise={"action": action, **more})


def search(run: str = "a", talk: Talk = SILENT, **more: Any) -> Search:
    return Search(0, LR, Keeper(run, 0, 0, 2, 600.0), talk, **more)


def same(a: Found | None, b: Found | None) -> bool:
    assert a is not None
    assert b is not None
    return all(np.array_equal(one, vars(b)[name]) for name, one in vars(a).items())


def found(params: Params, data: FoldData, **more: Any) -> Found:
    made = inner_models.borne(params, data, search(fresh=True, **more))[1]
    assert made is not None
    return made


@pytest.fixture(autouse=True)
def doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_robust, "find", doubting.find)


@pytest.fixture
def data(project: Path) -> FoldData:
    return open_fold(small(), 0)


def test_without_label_noise_nothing_is_trained_and_the_fold_is_as_it_was(data: FoldData) -> None:
    assert inner_models.borne(small(), data, search()) == (data, None)
    assert not list(Path("out").glob("checkpoints/*"))


def test_what_is_found_does_not_depend_on_validation_photos_nor_on_their_labels(data: FoldData) -> None:
    params = noisy()
    pixels, labels = np.array(data.pixels[np.arange(len(data.pixels))]), data.labels.copy()
    pixels[data.val], labels[data.val] = 255 - pixels[data.val], (labels[data.val] + 7) % 18
    numbers = data.numbers.copy()
    numbers[data.val] = 99.0
    other = replace(data, pixels=pixels, labels=labels, train_labels=labels, numbers=numbers)
    assert same(found(params, data), found(params, other))
    flipped = data.train_labels.copy()  # while the training side's own labels do count
    flipped[data.train[:14]] = (flipped[data.train[:14]] + 9) % 18
    assert not same(found(params, data), found(params, replace(data, labels=flipped, train_labels=flipped)))


def test_each_part_is_judged_by_a_model_that_saw_none_of_its_groups(
    data: FoldData, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[tuple[set[int], set[int]]] = []
    start = learner.start

    def noted(params: Params, own: FoldData, *more: Any) -> Any:
        sides.append((set(own.train // 7), set(own.val // 7)))  # seven photos a person, in photos.csv's order
        return start(params, own, *more)

    monkeypatch.setattr(learner, "start", noted)
    found(noisy(folds=3), data)
    assert len(sides) == 3
    assert all(not trained & judged for trained, judged in sides)
    assert all(trained | judged == set(data.train // 7) for trained, judged in sides)


def test_pseudo_labelled_photos_are_never_suspects_and_teach_no_inner_model(data: FoldData) -> None:
    more = len(data.labels) + np.arange(5)
    pixels = np.concatenate(
        [data.pixels[np.arange(len(data.pixels))], np.zeros((5, *data.pixels[:1].shape[1:]), np.uint8)]
    )
    joined = replace(
        data,
        pixels=pixels,
        labels=np.append(data.labels, np.zeros(5, np.int64)),
        train_labels=np.append(data.train_labels, np.zeros(5, np.int64)),
        numbers=np.append(data.numbers, np.full(5, np.nan)),
        train=np.append(data.train, more),
    )
    assert same(found(noisy(), data), found(noisy(), joined))


def test_what_was_found_is_kept_and_not_looked_for_again(data: FoldData, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    first = inner_models.borne(noisy(), data, search())
    with monkeypatch.context() as patch:
        patch.setattr(fit, "fit", None)
        again = inner_models.borne(noisy(), data, search(talk=Talk(said.append)))
    assert same(first[1], again[1])
    assert (first[0].train == again[0].train).all()
    assert "fold 0: " in said[-1]
    assert "label_noise.action: drop" in said[-1]
    search().kept.write_bytes(b"damaged")
    assert same(first[1], inner_models.borne(noisy(), data, search())[1])


def interrupt_after(steps: int) -> Callable[[], bool]:
    asked = iter(range(10**9))
    return lambda: next(asked) >= steps


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 8])  # in the first model, and in the second
def test_a_search_that_is_cut_off_goes_on_to_the_same_bytes(data: FoldData, steps: int) -> None:
    whole = found(noisy(), data)
    with pytest.raises(KeyboardInterrupt, match="fold 0, inner model"):
        inner_models.borne(noisy(), data, search("b", interrupt=interrupt_after(steps)))
    left = checkpoint.headers()
    assert {header.fold for header in left} == {-1}  # no fold's: submit-now answers by none of them
    said: list[str] = []
    assert same(whole, inner_models.borne(noisy(), data, search("b", talk=Talk(said.append)))[1])
    inner_models.forget(noisy(), search("b"))
    assert not [header for header in checkpoint.headers() if header.run == "b"]
    assert search("b").kept.exists()


def test_what_another_time_limit_has_shaped_is_looked_for_anew(data: FoldData) -> None:
    params = noisy()
    _, shaped = inner_models.borne(params, data, search())
    assert shaped is not None
    inner_models._write(search().kept, replace(shaped, limit="3 minutes", looked=1))
    assert inner_models._read(search()) is None
    own = search()
    own.keeper.asked = "3 minutes"
    kept = inner_models._read(own)
    assert kept is not None
    assert kept.looked == 1


def test_too_few_groups_are_refused(data: FoldData) -> None:
    with pytest.raises(UserError, match=r"label_noise.folds: `20` is more than the 12 people that fold 0 trains on"):
        found(noisy(folds=20), data)


def test_several_processes_are_refused(data: FoldData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda accelerator: 2))
    with pytest.raises(UserError, match=r"label_noise.action: `drop` works in one process only"):
        found(noisy(), data)


SETTINGS: dict[str, dict[str, Any]] = {
    "f1": {"loss": "f1", "sampler": "weighted", "augment": {"mixup": 0.4}},
    "ldam": {
        "loss": "ldam",
        "losses": {"ldam": {"drw": 0.5}},
        "targets": "factored",
        "sampler": "class_uniform",
    },
    "weighted_ce": {
        "loss": "weighted_ce",
        "regression": {"weight": 0.5},
        "train_bins": {"age": [30, 58]},
        "augment": {"cutmix": 1.0},
    },
}
FAST = {("f1", "weight"), ("ldam", "smooth")}


@pytest.mark.parametrize(
    ("setting", "action"),
    [
        pytest.param(setting, action, marks=[] if (setting, action) in FAST else pytest.mark.slow)
        for setting in SETTINGS
        for action in ("drop", "weight", "smooth")
    ],
)
def test_training_bears_it_with_losses_samplers_mixing_targets_and_regression(
    project: Path, setting: str, action: str
) -> None:
    params = small(**SETTINGS[setting], label_noise={"action": action})
    data = open_fold(params, 0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".* without a training photo")
        own, suspects = inner_models.borne(params, data, search())
    assert suspects is not None
    assert len(suspects.which) == doubting.MOST
    assert (own.train_labels[data.val] == data.train_labels[data.val]).all()
    made = learner.start(params, own, 0, LR, Accelerator(), SILENT)
    progress = fit.fit(made)
    assert np.isfinite(progress.last_logits).all()
    assert len(own.val) == len(progress.last_logits)
