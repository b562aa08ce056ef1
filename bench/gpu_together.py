"""Do several trainings at once on one GPU train more photos a second than one does?

python bench/gpu_together.py SETTING SECONDS WHO       a training of its own, which waits for orders on stdin

Steps of training on a resident batch, as the ceiling of the part `steps`. Processes begin together, once all are warm, and
what each did is counted over the same window, in which all of them run. Then the same under MPS, and in one process the
steps of several trainings in turn, each on a stream of its own: do their kernels overlap? That last one is a reading of speed
alone: what they draw at random comes from one generator, so that nothing of their results would hold.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from scratch import ROOT, say

PROCESSES = (1, 2, 4)
SETTLE = 0.3  # seconds, before a window and after it, in which all run
AHEAD = 4  # steps of a training that are given to the GPU before one is waited for
WARM = 6  # steps: a graph is recorded at the third
PAPERS = ROOT / "bench/papers"
PLUGIN = "resnet_cifar.py"

Order = dict[str, Any]


def measure(setting: Any, seconds: float, mps: dict[str, str], tell: Callable[[dict[str, Any]], None]) -> None:
    """Tell photos/s of all together, by how many: of processes, on streams, and of processes under MPS, where its environment
    is given.
    """
    result: dict[str, Any] = asdict(setting)
    for way, environment in (("processes", {}), ("mps", mps)):
        if way == "mps" and not mps:
            continue
        with Crew(setting, seconds, environment, way) as crew:
            result |= crew.ready[0]
            tell(result)
            result[way] = {}
            for number in PROCESSES:
                result[way][str(number)] = round(sum(crew.ask(number, streams=1)), 1)
                tell(result)
            if way == "processes":
                result["streams"] = {}
                for number in PROCESSES[1:]:
                    result["streams"][str(number)] = round(sum(crew.ask(1, streams=number)), 1)
                    tell(result)
        say(f"gpu: {setting}, at once: {way} {result[way]}, streams {result['streams']} photos/s")


class Crew:
    """As many trainings as are ever wanted at once, warm; those that have no order wait."""

    def __init__(self, setting: Any, seconds: float, environment: dict[str, str], name: str) -> None:
        self.seconds = seconds
        self.logs = [Path(f"{setting.model}_{name}_{number}.log") for number in range(max(PROCESSES))]
        self.processes: list[subprocess.Popen[str]] = []
        self.asked = (json.dumps(asdict(setting)), str(seconds))
        self.environment = os.environ | environment
        self.ready: list[dict[str, Any]] = []

    def __enter__(self) -> "Crew":
        try:
            for log in self.logs:
                words = [sys.executable, str(Path(__file__).resolve()), *self.asked, log.stem]
                with log.open("w") as errors:
                    self.processes.append(
                        subprocess.Popen(
                            words,
                            env=self.environment,
                            stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE,
                            stderr=errors,
                            text=True,
                        )
                    )
            self.ready = [self._read(place) for place in range(len(self.processes))]
        except BaseException:
            self.__exit__()
            raise
        return self

    def ask(self, number: int, streams: int) -> list[float]:
        """Photos/s of each of the first so many, all at once."""
        start = 0.0 if streams > 1 else time.monotonic() + SETTLE  # more of them are made first
        for process in self.processes[:number]:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"start": start, "streams": streams}) + "\n")
            process.stdin.flush()
        return [float(self._read(place)["rate"]) for place in range(number)]

    def _read(self, place: int) -> dict[str, Any]:
        process = self.processes[place]
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            lines = self.logs[place].read_text(errors="replace").strip().splitlines() or ["no word"]
            raise RuntimeError(f"a training ended with {process.wait()}: {lines[-1]}")
        return dict(json.loads(line))

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@dataclass
class Training:
    """Training's own step on a batch that lies on the device."""

    step: Callable[[int], Any]  # of a seed
    photos: int  # of a step
    stream: Any = None


def main() -> None:
    setting, seconds, who = json.loads(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    training, words = made(setting, who)
    trainings = [training]
    print(json.dumps({"captured": words}), flush=True)
    for line in sys.stdin:
        order: Order = json.loads(line)
        while len(trainings) < order["streams"]:
            trainings.append(made(setting, who)[0])
        own = trainings[: order["streams"]]
        if len(own) > 1:
            own = [Training(one.step, one.photos, _stream()) for one in own]
        print(
            json.dumps({"rate": in_window(own, max(order["start"], time.monotonic() + SETTLE / 2), seconds)}),
            flush=True,
        )


def made(setting: dict[str, Any], who: str) -> tuple[Training, str]:
    """A training, warm, and whether its steps are captured. Photos are noise."""
    import gpu_learning
    import rates

    from stages.learn import objective, plugins
    from stages.learn.learner import set_mode
    from stages.learn.step import learn

    own = gpu_learning.Setting(**setting)
    if own.model.startswith("cifar_"):
        params, data = of_the_papers(own, Path(f"plugin_{who}"))
    else:
        params, data = gpu_learning.params_of(own), gpu_learning.fold_of([0] * own.batch)
    plugins.load(params.plugins)
    learner = gpu_learning.learner_of(params, data)
    goal = objective.make(params, learner.data.task, learner.data.class_counts)
    batch = rates.resident(learner, own.batch)
    rates.learning(learner, goal, WARM, batch)
    set_mode(learner, 0)
    return Training(lambda seed: learn(learner, goal, batch, seed), own.batch), gpu_learning.captured_words(learner)


def of_the_papers(setting: Any, folder: Path) -> tuple[Any, Any]:
    """Params and data of bench/papers, of ten classes; their plugin comes to lie in the folder."""
    sys.path.append(str(PAPERS))
    import gpu_learning
    import methods

    from stages.data.fold_data import FoldData
    from stages.data.task_and_classes import Axis, Task
    from stages.params.load import parse

    folder.mkdir(exist_ok=True)
    shutil.copyfile(PAPERS / PLUGIN, folder / PLUGIN)
    told = methods.params(methods.METHODS["ce"], 0, methods.SetUp(setting.model, 200))
    told["plugins"] = {"models": str(folder / PLUGIN)}
    told["train"] |= {"batch_size": setting.batch}
    drawn = gpu_learning.fold_of([0] * setting.batch)
    labels = drawn.labels % 10
    task = Task("folder", (Axis("label", tuple(map(str, range(10)))),), "photo")
    return parse(told), FoldData(task, drawn.pixels, labels, labels, drawn.numbers, drawn.train, drawn.val)


def _stream() -> Any:
    return torch.cuda.Stream() if torch.cuda.is_available() else None


def in_window(trainings: list[Training], start: float, seconds: float) -> float:
    """Photos/s of trainings that take steps in turn, from `start` (time.monotonic(), the same for all processes) on; they begin
    before, and go on a while after, so that others' windows are full too.
    """
    import rates

    given: deque[Any] = deque()
    taken = 0

    def turn() -> None:
        nonlocal taken
        for training in trainings:
            with torch.cuda.stream(training.stream) if training.stream is not None else nullcontext():
                training.step(taken)
                if torch.cuda.is_available():
                    given.append(torch.cuda.Event())
                    given[-1].record()
        taken += 1
        while len(given) > AHEAD * len(trainings):
            given.popleft().synchronize()

    while time.monotonic() < start or taken < WARM:  # on a new stream the first steps ask for memory
        turn()
    rates.wait()
    began, before = time.monotonic(), taken
    while time.monotonic() < start + seconds or taken == before:
        turn()
    rates.wait()
    rate = (taken - before) * sum(training.photos for training in trainings) / (time.monotonic() - began)
    ends = time.monotonic() + SETTLE
    while time.monotonic() < ends:
        turn()
    rates.wait()
    return rate


if __name__ == "__main__":
    main()
