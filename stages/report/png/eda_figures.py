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
from stages.data.layout import GENDERS, age_bin_names
from stages.report.colours import GENDERS as GENDER_COLOURS
from stages.report.colours import INK, NEUTRAL

PAIRS = 12  # on the contact sheet
PAIRS_IN_A_ROW = 3
PHOTO_HEIGHT = 192  # px
LABELLED_SIZES = 5
SHEET_PEOPLE = 10  # of each class on the contact sheet
SHEET_HEIGHT, SHEET_WIDTH = 96, 128  # px of a photo there at most; the sheet does not grow with the photos
GAP = 4  # px between photos
DPI = 120


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


def contact_sheet(path: Path, rows: list[list[np.ndarray]], counts: pd.DataFrame) -> None:
    """A row of photos, as `fitted` gives them, for each row of `counts`; its class, people and photos stand beside it."""
    width = max(picture.shape[1] for row in rows for picture in row) + GAP
    height, left, top = SHEET_HEIGHT + GAP, 200, 50  # px; names stand at the left, the title above
    canvas = np.full((len(rows) * height, SHEET_PEOPLE * width, 3), 255, np.uint8)
    for number, line in enumerate(rows):
        for place, picture in enumerate(line):
            down = number * height + (SHEET_HEIGHT - len(picture)) // 2
            along = place * width + (width - GAP - picture.shape[1]) // 2
            canvas[down : down + len(picture), along : along + picture.shape[1]] = picture
    across, down = left + canvas.shape[1], top + canvas.shape[0]
    figure = Figure(figsize=(across / DPI, down / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.figimage(canvas, left, 0, origin="upper")  # px by px, where axes would resample
    title = f"Photos by class, each of another person, up to {SHEET_PEOPLE} drawn at random"
    figure.text(12 / across, 1 - top / 2 / down, title, va="center", fontsize=11)
    names = zip(counts["class"], counts["people"], counts["photos"], strict=True)
    for number, (name, people, photos) in enumerate(names):
        middle = 1 - (top + number * height + SHEET_HEIGHT / 2) / down
        text = (
            f"{name}\n{people} {'person' if people == 1 else 'people'}, {photos} {'photo' if photos == 1 else 'photos'}"
        )
        figure.text(12 / across, middle, text, va="center", fontsize=8, linespacing=1.5)
    _save(figure, path)


def draw(photos: pd.DataFrame, labels: Iterable[int], seed: int) -> list[list[str]]:
    """For the contact sheet: of each label up to SHEET_PEOPLE people at random, without replacement, and a photo of each.

    photos: columns person, file, label. A class with fewer people gives all of them; the same seed gives the same photos.
    """
    drawn = []
    for label in labels:
        of_class = photos[photos["label"] == label]
        shuffled = of_class.iloc[np.random.default_rng([seed, label]).permutation(len(of_class))]
        drawn.append(shuffled.drop_duplicates("person")["file"].head(SHEET_PEOPLE).tolist())
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
        figure.savefig(temporary, dpi=DPI)
