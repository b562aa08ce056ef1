"""What `maskcli check` looks at before and after its trial of the stages: account, data set, folds, files, memory, disk."""

import getpass
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages import kfold
from stages.base import dvc_cache, gpu, memory, paths
from stages.base.errors import UserError
from stages.base.files import unwritable
from stages.by_hand.check_estimates import Estimate
from stages.data import photos, pseudo_labelled_photos
from stages.data.found_photos import Found
from stages.learn import own_losses, plugins, starting_weights
from stages.learn.plugins import Plugin
from stages.params.schema import Params

NAMED = 8  # classes that a line names


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, `warning` or `failed`, and what was found."""

    what: str
    state: str
    detail: str


@dataclass
class Report:
    findings: list[Finding] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.state == "failed"]

    @property
    def total_seconds(self) -> float:
        return sum(estimate.seconds for estimate in self.estimates)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ok": not self.failed, "total_seconds": self.total_seconds}


def look_at_account(report: Report) -> None:
    """Whether the user has a name and a home, without which DVC ends: a container knows neither for a foreign user id."""
    lacking = []
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        lacking.append("USER")
    try:
        Path.home()
    except RuntimeError:
        lacking.append("HOME")
    if lacking:
        what = " or ".join({"USER": "name", "HOME": "home"}[name] for name in lacking)
        given = " ".join({"USER": "-e USER=me", "HOME": "-e HOME=/tmp"}[name] for name in lacking)
        detail = f"this user id has no {what}, and DVC ends without; set {' and '.join(lacking)} (`docker run {given}`)"
        report.findings.append(Finding("user", "failed", detail))


def look_at_dvc_cache(report: Report) -> None:
    """Whether DVC can make its experiments' folders: it writes the path of its cache into them as ASCII alone."""
    cache = dvc_cache.folder()
    if cache is not None and not str(cache).isascii():
        detail = (
            f"{cache}: is a path with letters beyond ASCII, by which `dvc queue start` and `dvc exp run --temp` fail; `maskcli "
            "cluster run --queued` works (and `dvc exp run` without --temp), or move the project"
        )
        report.findings.append(Finding("DVC's cache", "warning", detail))


def look_at_project_folder(report: Report) -> None:
    """Whether the project, and each folder of results that is there, can be written into: the trial writes elsewhere."""
    out = paths.TRAIN.parent
    for folder in (Path(), out, *sorted(out.glob("*")), *sorted(paths.TRAIN.glob("*"))):
        try:
            if folder.is_dir():
                tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            where = folder if folder.parts else Path.cwd()
            report.findings.append(Finding("project folder", "failed", str(unwritable(where, error))))
            return


def look_at_data(params: Params, report: Report) -> Found | None:
    """The tables and photos of the whole data set, and how folds divide it; None where there is nothing to try."""
    try:
        found = photos.find(params)
    except UserError as error:
        report.findings.append(Finding("data set", "failed", str(error)))
        return None
    faults = [*found.faults, *found.eval_faults]
    if faults:
        skipped = params.data.on_fault == "skip" and not found.eval_faults and all(fault.group for fault in faults)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        report.findings.append(Finding("data set", "warning" if skipped else "failed", f"{faults[0]}{more}"))
    else:
        whose = "" if found.task.unit == "photo" else f"{len(found.groups)} {found.task.units}, "
        eval_set = f"{len(found.eval)} eval photos" if len(found.eval) else "no eval set"
        report.findings.append(Finding("data set", "ok", f"{whose}{len(found.photos)} photos, {eval_set}"))
    report.findings += [Finding("data set", "warning", warning) for warning in found.warnings]
    if found.photos.empty or (found.eval_faults and found.eval.empty):
        return None
    look_at_folds(params, found, report)
    return found


def look_at_folds(params: Params, found: Found, report: Report) -> None:
    """Whether the groups fill the folds, and which classes are in fewer groups than folds, or in none."""
    own = found.task
    labels = own.labels(found.photos)
    groups = found.groups[found.groups["group"].isin(set(found.photos["group"]))]
    group, kinds, names = kfold.told(own, groups, params, found.photos.assign(label=labels))
    try:
        kfold.assign(group, kinds, len(params.folds), params.seed, own.units)
    except UserError as error:
        report.findings.append(Finding("folds", "failed", str(error)))
        return
    absent = [names[kind] for kind in np.flatnonzero(np.bincount(kinds, minlength=len(names)) == 0)]
    listed = ", ".join(absent[:NAMED]) + (", ..." if len(absent) > NAMED else "")
    lines = [f"{'nobody' if own.unit == 'person' else 'no photo'} is {listed}"] if absent else []
    lines += kfold.rare(group, kinds, names, len(params.folds), own.units)
    state, detail = ("warning", "; ".join(lines)) if lines else ("ok", "every class in every fold")
    report.findings.append(Finding("folds", state, detail))


def look_at_pseudo_labels(params: Params, found: Found, report: Report) -> None:
    """Whether the file of pseudo.labels fits: the trial does without it, since it is about other photos and folds."""
    if pseudo_labelled_photos.is_off(params):
        return
    path = Path(params.pseudo.labels)
    try:
        if paths.FOLDS.is_file() and paths.EVAL.is_file():
            labels = len(pseudo_labelled_photos.read_labels(path, found.eval["ImageID"], found.task.classes))
            report.findings.append(Finding("pseudo-labels", "ok", f"{path}: {labels} labels"))
            return
        if not path.is_file():
            raise UserError(f"params.yaml: pseudo.labels: {path} not found; run `maskcli pseudo-label`")
        missing = sorted(set(pseudo_labelled_photos.COLUMNS) - set(pd.read_csv(path).columns))
        if missing:
            raise UserError(f"{path}: has no column `{missing[0]}`; run `maskcli pseudo-label` again")
        detail = f"{path}: a table; whether it fits the folds is seen only after `maskcli kfold`"
        report.findings.append(Finding("pseudo-labels", "warning", detail))
    except UserError as error:
        report.findings.append(Finding("pseudo-labels", "failed", str(error)))
    except (ValueError, OSError) as error:  # what pandas makes of a file that is no table
        detail = f"{path}: cannot be read ({type(error).__name__}); run `maskcli pseudo-label` again"
        report.findings.append(Finding("pseudo-labels", "failed", detail))


def look_at_starting_weights(params: Params, report: Report) -> None:
    """Whether training may begin with the file of model.weights: the trial's folder holds but some of whom it may have seen."""
    try:
        starting_weights.check(params)
    except UserError as error:
        report.findings.append(Finding("starting weights", "failed", str(error)))


def look_at_plugins(params: Params, report: Report) -> bool:
    """Models and losses of one's own, by file, with the losses' options; whether they can be imported."""
    try:
        own_losses.check(params)
        found = [_in_words(plugin) for plugin in plugins.loaded()]
    except UserError as error:
        report.findings.append(Finding("plugins", "failed", str(error)))
        return False
    report.findings += [Finding("plugins", "ok", "; ".join(found))] if found else []
    return True


def _in_words(plugin: Plugin) -> str:
    losses = [f"loss {own_losses.in_words(plugin, name)}" for name in plugin.losses]
    return f"{plugin.file}: {', '.join([*(f'model {name}' for name in plugin.models), *losses])}"


def memory_use(measured: dict[str, Any], folds: int) -> Finding:
    """Whether the peak of the trial, and on a CPU that of all folds at a time, fits what this process may use."""
    if gpu.usable():
        total = torch.cuda.get_device_properties(0).total_memory
        where = torch.cuda.get_device_name(0)
    else:
        total, where = memory.total(), "main memory"
    detail = f"{memory.in_words(measured['peak'])} of {memory.in_words(total)} ({where}) at the real batch"
    if measured["parts"] > 1:
        return Finding("memory", "warning", f"{detail}; batches are cut into {measured['parts']} pieces (auto_batch)")
    if measured["peak"] > 0.9 * total:
        return Finding("memory", "warning", f"{detail}; that is close: lower train.batch_size or set train.auto_batch")
    together = 1 if gpu.usable() else min(measured["jobs"], folds)
    if together * measured["peak"] > 0.9 * total:
        fit = int(0.9 * total // measured["peak"])
        return Finding("memory", "warning", f"{detail}, and {together} folds train at a time: set parallel.jobs: {fit}")
    return Finding("memory", "ok", detail)


def disk_space(params: Params, found: Found, free: int, measured: dict[str, Any]) -> Finding:
    """Pixel caches, checkpoints, and weights twice (workspace and DVC cache) against `free` bytes, which must count the
    pixel caches that are there already.

    `checkpoint_bytes` is before the first epoch: later the selected epoch's weights join. A checkpoint's successor is
    written beside it.
    """
    trainings = len(params.folds) * params.train.repeats
    checkpoint = measured["checkpoint_bytes"] + measured["weights_bytes"]
    needed = (len(found.photos) + len(found.eval)) * measured["photo_bytes"]
    inner = 0 if params.label_noise.is_off else params.label_noise.folds * min(measured["jobs"], len(params.folds))
    needed += trainings * (2 * measured["weights_bytes"] + checkpoint) + (1 + inner) * checkpoint
    detail = f"{memory.in_words(needed)} needed (pixel caches, checkpoints, weights), {memory.in_words(free)} free"
    return Finding("disk space", "ok" if needed < 0.9 * free else "failed", detail)
