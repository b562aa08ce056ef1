"""The contest's class numbers, and its readers under their old names, for code that has no Task yet. To be removed with the last
of its users: stages/data/photos.py and task.py have all of it for any layout."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.data import contest, photos, task
from stages.data.contest import EVAL_COLUMNS as EVAL_COLUMNS
from stages.data.contest import PHOTO_MASKS as PHOTO_MASKS
from stages.data.contest import TRAIN_COLUMNS as TRAIN_COLUMNS
from stages.data.contest import eval_names as eval_names
from stages.data.contest import read_eval as read_eval
from stages.data.csv_rows import Fault
from stages.data.photos import content_of as content_of
from stages.params.schema import Params

PHOTO_TYPES = {"person": str, "file": str, "mask": int, "gender": int, "age": int, "label": int, "content": str}
EVAL_TYPES = {"ImageID": str, "content": str}

MASKS = ("wear", "incorrect", "none")
GENDERS = ("male", "female")
AGES = ("<30", "30-59", "60+")
CLASSES = len(MASKS) * len(GENDERS) * len(AGES)
OLD_CLASSES = (2, 5, 8, 11, 14, 17)


def label(mask: np.ndarray, gender: np.ndarray, age_bin: np.ndarray) -> np.ndarray:
    """Class number, mask * 6 + gender * 3 + age bin; arrays of one shape."""
    return mask * 6 + gender * 3 + age_bin


def parts(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask, gender and age bin of class numbers: the inverse of `label`."""
    return labels // 6, labels // 3 % 2, labels % 3


def age_bin(age: np.ndarray, bins: tuple[int, int]) -> np.ndarray:
    """0, 1, 2 for ages below bins[0], from there to below bins[1], and from bins[1] on."""
    return np.digitize(age, bins)


def age_bins(params: Params) -> tuple[int, int]:
    first, second = params.axes["age"].bins or ()
    return int(first), int(second)


def age_bin_names(bins: tuple[int, int]) -> tuple[str, str, str]:
    """The age bins in words, for data.age_bins other than AGES' too."""
    return f"below {bins[0]}", f"{bins[0]} to {bins[1] - 1}", f"{bins[1]} and over"


def class_name(number: int) -> str:
    mask, gender, age = number // 6, number // 3 % 2, number % 3
    return f"{MASKS[mask]} {GENDERS[gender]} {AGES[age]}"


def read_people(path: Path) -> tuple[pd.DataFrame, list[Fault]]:
    people, faults = contest.read_people(path)
    return people.rename(columns={"group": "person"}), faults


def find_photos(people: pd.DataFrame, images: Path) -> tuple[pd.DataFrame, list[Fault]]:
    found, faults = contest.find_photos(people.rename(columns={"person": "group"}), images)
    return found.rename(columns={"group": "person"}), faults


def eval_files(ids: list[str], images: Path) -> list[Path]:
    return contest.eval_files(ids, images)


def class_counts(table: pd.DataFrame) -> pd.DataFrame:
    return photos.class_counts(task.CONTEST, table.rename(columns={"person": "group"}))
