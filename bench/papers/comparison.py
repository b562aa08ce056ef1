"""What the papers' trainings scored, in Markdown: beside published errors, methods against each other, and each run's rate."""

import contextlib
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import long_tail
import numpy as np
import pandas as pd
from methods import METHODS, SetUp
from scipy.special import stdtrit
from trainings import Result, Training, project, submission

from stages.judge.paired_difference import UNDECIDED

GAP = 2.0  # points of published error above which the order of two methods should show


@dataclass(frozen=True)
class Asked:
    """One table: methods by name, and how many seeds of each, of one imbalance and set-up."""

    to: Path
    imbalance: int
    set_up: SetUp
    methods: tuple[str, ...]
    seeds: int

    def training(self, method: str, seed: int) -> Training:
        return Training(self.imbalance, self.set_up, method, seed)

    def seeds_of(self, found: dict[str, Result], *names: str) -> list[int]:
        """Seeds that all of these methods have results of."""
        return [seed for seed in range(self.seeds) if all(self.training(name, seed).key in found for name in names)]

    def results(self, found: dict[str, Result], method: str) -> list[Result]:
        return [found[self.training(method, seed).key] for seed in self.seeds_of(found, method)]


def table(found: dict[str, Result], asked: Asked) -> list[str]:
    """The methods: published and ours, per cent, the mean over seeds with its interval, or over photos of one seed; a training's
    seconds, and its own photos/s where it was not cut off, the medians, where all seeds ran on one card and beside as many
    others. Empty where nothing was trained.
    """
    if not any(asked.results(found, name) for name in asked.methods):
        return []
    rows = [f"imbalance {asked.imbalance}, {asked.set_up.name}", ""]
    rows += ["| method | published | ours | 95 % | seeds | s | photos/s |", "|---|---|---|---|---|---|---|"]
    for name in asked.methods:
        several = asked.results(found, name)
        if not several:
            continue
        mean, half = over_seeds([one["error"] for one in several])
        low, high = (mean - half, mean + half) if len(several) > 1 else (several[0]["low"], several[0]["high"])
        published = METHODS[name].published.get(asked.imbalance)
        shown = "" if published is None else f"{published:.2f}"
        alike = all(len({value for one in several for value in one.get(what, [])}) < 2 for what in ("jobs", "cards"))
        timed = several if alike else []
        costs = " | ".join(_median([one.get(what) for one in timed]) for what in ("seconds", "photos_per_second"))
        rows.append(f"| {name} | {shown} | {mean:.2f} | {low:.2f} to {high:.2f} | {len(several)} | {costs} |")
    sources = dict.fromkeys(METHODS[name].source for name in asked.methods if METHODS[name].source)
    cards = dict.fromkeys(
        card for name in asked.methods for one in asked.results(found, name) for card in one.get("cards", [])
    )
    trained = [f"Trained on {', '.join(cards)}."] if cards else []
    return [*rows, "", *(f"Published: {source}." for source in sources), *trained]


def by_frequency(asked: Asked) -> list[str]:
    """Errors of the three most common, the four middle and the three rarest classes, per cent, means over the classes and over
    those seeds whose answers were kept: where a method gains, and what it pays. Empty where none were kept.
    """
    rows = ["| method | 3 most common classes | 4 middle | 3 rarest | seeds |", "|---|---|---|---|---|"]
    for name in asked.methods:
        kept = [submission(asked.to, asked.training(name, seed)) for seed in range(asked.seeds)]
        errors = [errors_by_class(path) for path in kept if path.is_file()]
        if errors:
            mean = np.mean(errors, axis=0)
            shares = " | ".join(f"{part.mean():.1f}" for part in (mean[:3], mean[3:7], mean[7:]))
            rows.append(f"| {name} | {shares} | {len(errors)} |")
    return rows if len(rows) > 2 else []


def errors_by_class(answers: Path) -> np.ndarray:
    """Of the test photos of each class, the most common one first, the share that was answered wrongly [10], per cent."""
    table = pd.read_csv(answers, dtype=str)
    true = table["file"].map(lambda file: Path(file).parent.name)
    wrong = (table["label"] != true).groupby(true).mean()
    return 100 * wrong.reindex(long_tail.CLASSES).to_numpy()


def _median(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):,.0f}" if known else ""


def rates(lends: list[Result], set_up: SetUp) -> list[str]:
    """Each run of the script: photos/s of all its trainings together, by its wall time, and of each, beside the others that ran
    with it (the median of those that it trained from beginning to end)."""
    rows = ["| card | at once | ended | cut off | s | photos/s together | of each, beside the others |"]
    rows += ["|---|---|---|---|---|---|---|"]
    for lend in lends:
        if _set_up(lend) == set_up.name:
            together = lend["photos"] / lend["seconds"]
            counts = f"{lend['jobs']} | {lend['ended']} | {lend['cut_off']} | {lend['seconds']:,.0f}"
            rows.append(f"| {lend['card']} | {counts} | {together:,.0f} | {_median(lend['rates'])} |")
    return rows if len(rows) > 2 else []


def _set_up(lend: Result) -> str:
    """Its name; earlier versions kept model and epochs apart, and had 32 bits alone."""
    return str(lend["set_up"]) if "set_up" in lend else SetUp(lend["model"], lend["epochs"]).name


def over_seeds(values: list[float]) -> tuple[float, float]:
    """The mean and half of its 95 % interval, by Student's t; 0 of a single value."""
    count = len(values)
    if count < 2:
        return statistics.mean(values), 0.0
    return statistics.mean(values), float(stdtrit(count - 1, 0.975)) * statistics.stdev(values) / math.sqrt(count)


def pairs(asked: Asked) -> list[tuple[str, str, float | None]]:
    """The methods whose order should show, the one of the higher published error first, and every other against ce; with the
    published difference of errors, second minus first, in points."""
    published = {name: METHODS[name].published.get(asked.imbalance) for name in asked.methods}
    found: list[tuple[str, str, float | None]] = []
    for one in asked.methods:
        for other in asked.methods:
            a, b = published[one], published[other]
            gap = None if a is None or b is None else b - a
            if other != one and (one == "ce" or (gap is not None and gap < -GAP)):
                found.append((one, other, gap))
    return found


def verdicts(found: dict[str, Result], asked: Asked) -> list[str]:
    """Pairs of methods in Markdown: differences of error in points, published and ours, with a verdict; of several seeds by the
    mean of the seeds' differences, of one by the photos that both answered."""
    rows = ["Differences of error, points; intervals over the seeds, or over the photos of a single one.", ""]
    rows += ["| methods | published | ours | 95 % | verdict |", "|---|---|---|---|---|"]
    for one, other, gap in pairs(asked):
        seeds = asked.seeds_of(found, one, other)
        if not seeds:
            continue
        if len(seeds) == 1:
            before, after = (submission(asked.to, asked.training(name, seeds[0])) for name in (one, other))
            told = by_photos(before, after, asked)
        else:
            errors = [[found[asked.training(name, seed).key]["error"] for seed in seeds] for name in (one, other)]
            told = by_seeds([later - earlier for earlier, later in zip(*errors, strict=True)])
        if told is None:
            continue
        change, low, high, verdict = told
        shown = "" if gap is None else f"{gap:+.2f}"
        rows.append(f"| {other} against {one} | {shown} | {change:+.2f} | {low:+.2f} to {high:+.2f} | {verdict} |")
    return rows if len(rows) > 4 else []


def by_photos(one: Path, other: Path, asked: Asked) -> tuple[float, float, float, str] | None:
    """Error of `other` minus that of `one`, points, its 95 % interval over photos and its verdict; None where either's answers
    were not kept, or the photos are not prepared here."""
    from stages.by_hand import score  # imports torch, which is for nothing where no verdict is asked for
    from stages.data import task_and_classes
    from stages.params.load import load

    known = project(asked.to, asked.imbalance) / "out/prepare/eval.csv"
    if not all(path.is_file() for path in (one, other, known)):
        return None
    with contextlib.chdir(project(asked.to, asked.imbalance)):
        compared = score.against(task_and_classes.read(load()), None, other, one)
    row = next(row for row in compared.rows if row.metric == "accuracy")
    return -100 * row.difference, -100 * row.high, -100 * row.low, row.verdict


def by_seeds(differences: list[float]) -> tuple[float, float, float, str]:
    """The mean of differences of error, its 95 % interval over seeds, and what it says of the methods."""
    mean, half = over_seeds(differences)
    verdict = UNDECIDED if abs(mean) <= half else "better" if mean < 0 else "worse"
    return mean, mean - half, mean + half, verdict
