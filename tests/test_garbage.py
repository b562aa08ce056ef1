import subprocess
import sys

from tests.conftest import ENVIRONMENT, ROOT

LOOKED = """
import gc
from stages import garbage
garbage.collect_seldom()
looks = []
gc.callbacks.append(lambda phase, info: looks.append(phase))
kept = [[number] for number in range(90_000)]
print(len(looks), gc.get_freeze_count())
"""


def test_ninety_thousand_objects_are_made_without_a_look_for_garbage() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOKED], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "0"]
