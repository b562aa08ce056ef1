"""Batches from the pixel cache, made ahead of the model by threads."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from stages.base import cores, gpu, paths
from stages.base.errors import UserError
from stages.data.fold_data import FoldData, Pixels
from stages.learn import resident_pixels, samplers
from stages.learn.augment import Augment, centre
from stages.learn.resident_pixels import Resident
from stages.params.schema import Params

Item = TypeVar("Item")
Made = TypeVar("Made")
AHEAD = 3  # batches made before they are asked for, and one more for each thread but the first
CHEAP = 0.05  # share of the time that making batches may take the reader itself
WATCH = 8  # batches after which it is seen whether one more thread is needed
WAITED = 0.1  # share of time spent waiting for batches from which it is
LEAST = 2  # photos a process trains on in a step: batch norm has no variance of one value, mixup no pair of one photo


@dataclass(frozen=True)
class Batch:
    photos: Tensor  # uint8 [n, H, W, 3]
    labels: Tensor  # [n] class numbers of `which`
    numbers: Tensor  # [n] of the regressed axis, in its own unit, float32; NaN where unknown
    which: np.ndarray  # positions in the pixel cache
    weight: float = 1.0  # of its mean loss; of several processes those with more photos of a batch have more


@dataclass
class Makers:
    """How many threads it took to make batches as fast as they are used: a training's next epoch begins with as many.

    Of time alone: what a batch holds depends on no thread.
    """

    threads: int = 1


def epoch_order(params: Params, data: FoldData, fold: int, epoch: int) -> np.ndarray:
    """Positions [len(data.train)] that this epoch draws, in order."""
    rng = np.random.default_rng([params.seed, fold, epoch, 0])
    chances = None if data.chances is None else data.chances[data.train]
    return data.train[samplers.draw(params.sampler, data.train_labels[data.train], rng, chances)]


def epoch_labels(params: Params, data: FoldData, fold: int, epoch: int) -> np.ndarray:
    """Labels [N] that this epoch learns: those of train_labels, mixed ones drawn anew.

    Over epochs the gradient is on average that of the mixed label itself, with every loss that is linear in its target, as
    all that sum over photos are; and none of them needs to know.
    """
    if data.mixed is None:
        return data.train_labels
    rng = np.random.default_rng([params.seed, fold, epoch, 2])
    ends = data.mixed.chances.cumsum(1)
    drawn = (rng.random((len(ends), 1)) * ends[:, -1:] >= ends).sum(1)
    labels = data.train_labels.copy()
    labels[data.mixed.which] = drawn
    return labels


def split(order: np.ndarray, batch_size: int, least: int = 1) -> list[np.ndarray]:
    """Cut an order [N] into ceil(N / batch_size) batches of equal size, give or take one; where these would hold less than
    `least`, into fewer.

    Every photo is seen, and no tiny last batch upsets batch norm.
    """
    return np.array_split(order, min(-(-len(order) // batch_size), max(1, len(order) // least)))


def training_split(order: np.ndarray, params: Params, processes: int = 1) -> list[np.ndarray]:
    """The batches of an epoch, of which each process has LEAST photos or more (see `check_batches`).

    On a GPU all have one size, since cuDNN compiles its kernels anew for each, 10 s for mobilenetv2_100; the photos that are
    over, fewer than there are batches and others in every epoch, are left out.
    """
    batches = split(order, params.train.batch_size, LEAST * processes)
    return [batch[: len(batches[-1])] for batch in batches] if gpu.usable() else batches


def check_batches(params: Params, photos: int, processes: int) -> None:
    """Raise UserError where a training side of so many photos, or train.batch_size, leaves a process less than LEAST."""
    needed = LEAST * processes
    among = f" in each of {processes} processes" if processes > 1 else ""
    if params.train.batch_size < needed:
        raise UserError(
            f"params.yaml: train.batch_size: `{params.train.batch_size}` is less than {LEAST} photos{among}; set {needed} or more"
        )
    if photos < needed:
        raise UserError(
            f"{paths.FOLDS}: a training side has {photos} photos, and a batch needs {LEAST}{among}; add photos"
        )


@dataclass(frozen=True)
class Place:
    """Where in a training batches stand."""

    fold: int
    epoch: int
    first_step: int = 0
    # (index, number) of processes that share every batch: all draw the same order, so that an epoch holds the same photos
    # however many there are.
    process: tuple[int, int] = (0, 1)


def training(
    params: Params,
    data: FoldData,
    order: np.ndarray,
    augment: Augment,
    place: Place,
    makers: Makers | None = None,
) -> Iterator[Batch]:
    """Augmented training batches of the photos in `order`; what a batch holds follows from (seed, fold, epoch, step) alone."""
    index, processes = place.process

    def load(step: int) -> Batch:
        which = batches[step]
        rng = np.random.default_rng([params.seed, place.fold, place.epoch, 1, step] + [index] * (index > 0))
        # Reading in the file's order is kinder to disks; the order within a batch does not matter, but where photos are mixed:
        # with the batch's reverse, and so by the file's order, often by class, those of the first with those of the last.
        read = np.sort(which)[index::processes]
        mixes = params.augment.mixup or params.augment.cutmix
        places = rng.permutation(len(read)) if mixes else slice(None)
        own = read[places]
        if isinstance(data.pixels, Resident):
            photos = resident_pixels.augmented(data.pixels, own, params, rng)
        else:
            photos = _pinned(torch.from_numpy(augment(data.pixels[read][places], rng)))
        batch = _batch(photos, labels, data.numbers, own)
        return replace(batch, weight=len(own) * processes / len(which))

    labels = epoch_labels(params, data, place.fold, place.epoch)
    batches = training_split(order, params, processes)
    if isinstance(data.pixels, Resident):
        return map(load, range(place.first_step, len(batches)))
    return _ahead(load, range(place.first_step, len(batches)), makers)


def evaluation(pixels: Pixels, positions: np.ndarray, margin: int, batch_size: int) -> Iterator[Tensor]:
    """Centre crops uint8 [n, H, W, 3] of the photos at `positions`, in order."""
    return centres(pixels, split(positions, batch_size), margin)


def centres(pixels: Pixels, batches: list[np.ndarray], margin: int, makers: Makers | None = None) -> Iterator[Tensor]:
    """Centre crops uint8 [n, H, W, 3] of the photos of each batch."""
    if isinstance(pixels, Resident):
        return resident_pixels.centres(pixels, batches, margin)

    def load(which: np.ndarray) -> Tensor:
        return _pinned(torch.from_numpy(np.ascontiguousarray(centre(pixels[which], margin))))

    return _ahead(load, batches, makers)


def _batch(photos: Tensor, labels: np.ndarray, numbers: np.ndarray, which: np.ndarray) -> Batch:
    return Batch(
        photos,
        _pinned(torch.from_numpy(labels[which].astype(np.int64))),
        _pinned(torch.from_numpy(numbers[which].astype(np.float32))),
        which,
    )


def _pinned(tensor: Tensor) -> Tensor:
    """The tensor in page-locked memory where there is a CUDA GPU, whose copy then need not wait; else itself."""
    return tensor.pin_memory() if gpu.usable() else tensor


def _ahead(make: Callable[[Item], Made], items: Iterable[Item], makers: Makers | None = None) -> Iterator[Made]:
    """map(make, items), computed early in threads where that pays; order and results are those of map.

    On a CPU the reader makes its batches itself as long as that takes less than CHEAP of the time: a thread beside a model
    that has all cores costs more, since threads of the model then wait for the one that gave way.
    """
    left, makers = iter(items), makers or Makers()
    if not gpu.usable():
        making, made, since = 0.0, 0, time.perf_counter()
        for item in left:
            began = time.perf_counter()
            found = make(item)
            now = time.perf_counter()
            making, made = making + now - began, made + 1
            yield found
            if made > 1 and making > CHEAP * (time.perf_counter() - since):
                break
        else:
            return
    yield from _in_threads(make, left, makers)


def _in_threads(make: Callable[[Item], Made], items: Iterable[Item], makers: Makers) -> Iterator[Made]:
    """map(make, items), computed early in threads.

    As many begin as there were last time; the first time one. Where the reader spent more than WAITED of the time of WATCH
    batches waiting for them, there is one more, up to one a core, so that dear augmentation or decoding gets what it needs.
    """
    most = cores.usable()
    makers.threads = running = min(makers.threads, most)
    waited, asked, since = 0.0, 0, time.perf_counter()
    gate = threading.Semaphore(running)
    waiting: deque[Future[Made]] = deque()

    def gated(item: Item) -> Made:
        with gate:
            return make(item)

    with ThreadPoolExecutor(most) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(gated, item))
                if len(waiting) < AHEAD + running:
                    continue
                began = time.perf_counter()
                made = waiting.popleft().result()
                now = time.perf_counter()
                waited, asked = waited + now - began, asked + 1
                if asked == WATCH:
                    if waited > WAITED * (now - since) and running < most:
                        makers.threads = running = running + 1
                        gate.release()
                    waited, asked, since = 0.0, 0, now
                yield made
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
