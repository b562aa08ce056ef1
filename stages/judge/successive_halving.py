"""Successive halving: all candidates train briefly, the best third of them for longer, and so on to a few at full length.

Jamieson & Talwalkar 2016 (arXiv:1502.07943), with the factor 3 of Hyperband and ASHA (Li et al. 2020, arXiv:1810.05934).
ASHA's own rule, which promotes a candidate as soon as a process is idle, is not taken: which ones it promotes depends on how
fast each happened to be trained. Here a rung ends before the next begins, so the same trainings give the same answer.

The base, which all are compared with, is in every rung beside the candidates; where it stands it earns like any of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FACTOR = 3  # of the candidates of a rung, one in so many goes on
FINALISTS = 3  # candidates of the last rung
# Of each rung: share of the full epochs, and folds. Two folds from the first: how few people judge a candidate hides more of
# its rank than how briefly it was trained (docs/screening.md).
SHAPE = ((0.25, 2), (0.5, 3), (1.0, 3))

Score = tuple[float, ...]  # the higher, the better; compared from the first number on


@dataclass(frozen=True)
class Rung:
    """What a number of candidates, and the base beside them, are trained for."""

    candidates: int
    share: float  # of the full epochs
    folds: int  # the first so many

    def epochs(self, full: int) -> int:
        """Of a training whose full length is `full` epochs, at least one."""
        return max(1, math.ceil(self.share * full - 1e-9))

    def trainings(self) -> int:
        return (self.candidates + 1) * self.folds

    def cost(self, full: int) -> int:
        """Epochs of all its trainings together, candidates and base, each of `full` epochs at full length."""
        return self.trainings() * self.epochs(full)


def rungs(candidates: int, folds: int, shape: Sequence[tuple[float, int]] = SHAPE) -> list[Rung]:
    """The rungs for so many candidates on `folds` folds. Those before one that would drop nobody are left out."""
    counts = [candidates]
    while len(counts) < len(shape):
        counts.append(min(counts[-1], max(FINALISTS, math.ceil(counts[-1] / FACTOR))))
    counts[-1] = min(counts[-1], FINALISTS)
    found = [Rung(count, share, min(folds, most)) for count, (share, most) in zip(counts, shape, strict=True)]
    return [rung for place, rung in enumerate(found) if place + 1 == len(found) or rung.candidates > counts[place + 1]]


def kept(scores: Mapping[int, Score], most: int, base: int) -> list[int]:
    """The best `most` of a rung's candidates, the base not counted, in the order of their numbers.

    Of equal scores the lower number goes on.
    """
    return sorted(standing({one: score for one, score in scores.items() if one != base})[:most])


def standing(scores: Mapping[int, Score]) -> list[int]:
    """Candidates from the best to the worst; of equal scores the lower number first."""
    return sorted(scores, key=lambda one: (tuple(-part for part in scores[one]), one))


def order(reached: Sequence[Mapping[int, Score]], base: int) -> list[int]:
    """All candidates and the base from the best to the worst, by the scores of each rung that was reached.

    Who came further stands higher; within a rung the scores decide. The base stands among the finalists only if it would have
    been kept so far: where it was worse than all that went on, it stands among those that were dropped there.
    """
    better: list[int] = []
    worse: list[int] = []  # dropped so far, those of later rungs first
    base_is_in = True
    for place, rung in enumerate(reached):
        ranked = [one for one in standing(rung) if one != base or base_is_in]
        going_on = set(reached[place + 1]) - {base} if place + 1 < len(reached) else set()
        if not going_on:
            better = ranked
            break
        last = max(ranked.index(one) for one in going_on)
        base_is_in = base in ranked[:last]
        dropped = [one for one in ranked if one not in going_on and (one != base or not base_is_in)]
        worse = dropped + worse
    return better + worse
