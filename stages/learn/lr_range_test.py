"""Learning-rate range test (Smith 2017, arXiv:1506.01186): how many steps it takes, and the rate that its curve suggests.

The reading and its two constants were fitted on curves and trainings of three models: docs/learning_rate.md.
"""

import math
from dataclasses import dataclass

import numpy as np

from stages.params.schema import Params

WIDTH = 0.3  # decades; standard deviation of the kernel that smooths the curve
BEGIN = 0.25  # share of the steps, the first ones, whose mean loss is where the curve begins
LEAST_FALL = 1e-3  # share of the first losses, beyond their scatter
FACTOR = 7.5  # from the middle of the fall to the peak learning rate of a training
COST = 0.05  # share of all folds' steps that the test may take, within LEAST and MOST
LEAST, MOST = 50, 100  # steps: with fewer the readings of seeds spread, with more they lie no closer together
PER_DECADE = 16.5  # steps in a decade of learning rates, for which FACTOR was fitted
SLOWER = 0.6  # power of the steps in a decade by which the middle of the fall moves to smaller rates


@dataclass(frozen=True)
class Reading:
    """What is read off a curve."""

    smoothed: np.ndarray  # [N] losses
    begin: float  # loss
    middle: float  # learning rate at which the loss has fallen half the way from begin to its lowest
    lowest: float  # learning rate of the lowest smoothed loss
    factor: float  # the suggestion is so many times the middle

    @property
    def suggestion(self) -> float:
        return self.factor * self.middle


def number_of_steps(params: Params, photos: int) -> int:
    """Steps of the test for training sides of so many photos."""
    asked = params.lr_find.steps
    if asked != "auto":
        return asked
    trainings = len(params.folds) * params.train.repeats
    total = trainings * params.train.epochs * math.ceil(photos / params.train.batch_size)
    return min(MOST, max(LEAST, int(COST * total)))


def smoothed(lrs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Losses [N] averaged by a Gaussian kernel over log lr (Nadaraya 1964); centred, so that no fall comes late, however many
    steps a decade has.
    """
    places = np.log10(lrs)
    weights = np.exp(-0.5 * ((places[:, None] - places[None]) / WIDTH) ** 2)
    return weights @ losses / weights.sum(1)


def read(lrs: np.ndarray, losses: np.ndarray) -> Reading | None:
    """Where a curve of losses [N] over rising learning rates [N] has fallen half the way, and what that suggests.

    None where it does not fall by more than its batches' losses scatter (their standard deviation around the curve). Half
    the way is where the curve is steep, so scatter moves it little; a minimum or a steepest slope moves far. The test learns
    while it measures: the more steps a decade has, the smaller the rates at which the loss has fallen, by SLOWER.
    """
    lrs, losses = np.asarray(lrs, np.float64), np.asarray(losses, np.float64)
    if len(lrs) != len(losses) or len(lrs) < 3:
        raise ValueError("needs as many learning rates as losses, and three or more of them")
    smooth = smoothed(lrs, losses)
    begin, lowest = float(losses[: max(1, int(BEGIN * len(losses)))].mean()), int(smooth.argmin())
    half = (begin + smooth[lowest]) / 2
    first = int((smooth <= half).argmax())
    scatter = float((losses[: lowest + 1] - smooth[: lowest + 1]).std())
    if first == 0 or begin - smooth[lowest] <= scatter + LEAST_FALL * begin:
        return None
    share = (smooth[first - 1] - half) / (smooth[first - 1] - smooth[first])
    middle = float(np.exp(np.log(lrs[first - 1]) + share * np.log(lrs[first] / lrs[first - 1])))
    density = (len(lrs) - 1) / np.log10(lrs[-1] / lrs[0])
    return Reading(smooth, begin, middle, float(lrs[lowest]), float(FACTOR * (density / PER_DECADE) ** SLOWER))
