"""check: every stage, end to end, on a handful of photos in a temporary folder, with the real params, model and device.

It finds in a minute what would fail late, measures speed on the way, and says how long `dvc repro` will take.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages import eda, kfold, lr_find, oof_ensemble, prepare, train, tta_predict
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.by_hand import check_batches, check_estimates, check_findings, check_trial
from stages.by_hand.check_findings import Finding, Report
from stages.by_hand.check_trial import Trial
from stages.data import pixel_cache
from stages.params.schema import Params

LISTED = " among the photos tried; `maskcli prepare` lists all there are"


def run(params: Params, talk: Talk, debug: bool = False) -> Report:
    """Look at everything, in the order in which `dvc repro` would; nothing is written but in a temporary folder.

    debug: raise what a stage raises, instead of reporting it.
    """
    report = Report()
    check_findings.look_at_account(report)
    check_findings.look_at_dvc_cache(report)
    check_findings.look_at_project_folder(report)
    found = check_findings.look_at_data(params, report)
    if found is None:
        return report
    check_findings.look_at_pseudo_labels(params, found, report)
    check_findings.look_at_starting_weights(params, report)
    if not check_findings.look_at_plugins(params, report):
        return report  # nothing would run
    cached = sum(path.stat().st_size for path in (paths.PIXELS, paths.EVAL_PIXELS) if path.is_file())
    free = shutil.disk_usage(Path.cwd()).free + cached  # prepare puts its new caches in their place
    # On Windows a file cannot be removed while it is mapped.
    with tempfile.TemporaryDirectory(prefix="maskcli-check-", ignore_cleanup_errors=True) as folder:
        small = check_trial.params_of(params, found, pixel_cache.fits(len(found.photos) + len(found.eval), params))
        check_trial.lay_out(Path(folder), params, small, found)
        with contextlib.chdir(folder):
            _try_stages(Trial(params, small, found, free), report, talk, debug)
    return report


def _try_stages(trial: Trial, report: Report, talk: Talk, debug: bool) -> None:
    """Run the stages in the working folder, which holds the trial; stop at the first that fails."""
    seconds: dict[str, float] = {}
    measured: dict[str, Any] = {}
    works = _works(trial, measured)
    for name, work in talk.track(works.items(), len(works), "check"):
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
    real, found = trial.real, trial.found
    report.findings.append(check_findings.memory_use(measured, len(real.folds)))
    report.findings.append(check_findings.disk_space(real, found, trial.free, measured))
    report.estimates += check_estimates.of_stages(trial, seconds, measured)


def _works(trial: Trial, measured: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """What is tried, by name, in its order; what is about eval photos only where there are some."""
    small = trial.params
    works: dict[str, Callable[[], Any]] = {
        "prepare": lambda: prepare.run(small, SILENT, LISTED),
        "eda": lambda: eda.run(small, SILENT),
        "kfold": lambda: kfold.run(small, SILENT),
        "lr-find": lambda: lr_find.run(small, SILENT),
        "train": lambda: train.run(small, SILENT, None),
        "oof-ensemble": lambda: oof_ensemble.run(small, SILENT),
    }
    if len(trial.found.eval):
        works["tta-predict"] = lambda: tta_predict.run(small, SILENT)
        works["submission batch"] = lambda: measured.update(check_batches.of_submission(trial))
    works["real batch"] = lambda: measured.update(check_batches.of_training(trial, measured))
    return works


def _said(name: str, seconds: dict[str, float], measured: dict[str, Any]) -> str:
    if name == "train":
        return f"two folds, one epoch each, {seconds[name]:.1f} s"
    if name == "submission batch":
        return f"{measured['predicted']} photos in every view"
    if name == "real batch":
        return f"{measured['batch']} photos a step, and the smallest batch of an epoch, {measured['smallest']}"
    return f"{seconds[name]:.1f} s"
