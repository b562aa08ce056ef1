"""Which training photos an epoch draws. Every epoch draws as many photos as the training side has.

`weights` gives each photo's chance; `draw` gives an epoch's photos. A draw follows from its generator alone, so that a
resumed epoch draws what the interrupted one would have.
"""

import numpy as np

SAMPLERS = ("none", "weighted", "imbalanced", "sqrt", "class_uniform")


def weights(name: str, labels: np.ndarray, chances: np.ndarray | None = None) -> np.ndarray:
    """Chance of each photo, [N], in proportion: 1 for none, 1/sqrt(n_c) for sqrt, 1/n_c for the others; times `chances` [N]
    (0..1), with n_c their sum over the class, so that no class is drawn less for them.

    weighted is torch's WeightedRandomSampler with 1/n_c; imbalanced is ufoym's ImbalancedDatasetSampler, which has the
    same weights; class_uniform draws a class, then one of its photos, which comes to the same chances. All three are
    kept because contestants know them by these names.
    """
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    own = 1.0 if chances is None else chances
    if chances is not None:
        counts = np.bincount(index, chances)
    if name == "none":
        return own * np.ones(len(labels))
    if name == "sqrt":
        return np.asarray(own / np.sqrt(counts[index]))
    if name in ("weighted", "imbalanced", "class_uniform"):
        return np.asarray(own / counts[index])
    raise KeyError(name)


def draw(name: str, labels: np.ndarray, rng: np.random.Generator, chances: np.ndarray | None = None) -> np.ndarray:
    """Positions [N] of one epoch: each photo once in random order for none, drawn with replacement for the others.

    chances: [N] 0..1, as `weights` takes them. For none a photo is in an epoch with its chance; one that is not gives its place
    to another whose chance is 1, no two to the same one as long as there are enough.
    """
    photos = len(labels)
    if name == "none":
        order = rng.permutation(photos)
        return order if chances is None else _with_others(order, chances, rng)
    if name == "class_uniform" and chances is None:
        _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        by_class, first = np.argsort(index, kind="stable"), np.cumsum(sizes) - sizes
        chosen = rng.integers(len(sizes), size=photos)
        return by_class[first[chosen] + rng.integers(sizes[chosen])]
    likely = weights(name, labels, chances)
    return rng.choice(photos, size=photos, p=likely / likely.sum())


def _with_others(order: np.ndarray, chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order [N] with photos that lose a toss by their chance replaced by others."""
    lost = np.flatnonzero(rng.random(len(order)) >= chances[order])
    whole = np.flatnonzero(chances >= 1)
    if len(whole):
        order[lost] = rng.choice(whole, size=len(lost), replace=len(lost) > len(whole))
    return order
