"""Figures as PNG files, drawn by matplotlib without a display."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stages.base.files import replacing
from stages.data.task_and_classes import Task
from stages.judge.epoch_rules import Advice
from stages.judge.metrics import confusion
from stages.judge.paired_difference import MODEL_BETTER, MODEL_WORSE, TOO_FEW, Difference
from stages.report import class_lists, lettering, score_names
from stages.report.colours import INK, REVISIONS, SHADES, SUGGESTIONS, VERDICTS, WRITTEN_LIGHT

LONGEST_NAME = 40  # letters beside a forest plot
RARE = 0.5  # of the classes' mean number of groups; classes of fewer have a panel of their own
THICK = 3  # points, of the interval of trained models
_OF_MODELS = {MODEL_BETTER: "better", MODEL_WORSE: "worse"}
_MARKS = (*VERDICTS, *_OF_MODELS)
# Panels of the forest plot from above, and what their axis shows.
_FOREST = {
    "scores": "difference of F1 and accuracy (right: better)",
    "classes": "difference of each class's F1 (right: better)",
    "rare": "difference of each rare class's F1 (right: better)",
    "nll": "difference of val_nll (left: better)",
}


def lr_curve(
    path: Path,
    curve: tuple[np.ndarray, np.ndarray, np.ndarray],
    marks: dict[str, float],
    suggestion: float | None,
    chosen: float,
) -> None:
    """The learning-rate range test over log lr. curve: rates, losses and smoothed losses, each [N]. marks: the rates that
    SUGGESTIONS names, with an arrow from half the fall to the rate that it suggests; dashed the one that training uses.
    """
    lrs, losses, smoothed = curve
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(lrs, losses, color="0.75", linewidth=1, label="loss of each batch")
    axes.plot(lrs, smoothed, color=REVISIONS[0], label="smoothed")
    heights = {name: float(np.interp(np.log(lr), np.log(lrs), smoothed)) for name, lr in marks.items()}
    for name, lr in marks.items():
        axes.plot(lr, heights[name], SUGGESTIONS[name], color=INK, label=f"{name}: {lr:.2g}")
    if suggestion is not None:
        lr, half, low = marks["half the fall"], heights["half the fall"], heights["lowest"]
        for height in (2 * half - low, low):  # between which the loss falls
            axes.axhline(height, color="0.6", linestyle=":", linewidth=1)
        axes.annotate("", (suggestion, half), (lr, half), arrowprops={"arrowstyle": "->", "color": INK})
        words = f" x {suggestion / lr:.1f} = {suggestion:.2g}"
        axes.text(suggestion, half, words, color=INK, va="bottom", fontsize=8)
    axes.axvline(chosen, color=INK, linestyle="--", linewidth=1, label=f"chosen: {chosen:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning-rate range test")
    low, high = smoothed.min(), smoothed[0]
    axes.set_ylim(low - 0.3 * (high - low + 1e-9), high + 0.6 * (high - low + 1e-9))
    axes.legend(fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def confusion_figure(labels: np.ndarray, predictions: np.ndarray, classes: int) -> Figure:
    """Confusion matrix, each row as shares of its true class; counts are written in the cells where these are few."""
    counts = confusion(labels, predictions, classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    few = classes <= class_lists.WHOLE
    side = max(7, 1.6 + 0.3 * classes) if few else 7  # inches; cells of one size, whose numbers can be read
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("shares", SHADES), vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class")
    if few:
        axes.set(xticks=range(classes), yticks=range(classes))
        for true, predicted in zip(*np.nonzero(counts), strict=True):
            colour = SHADES[0] if shares[true, predicted] > WRITTEN_LIGHT else INK
            axes.text(predicted, true, str(counts[true, predicted]), ha="center", va="center", fontsize=7, color=colour)
    return figure


@lettering.fonts()
def forest(path: Path, candidates: list[tuple[str, list[Difference]]], base: str, task: Task) -> None:
    """Differences from `base` with 95 % intervals, a column a candidate: scores of all photos, classes, val_nll.

    Each has an axis of its own, shared by the candidates, rare classes too: beside their whiskers macro F1 would be a mere dot.
    Of many classes those are drawn whose F1 differs most. A thick line is the interval of these trained models, over groups
    alone, a thin one that of the method, with the luck of the trainings.
    """
    shown, labels = _shown_classes(candidates), dict(_FOREST)
    if len(shown) < task.classes:
        labels["classes"] = (
            f"difference of the F1 of the {len(shown)} of {task.classes} classes that differ most (right: better)"
        )
    rare = _rare([row for _, rows in candidates for row in rows])
    grouped = {
        name: [
            [row for row in rows if _group(row.metric, rare) == name and _is_shown(row.metric, shown)]
            for _, rows in candidates
        ]
        for name in _FOREST
    }
    grouped = {name: rows_of for name, rows_of in grouped.items() if rows_of[0]}
    heights = [len(rows_of[0]) + 0.8 for rows_of in grouped.values()]
    size = (2.2 + 4.2 * len(candidates), 1.2 + 0.6 * len(grouped) + 0.27 * sum(heights))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        len(grouped), len(candidates), squeeze=False, sharex="row", sharey="row", height_ratios=heights
    )
    for panels, (name, rows_of) in zip(grid, grouped.items(), strict=True):
        for axes, rows in zip(panels, rows_of, strict=True):
            _forest_panel(axes, rows, _reach([row for rows in rows_of for row in rows]))
            axes.set_xlabel(labels[name], fontsize=8)
            axes.set_yticks(range(len(rows)), [_score_name(row.metric, task) for row in rows])
    for axes, (name, _) in zip(grid[0], candidates, strict=True):
        axes.set_title(f"{name} against {base}", fontsize=10)
    _name_verdicts(figure, [row for _, rows in candidates for row in rows])
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _score_name(metric: str, task: Task) -> str:
    name = class_lists.cut(score_names.whole(metric, task), LONGEST_NAME)
    return lettering.plain(name) if lettering.drawable(name) else metric


def _shown_classes(candidates: list[tuple[str, list[Difference]]]) -> set[str]:
    """Metrics of the classes to draw: all, or of many those that differ most, where enough is known of them, in any column."""
    rows = [row for _, rows in candidates for row in rows if score_names.of_class(row.metric)]
    if len(rows) <= class_lists.WHOLE * len(candidates):
        return {row.metric for row in rows}
    return set(class_lists.differing(rows))


def _is_shown(metric: str, shown: set[str]) -> bool:
    return not score_names.of_class(metric) or metric in shown


def _name_verdicts(figure: Figure, rows: list[Difference]) -> None:
    """A legend of the verdicts that are drawn, of differences without an interval, and of the two intervals."""
    in_order = sorted(rows, key=lambda row: (_is_alike(row), _MARKS.index(row.verdict)))
    named = {f"{row.verdict}{': the same in every sample' * _is_alike(row)}": _mark(row) for row in in_order}
    marks = [Line2D([], [], linewidth=2, markersize=5, label=label, **mark) for label, mark in named.items()]
    lines = [
        Line2D([], [], color=INK, linewidth=width, label=label)
        for width, label in ((THICK, "95 % interval of these trained models"), (1, "of the method, trained again"))
    ]
    figure.legend(handles=[*marks, *lines], loc="outside lower center", ncols=2, fontsize=8, frameon=False)


def _is_alike(row: Difference) -> bool:
    """Whether the difference is the same in every sample, so that nothing is known of how it varies."""
    return row.verdict != TOO_FEW and row.low == row.high


def _has_interval(row: Difference) -> bool:
    return row.verdict != TOO_FEW and not _is_alike(row)


def _mark(row: Difference) -> dict[str, Any]:
    """Without an interval: a cross. Of trained models alone: a hollow mark."""
    colour = VERDICTS[_OF_MODELS.get(row.verdict, row.verdict)]
    if not _has_interval(row):
        return {"color": colour, "marker": "x", "linestyle": "none"}
    return {"color": colour, "marker": "o", "linestyle": "-"} | (
        {"markerfacecolor": "white"} if row.verdict in _OF_MODELS else {}
    )


def _rare(rows: list[Difference]) -> set[str]:
    """Metrics of the classes that few groups have, beside the others."""
    groups = {row.metric: row.groups for row in rows if row.groups is not None}
    mean = float(np.mean(list(groups.values()))) if groups else 0.0
    return {metric for metric, count in groups.items() if count < RARE * mean}


def _group(metric: str, rare: set[str]) -> str:
    if metric == "nll":
        return "nll"
    if metric in rare:
        return "rare"
    return "classes" if score_names.of_class(metric) else "scores"


def _reach(rows: list[Difference]) -> float:
    """How far an axis reaches to both sides of 0, so that every interval is seen whole; no further than a score can differ."""
    ends = [max(abs(row.low), abs(row.high)) for row in rows if row.verdict != TOO_FEW]
    reach = 1.05 * max(*ends, *(abs(row.difference) for row in rows), 1e-6)
    return reach if rows[0].metric == "nll" else min(1.0, reach)


def _forest_panel(axes: Axes, rows: list[Difference], reach: float) -> None:
    for place, row in enumerate(rows):
        drawn: dict[str, Any] = {"markersize": 5} | _mark(row)
        if _has_interval(row):
            axes.plot([row.low, row.high], [place, place], color=drawn["color"], linewidth=1)
            axes.plot([row.models_low, row.models_high], [place, place], color=drawn["color"], linewidth=THICK)
        axes.plot([row.difference], [place], clip_on=False, zorder=3, **drawn)
    axes.axvline(0, color=INK, linewidth=1, zorder=0)
    axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6))
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="0.9")


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
        axes.fill_between(
            epochs, mean - band, mean + band, color=REVISIONS[0], alpha=0.25, label="mean +- standard error"
        )
        axes.plot(epochs, mean, color=REVISIONS[0], linewidth=2)
        axes.axvline(advice.best_epoch, color=INK, linestyle="--", label=f"best mean val_f1: epoch {advice.best_epoch}")
        axes.axvline(
            advice.recommended,
            color=INK,
            linestyle=":",
            label=f"within one error of it: epoch {advice.recommended}",
        )
        axes.set(xlabel="epoch", ylabel=name, title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for onset in advice.onset:
        if onset is not None:
            panels[1].axvline(onset, ymax=0.06, color=INK, linewidth=3)
    panels[1].plot([], [], color=INK, linewidth=3, label="overfitting begins (a fold)")
    panels[1].legend(fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
