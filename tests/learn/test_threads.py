from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stages.learn import threads
from tests.conftest import small


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.cores, "available", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(threads, "frozen_copy", lambda learner: None)
    monkeypatch.setattr(threads, "restore", lambda learner, state: None)


def learner(device: str = "cpu", **changes: Any) -> Any:
    params = small(folds=[0, 1, 2, 3, 4], **changes)
    return SimpleNamespace(params=params, accelerator=SimpleNamespace(device=torch.device(device)))


@pytest.mark.parametrize(
    ("rate", "chosen"),
    [
        (lambda number: number, [8] * 5),  # perfect scaling: one fold at a time ends soonest
        (lambda number: number**0.3, [1] * 5),  # threads that help little: five folds at a time, a thread each
        (lambda number: min(number, 11 - number), [4] * 5),  # a model that has no use for more than four
        (lambda number: number**0.97, [8] * 5),  # a gain too small to trust
        (lambda number: [0, 3, 4, 0, 10, 0, 0, 0, 11][number], [4] * 4 + [8]),  # the fifth fold gets all, being alone
    ],
)
@pytest.mark.usefixtures("eight_cores")
def test_the_threads_that_train_all_folds_soonest_are_chosen(
    rate: Any, chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_steps_a_second", lambda learner, number: rate(number))
    found, rates = threads.choose(learner())
    assert found == dict(enumerate(chosen))
    assert set(rates) == {8, 4, 2, 1}


@pytest.mark.usefixtures("eight_cores")
def test_a_number_in_params_and_a_gpu_leave_nothing_to_choose() -> None:
    assert threads.choose(learner(parallel={"threads": 3})) == (dict.fromkeys(range(5), 3), {})
    assert threads.choose(learner("cuda")) == (dict.fromkeys(range(5), 8), {})
