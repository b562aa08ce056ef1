"""The photos that a page shows one by one, gathered by group, so that one person does not look like many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.data.task_and_classes import Task
from stages.report.html import page_scores
from stages.report.html.page_scores import Oof


@dataclass(frozen=True)
class Heat:
    """Where the models looked: overlays by photo, each with what it speaks for, and what they are in words, or why there is
    none."""

    told: str = ""
    overlays: Mapping[str, Sequence[tuple[str, np.ndarray]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """Pictures as data: URIs: of a photo by its name, and of its overlays with what each speaks for.

    A photo without one is shown by its name alone.
    """

    photos: Mapping[str, str]
    overlays: Mapping[str, list[tuple[str, str]]] = field(default_factory=dict)


def gathered(oof: Oof, task: Task, places: np.ndarray, sources: Sources) -> list[dict[str, Any]]:
    """The photos at `places`, worst first, by group; in one list without a name where there are no groups."""
    if task.unit == "photo":
        return [{"name": "", "all": 0, "cards": _cards(oof, task, places, sources)}] if len(places) else []
    return [
        {
            "name": str(oof.group[group[0]]),
            "all": int((oof.group == oof.group[group[0]]).sum()),
            "cards": _cards(oof, task, group, sources),
        }
        for group in page_scores.by_group(oof, places)
    ]


def _cards(oof: Oof, task: Task, places: np.ndarray, sources: Sources) -> list[dict[str, Any]]:
    """What stands beside each thumbnail; an empty source where the photo cannot be had."""
    shown = oof.at(places)
    predicted, sure, losses = shown.predictions, shown.probabilities.max(1), shown.losses
    return [
        {
            "photo": str(photo),
            "source": sources.photos.get(str(photo), ""),
            "overlays": sources.overlays.get(str(photo), []),
            "true": task.class_names[shown.labels[row]],
            "predicted": task.class_names[predicted[row]],
            "wrong": "wrong" if predicted[row] != shown.labels[row] else "",
            "probability": f"{100 * sure[row]:.0f}\u00a0%",  # the space keeps number and sign on one line
            "loss": f"{losses[row]:.2f}",
        }
        for row, photo in enumerate(shown.photo)
    ]
