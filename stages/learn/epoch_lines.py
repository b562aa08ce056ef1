"""What training says of itself, in lines that a terminal of 80 columns holds; history.csv has all digits."""

import numpy as np

from stages.judge import epoch_rules
from stages.learn.progress import Progress

_LOSSES = {"train": "train_loss", "val": "val_loss", "nll": "val_nll"}


def epoch_line(name: str, row: dict[str, float], epochs: int) -> str:
    """An epoch in one line.

    name: the fold, or fold.repeat. train, val and nll are train_loss, val_loss and val_nll; f1 is val_f1.
    """
    losses = " ".join(f"{word} {_short(row[key])}" for word, key in _LOSSES.items())
    photos = row["photos_per_second"]
    speed = f"{photos / 1000:.0f}k/s" if photos >= 999.5 else f"{photos:.0f}/s" if photos >= 10 else f"{photos:.2g}/s"
    lr = f"{row['lr']:.1e}".replace("e-0", "e-")
    return f"fold {name} epoch {row['epoch']:>2}/{epochs} {losses} f1 {row['val_f1']:.3f} lr {lr} {speed}"


def closing_line(fold: int, progress: Progress) -> str:
    """Which epoch is kept, whether a time limit shortened the training, and whether the model overfits."""
    history, selected = progress.history, progress.selected_epoch
    line = f"fold {fold}: kept epoch {selected} of {len(history)} (val_f1 {history[selected - 1]['val_f1']:.4f})"
    line += f"; shortened to fit the time ({progress.limit})" if progress.limit else ""
    train_loss, val_nll = (np.array([row[name] for row in history]) for name in ("train_loss", "val_nll"))
    onset = epoch_rules.overfitting_onset(train_loss, val_nll)
    if onset is not None:
        line += f"; overfitting: val_nll is lowest at epoch {onset + 1} and has risen since, while train_loss fell"
    return line


def _short(value: float) -> str:
    """A loss in five characters: 0.123, 1.234, 12.34, 123.4, 1235, 1e+05."""
    if abs(value) < 9.9995:
        return f"{value:.3f}"
    return f"{value:#.4g}".rstrip(".") if abs(value) < 9999.5 else f"{value:.0e}"
