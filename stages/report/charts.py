"""The charts of the report as SVG text, drawn by matplotlib; letters are outlines, so that they look the same everywhere."""

import io
import re
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from stages.report.figures import SUGGESTION_COLOURS

COLOURS = ("#1f5fa8", "#c8541b")  # of the first and the second revision
STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "maskcli",  # the same figure gives the same bytes
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.92",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
Limits = tuple[float, float]


@dataclass(frozen=True)
class ClassF1:
    """F1 of each class with its interval, [18] each, of one revision; NaN where there is no interval."""

    name: str
    f1: np.ndarray
    low: np.ndarray
    high: np.ndarray


def by_epoch(history: pd.DataFrame, column: str, colour: str, title: str, label: str, limits: Limits) -> str:
    """A column of the histories over epochs; the y limits are given, so that charts side by side share them."""
    with matplotlib.rc_context(STYLE):
        figure = _figure(4.0, 3.2)
        axes = figure.add_subplot()
        _fold_lines(axes, history, column, colour)
        axes.set(title=title, xlabel="epoch", ylabel=label, ylim=limits)
        axes.legend(handles=_fold_legend(colour), loc="best")
        return _svg(figure)


def range_test(curve: pd.DataFrame, suggestions: pd.DataFrame, chosen: float) -> str:
    """The learning-rate range test over log lr, with its suggestions and the learning rate that training used."""
    with matplotlib.rc_context(STYLE):
        figure = _figure(4.0, 3.2)
        axes = figure.add_subplot()
        axes.plot(curve["lr"], curve["loss"], color="0.75", linewidth=1, label="loss of each batch")
        axes.plot(curve["lr"], curve["smoothed"], color="0.15", label="smoothed")
        for name, colour in SUGGESTION_COLOURS.items():
            mark = suggestions[suggestions["name"] == name]
            if len(mark):
                axes.plot(mark["lr"], mark["smoothed"], "o", color=colour, label=f"{name}: {mark['lr'].iloc[0]:.2g}")
        axes.axvline(chosen, color="0.4", linestyle="--", linewidth=1, label=f"chosen: {chosen:.2g}")
        low, high = curve["smoothed"].min(), curve["smoothed"].iloc[0]
        span = high - low + 1e-9
        axes.set(xscale="log", xlabel="learning rate (log scale)", ylabel="training loss", title="range test")
        axes.set_ylim(low - 1.1 * span, high + 0.4 * span)  # the room below is the legend's
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        axes.legend(loc="lower left", fontsize=8)
        return _svg(figure)


def confusion(counts: np.ndarray, names: list[str], normalised: bool) -> str:
    """Confusion matrix [C, C], row = true class: counts of photos, or each row in per cent of its true class."""
    classes = len(names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with matplotlib.rc_context(STYLE | {"axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure = _figure(7.4, 7.2)
        axes = figure.add_subplot()
        # Counts of rare classes would vanish beside those of common ones on a linear scale.
        values = shares if normalised else np.sqrt(counts)
        axes.pcolormesh(values, cmap="Blues", vmin=0, vmax=max(values.max(), 1e-9), edgecolors="0.93", linewidth=0.4)
        for true, predicted in np.argwhere(counts).tolist():
            value = round(100 * shares[true, predicted]) if normalised else counts[true, predicted]
            colour = "white" if values[true, predicted] > 0.55 * values.max() else "0.1"
            text = "<1" if normalised and value == 0 else str(value)
            axes.text(predicted + 0.5, true + 0.5, text, ha="center", va="center", fontsize=9, color=colour)
        middles = np.arange(classes) + 0.5
        axes.set_xticks(middles, names, rotation=90)
        axes.set_yticks(middles, names)
        axes.tick_params(length=0)
        axes.invert_yaxis()
        title = "per cent of each true class" if normalised else "photos"
        axes.set(xlabel="predicted class", ylabel="true class", title=title)
        return _svg(figure)


def per_class(names: list[str], photos: np.ndarray, runs: list[ClassF1]) -> str:
    """F1 of each class as a dot with its interval, the revisions one below the other, photo counts at the right.

    A hollow dot has no interval.
    """
    with matplotlib.rc_context(STYLE):
        figure = _figure(5.4, 0.29 * len(names) + 1.2)
        axes = figure.add_subplot()
        rows = np.arange(len(names))
        offsets = np.zeros(1) if len(runs) == 1 else np.array([-0.16, 0.16])
        for run, offset, colour in zip(runs, offsets, COLOURS, strict=False):
            known = np.isfinite(run.low)
            # A bootstrap-t interval need not hold the value itself.
            reach = np.maximum([(run.f1 - run.low)[known], (run.high - run.f1)[known]], 0)
            places = rows + offset
            axes.errorbar(
                run.f1[known],
                places[known],
                xerr=reach,
                fmt="o",
                color=colour,
                markersize=5,
                elinewidth=1.6,
                label=run.name,
            )
            axes.plot(run.f1[~known], places[~known], "o", color=colour, markersize=5, fillstyle="none")
        for row, text in [(-1, "photos"), *enumerate(map(str, photos))]:
            axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9, color="0.35")
        axes.set_yticks(rows, names)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5), xlabel="F1, with 95 % interval over people")
        if len(runs) > 1:
            figure.legend(loc="outside upper left", ncols=2)
        return _svg(figure)


def reliability(confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray, colour: str) -> str:
    """Accuracy against confidence over equal-width bins [B], the number of photos beneath."""
    bins = len(count)
    edges = np.linspace(0, 1, bins + 1)
    with matplotlib.rc_context(STYLE):
        figure = _figure(4.6, 5.2)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1, label="perfect calibration")
        filled = count > 0
        top.bar(
            edges[:-1][filled], accuracy[filled], 1 / bins, align="edge", color=colour, alpha=0.35, edgecolor="white"
        )
        top.plot(confidence[filled], accuracy[filled], "o-", color=colour, markersize=4, label="accuracy in each bin")
        top.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        top.legend(loc="upper left")
        bottom.bar(edges[:-1], count, 1 / bins, align="edge", color=colour, alpha=0.8, edgecolor="white")
        bottom.set(xlabel="confidence (largest probability)", ylabel="photos")
        figure.align_ylabels()
        return _svg(figure)


def limits(histories: list[pd.DataFrame], *columns: str) -> Limits:
    """One y range, 5 % wider than the finite values of the columns in all histories; (0, 1) if there are none."""
    values = np.concatenate([history[column].to_numpy(float) for history in histories for column in columns])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    margin = 0.05 * (values.max() - values.min()) + 1e-6
    return float(values.min() - margin), float(values.max() + margin)


def _fold_lines(axes: Any, history: pd.DataFrame, column: str, colour: str) -> None:
    """A thin line per fold (and repeat), and their mean at each epoch as a bold one; points where there is one epoch."""
    keys = [key for key in ("repeat", "fold") if key in history]
    marker = "o" if history["epoch"].nunique() == 1 else None
    for _, lines in history.groupby(keys):
        axes.plot(lines["epoch"], lines[column], color=colour, alpha=0.35, linewidth=0.9, marker=marker, markersize=3)
    mean = history.groupby("epoch")[column].mean()
    axes.plot(mean.index, mean, color=colour, linewidth=2.4, marker=marker)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _fold_legend(colour: str) -> list[Line2D]:
    thin = Line2D([], [], color=colour, alpha=0.35, linewidth=0.9, label="each fold")
    return [thin, Line2D([], [], color=colour, linewidth=2.4, label="mean of folds")]


def _figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, with no window behind it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: Figure) -> str:
    """SVG without prologue and metadata, the same bytes for the same figure."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    return re.sub(r"\s*\n\s*", "\n", text[text.index("<svg") :])
