"""What people read on stdout of score."""

import math
from typing import Any

from cli.lines import Column, Lines, Table, plain, table
from cli.tables.compare import scores
from stages.data.task_and_classes import Task
from stages.judge.bootstrap import FEWEST_PEOPLE
from stages.judge.paired_difference import Comparison
from stages.report import verdicts
from stages.report.score_names import title


def score(found: dict[str, Any], task: Task, width: int, than: Comparison | None = None) -> Lines:
    """Whether it is better than another submission, where one is given; macro F1 with its interval in words; then all scores."""
    units = found["interval_over"]
    people = f"{found[units]} {units}, " if units != "photos" else ""
    few = found[units] < FEWEST_PEOPLE
    interval = f"95 % interval {found['macro_f1_low']:.4f} to {found['macro_f1_high']:.4f}"
    answer = (
        f"macro F1 {found['macro_f1']:.4f}, {f'too few {units} for an interval' if few else interval} "
        f"({people}{found['photos']} photos)"
    )
    names = [name for name in found if f"{name}_low" in found]
    shown = Table(
        [Column("score"), Column("value", "number"), Column("95 % interval", "number")],
        [
            (title(name, task), *_with_interval(found[name], found[f"{name}_low"], found[f"{name}_high"], few))
            for name in names
        ],
    )
    told = []
    if units == "photos" and task.unit != "photo":
        told = [
            f"note: the truth has no column person or group, so the intervals are over photos; photos of one {task.unit} go "
            "right or wrong together, which makes these intervals too narrow"
        ]
    if "pseudo_labels" in found:
        told.append(
            "note: the models learnt from some of these photos, with labels that models gave them "
            f"({found['pseudo_labels']}): new photos may score lower"
        )
    return [*_against(than, width), *plain([answer], width), ("", ""), *table(shown, width), *plain(told, width)]


def _against(than: Comparison | None, width: int) -> Lines:
    """The answer on two submissions, and the differences of their scores."""
    if than is None:
        return []
    told = [] if than.same else [*scores(than, width), *plain((f"note: {note}" for note in than.notes), width)]
    return [*plain([verdicts.of_submissions(than)], width), *told, ("", "")]


def _with_interval(value: float, low: float, high: float, few: bool) -> tuple[str, str]:
    return ("none", "") if math.isnan(value) else (f"{value:.4f}", "" if few else f"{low:.4f} to {high:.4f}")
