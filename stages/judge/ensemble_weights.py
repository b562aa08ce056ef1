"""Weights of several runs' probabilities [K, N, C]: equal, by greedy selection, or by convex optimisation of log loss."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from stages.judge.metrics import macro_f1

ROUNDS = 50  # runs drawn, with replacement, by greedy selection
PATIENCE = 10  # rounds without a better score after which it stops
TINY = 1e-12


def equal(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1/K each, [K]: nothing is fitted, so nothing can overfit."""
    return np.full(len(probabilities), 1 / len(probabilities))


def greedy(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Greedy forward selection with replacement, for macro F1, ties by log loss; weights [K] are the shares of the draws
    (Caruana, Niculescu-Mizil, Crew & Ksikes 2004, doi:10.1145/1015330.1015432).

    Starts from the best single run and returns the best step on the way, so never less than that run's macro F1 here.
    """
    counts = np.zeros(len(probabilities), int)
    total = np.zeros(probabilities.shape[1:])
    best: tuple[float, float] | None = None
    kept, kept_round = counts, 0
    for number in range(ROUNDS):
        scores = [_score((total + one) / (number + 1), labels) for one in probabilities]
        winner = max(range(len(scores)), key=scores.__getitem__)
        counts = counts + np.eye(len(counts), dtype=int)[winner]
        total = total + probabilities[winner]
        if best is None or scores[winner] > best:
            best, kept, kept_round = scores[winner], counts, number
        elif number - kept_round >= PATIENCE:
            break
    return np.asarray(kept / kept.sum())


def convex(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights [K] on the simplex of lowest log loss of the mixture sum_k w_k p_k: convex, so there is one optimum (linear
    opinion pool; Stone 1961, doi:10.1214/aoms/1177704873). Solved by SLSQP with its gradient.
    """
    count = len(probabilities)
    true = np.maximum(probabilities[:, np.arange(len(labels)), labels], TINY)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(weights @ true, TINY)
        return float(-np.log(mixed).mean()), -(true / mixed).mean(axis=1)

    found = minimize(
        loss,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"maxiter": 500, "ftol": 1e-10},
    )
    weights = np.clip(found.x, 0, None)
    weights[weights < 1e-6] = 0
    return np.asarray(weights / weights.sum())


def best_single(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """All weight, [K], on the run of highest macro F1, ties by log loss."""
    scores = [_score(one, labels) for one in probabilities]
    return np.eye(len(scores))[max(range(len(scores)), key=scores.__getitem__)]


def mix(weights: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Weighted mean of the runs' probabilities, [N, C]."""
    return np.tensordot(weights, probabilities, axes=1)


Weighting = Callable[[np.ndarray, np.ndarray], np.ndarray]
WEIGHTINGS: dict[str, Weighting] = {"equal": equal, "greedy": greedy, "convex": convex}


def _score(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Macro F1, then the negative log loss: higher is better."""
    true = np.maximum(probabilities[np.arange(len(labels)), labels], TINY)
    return macro_f1(labels, probabilities.argmax(1), probabilities.shape[1]), float(np.log(true).mean())
