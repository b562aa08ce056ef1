"""What the words of history.csv mean: train_loss, val_loss, the selected epoch."""

import itertools
import os
import random
import re
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages import lr_find, train
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.data.fold_data import FoldData, open_fold
from stages.data.task_and_classes import CONTEST
from stages.judge import metrics
from stages.learn import fit, loader, objective
from stages.learn.around_training import Around
from stages.learn.learner import Learner, start
from stages.learn.losses import LOSSES
from stages.learn.progress import Progress, select
from stages.learn.samplers import SAMPLERS
from stages.learn.step import step
from stages.learn.time_limit import Clock
from stages.learn.validation import validate
from stages.params.schema import Params
from tests.conftest import ROOT, SMALL, small


def learner(params: Params, data: FoldData | None = None, lr: float = 0.003) -> Learner:
    return start(params, data or open_fold(params, 0), 0, lr, Accelerator(), SILENT)


def run(params: Params, data: FoldData | None = None) -> Progress:
    return fit.fit(learner(params, data))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_combination_trains_two_finite_steps(project: Path, loss: str, sampler: str) -> None:
    for targets, head in itertools.product(("joint", "factored"), ("linear", "mlp")):
        params = small(loss=loss, sampler=sampler, targets=targets, model={"head": head}, augment={"pipeline": "none"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # small data: classes may be absent
            goal = objective.make(params, CONTEST, open_fold(params, 0).class_counts)
        made = learner(params)
        order = loader.epoch_order(params, made.data, 0, 0)
        for number, batch in itertools.islice(
            enumerate(loader.training(params, made.data, order, made.augment, loader.Place(0, 0))), 2
        ):
            parts = step(made, goal, batch, 0.003, number)
            assert all(torch.isfinite(part) for part in parts.values()), (targets, head)


def test_a_planted_overfit_shows_as_rising_val_loss_and_falling_train_loss(project: Path) -> None:
    """Random labels: whatever is learnt is learnt by heart. The mistake that started this project was one curve for both."""
    params = small(train={"epochs": 12}, augment={"pipeline": "none", "hflip": 0.0}, image={"margin": 2}, lr=0.01)
    photos = pd.read_csv("out/prepare/photos.csv", dtype={"person": str})
    rng = np.random.default_rng(0)
    photos["mask"], photos["gender"] = rng.integers(0, 3, len(photos)), rng.integers(0, 2, len(photos))
    photos.to_csv("out/prepare/photos.csv", index=False)
    write_json(Path("out/lr-find/lr.json"), {"lr": 0.01})
    train.run(params, SILENT, 0)

    history = pd.read_csv("out/train/0/history.csv")
    assert set(history["objective"]) == {"ce"}
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] - 0.5
    assert history["val_loss"].iloc[-1] > history["val_loss"].min() + 0.3
    assert (history["val_nll"] - history["val_loss"]).abs().max() < 1e-4  # ce: the objective is the cross entropy
    events = EventAccumulator("out/train/0/tensorboard/0").Reload()
    for tag, column in (("loss/train", "train_loss"), ("loss/val", "val_loss")):
        values = [event.value for event in events.Scalars(tag)]
        assert values == pytest.approx(history[column].tolist(), rel=1e-4)


def test_val_loss_is_the_objective_and_val_nll_the_cross_entropy(project: Path) -> None:
    params = small(loss="focal")
    made = learner(params)
    found = validate(made, objective.make(params, CONTEST, made.data.class_counts))
    log_p = found.logits[np.arange(len(made.data.val)), made.data.labels[made.data.val]].astype(np.float64)
    assert found.val_nll == pytest.approx(-log_p.mean(), rel=1e-5)
    assert found.val_loss == pytest.approx(np.mean((1 - np.exp(log_p)) ** 2 * -log_p), rel=1e-4)
    predicted = found.logits.argmax(1)
    assert found.val_f1 == pytest.approx(metrics.macro_f1(made.data.labels[made.data.val], predicted, 18))


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(project: Path) -> None:
    params = small(
        augment={"pipeline": "medium", "mixup": 0.2, "cutmix": 1.0}, model={"dropout": 0.2}, sampler="weighted"
    )
    first, second, other = run(params), run(params), run(small(seed=1))
    for key, value in first.selected_state.items():
        assert torch.equal(value, second.selected_state[key]), key
    assert any(not torch.equal(value, other.selected_state[key]) for key, value in first.selected_state.items())


def test_history_shows_what_the_sampler_drew(project: Path) -> None:
    row = run(small(sampler="class_uniform", train={"epochs": 1})).history[0]
    drawn = np.array([row[f"drawn_{number}"] for number in range(18)])
    data = open_fold(small(), 0)
    assert drawn.sum() == len(data.train)
    assert drawn[data.class_counts == 0].sum() == 0
    assert np.abs(drawn - data.class_counts).sum() > 0


def test_class_counts_come_from_the_training_side_alone(project: Path) -> None:
    data = open_fold(small(), 0)
    assert data.class_counts.sum() == len(data.train)
    assert not set(data.train) & set(data.val)


def test_train_bins_move_what_is_learnt_and_not_what_is_scored(project: Path) -> None:
    plain, moved = open_fold(small(), 0), open_fold(small(train_bins={"age": [30, 50]}), 0)
    assert (plain.labels == moved.labels).all()
    old = (moved.numbers >= 50) & (moved.numbers < 60)
    assert old.any()
    assert ((moved.train_labels - moved.labels)[old] == 1).all()
    assert (moved.train_labels == moved.labels)[~old].all()


def test_age_regression_is_logged_apart(project: Path) -> None:
    row = run(small(regression={"weight": 0.5}, train={"epochs": 1})).history[0]
    assert row["train_loss"] == pytest.approx(row["train_class_loss"] + row["train_age_loss"])
    assert 0 < row["val_age_mae"] < 100


def test_a_frozen_backbone_stands_still_and_the_head_learns(project: Path) -> None:
    params = small(model={"freeze_epochs": 1}, train={"epochs": 1})
    made = learner(params)
    before = {key: value.clone() for key, value in made.model.state_dict().items()}
    fit.fit(made)
    changed = {key for key, value in made.model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert not any(key.startswith("backbone.") for key in changed)


def test_after_its_frozen_epochs_the_backbone_warms_up_by_itself_and_the_history_shows_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = small(
        model={"freeze_epochs": 1},
        train={"epochs": 4, "batch_size": 32},
        schedule={"name": "constant", "warmup_epochs": 1.0},
        optimizer={"layer_decay": 0.5},
    )
    made, rates = learner(params), []
    real = made.optimizer.step

    def noted(*words: object) -> object:
        rates.append([max(g["lr"] for g in made.optimizer.param_groups if g["backbone"] == own) for own in (0, 1)])
        return real(*words)

    monkeypatch.setattr(made.optimizer, "step", noted)
    history = fit.fit(made).history
    steps = len(rates) // 4
    head, backbone = np.array(rates).T
    assert head[steps:] == pytest.approx(0.003)
    assert (backbone[:steps] == 0).all()
    shares = np.maximum(np.arange(steps) / steps, 0.001)
    # 0.5: of the head's, by layer_decay.
    assert backbone[steps:] == pytest.approx(0.5 * 0.003 * np.concatenate([shares, np.ones(2 * steps)]))
    assert [row["lr_backbone"] / row["lr"] for row in history] == pytest.approx([0, (steps - 1) / steps, 1, 1])
    assert "lr_backbone" not in run(small(train={"epochs": 1})).history[0]


def test_where_a_time_limit_shortens_the_frozen_epochs_the_backbone_is_let_go_within_an_epoch(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(small(model={"freeze_epochs": 2}, train={"epochs": 4, "batch_size": 16}))
    before = {key: value.clone() for key, value in made.bare.backbone.state_dict().items()}
    moved: list[bool] = []

    def after_step(around: Around, learner: Learner, progress: Progress, lr: float) -> None:
        moved.append(any(not torch.equal(value, before[key]) for key, value in made.bare.backbone.state_dict().items()))
        if len(moved) == 2:
            progress.limit, progress.share = "so many minutes", 0.55

    monkeypatch.setattr(Around, "after_step", after_step)
    fit.fit(made)
    assert moved[:4] == [False, False, True, True]


def test_layer_decay_slows_lower_layers(project: Path) -> None:
    made = learner(small(optimizer={"layer_decay": 0.5}))
    scales = sorted({group.get("lr_scale", 1.0) for group in made.optimizer.param_groups})
    assert scales[0] < scales[-1] == 1.0


def test_ema_weights_are_those_validated_and_kept(project: Path) -> None:
    params = small(train={"epochs": 1, "ema_decay": 0.9, "select": "last"})
    made = learner(params)
    progress = fit.fit(made)
    averaged = made.ema.module.state_dict()
    assert all(torch.equal(value, averaged[key]) for key, value in progress.selected_state.items())
    own = made.model.state_dict()
    assert any(not torch.equal(value, own[key]) for key, value in averaged.items())


def test_selection_rules() -> None:
    rows = [{"val_f1": f1, "val_nll": nll} for f1, nll in ((0.5, 1.0), (0.6, 1.2), (0.6, 1.1), (0.4, 0.9))]
    assert [select(rows, rule) for rule in ("best_f1", "best_nll", "last")] == [2, 3, 3]


def test_patience_stops_and_plateau_lowers_the_learning_rate(project: Path) -> None:
    params = small(
        train={"epochs": 12, "patience": 2},
        schedule={"name": "plateau", "plateau_patience": 0, "warmup_epochs": 0.0},
        optimizer={"name": "sgd"},
    )
    history = fit.fit(learner(params, lr=1e-9)).history
    assert len(history) < 12
    assert history[-1]["lr"] < history[0]["lr"]


def test_an_exploding_loss_stops_with_step_and_hint(project: Path) -> None:
    params = small(optimizer={"name": "sgd"})
    with pytest.raises(
        UserError, match=r"the class loss is NaN or infinite at epoch \d+, step \d+, learning rate .*; lower lr"
    ):
        fit.fit(learner(params, lr=1e30))


def test_an_unknown_optimizer_is_named_with_its_like(project: Path) -> None:
    with pytest.raises(UserError, match="timm has no optimizer `adamww`; did you mean `adamw"):
        learner(small(optimizer={"name": "adamww"}))


def test_lr_find_gives_the_weights_back(project: Path) -> None:
    made = learner(small(lr_find={"steps": 12, "end": 10.0}))
    before = {key: value.clone() for key, value in made.model.state_dict().items()}
    lrs, losses = lr_find.range_test(made, SILENT)
    assert len(lrs) == len(losses) >= 3
    assert (np.diff(lrs) > 0).all()
    assert all(torch.equal(value, before[key]) for key, value in made.model.state_dict().items())


def test_an_epoch_can_be_taken_up_at_any_step_and_shared_by_processes(project: Path) -> None:
    params = small(sampler="weighted", augment={"pipeline": "light"})
    made = learner(params)
    order = loader.epoch_order(params, made.data, 0, 3)
    assert (order == loader.epoch_order(params, made.data, 0, 3)).all()
    whole = list(loader.training(params, made.data, order, made.augment, loader.Place(0, 3)))
    rest = list(loader.training(params, made.data, order, made.augment, loader.Place(0, 3, 1)))
    assert len(rest) == len(whole) - 1
    assert all(torch.equal(one.photos, other.photos) for one, other in zip(rest, whole[1:], strict=True))
    shares = [
        list(loader.training(params, made.data, order, made.augment, loader.Place(0, 3, process=(index, 2))))
        for index in (0, 1)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(np.concatenate([part.which for part in parts])) == sorted(batch.which)


# As `-m cli.main`, and then what training ran in.
SAYS_ITS_PROCESS = """
from accelerate import PartialState
from cli.main import run
try:
    run()
finally:
    print(f"process {PartialState().process_index} of {PartialState().num_processes}", flush=True)
"""


def test_two_processes_train_one_fold_together_with_a_moving_average(project: Path) -> None:
    write_json(Path("out/lr-find/lr.json"), {"lr": 0.003})
    params = SMALL | {"train": SMALL["train"] | {"ema_decay": 0.9}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("both.py").write_text(SAYS_ITS_PROCESS)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*words, "both.py", "train", "--fold", "0"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = sorted(re.findall(r"process \d of \d", done.stdout))  # two processes may write into one line
    assert said == ["process 0 of 2", "process 1 of 2"]
    assert done.stderr.count("fold 0 epoch  2/2") == 1
    history = pd.read_csv("out/train/0/history.csv")
    data = open_fold(small(), 0)
    assert history[[f"drawn_{number}" for number in range(18)]].sum(axis=1).tolist() == [len(data.train)] * 2
    assert np.isfinite(history["train_loss"]).all()
    assert np.load("out/train/0/oof_logits.npz")["last"].shape == (1, len(data.val), 18)


def test_correcting_for_imbalance_twice_is_warned_of(project: Path) -> None:
    write_json(Path("out/lr-find/lr.json"), {"lr": 0.003})
    for loss, sampler, warned in (
        ("weighted_ce", "weighted", True),
        ("weighted_ce", "none", False),
        ("ce", "weighted", False),
    ):
        said: list[str] = []
        train.run(small(loss=loss, sampler=sampler, train={"epochs": 1}), Talk(said.append), 0)
        assert any("rare classes count twice" in line for line in said) == warned


def test_names_are_checked_before_any_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for changes, message in (
        ({"model": {"name": "resnet18x"}}, "timm has no model"),
        ({"optimizer": {"name": "adamww"}}, "timm has no optimizer"),
        ({"augment": {"pipeline": ["Clahe"]}}, "albumentations has no"),
    ):
        for stage in (lambda params: train.run(params, SILENT, 0), lambda params: lr_find.run(params, SILENT)):
            with pytest.raises(UserError, match=message):
                stage(small(**changes))


@pytest.mark.parametrize("changes", [{}, {"mixup": 0.2, "cutmix": 1.0}], ids=["plain", "mixed"])
def test_an_odd_number_of_photos_trains_at_batch_size_two(project: Path, changes: dict[str, float]) -> None:
    """At 32x32 px test_resnet's last feature map is 1x1, where batch norm fails on a batch of one photo."""
    params = small(train={"epochs": 1, "batch_size": 2}, augment=changes)
    data = open_fold(params, 0)
    for photos in (2, 3, 21):
        history = run(params, replace(data, train=data.train[:photos])).history
        assert sum(history[0][f"drawn_{number}"] for number in range(18)) == photos
        assert np.isfinite(history[0]["train_loss"])
    with pytest.raises(UserError, match=r"folds\.csv: a training side has 1 photos, and a batch needs 2"):
        run(params, replace(data, train=data.train[:1]))


def test_one_photo_for_a_process_is_refused_before_training(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda accelerator: 2))
    with pytest.raises(UserError, match=r"train.batch_size: `2` is less than 2 photos in each of 2 processes; set 4"):
        learner(small(train={"batch_size": 2}))


def test_batches_that_memory_cuts_leave_their_number_in_the_history(project: Path) -> None:
    """Pieces change what batch norm sees, and how much memory is free is no fact of the params."""
    made = learner(small(train={"epochs": 1, "auto_batch": True}))
    made.parts = 2
    said: list[str] = []
    done = fit.fit(made, Around(Talk(said.append)))
    assert done.history[0]["pieces"] == 2
    assert "training: memory ran out: batches are cut into 2 pieces (auto_batch)" in said
    assert "pieces" not in run(small(train={"epochs": 1})).history[0]


def test_a_training_keeps_the_threads_that_make_its_batches_from_epoch_to_epoch(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = learner(small()), loader._in_threads
    monkeypatch.setattr(loader, "CHEAP", -1.0)
    used: list[loader.Makers] = []

    def noted(make: Any, items: Any, makers: loader.Makers) -> Any:
        used.append(makers)
        return real(make, items, makers)

    monkeypatch.setattr(loader, "_in_threads", noted)
    fit.fit(made)
    assert [makers is made.making for makers in used] == [True, False, True, False]
    assert used[1] is used[3] is made.evaluating


def test_a_training_against_the_clock_cuts_its_photos_into_batches_no_oftener_than_epochs_begin(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a million photos a cut takes as long as a step."""
    cuts, real = [], loader.training_split

    def split(order: np.ndarray, *words: Any) -> list[np.ndarray]:
        cuts.append(len(order))
        return real(order, *words)

    made = learner(small(train={"batch_size": 4}))
    clock = Clock("so long", time.time() + 1e6, time.time(), 1, 0, 0.0, 1, 1, len(made.data.val), rate=1e3)
    monkeypatch.setattr(loader, "training_split", split)
    fit.fit(made, Around(clock=clock))
    assert len(cuts) == 1 + 2 * made.params.train.epochs


def test_no_clock_has_a_say_in_what_training_gives(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = small(augment={"pipeline": "medium"}, model={"dropout": 0.2})
    expected = run(params)
    noise = random.Random(0)
    for clock in ("perf_counter", "monotonic", "time"):
        monkeypatch.setattr(time, clock, lambda: 1e9 * noise.random())
    found = run(params)
    assert np.array_equal(found.last_logits, expected.last_logits)
    assert all(torch.equal(value, found.selected_state[key]) for key, value in expected.selected_state.items())


def test_batches_are_of_equal_size_and_hold_every_photo(project: Path) -> None:
    parts = loader.split(np.arange(97), 32)
    assert sorted(len(part) for part in parts) == [24, 24, 24, 25]
    assert np.concatenate(parts).tolist() == list(range(97))
