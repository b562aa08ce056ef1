"""Which classes a page shows where there are more than it can show, and how they are named there.

Up to WHOLE classes everything is shown whole. Of more, lists name the LISTED that matter most: those with the lowest F1,
those with the fewest photos, and the pairs that are taken for each other; pictures show all of them without names.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from stages.judge.paired_difference import TOO_FEW, UNDECIDED, Difference

WHOLE = 30  # classes that are shown one by one; twice as many lines fit a screen
LISTED = 20  # of more classes, in each list
NAMED = 6  # in a sentence
LONGEST = 26  # letters of a name beside a chart; the contest's longest has 22


def lowest(f1: np.ndarray, photos: np.ndarray, most: int = LISTED, fewest: int = 1) -> np.ndarray:
    """Numbers of the classes with the lowest F1, worst first; of equal ones (0, mostly) those with most photos first.

    f1, photos: [C]. Classes with fewer photos than `fewest` are left out: next to nothing can be said of them.
    """
    order = np.lexsort((-photos, f1))
    return order[photos[order] >= fewest][:most]


def rarest(f1: np.ndarray, photos: np.ndarray, most: int = LISTED) -> np.ndarray:
    """Numbers of the classes with the fewest photos, rarest first, of equally rare ones the worst first. f1, photos: [C]."""
    order = np.lexsort((f1, photos))
    return order[photos[order] > 0][:most]


def confused(counts: np.ndarray, most: int = LISTED) -> np.ndarray:
    """Pairs (true, predicted), int [K, 2], that most photos are mistaken in; of equals, those of the rarer true class first.

    counts: [C, C], row = true class.
    """
    mistakes = counts - np.diag(np.diag(counts))
    true, predicted = np.nonzero(mistakes)
    order = np.lexsort((predicted, true, counts.sum(1)[true], -mistakes[true, predicted]))[:most]
    return np.stack([true[order], predicted[order]], axis=1)


def cut(name: str, longest: int = LONGEST) -> str:
    """A name of at most `longest` letters, cut in its middle: beginnings and ends tell names apart."""
    if len(name) <= longest:
        return name
    end = (longest - 1) // 2
    return f"{name[: longest - 1 - end]}…{name[-end:]}"


def unlike(names: Sequence[str], numbers: Iterable[int], longest: int = LONGEST) -> list[str]:
    """The same for many names; those that would be cut to the same text get their class numbers before them."""
    shown = [cut(name, longest) for name in names]
    often = {text for text, count in Counter(shown).items() if count > 1}
    return [
        cut(f"{number} {name}", longest) if text in often else text
        for number, name, text in zip(numbers, names, shown, strict=True)
    ]


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Names in a sentence: `a, b and 95 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def differing(rows: Iterable[Difference], most: int = LISTED) -> list[str]:
    """Metrics of the classes whose F1 differs most, where enough is known of them: better and worse ones first."""

    def rank(row: Difference) -> tuple[bool, bool, float]:
        return row.verdict == TOO_FEW, row.verdict == UNDECIDED, -abs(row.difference)

    return list(dict.fromkeys(row.metric for row in sorted(rows, key=rank)))[:most]
