"""What the columns of a person's table seem to be: files, labels, groups, split. A guess, which is told and asked about."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

import pandas as pd

from stages.data import table_file
from stages.data.photo_files import SUFFIXES
from stages.data.table_layout import SPLITS as SPLIT_WORDS
from stages.data.task_and_classes import MOST_CLASSES

LOOKED_AT = 2_000  # rows, for the files
FILES = ("file", "filename", "file_name", "path", "filepath", "image", "photo", "image_path", "img")
LABELS = ("label", "class", "target", "diagnosis", "dx", "category", "species", "y", "grade", "breed")
GROUPS = ("group", "patient", "person", "subject", "individual", "animal", "user", "lesion", "case", "identity", "site")
SPLITS = ("split", "set", "subset", "partition", "usage")


@dataclass(frozen=True)
class Columns:
    """The likeliest column of each kind, or None; and all that could be labels or groups, the likeliest first."""

    file: str | None
    label: str | None
    group: str | None
    split: str | None
    labels: tuple[str, ...]
    groups: tuple[str, ...]


def read(path: Path) -> pd.DataFrame:
    """All columns of a table as text, by name. Raises UserError where it cannot be read."""
    table = table_file.open_table(path, "data.train")
    return table_file.columns(table, [name for name in table.names if name])[0]


def guess(table: pd.DataFrame) -> Columns:
    """From a table of text, [rows, columns]."""
    names = [str(name) for name in table.columns]
    file = next((name for name in by_name(names, FILES) if _holds_files(table[name])), None)
    split = next((name for name in by_name(names, SPLITS)[: _known(names, SPLITS)] if _is_split(table[name])), None)
    others = [name for name in names if name not in (file, split)]
    different = {name: table[name][table[name] != ""].nunique() for name in others}
    few = [name for name in others if 2 <= different[name] <= min(MOST_CLASSES, max(2, len(table) // 2))]
    repeated = [name for name in others if different[name] >= 2 and len(table) / different[name] >= 1.2]
    labels, groups = by_name(few, LABELS), by_name(repeated, GROUPS)
    group = groups[0] if _known(repeated, GROUPS) else None
    labels = sorted((name for name in labels if name != group), key=lambda name: _is_measure(table, name))
    words = [name for name in labels if not _is_measure(table, name)]
    sure = _known(labels[:1], LABELS) or len(words) == 1 or len(labels) == 1
    label = labels[0] if sure else None
    return Columns(file, label, group, split, tuple(labels), tuple(name for name in groups if name != label))


def by_name(names: Iterable[str], known: tuple[str, ...]) -> list[str]:
    """Names in the order of `known` words that they are or hold, then the others as they stand."""
    return sorted(names, key=lambda name: _place(name, known))


def _known(names: Iterable[str], known: tuple[str, ...]) -> int:
    return sum(_place(name, known) < len(known) for name in names)


def _place(name: str, known: tuple[str, ...]) -> int:
    """Which of `known` a name is, or has as one of its words (patient_id); their number where it is none."""
    name = name.strip().lower()
    words = name.replace("-", "_").replace(" ", "_").split("_")
    return next((place for place, word in enumerate(known) if word == name or word in words), len(known))


def _holds_files(column: pd.Series) -> bool:
    values = column.head(LOOKED_AT)
    return bool(len(values)) and values.map(lambda text: PurePath(text).suffix.lower() in SUFFIXES).mean() > 0.9


def _is_measure(table: pd.DataFrame, name: str) -> bool:
    """Whether all values of a column are numbers and some have decimals: rather measured than the name of a class."""
    column = table[name]
    numbers = pd.to_numeric(column[column != ""], errors="coerce")
    return bool(numbers.notna().all() and (numbers % 1 != 0).any())


def _is_split(column: pd.Series) -> bool:
    return set(column.str.strip().str.lower().unique()) <= set(SPLIT_WORDS)
