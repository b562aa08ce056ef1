"""train: fit one fold, and predict its validation photos with the selected epoch and with the last one."""

import shutil

import numpy as np
import pandas as pd

from stages import paths
from stages.data import pseudo
from stages.data.fold import FoldData, open_fold
from stages.files import read_json, write_csv, write_json, write_npz
from stages.judge import epochs
from stages.learn import fit, model, predict
from stages.learn.losses import CORRECTING
from stages.params import Params
from stages.report.tensorboard import Board
from stages.talk import SILENT, Talk


def run(params: Params, talk: Talk, fold: int) -> None:
    """Train the fold train.repeats times, each time with another seed.

    history.csv is written after every epoch, TensorBoard events beside it; then the weights, one file a repeat,
    oof_logits.npz (photo [n], selected and last [repeats, n, 18], predicted [repeats, epochs, n]) and metrics.json.
    """
    fit.check(params)
    if params.loss in CORRECTING and params.sampler != "none":
        talk.say(
            f"warning: loss {params.loss} and sampler {params.sampler} both correct for imbalance: rare classes count twice"
        )
    data = pseudo.join(params, open_fold(params, fold), str(fold), talk)
    lr = float(read_json(paths.LR_CHOSEN, "lr-find")["lr"])
    accelerator = predict.accelerator(params)
    repeats = [fit.of_repeat(params, repeat) for repeat in range(params.train.repeats)]
    if not accelerator.is_main_process:
        # Under `accelerate launch` every process trains its share of each batch; one of them speaks and writes.
        for own in repeats:
            fit.fit(fit.start(own, data, fold, lr, accelerator, SILENT), lr, SILENT, lambda progress: None)
        return
    shutil.rmtree(paths.tensorboard(fold), ignore_errors=True)
    done: list[fit.Progress] = []
    for repeat, own in enumerate(repeats):
        learner = fit.start(own, data, fold, lr, accelerator, talk)
        with Board(paths.tensorboard(fold) / str(repeat)) as board:

            def record(now: fit.Progress, board: Board = board) -> None:
                _record(params, data, fold, [*done, now], board, talk)

            progress = fit.fit(learner, lr, talk, record)
            board.hyperparameters(own.model_dump(), progress.history[progress.selected_epoch - 1])
        done.append(progress)
        model.save(paths.weights(fold, repeat), model.architecture(params), progress.selected_state)
        talk.say(_closing_line(fold, progress.history, progress.selected_epoch))
    _remove_other_models(fold, params.train.repeats)
    write_npz(
        paths.oof_logits(fold),
        photo=data.val,
        selected=np.stack([progress.selected_logits for progress in done]),
        last=np.stack([progress.last_logits for progress in done]),
        predicted=np.stack([_padded(progress.predicted, params.train.epochs) for progress in done]),
    )
    write_json(paths.train_metrics(fold), _metrics(done, len(data.train), len(data.val)))


def _record(params: Params, data: FoldData, fold: int, done: list[fit.Progress], board: Board, talk: Talk) -> None:
    """Write all repeats' history so far and the newest epoch's TensorBoard events, and say how it went."""
    progress = done[-1]
    row = progress.history[-1]
    tables = [pd.DataFrame(known.history).assign(repeat=repeat) for repeat, known in enumerate(done)]
    write_csv(paths.history(fold), pd.concat(tables, ignore_index=True))
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


def _metrics(done: list[fit.Progress], train: int, val: int) -> dict[str, float]:
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


def _closing_line(fold: int, history: list[dict[str, float]], selected: int) -> str:
    """Which epoch is kept, and whether the model overfits."""
    line = f"fold {fold}: kept epoch {selected} of {len(history)} (val_f1 {history[selected - 1]['val_f1']:.4f})"
    onset = epochs.overfitting_onset(
        np.array([row["train_loss"] for row in history]), np.array([row["val_nll"] for row in history])
    )
    if onset is not None:
        line += f"; overfitting: val_nll is lowest at epoch {onset + 1} and has risen since, while train_loss fell"
    return line
