"""train: fit one fold, and predict its validation photos with the selected epoch and with the last one."""

import shutil

import numpy as np
import pandas as pd

from stages import paths
from stages.data.fold import FoldData, open_fold
from stages.files import read_json, write_csv, write_json, write_npz
from stages.learn import fit, model, predict
from stages.learn.losses import CORRECTING
from stages.params import Params
from stages.report.tensorboard import Board
from stages.talk import SILENT, Talk


def run(params: Params, talk: Talk, fold: int) -> None:
    """Write history.csv after every epoch; then oof_logits.npz, model.safetensors, metrics.json; TensorBoard beside."""
    fit.check(params)
    if params.loss in CORRECTING and params.sampler != "none":
        talk.say(
            f"warning: loss {params.loss} and sampler {params.sampler} both correct for imbalance: rare classes count twice"
        )
    data = open_fold(params, fold)
    lr = float(read_json(paths.LR_CHOSEN, "lr-find")["lr"])
    accelerator = predict.accelerator(params)
    if not accelerator.is_main_process:
        # Under `accelerate launch` every process trains its share of each batch; one of them speaks and writes.
        fit.fit(fit.start(params, data, fold, lr, accelerator, SILENT), lr, SILENT, lambda progress: None)
        return
    shutil.rmtree(paths.tensorboard(fold), ignore_errors=True)
    learner = fit.start(params, data, fold, lr, accelerator, talk)
    with Board(paths.tensorboard(fold)) as board:
        progress = fit.fit(learner, lr, talk, lambda progress: _record(params, data, fold, progress, board, talk))
        selected, last = progress.history[progress.selected_epoch - 1], progress.history[-1]
        board.hyperparameters(params.model_dump(), selected)
    write_npz(paths.oof_logits(fold), photo=data.val, selected=progress.selected_logits, last=progress.last_logits)
    model.save(paths.weights(fold), model.architecture(params), progress.selected_state)
    write_json(paths.train_metrics(fold), _metrics(selected, last, len(data.train), len(data.val)))
    talk.say(_closing_line(fold, progress.history, progress.selected_epoch))


def _record(params: Params, data: FoldData, fold: int, progress: fit.Progress, board: Board, talk: Talk) -> None:
    """Write an epoch's history and TensorBoard events, and say how it went."""
    row = progress.history[-1]
    write_csv(paths.history(fold), pd.DataFrame(progress.history))
    board.epoch(row)
    if progress.selected_epoch == len(progress.history):
        board.confusion(data.labels[data.val], progress.selected_logits.argmax(1), progress.selected_epoch)
    talk.say(
        f"fold {fold} epoch {row['epoch']:>2}/{params.train.epochs}  train_loss {row['train_loss']:.4f}  "
        f"val_loss {row['val_loss']:.4f}  val_nll {row['val_nll']:.4f}  val_f1 {row['val_f1']:.4f}  "
        f"lr {row['lr']:.2e}  {row['photos_per_second']:.0f} photos/s"
    )


def _metrics(selected: dict[str, float], last: dict[str, float], train: int, val: int) -> dict[str, float]:
    names = ("val_f1", "val_nll", "val_loss", "val_acc", "val_age_mae")
    chosen = {name: selected[name] for name in names if name in selected}
    return {
        "epoch": selected["epoch"],
        "epochs": last["epoch"],
        **chosen,
        **{f"{name}_last": last[name] for name in chosen},
        "train_photos": train,
        "val_photos": val,
    }


def _closing_line(fold: int, history: list[dict[str, float]], selected: int) -> str:
    """Which epoch is kept, and whether val_nll had turned up while train_loss went on falling: overfitting."""
    nlls = [row["val_nll"] for row in history]
    lowest = int(np.argmin(nlls)) + 1
    line = f"fold {fold}: kept epoch {selected} of {len(history)} (val_f1 {history[selected - 1]['val_f1']:.4f})"
    if (
        lowest < len(history)
        and history[-1]["train_loss"] < history[lowest - 1]["train_loss"]
        and nlls[-1] > 1.02 * nlls[lowest - 1]
    ):
        line += f"; overfitting: val_nll is lowest at epoch {lowest} and has risen since, while train_loss fell"
    return line
