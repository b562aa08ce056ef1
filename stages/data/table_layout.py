"""The layout `table`: a CSV or parquet with a column for the file, one an axis, and where asked for a group and a split.

Files start from data.root, or without one from the folder of the table. Rows without a label are eval photos, as are those
whose split is test, and those of a second table (data.eval), whose files may be told otherwise (data.eval_file).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from stages.base.errors import UserError, nearest
from stages.data import file_pattern, level_names, listed_files, table_file, task_and_classes
from stages.data.csv_rows import Fault, normal, printable, shown
from stages.data.found_photos import Found
from stages.data.photo_files import SUFFIXES
from stages.data.table_file import Table
from stages.data.task_and_classes import MOST_CLASSES, Task
from stages.params.data_and_axes import AxisParams
from stages.params.schema import Params

SPLITS = dict.fromkeys(("", "train", "training", "val", "valid", "validation"), False) | {"test": True, "eval": True}
PLACEHOLDERS = 10  # eval photos of one and the same label that look like a form to fill in
OF_PATTERN = "the file's name"  # as messages call what no single column tells
MOST_WHOLE = 2**53  # up to which a float is every whole number
FILE, GROUP, SPLIT, EVAL = "file", "group", "split", "ImageID"  # columns within this file, besides those of the axes


@dataclass
class Rows:
    """The rows of the tables, and what is wrong with them."""

    path: Path  # of the first table
    frame: pd.DataFrame  # file, group, split and the axes, as text; by number of the row
    called: dict[str, str]  # the names that the columns have in the table
    where: list[Callable[[int], str]]  # how the rows of each table are called
    of_table: np.ndarray  # int [N]
    of_eval: np.ndarray  # bool [N]
    good: np.ndarray  # bool [N]
    faults: list[Fault] = field(default_factory=list)
    eval_faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def text(self, column: str, position: int) -> str:
        return str(self.frame[column].iat[position])

    def place(self, position: int) -> str:
        return self.where[self.of_table[position]](int(self.frame.index[position]))

    def tell(self, mask: np.ndarray, column: str, problem: Callable[[int], str], mend: str) -> None:
        """Rows at `mask`, bool [N], are faulty: `problem` says of a position what is wrong with its `column`."""
        for position in np.flatnonzero(mask & self.good).tolist():
            value = self.text(column, position)
            told = f"{shown(value)} {problem(position)}" if value else "is empty"
            side = self.eval_faults if self.of_eval[position] else self.faults
            group = "" if self.of_eval[position] else printable(self.text(GROUP, position))
            side.append(Fault(self.place(position), f"{self.called[column]} {told}", mend, group))
        self.good &= ~mask


def folder(params: Params) -> Path:
    """The folder that files start from."""
    return Path(params.data.root) if params.data.root is not None else Path(params.data.train or "").parent


def find(params: Params) -> Found:
    """All photos of the tables, and what is wrong with their rows. Raises UserError where a table or column is missing."""
    rows = _rows(params)
    axes = list(params.axes)
    _check_sides(rows, axes)
    _check_files(rows, folder(params))
    _check_doubles(rows, axes)
    found = {name: _levels(rows, name, given) for name, given in params.axes.items() if given.bins is None}
    columns = {name: _codes(rows, name, given, found.get(name, ())) for name, given in params.axes.items()}
    train = rows.good & ~rows.of_eval
    if not train.any() and not rows.faults:
        raise UserError(f"{rows.path}: no row has a label; fill the column `{params.axes[axes[0]].column or axes[0]}`")
    photos = pd.DataFrame({GROUP: rows.frame[GROUP], FILE: rows.frame[FILE]} | columns)
    photos = photos[train].reset_index(drop=True)
    for name, given in params.axes.items():
        if given.bins is not None and (photos[name] % 1).any():
            found[name] = task_and_classes.bin_names(given.bins, whole=False)
        elif given.bins is not None and (photos[name].abs() < MOST_WHOLE).all():
            photos[name] = photos[name].astype(np.int64)
    constant = _constant(rows, photos, params)
    own = task_and_classes.made(params, found, constant, "group" if params.data.group else "photo")
    if own.classes > MOST_CLASSES:
        raise UserError(
            f"{rows.path}: the axes make {own.classes} classes, and at most {MOST_CLASSES} are possible; name columns of "
            "classes, or cut numbers by bins"
        )
    names = own.class_names
    twice = next((name for place, name in enumerate(names) if names.index(name) < place), None)
    if twice is not None:
        rows.warnings.append(
            f"{rows.path}: two classes are called {shown(twice)}, and only {' and '.join(axes)} tell them apart; rename a level"
        )
    groups = photos.drop_duplicates(GROUP)[[GROUP, *constant]].reset_index(drop=True)
    photos = photos.astype({GROUP: str, FILE: str})
    eval_table = _eval(rows, columns, own)
    return Found(own, photos, groups, eval_table, rows.faults, rows.eval_faults, rows.warnings)


def _rows(params: Params) -> Rows:
    """All rows of the tables: text, and on which side each stands as far as the tables say."""
    data = params.data
    table = table_file.open_table(Path(data.train or ""), "data.train")
    called = _columns(table, params)
    read = [_read(table, called)]
    if data.eval is not None:
        other = table_file.open_table(Path(data.eval), "data.eval")
        read.append(_read(other, _columns(other, params, of_eval=True)))
    frame = pd.concat([part for part, _, _ in read]).fillna("")
    for name in (GROUP, SPLIT, *params.axes):
        frame[name] = level_names.normal_form(frame[name]) if name in frame else ""
    of_table = np.repeat(np.arange(len(read)), [len(part) for part, _, _ in read])
    called[FILE] = OF_PATTERN if data.eval_file or called[FILE] not in table.names else called[FILE]
    if data.group is None:
        frame[GROUP] = frame[FILE]
    where = [of_row for _, of_row, _ in read]
    rows = Rows(table.path, frame, called, where, of_table, of_table > 0, np.ones(len(frame), bool))
    rows.faults += read[0][2]
    rows.eval_faults += [fault for _, _, faults in read[1:] for fault in faults]
    return rows


def _read(table: Table, wanted: dict[str, str]) -> tuple[pd.DataFrame, Callable[[int], str], list[Fault]]:
    of_file = file_pattern.columns(wanted[FILE], table.names)
    frame, faults = table_file.columns(table, list(dict.fromkeys([*of_file, *list(wanted.values())[1:]])))
    files = file_pattern.filled(wanted[FILE], frame)
    others = {name: frame[column] for name, column in wanted.items() if name != FILE}
    return pd.DataFrame({FILE: files, **others}, index=frame.index, dtype=object), table.where, faults


def _columns(table: Table, params: Params, of_eval: bool = False) -> dict[str, str]:
    """The columns to read, by what they are called here, the file's (or its pattern) first. Raises UserError where one is
    missing, or two are one.

    of_eval: of the eval photos' own table, which needs no column but the file's; its group is read where it has one.
    """
    data = params.data
    keys = {FILE: ("data.file", data.file or FILE)}
    if of_eval and data.eval_file:
        keys[FILE] = ("data.eval_file", data.eval_file)
    keys |= {name: (f"axes.{name}.column", axis.column or name) for name, axis in params.axes.items()}
    keys |= {GROUP: ("data.group", data.group)} if data.group is not None else {}
    keys |= {SPLIT: ("data.split", data.split)} if data.split is not None else {}
    readers: dict[str, str] = {}
    for key, column in keys.values():
        other = readers.setdefault(column, key)
        if other != key:
            raise UserError(
                f"params.yaml: {other} and {key} are both the column `{column}`; name a column of its own for each"
            )
    crossed = next((n for n, (_, c) in keys.items() if c != n and c in params.axes and keys[c][1] == n), None)
    if crossed is not None:
        second = keys[crossed][1]
        raise UserError(
            f"params.yaml: axes.{crossed} reads the column `{second}` and axes.{second} the column `{crossed}`; swap them"
        )
    lacking = file_pattern.lacking(keys[FILE][1], table.names)
    missing = [name for name, (_, column) in keys.items() if column not in table.names and name != FILE]
    missing = ([FILE] if lacking else []) + missing
    if of_eval and FILE not in missing:
        labels = [] if set(missing) & set(params.axes) else list(params.axes)
        group = [GROUP] if GROUP in keys and GROUP not in missing else []
        return {name: keys[name][1] for name in (FILE, *labels, *group)}
    for name in missing:
        key, column = keys[name]
        column = lacking or column if name == FILE else column
        mend = nearest(column, table.names, otherwise=f"there are {', '.join(table.names[:8])}")
        raise UserError(f"{table.path} line 1: column {shown(column)} ({key}) is missing{mend}")
    return {name: column for name, (_, column) in keys.items()}


def _check_sides(rows: Rows, axes: list[str]) -> None:
    """Settle which rows are eval photos: those without labels, and those whose split says so."""
    frame = rows.frame
    split = frame[SPLIT].str.lower().map(SPLITS)
    unknown = split.isna().to_numpy()
    rows.of_eval |= split.fillna(False).to_numpy(bool)
    filled = (frame[axes] != "").to_numpy()
    moved = np.flatnonzero(~filled.any(1) & ~rows.of_eval & ~unknown & (frame[SPLIT] != "").to_numpy())
    if len(moved):
        which = shown(rows.text(SPLIT, moved[0]))
        more = f" (and {len(moved) - 1} more)" if len(moved) > 1 else ""
        rows.warnings.append(f"{rows.place(moved[0])}{more}: is {which} and has no label: taken as an eval photo")
    rows.of_eval |= ~filled.any(1)
    _leave_placeholders(rows, axes)
    filled = (frame[axes] != "").to_numpy()
    rows.tell(unknown, SPLIT, lambda _: "is not known", "write train, val or test")
    for place, name in enumerate(axes):
        other = axes[int(place == 0)] if len(axes) > 1 else name
        mend = f"fill it, or leave {rows.called[other]} empty too (an eval photo)"
        rows.tell(filled.any(1) & ~filled[:, place], name, lambda _: "", mend)
    rows.tell(
        (frame[GROUP] == "").to_numpy() & ~rows.of_eval & (frame[FILE] != "").to_numpy(), GROUP, lambda _: "", "name it"
    )
    if GROUP in rows.called:
        _check_groups(rows)


def _leave_placeholders(rows: Rows, axes: list[str]) -> None:
    """Take no label from eval photos that all have one and the same, as a sample submission has: it is a form, and no truth."""
    labels = rows.frame.loc[rows.of_eval, axes]
    if len(labels) < PLACEHOLDERS or (labels == "").any(axis=None) or (labels != labels.iloc[0]).any(axis=None):
        return
    rows.frame.loc[rows.of_eval, axes] = ""
    first, label = rows.place(int(np.flatnonzero(rows.of_eval)[0])), shown(" ".join(labels.iloc[0]))
    rows.warnings.append(
        f"{first}: all {len(labels)} eval photos, from this one on, are labelled {label}: taken as a form to fill in, as a "
        "sample submission is, and none is used; if that is the truth, name it to `maskcli score`"
    )


def _check_groups(rows: Rows) -> None:
    """A group that is no name, which would join strangers, is a fault, and none of an eval photo, as an empty one; a group that
    is written in two ways is told of."""
    missing = rows.frame[GROUP].str.lower().isin(level_names.MISSING).to_numpy()
    rows.frame.loc[missing & rows.of_eval, GROUP] = ""
    mend = "name the group of each, a photo that stands alone by itself; write a real name in another way, as `Nan_`"
    rows.tell(missing & ~rows.of_eval, GROUP, lambda _: "is what programs write for a missing value", mend)
    problem = level_names.clash(rows.frame[GROUP][rows.good])
    if problem:
        rows.warnings.append(
            f"{rows.path}: of the column `{rows.called[GROUP]}`, {problem}: taken as two groups, which folds may part; "
            "write them as one if they are one"
        )


def _check_files(rows: Rows, base: Path) -> None:
    """Give every row the name that its file has on the disk, or a fault."""
    if not base.is_dir():
        raise UserError(f"{base}: this folder is missing; put the photos there, or name their folder by data.root")
    names, problems = listed_files.on_disk(rows.frame[FILE], base)
    if problems and len(problems) == len(names):
        first = rows.text(FILE, 0)
        mend = "put the table into the folder that they start from, or set data.root to it"
        if rows.called[FILE] == OF_PATTERN:
            mend = "mend data.file and data.eval_file, or set data.root to the folder that they start from"
        elif first and not Path(first).suffix:
            ending = next((one for one in SUFFIXES if (base / f"{first}{one}").is_file()), SUFFIXES[0])
            added = f"{{{rows.called[FILE]}}}{ending}"
            mend = f'write the names with their endings, or have these added, as `data.file: "{added}"`, or {mend}'
        raise UserError(f"{rows.path}: not one of its {len(names)} files is in {base}, first {shown(first)}; {mend}")
    for kind in sorted(set(problems.values())):
        mask = np.zeros(len(names), bool)
        mask[[position for position, found in problems.items() if found == kind]] = True
        rows.tell(mask, FILE, lambda _, kind=kind: kind[0], kind[1])  # type: ignore[misc]
    if (rows.frame[GROUP] == rows.frame[FILE]).all():
        rows.frame[GROUP] = names
    rows.frame[FILE] = names


def _check_doubles(rows: Rows, axes: list[str]) -> None:
    """A file that is listed again counts once where the rows say the same, and is a fault where they differ."""
    files = pd.Series(rows.frame[FILE].map(normal).to_numpy())
    again = np.flatnonzero(files.duplicated().to_numpy() & rows.good)
    if not len(again):
        return
    first = files.drop_duplicates()
    first_of = dict(zip(first, first.index, strict=True))
    kinds = {"other labels": rows.frame[axes].to_numpy(), "another group": rows.frame[[GROUP]].to_numpy()}
    kinds["another split"] = rows.of_eval[:, None]
    told: dict[int, str] = {}
    once = 0
    for position in again.tolist():
        other = int(first_of[files[position]])
        differing = next((kind for kind, values in kinds.items() if (values[position] != values[other]).any()), None)
        if differing is None:
            rows.good[position] = False
            once += 1
        else:
            told[position] = f"stands on {rows.place(other).removeprefix(f'{rows.path} ')} already with {differing}"
            if rows.text(GROUP, position) == rows.text(GROUP, other):
                rows.good[other] = False
            else:
                told[other] = f"stands on {rows.place(position).removeprefix(f'{rows.path} ')} too with {differing}"
    mask = np.zeros(len(files), bool)
    mask[list(told)] = True
    rows.tell(mask, FILE, told.__getitem__, "keep one row")
    if once:
        rows.warnings.append(f"{rows.path}: files listed again with the same labels are taken once: {once}")


def _levels(rows: Rows, name: str, given: AxisParams) -> tuple[str, ...]:
    """Names of an axis's levels in sorted order, as training rows have them. Raises UserError where two are one name."""
    values = rows.frame[name]
    if given.levels is not None:
        return given.levels
    known = values.str.lower().isin(level_names.MISSING).to_numpy() & rows.good
    mend = f"leave it empty if it is not known; a class of that name goes into axes.{name}.levels"
    rows.tell(known, name, lambda _: "is what programs write for a missing value", mend)
    found = values[rows.good & ~rows.of_eval].unique()
    problem = level_names.clash(found)
    if problem:
        raise UserError(
            f"{rows.path}: of the column `{given.column or name}`, {problem}; write them as one, or rename one"
        )
    mixed = level_names.mixed(found)
    if mixed:
        rows.warnings.append(f"{rows.path}: the column `{given.column or name}` has {mixed}: all are taken as names")
    return level_names.ordered(found)


def _codes(rows: Rows, name: str, given: AxisParams, known: tuple[str, ...]) -> np.ndarray:
    """An axis's column as Task has it, [N]: codes of levels, -1 where there is none, or numbers, NaN where there is none."""
    values = rows.frame[name]
    filled = (values != "").to_numpy()
    if given.bins is not None:
        different = pd.Series(values.unique(), dtype=object)
        numbers = pd.to_numeric(different, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
        if not ((numbers % 1 == 0) & (numbers.abs() < MOST_WHOLE) | numbers.isna()).all():
            numbers = numbers.map(task_and_classes.number_text).astype(float)  # as photos.csv will have them
        found = values.map(dict(zip(different, numbers, strict=True))).to_numpy(float)
        rows.tell(filled & np.isnan(found), name, lambda _: "is not a number", "write a number")
        return found
    codes = level_names.codes(values, known)
    lacking = filled & (codes < 0)
    rows.tell(
        lacking & rows.of_eval,
        name,
        lambda _: "is in no training photo",
        "remove the row or its label, or add training photos of it",
    )

    def problem(position: int) -> str:
        return "is no level" + nearest(rows.text(name, position), known)

    rows.tell(lacking, name, problem, f"mend it, or add it to axes.{name}.levels")
    return codes


def _constant(rows: Rows, photos: pd.DataFrame, params: Params) -> list[str]:
    """Axes of which all photos of a group have the same. A group that breaks what params.yaml says is a fault."""
    group, names = pd.factorize(photos[GROUP])
    first = np.unique(group, return_index=True)[1]
    constant = []
    for name, given in params.axes.items():
        values = photos[name].to_numpy()
        differs = values != values[first][group]
        if given.constant and differs.any():
            for which in pd.unique(group[differs]):
                mine = np.flatnonzero(group == which)
                told = " and ".join(shown(str(text)) for text in _texts(rows, name, photos[FILE].iloc[mine])[:2])
                who = f"{params.data.group} {shown(str(names[which]))}"
                problem = f"{who} has the {name} {told}, and axes.{name}.constant is true"
                mend = "mend its rows, or set constant: null"
                rows.faults.append(Fault(str(rows.path), problem, mend, str(names[which])))
        if not differs.any() and given.constant is not False:
            constant.append(name)
    return constant


def _texts(rows: Rows, name: str, files: "pd.Series[str]") -> list[str]:
    """What the table says of an axis for these files, each once."""
    return list(dict.fromkeys(rows.frame[name][rows.frame[FILE].isin(set(files)).to_numpy()]))


def _eval(rows: Rows, columns: dict[str, np.ndarray], own: Task) -> pd.DataFrame:
    """ImageID of the eval photos, and label where all of them have one; then group too, where the table names all of them."""
    which = rows.good & rows.of_eval
    found = pd.DataFrame({EVAL: rows.frame[FILE][which]}).astype(str).reset_index(drop=True)
    filled = (rows.frame[list(columns)] != "").to_numpy()[which].all(1)
    if own.unit == "group":
        shared = set(rows.frame[GROUP][which]) & set(rows.frame[GROUP][rows.good & ~rows.of_eval]) - {""}
        if shared:
            rows.warnings.append(
                f"{rows.path}: groups with both training and eval photos: {len(shared)}, first {shown(min(shared))}; scores of "
                "the eval set would flatter"
            )
    if len(found) and filled.all():
        if own.unit == "group" and (rows.frame[GROUP][which] != "").all():
            found[GROUP] = rows.frame[GROUP][which].to_numpy()
        labels = own.labels({name: values[which] for name, values in columns.items()})
        return found.assign(label=labels)
    if filled.any():
        lacking = shown(str(found[EVAL][~filled].iloc[0]))
        rows.warnings.append(
            f"{rows.path}: {filled.sum()} of {len(found)} eval photos have labels: none is used; the first without is {lacking}"
        )
    return found
