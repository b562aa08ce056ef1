"""Heat maps of training photos, each by the models of its own fold, which never saw its group."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.data import photos, task_and_classes
from stages.data.pixel_cache import open_cache
from stages.learn import grad_cam, model, same_task
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record


@dataclass(frozen=True)
class Asked:
    """Photos [n] by the column `file` of photos.csv, the fold of each, and the class of each that is asked about."""

    photo: np.ndarray
    fold: np.ndarray
    classes: np.ndarray
    repeats: int


@dataclass(frozen=True)
class Maps:
    """What the models saw and where they looked.

    heat: by axis, or by None for the class as a whole: a model of `targets: factored` tells each axis by itself.
    """

    pixels: np.ndarray  # uint8 [n, H + 2m, W + 2m, 3]
    heat: dict[int | None, np.ndarray]  # float32 [n, H, W] in 0..1, mean over repeats
    places: tuple[int, int]  # of the map, down and across


def of_folds(asked: Asked, record: Record, params: Params, talk: Talk) -> Maps:
    """Maps by the workspace's weights, which must be those of the run of `record`.

    Raises UserError where weights or photos are not here, or are of another run, and for a model without a map.
    """
    own = task_and_classes.read(params)
    files = {fold: [paths.weights(fold, repeat) for repeat in range(asked.repeats)] for fold in np.unique(asked.fold)}
    steps = [(fold, path) for fold, several in files.items() for path in several]
    for _, path in steps:
        _check_run(path, record)
    table = photos.read(own)
    row = {name: number for number, name in enumerate(table["file"])}
    if missing := [name for name in asked.photo if name not in row]:
        raise UserError(f"{missing[0]}: is not in {paths.PHOTOS}; run `dvc repro`")
    cache = open_cache(paths.PIXELS, len(table), params)
    pixels = np.asarray(cache[np.array([row[name] for name in asked.photo], int)])
    factored = params.targets == "factored" and len(own.axes) > 1
    axes: list[int | None] = list(range(len(own.axes))) if factored else [None]
    height, width = params.image.height, params.image.width
    heat = {axis: np.zeros((len(pixels), height, width), np.float32) for axis in axes}
    places = (0, 0)
    for fold, path in talk.track(steps, len(steps), "heat maps"):
        net = model.load(path, params.plugins)
        same_task.check(net.architecture.task, own, str(path))
        model.check_image(net.architecture, params, str(path))
        places, mine = grad_cam.places(net), asked.fold == fold
        for axis, sums in heat.items():
            sums[mine] += grad_cam.explain(net, pixels[mine], asked.classes[mine], params, axis)
    return Maps(pixels, {axis: sums / asked.repeats for axis, sums in heat.items()}, places)


def _check_run(path: Path, record: Record) -> None:
    """Raise UserError where these are not weights of that run."""
    try:
        trained = run_record.mapping(run_record.described_in(path).get("trained"))
    except (OSError, ValueError):
        raise UserError(f"{path}: not here") from None
    if not record.run or trained.get("run") != record.run:
        raise UserError(f"{path}: is of another training")
