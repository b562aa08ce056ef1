"""Which photos two runs saw alike: the same content under the same label and group, whatever its name is by now."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Photos:
    """The N photos of a run."""

    name: np.ndarray  # [N]
    group: np.ndarray  # [N] whose photo it is
    label: np.ndarray  # [N]
    content: np.ndarray  # uint64 [N], a hash of the file; 0 where it is not known


@dataclass(frozen=True)
class Pairing:
    """The M photos that can be compared, and how many cannot, for which reason."""

    a: np.ndarray  # [M] positions in the first run
    b: np.ndarray  # [M] positions of the same photos in the second
    only_a: int
    only_b: int
    relabelled: int  # of another label or group in the second run
    remade: int  # of other content under the same name, label and group
    by_name: bool  # those are compared all the same
    first: str  # name of one that is not alike; empty if there is none
    known: bool  # content of all photos is known in both runs

    @property
    def differing(self) -> int:
        return self.only_a + self.only_b + self.relabelled + self.remade


def pair(a: Photos, b: Photos) -> Pairing:
    """Pair photos by name where their content is the same, the rest by content, the rest of these by name.

    Photos of another label or group are left out. Those of other content under their old name are left out too, since
    under that name may stand another photo by now, unless they are most: then all photos were made anew (cropped, encoded
    again), and name, label and group say which is which.
    """
    place = places(a, b)
    found = np.flatnonzero(place >= 0)
    same_truth = (a.label[found] == b.label[place[found]]) & (a.group[found] == b.group[place[found]])
    content = a.content[found], b.content[place[found]]
    remade = (content[0] != content[1]) & (content[0] > 0) & (content[1] > 0) & same_truth
    by_name = 2 * int(remade.sum()) > int(same_truth.sum())
    kept = same_truth if by_name else same_truth & ~remade
    only_a = np.flatnonzero(place < 0)
    only_b = np.setdiff1d(np.arange(len(b.name)), place[found])
    odd = [*a.name[found[~same_truth | remade][:1]], *a.name[only_a[:1]], *b.name[only_b[:1]]]
    return Pairing(
        a=found[kept],
        b=place[found[kept]],
        only_a=len(only_a),
        only_b=len(only_b),
        relabelled=int((~same_truth).sum()),
        remade=int(remade.sum()),
        by_name=by_name,
        first=str(odd[0]) if odd else "",
        known=bool((a.content > 0).all() and (b.content > 0).all()),
    )


def places(a: Photos, b: Photos) -> np.ndarray:
    """Position in `b` of each photo of `a`, or -1, [N]."""
    if np.array_equal(a.name, b.name):  # nearly always; a million names in a dict take their time
        by_name = np.arange(len(a.name))
        if np.array_equal(a.content, b.content):
            return by_name
    else:
        order = {name: number for number, name in enumerate(b.name)}
        by_name = np.array([order.get(name, -1) for name in a.name], np.int64)
    there = by_name >= 0
    other = np.zeros(len(by_name), bool)
    both = a.content[there], b.content[by_name[there]]
    other[there] = (both[0] != both[1]) & (both[0] > 0) & (both[1] > 0)
    place = np.where(other, -1, by_name)
    # Photos that were renamed, or changed places: by content, where it stands once.
    free_a = np.flatnonzero((place < 0) & (a.content > 0))
    taken = np.zeros(len(b.name), bool)
    taken[place[place >= 0]] = True
    free_b = np.flatnonzero(~taken & (b.content > 0))
    one, two = (_once(photos.content, free) for photos, free in ((a, free_a), (b, free_b)))
    _, of_a, of_b = np.intersect1d(a.content[one], b.content[two], assume_unique=True, return_indices=True)
    place[one[of_a]] = two[of_b]
    # What is left under its old name is that photo made anew, or another one.
    taken[place[place >= 0]] = True
    again = np.flatnonzero(other & (place < 0))
    again = again[~taken[by_name[again]]]
    place[again] = by_name[again]
    return place


def _once(content: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Those places whose content stands nowhere else among them."""
    _, first, counts = np.unique(content[places], return_index=True, return_counts=True)
    return places[first[counts == 1]]
