"""Which training photos an epoch draws. Every epoch draws as many photos as the training side has.

`weights` gives each photo's chance; `draw` gives an epoch's photos. A draw follows from its generator alone, so that a
resumed epoch draws what the interrupted one would have.
"""

import numpy as np

SAMPLERS = ("none", "weighted", "imbalanced", "sqrt", "class_uniform")


def weights(name: str, labels: np.ndarray) -> np.ndarray:
    """Chance of each photo, [N], in proportion: 1 for none, 1/sqrt(n_c) for sqrt, 1/n_c for the others.

    weighted is torch's WeightedRandomSampler with 1/n_c; imbalanced is ufoym's ImbalancedDatasetSampler, which has the
    same weights; class_uniform draws a class, then one of its photos, which comes to the same chances. All three are
    kept because contestants know them by these names.
    """
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if name == "none":
        return np.ones(len(labels))
    if name == "sqrt":
        return 1 / np.sqrt(counts[index])
    if name in ("weighted", "imbalanced", "class_uniform"):
        return 1 / counts[index]
    raise KeyError(name)


def draw(name: str, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions [N] of one epoch: each photo once in random order for none, drawn with replacement for the others."""
    photos = len(labels)
    if name == "none":
        return rng.permutation(photos)
    if name == "class_uniform":
        _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        by_class, first = np.argsort(index, kind="stable"), np.cumsum(sizes) - sizes
        chosen = rng.integers(len(sizes), size=photos)
        return by_class[first[chosen] + rng.integers(sizes[chosen])]
    chances = weights(name, labels)
    return rng.choice(photos, size=photos, p=chances / chances.sum())
