import numpy as np
import pytest

from stages.learn.lr_schedule import backbone_share, cooldown, share
from stages.params.model_and_training import Schedule
from tests.conftest import small


def curve(name: str, **options: object) -> np.ndarray:
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


def test_step_warms_up_and_falls_at_shares_of_the_training() -> None:
    found = curve("step", warmup_epochs=2.0, steps=[0.5, 0.9], factor=0.1)
    assert found[10] == pytest.approx(0.5)
    assert (found[20:50] == 1).all()
    assert found[50:90] == pytest.approx(0.1)
    assert found[90:] == pytest.approx(0.01)


@pytest.mark.parametrize("epochs", [5, 10, 30, 200])
def test_step_falls_where_an_epoch_begins_whatever_the_rounding(epochs: int) -> None:
    """The papers' 160 and 180 of 200 epochs: the 161st is the first at a hundredth."""
    schedule = Schedule(name="step", warmup_epochs=0.0)
    by_epoch = [share(schedule, float(epoch), epochs) for epoch in range(epochs)]
    first = int(0.8 * epochs)
    assert by_epoch[:first] == [1.0] * first
    assert by_epoch[first] == pytest.approx(0.01)
    assert by_epoch[-1] == pytest.approx(0.01 if 0.9 * epochs > epochs - 1 else 1e-4)


def test_step_needs_no_cooldown_where_time_is_short() -> None:
    assert cooldown(Schedule(name="step"), 0.99) == 1.0


def test_onecycle_rises_for_a_quarter_and_falls() -> None:
    found = curve("onecycle", min_share=0.01)
    assert found[0] == pytest.approx(1 / 25)
    assert found.argmax() == 25
    assert found[-1] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("epochs", "frozen", "warmup", "length"),
    [(10, 2, 1.0, 1.0), (10, 1, 0.5, 0.5), (3, 2, 1.0, 0.5), (4, 1, 3.0, 1.5)],  # no more than half of those left
)
def test_after_the_frozen_epochs_the_backbone_has_a_warm_up_of_its_own(
    epochs: int, frozen: int, warmup: float, length: float
) -> None:
    for name in ("cosine", "constant", "onecycle", "plateau"):
        params = small(
            model={"freeze_epochs": frozen},
            train={"epochs": epochs},
            schedule={"name": name, "warmup_epochs": warmup},
        )
        assert [backbone_share(params, frozen * part) for part in (0, 0.5, 0.999)] == [0, 0, 0]
        assert 0 < backbone_share(params, frozen) <= 0.001  # not 0: a step that learns nothing is wasted
        rising = [backbone_share(params, frozen + length * part) for part in (0.25, 0.5, 0.75)]
        assert rising == pytest.approx([0.25, 0.5, 0.75])
        assert [backbone_share(params, frozen + length * part) for part in (1, 1.01, 9)] == [1, 1, 1]


def test_without_frozen_epochs_or_a_warm_up_the_backbone_has_the_whole_rate() -> None:
    assert [backbone_share(small(), epoch) for epoch in (0, 0.5, 2)] == [1, 1, 1]
    params = small(model={"freeze_epochs": 1}, train={"epochs": 3}, schedule={"warmup_epochs": 0.0})
    assert [backbone_share(params, epoch) for epoch in (0, 0.99, 1, 3)] == [0, 0, 1, 1]


def test_a_backbone_that_is_frozen_to_the_end_never_moves() -> None:
    params = small(model={"freeze_epochs": 5}, train={"epochs": 3})
    assert {backbone_share(params, epoch) for epoch in (0, 1.5, 3)} == {0}
