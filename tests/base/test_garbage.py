import subprocess
import sys

from tests.conftest import ENVIRONMENT, ROOT

LOOKED = """
import atexit, gc
from stages.base import garbage
at_start = gc.get_freeze_count()  # not 0 in every Python
atexit.register(lambda: print(gc.get_freeze_count() - at_start))  # after what is registered later
garbage.collect_seldom()
looks = []
gc.callbacks.append(lambda phase, info: looks.append(phase))
kept = [[number] for number in range(90_000)]
print(len(looks), gc.get_freeze_count() - at_start)
"""


def test_ninety_thousand_objects_are_made_without_a_look_for_garbage_and_left_out_at_the_exit() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOKED], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    looks, frozen, frozen_at_exit = map(int, done.stdout.split())
    assert (looks, frozen) == (0, 0)
    assert frozen_at_exit > 90_000


def test_objects_of_bindings_that_tell_of_leaks_are_looked_at_at_the_exit() -> None:
    code = "import sys; sys.modules['triton'] = sys\n" + LOOKED
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    looks, _, frozen_at_exit = map(int, done.stdout.split())
    assert looks == 0
    assert frozen_at_exit < 90_000


def test_a_service_looks_as_often_as_python_does_but_not_at_what_was_there_before_it() -> None:
    code = """
import gc
usual = gc.get_threshold()
from stages.base import garbage
garbage.collect_seldom()
kept = [[number] for number in range(10_000)]
garbage.collect_as_usual()
print(gc.get_threshold() == usual, gc.get_freeze_count() > 10_000)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]
