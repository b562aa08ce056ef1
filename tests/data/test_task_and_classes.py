"""A task: axes and their levels, and the class numbers that follow from them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.base import paths
from stages.base.errors import UserError
from stages.data import task_and_classes
from stages.data.task_and_classes import CONTEST, Axis, Task
from tests.conftest import small

SIZES = st.lists(st.integers(2, 7), min_size=1, max_size=4)


def of_sizes(sizes: list[int]) -> Task:
    axes = [Axis(f"axis{place}", tuple(f"{place}.{code}" for code in range(size))) for place, size in enumerate(sizes)]
    return Task("table", tuple(axes), "photo")


def test_the_contests_classes_are_mask_times_six_plus_gender_times_three_plus_age() -> None:
    mask, gender, age = CONTEST.parts(np.arange(18))
    assert (mask * 6 + gender * 3 + age).tolist() == list(range(18))
    assert CONTEST.class_names[17] == "none female 60+"
    assert CONTEST.numbered_names[3] == "03 wear female <30"
    ages = np.array([0, 29, 30, 59, 60, 120])
    codes = {"mask": np.zeros(6, int), "gender": np.zeros(6, int), "age": ages}
    assert CONTEST.labels(codes).tolist() == [0, 0, 1, 1, 2, 2]
    assert CONTEST.labels(codes, {"age": (30, 58)}).tolist() == [0, 0, 1, 2, 2, 2]
    assert CONTEST.classes_of({"age": "60+"}) == CONTEST.subsets["60plus"]


@given(SIZES)
def test_parts_are_the_inverse_of_numbers_and_the_first_axis_is_slowest(sizes: list[int]) -> None:
    own = of_sizes(sizes)
    numbers = np.arange(own.classes)
    parts = own.parts(numbers)
    assert own.numbers(parts).tolist() == numbers.tolist()
    assert (np.diff(parts[0]) >= 0).all()
    assert len(set(own.class_names)) == own.classes == len(own.numbered_names)
    assert own.outputs("joint") == own.classes
    assert own.outputs("factored") == sum(sizes)
    assert [place.stop - place.start for place in own.factors] == sizes


@given(SIZES, st.data())
def test_a_subset_is_the_classes_that_have_its_levels(sizes: list[int], data: st.DataObject) -> None:
    own = of_sizes(sizes)
    place = data.draw(st.integers(0, len(sizes) - 1))
    codes = data.draw(st.sets(st.integers(0, sizes[place] - 1), min_size=1))
    axis = own.axes[place]
    found = own.classes_of({axis.name: tuple(axis.levels[code] for code in codes)})
    assert list(found) == np.flatnonzero(np.isin(own.parts(np.arange(own.classes))[place], list(codes))).tolist()


def test_a_task_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task_and_classes.write(CONTEST)
    read = task_and_classes.read(small(subsets={"old women": {"age": "60+", "gender": "female"}}))
    assert (read.axes, read.unit, read.layout, read.hash) == (
        CONTEST.axes,
        CONTEST.unit,
        CONTEST.layout,
        CONTEST.hash,
    )
    assert read.subsets["old women"] == (5, 11, 17)
    with pytest.raises(UserError, match=r"subsets: '70\+' is no axis or level of out/prepare/task\.json"):
        task_and_classes.read(small(subsets={"70plus": {"age": "70+"}}))
    for broken in ('{"axes": 3}', "[]", '{"layout": "table", "unit": "photo", "axes": [{"name": "a"}]}'):
        paths.TASK.write_text(broken)
        with pytest.raises(UserError, match=r"task\.json: is not what this version of prepare writes"):
            task_and_classes.read(small())


def test_the_hash_tells_tasks_apart_by_what_their_classes_mean() -> None:
    axes = CONTEST.axes
    older = Axis("age", ("<30", "30-57", "58+"), (30, 58), constant=True, regressed=True, scale=10.0)
    others = [
        Task("contest", (axes[1], axes[0], axes[2]), "person"),
        Task("contest", (*axes[:2], older), "person"),
        Task("contest", axes[:2], "person"),
    ]
    assert len({CONTEST.hash, *(other.hash for other in others)}) == 4
    assert Task("table", axes, "photo").hash == CONTEST.hash  # the same question, asked of other data


@pytest.mark.parametrize(
    ("bins", "whole", "names"),
    [
        ((30, 60), True, ("<30", "30-59", "60+")),
        ((1, 2, 5), True, ("<1", "1", "2-4", "5+")),
        ((0.5, 1), True, ("<0.5", "0.5-1", "1+")),
        ((3, 8), False, ("<3", "3-8", "8+")),  # 7.5 is no 3-7
        ((18,), True, ("<18", "18+")),
    ],
)
def test_bins_are_named_by_the_numbers_that_they_hold(
    bins: tuple[float, ...], whole: bool, names: tuple[str, ...]
) -> None:
    assert task_and_classes.bin_names(bins, whole) == names


def test_whole_numbers_of_every_type_keep_their_digits() -> None:
    assert {task_and_classes.number_text(kind(2**60 + 1)) for kind in (int, np.int64)} == {str(2**60 + 1)}
