"""What OOF predictions say of the probabilities of new photos: how often they hold, for --abstain and prediction sets.

Five numbers a photo instead of one a class: small with 1,000 classes too, and nobody's name among them.
"""

from dataclasses import dataclass, fields

import numpy as np
import safetensors
import safetensors.numpy

from stages.base import large_arrays
from stages.judge import bootstrap, metrics

NAME = "oof.safetensors"


@dataclass(frozen=True)
class OutOfFold:
    """Training photos [N] by the models that never saw their group, mean over repeats, calibrated by the temperature.

    These are the answers of one fold's model to one view; the ensemble's are as good or better. The temperature was fitted on
    the same photos: one number flatters next to nothing. Offsets of `decision: adjusted`, one a class, would flatter, so each
    photo is answered by those fitted on other groups.
    """

    label: np.ndarray  # int32, the true class
    group: np.ndarray  # int32, numbered from 0: whose photo it is; each photo its own where there are no groups
    answer: np.ndarray  # int32, the class answered by the decision rule
    confidence: np.ndarray  # float32, calibrated probability of the answer
    true: np.ndarray  # float32, calibrated probability of the true class
    above: np.ndarray  # float32, summed calibrated probability of the classes that are more probable than the true one


def of(
    log_probabilities: np.ndarray, labels: np.ndarray, group: np.ndarray, temperature: float, answer: np.ndarray
) -> OutOfFold:
    """From OOF log probabilities [N, C], class numbers [N], groups [N] and the classes answered by the decision rule [N]."""

    def said(which: slice) -> np.ndarray:
        probabilities = np.exp(metrics.log_softmax(log_probabilities[which] / temperature))
        rows = np.arange(len(probabilities))
        true = probabilities[rows, labels[which]]
        above = np.where(probabilities > true[:, None], probabilities, 0).sum(1)
        return np.stack([probabilities[rows, answer[which]], true, above], axis=1)

    confidence, true, above = large_arrays.by_rows(said, *log_probabilities.shape).T
    return OutOfFold(
        label=labels.astype(np.int32),
        group=bootstrap.numbered(group).astype(np.int32),
        answer=answer.astype(np.int32),
        confidence=confidence.astype(np.float32),
        true=true.astype(np.float32),
        above=above.astype(np.float32),
    )


def to_bytes(found: OutOfFold) -> bytes:
    """As a safetensors file, the same bytes for the same numbers."""
    content: bytes = safetensors.numpy.save({field.name: getattr(found, field.name) for field in fields(found)})
    return content


def from_bytes(content: bytes, classes: int) -> OutOfFold:
    """From what `to_bytes` gave, of a task of so many classes. Raises ValueError where it is none."""
    try:
        arrays = safetensors.numpy.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from None
    names = [field.name for field in fields(OutOfFold)]
    if sorted(arrays) != sorted(names) or len({array.shape for array in arrays.values()}) != 1:
        raise ValueError("holds other arrays than it should")
    found = OutOfFold(**{name: arrays[name] for name in names})
    numbers = np.concatenate([found.label, found.answer])
    if found.label.ndim != 1 or not len(numbers) or numbers.min() < 0 or numbers.max() >= classes:
        raise ValueError("holds numbers that are no classes")
    return found
