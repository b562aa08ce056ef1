import numpy as np
import pytest

from stages.judge import calibration
from stages.judge.metrics import log_softmax


def test_the_temperature_that_was_put_in_is_found_again() -> None:
    rng = np.random.default_rng(0)
    honest = log_softmax(rng.normal(size=(4000, 18)) * 2)
    labels = np.array([rng.choice(18, p=row / row.sum()) for row in np.exp(honest)])
    assert calibration.temperature(honest * 3, labels) == pytest.approx(3, rel=0.1)
    assert calibration.ece(np.exp(honest), labels) < 0.03
    assert calibration.ece(np.exp(log_softmax(honest * 3)), labels) > 0.15


def test_calibration_error_of_known_bins() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    labels = np.array([0, 1, 1, 1])
    confidence, accuracy, photos = calibration.reliability(probabilities, labels, 10)
    assert photos[[6, 9]].tolist() == [2, 2]
    assert (confidence[9], accuracy[9]) == (pytest.approx(0.9), 0.5)
    # |0.9 - 0.5| and |0.6 - 1|, two photos each
    assert calibration.ece(probabilities, labels, 10) == pytest.approx(0.4)
