"""GPU memory that a training takes, captured and kernel by kernel, alone and beside another process.

python bench/gpu_memory.py SETTING WAY       SETTING: JSON; WAY: captured or eager; waits for a line on stdin to end

Three trainings, each a process of its own, begin together and end one after the other.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

STEPS = 8


def figures(setting: Any) -> Iterator[tuple[str, int]]:
    """Bytes: what torch had at most and what it had set aside, of a captured and an eager training; then of whole processes
    (with context and libraries), two captured ones at once, one of them, and the eager one. -1 where there is no GPU.
    """
    before = used()
    with Training(setting, "captured") as one:
        with Training(setting, "captured") as two:
            with Training(setting, "eager") as eager:
                for name, training in (("captured", one), ("eager", eager), ("second captured", two)):
                    found = training.read()
                    if training is not two:
                        yield f"{name}_peak_bytes", found["peak"]
                        yield f"{name}_reserved_bytes", found["reserved"]
                all_three = used()
            both = used()
            yield "eager_process_bytes", all_three - both if all_three else -1
            yield "two_processes_bytes", both - before if both else -1
        yield "captured_process_bytes", used() - before if both else -1


def used() -> int:
    """Bytes of the GPU that are taken, by whomever."""
    if not torch.cuda.is_available():
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


class Training:
    """A process that has trained some steps and keeps what it took until it is left."""

    def __init__(self, setting: Any, way: str) -> None:
        words = [sys.executable, str(Path(__file__)), json.dumps(vars(setting)), way]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self) -> dict[str, int]:
        """What it took, once it has trained."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a training of its own ended with {self.process.wait()}")
        return dict(json.loads(line))

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate("\n", timeout=60)


def main() -> None:
    import gpu_learning
    import rates

    from stages.learn import objective

    setting = gpu_learning.Setting(**json.loads(sys.argv[1]))
    params = gpu_learning.params_of(setting)
    learner = gpu_learning.learner_of(params, gpu_learning.fold_of([0] * setting.batch))
    if sys.argv[2] == "eager":
        learner.captured = None
    goal = objective.make(params, learner.data.task, learner.data.class_counts)
    rates.learning(learner, goal, STEPS, rates.resident(learner, setting.batch))
    with_gpu = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if with_gpu else -1
    reserved = torch.cuda.max_memory_reserved() if with_gpu else -1
    print(json.dumps({"peak": peak, "reserved": reserved}), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
