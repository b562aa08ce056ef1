import random
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.base import gpu
from stages.base.errors import UserError
from stages.data.fold_data import open_fold
from stages.learn import loader
from stages.learn.augment import make
from tests.conftest import small


def test_batches_made_ahead_keep_their_order_and_a_dear_one_gets_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.cores, "usable", lambda: 3)
    working, most = [0], [0]
    lock = threading.Lock()

    def make(number: int) -> int:
        with lock:
            working[0] += 1
            most[0] = max(most[0], working[0])
        time.sleep(0.002 + 0.002 * (number % 3))
        with lock:
            working[0] -= 1
        return number

    makers = loader.Makers()
    assert list(loader._ahead(make, range(100), makers)) == list(range(100))
    assert most[0] == makers.threads == 3


def test_the_next_epoch_begins_with_as_many_threads_as_the_last_one_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.cores, "usable", lambda: 3)
    together = threading.Barrier(3, timeout=60)

    def make(number: int) -> int:
        if number < 3:
            together.wait()  # passes once three are at work
        return number

    assert list(loader._in_threads(make, range(9), loader.Makers(3))) == list(range(9))
    few = loader.Makers(8)  # found with more cores than there are now
    assert list(loader._in_threads(lambda number: number, range(9), few)) == list(range(9))
    assert few.threads == 3


@pytest.mark.skipif(gpu.usable(), reason="beside a GPU threads make all batches")
def test_cheap_batches_are_made_by_their_reader_and_dear_ones_ahead_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(loader.time, "perf_counter", lambda: now[0])

    def threads_of(seconds: float) -> list[int]:
        def make(number: int) -> int:
            now[0] += seconds
            return threading.get_ident()

        found = []
        for made in loader._ahead(make, range(12)):
            found.append(made)
            now[0] += 1.0  # the model's part
        return found

    assert set(threads_of(0.9 * loader.CHEAP)) == {threading.get_ident()}
    assert threading.get_ident() not in threads_of(1.2 * loader.CHEAP)[2:]


def test_an_error_in_a_thread_reaches_the_reader() -> None:
    with pytest.raises(ZeroDivisionError):
        list(loader._ahead(lambda number: 1 // (5 - number), range(10)))


def test_an_epoch_is_cut_into_batches_of_equal_size() -> None:
    assert [len(part) for part in loader.split(np.arange(70), 32)] == [24, 23, 23]


@given(st.integers(1, 400), st.integers(1, 70), st.integers(1, 12))
def test_batches_hold_every_photo_once_in_sizes_within_one_and_none_below_the_least(
    photos: int, batch_size: int, least: int
) -> None:
    parts = loader.split(np.arange(photos), batch_size, least)
    assert np.concatenate(parts).tolist() == list(range(photos))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(least, photos)
    plain = loader.split(np.arange(photos), batch_size)
    assert max(len(part) for part in plain) <= batch_size
    if min(len(part) for part in plain) >= least:  # then nothing is changed
        assert len(parts) == len(plain)


@given(st.integers(2, 300), st.integers(2, 40), st.integers(1, 8))
def test_no_process_trains_on_one_photo(photos: int, batch_size: int, processes: int) -> None:
    params = small(train={"batch_size": batch_size})
    if batch_size < 2 * processes or photos < 2 * processes:
        with pytest.raises(UserError, match=r"train\.batch_size: .* is less than 2 photos|and a batch needs 2"):
            loader.check_batches(params, photos, processes)
        return
    loader.check_batches(params, photos, processes)
    for part in loader.training_split(np.arange(photos), params, processes):
        assert min(len(part[index::processes]) for index in range(processes)) >= 2


def test_what_batches_hold_follows_from_no_clock(project: object, monkeypatch: pytest.MonkeyPatch) -> None:
    params = small(augment={"pipeline": "medium"}, sampler="weighted")
    data, augment = open_fold(params, 0), make(params)
    order = loader.epoch_order(params, data, 0, 0)

    def photos() -> list[bytes]:
        return [
            batch.photos.numpy().tobytes()
            for batch in loader.training(params, data, order, augment, loader.Place(0, 0))
        ]

    expected = photos()
    for seed in range(3):
        noise = random.Random(seed)
        monkeypatch.setattr(loader.time, "perf_counter", lambda noise=noise: 1e3 * noise.random())
        assert photos() == expected


@given(st.integers(2, 300), st.integers(2, 64))
def test_on_a_gpu_all_batches_of_an_epoch_have_one_size_and_few_photos_are_over(photos: int, batch_size: int) -> None:
    params, order = small(train={"batch_size": batch_size}), np.random.default_rng(photos).permutation(photos)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "usable", lambda: True)
        batches = loader.training_split(order, params)
    assert len({len(batch) for batch in batches}) == 1
    assert len(batches[0]) <= max(batch_size, 3)  # of three photos none may be alone
    taken = np.concatenate(batches)
    assert len(np.unique(taken)) == len(taken)  # none twice
    assert photos - len(taken) < len(batches)
    assert len(batches) == len(loader.training_split(order, params))  # as many steps as on a CPU


def test_photos_that_are_mixed_are_mixed_with_any_of_their_batch(project: object) -> None:
    """Each with the one that stands as far from the batch's other end: in the file's order, which often goes by class, the first
    would be mixed with the last in every epoch, and never with its own kind.
    """

    reads: list[np.ndarray] = []

    class Noting:
        def __init__(self, pixels: Any) -> None:
            self.pixels = pixels

        def __len__(self) -> int:
            return len(self.pixels)

        def __getitem__(self, which: np.ndarray) -> np.ndarray:
            reads.append(which)
            found: np.ndarray = self.pixels[which]
            return found

    def batches(**mixing: float) -> list[np.ndarray]:
        params = small(train={"batch_size": 16}, augment=mixing)
        data = open_fold(params, 0)
        noting = replace(data, pixels=Noting(data.pixels))
        found = []
        for epoch in range(5):
            order = loader.epoch_order(params, data, 0, epoch)
            for batch in loader.training(params, noting, order, lambda photos, _: photos, loader.Place(0, epoch)):
                assert np.array_equal(batch.photos.numpy(), data.pixels[batch.which])
                found.append(batch.which)
        return found

    def likeness(found: list[np.ndarray]) -> float:
        """Correlation of photos' places in the file with those of the photos that they are mixed with."""
        return float(np.corrcoef(np.concatenate(found), np.concatenate([which[::-1] for which in found]))[0, 1])

    plain = batches()
    assert all((np.diff(which) > 0).all() for which in plain)
    assert likeness(plain) < -0.8
    for mixed in (batches(cutmix=0.5), batches(mixup=0.2)):
        assert abs(likeness(mixed)) < 0.3
        for which, same in zip(mixed, plain, strict=True):
            assert np.array_equal(np.sort(which), same)
    assert all((np.diff(which) > 0).all() for which in reads)  # also of those that are mixed
