"""The report as one HTML page that needs nothing else: charts are SVG and photos JPEG inside the page."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.data.layout import CLASSES, class_name
from stages.judge import calibration, metrics
from stages.judge.paired_difference import Comparison, Difference
from stages.params.keys import flat
from stages.report import colours
from stages.report.html import charts, numbers
from stages.report.html.thumbnails import jpeg

TEMPLATE = "report.html.jinja"
LIMIT = 5_000_000  # bytes
QUALITIES = (85, 60, 35, 15)  # of the JPEGs: the first with which the page stays under LIMIT
MOST = 40  # photos in each list
CLASS_CHARTS = (640, 320)  # px wide: on a laptop, on a phone
NAMES = [class_name(number) for number in range(CLASSES)]

Pictures = dict[str, np.ndarray]


@dataclass(frozen=True)
class Run:
    """What the report shows of one revision; tables as the stages write them."""

    name: str
    oof: numbers.Oof
    repeats: int
    scores: dict[str, float]  # metrics.json
    history: pd.DataFrame
    lr_curve: pd.DataFrame
    lr_suggestions: pd.DataFrame
    lr: float
    params: dict[str, Any]  # as they were run
    not_run: str = ""  # where the revision's params.yaml says otherwise, in words

    @property
    def objective(self) -> str:
        """What was minimised; by params.yaml for histories that do not say so yet."""
        return str(self.history["objective"].iloc[0] if "objective" in self.history else self.params.get("loss", "ce"))


def build(
    runs: list[Run],
    pair: Comparison | str | None,
    replicates: int,
    seed: int,
    find_pictures: Callable[[set[str]], Pictures],
    talk: Talk = SILENT,
) -> str:
    """HTML text under LIMIT bytes for one run or two side by side; pair: their comparison, or why there is none.

    replicates, seed: of the intervals' bootstrap. `find_pictures` gives the pixels of those photos it can find.
    Raises UserError if the page cannot be made small enough.
    """
    found = [numbers.intervals(run.oof, replicates, seed) for run in runs]
    differences = {row.metric: row for row in pair.rows} if isinstance(pair, Comparison) else {}
    scores = [run.scores for run in runs]
    worst = [(numbers.highest_loss(run.oof, MOST), numbers.confident_mistakes(run.oof, MOST)) for run in runs]
    pictures = find_pictures(
        {
            str(run.oof.photo[place])
            for run, lists in zip(runs, worst, strict=True)
            for places in lists
            for place in places
        }
    )
    content = {
        "headline": numbers.headline_rows(scores, found, differences),
        "paired": bool(differences),
        "unpaired": pair if isinstance(pair, str) else "",
        "notes": pair.notes if isinstance(pair, Comparison) else [run.not_run for run in runs if run.not_run],
        "replicates": replicates,
        "views": _views(runs, scores, talk),
        "class_charts": [_picture(_class_chart(runs, found, width)) for width in CLASS_CHARTS],
        "colours": colours,
        "class_rows": _class_rows(runs, found, differences),
        "params": _params_rows(runs),
        "most": MOST,
    }
    template = _template()
    for quality in QUALITIES:
        sources = {name: jpeg(pixels, quality) for name, pixels in pictures.items()}
        photos = [
            {"highest": _people(run.oof, highest, sources), "mistakes": _people(run.oof, mistakes, sources)}
            for run, (highest, mistakes) in zip(runs, worst, strict=True)
        ]
        html = template.render(**content, photos=photos)
        if len(html.encode()) < LIMIT:
            return html
    raise UserError(f"report: is larger than {LIMIT} bytes at every JPEG quality; shorten the photos' file names")


def _template() -> Any:
    """The page's template. Everything put into it is escaped: file names and revisions are anyone's text."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE)


def _views(runs: list[Run], scores: list[dict[str, float]], talk: Talk) -> list[dict[str, Any]]:
    """Per run its name, facts and charts."""
    histories = [run.history for run in runs]
    views = []
    each = zip(runs, scores, colours.REVISIONS, strict=False)
    for run, score, colour in talk.track(each, len(runs), "report: charts"):
        counts = metrics.confusion(run.oof.labels, run.oof.predictions)
        table = calibration.reliability(run.oof.probabilities, run.oof.labels)
        views.append(
            {
                "name": run.name,
                "colour": colour,
                "objective": run.objective,
                "score": score,
                "folds": run.history["fold"].nunique(),
                "repeats": run.repeats,
                "absent": _absent(run.oof),
                "photos": len(run.oof.labels),
                "people": len(np.unique(run.oof.person)),
                "curves": [_picture(chart) for chart in _curves(run, colour, histories)],
                "lr": [_picture(chart) for chart in _learning_rate(run, colour)],
                "counts": _picture(charts.confusion(counts, NAMES, normalised=False)),
                "shares": _picture(charts.confusion(counts, NAMES, normalised=True)),
                "reliability": [_picture(charts.reliability(*table, colour))],
            }
        )
    return views


def _curves(run: Run, colour: str, histories: list[pd.DataFrame]) -> list[str]:
    """Four charts. Both losses share one scale; val_nll and val_f1 share theirs with the other revision."""
    loss = charts.limits([run.history], "train_loss", "val_loss")
    return [
        charts.by_epoch(run.history, "train_loss", colour, "train_loss (training photos)", "loss", loss),
        charts.by_epoch(run.history, "val_loss", colour, "val_loss (validation photos)", "loss", loss),
        charts.by_epoch(
            run.history, "val_nll", colour, "val_nll (validation photos)", "nats a photo",
            charts.limits(histories, "val_nll"),
        ),
        charts.by_epoch(
            run.history, "val_f1", colour, "val_f1 (validation photos)", "macro F1",
            charts.limits(histories, "val_f1", highest=1.0),
        ),
    ]  # fmt: skip


def _learning_rate(run: Run, colour: str) -> list[str]:
    highest = 1.05 * run.history["lr"].max()
    return [
        charts.range_test(run.lr_curve, run.lr_suggestions, run.lr, colour),
        charts.by_epoch(run.history, "lr", colour, "at each epoch's end", "learning rate", (0.0, highest)),
    ]


def _class_chart(runs: list[Run], found: list[numbers.Intervals], width: int) -> str:
    rows = [
        charts.ClassF1(
            run.name, metrics.f1_per_class(run.oof.labels, run.oof.predictions), one.class_low, one.class_high
        )
        for run, one in zip(runs, found, strict=True)
    ]
    return charts.per_class(NAMES, _photos_per_class(runs[0]), rows, width)


def _class_rows(
    runs: list[Run], found: list[numbers.Intervals], differences: dict[str, Difference]
) -> list[dict[str, Any]]:
    """The same numbers as text: class, photos, F1 with interval of each run, and the paired difference."""
    f1 = [metrics.f1_per_class(run.oof.labels, run.oof.predictions) for run in runs]
    ends = [(one.class_low, one.class_high) for one in found]
    return [
        {
            "name": NAMES[number],
            "photos": int(_photos_per_class(runs[0])[number]),
            "cells": [
                {"value": f"{value[number]:.3f}", "interval": numbers.interval_text(low[number], high[number])}
                for value, (low, high) in zip(f1, ends, strict=True)
            ],
            "difference": numbers.difference(differences.get(f"f1_{number}")),
        }
        for number in range(CLASSES)
    ]


def _absent(oof: numbers.Oof) -> list[str]:
    """Classes in neither truth nor prediction, over which macro F1 is not a mean."""
    there = metrics.present(oof.labels, oof.predictions)
    return [name for number, name in enumerate(NAMES) if number not in there]


def _photos_per_class(run: Run) -> np.ndarray:
    return np.bincount(run.oof.labels, minlength=CLASSES)


def _people(oof: numbers.Oof, places: np.ndarray, sources: dict[str, str]) -> list[dict[str, Any]]:
    """A list of photos, worst first, by person, so that one person does not look like many."""
    return [
        {
            "name": str(oof.person[group[0]]),
            "all": int((oof.person == oof.person[group[0]]).sum()),
            "cards": _cards(oof, group, sources),
        }
        for group in numbers.by_person(oof, places)
    ]


def _cards(oof: numbers.Oof, places: np.ndarray, sources: dict[str, str]) -> list[dict[str, str]]:
    """What stands beside each thumbnail; an empty source where the photo cannot be had."""
    losses, predictions, sure = oof.losses, oof.predictions, oof.probabilities.max(1)
    return [
        {
            "photo": str(oof.photo[place]),
            "source": sources.get(str(oof.photo[place]), ""),
            "true": NAMES[oof.labels[place]],
            "predicted": NAMES[predictions[place]],
            "wrong": "wrong" if predictions[place] != oof.labels[place] else "",
            "probability": f"{100 * sure[place]:.0f}\u00a0%",  # the space keeps number and sign on one line
            "loss": f"{losses[place]:.2f}",
        }
        for place in places
    ]


def _params_rows(runs: list[Run]) -> list[dict[str, Any]]:
    """Flattened keys of params.yaml with what each run was run with; of two runs only the keys that differ."""
    each = [{key: _shown(value) for key, value in flat(run.params).items()} for run in runs]
    keys = sorted(set().union(*each))
    rows = [{"key": key, "values": [values.get(key, "not set") for values in each]} for key in keys]
    return rows if len(runs) == 1 else [row for row in rows if row["values"][0] != row["values"][1]]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _picture(svg: str) -> str:
    """A data: URI. Charts are images of their own, so that ids and styles of one never meet those of another."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")
