import os
import threading
import time

import numpy as np
import pytest

from stages.learn import loader


def test_batches_made_ahead_keep_their_order_and_a_dear_one_gets_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
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


def test_one_thread_makes_batches_that_are_ready_in_time() -> None:
    threads = set()

    def make(number: int) -> int:
        threads.add(threading.get_ident())
        return number

    made = loader._ahead(make, range(40))
    working = []
    for number in made:
        time.sleep(0.003)
        working.append(number)
    assert working == list(range(40))


def test_an_error_in_a_thread_reaches_the_reader() -> None:
    with pytest.raises(ZeroDivisionError):
        list(loader._ahead(lambda number: 1 // (5 - number), range(10)))


def test_an_epoch_is_cut_into_batches_of_equal_size() -> None:
    assert [len(part) for part in loader.split(np.arange(70), 32)] == [24, 23, 23]
