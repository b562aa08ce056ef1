"""Where the photos lie that a person's tables list: the column that names them, the folder and the ending that it leaves out.

Contests often list photos without both, those to learn from in train_images/ and those to predict in test_images/.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.base.errors import UserError
from stages.data import file_pattern
from stages.data.folder_layout import TEST, TRAIN
from stages.data.photo_files import SUFFIXES, leads_astray
from stages.new_project import columns, recognise_layout

DEPTH = 3  # folders below a table, in which its photos are looked for
UNIQUE = 0.9  # least share of a column's rows with a value of their own, for it to name photos
ENDINGS = (*SUFFIXES, *(ending.upper() for ending in SUFFIXES))
LONGEST = max(ENDINGS, key=len)


@dataclass(frozen=True)
class Listed:
    """How a table's photos are told: `told`, a column or a pattern of columns, from `folder`."""

    folder: Path
    told: str

    def seen_from(self, above: Path) -> str:
        """The same, told from a folder above."""
        told = self.told if file_pattern.is_pattern(self.told) else f"{{{self.told}}}"
        return self.told if self.folder == above else f"{self.folder.relative_to(above).as_posix()}/{told}"


def of_train(table: pd.DataFrame, column: str | None, beside: Path) -> Listed | None:
    """Of the photos to learn from; beside: the folder of their table. column: that names them; None: any that may.

    None where the first of them is nowhere, or nobody can know which of several is meant.
    """
    found = _listed(table, [column] if column else _naming(table), beside, TRAIN)
    return next((places[0] for places in found if len(places) == 1), None)


def of_eval(table: pd.DataFrame, beside: Path) -> Listed | None:
    """Of the photos to predict, by their own table; beside: the folder of the other one. None where the first is nowhere.

    Raises UserError where nobody can know which of several is meant: those to learn from may be called the same.
    """
    places = next(_listed(table, _naming(table), beside, TEST), [])
    if len(places) > 1:
        one, other = (str(place.folder / place.told) for place in places[:2])
        raise UserError(
            f"--eval: its first photo is both {one} and {other}; call the folder of the eval photos test (or test_images), or "
            "leave --eval out, name both by data.eval and data.eval_file in params.yaml, then `maskcli init --update`"
        )
    return places[0] if places else None


def other_table(place: Path, told: str) -> Path | None:
    """A table beside the one at `place`, whose photos `told` tells, that lists others in a column of the same name, as a
    contest's test.csv or sample_submission.csv; of several the first, those called test before others."""
    table = columns.read(place)
    column = file_pattern.columns(told, table.columns)[0]
    known = set(table[column])
    there = sorted(path for path in place.parent.iterdir() if path != place and recognise_layout.may_be_table(path))
    for path in sorted(there, key=lambda path: not set(recognise_layout.words(path.stem)) & set(TEST)):
        try:
            other = columns.read(path)
        except UserError:
            continue
        if column in other and len(other) and not known.intersection(other[column]):
            return path
    return None


def _naming(table: pd.DataFrame) -> list[str]:
    """Columns that may name photos, the likeliest first."""
    return [
        name
        for name in columns.by_name(map(str, table.columns), columns.FILES)
        if table[name].nunique() >= UNIQUE * len(table)
    ]


def _listed(table: pd.DataFrame, names: Iterable[str], beside: Path, words: Iterable[str]) -> Iterator[list[Listed]]:
    """For each column that names photos which are there: the table's own folder, or those below it that have the first photo;
    of several those which are called by one of `words`, where there are such."""
    below: list[Path] = []
    for column in names:
        first = next((file for file in table[column] if file), "")
        if not first or leads_astray(f"{first}{LONGEST}"):  # as a sentence, of which a column may be full
            continue
        endings = ("",) if Path(first).suffix.lower() in SUFFIXES else ENDINGS
        places = [Listed(beside, told) for told in _there(beside, first, column, endings)]
        if not places:
            below = below or [path for depth in range(1, DEPTH + 1) for path in sorted(beside.glob("*/" * depth))]
            places = [Listed(path, told) for path in below for told in _there(path, first, column, endings)]
        if len(places) > 1:
            places = [one for one in places if _is_called(one.folder.relative_to(beside), words)] or places
        if places:
            yield places


def _there(folder: Path, first: str, column: str, endings: Iterable[str]) -> list[str]:
    """How the photo that a column names `first` is told, where it lies in a folder."""
    ends = [ending for ending in endings if (folder / f"{first}{ending}").is_file()]
    return [f"{{{column}}}{ending}" if ending else column for ending in ends]


def _is_called(path: Path, words: Iterable[str]) -> bool:
    return any(set(recognise_layout.words(part)) & set(words) for part in path.parts)
