"""The demo data set: drawn faces in the contest's exact layout, the same bytes for the same seed.

Each person has a gender and an age, and cues that lean on them without giving them away: jaw, brow, lips and hair length
on gender; grey hair, wrinkles, tired eyes and glasses on age. Every cue carries its own noise, so that classes are
ambiguous, as in the contest. Background, light, pose and mask change from photo to photo. About 1 % of training photos
carry a wrong label: one person's gender is flipped, and one person's `normal` and `incorrect_mask` are exchanged.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from stages.base.errors import UserError
from stages.base.files import replacing_folder
from stages.base.talk import SILENT, Talk
from stages.data import contest_layout

# People per (gender, age bin): 60/40 female/male, 47 % under 30, 45 % 30-59, 8 % 60+; five or more for five folds.
TRAIN_STRATA = {(0, 0): 25, (0, 1): 23, (0, 2): 5, (1, 0): 37, (1, 1): 36, (1, 2): 6}
EVAL_STRATA = {(0, 0): 8, (0, 1): 7, (0, 2): 1, (1, 0): 11, (1, 1): 11, (1, 2): 2}
AGES = {0: (18, 29), 1: (30, 59), 2: (60, 68)}
RACES = ("Asian", "Black", "Indian", "White")
HEIGHT, WIDTH = 128, 96
CANVAS = 2  # faces are drawn at twice the size and averaged down, for smooth edges


@dataclass(frozen=True)
class Person:
    """Looks that all seven photos share. Cues are about 0..1; `feminine` and `aged` cues lean on gender and age."""

    gender: int
    age: int
    skin: np.ndarray
    hair: np.ndarray
    jaw: float
    brow: float
    lips: float
    hair_length: float
    wrinkles: float
    tired: float
    glasses: bool


def write(
    folder: Path,
    seed: int = 0,
    people: int = 132,
    eval_people: int = 40,
    talk: Talk = SILENT,
) -> None:
    """Write train/, eval/ and eval_truth.csv below `folder`, whole or not at all.

    eval_truth.csv (ImageID, ans, person) is for `maskcli score`; no stage reads it. Raises UserError if `folder` has content.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists already; remove it or name another folder")
    if people < 12 or eval_people < 6:
        raise UserError("demo-data: needs 12 or more training people and 6 or more eval people")
    with replacing_folder(folder) as temporary:
        steps = talk.track(range(people + eval_people), people + eval_people, "draw people")
        _write_train(temporary / "train", seed, _scaled(TRAIN_STRATA, people), steps)
        _write_eval(temporary, seed, _scaled(EVAL_STRATA, eval_people), steps)
        next(steps, None)


def _scaled(strata: dict[tuple[int, int], int], people: int) -> list[tuple[int, int]]:
    """One (gender, age bin) per person, in the proportions of `strata`, with two or more people in rare strata if many."""
    total = sum(strata.values())
    least = 2 if people >= 2 * len(strata) else 1
    counts = {key: max(least, round(count * people / total)) for key, count in strata.items()}
    largest = max(counts, key=lambda key: counts[key])
    counts[largest] += people - sum(counts.values())
    return [key for key, count in counts.items() for _ in range(count)]


def _write_train(folder: Path, seed: int, strata: list[tuple[int, int]], steps: Iterable[int]) -> None:
    rng = np.random.default_rng([seed, 1])
    order = [strata[position] for position in rng.permutation(len(strata))]
    wrong_gender = next(position for position, (_, age_bin) in enumerate(order) if age_bin == 0)
    wrong_mask = len(order) - 1
    rows = []
    for number, ((gender, age_bin), _) in enumerate(zip(order, steps, strict=False)):
        person = _person(rng, gender, age_bin)
        shown = 1 - gender if number == wrong_gender else gender
        race = RACES[int(rng.integers(len(RACES)))]
        name = f"{number + 1:06d}_{contest_layout.GENDERS[shown]}_{race}_{person.age}"
        rows.append((f"{number + 1:06d}", contest_layout.GENDERS[shown], race, person.age, name))
        for photo, mask in contest_layout.PHOTO_MASKS.items():
            worn = 3 - mask if number == wrong_mask and mask else mask
            _save(folder / "images" / name / f"{photo}.jpg", _draw(rng, person, worn))
    _save_table(folder / "train.csv", pd.DataFrame(rows, columns=list(contest_layout.TRAIN_COLUMNS)))


def _write_eval(folder: Path, seed: int, strata: list[tuple[int, int]], steps: Iterable[int]) -> None:
    rng = np.random.default_rng([seed, 2])
    truth = []
    for number, ((gender, age_bin), _) in enumerate(zip(strata, steps, strict=False)):
        person = _person(rng, gender, age_bin)
        for mask in contest_layout.PHOTO_MASKS.values():
            image = f"{rng.bytes(20).hex()}.jpg"
            _save(folder / "eval" / "images" / image, _draw(rng, person, mask))
            truth.append((image, mask * 6 + gender * 3 + age_bin, number))
    # Sorted by their random names, so that the order tells nothing about the person.
    table = pd.DataFrame(sorted(truth), columns=[*contest_layout.EVAL_COLUMNS, "person"])
    _save_table(folder / "eval_truth.csv", table)
    _save_table(folder / "eval" / "info.csv", table[list(contest_layout.EVAL_COLUMNS)].assign(ans=0))


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())


def _save_table(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n")


def _person(rng: np.random.Generator, gender: int, age_bin: int) -> Person:
    first, last = AGES[age_bin]
    age = int(rng.integers(first, last + 1))

    def feminine() -> float:
        return float(np.clip(0.5 + (gender - 0.5) * 0.62 + rng.normal(0, 0.24), 0, 1))

    def aged() -> float:
        return float(np.clip((age - 20) / 44 + rng.normal(0, 0.13), 0, 1))

    skin = np.array([236, 196, 168]) - rng.uniform(0, 1) * np.array([118, 116, 112])
    young_hair = np.array([(30, 24, 22), (72, 48, 32), (122, 84, 50), (150, 66, 40)][int(rng.integers(4))])
    grey = aged() ** 2
    return Person(
        gender=gender,
        age=age,
        skin=skin + rng.normal(0, 5, 3),
        hair=young_hair * (1 - grey) + np.array([205, 205, 208]) * grey,
        jaw=feminine(),
        brow=feminine(),
        lips=feminine(),
        hair_length=feminine(),
        wrinkles=aged(),
        tired=aged(),
        glasses=bool(rng.random() < 0.12 + 0.5 * aged()),
    )


def _draw(rng: np.random.Generator, person: Person, mask: int) -> np.ndarray:
    """One photo, uint8 [128, 96, 3] RGB. Face coordinates: centre (0, 0), about -1..1 wide, chin at y = 1.25."""
    height, width = HEIGHT * CANVAS, WIDTH * CANVAS
    image = np.empty((height, width, 3), np.uint8)
    image[:] = rng.integers(40, 215, 3)
    for _ in range(int(rng.integers(2, 6))):
        corner, size = rng.integers(0, width, 2), rng.integers(20, 120, 2)
        colour = tuple(int(value) for value in rng.integers(30, 225, 3))
        cv2.rectangle(image, corner.tolist(), (corner + size).tolist(), colour, -1)
    image = cv2.blur(image, (15, 15))

    scale = width * rng.uniform(0.27, 0.32)
    centre = np.array([width / 2, height * 0.47]) + rng.normal(0, 5, 2)
    angle, turn = rng.normal(0, 0.08), rng.normal(0, 0.06)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def place(points: np.ndarray, inner: bool = False) -> np.ndarray:
        """Face coordinates to canvas pixels with 4 fractional bits; inner features move with the turn of the head."""
        moved = points + np.array([turn, 0]) if inner else points
        return np.rint(((moved @ turned.T) * scale + centre) * 16).astype(np.int32)

    def fill(points: np.ndarray, colour: np.ndarray, inner: bool = False) -> None:
        cv2.fillPoly(image, [place(points, inner)], _colour(colour), cv2.LINE_AA, 4)

    def line(points: np.ndarray, colour: np.ndarray, thickness: float) -> None:
        cv2.polylines(
            image, [place(points, True)], False, _colour(colour), max(1, round(thickness * scale)), cv2.LINE_AA, 4
        )

    _draw_head(rng, person, fill)
    _draw_features(rng, person, fill, line)
    if mask < 2:
        _draw_mask(rng, mask, fill, line)
    small = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return _light(rng, small)


def _draw_head(rng: np.random.Generator, person: Person, fill: Callable[..., None]) -> None:
    length = 0.35 + 1.55 * person.hair_length
    fill(_ellipse(0, -0.25 + length * 0.35, 1.12, 0.95 + length * 0.35), person.hair)  # hair behind the head
    shirt = rng.integers(20, 235, 3)
    fill(np.array([(-0.38, 0.9), (0.38, 0.9), (0.45, 2.0), (-0.45, 2.0)]), person.skin * 0.85)
    fill(_ellipse(0, 2.55, 1.75, 0.9), shirt)
    t = np.linspace(0, 2 * np.pi, 60)
    narrow = 0.28 * person.jaw * np.clip(np.sin(t), 0, 1) ** 1.5  # a feminine jaw is narrower
    fill(np.stack([np.cos(t) * (0.93 - narrow) * 0.95, np.sin(t) * 1.25], 1), person.skin)
    fringe = -0.62 - 0.12 * rng.uniform(0, 1)
    fill(
        np.array(
            [
                (-0.95, -0.25),
                (-0.9, -0.9),
                (-0.4, -1.32),
                (0.4, -1.32),
                (0.9, -0.9),
                (0.95, -0.25),
                (0.62, fringe),
                (-0.62, fringe),
            ]
        ),
        person.hair,
    )


def _draw_features(
    rng: np.random.Generator, person: Person, fill: Callable[..., None], line: Callable[..., None]
) -> None:
    dark = person.skin * 0.62
    thick = 0.15 - 0.1 * person.brow
    open_eye = 0.075 - 0.025 * person.tired + rng.normal(0, 0.006)
    for side in (-1, 1):
        line(np.array([(side * 0.16, -0.27), (side * 0.38, -0.34), (side * 0.58, -0.26)]), person.hair * 0.7, thick)
        fill(_ellipse(side * 0.36, -0.08, 0.16, open_eye), np.array([245, 245, 245]), True)
        fill(_ellipse(side * 0.36 + rng.normal(0, 0.01), -0.08, 0.07, open_eye), np.array([40, 30, 25]), True)
        if person.tired > 0.35:
            line(
                np.array([(side * 0.24, 0.06), (side * 0.36, 0.1), (side * 0.5, 0.05)]),
                person.skin * (1 - 0.3 * person.tired),
                0.04,
            )
        if person.glasses:
            ring = _ellipse(side * 0.36, -0.07, 0.27, 0.2)
            line(np.concatenate([ring, ring[:1]]), np.array([35, 35, 40]), 0.035)
    if person.glasses:
        line(np.array([(-0.09, -0.08), (0.09, -0.08)]), np.array([35, 35, 40]), 0.035)
    for number in range(round(4 * person.wrinkles)):
        y = -0.5 + 0.08 * number
        line(np.array([(-0.4, y), (0, y - 0.03), (0.4, y)]), person.skin * 0.8, 0.022)
    if person.wrinkles > 0.4:
        for side in (-1, 1):
            line(np.array([(side * 0.2, 0.38), (side * 0.36, 0.55), (side * 0.36, 0.72)]), person.skin * 0.78, 0.025)
    line(np.array([(-0.02, -0.05), (0.1, 0.28), (-0.08, 0.32)]), dark, 0.035)
    lip = person.skin * (1 - person.lips) * 0.8 + np.array([200, 60, 80]) * person.lips + person.skin * 0.1
    fill(_ellipse(0, 0.68, 0.28, 0.06 + 0.05 * person.lips), lip, True)


def _draw_mask(rng: np.random.Generator, mask: int, fill: Callable[..., None], line: Callable[..., None]) -> None:
    """Worn: over the nose. Incorrect: under the nose, or on the chin."""
    colour = np.array(
        [(225, 235, 240), (150, 195, 225), (40, 42, 48), (215, 180, 190), (120, 150, 110)][int(rng.integers(5))]
    )
    top = (
        rng.uniform(0.02, 0.14)
        if mask == 0
        else (rng.uniform(0.4, 0.5) if rng.random() < 0.6 else rng.uniform(0.84, 0.94))
    )
    outline = np.array(
        [
            (-0.84, top + 0.05),
            (-0.3, top),
            (0.3, top),
            (0.84, top + 0.05),
            (0.66, 0.98),
            (0.3, 1.3),
            (-0.3, 1.3),
            (-0.66, 0.98),
        ]
    )
    fill(outline + rng.normal(0, 0.012, outline.shape), colour)
    for share in (0.35, 0.6):
        y = top + (1.28 - top) * share
        line(np.array([(-0.6, y), (0, y + 0.03), (0.6, y)]), colour * 0.85, 0.02)
    for side in (-1, 1):
        line(np.array([(side * 0.82, top + 0.06), (side * 0.97, -0.08)]), colour * 0.9, 0.03)


def _ellipse(x: float, y: float, width: float, height: float) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([x + np.cos(t) * width, y + np.sin(t) * height], 1)


def _colour(value: np.ndarray) -> tuple[int, ...]:
    return tuple(int(channel) for channel in np.clip(np.rint(value), 0, 255))


def _light(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Brightness, a gradient across the photo, a colour cast and sensor noise."""
    gradient = np.linspace(1 - rng.uniform(0, 0.25), 1, image.shape[1])[None, :, None]
    gradient = gradient[:, ::-1] if rng.random() < 0.5 else gradient
    cast = rng.uniform(0.7, 1.15) * rng.uniform(0.94, 1.06, 3)
    noise = rng.integers(-9, 10, image.shape)
    return np.clip(np.rint(image * gradient * cast) + noise, 0, 255).astype(np.uint8)
