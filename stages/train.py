"""train: fit one fold, and predict its validation photos with the selected epoch and with the last one.

A training that was cut off goes on from its checkpoint (stages/learn/checkpoint.py).
"""

import datetime
import shutil
import time
from contextlib import ExitStack, nullcontext

import numpy as np
import pandas as pd

from stages import environment, paths
from stages.data import pseudo
from stages.data.fold import FoldData, open_fold
from stages.files import read_csv, read_json, write_csv, write_json, write_npz
from stages.judge import epochs
from stages.learn import budget, checkpoint, fit, interrupt, learner, model, predict
from stages.learn.budget import Clock
from stages.learn.checkpoint import Keeper
from stages.learn.losses import CORRECTING
from stages.learn.progress import Progress
from stages.params import Params
from stages.report.tensorboard import Board
from stages.talk import SILENT, Talk


def run(
    params: Params, talk: Talk, fold: int | None, fresh: bool = False, until: datetime.datetime | None = None
) -> None:
    """Train a fold (None: all, one after the other) train.repeats times, each time with another seed.

    history.csv is written after every epoch, TensorBoard events beside it; then the weights, one file a repeat,
    oof_logits.npz (photo [n], selected and last [repeats, n, 18], predicted [repeats, epochs, n]) and metrics.json.
    fresh: begin anew where there is a checkpoint. until: shorten the schedule so that all folds are done by then, as
    budget.minutes does.
    """
    learner.check(params)
    if params.loss in CORRECTING and params.sampler != "none":
        talk.say(
            f"warning: loss {params.loss} and sampler {params.sampler} both correct for imbalance: rare classes count twice"
        )
    for one in params.folds if fold is None else [fold]:
        _fold(params, talk, one, fresh, until)


def _fold(params: Params, talk: Talk, fold: int, fresh: bool, until: datetime.datetime | None) -> None:
    data = pseudo.join(params, open_fold(params, fold), str(fold), talk)
    lr = float(read_json(paths.LR_CHOSEN, "lr-find", "lr")["lr"])
    accelerator = predict.accelerator(params)
    # Under `accelerate launch` every process trains its share of each batch; one of them speaks and writes.
    main = accelerator.is_main_process
    run_key = checkpoint.run_key(params, lr)
    with ExitStack() as stack:
        stack.enter_context(checkpoint.alone(fold, run_key, talk) if main else nullcontext())
        alone = accelerator.num_processes == 1
        asked = stack.enter_context(interrupt.noted()) if alone else interrupt.no_interrupt
        if main:
            checkpoint.prune(fold, run_key, params.train.repeats)
            shutil.rmtree(paths.tensorboard(fold), ignore_errors=True)
        done: list[Progress] = []
        for repeat in range(params.train.repeats):
            began = budget.process_began()
            known = checkpoint.headers()
            used = budget.used(run_key, known, began)
            keeper = Keeper(run_key, fold, repeat, params.train.epochs, params.checkpoint.minutes * 60, used, began)
            if fresh and main:
                keeper.path.unlink(missing_ok=True)
            accelerator.wait_for_everyone()
            clock = _clock(params, run_key, known, used, began, until)
            made = learner.start(
                learner.of_repeat(params, repeat), data, fold, lr, accelerator, talk if main else SILENT
            )
            _repeat(made, lr, keeper, clock, asked, done, talk)
        if main:
            _write(params, data, fold, done)


def _repeat(
    made: learner.Learner,
    lr: float,
    keeper: Keeper,
    clock: Clock | None,
    asked: interrupt.Interrupt,
    done: list[Progress],
    talk: Talk,
) -> None:
    """Train one repeat, from its checkpoint where it has one, and add its progress to `done`."""
    main = made.accelerator.is_main_process
    fold, repeat = keeper.fold, keeper.repeat
    progress = keeper.load(made, clock.limit if clock else "", talk if main else SILENT)
    if clock:
        clock.gone = progress.share if progress.limit else len(progress.history) / keeper.epochs
    if not main:
        fit.fit(made, lr, SILENT, lambda now: None, progress, None, clock, asked)
        return
    with Board(paths.tensorboard(fold) / str(repeat)) as board:

        def record(now: Progress) -> None:
            _record(made.params, made.data, fold, [*done, now], board, talk)

        for row in progress.history:
            board.epoch(row)
        progress = fit.fit(made, lr, talk, record, progress, keeper, clock, asked)
        board.hyperparameters(made.params.model_dump(), progress.history[progress.selected_epoch - 1])
    done.append(progress)
    model.save(paths.weights(fold, repeat), model.architecture(made.params), progress.selected_state)
    talk.say(_closing_line(fold, progress.history, progress.selected_epoch, progress.limit))


def _clock(
    params: Params,
    run_key: str,
    known: list[checkpoint.Header],
    used: float,
    began: float,
    until: datetime.datetime | None,
) -> Clock | None:
    """The time that the next training may take; None where there is no limit."""
    found = budget.deadline(params, until, used, began)
    if found is None:
        return None
    limit, deadline = found
    trainings = len(params.folds) * params.train.repeats
    finished = [header for header in known if header.run == run_key and header.finished and header.limit in ("", limit)]
    now = time.time()
    gap = max((began - header.saved for header in known[:1] if 0 < began - header.saved < budget.PAUSE), default=0.0)
    answers = len(read_csv(paths.EVAL, "prepare")) * len(params.tta.views) * trainings
    return Clock(limit, deadline, now, max(1, trainings - len(finished)), now - began + gap, answers)


def _write(params: Params, data: FoldData, fold: int, done: list[Progress]) -> None:
    """The fold's predictions, metrics and environment. The history again: no epoch may have been left to train."""
    _remove_other_models(fold, params.train.repeats)
    _write_history(fold, done)
    write_npz(
        paths.oof_logits(fold),
        photo=data.val,
        selected=np.stack([progress.selected_logits for progress in done]),
        last=np.stack([progress.last_logits for progress in done]),
        predicted=np.stack([_padded(progress.predicted, params.train.epochs) for progress in done]),
    )
    write_json(paths.train_environment(fold), environment.describe())
    write_json(paths.train_metrics(fold), _metrics(done, len(data.train), len(data.val)))


def _write_history(fold: int, done: list[Progress]) -> None:
    tables = [pd.DataFrame(known.history).assign(repeat=repeat) for repeat, known in enumerate(done)]
    write_csv(paths.history(fold), pd.concat(tables, ignore_index=True))


def _record(params: Params, data: FoldData, fold: int, done: list[Progress], board: Board, talk: Talk) -> None:
    """Write all repeats' history so far and the newest epoch's TensorBoard events, and say how it went."""
    progress = done[-1]
    row = progress.history[-1]
    _write_history(fold, done)
    board.epoch(row)
    if progress.selected_epoch == len(progress.history):
        board.confusion(data.labels[data.val], progress.selected_logits.argmax(1), progress.selected_epoch)
    repeat = f" repeat {len(done) - 1}" if params.train.repeats > 1 else ""
    talk.say(
        f"fold {fold}{repeat} epoch {row['epoch']:>2}/{params.train.epochs}  train_loss {row['train_loss']:.4f}  "
        f"val_loss {row['val_loss']:.4f}  val_nll {row['val_nll']:.4f}  val_f1 {row['val_f1']:.4f}  "
        f"lr {row['lr']:.2e}  {row['photos_per_second']:.0f} photos/s"
    )


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
    names = [name for name in ("val_f1", "val_nll", "val_loss", "val_acc", "val_age_mae") if name in selected]
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
    onset = epochs.overfitting_onset(
        np.array([row["train_loss"] for row in history]), np.array([row["val_nll"] for row in history])
    )
    if onset is not None:
        line += f"; overfitting: val_nll is lowest at epoch {onset + 1} and has risen since, while train_loss fell"
    return line
