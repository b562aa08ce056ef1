"""init: a new project around photos that are there, or around drawn ones: what is found, what is chosen, the files.

`look` says what the data is, `plan` what a project of it will be, `make` puts it there. Nothing is written before `make`.
"""

import json
import shlex
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.base import memory, paths
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.data import demo_faces
from stages.new_project import (
    choices,
    declare_task,
    listed_photos,
    look_at_data,
    machine,
    project_files,
    recognise_layout,
    write_files,
)
from stages.new_project.choices import Choices
from stages.new_project.declare_task import Declared, Said
from stages.new_project.look_at_data import Overview
from stages.new_project.machine import Device
from stages.new_project.project_files import Places
from stages.params.load import load
from stages.params.schema import Params

DEMO = Path("data")  # below the project


@dataclass(frozen=True)
class Plan:
    """A project that could be made: what was found, what was chosen, and the files that will be written, by path below it."""

    places: Places
    found: Overview
    chosen: Choices
    device: Device
    params: Params
    files: dict[str, str] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        chosen = {"folds": len(self.params.folds), "image": [self.params.image.height, self.params.image.width]}
        chosen |= {"model": self.params.model.name, "pretrained": self.params.model.pretrained}
        chosen |= {"epochs": self.params.train.epochs, "batch_size": self.params.train.batch_size}
        told = {"folder": str(self.places.folder), "device": str(self.device), "found": self.found.as_dict()}
        return told | {"chosen": chosen, "files": list(self.files), "dvc_add": list(self.places.added)}


def declared(data: Path, folder: Path, said: Said) -> Declared:
    """What DATA is and how its labels stand there, as far as it shows. Raises UserError where no layout fits."""
    layout, place = (said.layout, data) if said.layout else recognise_layout.layout_of(data)
    if layout != "table":
        _apart(data, folder)
    return declare_task.of_layout(layout, place, said)


def plan(
    of: Declared, folder: Path, said: Said, talk: Talk, can_have: Callable[[str], bool] = machine.can_have
) -> Plan:
    """Look at the data and choose. Raises UserError where the data is no task, or a file stands in the way."""
    declare_task.require_labels(of)
    declared_only = declare_task.params(of, folder, {})
    found = look_at_data.look(declare_task.seen_from_here(declared_only, folder), of.place, talk)
    if of.layout == "table" and not found.folders:
        _apart(of.root, folder)
    if of.table and of.eval is None and not found.eval_photos:
        other = listed_photos.other_table(of.table, of.values["data"]["file"])
        if other:
            talk.say(f"init: {other} lists other photos: `--eval {shlex.quote(str(other))}` has them predicted")
    device = machine.device()
    chosen = choices.choose(found.seen, device, said.model, None if said.scratch else can_have)
    params = declare_task.params(of, folder, chosen.values)
    inside = project_files.inside(params, found, folder)
    in_git = project_files.kept_by_git(inside, folder)
    places = Places(folder, inside, _kept(inside, folder, talk) if said.add else (), in_git)
    files = write_files.settle(folder, project_files.texts(places, params, found, chosen.reasons), said.overwrite)
    return Plan(places, found, chosen, device, params, files)


def _kept(inside: tuple[str, ...], folder: Path, talk: Talk) -> tuple[str, ...]:
    """What DVC will keep of the data inside the project: its cache is a copy, which must fit the disk with room to spare."""
    names = project_files.kept_by_dvc(inside, folder)
    for name in (one for one in inside if (folder / one).is_dir()):  # a table is well kept by git
        if name not in names and not project_files.in_dvc(name, folder):
            place = shlex.quote(name)
            talk.say(
                f"init: git keeps files of {name}, so DVC does not; to give them to DVC: `git rm -rq --cached {place} && "
                f"dvc add {place}`"
            )
    needed = project_files.size(names, folder)
    if names and needed > shutil.disk_usage(folder).free / 2:
        told = f"{', '.join(names)}: {memory.in_words(needed)}, more than half of the free disk"
        talk.say(f"init: {told}: DVC does not keep a copy; `dvc add` does, where there is room")
        return ()
    return names


def make(plan: Plan, talk: Talk) -> None:
    """Write the files, make git and DVC repositories where there are none, and let DVC keep photos that lie in the project."""
    if plan.places.added:
        talk.say(f"init: DVC takes {', '.join(plan.places.added)} into its cache")
    write_files.put(plan.places.folder, plan.files, plan.places.added)


def demo_project(folder: Path, talk: Talk, dry_run: bool = False) -> dict[str, Any]:
    """The drawn faces in `data/` of a new project with the demo's parameters, or of one that stands there without data.

    Returns what was done. Raises UserError where something else is in the way.
    """
    data, stands = folder / DEMO, _standing(folder)
    there = (data / "train/train.csv").is_file()
    with ExitStack() as undo:
        drawn = Path(undo.enter_context(tempfile.TemporaryDirectory())) / "data" if dry_run and not there else data
        if not there:
            demo_faces.write(drawn, talk=talk)
            undo.callback(shutil.rmtree, drawn, ignore_errors=True)
        files = {} if stands else write_files.settle(folder, _demo_files(folder, drawn, talk))
        if not dry_run:
            write_files.put(folder, files, () if there and stands else (str(DEMO),))
            undo.pop_all()
    return {"folder": str(folder), "data": str(data), "drawn": not there, "files": list(files), "dry_run": dry_run}


def update(folder: Path, talk: Talk, dry_run: bool = False) -> dict[str, Any]:
    """Write what follows from params.yaml and the data anew: dvc.yaml, its plots, the version in requirements.txt.

    For another version of maskcli, an eval set or an axis that has come. Returns what was done. Raises UserError where no
    project stands that init has made.
    """
    if not ((folder / paths.PARAMS).is_file() and (folder / paths.REQUIREMENTS).is_file()):
        raise UserError(
            f"{folder}: no project of `maskcli init` stands there ({paths.PARAMS} and {paths.REQUIREMENTS}); name its folder by "
            "--into"
        )
    params = load(folder / paths.PARAMS)
    found = look_at_data.look(declare_task.seen_from_here(params, folder), folder, talk)
    inside = project_files.inside(params, found, folder)
    places = Places(folder, inside, (), project_files.kept_by_git(inside, folder))
    texts = project_files.texts(places, params, found, {})
    files = project_files.following(texts, folder)
    for key, value in project_files.lacking(texts["dvc.yaml"], folder, params).items():
        talk.say(
            f"init: params.yaml lacks {key}, which dvc.yaml names; add it ({json.dumps(value)}), or DVC refuses to run"
        )
    ignore = folder / ".gitignore"
    before = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else []
    for name in project_files.kept_by_dvc(inside, folder):
        if project_files.ignored(name) not in before:
            talk.say(f"init: neither git nor DVC keeps {name}: `dvc add {shlex.quote(name)}` does")
    if not dry_run:
        write_files.put(folder, files)
    return {"folder": str(folder), "files": list(files), "dry_run": dry_run}


def _demo_files(folder: Path, data: Path, talk: Talk) -> dict[str, str]:
    """With the schema's defaults, which are the demo's: nothing is chosen for the machine."""
    of = Declared("contest", data, values=declare_task.CONTEST)
    params = declare_task.params(of, folder, {})
    found = look_at_data.look(
        declare_task.seen_from_here(declare_task.params(of, data.parent, {}), data.parent), data, talk
    )
    return project_files.texts(Places(folder, (str(DEMO),), (str(DEMO),)), params, found, {})


def _standing(folder: Path) -> bool:
    """Whether a project for the contest's layout stands there already, as in a clone of this program's repository."""
    if not ((folder / paths.PARAMS).is_file() and (folder / "dvc.yaml").is_file()):
        return False
    found = load(folder / paths.PARAMS).data
    if (found.layout, found.root) != ("contest", str(DEMO)):
        raise UserError(f"{folder / paths.PARAMS}: is of another project; name an empty folder by --into")
    return True


def _apart(data: Path, folder: Path) -> None:
    """Raise UserError where the project would lie among the photos, and be read as one of their folders."""
    inner, outer = folder.resolve(), data.resolve()
    if outer.is_dir() and inner.is_relative_to(outer):
        where = "is the folder of the photos itself" if inner == outer else f"lies in {data}, among the photos"
        raise UserError(f"{folder}: {where}; name another place for the project by --into, as `--into ../project`")
