"""Answers only where the model is sure enough: how many photos get one, and how many of these are right (selective
classification: Geifman & El-Yaniv 2017, arXiv:1705.08500), with 95 % intervals over groups."""

import math
from dataclasses import dataclass

import numpy as np

from stages.judge import bootstrap, calibration
from stages.judge.bootstrap import FEWEST_PEOPLE


@dataclass(frozen=True)
class Share:
    """A share of photos with its 95 % interval over groups; NaN where too few groups have such photos."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Answered:
    """What asking for a probability comes to on photos of known class."""

    coverage: Share  # photos that get an answer, of all
    accuracy: Share  # right answers, of those given
    photos: int  # that get an answer
    groups: int  # with such a photo


def measured(
    confidence: np.ndarray, right: np.ndarray, group: np.ndarray, least: float, how: tuple[int, int]
) -> Answered:
    """Coverage and accuracy of answers of at least this confidence, on photos of numbered groups, [N] each.

    how: replicates and seed of the bootstrap.
    """
    given = confidence >= least
    return Answered(
        share(given, np.ones(len(given), bool), group, how),
        share(given & right, given, group, how),
        int(given.sum()),
        len(np.unique(group[given])),
    )


def share(hits: np.ndarray, among: np.ndarray, group: np.ndarray, how: tuple[int, int]) -> Share:
    """Share of the photos `among` that are `hits`, bool [N] each, over numbered groups [N]."""
    if not among.any():
        return Share(math.nan, math.nan, math.nan)
    value, groups = hits.sum() / among.sum(), len(np.unique(group[among]))
    if groups < FEWEST_PEOPLE:
        return Share(float(value), math.nan, math.nan)
    unit = bootstrap.dealt(group)
    top, bottom = (np.bincount(unit, which)[:, None] for which in (hits, among))
    low, high = calibration.intervals_of_shares((top, bottom), np.array([value]), group, np.array([groups]), how)
    return Share(float(value), float(low[0]), float(high[0]))
