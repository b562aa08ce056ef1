"""How a person's photos are declared in params.yaml: the layout, where they lie, which columns tell what."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from stages.base.errors import UserError, nearest
from stages.new_project import columns
from stages.new_project.columns import Columns
from stages.params.data_and_axes import TAKEN, Layout
from stages.params.load import parse
from stages.params.schema import Params

BINS = re.compile(r"(?P<column>.+):(?P<bins>[-+.\d]+(,[-+.\d]+)*)")
DEPTH = 3  # folders below a table, in which its photos are looked for
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
        "file": said.file or found.file,
        "group": (said.group or None) if said.group is not None else found.group,
        "split": said.split or found.split,
    }
    axes = dict(_axis(label, names, place) for label in labels)
    for key, name in data.items():
        _must_be(name, names, place, f"--{key}")
    if data["file"] is None:
        told = "no column holds names of photos with their endings, as 1.jpg; write them so, or name one by --file"
        raise UserError(f"{place}: {told}: {', '.join(names)}")
    root = _folder_of(text[data["file"]].tolist(), place.parent)
    return Declared("table", root, place, said.eval, found, {"data": data, "axes": axes})


def _folder_of(files: list[str], beside: Path) -> Path:
    """Where a table's files start from: the folder that it lies in, or the one folder below it that has the first of them.

    Tables often name photos without the folder `images` in which they lie.
    """
    first = next((file for file in files if file), "")
    if not first or Path(first).is_absolute() or (beside / first).exists():
        return beside
    folders = [path for depth in range(1, DEPTH + 1) for path in sorted(beside.glob("*/" * depth)) if path.is_dir()]
    holding = [folder for folder in folders if (folder / first).is_file()]
    return holding[0] if len(holding) == 1 else beside


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
