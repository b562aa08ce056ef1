"""The report as one HTML page that needs nothing else: charts are SVG and photos JPEG inside the page."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.data.task_and_classes import Task
from stages.judge import bootstrap, calibration
from stages.judge.paired_difference import Comparison
from stages.params.keys import flat
from stages.report import colours, heat_overlay, verdicts
from stages.report.html import charts, class_section, page_scores, worst_photos
from stages.report.html.class_section import Scored, picture
from stages.report.html.thumbnails import jpeg
from stages.report.html.worst_photos import Heat, Sources

TEMPLATE = "report.html.jinja"
LIMIT = 5_000_000  # bytes
QUALITIES = (85, 60, 35, 15)  # of the JPEGs: the first with which the page stays under LIMIT
MOST = 40  # photos in each list

Pictures = dict[str, np.ndarray]


@dataclass(frozen=True)
class Run:
    """What the report shows of one revision; tables as the stages write them."""

    name: str
    task: Task
    oof: page_scores.Oof
    repeats: int
    scores: dict[str, float]  # metrics.json
    history: pd.DataFrame
    lr_curve: pd.DataFrame
    lr_suggestions: pd.DataFrame
    lr: float
    params: dict[str, Any]  # as they were run
    not_run: str = ""  # where the revision's params.yaml says otherwise, in words
    heat: Heat = field(default_factory=Heat)  # of its most confident mistakes

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
    task = runs[0].task
    photos = np.bincount(runs[0].oof.labels, minlength=task.classes)
    f1 = [class_section.f1_of(run.oof, task) for run in runs]
    groups = class_section.groups(task, photos, np.mean(f1, axis=0))
    shown = np.unique(np.concatenate([group.numbers for group in groups]))
    found = [page_scores.intervals(run.oof, task, shown, replicates, seed) for run in runs]
    scored = [Scored(run.name, own, ends) for run, own, ends in zip(runs, f1, found, strict=True)]
    differences = {row.metric: row for row in pair.rows} if isinstance(pair, Comparison) else {}
    content = {
        "task": task,
        "ungrouped": task.unit == "photo",
        "headline": page_scores.headline_rows(task, [run.scores for run in runs], found, differences),
        "paired": bool(differences),
        "answer": verdicts.answer(pair) if isinstance(pair, Comparison) else "",
        "unpaired": pair if isinstance(pair, str) else "",
        "notes": pair.notes if isinstance(pair, Comparison) else [run.not_run for run in runs if run.not_run],
        "replicates": replicates,
        "views": _views(runs, replicates, seed, talk),
        "class_charts": class_section.f1_charts(task, photos, scored, groups),
        "class_tables": [
            {"title": group.title, "rows": class_section.rows(task, photos, scored, differences, group)}
            for group in groups
        ],
        "many": task.classes > class_section.WHOLE,
        "per_class": paths.PER_CLASS,
        "oof": paths.OOF,
        "colours": colours,
        "params": _params_rows(runs),
        "most": MOST,
        "heat_legend": heat_overlay.legend(),
    }
    return _with_photos(content, runs, find_pictures)


def _with_photos(content: dict[str, Any], runs: list[Run], find_pictures: Callable[[set[str]], Pictures]) -> str:
    """The page with its worst photos, at the first of QUALITIES with which it stays under LIMIT."""
    lists = [
        {"highest": page_scores.highest_loss(run.oof, MOST), "mistakes": page_scores.confident_mistakes(run.oof, MOST)}
        for run in runs
    ]
    shown = [np.concatenate(list(one.values())) for one in lists]
    pictures = find_pictures({str(name) for run, one in zip(runs, shown, strict=True) for name in run.oof.photo[one]})
    template = _template()
    for quality in QUALITIES:
        of_photos = {name: jpeg(pixels, quality) for name, pixels in pictures.items()}
        photos = [
            {
                "highest": worst_photos.gathered(run.oof, run.task, one["highest"], Sources(of_photos)),
                "mistakes": worst_photos.gathered(
                    run.oof, run.task, one["mistakes"], Sources(of_photos, _overlays(run.heat, quality))
                ),
            }
            for run, one in zip(runs, lists, strict=True)
        ]
        html = str(template.render(**content, photos=photos))
        if len(html.encode()) < LIMIT:
            return html
    raise UserError(f"report: is larger than {LIMIT} bytes at every JPEG quality; shorten the photos' file names")


def _overlays(heat: Heat, quality: int) -> dict[str, list[tuple[str, str]]]:
    return {photo: [(of, jpeg(pixels, quality)) for of, pixels in several] for photo, several in heat.overlays.items()}


def _template() -> Any:
    """The page's template. Everything put into it is escaped: file names and revisions are anyone's text."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE)


def _views(runs: list[Run], replicates: int, seed: int, talk: Talk) -> list[dict[str, Any]]:
    """Per run its name, facts and charts."""
    histories = [run.history for run in runs]
    views = []
    for run, colour in talk.track(zip(runs, colours.REVISIONS, strict=False), len(runs), "report: charts"):
        group = bootstrap.numbered(run.oof.group)
        bins = calibration.reliability(run.oof.probabilities, run.oof.labels, group, replicates, seed)
        views.append(
            {
                "name": run.name,
                "colour": colour,
                "objective": run.objective,
                "score": run.scores,
                "folds": run.history["fold"].nunique(),
                "repeats": run.repeats,
                "absent": class_section.absent(run.oof, run.task),
                "photos": len(run.oof.labels),
                "groups": int(group.max()) + 1,
                "curves": [picture(chart) for chart in _curves(run, colour, histories)],
                "lr": [picture(chart) for chart in _learning_rate(run, colour)],
                "confusion": class_section.confusion(run.oof, run.task),
                "heat": run.heat,
                "reliability": [picture(charts.reliability(bins, run.task.units, colour))],
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


def _params_rows(runs: list[Run]) -> list[dict[str, Any]]:
    """Flattened keys of params.yaml with what each run was run with; of two runs only the keys that differ."""
    each = [{key: _shown(value) for key, value in flat(run.params).items()} for run in runs]
    keys = sorted(set().union(*each))
    rows = [{"key": key, "values": [values.get(key, "not set") for values in each]} for key in keys]
    return rows if len(runs) == 1 else [row for row in rows if row["values"][0] != row["values"][1]]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
