"""How fast the stages are, measured by `maskcli check`: batches as large as the real run's, on the trial's photos repeated."""

import sys
import time
from typing import Any

import numpy as np
import psutil
import torch

from stages.base import cores, gpu, paths
from stages.base.files import write_json
from stages.base.talk import SILENT
from stages.by_hand import folds
from stages.by_hand.check_trial import EVAL_PHOTOS, Trial
from stages.data import photos, pixel_cache
from stages.data.fold_data import FoldData, open_fold
from stages.learn import cpu_threads, loader, model, objective, predict, validation
from stages.learn.checkpoint import Keeper
from stages.learn.learner import Learner, set_mode, start
from stages.learn.progress import Progress
from stages.learn.step import step
from stages.params.schema import Params
from stages.records import lr_json

MEASURED_STEPS = 6
MEASURED_SECONDS = 4.0  # of steps, at most


def of_submission(trial: Trial) -> dict[str, Any]:
    """Predict a batch as large as tta-predict's largest in every view, on the trial's eval photos repeated."""
    params = trial.params
    if gpu.usable():
        torch.cuda.reset_peak_memory_stats()
    names = photos.read_eval()["ImageID"]
    pixels = pixel_cache.open_cache(paths.EVAL_PIXELS, len(names), params)
    torch.set_num_threads(cores.available())  # as in tta-predict; the trial's training has taken those of a fold
    size = predict.batch_size(params, predict.accelerator(params).device)
    sizes = sorted({len(part) for part in loader.split(np.arange(len(trial.found.eval)), size)})
    net = model.load(paths.weights(0), params.plugins)
    few = np.resize(np.arange(len(names)), min(sizes[0], EVAL_PHOTOS))
    predict.of_views(net, predict.Asked(net.architecture.task, pixels, few, params.tta.views), params)  # warms up
    began = time.perf_counter()
    many = np.resize(np.arange(len(names)), sizes[-1])
    views = len(predict.of_views(net, predict.Asked(net.architecture.task, pixels, many, params.tta.views), params))
    rate = views * len(many) / (time.perf_counter() - began)
    return {"predicted": sizes[-1], "predict_rate": rate, "predict_peak": _peak()}


def of_training(trial: Trial, measured: dict[str, Any]) -> dict[str, Any]:
    """Steps at the real batch size, reading and augmentation included, and validation, on the trial's photos repeated."""
    real, params = trial.real, trial.params
    fold = open_fold(params, 0)
    on_side = len(trial.found.photos) * (len(real.folds) - 1) // len(real.folds)
    sizes = sorted({len(part) for part in loader.training_split(np.arange(on_side), real)})
    tiled = FoldData(
        fold.task,
        fold.pixels,
        fold.labels,
        fold.train_labels,
        fold.numbers,
        train=np.resize(fold.train, sizes[-1] * MEASURED_STEPS),
        val=np.resize(fold.val, max(len(fold.val), 2 * real.train.batch_size)),
    )
    learner = start(params, tiled, 0, 1e-6, predict.accelerator(params), SILENT)
    goal = objective.make(params, tiled.task, tiled.class_counts)
    jobs = _as_folds_will_train(learner, real)
    set_mode(learner, params.model.freeze_epochs)
    if gpu.usable():
        torch.cuda.reset_peak_memory_stats()
    _steps(learner, goal, [sizes[0]])  # the smallest batch, which also warms up
    took = _steps(learner, goal, [sizes[-1]] * MEASURED_STEPS)
    # What only the last epochs do: ldam's deferred re-weighting.
    _steps(learner, objective.make(params, tiled.task, tiled.class_counts, progress=1.0), [sizes[-1]])
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
        "peak": max(_peak(), measured.get("predict_peak", 0)),
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
    order, done = learner.data.train[: sum(sizes)], 0
    params = learner.params.model_copy(
        update={"train": learner.params.train.model_copy(update={"batch_size": sizes[0]})}
    )
    began = time.perf_counter()
    for number, batch in enumerate(loader.training(params, learner.data, order, learner.augment, loader.Place(0, 0))):
        parts = step(learner, goal, batch, 1e-6, number)
        done += len(batch.which)
        if time.perf_counter() - began > MEASURED_SECONDS:
            break
    float(sum(parts.values()))  # waits for the GPU
    return (time.perf_counter() - began) / done


def _peak() -> int:
    """Largest memory in use so far, bytes: of the GPU where there is one, else of this process."""
    if gpu.usable():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
