"""How a person's photos are declared in params.yaml: the layout, where they lie, which columns tell what."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from stages.base.errors import UserError, nearest
from stages.data import file_pattern
from stages.new_project import columns, listed_photos
from stages.new_project.columns import Columns
from stages.new_project.listed_photos import Listed
from stages.params.data_and_axes import TAKEN, Layout
from stages.params.load import parse
from stages.params.schema import Params

BINS = re.compile(r"(?P<column>.+):(?P<bins>[-+.\d]+(,[-+.\d]+)*)")
CONTEST = {"subsets": {"60plus": {"age": "60+"}}}
PHOTOS = get_args(Layout)  # the layouts of photos that a person has
# For each field of Said the flag of `maskcli init`, and what it can be said of: a layout, --demo, --update.
SAID_OF = {
    "layout": ("--layout", PHOTOS),
    "labels": ("--label", ("table",)),
    "group": ("--group", ("table",)),
    "file": ("--file", ("table",)),
    "split": ("--split", ("table",)),
    "eval": ("--eval", ("folder", "table")),
    "model": ("--model", PHOTOS),
    "scratch": ("--scratch", PHOTOS),
    "overwrite": ("--overwrite", PHOTOS),
    "add": ("--no-add", PHOTOS),
}
INSTEAD = {
    "--demo": "leave it out, or name photos of your own in place of --demo",
    "--update": "leave it out: what the project is stands in params.yaml",
}


@dataclass(frozen=True)
class Said:
    """What a person has said of the data, by flags or answers; None and empty where the data is to tell.

    labels: columns of a table, an axis each; `age:30,60` cuts a number into bins. group: empty for none.
    """

    layout: Layout | None = None
    labels: tuple[str, ...] = ()
    group: str | None = None
    file: str | None = None
    split: str | None = None
    eval: Path | None = None
    model: str | None = None
    scratch: bool = False
    overwrite: bool = False
    add: bool = True


@dataclass(frozen=True)
class Declared:
    """A data set as params.yaml will declare it. root, table and eval: paths from the working folder.

    columns: what a table's columns seem to be.
    """

    layout: Layout
    root: Path
    table: Path | None = None
    eval: Path | None = None
    columns: Columns | None = None
    values: dict[str, Any] = field(default_factory=dict)  # of params.yaml: data (without its paths), axes, subsets

    @property
    def place(self) -> Path:
        """What a person named: the table, or the folder."""
        return self.table or self.root


def require_used(said: Said, of: str) -> None:
    """Raise UserError where something is said that means nothing of `of`: a layout, --demo or --update."""
    nothing = Said()
    for name, (flag, meant) in SAID_OF.items():
        if getattr(said, name) != getattr(nothing, name) and of not in meant:
            what = f"the layout {of}" if of in PHOTOS else of
            raise UserError(f"{flag}: {what} has no use for it; {INSTEAD.get(of, 'leave it out, or name a table')}")


def of_layout(layout: Layout, place: Path, said: Said) -> Declared:
    """The declaration of the data at `place`, a folder or a table.

    Raises UserError where it is another kind of place, or a flag is given that this layout has no use for.
    """
    require_used(said, layout)
    if layout != "table" and not place.is_dir():
        raise UserError(f"{place}: is no folder; the layout {layout} begins with one")
    if layout == "contest":
        return Declared(layout, place, values=CONTEST)
    if layout == "folder":
        return Declared(layout, place, eval=said.eval, values={"axes": {"label": {}}})
    if not place.is_file():
        raise UserError(f"{place}: is no table; name the file, as `maskcli init {place / 'photos.csv'}`")
    return _of_table(place, said)


def _of_table(place: Path, said: Said) -> Declared:
    text = columns.read(place)
    found = columns.guess(text)
    names = [str(name) for name in text.columns]
    labels = said.labels or ((found.label,) if found.label else ())
    data = {
        "group": (said.group or None) if said.group is not None else found.group,
        "split": said.split or found.split,
    }
    axes = dict(_axis(label, names, place) for label in labels)
    for column in file_pattern.columns(said.file, names) if said.file else ():
        _must_be(column, names, place, "--file")
    for key, name in data.items():
        _must_be(name, names, place, f"--{key}")
    root, files = _photos(text, said, found.file, place)
    return Declared("table", root, place, said.eval, found, {"data": files | data, "axes": axes})


def _photos(text: pd.DataFrame, said: Said, guessed: str | None, place: Path) -> tuple[Path, dict[str, str]]:
    """Where the files of the tables start from, and how they tell them: data.file, and data.eval_file where it differs."""
    beside, column = place.parent, said.file or guessed
    if column and file_pattern.columns(column, text.columns) != (column,):
        mine = Listed(beside, column)
    else:
        found = listed_photos.of_train(text, column, beside)
        if found is None and column is None:
            raise UserError(
                f"{place}: no column names photos that lie there, with or without their endings; name it by --file, or how it "
                f"makes the files, as `--file 'images/{{{text.columns[0]}}}.jpg'`: {', '.join(map(str, text.columns))}"
            )
        mine = found or Listed(beside, str(column))
    theirs = listed_photos.of_eval(columns.read(said.eval), beside) if said.eval and said.eval.is_file() else None
    if theirs in (None, mine):
        return mine.folder, {"file": mine.told}
    assert theirs
    return beside, {"file": mine.seen_from(beside), "eval_file": theirs.seen_from(beside)}


def _axis(label: str, names: list[str], place: Path) -> tuple[str, dict[str, Any]]:
    """Name and declaration of an axis, from a column's name, with bins where it is a number."""
    cut = BINS.fullmatch(label) if label not in names else None
    column = cut["column"] if cut else label
    _must_be(column, names, place, "--label")
    axis = re.sub(r"\W+", "_", column).strip("_")[:40] or "class"
    axis = "class" if axis in TAKEN else axis
    told = {} if axis == column else {"column": column}
    if not cut:
        return axis, told
    try:
        bins = [float(edge) for edge in cut["bins"].split(",")]
    except ValueError:
        raise UserError(f"--label {label}: has no numbers behind the colon; write it as `--label age:30,60`") from None
    return axis, told | {"bins": bins, "regress": True, "scale": _scale(bins)}


def _scale(bins: list[float]) -> float:
    """A round unit for errors of a number: the power of ten below the range of its bins, or below its only edge."""
    span = bins[-1] - bins[0] if len(bins) > 1 else abs(bins[0])
    return float(f"1e{len(str(int(span))) - 1}") if span >= 1 else 1.0


def _must_be(name: str | None, names: list[str], place: Path, flag: str) -> None:
    if name is None or name in names:
        return
    mend = nearest(name, names, otherwise=f"its columns are {', '.join(names)}")
    raise UserError(f"{flag} {name}: is no column of {place}{mend}")


def require_labels(of: Declared) -> None:
    """Raise UserError where a table's column of labels is not known."""
    if of.columns and not of.values["axes"]:
        fitting = ", or ".join(f"--label {name}" for name in of.columns.labels)
        mend = (
            f"say {fitting}" if fitting else "none seems to fit: name one by --label, a number as `--label age:30,60`"
        )
        raise UserError(f"{of.place}: which column holds the labels? {mend[0].upper()}{mend[1:]}")


def params(of: Declared, folder: Path, chosen: dict[str, Any]) -> Params:
    """params.yaml of a project in `folder`: paths below it are relative, others absolute. Raises UserError."""
    data = {"layout": of.layout, **of.values.get("data", {}), "root": _from(folder, of.root)}
    data |= {"train": _from(folder, of.table)} if of.table else {}
    data |= {"eval": _from(folder, of.eval)} if of.eval else {}
    return parse({**chosen, **of.values, "data": data})


def seen_from_here(params: Params, folder: Path) -> Params:
    """The same for a reader that works here and not in `folder`: all paths are absolute."""
    paths = {name: getattr(params.data, name) for name in ("root", "train", "eval")}
    absolute = {name: (folder / path).resolve().as_posix() for name, path in paths.items() if path is not None}
    return params.model_copy(update={"data": params.data.model_copy(update=absolute)})


def _from(folder: Path, path: Path) -> str:
    """A path as a project in `folder` names it."""
    inner, outer = path.resolve(), folder.resolve()
    return (inner.relative_to(outer) if inner.is_relative_to(outer) else inner).as_posix()
