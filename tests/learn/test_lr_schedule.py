import numpy as np
import pytest

from stages.learn.lr_schedule import share
from stages.params.model_and_training import Schedule


def curve(name: str, **options: float) -> np.ndarray:
    schedule = Schedule.model_validate({"name": name, **options})
    return np.array([share(schedule, time, 10) for time in np.linspace(0, 10, 101)])


def test_cosine_warms_up_then_falls_to_its_floor() -> None:
    found = curve("cosine", warmup_epochs=2.0, min_share=0.1)
    assert found[10] == pytest.approx(0.5)
    assert found[20] == found.max() == 1
    assert found[60] == pytest.approx(0.55)
    assert found[-1] == pytest.approx(0.1)
    assert (np.diff(found[20:]) < 0).all()


def test_constant_and_plateau_stay_at_the_peak_after_warm_up() -> None:
    for name in ("constant", "plateau"):
        assert (curve(name, warmup_epochs=1.0)[10:] == 1).all()


def test_onecycle_rises_for_a_quarter_and_falls() -> None:
    found = curve("onecycle", min_share=0.01)
    assert found[0] == pytest.approx(1 / 25)
    assert found.argmax() == 25
    assert found[-1] == pytest.approx(0.01)
