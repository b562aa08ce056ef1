import numpy as np
import pytest

from stages.base import large_arrays
from stages.bundle import out_of_fold
from stages.judge.metrics import log_softmax


def test_numbers_of_a_photo_are_the_same_to_the_last_bit_whole_or_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    logs = log_softmax(rng.normal(size=(1000, 19))).astype(np.float32)
    labels, answer = rng.integers(0, 19, (2, 1000))
    asked = logs, labels, np.arange(1000) // 7, 1.3, answer
    whole = out_of_fold.of(*asked)
    monkeypatch.setattr(large_arrays, "BLOCK", 100)
    assert out_of_fold.to_bytes(out_of_fold.of(*asked)) == out_of_fold.to_bytes(whole)
    probabilities = np.exp(log_softmax(logs / 1.3))
    assert (whole.confidence == probabilities[np.arange(1000), answer].astype(np.float32)).all()
    assert whole.above == pytest.approx(
        [row[row > row[own]].sum() for row, own in zip(probabilities, labels, strict=True)]
    )
