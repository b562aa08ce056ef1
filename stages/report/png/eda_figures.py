"""The pictures of eda as PNG files, drawn by matplotlib without a display."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from stages.base.files import replacing
from stages.data.decode import decode
from stages.data.task_and_classes import Task
from stages.report import lettering
from stages.report.colours import INK, LEVELS, NEUTRAL
from stages.report.png.histograms import Histogram, in_bins

PAIRS = 12  # on the contact sheet
PAIRS_IN_A_ROW = 3
PHOTO_HEIGHT = 192  # px
LABELLED_SIZES = 5
SHEET_PHOTOS = 10  # of each class on the contact sheet, each of another group
SHEET_HEIGHT, SHEET_WIDTH = 96, 128  # px of a photo there at most; the sheet does not grow with the photos
GAP = 4  # px between photos
DPI = 120
LONGEST_NAME = 24  # letters of a class's name beside bars and photos
NAMED_BINS = 6  # names of more bins would stand over each other
BAR = 0.26  # inches of a class's bar
ENDS = 20  # of many classes: so many commonest, and so many rarest


@lettering.fonts()
def classes(path: Path, counts: pd.DataFrame, task: Task) -> None:
    """Training photos per class as bars, people or groups written beside; columns class, photos, and task.units.

    Many classes: a curve of all by falling number, then bars of the commonest and the rarest ones.
    """
    shown = ends(counts)
    if len(shown) == len(counts):
        figure, axes = _figure(7.5, round(max(1.6, 0.52 + BAR * task.classes), 2))
        _class_bars(axes, counts, task)
        axes.set_title(f"{_what(task)} per class")
        _save(figure, path)
        return
    figure = Figure(figsize=(7.5, 3 + BAR * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    curve, bars = figure.subplots(2, 1, height_ratios=(2.4, BAR * len(shown)))
    photos = np.sort(counts["photos"].to_numpy())[::-1]
    curve.fill_between(np.arange(1, len(photos) + 1), np.maximum(photos, 0.5), 0.5, step="mid", color=NEUTRAL, lw=0)
    curve.set(
        yscale="log", xlabel="classes, commonest first", ylabel="photos (log scale)", xlim=(0.5, len(photos) + 0.5)
    )
    curve.set_title(f"{_what(task)} per class: all {task.classes}, and below {which(counts)}")
    curve.yaxis.set_major_formatter("{x:g}")
    _class_bars(bars, shown, task)
    _save(figure, path)


def ends(counts: pd.DataFrame) -> pd.DataFrame:
    """Of many classes the commonest and the rarest ENDS that have photos, by falling number of these; of few all, in order."""
    if len(counts) <= 2 * ENDS:
        return counts
    ordered = counts[counts["photos"] > 0].sort_values("photos", ascending=False, kind="stable")
    return ordered if len(ordered) <= 2 * ENDS else pd.concat([ordered.head(ENDS), ordered.tail(ENDS)])


def which(counts: pd.DataFrame) -> str:
    """What `ends` takes of many classes, in words."""
    there = int((counts["photos"] > 0).sum())
    said = f"the {ENDS} commonest and {ENDS} rarest" if there > 2 * ENDS else f"the {there} with photos"
    return said + (f" ({len(counts) - there} have none)" if there < len(counts) else "")


def _class_bars(axes: Axes, counts: pd.DataFrame, task: Task) -> None:
    names = lettering.legible(counts["class"].tolist(), counts["label"], LONGEST_NAME)
    bars = axes.barh(names, counts["photos"], color=NEUTRAL)
    grouped = task.unit != "photo"
    written = (
        [f"{photos} ({groups})" for photos, groups in zip(counts["photos"], counts[task.units], strict=True)]
        if grouped
        else counts["photos"].map(str).tolist()
    )
    axes.bar_label(bars, written, padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.16, y=0.01)
    axes.set_xlabel(f"training photos ({task.units} in brackets)" if grouped else "training photos")


def _what(task: Task) -> str:
    return "Photos" if task.unit == "photo" else f"Photos and {task.units}"


@lettering.fonts()
def histogram(path: Path, found: Histogram) -> None:
    """How many have each number of an axis, as bars, with the edges of its bins; stacked by another axis's levels."""
    figure, axes = _figure(8, 4.2)
    axis, step, table, units = found.axis, found.step, found.table, found.units
    begins = table[axis.name].to_numpy(float)
    place = np.round((begins - begins.min()) / step).astype(int)
    starts = begins.min() + step * np.arange(place.max() + 1)
    below = np.zeros(len(starts))
    parts = zip(found.stacked.levels, LEVELS, strict=False) if found.stacked else [("", NEUTRAL)]
    for code, (level, colour) in enumerate(parts):
        rows = (table[found.stacked.name] == level).to_numpy() if found.stacked else np.ones(len(table), bool)
        count = np.bincount(place[rows], table[units].to_numpy()[rows], len(starts)).astype(int)
        name = lettering.in_legend(level) if lettering.drawable(level) else f"level {code}"
        label = f"{name}: {count.sum()} {units}"
        axes.bar(starts, count, step, below, align="edge", color=colour, label=label, edgecolor="white", lw=0.3)
        below += count
    low, high = min(starts[0], axis.bins[0] - 2 * step), max(starts[-1] + step, axis.bins[-1] + 2 * step)
    axes.set(xlim=(low, high), ylim=(0, below.max() * 1.2), ylabel=units)
    bars = f"bars of {'one' if step == 1 else f'{step:g}'}"
    axes.set_xlabel(f"{axis.name}, {found.unit}s ({bars} {found.unit})" if found.unit else f"{axis.name} ({bars})")
    axes.set_title(f"{units.capitalize()} by {axis.name}, and where the {axis.name} bins begin")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    edges = (low, *axis.bins, high)
    for number, (name, members) in enumerate(in_bins(found).items()):
        if len(axis.levels) <= NAMED_BINS:
            middle = (edges[number] + edges[number + 1]) / 2
            axes.text(middle, below.max() * 1.11, f"{name}\n{members} {units}", ha="center", va="center", fontsize=8)
    for edge in axis.bins:
        axes.axvline(edge, color=INK, linestyle="--", linewidth=1)
    if found.stacked:
        figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    _save(figure, path)


def sizes(path: Path, table: pd.DataFrame) -> None:
    """Photo sizes as dots whose area grows with the photos; columns height, width, photos, eval_photos.

    The most common ones are numbered, and named beside: over their dots the names would hide each other.
    """
    figure, axes = _figure(7.5, 5)
    total = (table["photos"] + table["eval_photos"]).to_numpy()
    axes.scatter(table["width"], table["height"], s=20 + 380 * total / total.max(), color=NEUTRAL, alpha=0.6, lw=0)
    listed = []
    for rank, place in enumerate(np.argsort(-total, kind="stable")[:LABELLED_SIZES], 1):
        width, height = int(table["width"].iloc[place]), int(table["height"].iloc[place])
        photos = f"{total[place]} photo" + ("" if total[place] == 1 else "s")
        listed.append(Line2D([], [], linestyle="none", label=f"{rank}   {width} x {height}: {photos}"))
        axes.annotate(str(rank), (width, height), (0, 12), textcoords="offset points", ha="center", fontsize=8)
    ends = table[["width", "height"]].to_numpy()
    limits = (ends.min() / 1.5, 1.5 * ends.max())
    axes.plot(limits, limits, color="0.8", linewidth=1, zorder=0)
    axes.annotate("square", (1, 1), (-4, -52), "axes fraction", "offset points", ha="right", color="0.5", fontsize=8)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    axes.set(xlabel="width, px (log scale)", ylabel="height, px (log scale)", title="Sizes of training and eval photos")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:.0f}")
        axis.set_minor_formatter(NullFormatter())
    names = {"handles": listed, "title": "most common", "handlelength": 0, "alignment": "left"}
    figure.legend(loc="outside right upper", fontsize=8, title_fontsize=8, frameon=False, **names)
    _save(figure, path)


@lettering.fonts()
def near_duplicates(path: Path, pairs: pd.DataFrame, task: Task, max_pixels: int) -> None:
    """Contact sheet of up to PAIRS pairs, at first one for every two groups; says so if there are none.

    Columns photo_a, group_a, photo_b, group_b (empty: eval), distance, correlation.
    """
    again = pairs.duplicated(["group_a", "group_b"])
    shown = pd.concat([pairs[~again], pairs[again]]).head(PAIRS)
    across = "" if task.unit == "photo" else f" across {task.units}"
    if shown.empty:
        figure, axes = _figure(6, 1.2)
        axes.set_axis_off()
        axes.text(0.5, 0.5, f"No near-duplicate photos{across}", ha="center", va="center")
        _save(figure, path)
        return
    rows = -(-len(shown) // PAIRS_IN_A_ROW)
    columns = min(len(shown), PAIRS_IN_A_ROW)
    figure = Figure(figsize=(max(6, 3.4 * columns), 0.5 + 2.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, pair in zip(grid, shown.itertuples(index=False), strict=False):
        left, right = (_photo(Path(name), max_pixels) for name in (str(pair.photo_a), str(pair.photo_b)))
        gap = np.full((PHOTO_HEIGHT, 6, 3), 255, np.uint8)
        axes.imshow(np.hstack([left, gap, right]))
        owners = ((pair.group_a, pair.photo_a), (pair.group_b, pair.photo_b))
        names = [_short(str(group), str(photo), task) for group, photo in owners]
        bits = f"{pair.distance} bit{'s' * (pair.distance != 1)} apart, correlation {pair.correlation:.3f}"
        axes.set_title("\n".join([*names, bits]), fontsize=7)
    under = "" if task.unit == "photo" else f" under different {task.units}"
    figure.suptitle(f"Near-duplicate photos{under}: {len(shown)} of {len(pairs)} pairs", fontsize=10)
    _save(figure, path)


@lettering.fonts()
def contact_sheet(path: Path, rows: list[list[np.ndarray]], counts: pd.DataFrame, task: Task) -> None:
    """A row of photos, as `fitted` gives them, for each row of `counts`; its class, groups and photos stand beside it."""
    width = max(picture.shape[1] for row in rows for picture in row) + GAP
    height, left, top = SHEET_HEIGHT + GAP, 200, 50  # px; names stand at the left, the title above
    canvas = np.full((len(rows) * height, SHEET_PHOTOS * width, 3), 255, np.uint8)
    for number, line in enumerate(rows):
        for place, picture in enumerate(line):
            down = number * height + (SHEET_HEIGHT - len(picture)) // 2
            along = place * width + (width - GAP - picture.shape[1]) // 2
            canvas[down : down + len(picture), along : along + picture.shape[1]] = picture
    across, down = left + canvas.shape[1], top + canvas.shape[0]
    figure = Figure(figsize=(across / DPI, down / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.figimage(canvas, left, 0, origin="upper")  # px by px, where axes would resample
    shown = "" if len(counts) == task.classes else f", {len(counts)} of {task.classes}"
    each = "" if task.unit == "photo" else f", each of another {task.unit}"
    title = f"Photos by class{shown}{each}, up to {SHEET_PHOTOS} drawn at random"
    figure.text(12 / across, 1 - top / 2 / down, title, va="center", fontsize=11)
    names = lettering.legible(counts["class"].tolist(), counts["label"], LONGEST_NAME)
    for number, (name, row) in enumerate(zip(names, counts.to_dict("records"), strict=True)):
        middle = 1 - (top + number * height + SHEET_HEIGHT / 2) / down
        members = [] if task.unit == "photo" else [_some(row[task.units], task.unit, task.units)]
        text = f"{name}\n{', '.join([*members, _some(row['photos'], 'photo', 'photos')])}"
        figure.text(12 / across, middle, text, va="center", fontsize=8, linespacing=1.5)
    _save(figure, path)


def _some(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def draw(photos: pd.DataFrame, labels: Iterable[int], seed: int) -> list[list[str]]:
    """For the contact sheet: of each label up to SHEET_PHOTOS groups at random, without replacement, and a photo of each.

    photos: columns group, file, label. A class with fewer groups gives all of them; the same seed gives the same photos.
    """
    drawn = []
    for label in labels:
        of_class = photos[photos["label"] == label]
        shuffled = of_class.iloc[np.random.default_rng([seed, label]).permutation(len(of_class))]
        drawn.append(shuffled.drop_duplicates("group")["file"].head(SHEET_PHOTOS).tolist())
    return drawn


def _photo(path: Path, max_pixels: int) -> np.ndarray:
    """Pixels, uint8 [PHOTO_HEIGHT, width, 3], in the photo's own proportions, between 1:3 and 3:1."""
    source = decode(path, PHOTO_HEIGHT, PHOTO_HEIGHT, max_pixels=max_pixels)
    width = round(PHOTO_HEIGHT * float(np.clip(source.source_width / source.source_height, 1 / 3, 3)))
    return decode(path, PHOTO_HEIGHT, width, max_pixels=max_pixels).pixels


def fitted(path: Path, max_pixels: int) -> np.ndarray:
    """Pixels, uint8 [height, width, 3], the whole photo within SHEET_HEIGHT x SHEET_WIDTH px."""
    photo = decode(path, 2 * SHEET_HEIGHT, 2 * SHEET_WIDTH, max_pixels=max_pixels)  # its shape is known only now
    scale = min(SHEET_HEIGHT / photo.source_height, SHEET_WIDTH / photo.source_width)
    height, width = (max(1, round(scale * size)) for size in (photo.source_height, photo.source_width))
    return np.asarray(Image.fromarray(photo.pixels).resize((width, height), Image.Resampling.BOX))


def _short(group: str, photo: str, task: Task) -> str:
    """Whose photo and which, cut to fit over it."""
    if not group:
        text = f"eval {Path(photo).name}"
    else:
        # Without groups, the folder says what class it is of.
        text = "/".join(Path(photo).parts[-2:]) if task.unit == "photo" else f"{group}, {Path(photo).stem}"
    return lettering.plain(text if len(text) <= 44 else f"{text[:22]}...{text[-19:]}")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one plot, inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
