"""The keys that declare what is classified: where the photos lie, and the axes."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, StrictBool, field_validator, model_validator
from pydantic_core import PydanticCustomError

from stages.base.errors import nearest
from stages.params.error_line import short
from stages.params.fields import Edge, Group, NotNegative, Positive, ascend

if TYPE_CHECKING:
    from stages.params.schema import Params


Layout = Literal["contest", "folder", "table"]
LAYOUTS = (
    "contest (train/train.csv, train/images/, eval/info.csv, eval/images/), folder (a folder a class, photos in it) and table "
    "(a CSV or parquet with a column of files)"
)


LONGEST_NAME = 40  # characters of an axis
OLDEST = 120  # years, in the contest


CONTEST_AXES: dict[str, dict[str, Any]] = {
    "mask": {"levels": ("wear", "incorrect", "none")},
    "gender": {"levels": ("male", "female")},
    "age": {"bins": (30, 60), "regress": True, "scale": 10.0},
}


# Columns of photos.csv and oof.csv, which no axis may be called. `label` is the class: a sole axis is that.
TAKEN = ("person", "group", "photo", "file", "content", "fold", "split", "ImageID")


class Data(Group):
    layout: Layout = Field(
        "contest", description="How the photos lie and where their labels stand: docs/data.md; `maskcli init` finds it"
    )
    root: str | None = Field(
        "data",
        description="The folder of the photos, also outside the project; null (table): the folder that the table lies in",
    )
    train: str | None = Field(
        None,
        description="table: the CSV or parquet file; folder: the folder of the classes (null: root/train, or root)",
    )
    eval: str | None = Field(
        None,
        description="table: a second table, of the eval photos; folder: their folder (null: root/test where it is)",
    )
    file: str | None = Field(
        None,
        description="table: the column of the files (null: `file`), or a pattern of columns, as `train_images/{id_code}.png`",
    )
    eval_file: str | None = Field(
        None, description="table: the same in the table that data.eval names, where it is another (null: as data.file)"
    )
    group: str | None = Field(
        None, description="table: the column of what must not be divided, as a patient; null: photos stand alone"
    )
    split: str | None = Field(
        None, description="table: the column that says train, val or test; val joins the folds, test is the eval set"
    )
    group_duplicates: StrictBool = Field(
        False,
        description="true: groups with near-duplicate photos become one, so that no twin is on both sides of a fold",
    )
    on_fault: Literal["stop", "skip"] = Field(
        "stop",
        description="What prepare does about bad rows and photos: refuse the data set, or leave those people (groups) out",
    )
    # Pillow refuses more than twice 89,478,485 px whatever is asked.
    max_pixels: Annotated[int, Field(ge=1, le=178_956_970, strict=True)] = Field(
        50_000_000, description="A photo of more pixels than this is refused undecoded, px"
    )
    cache_gb: NotNegative = Field(
        50.0,
        description="Most disk space for the pixel caches of training and eval photos together, GB (10^9 bytes); "
        "above it photos are decoded on the fly",
    )

    @field_validator("layout", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value in get_args(Layout):
            return value
        close = nearest(str(value), get_args(Layout))
        raise PydanticCustomError(
            "told",
            "`{value}` is no layout{close}; there are contest, folder and table, and `maskcli init` sees which your photos have",
            {"value": short(value), "close": close},
        )

    @model_validator(mode="after")
    def _of_the_layout(self) -> Self:
        table = ("file", "eval_file", "group", "split")
        unread = {"contest": ("train", "eval", *table), "folder": table, "table": ()}[self.layout]
        for name in unread:
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: the layout {self.layout} has no use for it; set null")
        if self.layout == "table" and self.train is None:
            raise ValueError("train: a table is wanted, as `train: photos.csv`")
        if self.eval_file is not None and self.eval is None:
            raise ValueError("eval_file: no table of eval photos is named by data.eval; name one, or set null")
        if self.layout != "table" and self.root is None:
            raise ValueError("root: the folder of the photos is wanted, as `root: data`")
        return self


def _in_quotes(value: Any) -> Any:
    if isinstance(value, int | float):
        raise PydanticCustomError("told", "{value} is no text; write it in quotes", {"value": short(value)})
    return value


class AxisParams(Group):
    """One axis as it is declared; stages/data/task_and_classes.py makes the axis of it and the data."""

    column: str | None = Field(None, description="table: its column (null: the axis's name)")
    levels: (
        Annotated[tuple[Annotated[str, BeforeValidator(_in_quotes)], ...], Field(min_length=2, max_length=1000)] | None
    ) = Field(None, description="Its names, in the order of their codes; null: those in the data, sorted")
    bins: Annotated[tuple[Edge, ...], Field(min_length=1, max_length=999)] | None = Field(
        None, description="A number is cut here: where the second and each further level begins"
    )
    constant: StrictBool | None = Field(
        None, description="table: true: all photos of a group must have the same; null: as the data have it"
    )
    regress: StrictBool = Field(False, description="The number may be learnt by regression too (regression.weight)")
    scale: Positive = Field(1.0, description="Unit of the regression's error, in the number's own unit")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.levels is not None and self.bins is not None:
            raise ValueError("bins: an axis has levels or bins, not both; remove one")
        if self.bins is not None and not ascend(self.bins):
            raise ValueError(f"bins: {list(self.bins)} must ascend, each number above the one before")
        if self.levels is not None and len(set(self.levels)) < len(self.levels):
            twice = next(name for name in self.levels if self.levels.count(name) > 1)
            raise ValueError(f"levels: `{twice}` stands twice; give each level a name of its own")
        if self.regress and self.bins is None:
            raise ValueError("regress: needs bins, which say that the axis is a number")
        return self


def check_axes(params: "Params") -> None:
    """Raise ValueError, which names the key, where the axes are none of the layout's, or train_bins, subsets or regression do
    not fit them."""
    layout, axes = params.data.layout, params.axes
    if not axes:
        raise ValueError("axes: a table's are wanted, as `axes: {diagnosis: {column: label}}`")
    for name, axis in axes.items():
        if not name.isidentifier() or len(name) > LONGEST_NAME:
            raise ValueError(f"axes: `{short(name)}` is no name for an axis; take a word of letters, digits and _")
        if name in TAKEN or (name == "label" and (len(axes) > 1 or axis.bins)):
            raise ValueError(f"axes: `{name}` is a column of the tables already; name the axis otherwise")
        if axis.column is not None and layout != "table":
            raise ValueError(f"axes.{name}.column: the layout {layout} has no use for it; set null")
        if axis.constant is not None and params.data.group is None:
            raise ValueError(f"axes.{name}.constant: there are no groups without data.group; set null")
    if layout == "contest":
        _check_contest(axes)
    if layout == "folder" and (len(axes) > 1 or next(iter(axes.values())).bins):
        raise ValueError("axes: a folder of classes has one axis of names, as `axes: {label: {}}`")
    if sum(axis.regress for axis in axes.values()) > 1:
        raise ValueError("axes: two have `regress: true`; one can be regressed")
    if params.regression.weight and params.regressed is None:
        raise ValueError("regression.weight: no axis has `regress: true`; set it there, or the weight to 0")
    for name, bins in params.train_bins.items():
        if name not in axes or not axes[name].bins:
            raise ValueError(f"train_bins: `{short(name)}` is no axis with bins; name one of axes")
        if len(bins) != len(axes[name].bins or ()) or not ascend(bins):
            raise ValueError(f"train_bins.{name}: must be as many numbers as axes.{name}.bins, and ascend")
    for subset, chosen in params.subsets.items():
        unknown = next((name for name in chosen if name not in axes), None)
        if unknown is not None:
            close = nearest(unknown, axes, otherwise=f"the axes are {', '.join(axes)}")
            raise ValueError(f"subsets.{short(subset)}: `{short(unknown)}` is no axis{close}")
        if not subset or subset.isdecimal():
            raise ValueError(
                f"subsets: `{short(subset)}` would be taken for a class's number; give it a name of letters"
            )
        if subset in axes:
            raise ValueError(
                f"subsets: `{short(subset)}` is an axis, which has an F1 already; name the subset otherwise"
            )


def _check_contest(axes: dict[str, AxisParams]) -> None:
    own = {name: AxisParams(**axis) for name, axis in CONTEST_AXES.items()}
    bins = axes["age"].bins if "age" in axes else None
    if bins and (len(bins) != 2 or any(not isinstance(age, int) or not 1 <= age <= OLDEST for age in bins)):
        raise ValueError(f"axes.age.bins: the contest has two whole ages from 1 to {OLDEST}, as [30, 60]")
    free = {"bins", "regress", "scale"}
    same = [{**axis.model_dump(exclude=free if name == "age" else None)} for name, axis in axes.items()]
    wanted = [{**axis.model_dump(exclude=free if name == "age" else None)} for name, axis in own.items()]
    if list(axes) != list(own) or same != wanted or not bins:
        raise ValueError(
            "axes: the contest's are mask, gender and age, and only age's may differ; for other axes, set data.layout"
        )
