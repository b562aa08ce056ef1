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
from stages.judge.bootstrap import FEWEST_PEOPLE
from stages.judge.paired_difference import Comparison
from stages.params.keys import flat
from stages.report import class_lists, colours, heat_overlay, verdicts
from stages.report.html import charts, class_section, page_scores, suspect_labels, worst_photos
from stages.report.html.charts import Course
from stages.report.html.class_section import Scored, picture
from stages.report.html.dark import in_the_dark
from stages.report.html.suspect_labels import Suspects
from stages.report.html.thumbnails import jpeg
from stages.report.html.worst_photos import Heat, Sources

TEMPLATE = "report.html.jinja"
LIMIT = 5_000_000  # bytes
QUALITIES = (85, 60, 35, 15)  # of the JPEGs: the first with which the page stays under LIMIT
MOST = 40  # photos in each list
OF_RUN = 20  # letters of a run's name in a chart's title

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
    origin: str = ""  # where its results come from: commit, date, data
    before: str = ""  # how it stands against the results before it, in a sentence
    heat: Heat = field(default_factory=Heat)  # of its most confident mistakes
    suspects: Suspects = field(default_factory=Suspects)  # labels that an audit of it doubts

    def course(self, colour: str) -> Course:
        return Course(self.name, colour, self.history, self.lr_curve, self.lr_suggestions, self.lr)

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
        "verdict": _verdict(runs, pair),
        "unpaired": pair if isinstance(pair, str) else "",
        "notes": pair.notes if isinstance(pair, Comparison) else [run.not_run for run in runs if run.not_run],
        "replicates": replicates,
        "views": _views(runs),
        "charts": _charts(runs, replicates, seed, talk),
        "class_charts": class_section.f1_charts(task, photos, scored, groups),
        "class_tables": [
            {"title": group.title, "rows": class_section.rows(task, photos, scored, differences, group)}
            for group in groups
        ],
        "many": task.classes > class_section.WHOLE,
        "per_class": paths.PER_CLASS,
        "oof": paths.OOF,
        "colours": colours,
        "in_the_light": str,
        "in_the_dark": in_the_dark,
        "fewest": FEWEST_PEOPLE,
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
    wanted = {str(name) for run, one in zip(runs, shown, strict=True) for name in run.oof.photo[one]}
    pictures = find_pictures(wanted.union(*(run.suspects.photos for run in runs)))
    template = _template()
    for quality in QUALITIES:
        of_photos = {name: jpeg(pixels, quality) for name, pixels in pictures.items()}
        photos = [
            {
                "highest": worst_photos.gathered(run.oof, run.task, one["highest"], Sources(of_photos)),
                "mistakes": worst_photos.gathered(
                    run.oof, run.task, one["mistakes"], Sources(of_photos, _overlays(run.heat, quality))
                ),
                "suspects": suspect_labels.cards(run.suspects, of_photos),
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


def _verdict(runs: list[Run], pair: Comparison | str | None) -> list[str]:
    """The answer in sentences: of two runs which is better, of one how it scores and how it stands against the one before."""
    scores = []
    for run in runs:
        low, high = (run.scores.get(f"macro_f1_{end}") for end in ("low", "high"))
        interval = "" if low is None else f", 95 % interval {low:.4f} to {high:.4f}"
        scores.append(f"macro F1 {run.scores['macro_f1']:.4f}{interval}")
    if len(runs) == 1:
        return [f"M{scores[0][1:]}", *([runs[0].before] if runs[0].before else [])]
    both = "; ".join(f"{run.name}: {score}" for run, score in zip(runs, scores, strict=True))
    return [verdicts.answer(pair), both] if isinstance(pair, Comparison) else [both]


def _views(runs: list[Run]) -> list[dict[str, Any]]:
    """Per run its name, facts and matrices."""
    return [
        {
            "name": run.name,
            "origin": run.origin,
            "objective": run.objective,
            "score": run.scores,
            "folds": run.history["fold"].nunique(),
            "repeats": run.repeats,
            "absent": class_section.absent(run.oof, run.task),
            "photos": len(run.oof.labels),
            "groups": len(np.unique(run.oof.group)),
            "confusion": class_section.confusion(run.oof, run.task),
            "heat": run.heat,
            "suspects": run.suspects.told,
        }
        for run in runs
    ]


def _charts(runs: list[Run], replicates: int, seed: int, talk: Talk) -> dict[str, list[tuple[str, str]]]:
    """Of each section the charts and what each shows. Runs are drawn over each other, in their own colours."""
    courses = [run.course(colour) for run, colour in zip(runs, colours.REVISIONS, strict=False)]
    bins = [
        (
            run.name,
            colour,
            calibration.reliability(
                run.oof.probabilities, run.oof.labels, bootstrap.numbered(run.oof.group), replicates, seed
            ),
        )
        for run, colour in talk.track(zip(runs, colours.REVISIONS, strict=False), len(runs), "report: charts")
    ]
    return {
        "curves": _curves(runs, courses),
        "lr": _learning_rate(courses),
        "reliability": [
            (
                picture(charts.reliability(bins, runs[0].task.units)),
                "reliability diagram: accuracy against confidence with 95 % intervals, photos per bin beneath",
            )
        ],
    }


def _curves(runs: list[Run], courses: list[Course]) -> list[tuple[str, str]]:
    """Losses on one scale, of runs that minimised the same thing over each other, of others each alone; then val_nll and
    val_f1."""
    alike = len({run.objective for run in runs}) == 1
    drawn = []
    for together in [courses] if alike else [[course] for course in courses]:
        histories = [course.history for course in together]
        loss, of = charts.limits(histories, "train_loss", "val_loss"), ", ".join(course.name for course in together)
        for column, photos in (("train_loss", "training"), ("val_loss", "validation")):
            title = f"{column} ({photos} photos)" if alike else f"{column}, {class_lists.cut(of, OF_RUN)}"
            drawn.append((charts.by_epoch(together, column, title, "loss", loss), f"{column} by epoch, {of}"))
    histories = [course.history for course in courses]
    for column, label, highest in (("val_nll", "nats a photo", np.inf), ("val_f1", "macro F1", 1.0)):
        limits = charts.limits(histories, column, highest=highest)
        title = f"{column} (validation photos)"
        drawn.append((charts.by_epoch(courses, column, title, label, limits), f"{column} by epoch"))
    return [(picture(svg), alt) for svg, alt in drawn]


def _learning_rate(courses: list[Course]) -> list[tuple[str, str]]:
    highest = 1.05 * max(course.history["lr"].max() for course in courses)
    by_epoch = charts.by_epoch(courses, "lr", "at each epoch's end", "learning rate", (0.0, highest))
    return [
        (picture(charts.range_test(courses)), "learning-rate range test over a logarithmic axis"),
        (picture(by_epoch), "learning rate by epoch"),
    ]


def _params_rows(runs: list[Run]) -> list[dict[str, Any]]:
    """Flattened keys of params.yaml with what each run was run with; of two runs only the keys that differ."""
    each = [{key: _shown(value) for key, value in flat(run.params).items()} for run in runs]
    keys = sorted(set().union(*each))
    rows = [{"key": key, "values": [values.get(key, "not set") for values in each]} for key in keys]
    return rows if len(runs) == 1 else [row for row in rows if row["values"][0] != row["values"][1]]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
