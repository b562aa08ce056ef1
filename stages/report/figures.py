"""Figures as PNG files, drawn by matplotlib without a display."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stages.data.layout import CLASSES
from stages.files import replacing
from stages.judge.metrics import confusion

SUGGESTION_COLOURS = {"steepest": "#d95f02", "valley": "#1b9e77", "minimum/10": "#7570b3"}


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
