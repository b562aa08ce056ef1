"""What a model card says beside oof-ensemble's scores: intervals of accuracy, subsets and, of few classes, each class."""

from typing import Any

import numpy as np

from stages.bundle.contents import Contents
from stages.bundle.of_project import Judged, Run
from stages.judge import bootstrap
from stages.judge.bootstrap import FEWEST_PEOPLE
from stages.params.schema import Params


def added(contents: Contents, run: Run, params: Params) -> Contents:
    """Contents with 95 % intervals over people (groups, photos) of the same OOF predictions.

    A class gets one where FEWEST_PEOPLE of them or more have a photo of it, and there are at most bootstrap.FEW classes.
    """
    judged, task = run.judged, run.task
    named = {number: f"f1_{number}" for number in _shown(judged, task.classes)}
    found = _intervals(judged, params, ("accuracy", *(f"f1_{name}" for name in task.subsets), *named.values()), run)
    ends: dict[str, Any] = {}
    for name in ("accuracy", *(f"f1_{name}" for name in task.subsets)):
        known = contents.scores.get(name) is not None  # of a subset of which nothing is there, there is no score
        ends |= {f"{name}_low": found[name][0] if known else None, f"{name}_high": found[name][1] if known else None}
    classes = tuple(
        row | ({"low": found[named[number]][0], "high": found[named[number]][1]} if number in named else {})
        for number, row in enumerate(contents.classes)
    )
    return contents.model_copy(update={"scores": contents.scores | ends, "classes": classes})


def _shown(judged: Judged, classes: int) -> list[int]:
    """Numbers of the classes that get an interval."""
    if classes > bootstrap.FEW:
        return []
    return np.flatnonzero(bootstrap.groups_per_class(judged.group, judged.label, classes) >= FEWEST_PEOPLE).tolist()


def _intervals(judged: Judged, params: Params, names: tuple[str, ...], run: Run) -> dict[str, tuple[float, float]]:
    task = run.task
    own = bootstrap.of_run(
        judged.group,
        judged.label,
        judged.log_probabilities.argmax(1),
        classes=task.classes,
        subsets=task.subsets,
    )
    scores = bootstrap.pick(own, names)
    low, high = bootstrap.interval(bootstrap.replicate(scores, params.ensemble.replicates, params.seed))
    return {name: (float(low[place]), float(high[place])) for place, name in enumerate(names)}
