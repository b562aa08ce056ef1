"""Figures as PNG files, drawn by matplotlib without a display."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.data.layout import CLASSES, class_name
from stages.files import replacing
from stages.judge.compare import Difference
from stages.judge.epochs import Advice
from stages.judge.metrics import confusion

SUGGESTION_COLOURS = {"steepest": "#d95f02", "valley": "#1b9e77", "minimum/10": "#7570b3"}
VERDICT_COLOURS = {"better": "#1b7837", "worse": "#b2182b", "no evidence either way": "0.45", "too few people": "0.75"}


def lr_curve(
    path: Path, lrs: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, suggestions: dict[str, float], chosen: float
) -> None:
    """The learning-rate range test over log lr, with the suggestions and the chosen learning rate marked."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(lrs, losses, color="0.75", linewidth=1, label="loss of each batch")
    axes.plot(lrs, smoothed, color="0.15", label="smoothed")
    for name, lr in suggestions.items():
        height = np.interp(np.log(lr), np.log(lrs), smoothed)
        axes.plot(lr, height, "o", color=SUGGESTION_COLOURS[name], label=f"{name}: {lr:.2g}")
    axes.axvline(chosen, color="0.5", linestyle="--", linewidth=1, label=f"chosen: {chosen:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning-rate range test")
    low, high = smoothed.min(), smoothed[0]
    axes.set_ylim(low - 0.15 * (high - low + 1e-9), high + 0.6 * (high - low + 1e-9))
    axes.legend(fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def confusion_figure(labels: np.ndarray, predictions: np.ndarray) -> Figure:
    """Confusion matrix, each row as shares of its true class, counts written in the cells."""
    counts = confusion(labels, predictions)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(7, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, predicted in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[true, predicted] > 0.5 else "black"
        axes.text(predicted, true, str(counts[true, predicted]), ha="center", va="center", fontsize=7, color=colour)
    axes.set(xticks=range(CLASSES), yticks=range(CLASSES), xlabel="predicted class", ylabel="true class")
    return figure


def forest(path: Path, candidates: list[tuple[str, list[Difference]]], base: str) -> None:
    """Differences from `base` with 95 % intervals, a panel a candidate, scores down the side; nll on an axis of its own."""
    names = [row.metric for row in candidates[0][1] if row.metric != "nll"]
    figure = Figure(figsize=(1.5 + 4.2 * len(candidates), 1.8 + 0.26 * (len(names) + 2)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(candidates), squeeze=False, sharey="row", height_ratios=[len(names), 1.6])
    for column, (name, rows) in enumerate(candidates):
        shown = [row for row in rows if row.metric != "nll"]
        shown.sort(key=lambda row: row.metric.removeprefix("f1_").isdigit())  # classes after the scores of all
        _forest_panel(grid[0, column], shown, "difference of F1 and accuracy (right: better)")
        _forest_panel(
            grid[1, column], [row for row in rows if row.metric == "nll"], "difference of val_nll (left: better)"
        )
        grid[0, column].set_title(f"{name} against {base}", fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _forest_panel(axes: Axes, rows: list[Difference], label: str) -> None:
    widest = max([row.high - row.low for row in rows if row.verdict != "too few people"] or [1.0])
    for place, row in enumerate(rows):
        colour = VERDICT_COLOURS[row.verdict]
        if row.verdict != "too few people":
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
        marker = "x" if row.verdict == "too few people" else "o"
        axes.plot(row.difference, place, marker, color=colour, markersize=5)
    axes.axvline(0, color="0.3", linewidth=1)
    axes.set(
        yticks=range(len(rows)), yticklabels=[_score_name(row.metric) for row in rows], ylim=(len(rows) - 0.4, -0.6)
    )
    reach = max(widest, *(2.2 * abs(row.difference) for row in rows), 1e-6)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="0.9")


def _score_name(metric: str) -> str:
    number = metric.removeprefix("f1_")
    if number.isdigit():
        return f"{int(number):02d} {class_name(int(number))}"
    names = {"macro_f1": "macro F1", "f1_60plus": "mean F1 of 60+", "nll": "val_nll", "accuracy": "accuracy"}
    return names.get(metric, f"F1 of {number} alone")


def epoch_curves(path: Path, f1: np.ndarray, nll: np.ndarray, advice: Advice) -> None:
    """val_f1 and val_nll [folds, epochs]: folds thin, mean bold with its standard error, best and recommended epochs marked."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    epochs = np.arange(1, f1.shape[1] + 1)
    for axes, name, runs, mean, band in (
        (panels[0], "val_f1 (macro F1)", f1, advice.mean_f1, advice.band_f1),
        (panels[1], "val_nll (cross entropy)", nll, advice.mean_nll, advice.band_nll),
    ):
        axes.plot(epochs, runs.T, color="0.75", linewidth=0.8)
        axes.fill_between(epochs, mean - band, mean + band, color="#1f77b4", alpha=0.25, label="mean +- standard error")
        axes.plot(epochs, mean, color="#1f77b4", linewidth=2)
        axes.axvline(
            advice.best_epoch, color="#1b9e77", linestyle="--", label=f"best mean val_f1: epoch {advice.best_epoch}"
        )
        axes.axvline(
            advice.recommended,
            color="#d95f02",
            linestyle=":",
            label=f"within one error of it: epoch {advice.recommended}",
        )
        axes.set(xlabel="epoch", ylabel=name, title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for onset in advice.onset:
        if onset is not None:
            panels[1].axvline(onset, ymax=0.06, color="#b2182b", linewidth=2)
    panels[1].plot([], [], color="#b2182b", linewidth=2, label="overfitting begins (a fold)")
    panels[1].legend(fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
