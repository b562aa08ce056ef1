"""Photos/s of a real training epoch, and of its ceiling: the same step on one batch that is on the device already."""

import time

import torch

from stages.learn import loader
from stages.learn.learner import Learner, set_mode
from stages.learn.objective import Objective
from stages.learn.step import step


def epoch(learner: Learner, goal: Objective, lr: float, number: int = 0) -> float:
    """Photos/s with reading, augmentation, normalisation and step; number: of the epoch, which its order follows."""
    set_mode(learner, 0)
    order = loader.epoch_order(learner.params, learner.data, 0, number)
    began = time.perf_counter()
    batches = loader.training(learner.params, learner.data, order, learner.augment, loader.Place(0, number))
    for place, batch in enumerate(batches):
        step(learner, goal, batch, lr, place)
    wait()
    return len(order) / (time.perf_counter() - began)


def ceiling(
    learner: Learner, goal: Objective, steps: int, size: int, layout: torch.memory_format = torch.channels_last
) -> float:
    """Photos/s of forward, backward and optimizer alone, on a normalised batch [size, 3, H, W] in the model's layout."""
    set_mode(learner, 0)
    image, device = learner.params.image, learner.mean.device
    photos = torch.randn(size, 3, image.height, image.width, device=device).to(memory_format=layout)
    labels = torch.randint(0, learner.data.task.classes, (size,), device=device)
    numbers = torch.full((size,), 30.0, device=device)
    wait()
    began = time.perf_counter()
    for _ in range(steps):
        with learner.accelerator.autocast():
            raw, regression = learner.model(photos)
        loss = torch.stack(list(goal(raw, labels, regression, numbers).values())).sum()
        learner.optimizer.zero_grad(set_to_none=True)
        learner.accelerator.backward(loss)
        learner.optimizer.step()
    wait()
    return steps * size / (time.perf_counter() - began)


def wait() -> None:
    """For a GPU to end what it was given, before a clock is read."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
