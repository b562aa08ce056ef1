"""Do the losses do what their papers say? Long-tailed CIFAR-10, trained by maskcli's own commands, beside published errors.

python bench/papers/run.py --images CIFAR-10-images [--imbalance 100,10] [--seeds 3] [--methods "ce; ldam"] [--small]
                           [--mixed-precision bf16] [--jobs 4] [--mps] [--minutes 8] [--to FOLDER]
python bench/papers/run.py --table [...]        (what is there, with its verdicts; nothing is trained)

Every method is trained on all training photos (`maskcli refit`, one seed at a time) and scored on the 10,000 test photos
(`maskcli score`), as the papers do: first all methods with seed 0, of one imbalance after the other, then the next seed. What
is done is kept in FOLDER/results.json, its answers in FOLDER/submissions/, and the same command goes on from there.
--mixed-precision bf16, which the papers did not have, is a table of its own.
--jobs trains several at once, each a process and a folder of its own: on a CPU what comes out does not depend on how many; on
a GPU two runs of one training differ in their last digits already, where kernels add in no fixed order (docs/speed.md).
--mps starts NVIDIA's MPS for them, by which the kernels of several run at the same time; where it does not start, a line says
why, and they take turns.
--minutes, for a machine that is lent: no training is begun that, by what those before it took, would not end in time, but as
long as none has ended all are; those that run when the time is up are asked to stop (one that ends at that moment is still
scored), and the same command goes on from their checkpoints, in FOLDER/trainings/. These two folders,
results.json and lends.json are all that has to be kept; FOLDER/imbalance_<n> is made again, of --images or of its own data/ and
photos.json (--lay-out makes these alone).
--small, for a machine without a GPU: ResNet-14 for 30 epochs, which shows the order of the methods alone.
Below the table: which methods differ, paired over photos (`maskcli score --than`), or over seeds where there are several.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import comparison
import long_tail
import trainings
from methods import METHODS, SetUp
from trainings import CutOff, Failed, Result, Training

from stages.base.files import write_json

sys.path.append(str(Path(__file__).resolve().parent.parent))
import gpu_mps


@dataclass
class Lend:
    """One run of this script: what is left to train, and what came of it."""

    to: Path
    card: str
    jobs: int
    ends: float  # time.monotonic()
    waiting: list[Training]
    photos: dict[int, int]  # of an epoch, by imbalance
    found: dict[str, Result]
    done: dict[Training, float]  # share of its epochs that each had done before, in the run that goes on
    began: float = field(default_factory=time.monotonic)
    begun: list[Training] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)  # photos/s of trainings from beginning to end, here
    ended: int = 0
    cut_off: int = 0
    failed: int = 0
    mps: bool = False  # whether it serves them
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def at_once(self) -> int | str:
        """Of the trainings, for the record."""
        return f"{self.jobs} under MPS" if self.mps else self.jobs

    def cost(self, training: Training) -> int:
        """Photos that a training learns from, those of all epochs counted."""
        return self.photos[training.imbalance] * training.set_up.epochs


def main() -> None:
    options = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started this to ignore them
        signal.signal(number, signal.default_int_handler)
    try:
        lend = None if options.table else filled(options)
    except (long_tail.NotThere, Failed) as error:
        sys.exit(f"papers: {error}")
    except (KeyboardInterrupt, CutOff):
        sys.exit(130)
    print("\n".join(shown(options)))
    if lend is not None and lend.failed:
        sys.exit(1)


def arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--images", type=Path, help=f"a checkout of {long_tail.SOURCE}")
    made.add_argument("--imbalance", default="100", help="of the most common class to the rarest; several with commas")
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--methods", default="", help="names with semicolons between; all if not given")
    made.add_argument("--small", action="store_true", help="ResNet-14 and 30 epochs, for the order alone")
    made.add_argument("--model", default="", help="another model of resnet_cifar.py")
    made.add_argument("--epochs", type=int, default=0)
    made.add_argument("--mixed-precision", default="none", choices=["none", "bf16"], help="the papers have none")
    made.add_argument("--jobs", type=int, default=1, help="trainings at once")
    made.add_argument("--mps", action="store_true", help="NVIDIA's MPS serves them")
    made.add_argument("--minutes", type=float, default=math.inf, help="for all of it; without it there is no limit")
    made.add_argument("--to", type=Path, default=Path("papers"), help="folder of the projects and of results.json")
    made.add_argument("--lay-out", action="store_true", help="lay out the photos, and end")
    made.add_argument("--table", action="store_true", help="show what is there; nothing is trained")
    options = made.parse_args()
    options.to = options.to.resolve()
    options.imbalance = [int(one) for one in options.imbalance.split(",")]
    model, epochs = ("cifar_resnet14", 30) if options.small else ("cifar_resnet32", 200)
    options.set_up = SetUp(options.model or model, options.epochs or epochs, options.mixed_precision)
    options.methods = [name.strip() for name in options.methods.split(";") if name.strip()] or list(METHODS)
    if unknown := [name for name in options.methods if name not in METHODS]:
        made.error(f"--methods: `{unknown[0]}` is none of {'; '.join(METHODS)}")
    return options


def filled(options: argparse.Namespace) -> Lend | None:
    """Train what is not there yet, as far as the time goes; None where there was nothing to do.

    Raises long_tail.NotThere, and Failed, CutOff where the photos could not be prepared; KeyboardInterrupt once the running
    trainings have stopped.
    """
    began = time.monotonic()
    found = results(options.to)
    left = [training for training in in_order(options) if training.key not in found]
    for imbalance in dict.fromkeys(training.imbalance for training in left):
        trainings.lay_out(options.images, options.to, imbalance)
    if options.lay_out or not left:
        return None
    stop = threading.Event()
    prepared(options.to, left, stop)
    done = {training: trainings.done(options.to, training) for training in left}
    left.sort(key=lambda training: not done[training])  # first what was begun
    photos = {imbalance: trainings.photos(options.to, imbalance) for imbalance in {one.imbalance for one in left}}
    ends = began + 60 * options.minutes
    lend = Lend(options.to, card(options.to, left[0]), options.jobs, ends, left, photos, found, done, stop=stop)
    say(f"{len(left)} to train, {options.jobs} at once, on {lend.card}; ready after {lend.began - began:.0f} s")
    with served(options.mps) as lend.mps:
        try:
            work_through(lend)
        finally:
            note(lend)
    return lend


@contextmanager
def served(asked: bool) -> Iterator[bool]:
    """Whether MPS serves what is started within the block; a line says why not, where it was asked for."""
    if not asked:
        yield False
        return
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        gpu_mps.running(Path(folder) / "mps") as mps,
    ):
        if mps.why:
            say(f"without MPS: {mps.why}")
        os.environ.update(mps.environment)
        try:
            yield not mps.why
        finally:
            for name in mps.environment:
                del os.environ[name]


def results(to: Path) -> dict[str, Result]:
    kept = to / "results.json"
    return dict(json.loads(kept.read_text())) if kept.is_file() else {}


def lends(to: Path) -> list[Result]:
    """What each run of this script took, the earliest first."""
    kept = to / "lends.json"
    return list(json.loads(kept.read_text())) if kept.is_file() else []


def in_order(options: argparse.Namespace) -> list[Training]:
    """What the table needs, the most wanted first; of methods that train alike the first."""
    alike: dict[str, str] = {}
    for name in options.methods:
        alike.setdefault(json.dumps(METHODS[name].params, sort_keys=True), name)
    return [
        Training(imbalance, options.set_up, name, seed)
        for seed in range(options.seeds)
        for imbalance in options.imbalance
        for name in alike.values()
    ]


def prepared(to: Path, left: list[Training], stop: threading.Event) -> None:
    """Each imbalance's photos, side by side."""
    one_each = {training.imbalance: training for training in left}.values()
    with ThreadPoolExecutor(len(one_each)) as pool:
        try:
            for _ in pool.map(lambda training: trainings.prepare(to, training, stop), one_each):
                pass
        except BaseException:
            stop.set()
            raise


def work_through(lend: Lend) -> None:
    """Train, so many at once, until all is done or the time is up."""
    limit = None if lend.ends == math.inf else max(0.0, lend.ends - time.monotonic())
    with ThreadPoolExecutor(lend.jobs) as pool:
        working = [pool.submit(work, lend) for _ in range(lend.jobs)]
        try:
            wait(working, limit)  # not by join, after whose interruption Python 3.11 takes a thread for ended
        finally:
            lend.stop.set()
    for one in working:
        one.result()


def work(lend: Lend) -> None:
    """One training after the other, as long as any may be begun; one that fails leaves the others."""
    while training := taken(lend):
        ended = False
        try:
            keep(lend, training, trained(lend, training))
            ended = True
        except CutOff:
            with lend.lock:
                lend.cut_off += 1
            say(f"{training.short}: stopped after {trainings.done(lend.to, training):.0%} of its epochs")
        except Exception as error:
            with lend.lock:
                lend.failed += 1
            say(f"{training.short}: {error if isinstance(error, Failed) else f'{type(error).__name__}: {error}'}")
        trainings.let_go(lend.to, training, ended)


def trained(lend: Lend, training: Training) -> dict[str, Result]:
    """Its results. Where it began anew, as its checkpoint is of another run (other code, say), so will those that wait."""
    before = trainings.run_of(lend.to, training)
    try:
        return trainings.train(lend.to, training, lend.card, lend.at_once, lend.stop)
    finally:
        if before and before != trainings.run_of(lend.to, training):
            with lend.lock:
                lend.done |= dict.fromkeys([training, *lend.waiting], 0.0)


def taken(lend: Lend) -> Training | None:
    """The first of those that wait that can be expected to end in time; None where none can."""
    with lend.lock:
        here = [] if lend.stop.is_set() else [training for training in lend.waiting if fits(lend, training)]
        if not here:
            return None
        lend.waiting.remove(here[0])
        lend.begun.append(here[0])
        return here[0]


def fits(lend: Lend, training: Training) -> bool:
    """By what those took that ended here; as long as none has, nobody asks."""
    if not lend.rates:
        return True
    seconds = lend.cost(training) * (1 - lend.done[training]) / statistics.median(lend.rates)
    return time.monotonic() + seconds <= lend.ends


def keep(lend: Lend, training: Training, results: dict[str, Result]) -> None:
    with lend.lock:
        lend.ended += 1
        lend.found.update(results)
        write_json(lend.to / "results.json", lend.found)
        own = results[training.key]
        if own["photos_per_second"]:
            lend.rates.append(own["photos_per_second"])
    say(f"{training.short}: error {own['error']:.2f} %, {own['seconds'] or math.nan:.0f} s")


def note(lend: Lend) -> None:
    """What this run took, in lends.json: whole epochs that were trained, also of what was cut off, and the wall time."""
    shares = {
        one: (1.0 if one.key in lend.found else trainings.done(lend.to, one)) - lend.done[one] for one in lend.begun
    }
    own: Result = {"set_up": lend.begun[0].set_up.name} if lend.begun else {}
    own |= {"card": lend.card, "jobs": lend.at_once, "seconds": round(time.monotonic() - lend.began, 1)}
    own |= {"ended": lend.ended, "cut_off": lend.cut_off, "failed": lend.failed, "rates": lend.rates}
    own["photos"] = round(sum(max(0.0, share) * lend.cost(one) for one, share in shares.items()))
    if lend.begun:
        write_json(lend.to / "lends.json", [*lends(lend.to), own])


def shown(options: argparse.Namespace) -> list[str]:
    """The tables of each imbalance, and of the runs; on a lent machine without verdicts, which take their time."""
    found = results(options.to)
    lines: list[str] = []
    for imbalance in options.imbalance:
        asked = comparison.Asked(options.to, imbalance, options.set_up, tuple(options.methods), options.seeds)
        parts = [comparison.table(found, asked), comparison.by_frequency(asked)]
        if options.minutes == math.inf:
            parts.append(comparison.verdicts(found, asked))
        lines += [line for part in parts if part for line in (*part, "")]
    return [*lines, *comparison.rates(lends(options.to), options.set_up)]


def card(to: Path, training: Training) -> str:
    """The name of the GPU that lr-find found; CPU where it found none."""
    chosen = json.loads((trainings.project(to, training.imbalance) / "out/lr-find/lr.json").read_text())
    if chosen["device"] == "cpu":
        return "CPU"
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return str(chosen["device"])
    return done.stdout.partition("\n")[0].strip() or str(chosen["device"])


def say(line: str) -> None:
    print(f"papers: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
