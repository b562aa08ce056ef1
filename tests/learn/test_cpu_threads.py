"""The threads of a fold follow from cores, folds and batch alone, since rounding follows them."""

import random
import time
from typing import Any

import pytest
import torch

from stages import lr_find
from stages.base import paths
from stages.base.talk import SILENT
from stages.by_hand import screen_frozen
from stages.by_hand.screen_frozen import Choice
from stages.learn import cpu_threads
from tests.conftest import small


def chosen(most: int, folds: int, **changes: Any) -> list[int]:
    params = small(folds=list(range(folds)), **changes)
    return list(cpu_threads.choose(params, "cpu", most).values())


@pytest.mark.parametrize(
    ("cores", "folds", "expected"),
    [
        (1, 5, [1] * 5),
        (2, 5, [1, 1, 1, 1, 2]),  # the fifth fold has both cores, being alone
        (2, 2, [1, 1]),
        (3, 5, [1] * 5),  # two left folds on three cores
        (4, 5, [1, 1, 1, 1, 4]),
        (4, 2, [2, 2]),
        (8, 5, [1] * 5),  # all at a time, rather than four with two threads and one after them
        (16, 5, [3] * 5),
        (64, 2, [8, 8]),  # a thread has four photos of a batch of 32
    ],
)
def test_what_trains_all_folds_soonest_is_chosen(cores: int, folds: int, expected: list[int]) -> None:
    assert chosen(cores, folds) == expected


@pytest.mark.parametrize("cores", [1, 2, 3, 5, 7, 12, 24, 96])
def test_every_fold_has_threads_and_no_round_more_than_the_cores(cores: int) -> None:
    for folds in range(2, 12):
        for batch in (2, 32, 256):
            found = chosen(cores, folds, train={"batch_size": batch})
            assert min(found) >= 1
            assert max(found) <= min(cores, max(1, batch // 4))


def test_a_number_in_params_and_a_gpu_leave_nothing_to_choose() -> None:
    assert chosen(8, 3, parallel={"threads": 3}) == [3] * 3
    assert cpu_threads.choose(small(), "cuda", 8) == {0: 8, 1: 8}


def test_most_threads_are_those_of_params_or_one_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_threads.cores, "available", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)  # cores with two threads each
    assert cpu_threads.most(small()) == 4
    assert cpu_threads.most(small(parallel={"threads": 16})) == 16


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that are asked for, on a machine with two cores."""
    asked: list[int] = []
    monkeypatch.setattr(cpu_threads.cores, "available", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: asked[-1] if asked else 2)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    return asked


def test_screens_heads_have_the_threads_of_the_folds(
    project: object, two_cores: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[int] = []

    def train(*words: object) -> None:
        during.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(screen_frozen.backbones, "choose", lambda *words: ("", []))
    monkeypatch.setattr(screen_frozen, "extract", lambda *words: during.append(torch.get_num_threads()))
    monkeypatch.setattr(screen_frozen, "train", train)
    with pytest.raises(KeyboardInterrupt):
        screen_frozen.run(small(), Choice(), SILENT)
    assert during == [2, 1]  # features as in tta-predict, on all cores
    assert two_cores == [1, 2]


@pytest.mark.filterwarnings("ignore:Creating legend")  # so long it seems to take
def test_no_clock_has_a_say_in_what_lr_find_settles(project: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else keeps the machine busy, and however slow each step looks, lr.json and the curve are the same."""

    def settle() -> list[bytes]:
        lr_find.run(small(lr="auto"), SILENT)
        return [path.read_bytes() for path in (paths.LR_CHOSEN, paths.LR_CURVE, paths.LR_SUGGESTIONS)]

    monkeypatch.setattr(cpu_threads.cores, "available", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    expected = settle()
    for seed in range(3):
        noise = random.Random(seed)
        for clock in ("perf_counter", "monotonic", "time"):
            monkeypatch.setattr(time, clock, lambda noise=noise: 1e9 * noise.random())
        assert settle() == expected
