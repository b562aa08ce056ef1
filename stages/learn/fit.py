"""The fit loop: train one fold epoch by epoch, validate after each, keep the selected one.

Everything random follows from (seed, fold, epoch, step), so an epoch can be run again from the state before it.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from stages.data.fold import FoldData
from stages.data.layout import CLASSES
from stages.errors import UserError
from stages.judge import metrics
from stages.learn import augment, loader, model, objective, optimizer, schedule
from stages.learn.predict import normalise, raw_outputs
from stages.learn.timm_import import load_timm
from stages.params import Params
from stages.talk import Talk

CHECK_EVERY = 50  # steps between looks at the loss for NaN; each look makes a GPU wait


@dataclass
class Learner:
    """What training changes, and what it needs at hand to do so."""

    params: Params
    data: FoldData
    fold: int
    accelerator: Accelerator
    model: model.Classifier
    optimizer: torch.optim.Optimizer
    augment: augment.Augment
    mean: Tensor
    std: Tensor
    ema: Any = None
    mixup: Any = None


@dataclass(frozen=True)
class Validation:
    """One epoch's look at the validation side."""

    val_loss: float
    val_nll: float
    val_f1: float
    val_acc: float
    logits: np.ndarray  # joint log probabilities, float32 [len(val), 18]
    age_mae: float | None


@dataclass
class Progress:
    """What is known after some epochs: the history so far, the selected epoch and the last one."""

    history: list[dict[str, float]] = field(default_factory=list)
    selected_epoch: int = 0
    selected_state: dict[str, Tensor] = field(default_factory=dict)
    selected_logits: np.ndarray = field(default_factory=lambda: np.empty(0))
    last_logits: np.ndarray = field(default_factory=lambda: np.empty(0))
    predicted: list[np.ndarray] = field(default_factory=list)  # class of each validation photo after each epoch
    stale_epochs: int = 0


def start(params: Params, data: FoldData, fold: int, lr: float, accelerator: Accelerator, talk: Talk) -> Learner:
    """Build model, optimizer and augmentation for one fold, the same for the same seed and fold."""
    make_augment = check(params)
    if params.model.freeze_epochs and accelerator.num_processes > 1:
        raise UserError("params.yaml: model.freeze_epochs: works in one process only; set it to 0 or run one process")
    torch.manual_seed(_key(params, fold, 0))
    shape = model.architecture(params)
    net = model.build(shape, params.model.pretrained is True)
    if isinstance(params.model.pretrained, str):
        talk.say(model.load_backbone(net, Path(params.model.pretrained)))
    mean, std = (tensor.to(accelerator.device) for tensor in model.normalisation(net))
    net = model.channels_last(net, accelerator.device)
    made = optimizer.make(net, params.optimizer, lr)
    net, made = accelerator.prepare(net, made)
    learner = Learner(params, data, fold, accelerator, net, made, make_augment, mean, std)
    timm = load_timm()
    if params.train.ema_decay:
        learner.ema = timm.utils.ModelEmaV3(net, decay=params.train.ema_decay, use_warmup=True)
    if params.augment.mixup or params.augment.cutmix:
        learner.mixup = timm.data.Mixup
    return learner


def of_repeat(params: Params, repeat: int) -> Params:
    """The params of one of train.repeats: the first has the seed of params.yaml, each other one a seed of its own."""
    if not repeat:
        return params
    return params.model_copy(update={"seed": int(np.random.SeedSequence([params.seed, repeat]).generate_state(1)[0])})


def check(params: Params) -> augment.Augment:
    """Check the names that only timm and albumentations know, before any data is read; returns the augmentation."""
    model.check_name(params.model.name)
    optimizer.check_name(params.optimizer.name)
    return augment.make(params)


def fit(learner: Learner, lr: float, talk: Talk, on_epoch: Callable[[Progress], None]) -> Progress:
    """Train until train.epochs, or until train.patience epochs brought nothing better; call `on_epoch` after each."""
    params = learner.params
    progress = Progress()
    plateau = _plateau(params)
    steps = len(loader.split(learner.data.train, params.train.batch_size))
    ticks = iter(
        talk.track(range(params.train.epochs * steps), params.train.epochs * steps, f"train fold {learner.fold}")
    )
    for epoch in range(params.train.epochs):
        began = time.perf_counter()
        goal = objective.make(params, learner.data.class_counts, epoch / params.train.epochs)
        order = loader.epoch_order(params, learner.data, learner.fold, epoch)
        row = _train_epoch(learner, goal, epoch, order, lr * plateau.optimizer.param_groups[0]["lr"], ticks)
        trained = time.perf_counter()
        found = _validate_once(learner, goal)
        plateau.step(found.val_nll)
        row |= {
            "val_loss": found.val_loss,
            "val_nll": found.val_nll,
            "val_f1": found.val_f1,
            "val_acc": found.val_acc,
            "seconds": time.perf_counter() - began,
            "photos_per_second": len(order) / (trained - began),
        }
        if found.age_mae is not None:
            row["val_age_mae"] = found.age_mae
        drawn = np.bincount(learner.data.train_labels[order], minlength=CLASSES)
        row |= {f"drawn_{number}": int(count) for number, count in enumerate(drawn)}
        _note(progress, params, row, found, learner)
        on_epoch(progress)
        if params.train.patience and progress.stale_epochs >= params.train.patience:
            talk.say(
                f"fold {learner.fold}: stopped after epoch {epoch + 1}: {params.train.patience} epochs brought nothing better"
            )
            break
    for _ in ticks:
        pass
    return progress


def validate(learner: Learner, goal: objective.Objective) -> Validation:
    """The objective, nll, macro F1 and accuracy on the validation side: eval mode, centre crops, no sampler, no mixup.

    The objective is taken once over all validation photos, so that it does not depend on how they are batched. Without
    a validation side (a refit) all of it is NaN.
    """
    params, data = learner.params, learner.data
    if not len(data.val):
        return Validation(np.nan, np.nan, np.nan, np.nan, np.empty((0, CLASSES), np.float32), None)
    net = learner.ema.module if learner.ema is not None else learner.accelerator.unwrap_model(learner.model)
    net.eval()
    photos = loader.evaluation(data.pixels, data.val, params.image.margin, 2 * params.train.batch_size)
    raw, age = raw_outputs(net, photos, learner.mean, learner.std, learner.accelerator)
    ages = torch.from_numpy(data.ages[data.val].astype(np.float32))
    parts = goal(
        torch.from_numpy(raw),
        torch.from_numpy(data.train_labels[data.val]),
        None if age is None else torch.from_numpy(age),
        ages,
    )
    logits = metrics.joint_log_probabilities(raw * net.architecture.scale, params.targets).astype(np.float32)
    labels, predictions = data.labels[data.val], logits.argmax(1)
    return Validation(
        val_loss=float(sum(parts.values())),
        val_nll=metrics.nll(logits, labels),
        val_f1=metrics.macro_f1(labels, predictions),
        val_acc=metrics.accuracy(labels, predictions),
        logits=logits,
        age_mae=None if age is None else float(np.abs(age * 10 - data.ages[data.val]).mean()),
    )


def _validate_once(learner: Learner, goal: objective.Objective) -> Validation:
    """`validate` in the main process, its result handed to the others, so that all stop and select alike."""
    found = [validate(learner, goal) if learner.accelerator.is_main_process else None]
    return broadcast_object_list(found)[0]


def step(learner: Learner, goal: objective.Objective, batch: loader.Batch, lr: float, seed: int) -> dict[str, Tensor]:
    """One step of the optimizer on one batch; the loss parts it had before the step."""
    torch.manual_seed(seed)  # dropout and stochastic depth
    optimizer.set_lr(learner.optimizer, lr)
    device = learner.accelerator.device
    photos = normalise(batch.photos, learner.mean, learner.std)
    labels, ages = batch.labels.to(device), batch.ages.to(device)
    share, partner = 1.0, None
    if learner.mixup is not None:
        photos, labels, ages, share, partner = _mix(learner, photos, labels, ages, seed)
    with learner.accelerator.autocast():
        raw, age = learner.model(photos)
    parts = goal(raw, labels, age, ages)
    if partner is not None:
        other = goal(raw, labels[partner], age, ages[partner])
        parts = {name: share * part + (1 - share) * other[name] for name, part in parts.items()}
    learner.optimizer.zero_grad(set_to_none=True)
    learner.accelerator.backward(torch.stack(list(parts.values())).sum())
    if learner.params.optimizer.clip_grad:
        learner.accelerator.clip_grad_norm_(learner.model.parameters(), learner.params.optimizer.clip_grad)
    learner.optimizer.step()
    if learner.ema is not None:
        learner.ema.update(learner.model)
    return {name: part.detach() for name, part in parts.items()}


def set_mode(learner: Learner, epoch: int) -> None:
    """Training mode; in the first model.freeze_epochs the backbone stands still, its batch norm included."""
    net = learner.accelerator.unwrap_model(learner.model)
    frozen = epoch < learner.params.model.freeze_epochs
    learner.model.train()
    net.backbone.requires_grad_(not frozen)
    if frozen:
        net.backbone.eval()


def _train_epoch(
    learner: Learner, goal: objective.Objective, epoch: int, order: np.ndarray, lr: float, ticks: Iterator[int]
) -> dict[str, float]:
    """One pass over `order`; the row of history it gives: epoch (from 1), train_loss, its parts, lr of the last step."""
    params = learner.params
    set_mode(learner, epoch)
    sizes, seen, now = [], [], 0.0
    steps = len(loader.split(order, params.train.batch_size))
    process = (learner.accelerator.process_index, learner.accelerator.num_processes)
    batches = loader.training(params, learner.data, learner.fold, epoch, order, learner.augment, process=process)
    for number, batch in enumerate(batches):
        now = lr * schedule.share(params.schedule, epoch + number / steps, params.train.epochs)
        seen.append(step(learner, goal, batch, now, _key(params, learner.fold, epoch + 1, number)))
        sizes.append(len(batch.which))
        next(ticks, None)
        if number % CHECK_EVERY == 0:
            _check_finite(seen[-CHECK_EVERY:], epoch, number, now)
    _check_finite(seen[-CHECK_EVERY:], epoch, steps - 1, now)
    weights = np.array(sizes) / sum(sizes)
    means = {name: _mean(learner, torch.stack([parts[name] for parts in seen]), weights) for name in seen[0]}
    row: dict[str, float] = {"epoch": epoch + 1, "train_loss": sum(means.values())}
    if len(means) > 1:
        row |= {f"train_{name}_loss": value for name, value in means.items()}
    return row | {"lr": now}


def _mean(learner: Learner, values: Tensor, weights: np.ndarray) -> float:
    """Weighted mean of one loss part over an epoch's steps, and over processes where there are several."""
    mean = torch.tensor(values.cpu().double().numpy() @ weights, device=learner.accelerator.device)
    return float(learner.accelerator.reduce(mean, "mean"))


def _check_finite(seen: list[dict[str, Tensor]], epoch: int, last: int, lr: float) -> None:
    """Raise UserError naming the first step of `seen` (which ends with step `last`) whose loss is NaN or infinite."""
    for name in seen[0]:
        bad = (~torch.isfinite(torch.stack([parts[name] for parts in seen]))).nonzero()
        if len(bad):
            number = last - len(seen) + 1 + int(bad[0])
            raise UserError(
                f"train: the {name} loss is NaN or infinite at epoch {epoch + 1}, step {number + 1}, learning rate {lr:.3g}; "
                "lower lr, set optimizer.clip_grad: 1, or train.mixed_precision: none"
            )


def _mix(learner: Learner, photos: Tensor, labels: Tensor, ages: Tensor, seed: int) -> tuple[Any, ...]:
    """timm's mixup or CutMix of a batch with its reverse: photos, labels, ages, share kept, and the partners' positions.

    Positions go through timm's Mixup in place of labels, so that any loss can be mixed: row i of its soft target holds
    the share of photo i itself. It pairs photos two by two, so an odd last photo is left out.
    """
    size = len(photos) // 2 * 2
    np.random.seed(seed % 2**32)  # timm draws from numpy's global generator
    mixer = learner.mixup(
        mixup_alpha=learner.params.augment.mixup,
        cutmix_alpha=learner.params.augment.cutmix,
        label_smoothing=0.0,
        num_classes=size,
    )
    positions = torch.arange(size, device=photos.device)
    mixed, soft = mixer(photos[:size].contiguous(memory_format=torch.channels_last), positions)
    return mixed, labels[:size], ages[:size], float(soft[0, 0]), positions.flip(0)


def _note(progress: Progress, params: Params, row: dict[str, float], found: Validation, learner: Learner) -> None:
    """Add an epoch to the progress; keep its weights and logits if it is the one to select so far."""
    earlier = progress.history
    better_f1 = not earlier or row["val_f1"] > max(old["val_f1"] for old in earlier)
    better_nll = not earlier or row["val_nll"] < min(old["val_nll"] for old in earlier)
    progress.stale_epochs = 0 if better_f1 or better_nll else progress.stale_epochs + 1
    progress.history.append(row)
    progress.last_logits = found.logits
    progress.predicted.append(found.logits.argmax(1).astype(np.uint8))
    if select(progress.history, params.train.select) == len(progress.history) - 1:
        net = learner.ema.module if learner.ema is not None else learner.accelerator.unwrap_model(learner.model)
        progress.selected_epoch = len(progress.history)
        progress.selected_state = {key: value.detach().cpu().clone() for key, value in net.state_dict().items()}
        progress.selected_logits = found.logits


def select(history: list[dict[str, float]], rule: str) -> int:
    """Index of the epoch to keep: best_f1 (ties by val_nll, then the earlier), best_nll, or last."""
    keys: dict[str, Callable[[int], Any]] = {
        "best_f1": lambda index: (-history[index]["val_f1"], history[index]["val_nll"]),
        "best_nll": lambda index: history[index]["val_nll"],
        "last": lambda index: -index,
    }
    return min(range(len(history)), key=keys[rule])


def _plateau(params: Params) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    """ReduceLROnPlateau on a carrier whose learning rate, from 1 down, is the factor on ours; inert for other schedules."""
    carrier = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    chosen = params.schedule
    active = chosen.name == "plateau"
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        carrier,
        factor=chosen.plateau_factor,
        patience=chosen.plateau_patience if active else 10**9,
        min_lr=chosen.min_share,
    )


def _key(params: Params, *parts: int) -> int:
    """A seed below 2^63 that depends on params.seed and every part."""
    return int(np.random.SeedSequence([params.seed, *parts]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def frozen_copy(learner: Learner) -> dict[str, Any]:
    """Model and optimizer state, copied, for `restore`."""
    return {
        "model": copy.deepcopy(learner.model.state_dict()),
        "optimizer": copy.deepcopy(learner.optimizer.state_dict()),
    }


def restore(learner: Learner, state: dict[str, Any]) -> None:
    learner.model.load_state_dict(state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
