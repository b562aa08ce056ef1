"""Photos/s of a training epoch over photos/s on one resident synthetic batch: how much of the model's speed the input costs.

python bench/input.py [--model NAME] [--rounds 5]      (after `make demo`, in the project folder; prints JSON)

The ceiling runs forward, backward and optimizer on the same float batch again and again: no reading, no augmentation,
no normalisation. Epoch and ceiling take turns, so that a busy machine slows both; the medians' ratio is reported.
"""

import argparse
import json
import statistics
import time

import torch

from stages.data.fold import open_fold
from stages.learn import loader, objective, predict
from stages.learn.learner import Learner, set_mode, start
from stages.learn.step import step
from stages.params import load
from stages.talk import SILENT

LR = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="timm model, default that of params.yaml")
    parser.add_argument("--pipeline", help="augment.pipeline, default that of params.yaml")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    params = load()
    if options.model:
        params = params.model_copy(update={"model": params.model.model_copy(update={"name": options.model})})
    if options.pipeline:
        params = params.model_copy(update={"augment": params.augment.model_copy(update={"pipeline": options.pipeline})})
    data = open_fold(params, 0)
    learner = start(params, data, 0, LR, predict.accelerator(params), SILENT)
    goal = objective.make(params, data.class_counts)
    epoch(learner, goal, 0)
    ceiling(learner, goal)
    epochs, ceilings = [], []
    for number in range(options.rounds):
        ceilings.append(ceiling(learner, goal))
        epochs.append(epoch(learner, goal, number))
    result = {
        "model": params.model.name,
        "pipeline": params.augment.pipeline,
        "size": [params.image.height, params.image.width],
        "threads": torch.get_num_threads(),
        "epoch_photos_per_second": statistics.median(epochs),
        "ceiling_photos_per_second": statistics.median(ceilings),
    }
    result["ratio"] = result["epoch_photos_per_second"] / result["ceiling_photos_per_second"]
    print(json.dumps(result))


def epoch(learner: Learner, goal: objective.Objective, number: int) -> float:
    """Photos/s of a real training epoch: reading, augmentation, normalisation, step."""
    set_mode(learner, 0)
    order = loader.epoch_order(learner.params, learner.data, 0, number)
    began = time.perf_counter()
    for place, batch in enumerate(loader.training(learner.params, learner.data, 0, number, order, learner.augment)):
        step(learner, goal, batch, LR, place)
    _wait()
    return len(order) / (time.perf_counter() - began)


def ceiling(learner: Learner, goal: objective.Objective) -> float:
    """Photos/s of forward, backward and optimizer on one batch that is there already."""
    set_mode(learner, 0)
    image, size = learner.params.image, learner.params.train.batch_size
    photos = torch.randn(size, 3, image.height, image.width, device=learner.mean.device).to(
        memory_format=torch.channels_last
    )
    labels = torch.randint(0, 18, (size,), device=learner.mean.device)
    ages = torch.full((size,), 30.0, device=learner.mean.device)
    steps = len(loader.split(learner.data.train, size))
    began = time.perf_counter()
    for _ in range(steps):
        with learner.accelerator.autocast():
            raw, age = learner.model(photos)
        loss = torch.stack(list(goal(raw, labels, age, ages).values())).sum()
        learner.optimizer.zero_grad(set_to_none=True)
        learner.accelerator.backward(loss)
        learner.optimizer.step()
    _wait()
    return steps * size / (time.perf_counter() - began)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
