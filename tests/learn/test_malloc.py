import platform
import subprocess
import sys

import pytest

from tests.conftest import ENVIRONMENT, ROOT

FREE_AND_TAKE = """
import resource, sys
import numpy as np
from stages.learn import heap
print(heap.keep_freed() if sys.argv[1] == "kept" else False)
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [np.ones(5_000_000, np.uint8) for _ in range(8)]
    del held
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_is_freed_is_taken_again_without_asking_the_system() -> None:
    def faults(how: str) -> tuple[str, int]:
        words = [sys.executable, "-c", FREE_AND_TAKE, how]
        done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        said, count = done.stdout.split()
        return said, int(count)

    assert faults("kept") == ("True", 0)
    assert faults("given back")[1] > 1000
