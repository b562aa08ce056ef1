"""The files of a new project, as text by their path below it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from stages.base import paths
from stages.data import corrections
from stages.data.photo_files import SUFFIXES
from stages.new_project import dvc_yaml, params_file, pinned_version, write_files
from stages.new_project.look_at_data import Overview
from stages.params.keys import flat
from stages.params.schema import Params

TEMPLATES = Path(__file__).parent / "templates"
DVC_CONFIG = "[core]\n    analytics = false\n    check_update = false\n"
DVC_IGNORE = ".venv\n__pycache__\n.*.tmp\n.*.tmp.*\n"  # the last two: half-written files, where a process was killed
ADDED_TO = (".gitignore", ".gitattributes", str(paths.CORRECTIONS))  # by an update; what stands in them stays
AGES = paths.eda_numbers("age").name
OUTPUTS = "# Under out/"  # where what every project ignores begins in this repository's .gitignore
TITLE = (
    "Every key, its bounds, unit and source: docs/methods.md of maskcli. Chosen by init; change what you know better."
)


@dataclass(frozen=True)
class Places:
    """Where a project is, what of the data lies inside it, and what of that DVC will keep and git keeps, by path below it."""

    folder: Path
    inside: tuple[str, ...]
    added: tuple[str, ...]
    in_git: tuple[str, ...] = ()


def texts(places: Places, params: Params, found: Overview, reasons: Mapping[str, str]) -> dict[str, str]:
    """All files of the project."""
    grouped = found.task.unit != "photo"
    numbers = {
        axis.name: found.task.units if axis.constant and grouped else "photos"
        for axis in found.task.axes
        if axis.numeric
    }
    ages = params.data.layout == "contest"
    has = dvc_yaml.Has(dependencies(params, found), bool(found.eval_photos), found.task.classes, numbers, ages)
    stages = dvc_yaml.of_project(_template("stages.yaml"), has)
    plots = {
        f".dvc/plots/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted((TEMPLATES / "plots").glob("*.json"))
        if f"template: {path.stem}\n" in stages
    }
    return {
        str(paths.PARAMS): params_file.text(params, TITLE, reasons),
        "dvc.yaml": stages,
        str(paths.REQUIREMENTS): f"{pinned_version.line()}\n",
        "README.md": _readme(places, params, found),
        ".gitignore": _git_ignore(tuple(name for name in places.inside if name not in places.in_git), numbers),
        ".gitattributes": _template("gitattributes"),
        str(paths.CORRECTIONS): f"{corrections.HEADER}\n",
        ".dvcignore": DVC_IGNORE,
        ".dvc/config": DVC_CONFIG,
        str(paths.NO_WEIGHTS): _template("no_weights"),
        str(paths.NO_PLUGINS): _template("no_plugins"),
        str(paths.NO_PSEUDO_LABELS): _template("no_pseudo_labels.csv"),
        **plots,
    }


def lacking(stages: str, folder: Path, params: Params) -> dict[str, Any]:
    """Keys that dvc.yaml (its text) names and params.yaml leaves to their defaults, with these: DVC wants the keys there."""
    there = flat(yaml.safe_load((folder / paths.PARAMS).read_text(encoding="utf-8")))
    known = flat(params.model_dump(mode="json"))
    named = {key for stage in yaml.safe_load(stages)["stages"].values() for key in stage.get("params", [])}
    return {key: known[key] for key in sorted(named & known.keys() - there.keys())}


def following(files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Those files that follow from params.yaml and the data, where they are not as they should be."""
    there = folder / paths.REQUIREMENTS
    told = dict(files) | {str(paths.REQUIREMENTS): pinned_version.renewed(there.read_text(encoding="utf-8"))}
    added = write_files.settle(folder, {name: files[name] for name in ADDED_TO})
    told |= added
    mine = {
        "dvc.yaml",
        str(paths.REQUIREMENTS),
        *added,
        *(name for name in files if name.startswith(".dvc/plots/")),
    }
    return {name: text for name, text in told.items() if name in mine and write_files.differs(folder / name, text)}


def dependencies(params: Params, found: Overview) -> tuple[str, ...]:
    """What prepare and eda read, as dvc.yaml names it: by params.yaml, so that moved photos need no other change."""
    data = params.data
    if data.layout == "contest":
        return "${data.root}/train", "${data.root}/eval/info.csv", "${data.root}/eval/images"
    tables = ["${data.train}"] if data.train else []
    others = ["${data.eval}"] if data.eval else []
    below = [f"${{data.root}}/{name}" for name in found.folders] if found.folders else ["${data.root}"]
    return (*tables, *others, *below)


def inside(params: Params, found: Overview, folder: Path) -> tuple[str, ...]:
    """What of the data lies in the project, by path below it: folders and tables, none of them in another."""
    here, data = folder.resolve(), params.data
    root = here / (data.root or Path(data.train or "").parent)
    photos = [root / name for name in found.folders] if root == here else [root]
    places = [*photos, *(here / path for path in (data.train, data.eval) if path)]
    within = [path for path in places if path.is_relative_to(here)]
    topmost = [path for path in within if not any(other in path.parents for other in within)]
    return tuple(dict.fromkeys(path.relative_to(here).as_posix() for path in topmost))


def kept_by_dvc(names: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Those of the places inside the project that DVC can begin to keep: it has them not yet, and git has none of them."""
    there = [name for name in names if not in_dvc(name, folder)]
    return tuple(name for name in there if not write_files.tracked_by_git(folder, folder / name))


def in_dvc(name: str, folder: Path) -> bool:
    """Whether DVC keeps a place of the project already, or a folder that it lies in."""
    return any((folder / f"{place}.dvc").exists() for place in (Path(name), *Path(name).parents))


def kept_by_git(names: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Those of the places of which git keeps photos, or the table itself: to ignore them would leave out the next photos.

    A folder of which git keeps no photo, but a .gitkeep or a README, is none of them.
    """

    def kept(name: str) -> bool:
        tracked = write_files.tracked_by_git(folder, folder / name)
        return bool(tracked) and (
            not (folder / name).is_dir() or any(one.lower().endswith(SUFFIXES) for one in tracked)
        )

    return tuple(name for name in names if kept(name))


def size(names: tuple[str, ...], folder: Path) -> int:
    """Bytes of files below these places of the project."""
    found = (path for name in names for path in [folder / name, *(folder / name).rglob("*")])
    return sum(path.stat().st_size for path in found if path.is_file())


def ignored(name: str) -> str:
    r"""The line of .gitignore for a place of the project. A folder `[x]`, `a\b` or `x ` has it escaped: DVC's own line matches no
    such folder, and `git add` would take the photos."""
    line = re.sub(r"[\\\[\]*?]", r"\\\g<0>", f"/{name}")
    return f"{line[:-1]}\\ " if line.endswith(" ") else line


def _git_ignore(mine: tuple[str, ...], numbers: Iterable[str]) -> str:
    """What this repository ignores below out/, and the photos where they lie in the project."""
    own = _template("gitignore")
    below = own[own.index(OUTPUTS) :].splitlines()
    lines = ["/.venv/", "__pycache__/", *map(ignored, mine)]
    for line in below:
        names = [paths.eda_numbers(axis).name for axis in numbers] if line.endswith(f"/{AGES}") else [AGES]
        lines += [line.replace(AGES, name) for name in names]
    return "\n".join(lines) + "\n"


def _readme(places: Places, params: Params, found: Overview) -> str:
    from jinja2 import Template

    units = "" if found.task.unit == "photo" else f" of {found.units:,} {found.task.units}"
    eval_set = f", {found.eval_photos:,} eval photos" if found.eval_photos else ""
    return Template(_template("README.md.jinja"), keep_trailing_newline=True).render(
        name=places.folder.resolve().name,
        sentence=f"{len(found.photos):,} training photos{units} in {found.task.classes} classes{eval_set}.",
        photos=params.data.train or params.data.root,
        unit=found.task.unit,
        units=found.task.units,
        eval_set=found.eval_photos,
        later=LATER[params.data.layout],
        tracked=", ".join(name for name in places.inside if name in places.added or in_dvc(name, places.folder)),
        in_git=", ".join(name for name in places.in_git if (places.folder / name).is_dir()),  # a table is no photo
        outside=not places.inside,
        inside=" ".join(name for name in places.inside if name not in places.in_git),
        version=version(pinned_version.PACKAGE),
    )


LATER = {
    "contest": "",
    "folder": (
        "Later: name a folder of photos by `data.eval` (or put them into `test/` beside `train/`), and run "
        "`maskcli init --update`."
    ),
    "table": (
        "Later: name a table of them by `data.eval`, and run `maskcli init --update`. Where they lie in another folder, set "
        "`data.root` to the one above both, and name both in `data.file` and `data.eval_file`, as `train_images/{id}.png`."
    ),
}


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
