"""Learning-rate range test (Smith 2017, arXiv:1506.01186): suggestions from its curve."""

import numpy as np


def smoothed(losses: np.ndarray, decay: float) -> np.ndarray:
    """Bias-corrected exponential moving average, [N]."""
    average, out = 0.0, np.empty(len(losses))
    for step, loss in enumerate(losses):
        average = decay * average + (1 - decay) * float(loss)
        out[step] = average / (1 - decay ** (step + 1))
    return out


def suggest(lrs: np.ndarray, losses: np.ndarray) -> dict[str, float]:
    """Learning rates suggested by a curve of losses [N] over rising learning rates [N].

    steepest: where the loss falls fastest over log lr, before its minimum.
    valley: halfway into the longest fall (longest decreasing subsequence), fastai's `valley`.
    minimum/10: a tenth of the learning rate of the smallest loss.
    """
    lrs, losses = np.asarray(lrs, np.float64), np.asarray(losses, np.float64)
    if len(lrs) != len(losses) or len(lrs) < 3:
        raise ValueError("needs as many learning rates as losses, and three or more of them")
    lowest = int(losses.argmin())
    slope = np.gradient(losses, np.log(lrs))
    steepest = int(slope[: lowest + 1].argmin())
    return {
        "steepest": float(lrs[steepest]),
        "valley": float(lrs[_valley(losses)]),
        "minimum/10": float(lrs[lowest] / 10),
    }


def _valley(losses: np.ndarray) -> int:
    """Index halfway into the longest decreasing subsequence, rounded as fastai's lr_find does (function `valley`)."""
    lengths = np.ones(len(losses), int)
    for end in range(1, len(losses)):
        longer = losses[:end] > losses[end]
        if longer.any():
            lengths[end] = max(1, lengths[:end][longer].max() + 1)
    end = int(lengths.argmax())
    third = int(lengths[end]) / 3
    return max(0, end - int(lengths[end]) + int(third) + int(third / 2))
