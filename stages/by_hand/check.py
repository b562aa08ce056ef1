"""check: every stage, end to end, on a handful of people in a temporary folder, with the real params, model and device.

It finds in a minute what would fail late, measures speed on the way, and says how long `dvc repro` will take.
"""

import contextlib
import getpass
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
import yaml

from stages import eda, kfold, lr_find, oof_ensemble, prepare, train, tta_predict
from stages.base import cores, memory, paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import check_estimates, folds
from stages.by_hand.check_estimates import Data, Estimate
from stages.data import layout, pixel_cache, pseudo_labelled
from stages.data.fold_data import FoldData, open_fold
from stages.learn import cpu_threads, loader, model, objective, predict, starting_weights, validation
from stages.learn.checkpoint import Keeper
from stages.learn.learner import Learner, set_mode, start
from stages.learn.progress import Progress
from stages.learn.step import step
from stages.params.schema import Params
from stages.records import lr_json

PEOPLE_OF_A_KIND = 3  # people of each gender and age bin in the trial
EVAL_PHOTOS = 8
MEASURED_STEPS = 6
MEASURED_SECONDS = 4.0  # of steps, at most


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


def run(params: Params, talk: Talk, debug: bool = False) -> Report:
    """Look at everything, in the order in which `dvc repro` would; nothing is written but in a temporary folder.

    debug: raise what a stage raises, instead of reporting it.
    """
    report = Report()
    look_at_account(report)
    data = look_at_tables(params, report)
    if data is None:
        return report
    look_at_pseudo_labels(params, data, report)
    look_at_starting_weights(params, report)
    cached = sum(path.stat().st_size for path in (paths.PIXELS, paths.EVAL_PIXELS) if path.is_file())
    # On Windows a file cannot be removed while it is mapped.
    with tempfile.TemporaryDirectory(prefix="maskcli-check-", ignore_cleanup_errors=True) as folder:
        trial = _trial_params(params, pixel_cache.fits(len(data.photos) + len(data.eval_ids), params))
        _lay_out(Path(folder), data, trial)
        free = shutil.disk_usage(Path.cwd()).free + cached  # prepare puts its new caches in their place
        with contextlib.chdir(folder):
            _stages(params, trial, data, free, report, talk, debug)
    return report


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


def look_at_tables(params: Params, report: Report) -> Data | None:
    """The tables of the whole data set, and whether every fold will have every class; None where nobody is usable."""
    people, faults = layout.read_people(paths.TRAIN_CSV)
    photos, photo_faults = layout.find_photos(people, paths.TRAIN_IMAGES)
    eval_ids, eval_faults = layout.read_eval(paths.EVAL_CSV, paths.EVAL_IMAGES)
    faults += photo_faults
    everything = faults + eval_faults
    skipped = params.data.on_fault == "skip" and not eval_faults and all(fault.person for fault in faults)
    if everything:
        more = f" (and {len(everything) - 1} more)" if len(everything) > 1 else ""
        report.findings.append(Finding("data set", "warning" if skipped else "failed", f"{everything[0]}{more}"))
    else:
        report.findings.append(
            Finding("data set", "ok", f"{len(people)} people, {len(photos)} photos, {len(eval_ids)} eval photos")
        )
    if photos.empty or not eval_ids:
        return None
    people = people[people["person"].isin(set(photos["person"]))]
    bins = layout.age_bin(people["age"].to_numpy(int), layout.age_bins(params))
    kinds = people["gender"].to_numpy(int) * len(layout.AGES) + bins
    try:
        kfold.assign(np.arange(len(people)), kinds, len(params.folds), params.seed, "people")
    except UserError as error:
        report.findings.append(Finding("folds", "failed", str(error)))
    else:
        absent = sorted(set(range(len(layout.GENDERS) * len(layout.AGES))) - set(kinds))
        names = tuple(f"{gender} {age}" for gender in layout.GENDERS for age in layout.AGES)
        few = kfold.rare(np.arange(len(people)), kinds, names, len(params.folds), "people")
        nobody = [f"nobody is {', '.join(names[kind] for kind in absent)}"] if absent else []
        state, detail = ("warning", "; ".join(nobody + few)) if absent or few else ("ok", "every class in every fold")
        report.findings.append(Finding("folds", state, detail))
    return Data(people, photos, eval_ids)


def look_at_pseudo_labels(params: Params, data: Data, report: Report) -> None:
    """Whether the file of pseudo.labels fits: the trial does without it, since it is about other photos and folds."""
    if pseudo_labelled.is_off(params):
        return
    path = Path(params.pseudo.labels)
    try:
        if paths.FOLDS.is_file() and paths.EVAL.is_file():
            labels = len(pseudo_labelled.read_labels(path, pd.Series(data.eval_ids), layout.CLASSES))
            report.findings.append(Finding("pseudo-labels", "ok", f"{path}: {labels} labels"))
            return
        if not path.is_file():
            raise UserError(f"params.yaml: pseudo.labels: {path} not found; run `maskcli pseudo-label`")
        missing = sorted(set(pseudo_labelled.COLUMNS) - set(pd.read_csv(path).columns))
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
    """Whether training may begin with the file of model.weights: in the trial's folder nothing tells whom it has seen."""
    try:
        starting_weights.check(params)
    except UserError as error:
        report.findings.append(Finding("starting weights", "failed", str(error)))


def _trial_params(params: Params, cached: bool) -> Params:
    """The real params, but for what makes a run long: two folds, one epoch, one repeat, few steps and bootstrap samples.

    cached: whether the real photos will be; else the trial's are decoded on the fly too.
    """
    model = params.model
    if not model.begins_without_file:
        model = model.model_copy(update={"weights": str(Path(model.weights).resolve())})
    return params.model_copy(
        update={
            "folds": (0, 1),
            "model": model,
            "data": params.data.model_copy(update={"on_fault": "stop"} | ({} if cached else {"cache_gb": 0.0})),
            "train": params.train.model_copy(update={"epochs": 1, "repeats": 1, "patience": 0}),
            "pseudo": params.pseudo.model_copy(update={"labels": str(paths.NO_PSEUDO_LABELS)}),
            "budget": params.budget.model_copy(update={"minutes": 0.0}),
            "lr_find": params.lr_find.model_copy(update={"steps": 10}),
            "ensemble": params.ensemble.model_copy(update={"replicates": 100}),
        }
    )


def _lay_out(folder: Path, data: Data, trial: Params) -> None:
    """A project folder with a few people of every kind, their photos, and the first eval photos."""
    kinds = [data.people["gender"], layout.age_bin(data.people["age"].to_numpy(int), layout.age_bins(trial))]
    few = data.people.groupby(kinds).head(PEOPLE_OF_A_KIND)
    if len(few) < 2 * len(trial.folds):
        few = data.people.head(4 * len(trial.folds))
    table = few.assign(gender=[layout.GENDERS[code] for code in few["gender"]])
    table = table.rename(columns={"person": "id"})[list(layout.TRAIN_COLUMNS)]
    (folder / paths.TRAIN_CSV).parent.mkdir(parents=True)
    table.to_csv(folder / paths.TRAIN_CSV, index=False)
    for file in data.photos[data.photos["person"].isin(set(few["person"]))]["file"]:
        _copy(paths.TRAIN_IMAGES / file, folder)
    shown = data.eval_ids[:EVAL_PHOTOS]
    for name in shown:
        _copy(paths.EVAL_IMAGES / name, folder)
    pd.DataFrame({"ImageID": shown, "ans": 0}).to_csv(folder / paths.EVAL_CSV, index=False)
    (folder / paths.PARAMS).write_text(yaml.safe_dump(trial.model_dump(mode="json")))


def _copy(path: Path, folder: Path) -> None:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def _stages(real: Params, trial: Params, data: Data, free: int, report: Report, talk: Talk, debug: bool) -> None:
    """Run the stages in the working folder, which holds the trial; stop at the first that fails."""
    seconds: dict[str, float] = {}
    measured: dict[str, Any] = {}
    trials = {
        "prepare": lambda: prepare.run(trial, SILENT),
        "eda": lambda: eda.run(trial, SILENT),
        "kfold": lambda: kfold.run(trial, SILENT),
        "lr-find": lambda: lr_find.run(trial, SILENT),
        "train": lambda: train.run(trial, SILENT, None),
        "oof-ensemble": lambda: oof_ensemble.run(trial, SILENT),
        "tta-predict": lambda: tta_predict.run(trial, SILENT),
        "submission batch": lambda: measured.update(_submission_batch(trial, data)),
        "real batch": lambda: measured.update(_full_batches(real, trial, data, measured)),
    }
    for name, work in talk.track(trials.items(), len(trials), "check"):
        began = time.perf_counter()
        try:
            work()
        except Exception as error:  # the very thing looked for: whatever would fail on the last night
            if debug:
                raise
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            report.findings.append(Finding(name, "failed", f"{kind}{' '.join(str(error).split())[:300]}"))
            return
        seconds[name] = time.perf_counter() - began
        report.findings.append(Finding(name, "ok", _said(name, seconds, measured)))
    report.findings += [memory_use(measured, len(real.folds)), disk_space(real, data, free, measured)]
    report.estimates += check_estimates.of_stages(real, data, seconds, measured)


def _said(name: str, seconds: dict[str, float], measured: dict[str, Any]) -> str:
    if name == "train":
        return f"two folds, one epoch each, {seconds[name]:.1f} s"
    if name == "submission batch":
        return f"{measured['predicted']} photos in every view"
    if name == "real batch":
        return f"{measured['batch']} photos a step, and the smallest batch of an epoch, {measured['smallest']}"
    return f"{seconds[name]:.1f} s"


def _submission_batch(trial: Params, data: Data) -> dict[str, Any]:
    """Predict a batch as large as tta-predict's largest in every view, on the trial's eval photos repeated."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    names = [str(name) for name in pd.read_csv(paths.EVAL)["ImageID"]]
    pixels = pixel_cache.open_cache(paths.EVAL_PIXELS, len(names), trial)
    torch.set_num_threads(cores.available())  # as in tta-predict; the trial's training has taken those of a fold
    size = predict.batch_size(trial, predict.accelerator(trial).device)
    sizes = sorted({len(part) for part in loader.split(np.arange(len(data.eval_ids)), size)})
    net = model.load(paths.weights(0))
    few = np.resize(np.arange(len(names)), min(sizes[0], EVAL_PHOTOS))
    predict.of_views(net, pixels, few, trial.tta.views, trial)  # warms up
    began = time.perf_counter()
    many = np.resize(np.arange(len(names)), sizes[-1])
    views = len(predict.of_views(net, pixels, many, trial.tta.views, trial))
    rate = views * len(many) / (time.perf_counter() - began)
    return {"predicted": sizes[-1], "predict_rate": rate, "predict_peak": _peak()}


def _full_batches(real: Params, trial: Params, data: Data, measured: dict[str, Any]) -> dict[str, Any]:
    """Steps at the real batch size, reading and augmentation included, and validation, on the trial's photos repeated."""
    fold = open_fold(trial, 0)
    on_side = len(data.photos) * (len(real.folds) - 1) // len(real.folds)
    sizes = sorted({len(part) for part in loader.training_split(np.arange(on_side), real)})
    tiled = FoldData(
        fold.task,
        fold.pixels,
        fold.labels,
        fold.train_labels,
        fold.ages,
        train=np.resize(fold.train, sizes[-1] * MEASURED_STEPS),
        val=np.resize(fold.val, max(len(fold.val), 2 * real.train.batch_size)),
    )
    learner = start(trial, tiled, 0, 1e-6, predict.accelerator(trial), SILENT)
    goal = objective.make(trial, tiled.class_counts)
    jobs = _as_folds_will_train(learner, real)
    set_mode(learner, trial.model.freeze_epochs)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    _steps(learner, goal, [sizes[0]])  # the smallest batch, which also warms up
    took = _steps(learner, goal, [sizes[-1]] * MEASURED_STEPS)
    # What only the last epochs do: ldam's deferred re-weighting.
    _steps(learner, objective.make(trial, tiled.class_counts, progress=1.0), [sizes[-1]])
    validation.validate(learner, goal)
    began = time.perf_counter()
    validation.validate(learner, goal)
    validated = time.perf_counter() - began
    keeper = Keeper("trial", 0, 0, 1, 0.0)
    keeper.save(learner, Progress())
    return {
        "jobs": jobs,
        "batch": sizes[-1],
        "smallest": sizes[0],
        "parts": learner.parts,
        "train_rate": 1 / took,
        "val_rate": len(tiled.val) / validated,
        "peak": max(_peak(), measured["predict_peak"]),
        "checkpoint_bytes": keeper.path.stat().st_size,
        "weights_bytes": paths.weights(0).stat().st_size,
        "photo_bytes": pixel_cache.bytes_a_photo(fold.pixels),
    }


def _as_folds_will_train(learner: Learner, real: Params) -> int:
    """Set torch's threads to what a fold of the real run will have; how many folds it will train at a time."""
    learner.params = learner.params.model_copy(update={"folds": real.folds})
    found = lr_json.read(learner.params)
    of_folds = cpu_threads.choose(learner.params, learner.accelerator.device.type, found.cores)
    write_json(paths.LR_CHOSEN, found.model_dump() | {"threads": of_folds})
    torch.set_num_threads(min(of_folds.values()))
    return folds.number_of_jobs(real)


def _steps(learner: Learner, goal: objective.Objective, sizes: list[int]) -> float:
    """Seconds a photo, of steps with batches of these sizes; ends early when MEASURED_SECONDS are over."""
    order, photos = learner.data.train[: sum(sizes)], 0
    params = learner.params.model_copy(
        update={"train": learner.params.train.model_copy(update={"batch_size": sizes[0]})}
    )
    began = time.perf_counter()
    for number, batch in enumerate(loader.training(params, learner.data, 0, 0, order, learner.augment)):
        parts = step(learner, goal, batch, 1e-6, number)
        photos += len(batch.which)
        if time.perf_counter() - began > MEASURED_SECONDS:
            break
    float(sum(parts.values()))  # waits for the GPU
    return (time.perf_counter() - began) / photos


def _peak() -> int:
    """Largest memory in use so far, bytes: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def memory_use(measured: dict[str, Any], folds: int) -> Finding:
    """Whether the peak of the trial, and on a CPU that of all folds at a time, fits what this process may use."""
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        where = torch.cuda.get_device_name(0)
    else:
        total, where = memory.total(), "main memory"
    detail = f"{memory.in_words(measured['peak'])} of {memory.in_words(total)} ({where}) at the real batch"
    if measured["parts"] > 1:
        return Finding("memory", "warning", f"{detail}; batches are cut into {measured['parts']} pieces (auto_batch)")
    if measured["peak"] > 0.9 * total:
        return Finding("memory", "warning", f"{detail}; that is close: lower train.batch_size or set train.auto_batch")
    together = 1 if torch.cuda.is_available() else min(measured["jobs"], folds)
    if together * measured["peak"] > 0.9 * total:
        fit = int(0.9 * total // measured["peak"])
        return Finding("memory", "warning", f"{detail}, and {together} folds train at a time: set parallel.jobs: {fit}")
    return Finding("memory", "ok", detail)


def disk_space(params: Params, data: Data, free: int, measured: dict[str, Any]) -> Finding:
    """Pixel caches, checkpoints, and weights twice (workspace and DVC cache) against `free` bytes, which must count the
    pixel caches that are there already.

    `checkpoint_bytes` is before the first epoch: later the selected epoch's weights join. A checkpoint's successor is
    written beside it.
    """
    trainings = len(params.folds) * params.train.repeats
    checkpoint = measured["checkpoint_bytes"] + measured["weights_bytes"]
    needed = (len(data.photos) + len(data.eval_ids)) * measured["photo_bytes"]
    needed += trainings * (2 * measured["weights_bytes"] + checkpoint) + checkpoint
    detail = f"{memory.in_words(needed)} needed (pixel caches, checkpoints, weights), {memory.in_words(free)} free"
    return Finding("disk space", "ok" if needed < 0.9 * free else "failed", detail)
