import threading
import time

import numpy as np
import pytest
import torch

from stages.learn import loader


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

    assert list(loader._ahead(make, range(100))) == list(range(100))
    assert most[0] == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="beside a GPU threads make all batches")
def test_cheap_batches_are_made_by_their_reader_and_dear_ones_ahead_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "CHEAP", 0.5)  # far from both cases, however busy the machine

    def threads_of(seconds: float) -> list[int]:
        def make(number: int) -> int:
            time.sleep(seconds)
            return threading.get_ident()

        found = []
        for made in loader._ahead(make, range(12)):
            found.append(made)
            time.sleep(0.004)
        return found

    assert set(threads_of(0.0)) == {threading.get_ident()}
    assert threading.get_ident() not in threads_of(0.02)[2:]


def test_an_error_in_a_thread_reaches_the_reader() -> None:
    with pytest.raises(ZeroDivisionError):
        list(loader._ahead(lambda number: 1 // (5 - number), range(10)))


def test_an_epoch_is_cut_into_batches_of_equal_size() -> None:
    assert [len(part) for part in loader.split(np.arange(70), 32)] == [24, 23, 23]
