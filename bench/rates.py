"""Photos/s of a real training epoch, and of its ceiling: the same step on one batch that is on the device already."""

import time

import torch

from stages.learn import loader
from stages.learn.learner import Learner, set_mode
from stages.learn.objective import Objective
from stages.learn.step import Mixed, learn, step


def epoch(learner: Learner, goal: Objective, lr: float, number: int = 0) -> float:
    """Photos/s with reading, augmentation, normalisation and step; number: of the epoch, which its order follows."""
    set_mode(learner, 0)
    order = loader.epoch_order(learner.params, learner.data, 0, number)
    began = time.perf_counter()
    place = loader.Place(0, number)
    batches = loader.training(learner.params, learner.data, order, learner.augment, place, learner.making)
    for position, batch in enumerate(batches):
        step(learner, goal, batch, lr, position)
    wait()
    return len(order) / (time.perf_counter() - began)


def ceiling(
    learner: Learner, goal: Objective, steps: int, size: int, layout: torch.memory_format = torch.channels_last
) -> float:
    """Photos/s of forward, backward and optimizer alone, on a normalised batch [size, 3, H, W] in the model's layout."""
    set_mode(learner, 0)
    batch = resident(learner, size, layout)
    wait()
    began = time.perf_counter()
    for _ in range(steps):
        with learner.accelerator.autocast():
            raw, regression = learner.model(batch.photos)
        loss = torch.stack(list(goal(raw, batch.labels, regression, batch.numbers).values())).sum()
        learner.optimizer.zero_grad(set_to_none=True)
        learner.accelerator.backward(loss)
        learner.optimizer.step()
    wait()
    return steps * size / (time.perf_counter() - began)


def learning(learner: Learner, goal: Objective, number: int, batch: Mixed) -> float:
    """Photos/s of so many of training's own steps on a batch that lies on the device, as CUDA graphs where it has these."""
    set_mode(learner, 0)
    wait()
    began = time.perf_counter()
    for seed in range(number):
        learn(learner, goal, batch, seed)
    wait()
    return number * len(batch.photos) / (time.perf_counter() - began)


def resident(learner: Learner, size: int, layout: torch.memory_format = torch.channels_last) -> Mixed:
    """A batch of noise on the learner's device, as training makes its batches."""
    image, device = learner.params.image, learner.mean.device
    photos = torch.randn(size, 3, image.height, image.width, device=device).to(memory_format=layout)
    labels = torch.randint(0, learner.data.task.classes, (size,), device=device)
    return Mixed(photos, labels, torch.full((size,), 30.0, device=device), 1.0, None)


def wait() -> None:
    """For a GPU to end what it was given, before a clock is read."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
