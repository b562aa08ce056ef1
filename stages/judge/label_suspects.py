"""Which given labels are wrong? Confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70, doi:10.1613/jair.1.12125) on OOF
probabilities, axis by axis, with what the photos of a group say together.

A unit is what a label belongs to: a group for an axis that is constant in groups (gender, age), whose photos vote; a photo for
any other. Of each axis:

1. The probabilities of its levels are those of the classes, summed. A group's are the product of its photos', to a power that
   allows for their being alike (`pooled`).
2. They are calibrated by a temperature (stages.judge.calibration). One number fitted on all units: a unit's own label moves it
   by one part in as many as there are, so nothing is gained by fitting it on other groups.
3. cleanlab counts the confident joint, given level by likely true level (section 3.1 of the paper). With its columns divided by
   their sums it is the noise channel P(given | true), which is drawn towards one rate of noise for all pairs, since most pairs
   of rare levels have no count at all.
4. P(true = k | photo, given = j) is proportional to P(k | photo) P(given = j | true = k) (Bayes); the score is 1 less that of the
   given level. Models learn the noisy labels, so their P(k | photo) holds the noise already: temperature and channel are
   fitted once more together, so that P(given | photo) = sum over k of P(k | photo) P(given | k) is as likely as can be (forward
   correction: Patrini et al. 2017, arXiv:1609.03683; expectation-maximisation as Dawid & Skene 1979, doi:10.2307/2346806).
5. Where labels belong to photos, two photos of a group may have each other's label: a swap, which is one mistake and not two
   (`_swaps`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from stages.data.task_and_classes import Axis, Task
from stages.judge import calibration
from stages.judge.metrics import log_softmax

ALIKE = 0.5  # correlation of what a group's photos say: n of them count as n / (1 + (n - 1) ALIKE)
LEAST = 1e-12  # probability
# Rounds of expectation-maximisation, and those of them in which the temperature is fitted. They are few on purpose: where models
# have learnt the mistakes, likelihood goes on taking these for what models do not know (bench/audit.py --estimates).
ROUNDS, FITTED = 8, 3
DRAWN_TO = 20.0  # units of each true level that the channel is given at the rate common to all levels
LEAST_NOISE, MOST_NOISE = 1e-3, 0.4  # of the rate common to all levels
COLDEST = 0.25  # temperature; where every unit is easy, nothing else would end the sharpening
SPREAD = 0.7  # of the logarithm of a temperature around that of 1, before anything is seen
OF_TEMPERATURE, OF_CHANNEL = 1_000_000, 4_000_000  # probabilities (units x levels) drawn to fit each on, at most
GRID = 12  # temperatures looked at before the best of them is refined
FEWEST = 5_000  # units that they are fitted on, whatever the levels
CHUNK = 1_000_000  # probabilities at a time, so that memory stays flat
SWAPS = 0.002  # share of groups with two levels that are expected to have them swapped, before any is looked at
SWAPS_DRAWN_TO = 100.0  # groups that this expectation counts as
ALTERNATIVES = 2  # levels beside the given one that a swap may put in its place
NEAR = 0.2  # of an axis's scale: numbers so near to a bin's edge may belong to either side; whole numbers 1 at least
TOLD_APART = 0.75  # balanced accuracy between two levels, below which the models cannot tell them apart


@dataclass(frozen=True)
class OfAxis:
    """One axis: U units (groups, or photos), K levels."""

    unit: np.ndarray  # int [N] each photo's unit
    group: np.ndarray  # int [U] each unit's group
    given: np.ndarray  # int32 [U]
    suggested: np.ndarray  # int32 [U] the likely level other than the given one
    score: np.ndarray  # [U] estimated probability that the given level is wrong
    swapped: np.ndarray  # bool [U] likely has the label of another photo of the group, which has its own
    ambiguous: np.ndarray  # bool [U] next to the edge between the given and the suggested bin
    told_apart: np.ndarray  # bool [U] the models can tell the given from the suggested level
    log_probabilities: np.ndarray  # float32 [U, K] calibrated, of the unit's photos alone
    channel: np.ndarray  # [K, K] P(given | true), rows given
    temperature: float


@dataclass(frozen=True)
class Suspects:
    """N photos: score, the estimated probability that the class given is wrong, and the class suggested (int64)."""

    score: np.ndarray
    suggested: np.ndarray
    axes: Mapping[str, OfAxis]


def suspects(
    probabilities: np.ndarray,
    labels: np.ndarray,
    group: np.ndarray,
    task: Task,
    values: Mapping[str, np.ndarray] | None = None,
) -> Suspects:
    """Score every photo's given class, from OOF probabilities [N, C], class numbers [N] and numbered groups [N].

    values: of numeric axes the numbers [N], by the axis's name; without them no number is next to an edge. A photo's class is
    wrong where one of its levels is: 1 - product over axes of (1 - score). The class suggested has, on each axis, the level
    suggested where the score is above 1/2, else the given one; where none is, the most suspect axis's suggestion.
    """
    probabilities = np.asarray(probabilities)
    of_axes = {}
    for place, axis in enumerate(task.axes):
        logs = np.log(np.maximum(levels(probabilities, task, place), LEAST))
        constant = axis.constant and task.unit != "photo"
        of_axes[axis.name] = of_axis(
            logs, task.parts(labels)[place], group, axis, constant, (values or {}).get(axis.name)
        )
    each = np.stack([found.score[found.unit] for found in of_axes.values()])
    changed = each > 0.5
    changed[each.argmax(0), np.arange(len(labels))] |= ~changed.any(0)
    codes = tuple(
        np.where(changed[place], found.suggested[found.unit], found.given[found.unit])
        for place, found in enumerate(of_axes.values())
    )
    return Suspects(1 - np.prod(1 - each, axis=0), task.numbers(codes), of_axes)


def levels(probabilities: np.ndarray, task: Task, place: int) -> np.ndarray:
    """Probabilities [N, K] of the levels of the axis at `place`, from those of the classes [N, C]."""
    if len(task.axes) == 1:
        return probabilities
    others = tuple(1 + axis for axis in range(len(task.axes)) if axis != place)
    return np.asarray(probabilities.reshape(-1, *task.sizes).sum(others))


def of_axis(
    log_probabilities: np.ndarray,
    given: np.ndarray,
    group: np.ndarray,
    axis: Axis,
    constant: bool,
    values: np.ndarray | None,
) -> OfAxis:
    """One axis, from log probabilities [N, K] and given levels [N] of the photos; constant: a label belongs to a group."""
    photos = np.arange(len(given))
    if constant:
        _, first, unit = np.unique(group, return_index=True, return_inverse=True)
        log_probabilities, given = pooled(log_probabilities, unit), given[first]
    else:
        first, unit = photos, photos
    if log_probabilities.shape[1] == 1:  # nothing else to be
        nothing = np.zeros(len(given), bool)
        own = given.astype(np.int32)
        return OfAxis(
            unit,
            group[first],
            own,
            own,
            nothing * 1.0,
            nothing,
            nothing,
            ~nothing,
            log_probabilities,
            np.ones((1, 1)),
            1.0,
        )
    temperature, channel = fit(log_probabilities, given)
    calibrated = _calibrated(log_probabilities, temperature)
    by_swap, partner = np.zeros(len(given)), given
    if not constant:
        by_swap, partner = _swaps(calibrated, given, group, channel)
        likely = by_swap > 0.5
        if likely.any():  # they are no noise of the channel, which would count them twice
            temperature, channel = fit(log_probabilities[~likely], given[~likely])
            calibrated = _calibrated(log_probabilities, temperature)
            by_swap, partner = _swaps(calibrated, given, group, channel)
    score, suggested = _judged(calibrated, given, channel)
    swapped = by_swap > 0.5
    suggested = np.where(swapped | (by_swap > score), partner, suggested)
    score = by_swap + (1 - by_swap) * score
    edge = np.zeros(len(given), bool) if values is None else next_to_edge(axis, values[first], given, suggested)
    return OfAxis(
        unit,
        group[first],
        given.astype(np.int32),
        suggested.astype(np.int32),
        score,
        swapped,
        edge,
        apart(calibrated, given)[given, suggested],
        calibrated,
        channel,
        temperature,
    )


def pooled(log_probabilities: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Log probabilities [U, K] of units from those of their photos [N, K]: what n photos say counts n / (1 + (n - 1) ALIKE) times
    (design effect: Kish 1965, Survey Sampling). The temperature learns how much that is; this, how it grows with n."""
    photos = np.bincount(unit)
    sums = np.stack([np.bincount(unit, column) for column in log_probabilities.T], axis=1)
    return log_softmax(sums / (1 + (photos - 1) * ALIKE)[:, None]).astype(np.float32)


def fit(log_probabilities: np.ndarray, given: np.ndarray) -> tuple[float, np.ndarray]:
    """Temperature, and channel [K, K] P(given | true), of units [U, K] with given levels [U]."""
    order = np.random.default_rng(0).permutation(len(given))
    count = log_probabilities.shape[1]
    few, many = (np.sort(order[: max(FEWEST, most // count)]) for most in (OF_TEMPERATURE, OF_CHANNEL))
    logs, own = log_probabilities[few].astype(np.float64), given[few]
    temperature, noise = _common_rate(logs, own)
    of_all, labels = log_probabilities[many], given[many]
    joint = confident_joint(np.exp(_calibrated(of_all, temperature)), labels)
    for number in range(ROUNDS):
        channel = channel_of(joint, noise)
        if number < FITTED:
            temperature = _temperature(logs, channel[own])
            calibrated = _calibrated(of_all, temperature)
        joint = _joint(calibrated, labels, channel)
    return temperature, channel


def _joint(log_probabilities: np.ndarray, given: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """Units by given and true level, [K, K], as the calibrated log probabilities [U, K] and the channel expect them."""
    total = np.zeros_like(channel)
    for rows in chunks(log_probabilities):
        found, own = posterior(log_probabilities[rows], given[rows], channel), given[rows]
        total += np.stack([np.bincount(own, column, len(channel)) for column in found.T], axis=1)
    return total


def _common_rate(logs: np.ndarray, given: np.ndarray) -> tuple[float, float]:
    """Temperature and rate of noise with which the given levels are likeliest, if every wrong level is equally likely."""
    others = logs.shape[1] - 1
    rates = np.geomspace(LEAST_NOISE, MOST_NOISE, 30)
    own, best = np.arange(len(given)), LEAST_NOISE

    def loss(log_temperature: float) -> float:
        nonlocal best
        right = np.exp(log_softmax(logs / np.exp(log_temperature))[own, given])
        each = [float(-np.log((1 - rate) * right + rate / others * (1 - right)).mean()) for rate in rates]
        best = float(rates[int(np.argmin(each))])
        return min(each)

    found = _lowest(loss, len(logs))
    loss(found)
    return float(np.exp(found)), best


def confident_joint(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Units counted by given and likely true level, [K, K], in total as many as there are; a level without units has none."""
    from cleanlab.count import compute_confident_joint  # here, because it brings scikit-learn and takes a second

    return np.asarray(compute_confident_joint(given, probabilities, calibrate=True), np.float64)


def channel_of(joint: np.ndarray, noise: float) -> np.ndarray:
    """P(given | true), [K, K], from counts by given and true level, drawn towards one rate of noise for all levels."""
    common = np.full(joint.shape, noise / (len(joint) - 1))
    np.fill_diagonal(common, 1 - noise)
    drawn = joint + DRAWN_TO * common
    return np.asarray(drawn / drawn.sum(0))


def _temperature(logs: np.ndarray, seen: np.ndarray) -> float:
    """The temperature with which the given levels are likeliest through the channel; seen: its rows of them, [U, K]."""

    def loss(log_temperature: float) -> float:
        return -float(np.log((np.exp(log_softmax(logs / np.exp(log_temperature))) * seen).sum(1)).mean())

    return float(np.exp(_lowest(loss, len(logs))))


def _lowest(loss: Callable[[float], float], units: int) -> float:
    """The log of the temperature where the mean loss over so many units is lowest, models being taken to be about as sure as
    they should be (log-normal prior, SPREAD).

    Where few labels contradict models that are equally sure of all, those may be noise or the models too sure: the labels alone
    cannot say which, and the loss has two valleys. So it is looked at all over, and not from one end.
    """
    from scipy.optimize import minimize_scalar  # here, because training imports this module and seldom calls it

    def penalised(log_temperature: float) -> float:
        return loss(log_temperature) + (log_temperature / SPREAD) ** 2 / 2 / units

    grid = np.linspace(np.log(COLDEST), np.log(calibration.HOTTEST), GRID)
    best = int(np.argmin([penalised(float(each)) for each in grid]))
    ends = grid[max(0, best - 1)], grid[min(GRID - 1, best + 1)]
    return float(minimize_scalar(penalised, bounds=ends, method="bounded", options={"xatol": 0.01}).x)


def _calibrated(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Log probabilities divided by the temperature and normalised, float32 [U, K]."""
    found = np.empty(log_probabilities.shape, np.float32)
    for rows in chunks(log_probabilities):
        found[rows] = log_softmax(log_probabilities[rows] / temperature)
    return found


def _judged(log_probabilities: np.ndarray, given: np.ndarray, channel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability that the given level is wrong, and the likeliest other level, [U] each."""
    score, suggested = np.empty(len(given)), np.empty(len(given), np.int64)
    for rows in chunks(log_probabilities):
        found = posterior(log_probabilities[rows], given[rows], channel)
        own = np.arange(len(found)), given[rows]
        score[rows] = np.clip(1 - found[own], 0, 1)
        found[own] = -1
        suggested[rows] = found.argmax(1)
    return score, suggested


def posterior(log_probabilities: np.ndarray, given: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """P(true level | photos, given level), [U, K], from calibrated log probabilities [U, K] and the channel [K, K]."""
    found = np.exp(log_probabilities.astype(np.float64)) * channel[given]
    return np.asarray(found / found.sum(1, keepdims=True))


def wrong_levels(found: OfAxis, rows: slice) -> np.ndarray:
    """P(the true level is this one and the given one is wrong), [rows, K]: the score, parted among the other levels; all of a
    swap's goes to its partner's level."""
    given, score = found.given[rows], found.score[rows]
    each = posterior(found.log_probabilities[rows], given, found.channel)
    own = np.arange(len(each))
    each[own, given] = 0
    each *= (score / np.maximum(each.sum(1), LEAST))[:, None]
    swapped = found.swapped[rows]
    each[swapped] = 0
    each[own[swapped], found.suggested[rows][swapped]] = score[swapped]
    return each


def _swaps(
    log_probabilities: np.ndarray, given: np.ndarray, group: np.ndarray, channel: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probability that a photo has the label of another photo of its group, which has its own; and that level. [N] each.

    Photo i, given a, fits b by the odds r = P(given = b | i) / P(given = a | i). That i and j, given b, are swapped is r_i r_j
    times as likely as that they are not, and was expected for share_ab of the groups that have both levels, over all n_a n_b
    pairs of them. The sum over pairs is a product of two sums over photos, so time grows with photos and not with pairs.
    """
    photo, other, odds = _alternatives(log_probabilities, given, channel)
    levels_ = len(channel)
    own = given[photo]
    cell = (group[photo].astype(np.int64) * levels_ + own) * levels_ + other
    back = (group[photo].astype(np.int64) * levels_ + other) * levels_ + own
    keys, place = np.unique(cell, return_inverse=True)
    sums = np.bincount(place, odds)
    at = np.minimum(np.searchsorted(keys, back), max(len(keys) - 1, 0))
    found = keys[at] == back if len(keys) else np.zeros(0, bool)
    photo, own, other, odds, at, place = (each[found] for each in (photo, own, other, odds, at, place))
    score, partner = np.zeros(len(given)), given.astype(np.int64)
    if not len(photo):
        return score, partner
    members = np.unique(group.astype(np.int64) * levels_ + given, return_counts=True)
    of_own, of_other = (
        members[1][np.searchsorted(members[0], group[photo].astype(np.int64) * levels_ + level)]
        for level in (own, other)
    )
    ratio = odds * sums[at] / (of_own * of_other)
    pair = np.minimum(own, other) * levels_ + np.maximum(own, other)
    kinds, kind = np.unique(pair, return_inverse=True)
    groups = _groups_with_both(group, given, kinds // levels_, kinds % levels_)
    share = np.full(len(kinds), SWAPS)
    who = group[photo]
    for _ in range(ROUNDS):
        each = share[kind] * ratio  # summed over a group's photos, both sides of every pair
        likely = each / (1 + np.bincount(who, each)[who] / 2)
        expected = np.bincount(kind, likely) / 2
        share = (expected + SWAPS_DRAWN_TO * SWAPS) / (groups + SWAPS_DRAWN_TO)
    score += np.bincount(photo, likely, len(given))
    order = np.argsort(likely, kind="stable")
    partner[photo[order]] = other[order]
    return np.clip(score, 0, 1), partner


def _alternatives(
    log_probabilities: np.ndarray, given: np.ndarray, channel: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each photo its likeliest levels but the given one, and their odds against that: photo, level, odds, [N * M] each."""
    most = min(ALTERNATIVES, len(channel) - 1)
    other, odds = np.empty((len(given), most), np.int64), np.empty((len(given), most))
    for rows in chunks(log_probabilities):
        expected = np.exp(log_probabilities[rows]) @ channel.T.astype(np.float32)  # P(given | photo)
        place = np.arange(len(expected))
        own = expected[place, given[rows]].astype(np.float64)
        expected[place, given[rows]] = -1
        other[rows] = np.argpartition(-expected, most - 1, axis=1)[:, :most]
        odds[rows] = expected[place[:, None], other[rows]] / np.maximum(own, LEAST)[:, None]
    return np.repeat(np.arange(len(given)), most), other.ravel(), odds.ravel()


def _groups_with_both(group: np.ndarray, given: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """How many groups have photos of both levels, of each pair of levels `one` and `two`."""
    there = {int(level): np.unique(group[given == level]) for level in np.union1d(one, two)}
    both = [np.intersect1d(there[int(a)], there[int(b)], assume_unique=True) for a, b in zip(one, two, strict=True)]
    return np.array([len(each) for each in both])


def apart(log_probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Whether the models can tell two levels apart, [K, K]: of the units [U] that have one of both labels and are taken for one
    of both, the share taken rightly, mean of the two levels, is TOLD_APART or more."""
    count = log_probabilities.shape[1]
    taken = np.bincount(given * count + log_probabilities.argmax(1), minlength=count * count).reshape(count, count)
    rightly = np.diag(taken)[:, None] / np.maximum(np.diag(taken)[:, None] + taken, 1)
    return np.asarray((rightly + rightly.T) / 2 >= TOLD_APART)


def next_to_edge(axis: Axis, values: np.ndarray, given: np.ndarray, suggested: np.ndarray) -> np.ndarray:
    """Whether a number [U] lies next to the edge between the given and the suggested bin, [U]: they are neighbours, and it is
    within NEAR of the axis's scale, whole numbers within 1 at least (59 and 60 at 60)."""
    whole = bool(np.equal(np.mod(values, 1), 0).all())
    reach = max(NEAR * axis.scale, 1.0 if whole else 0.0)
    edge = np.asarray(axis.bins, float)[np.clip(np.maximum(given, suggested) - 1, 0, None)]
    return np.asarray((np.abs(given - suggested) == 1) & (np.abs(values - edge) <= reach))


def chunks(array: np.ndarray) -> list[slice]:
    step = max(1, CHUNK // array.shape[1])
    return [slice(start, start + step) for start in range(0, len(array), step)]
