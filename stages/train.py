"""train: fit one fold, and predict its validation photos with the selected epoch and with the last one.

A training that was cut off goes on from its checkpoint (stages/learn/checkpoint.py). stages/by_hand/folds.py runs
several of these side by side.
"""

import datetime
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from stages.base import environment, files, paths
from stages.base.errors import UserError
from stages.base.files import read_csv, write_csv, write_json, write_npz
from stages.base.talk import SILENT, Talk
from stages.data import pseudo_labelled
from stages.data.fold_data import FoldData, open_fold
from stages.judge import epoch_rules
from stages.learn import budget, checkpoint, fit, interrupt, learner, model, predict, run_key
from stages.learn.budget import Clock
from stages.learn.checkpoint import Keeper
from stages.learn.losses import CORRECTING
from stages.learn.progress import Progress
from stages.params.schema import Params
from stages.records import lr_json, run_record
from stages.records.run_record import Record
from stages.report.tensorboard import Board


def run(
    params: Params,
    talk: Talk,
    fold: int | None,
    fresh: bool = False,
    until: datetime.datetime | None = None,
    jobs: int = 1,
    later: int = 0,
    imported: float = 0.0,
    outputs: bool = True,
    stop: interrupt.Interrupt = interrupt.no_interrupt,
) -> None:
    """Train a fold (None: all, one after the other) train.repeats times, each time with another seed.

    First run.json is written, which says what is run. history.csv is written after every epoch, TensorBoard events beside
    it; then the weights, one file a repeat, oof_logits.npz (run, photo [n], selected and last [repeats, n, 18], predicted
    [repeats, epochs, n]) and metrics.json.
    fresh: begin anew where there is a checkpoint. until: shorten the schedule so that all folds are done by then, as
    budget.minutes does; jobs: folds trained side by side, which share that time; later: processes that will start after
    them, to write what checkpoints hold; imported: seconds of imports before this process was forked. outputs: False
    leaves a finished checkpoint and nothing else. stop: asked at every step, as Ctrl-C is noted.
    """
    learner.check(params)
    if params.loss in CORRECTING and params.sampler != "none":
        talk.say(
            f"warning: loss {params.loss} and sampler {params.sampler} both correct for imbalance: rare classes count twice"
        )
    if fold is None and predict.accelerator(params).is_main_process:
        listed = ", ".join(map(str, params.folds))
        talk.say(
            f"train: folds {listed}, one after the other; `maskcli folds` trains them side by side, to the same results"
        )
    began = budget.process_began()
    timing = Timing(
        began, time.time() - began + imported, until, fresh, together=fold is None or jobs > 1, jobs=jobs, later=later
    )
    with interrupt.noted() as noted:

        def here() -> bool:
            return noted() or stop()

        asked = interrupt.agreed(here, predict.accelerator(params))
        for one in params.folds if fold is None else [fold]:
            _fold(params, talk, one, timing, here, asked, outputs)
            if asked():  # it came while the fold was being finished, which is written by now
                raise KeyboardInterrupt(f"fold {one} is done")


@dataclass(frozen=True)
class Timing:
    """What is asked of this process as a whole, and since when."""

    began: float  # time.time()
    startup: float  # seconds from there to the first fold
    until: datetime.datetime | None
    fresh: bool
    together: bool  # no fold has a process to start, with all that is imported
    jobs: int  # folds side by side
    later: int  # processes to start when the folds are trained


def _fold(
    params: Params,
    talk: Talk,
    fold: int,
    timing: Timing,
    here: interrupt.Interrupt,
    asked: interrupt.Interrupt,
    outputs: bool,
) -> None:
    """Train one fold; `here`: whether this process was asked to stop, `asked`: any of those that share the batches."""
    data = pseudo_labelled.join(params, open_fold(params, fold), str(fold), talk)
    chosen = lr_json.read(params)
    lr = chosen.lr
    torch.set_num_threads(lr_json.threads(chosen, fold, params))
    accelerator = predict.accelerator(params)
    lr_json.check_device(chosen, accelerator.device.type)
    # Under `accelerate launch` every process trains its share of each batch; one of them speaks and writes.
    main = accelerator.is_main_process
    record = run_key.record(params, lr, accelerator.num_processes, chosen.threads)
    lock = checkpoint.alone(f"fold {fold}", record.run, talk, here, wait=outputs) if main else nullcontext(False)
    with lock as waited, _taken_away(fold) if main and outputs else nullcontext():
        if waited and outputs and _written_meanwhile(params, fold, record.run):
            talk.say(f"fold {fold}: is done, its outputs in {paths.TRAIN / str(fold)} stand as that process wrote them")
            return
        if main:
            checkpoint.prune(fold, record.run, params.train.repeats)
        accelerator.wait_for_everyone()
        # Where each fold has a process of its own, all that comes before the first step comes again with every fold.
        startup = timing.startup if timing.together else time.time() - timing.began
        done: list[Progress] = []
        for repeat in range(params.train.repeats):
            known = checkpoint.headers()
            limit = budget.asked(params, timing.until)
            used = 0.0 if timing.fresh else budget.used(record.run, limit, known, timing.began, budget.pause(params))
            rate = next((header.rate for header in known if header.run == record.run and header.rate), 0.0)
            every = params.checkpoint.minutes * 60
            keeper = Keeper(record.run, fold, repeat, params.train.epochs, every, limit, used, timing.began, rate)
            clock = _clock(params, keeper, known, timing, startup, data) if limit else None
            accelerator = predict.accelerator(
                params
            )  # a new one: the last one's model and gradients would stay in memory
            heard = talk if main else SILENT
            made = learner.start(learner.of_repeat(params, repeat), data, fold, lr, accelerator, heard)
            if main and outputs and not repeat:  # nothing of an earlier run is touched before this one can begin
                _begin_outputs(fold, record)
            _repeat(made, record, keeper, clock, timing.fresh, asked, done, talk, outputs)
            accelerator.free_memory()
        if main and outputs:
            _write(params, data, fold, done, record.run)


def _repeat(
    made: learner.Learner,
    ran: Record,
    keeper: Keeper,
    clock: Clock | None,
    fresh: bool,
    asked: interrupt.Interrupt,
    done: list[Progress],
    talk: Talk,
    outputs: bool,
) -> None:
    """Train one repeat, from its checkpoint where it has one, and add its progress to `done`.

    Without outputs only the checkpoint is left, from which `train` takes them later.
    """
    main, lr = made.accelerator.is_main_process, ran.lr
    assert lr is not None
    fold, repeat = keeper.fold, keeper.repeat
    speaks = main and outputs
    progress = Progress() if fresh else keeper.load(made, talk if speaks else SILENT)
    if clock:
        clock.gone = progress.share if progress.limit else len(progress.history) / keeper.epochs
    if not speaks:
        fit.fit(made, lr, SILENT, lambda now: None, progress, keeper if main else None, clock, asked)
        return
    with Board(paths.tensorboard(fold) / str(repeat)) as board:

        def record(now: Progress) -> None:
            _record(made.params, made.data, fold, [*done, now], board, talk)

        for row in progress.history:
            board.epoch(row)
        progress = fit.fit(made, lr, talk, record, progress, keeper, clock, asked)
        # Once, not every epoch: drawing it takes as long as a fifth of a small model's epoch.
        labels, predictions = made.data.labels[made.data.val], progress.selected_logits.argmax(1)
        board.confusion(labels, predictions, made.data.task.classes, progress.selected_epoch)
        board.hyperparameters(
            ran.params | {"lr": lr, "seed": made.params.seed}, progress.history[progress.selected_epoch - 1]
        )
    done.append(progress)
    model.save(paths.weights(fold, repeat), made.bare.architecture, progress.selected_state, ran)
    talk.say(_closing_line(fold, progress.history, progress.selected_epoch, progress.limit))


def _clock(
    params: Params,
    keeper: Keeper,
    known: list[checkpoint.Header],
    timing: Timing,
    startup: float,
    data: FoldData,
) -> Clock:
    """The time that the next training may take: what is left, shared over the trainings that are left."""
    own = [header for header in known if header.run == keeper.run]
    finished = {
        (header.fold, header.repeat)
        for header in own
        if header.finished and (not timing.fresh or header.saved > timing.began)
    }
    everything = {(fold, repeat) for fold in params.folds for repeat in range(params.train.repeats)}
    left = (everything - finished) | {(keeper.fold, keeper.repeat)}
    gap = timing.began - own[0].saved if own else budget.GAP
    return Clock(
        limit=keeper.asked,
        deadline=budget.deadline(params, timing.until, keeper.used, timing.began),
        begins=time.time(),
        trainings=math.ceil(len(left) / timing.jobs),
        processes=timing.later if timing.together else len({fold for fold, _ in left}) - 1,
        startup=startup + (gap if 0 < gap < budget.PAUSE else 0.0),
        photos=len(data.labels),
        answers=len(read_csv(paths.EVAL, "prepare")) * len(params.tta.views) * len(everything),
        validated_photos=len(data.val),
        rate=keeper.rate,
    )


@contextmanager
def _taken_away(fold: int) -> Iterator[None]:
    """Say so where outputs cannot be written because somebody has removed what this training wrote.

    `dvc repro` does that before each stage that it runs, whoever is at work in the folder; then its own training of the fold
    waits for this one, and goes on from its checkpoint.
    """
    try:
        yield
    except UserError as error:
        if paths.train_run(fold).exists():
            raise
        raise UserError(
            f"{paths.TRAIN / str(fold)}: was removed while fold {fold} was trained, as `dvc repro` does before it trains a fold "
            "itself; this training stops here, and the same command goes on from its checkpoint"
        ) from error


def _written_meanwhile(params: Params, fold: int, run: str) -> bool:
    """Whether the process that was waited for has written all of the fold's outputs: DVC may be reading them just now."""
    marked = [paths.train_run(fold), paths.oof_logits(fold)]
    marked += [paths.weights(fold, repeat) for repeat in range(params.train.repeats)]
    others = (paths.history(fold), paths.train_environment(fold), paths.train_metrics(fold), paths.tensorboard(fold))
    return all(run_record.mark_of(path) == run for path in marked) and all(path.exists() for path in others)


def _begin_outputs(fold: int, record: Record) -> None:
    """Say whose outputs these will be. Weights and logits carry their run, so that those of an earlier one are told apart
    until they are replaced; what carries none is removed.
    """
    shutil.rmtree(paths.tensorboard(fold), ignore_errors=True)
    if run_record.mark_of(paths.train_run(fold)) != record.run:
        for path in (paths.history(fold), paths.train_metrics(fold), paths.train_environment(fold)):
            path.unlink(missing_ok=True)
    run_record.write(paths.train_run(fold), record)


def _write(params: Params, data: FoldData, fold: int, done: list[Progress], run: str) -> None:
    """The fold's predictions, metrics and environment. The history again: no epoch may have been left to train."""
    files.require(paths.train_run(fold), "train")
    _remove_other_models(fold, params.train.repeats)
    _write_history(params, fold, done)
    write_npz(
        paths.oof_logits(fold),
        run=np.array(run),
        photo=data.val,
        selected=np.stack([progress.selected_logits for progress in done]),
        last=np.stack([progress.last_logits for progress in done]),
        predicted=np.stack([_padded(progress.predicted, params.train.epochs) for progress in done]),
    )
    write_json(paths.train_environment(fold), environment.describe())
    write_json(paths.train_metrics(fold), _metrics(done, len(data.train), len(data.val)))


def _write_history(params: Params, fold: int, done: list[Progress]) -> None:
    """All repeats' epochs. What was minimised stands beside its losses: they say nothing without it."""
    tables = [pd.DataFrame(known.history).assign(repeat=repeat) for repeat, known in enumerate(done)]
    write_csv(paths.history(fold), pd.concat(tables, ignore_index=True).assign(objective=params.objective))


def _record(params: Params, data: FoldData, fold: int, done: list[Progress], board: Board, talk: Talk) -> None:
    """Write all repeats' history so far and the newest epoch's TensorBoard events, and say how it went."""
    progress = done[-1]
    row = progress.history[-1]
    files.require(paths.train_run(fold), "train")  # else somebody has removed what this training wrote
    _write_history(params, fold, done)
    board.epoch(row)
    name = f"{fold}.{len(done) - 1}" if params.train.repeats > 1 else str(fold)
    talk.say(epoch_line(name, row, params.train.epochs))


def epoch_line(name: str, row: dict[str, float], epochs: int) -> str:
    """An epoch in one line that a terminal of 80 columns holds; history.csv has all digits.

    name: the fold, or fold.repeat. train, val and nll are train_loss, val_loss and val_nll; f1 is val_f1.
    """
    losses = " ".join(f"{word} {_short(row[key])}" for word, key in _LOSSES.items())
    photos = row["photos_per_second"]
    speed = f"{photos / 1000:.0f}k/s" if photos >= 999.5 else f"{photos:.0f}/s" if photos >= 10 else f"{photos:.2g}/s"
    lr = f"{row['lr']:.1e}".replace("e-0", "e-")
    return f"fold {name} epoch {row['epoch']:>2}/{epochs} {losses} f1 {row['val_f1']:.3f} lr {lr} {speed}"


_LOSSES = {"train": "train_loss", "val": "val_loss", "nll": "val_nll"}


def _short(value: float) -> str:
    """A loss in five characters: 0.123, 1.234, 12.34, 123.4, 1235, 1e+05."""
    if abs(value) < 9.9995:
        return f"{value:.3f}"
    return f"{value:#.4g}".rstrip(".") if abs(value) < 9999.5 else f"{value:.0e}"


def _remove_other_models(fold: int, repeats: int) -> None:
    """Weights left by an earlier run with more repeats would be taken for this run's."""
    kept = {paths.weights(fold, repeat) for repeat in range(repeats)}
    for path in paths.models(fold).glob("*.safetensors"):
        if path not in kept:
            path.unlink()


def _padded(predicted: list[np.ndarray], epochs: int) -> np.ndarray:
    """[epochs, n]: where training stopped early, its last epoch stands for those not run."""
    return np.stack(predicted + [predicted[-1]] * (epochs - len(predicted)))


def _metrics(done: list[Progress], train: int, val: int) -> dict[str, float]:
    """Means over the repeats, of the selected and of the last epochs."""
    selected = pd.DataFrame([progress.history[progress.selected_epoch - 1] for progress in done]).mean()
    last = pd.DataFrame([progress.history[-1] for progress in done]).mean()
    names = ["val_f1", "val_nll", "val_loss", "val_acc", *(name for name in selected.index if name.endswith("_mae"))]
    return {
        "epoch": selected["epoch"],
        "epochs": last["epoch"],
        **{name: selected[name] for name in names},
        **{f"{name}_last": last[name] for name in names},
        "train_photos": train,
        "val_photos": val,
    }


def _closing_line(fold: int, history: list[dict[str, float]], selected: int, limit: str) -> str:
    """Which epoch is kept, whether a time limit shortened the training, and whether the model overfits."""
    line = f"fold {fold}: kept epoch {selected} of {len(history)} (val_f1 {history[selected - 1]['val_f1']:.4f})"
    line += f"; shortened to fit the time ({limit})" if limit else ""
    onset = epoch_rules.overfitting_onset(
        np.array([row["train_loss"] for row in history]), np.array([row["val_nll"] for row in history])
    )
    if onset is not None:
        line += f"; overfitting: val_nll is lowest at epoch {onset + 1} and has risen since, while train_loss fell"
    return line
