"""The run key: a hash of everything that determines the trainings of a run, but for fold and repeat."""

from pathlib import Path

import torch

from stages.base import gpu, paths
from stages.base.environment import installed
from stages.base.errors import UserError
from stages.data import pixel_cache_record
from stages.learn import plugins, processes
from stages.params.keys import flat
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record

LIBRARIES = ("timm", "accelerate", "albumentations", "albucore", "opencv-python-headless", "numpy")
# Files, and folders with all below them.
CODE = (
    *(
        "stages/train.py",
        "stages/learn",
        "stages/data/fold_data.py",
        "stages/data/task_and_classes.py",
        "stages/data/pseudo_labelled_photos.py",
    ),
    "stages/judge/metrics.py",
)
# What finds wrong labels counts where it is used.
OF_LABEL_NOISE = ("stages/judge/label_suspects.py", "stages/judge/calibration.py", "stages/judge/nested_folds.py")


def record(params: Params, lr: float, processes: int = 1, threads: dict[int, int] | None = None) -> Record:
    """The record of a training with these params and this learning rate, its run key in it.

    Beside params, photos, labels, folds and starting weights: the pixels, this code, the versions of the libraries that
    compute, how many processes share the batches, and on a CPU how many threads add up sums (`threads` by fold; None: as
    torch has it now). Raises UserError where a pixel cache is damaged: it is hashed whole.
    """
    plugins.load(params.plugins)  # what is recorded is what computes
    pixels = [paths.PIXELS] if params.pseudo.is_off else [paths.PIXELS, paths.EVAL_PIXELS]
    on_gpu = gpu.usable()
    by_fold = {str(fold): count for fold, count in (threads or {}).items()}
    setting = {
        "torch": torch.__version__,
        "processes": processes,
        "threads": 0 if on_gpu else by_fold or torch.get_num_threads(),
        "libraries": {name: installed(name) for name in LIBRARIES},
        "code": code_digest(params),
        "pixel_cache": "-".join(pixel_cache_record.checked_digest(path)[:16] for path in pixels),
    }
    return run_record.made(params, lr, setting)


def check_alike(record: Record) -> None:
    """Wait for all the processes that train together; raise UserError, in all of them, where one was given something else than
    the first.
    """
    first, *others = processes.of_all(record)
    for number, other in enumerate(others, 1):
        if other.run != first.run:
            one, two = flat(first.model_dump(exclude={"run"})), flat(other.model_dump(exclude={"run"}))
            differing = sorted(key for key in one | two if one.get(key) != two.get(key))
            raise UserError(
                f"train: process {number} was given another training than process 0 "
                f"({', '.join(differing[: run_record.SHOWN])}); give its machine the same project folder, data and libraries"
            )


def code_digest(params: Params) -> str:
    return run_record.digest(*code(params))


def code(params: Params) -> list[Path]:
    """The files that train so. One that is not there is a mistake in CODE: its reader says so."""
    root = Path(__file__).resolve().parents[2]
    places = [root / place for place in (*CODE, *(() if params.label_noise.is_off else OF_LABEL_NOISE))]
    return sorted(path for place in places for path in (place.rglob("*.py") if place.is_dir() else [place]))
