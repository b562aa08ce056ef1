"""Each loss against its formula, written again in numpy float64 with loops where the product has array code."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stages.learn.losses import LOSSES, make

COUNTS = [50, 20, 7, 1]
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (9, 4))
TARGETS = np.array([0, 0, 0, 1, 1, 2, 3, 0, 2])


def softmax(row: np.ndarray) -> np.ndarray:
    raw = np.exp(row - row.max())
    return raw / raw.sum()


def cross_entropies(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.array([-np.log(softmax(row)[y]) for row, y in zip(logits, targets, strict=True)])


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float((values * weights).sum() / weights.sum())


def inverse() -> np.ndarray:
    raw = 1 / np.array(COUNTS)
    return raw / raw.mean()


def effective(beta: float) -> np.ndarray:
    raw = np.array([(1 - beta) / (1 - beta**n) for n in COUNTS])
    return raw / raw.sum() * len(COUNTS)


def reference_label_smoothing(eps: float) -> float:
    rows = zip(LOGITS, TARGETS, strict=True)
    return float(np.mean([-(1 - eps) * np.log(softmax(z)[y]) + eps * np.mean(-np.log(softmax(z))) for z, y in rows]))


def reference_focal(gamma: float, weights: np.ndarray) -> float:
    rows = zip(LOGITS, TARGETS, strict=True)
    return float(np.mean([weights[y] * (1 - softmax(z)[y]) ** gamma * -np.log(softmax(z)[y]) for z, y in rows]))


def reference_f1(eps: float, mix: float) -> float:
    p = np.array([softmax(z) for z in LOGITS])
    scores = []
    for c in range(4):
        tp, fp, fn = p[c == TARGETS, c].sum(), p[c != TARGETS, c].sum(), (1 - p[c == TARGETS, c]).sum()
        scores.append(2 * tp / (2 * tp + fp + fn + eps))
    return float(mix * cross_entropies(LOGITS, TARGETS).mean() + (1 - mix) * (1 - np.mean(scores)))


def reference_ldam(weights: np.ndarray) -> float:
    margins = np.array([n**-0.25 for n in COUNTS])
    margins = margins / margins.max() * 0.5
    moved = LOGITS.copy()
    for row, y in enumerate(TARGETS):
        moved[row, y] -= margins[y]
    return weighted_mean(cross_entropies(30 * moved, TARGETS), weights[TARGETS])


def reference_bce(smoothing: float) -> float:
    total = 0.0
    for z, y in zip(LOGITS, TARGETS, strict=True):
        for c in range(4):
            truth = (c == y) * (1 - smoothing) + smoothing / 4
            p = 1 / (1 + np.exp(-z[c]))
            total -= truth * np.log(p) + (1 - truth) * np.log(1 - p)
    return total / LOGITS.size


PRIOR = np.log(np.array(COUNTS) / sum(COUNTS))
CASES: list[tuple[str, dict[str, object], Callable[[], float]]] = [
    ("ce", {}, lambda: float(cross_entropies(LOGITS, TARGETS).mean())),
    ("weighted_ce", {}, lambda: weighted_mean(cross_entropies(LOGITS, TARGETS), inverse()[TARGETS])),
    ("label_smoothing", {"eps": 0.1}, lambda: reference_label_smoothing(0.1)),
    ("focal", {"gamma": 2.0}, lambda: reference_focal(2.0, np.ones(4))),
    ("focal", {"gamma": 0.5, "alpha": "balanced"}, lambda: reference_focal(0.5, inverse())),
    ("focal", {"gamma": 0.0}, lambda: float(cross_entropies(LOGITS, TARGETS).mean())),
    ("f1", {}, lambda: reference_f1(1e-7, 0.0)),
    ("f1", {"ce_mix": 0.3, "eps": 0.01}, lambda: reference_f1(0.01, 0.3)),
    ("ldam", {}, lambda: reference_ldam(np.ones(4))),
    ("ldam", {"drw": 0.5, "progress": 0.5}, lambda: reference_ldam(effective(0.9999))),
    (
        "class_balanced",
        {"beta": 0.99},
        lambda: weighted_mean(cross_entropies(LOGITS, TARGETS), effective(0.99)[TARGETS]),
    ),
    ("balanced_softmax", {}, lambda: float(cross_entropies(LOGITS + np.log(COUNTS), TARGETS).mean())),
    ("logit_adjust", {"tau": 1.5}, lambda: float(cross_entropies(LOGITS + 1.5 * PRIOR, TARGETS).mean())),
    ("bce", {}, lambda: reference_bce(0.0)),
    ("bce", {"smoothing": 0.2}, lambda: reference_bce(0.2)),
]


def test_every_loss_has_a_reference() -> None:
    assert {name for name, _, _ in CASES} == set(LOSSES)


@pytest.mark.parametrize(("name", "options", "reference"), CASES)
def test_value_and_gradient_agree_with_the_formula(
    name: str, options: dict[str, object], reference: Callable[[], float]
) -> None:
    loss = make(name, COUNTS, **options)
    logits, targets = torch.tensor(LOGITS, requires_grad=True), torch.tensor(TARGETS)
    assert loss(logits, targets).item() == pytest.approx(reference(), rel=1e-9)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), (logits,))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_logits_give_finite_values_and_gradients(name: str, scale: float) -> None:
    logits = torch.tensor([[scale, 0, 0, 0], [0, scale, 0, -scale]], dtype=torch.float32, requires_grad=True)
    for targets in ([0, 1], [1, 0], [3, 3]):
        value = make(name, COUNTS)(logits, torch.tensor(targets))
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOSSES)
def test_one_class_batches_and_absent_classes_are_finite(name: str) -> None:
    loss = make(name, [5, 3, 0, 9])
    assert torch.isfinite(loss(torch.tensor(LOGITS), torch.zeros(9, dtype=torch.long)))
    assert torch.isfinite(loss(torch.tensor(LOGITS[:1]), torch.tensor([2])))


def test_an_absent_class_counts_as_one_photo() -> None:
    absent = make("weighted_ce", [5, 3, 0, 9])
    one = make("weighted_ce", [5, 3, 1, 9])
    assert absent(torch.tensor(LOGITS), torch.tensor(TARGETS)) == one(torch.tensor(LOGITS), torch.tensor(TARGETS))


def test_impossible_counts_are_refused() -> None:
    for counts in ([0, 0], [-1, 3]):
        with pytest.raises(ValueError, match="class_counts"):
            make("ce", counts)
