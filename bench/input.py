"""Photos/s of training and validation over the same model on one resident batch: how much of its speed the input costs.

python bench/input.py [--rounds 13] [--only efficientnet_b0]       (about 6 minutes on 2 cores)

Ceiling: forward, backward and optimizer on one float batch that is there already, again and again: no reading, no
augmentation, no normalisation. Epoch: the real thing, from the pixel cache. Measured twice: one process with all cores, and
one process a core with a thread each, as folds side by side train. Ceiling and epoch take turns in pieces of about a
second, so that a slow moment of the machine meets both, and all processes change over at the same moment; a ratio is the
median of the rounds' own ratios.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rates
import scratch
import torch

from stages.base.cores import available
from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.learn import objective, predict
from stages.learn.learner import Learner, start
from stages.learn.objective import Objective
from stages.learn.validation import validate
from stages.params.load import load

LR = 1e-3
CONFIGS = (
    ("test_resnet", 64, 48),
    ("mobilenetv3_small_050", 64, 48),
    ("mobilenetv3_small_050", 128, 96),
    ("efficientnet_b0", 128, 96),
)
SECONDS = 1.2  # of one measurement, about
LAYOUTS_EVERY = 4  # rounds between two looks at the other memory layout
PAIRS = (("epoch", "ceiling", "input_ratio"), ("validation", "validation_ceiling", "input_ratio_validation"))


@dataclass(frozen=True)
class Job:
    """What one process measures."""

    folder: str
    model: str
    threads: int
    rounds: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=13)
    parser.add_argument("--only", help="part of a model's name")
    options = parser.parse_args()
    cores = available()
    goals: dict[str, float] = {}
    rows, layouts, ways = [], [], []
    with tempfile.TemporaryDirectory(prefix="maskcli-bench-") as folder:
        for (height, width), group in itertools.groupby(CONFIGS, key=lambda config: config[1:]):
            project = Path(folder) / f"{height}x{width}"
            image = {"height": height, "width": width}
            scratch.make(project, people=132, eval_people=6, changes={"image": image, "model": {"name": "test_resnet"}})
            scratch.run(project, "maskcli", "prepare")
            scratch.run(project, "maskcli", "kfold")
            for model, *_ in group:
                if options.only and options.only not in model:
                    continue
                name, together = f"{model} {height}x{width}", {}
                for processes, threads in dict.fromkeys([(1, cores), (cores, 1)]):
                    scratch.say(f"input: {name}, {processes} processes x {threads} threads")
                    found = side_by_side(Job(str(project), model, threads, options.rounds), processes)
                    together[processes] = sum(statistics.median(one["epoch"]) for one in found)
                    key = f"{model}_{height}x{width}_{processes}x{threads}"
                    for what, over, goal in PAIRS:
                        ratio, row = compared(found, what, over)
                        goals[f"{goal}_{key}"] = ratio
                        rows.append([name, f"{processes} x {threads}", what, *row])
                    plain = sum(statistics.median(one["contiguous"]) for one in found)
                    best = sum(statistics.median(one["ceiling"]) for one in found)
                    layouts.append([name, f"{processes} x {threads}", best, plain, round(best / plain, 2)])
                if cores > 1:
                    gain = together[cores] / together[1]
                    goals[f"folds_side_by_side_gain_{model}_{height}x{width}"] = round(gain, 4)
                    ways.append([name, together[1], together[cores], round(gain, 2)])
    columns = [
        "model",
        "processes x threads",
        "what",
        "photos/s",
        "ceiling, photos/s",
        "ratio",
        "middle half of rounds",
    ]
    tables = [
        scratch.table(
            "Training and validation from the pixel cache over one resident batch (`light` augmentation)", columns, rows
        ),
        scratch.table(
            f"One process with {cores} threads against {cores} single-thread processes, photos/s of training together",
            ["model", f"1 x {cores}", f"{cores} x 1", "gain"],
            ways,
        ),
        scratch.table(
            "Memory layout, ceiling in photos/s",
            ["model", "processes x threads", "channels_last", "contiguous", "gain"],
            layouts,
        ),
    ]
    scratch.report(
        goals, tables, [f"batch 32; an epoch is cut to what takes about {SECONDS} s; validation in batches of 64"]
    )


def compared(found: list[dict[str, list[float]]], what: str, over: str) -> tuple[float, list[Any]]:
    """Median of the rounds' ratios, all processes together; both medians, the ratio, and between what half of them lie."""
    tops, bottoms = (
        [sum(values) for values in zip(*(one[kind] for one in found), strict=True)] for kind in (what, over)
    )
    ratios = [a / b for a, b in zip(tops, bottoms, strict=True)]
    ratio = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else [ratio] * 3
    columns = [statistics.median(tops), statistics.median(bottoms), round(ratio, 3), f"{low:.3f} to {high:.3f}"]
    return round(ratio, 4), columns


def side_by_side(job: Job, processes: int) -> list[dict[str, list[float]]]:
    """Measure in several processes at once; photos/s of every round and kind, a process each."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    os.environ.update(OMP_NUM_THREADS=str(job.threads), PYTHONPATH=str(scratch.ROOT), PYTHONWARNINGS="ignore")
    pipes, workers = [], []
    for _ in range(processes):
        here, there = context.Pipe(duplex=False)
        worker = context.Process(target=measure, args=(job, barrier, there))
        worker.start()
        pipes.append(here)
        workers.append(worker)
    found = [pipe.recv() for pipe in pipes]
    for worker in workers:
        worker.join()
    return found


def measure(job: Job, barrier: Any, pipe: Any) -> None:
    """One process's whole life."""
    os.chdir(job.folder)
    torch.set_num_threads(job.threads)
    params = load()
    params = params.model_copy(update={"model": params.model.model_copy(update={"name": job.model})})
    data = open_fold(params, 0)
    learner = start(params, data, 0, LR, predict.accelerator(params), SILENT)
    goal = objective.make(params, data.task, data.class_counts)
    size = params.train.batch_size
    steps = max(4, min(len(data.train) // size, int(SECONDS / seconds_of(learner, goal, size))))
    learner.data = replace(data, train=data.train[: steps * size])
    kinds: dict[str, Callable[[], float]] = {
        "ceiling": lambda: rates.ceiling(learner, goal, steps, size),
        "epoch": lambda: rates.epoch(learner, goal, LR),
        "validation_ceiling": lambda: validation_ceiling(learner),
        "validation": lambda: validation(learner, goal),
        "contiguous": lambda: contiguous(learner, goal, max(2, steps // 3), size),
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(job.rounds + 1):
        for kind, work in kinds.items():
            if kind == "contiguous" and number and number % LAYOUTS_EVERY != 1:
                continue
            barrier.wait()
            rate = work()
            if number:  # the first round warms up
                found[kind].append(rate)
    pipe.send(found)


def seconds_of(learner: Learner, goal: Objective, size: int) -> float:
    """Of one step."""
    rates.ceiling(learner, goal, 2, size)
    return size / rates.ceiling(learner, goal, 3, size)


def contiguous(learner: Learner, goal: Objective, steps: int, size: int) -> float:
    """The ceiling in torch's own memory layout."""
    learner.bare.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    rate = rates.ceiling(learner, goal, steps, size, torch.contiguous_format)
    learner.bare.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return rate


def validation(learner: Learner, goal: Objective) -> float:
    """Photos/s of a whole validation, scores included."""
    began = time.perf_counter()
    validate(learner, goal)
    return len(learner.data.val) / (time.perf_counter() - began)


def validation_ceiling(learner: Learner) -> float:
    """Photos/s of forward passes alone, on one batch of the size that validation takes."""
    image, size = learner.params.image, 2 * learner.params.train.batch_size
    photos = torch.randn(size, 3, image.height, image.width).to(memory_format=torch.channels_last)
    net = learner.validated.eval()
    batches = -(-len(learner.data.val) // size)
    began = time.perf_counter()
    with torch.inference_mode():
        for _ in range(batches):
            net(photos)
    return batches * size / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
