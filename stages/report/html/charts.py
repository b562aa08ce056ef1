"""The charts of the report as SVG text, drawn by matplotlib; letters are outlines, so that they look the same everywhere.

The page shows each chart at its natural size and nowhere scaled, so that all their letters are FONT px high.
"""

import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from stages.judge.bootstrap import FEWEST_PEOPLE
from stages.judge.calibration import Reliability
from stages.report.class_lists import cut
from stages.report.colours import INK, NUMBERS, NUMBERS_LIGHT, REVISIONS, SHADES, SUGGESTIONS, VERDICTS
from stages.report.html.dark import adapted
from stages.report.lettering import families, in_legend

INCH = 96  # px, CSS
FONT = 12  # px
PANEL = 288  # px wide: one fits a phone, four a laptop
LINE = 18  # px high, of a legend
MATRIX = 596  # px wide and high: two fit a laptop, and 18 classes with a number in each cell
CELL = 25  # px of such a cell
LABELS = 146  # px of names and titles beside the cells
LARGEST = 90  # area of a bin's dot, points squared: that of the most photos
SMALLEST = 0.2  # share of it that the fewest have
TOO_FEW = VERDICTS["too few to tell"]
MANY_GROUPS: dict[str, Any] = {"fmt": "o", "markersize": 5, "elinewidth": 1.6}
FEW_GROUPS: dict[str, Any] = {"fmt": "o", "markersize": 3.5, "elinewidth": 0.7}
HOLLOW = {"facecolors": "white", "edgecolors": TOO_FEW, "linewidths": 1.4}
NARROW = 100  # times the fewest photos: less is a scale of few powers of ten
BESIDE = 2  # times the most photos, where the scale ends: all classes may have as many
DOTS = 0.8  # a px of a matrix without, whose names take no room
STYLE: dict[str, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "maskcli",  # the same figure gives the same bytes
    "font.size": FONT * 72 / INCH,
    "axes.titlesize": "medium",
    "axes.labelsize": "medium",
    "xtick.labelsize": "medium",
    "ytick.labelsize": "medium",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",  # seen also where a wide chart is scrolled
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.92",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": "medium",
    "legend.borderaxespad": 0.2,
    "legend.handlelength": 1.4,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
Limits = tuple[float, float]


@dataclass(frozen=True)
class ClassF1:
    """F1 of each class with its interval, [C] each, of one revision; NaN where there is no interval."""

    name: str
    f1: np.ndarray
    low: np.ndarray
    high: np.ndarray
    few: np.ndarray  # bool: of so few groups that the interval is drawn thin


@dataclass(frozen=True)
class Course:
    """How one revision was trained: the histories of its folds, and the range test of its learning rate."""

    name: str
    colour: str
    history: pd.DataFrame
    curve: pd.DataFrame
    suggestions: pd.DataFrame
    lr: float


def by_epoch(runs: list[Course], column: str, title: str, label: str, limits: Limits) -> str:
    """A column of the histories over epochs; the y limits are given, so that charts side by side share them."""
    with _style():
        figure = _figure(PANEL, 260 if len(runs) == 1 else 260 + LINE * len(runs))
        axes = figure.add_subplot()
        for run in runs:
            _fold_lines(axes, run.history, column, run.colour)
        axes.set(title=title, xlabel="epoch", ylabel=label, ylim=limits)
        figure.legend(handles=_fold_legend(runs), loc="outside lower center", ncols=2 if len(runs) == 1 else 1)
        return _svg(figure)


def range_test(runs: list[Course]) -> str:
    """The learning-rate range test over log lr, with its suggestions and the learning rate that training used.

    Of one revision also the loss of each batch, and the suggestions as numbers.
    """
    with _style():
        figure = _figure(PANEL, 320 + LINE * len(runs))
        axes, alone = figure.add_subplot(), len(runs) == 1
        if alone:
            axes.plot(runs[0].curve["lr"], runs[0].curve["loss"], color="0.75", linewidth=1, label="loss of each batch")
        for run in runs:
            label = "smoothed" if alone else f"{in_legend(cut(run.name))}, chosen {run.lr:.2g}"
            axes.plot(run.curve["lr"], run.curve["smoothed"], color=run.colour, linewidth=2.4, label=label)
            _suggestions(axes, run, alone)
            axes.axvline(run.lr, color=INK if alone else run.colour, linestyle="--", linewidth=1)
        if not alone:
            for name, marker in SUGGESTIONS.items():
                axes.plot([], [], marker, color=INK, label=name)
        chosen = f"chosen: {runs[0].lr:.2g}" if alone else "chosen"
        axes.plot([], [], color=INK, linestyle="--", linewidth=1, label=chosen)
        low, high = _range(runs)
        axes.set(xscale="log", xlabel="learning rate (log scale)", ylabel="training loss", title="range test")
        axes.set_ylim(low - 0.3 * (high - low), high + 0.4 * (high - low))
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        figure.legend(
            loc="outside lower center", ncols=2 if alone else 1, columnspacing=0.6, handlelength=1.1, handletextpad=0.5
        )
        return _svg(figure)


def _suggestions(axes: Any, run: Course, alone: bool) -> None:
    for name, marker in SUGGESTIONS.items():
        mark = run.suggestions[run.suggestions["name"] == name]
        if len(mark):
            look = {"color": INK, "label": f"{name}: {mark['lr'].iloc[0]:.2g}"} if alone else {"color": run.colour}
            axes.plot(mark["lr"], mark["smoothed"], marker, **look)


def _range(runs: list[Course]) -> Limits:
    """The smoothed losses up to each lowest one: what follows may be of any height."""
    before = [run.curve["smoothed"].iloc[: int(run.curve["smoothed"].argmin()) + 1] for run in runs]
    low = min(float(one.min()) for one in before)
    return low, max(float(one.max()) for one in before) + 1e-9


def confusion(counts: np.ndarray, names: list[str], normalised: bool) -> str:
    """Confusion matrix [C, C], row = true class: counts of photos, or each row in per cent of its true class."""
    classes = len(names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(PANEL, LABELS + CELL * classes)  # cells of one size, whose numbers can be read, however many
    with _style({"axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure = _figure(side, side)
        axes = figure.add_subplot()
        # Counts of rare classes would vanish beside those of common ones on a linear scale.
        values = shares if normalised else np.sqrt(counts)
        shading = LinearSegmentedColormap.from_list("shares", SHADES)
        axes.pcolormesh(values, cmap=shading, vmin=0, vmax=max(values.max(), 1e-9), edgecolors="0.93", linewidth=0.4)
        for true, predicted in np.argwhere(counts).tolist():
            value = per_cent(shares[true, predicted]) if normalised else counts[true, predicted]
            colour = NUMBERS[int(values[true, predicted] > NUMBERS_LIGHT * values.max())]
            text = "<1" if normalised and value == 0 else str(value)
            axes.text(predicted + 0.5, true + 0.5, text, ha="center", va="center", color=colour)
        middles = np.arange(classes) + 0.5
        axes.set_xticks(middles, names, rotation=90)
        axes.set_yticks(middles, names)
        axes.tick_params(length=0)
        axes.invert_yaxis()
        title = "per cent of each true class" if normalised else "photos"
        axes.set(xlabel="predicted class", ylabel="true class", title=title)
        return _svg(figure)


def per_cent(share: float) -> int:
    """Halves upwards, as in DVC's plot of the same numbers; Python's round takes 72.5 down and 73.5 up."""
    return int(100 * share + 0.5)


def confusion_of_many(counts: np.ndarray, side: int) -> str:
    """Confusion matrix [C, C] of more classes than have room for a number each, classes by falling number of photos.

    Each dot has the largest share of a true class's photos among the cells it stands for, so that none is lost. side: px.
    """
    classes = len(counts)
    order = np.argsort(-counts.sum(1), kind="stable")
    shares = (counts / np.maximum(counts.sum(1, keepdims=True), 1))[np.ix_(order, order)]
    block = -(-classes // round(DOTS * side))
    starts = np.arange(0, classes, block)
    dots = np.maximum.reduceat(np.maximum.reduceat(shares, starts, axis=0), starts, axis=1)
    with _style({"axes.grid": False}):
        figure = _figure(side, side)
        axes = figure.add_subplot()
        shading = LinearSegmentedColormap.from_list("shares", SHADES)
        end = len(dots) * block
        # The root of a share, so that a tenth is seen. Dots are embedded as they are and not smoothed.
        axes.imshow(np.sqrt(dots), cmap=shading, vmin=0, vmax=1, extent=(0, end, end, 0), interpolation="none")
        axes.set(xlim=(0, classes), ylim=(classes, 0), title="shares of each true class")
        axes.set(xlabel="predicted class, commonest first", ylabel="true class, commonest first")
        return _svg(figure)


def f1_by_photos(photos: np.ndarray, runs: list[ClassF1], width: int) -> str:
    """F1 of every class over its photos (log scale) as a dot, the revisions over each other, and the mean over classes with
    about as many photos as a line. photos: [C].
    """
    there = photos > 0
    size = np.log(photos[there])
    # Edges are sizes that classes have: between others there may be no class, and so no mean.
    tenth = np.digitize(size, np.unique(np.quantile(size, np.linspace(0, 1, 11), method="lower"))[1:-1])
    classes = np.bincount(tenth)
    middle = np.exp(np.bincount(tenth, size) / classes)
    with _style():
        figure = _figure(width, 320)
        axes = figure.add_subplot()
        for run, colour in zip(runs, REVISIONS, strict=False):
            axes.plot(photos[there], run.f1[there], "o", color=colour, markersize=3, alpha=0.35, markeredgewidth=0)
            mean = np.bincount(tenth, run.f1[there]) / classes
            axes.plot(middle, mean, "o-", color=colour, linewidth=2.4, markersize=4, label=in_legend(run.name))
        fewest, most = photos[there].min(), photos[there].max()
        axes.set(xscale="log", xlim=(max(0.8, fewest / BESIDE), most * BESIDE))
        axes.set(xlabel="photos of the class (log scale)")
        axes.set(ylim=(-0.02, 1.02), ylabel="F1", title="each class, and the mean of like ones")
        if most < NARROW * fewest:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:,.10g}")
        axes.xaxis.set_minor_formatter(NullFormatter())  # matplotlib's writes 4 x 10^0
        if len(runs) > 1:
            figure.legend(loc="outside lower center", ncols=2)
        return _svg(figure)


def per_class(names: list[str], photos: np.ndarray, runs: list[ClassF1], width: int, title: str = "") -> str:
    """F1 of each class as a dot with its interval, the revisions one below the other, photo counts at the right.

    A thin interval is one of few groups, a hollow dot has none. width: px.
    """
    with _style():
        figure = _figure(width, 26 * len(names) + 96)
        axes = figure.add_subplot()
        rows = np.arange(len(names))
        offsets = np.zeros(1) if len(runs) == 1 else np.array([-0.18, 0.18])
        for run, offset, colour in zip(runs, offsets, REVISIONS, strict=False):
            _dots(axes, run, rows + offset, colour)
        for row, text in [(-1, "photos"), *enumerate(map(str, photos))]:
            at = axes.get_yaxis_transform()
            axes.text(1.02, row, text, transform=at, va="center", color="0.35")
        axes.set_yticks(rows, names)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5), xlabel="F1, with 95 % interval", title=title)
        if len(runs) > 1:
            figure.legend(loc="outside upper left")
        return _svg(figure)


def _dots(axes: Any, run: ClassF1, places: np.ndarray, colour: str) -> None:
    """A revision's F1 with intervals at these heights."""
    known = np.isfinite(run.low)
    for which, look in ((known & ~run.few, MANY_GROUPS), (known & run.few, FEW_GROUPS)):
        # Rounding may make reaches negative.
        reach = np.maximum([(run.f1 - run.low)[which], (run.high - run.f1)[which]], 0)
        axes.errorbar(run.f1[which], places[which], xerr=reach, color=colour, **look)
    axes.plot([], [], "o-", color=colour, markersize=5, label=in_legend(run.name))
    axes.plot(run.f1[~known], places[~known], "o", color=colour, markersize=5, fillstyle="none")


def reliability(runs: list[tuple[str, str, Reliability]], units: str) -> str:
    """Accuracy against confidence, a dot for each bin, as large as it has photos, with its interval; the photos beneath.

    runs: name, colour and bins of each revision. A bin of too few groups (units: what they are called) is a hollow dot in the
    colour of what cannot be told.
    """
    with _style():
        figure = _figure(PANEL, 470 + LINE * (len(runs) - 1))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
        for place, (_, colour, bins) in enumerate(runs):
            _bins(top, bins, colour)
            few, width = _few(bins), 1 / len(bins.photos) / len(runs)
            left = np.linspace(0, 1, len(bins.photos) + 1)[:-1] + place * width
            shades = np.where(few, TOO_FEW, colour)
            bottom.bar(left, bins.photos, width, align="edge", color=shades, edgecolor="white")
        top.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="accuracy")
        bottom.set(xlabel="confidence (largest probability)", ylabel="photos")
        bottom.set_xticks(np.linspace(0, 1, 6))
        few_words = f"fewer than {FEWEST_PEOPLE} {units}" if any(_few(bins).any() for _, _, bins in runs) else ""
        figure.legend(
            handles=_bin_legend([(name, colour) for name, colour, _ in runs], few_words), loc="outside lower center"
        )
        figure.align_ylabels()
        return _svg(figure)


def _few(bins: Reliability) -> np.ndarray:
    return (bins.photos > 0) & ~np.isfinite(bins.low)


def _bins(axes: Any, bins: Reliability, colour: str) -> None:
    known = np.isfinite(bins.low)
    area = LARGEST * np.maximum(bins.photos / bins.photos.max(), SMALLEST)
    axes.vlines(bins.confidence[known], bins.low[known], bins.high[known], color=colour, linewidth=1.6)
    for which, look in ((known, {"color": colour, "edgecolors": "white"}), (_few(bins), HOLLOW)):
        axes.scatter(bins.confidence[which], bins.accuracy[which], area[which], zorder=3, **look)


def _bin_legend(runs: list[tuple[str, str]], few: str) -> list[Line2D]:
    diagonal = Line2D([], [], color="0.5", linestyle="--", linewidth=1, label="perfect calibration")
    label = "a bin with its 95 % interval,\nthe larger the more photos"
    dots = [
        Line2D([], [], color=colour, marker="o", linestyle="none", markersize=6, label=in_legend(cut(name)))
        for name, colour in runs
    ]
    if len(runs) == 1:
        dots[0].set_label(label)
    ring = Line2D([], [], color=TOO_FEW, marker="o", linestyle="none", markersize=6, fillstyle="none")
    ring.set_label(f"{few}: too few to tell")
    return [diagonal, *dots, *([ring] if few else [])]


def limits(histories: list[pd.DataFrame], *columns: str, highest: float = np.inf) -> Limits:
    """One y range, 5 % wider than the finite values of the columns in all histories; (0, 1) if there are none.

    It does not reach beyond 0 and `highest`, where no value does.
    """
    values = np.concatenate([history[column].to_numpy(float) for history in histories for column in columns])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) + 1e-6
    return low - (min(margin, low) if low >= 0 else margin), high + (
        min(margin, highest - high) if high <= highest else margin
    )


def _fold_lines(axes: Any, history: pd.DataFrame, column: str, colour: str) -> None:
    """A thin line per fold (and repeat), and their mean at each epoch as a bold one; points where there is one epoch."""
    keys = [key for key in ("repeat", "fold") if key in history]
    marker = "o" if history["epoch"].nunique() == 1 else None
    for _, lines in history.groupby(keys):
        axes.plot(lines["epoch"], lines[column], color=colour, alpha=0.35, linewidth=0.9, marker=marker, markersize=3)
    mean = history.groupby("epoch")[column].mean()
    axes.plot(mean.index, mean, color=colour, linewidth=2.4, marker=marker)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _fold_legend(runs: list[Course]) -> list[Line2D]:
    thin = Line2D([], [], color=runs[0].colour if len(runs) == 1 else INK, alpha=0.35, linewidth=0.9, label="each fold")
    means = ["mean of folds"] if len(runs) == 1 else [in_legend(cut(run.name)) for run in runs]
    return [
        *([thin] if len(runs) == 1 else []),
        *(Line2D([], [], color=run.colour, linewidth=2.4, label=label) for run, label in zip(runs, means, strict=True)),
        *([thin] if len(runs) > 1 else []),
    ]


def _style(own: Mapping[str, Any] | None = None) -> AbstractContextManager[None]:
    """Figures made within it look like the page's others."""
    return matplotlib.rc_context(STYLE | {"font.family": list(families())} | dict(own or {}))


def _figure(width: int, height: int) -> Figure:
    """An empty figure of so many px, with no window behind it."""
    figure = Figure(figsize=(width / INCH, height / INCH), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: Figure) -> str:
    """SVG without prologue and metadata, for light and dark, the same bytes for the same figure."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    return adapted(re.sub(r"\s*\n\s*", "\n", text[text.index("<svg") :]))
