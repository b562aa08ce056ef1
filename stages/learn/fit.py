"""The fit loop: train one fold epoch by epoch, validate after each, keep the selected one.

Everything random follows from (seed, fold, epoch, step), so training goes on from any step as if it had never stopped.
"""

import time

import numpy as np
import torch
from torch import Tensor

from stages.learn import finite, loader, lr_schedule, objective, processes
from stages.learn.around_training import CHECK_EVERY, Around
from stages.learn.learner import Learner, key, set_mode
from stages.learn.objective import Objective
from stages.learn.progress import Progress, note, over
from stages.learn.step import step
from stages.learn.validation import Validation, validate
from stages.params.schema import Params


def fit(learner: Learner, around: Around | None = None, progress: Progress | None = None) -> Progress:
    """Train until train.epochs, until train.patience epochs brought nothing better, or until the time is up.

    Training goes on from `progress`, to which the learner's state must belong.
    """
    params, around, progress = learner.params, around or Around(), progress or Progress()
    around.begin(learner, progress)
    with around.writing():
        while not over(progress, params):
            gone = _gone(progress, params, 0.0) / params.train.epochs
            goal = objective.make(params, learner.data.task, learner.data.class_counts, gone)
            row, photos = train_epoch(learner, goal, progress, around)
            began = time.perf_counter()
            found = validate(learner, goal)
            finite.check_validation(learner, progress, found.val_nll, row["lr"], around.kept)
            learner.plateau.step(found.val_nll)
            validating = time.perf_counter() - began
            row |= _scores(found) | {
                "seconds": progress.epoch_seconds + validating,
                "photos_per_second": len(photos) / progress.epoch_seconds,
            }
            _say_if_not_captured(learner, around)
            row |= found.errors | _pieces(learner, progress, around) | _drawn(learner, photos)
            note(progress, params.train.select, row, found.logits, learner.validated.state_dict())
            around.after_epoch(learner, progress, validating)
    around.end(learner, progress)
    return progress


def train_epoch(
    learner: Learner, goal: Objective, progress: Progress, around: Around
) -> tuple[dict[str, float], np.ndarray]:
    """Train the rest of the running epoch; its row of history, and the positions of the photos it drew.

    The row: epoch (from 1), train_loss, its parts, lr of the last step, and where model.freeze_epochs is set lr_backbone, what
    the backbone had of it. Ends early where the time is up.
    """
    began = time.perf_counter() - progress.epoch_seconds
    params, epoch, seen = learner.params, len(progress.history), progress.seen
    process = processes.place()
    order = loader.epoch_order(params, learner.data, learner.fold, epoch)
    drawn = loader.training_split(order, params, process[1])
    place = loader.Place(learner.fold, epoch, len(seen), process)
    batches = loader.training(params, learner.data, order, learner.augment, place, learner.making)
    frozen = set_mode(learner, _gone(progress, params, len(seen) / len(drawn)))
    now, backbone = _rates(learner, progress, max(0, len(seen) - 1) / len(drawn))
    for batch in batches:
        now, backbone = _rates(learner, progress, len(seen) / len(drawn))
        if frozen and backbone:  # within an epoch where a time limit shortens the schedule
            frozen = set_mode(learner, _gone(progress, params, len(seen) / len(drawn)))
        # Of several processes each drops and mixes by draws of its own, as it crops; the first by those of one alone.
        seed = key(params, learner.fold, epoch + 1, len(seen), *process[:1] * (process[0] > 0))
        seen.append(step(learner, goal, batch, now, seed, backbone))
        progress.epoch_seconds = time.perf_counter() - began
        around.after_step(learner, progress, now)
        if progress.share >= 1:
            break
    finite.check_losses(progress, CHECK_EVERY, now, around.kept)
    means = {name: _mean(torch.stack([parts[name] for parts in seen]), drawn[: len(seen)]) for name in seen[0]}
    row: dict[str, float] = {"epoch": epoch + 1, "train_loss": sum(means.values())}
    if len(means) > 1:
        row |= {f"train_{name}_loss": value for name, value in means.items()}
    progress.epoch_seconds = time.perf_counter() - began  # once more: the means have waited for a GPU
    row |= {"lr": now} | ({"lr_backbone": now * backbone} if params.model.freeze_epochs else {})
    return row, np.concatenate(drawn[: len(seen)])


def _gone(progress: Progress, params: Params, part: float) -> float:
    """How far the schedule is at a part (0..1) of the running epoch, in epochs: by steps, or by time where a limit made
    that be further on.
    """
    by_steps = len(progress.history) + part
    return max(by_steps, progress.share * params.train.epochs) if progress.limit else by_steps


def _rates(learner: Learner, progress: Progress, part: float) -> tuple[float, float]:
    """The learning rate there, with what ReduceLROnPlateau has taken off, and less at the end of a shortened training; and the
    share of it that the backbone has.
    """
    params, peak = learner.params, learner.lr * learner.plateau.optimizer.param_groups[0]["lr"]
    gone, epochs = _gone(progress, params, part), params.train.epochs
    share = lr_schedule.share(params.schedule, gone, epochs)
    lr = peak * share * (lr_schedule.cooldown(params.schedule, gone / epochs) if progress.limit else 1.0)
    return lr, lr_schedule.backbone_share(params, gone)


def _mean(values: Tensor, drawn: list[np.ndarray]) -> float:
    """Mean of one loss part over the photos of an epoch's batches, of which each process knows its own share's."""
    index, number = processes.place()
    sizes = [len(range(index, len(which), number)) for which in drawn]
    weights = np.array(sizes) / sum(len(which) for which in drawn)
    return float(sum(processes.of_all(float(values.cpu().double().numpy() @ weights))))


def _scores(found: Validation) -> dict[str, float]:
    return {"val_loss": found.val_loss, "val_nll": found.val_nll, "val_f1": found.val_f1, "val_acc": found.val_acc}


def _say_if_not_captured(learner: Learner, around: Around) -> None:
    """After the first epoch of this process, where its steps were to be CUDA graphs and are not."""
    if learner.captured is not None and learner.captured.why and not learner.captured.told:
        learner.captured.told = True
        around.talk.say(
            f"{around.name}: steps are taken kernel by kernel, not as CUDA graphs ({learner.captured.why}); train.cuda_graph: "
            "false leaves out the try"
        )


def _pieces(learner: Learner, progress: Progress, around: Around) -> dict[str, float]:
    """Pieces that batches are cut into, where they are: memory, not params, cut them, and that changes what batch norm sees."""
    if learner.parts == 1:
        return {}
    if not progress.history or progress.history[-1].get("pieces") != learner.parts:
        around.talk.say(f"{around.name}: memory ran out: batches are cut into {learner.parts} pieces (auto_batch)")
    return {"pieces": learner.parts}


def _drawn(learner: Learner, photos: np.ndarray) -> dict[str, float]:
    """How many photos of each class the sampler drew."""
    counts = np.bincount(learner.data.train_labels[photos], minlength=learner.data.task.classes)
    return {f"drawn_{number}": int(count) for number, count in enumerate(counts)}
