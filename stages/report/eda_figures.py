"""The pictures of eda as PNG files, drawn by matplotlib without a display."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.data.decode import decode
from stages.data.layout import GENDERS, age_bin_names
from stages.files import replacing
from stages.report.colours import GENDERS as GENDER_COLOURS
from stages.report.colours import INK, NEUTRAL

PAIRS = 12  # on the contact sheet
PAIRS_IN_A_ROW = 3
PHOTO_HEIGHT = 192  # px
LABELLED_SIZES = 5


def classes(path: Path, counts: pd.DataFrame) -> None:
    """Training photos per class as bars, people written beside; columns class, photos, people."""
    figure, axes = _figure(7.5, 5.2)
    bars = axes.barh(counts["class"], counts["photos"], color=NEUTRAL)
    written = [f"{photos} ({people})" for photos, people in zip(counts["photos"], counts["people"], strict=True)]
    axes.bar_label(bars, written, padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.16, y=0.01)
    axes.set(xlabel="training photos (people in brackets)", title="Photos and people per class")
    _save(figure, path)


def ages(path: Path, table: pd.DataFrame, bins: tuple[int, int]) -> None:
    """People per year of age, stacked by gender, with the age bins' edges; columns age, gender (name), people."""
    figure, axes = _figure(8, 4.2)
    years = np.arange(table["age"].min(), table["age"].max() + 1)
    below = np.zeros(len(years))
    for gender in GENDERS:
        rows = table[table["gender"] == gender].set_index("age")["people"]
        count = rows.reindex(years, fill_value=0).to_numpy()
        label = f"{gender}: {count.sum()} people"
        axes.bar(
            years, count, 1, below, align="edge", color=GENDER_COLOURS[gender], label=label, edgecolor="white", lw=0.3
        )
        below += count
    low, high = min(years[0], bins[0] - 2), max(years[-1] + 1, bins[1] + 2)
    axes.set(xlim=(low, high), ylim=(0, below.max() * 1.2), xlabel="age, years (bars of one year)", ylabel="people")
    axes.set_title("People by age, and where the age bins begin")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    edges = (low, *bins, high)
    in_bin = np.digitize(years, bins)
    for number, name in enumerate(age_bin_names(bins)):
        people = int(below[in_bin == number].sum())
        middle = (edges[number] + edges[number + 1]) / 2
        axes.text(middle, below.max() * 1.11, f"{name}\n{people} people", ha="center", va="center", fontsize=8)
    for edge in bins:
        axes.axvline(edge, color=INK, linestyle="--", linewidth=1)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    _save(figure, path)


def sizes(path: Path, table: pd.DataFrame) -> None:
    """Photo sizes as dots whose area grows with the photos; columns height, width, photos, eval_photos."""
    figure, axes = _figure(6, 5)
    total = (table["photos"] + table["eval_photos"]).to_numpy()
    axes.scatter(table["width"], table["height"], s=20 + 380 * total / total.max(), color=NEUTRAL, alpha=0.6, lw=0)
    for rank in np.argsort(-total, kind="stable")[:LABELLED_SIZES]:
        row = table.iloc[rank]
        text = f"{row['width']} x {row['height']}: {total[rank]} photos"
        axes.annotate(text, (row["width"], row["height"]), (0, 14), textcoords="offset points", ha="center", fontsize=8)
    limit = 1.3 * max(table["width"].max(), table["height"].max())
    axes.plot([0, limit], [0, limit], color="0.8", linewidth=1, zorder=0)
    axes.annotate("square", (limit * 0.93, limit * 0.93), (-4, 6), textcoords="offset points", ha="right", color="0.5")
    axes.set(xlim=(0, limit), ylim=(0, limit), xlabel="width, px", ylabel="height, px", aspect="equal")
    axes.set_title("Sizes of training and eval photos")
    _save(figure, path)


def near_duplicates(path: Path, pairs: pd.DataFrame, max_pixels: int) -> None:
    """Contact sheet of up to PAIRS pairs, at first one for every two people; says so if there are none.

    Columns photo_a, person_a, photo_b, person_b (empty: eval), distance, correlation.
    """
    again = pairs.duplicated(["person_a", "person_b"])
    shown = pd.concat([pairs[~again], pairs[again]]).head(PAIRS)
    if shown.empty:
        figure, axes = _figure(6, 1.2)
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No near-duplicate photos across people", ha="center", va="center")
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
        names = [
            _short(person, photo) for person, photo in ((pair.person_a, pair.photo_a), (pair.person_b, pair.photo_b))
        ]
        bits = f"{pair.distance} bit{'s' * (pair.distance != 1)} apart, correlation {pair.correlation:.3f}"
        axes.set_title("\n".join([*names, bits]), fontsize=7)
    figure.suptitle(f"Near-duplicate photos under different people: {len(shown)} of {len(pairs)} pairs", fontsize=10)
    _save(figure, path)


def _photo(path: Path, max_pixels: int) -> np.ndarray:
    """Pixels, uint8 [PHOTO_HEIGHT, width, 3], in the photo's own proportions, between 1:3 and 3:1."""
    source = decode(path, PHOTO_HEIGHT, PHOTO_HEIGHT, max_pixels=max_pixels)
    width = round(PHOTO_HEIGHT * float(np.clip(source.source_width / source.source_height, 1 / 3, 3)))
    return decode(path, PHOTO_HEIGHT, width, max_pixels=max_pixels).pixels


def _short(person: object, photo: object) -> str:
    """Whose photo and which, cut in the middle to fit over it."""
    text = f"{person}, {Path(str(photo)).stem}" if person else f"eval {Path(str(photo)).name}"
    return text if len(text) <= 44 else f"{text[:22]}...{text[-19:]}"


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one plot, inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
