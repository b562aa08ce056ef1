from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stages.data.task_and_classes import CONTEST, Axis
from stages.report.png import histograms
from tests.report.made import CELLS

STAIN, SIZE = CELLS.axes


def cells(sizes: list[float], stains: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"group": [str(place // 2) for place in range(len(sizes))], "size": sizes, "stain": stains})


def test_people_are_counted_once_by_year_and_by_the_axis_that_they_have_alike() -> None:
    photos = pd.DataFrame(
        {
            "group": np.repeat(["1", "2", "3"], 3),
            "mask": [0, 1, 2] * 3,
            "gender": np.repeat([1, 0, 1], 3),
            "age": np.repeat([25, 25, 70], 3),
        }
    )
    found = histograms.count(photos, CONTEST.axis("age"), CONTEST)
    assert found.table.to_dict("list") == {
        "age": [25, 25, 70],
        "gender": ["male", "female", "female"],
        "people": [1, 1, 1],
        "bin_from": [0, 0, 60],
    }
    assert histograms.in_bins(found) == {"below 30": 2, "30 to 59": 0, "60 and over": 1}


def test_numbers_that_differ_within_a_group_are_counted_by_photo_in_bars_that_say_their_width() -> None:
    found = histograms.count(cells([0.1, 2.4, 2.6, 29.9], [0, 0, 2, 2]), SIZE, CELLS)
    assert (found.units, found.step) == ("photos", 0.5)
    assert found.table.to_dict("list") == {
        "size": [0.0, 2.0, 2.5, 29.5],
        "stain": ["none", "none", "strong", "strong"],
        "photos": [1, 1, 1, 1],
        "bin_from": [0.0, 0.0, 2.5, 10.0],
        "to": [0.5, 2.5, 3.0, 30.0],
    }
    assert histograms.in_bins(found) == {"below 2.5": 2, "2.5 to below 10": 1, "10 and over": 1}


def test_a_bar_that_reaches_over_an_edge_is_counted_in_both_bins() -> None:
    sizes = [float(size) for size in range(1000)]
    axis = replace(SIZE, levels=("<333", "333+"), bins=(333.0,))
    found = histograms.count(cells(sizes, [0] * 1000), axis, replace(CELLS, axes=(STAIN, axis), subsets={}))
    assert found.step == 20
    assert histograms.in_bins(found) == {"below 333": 333, "333 and over": 667}


def test_an_axis_of_many_levels_parts_no_bars() -> None:
    levels = Axis("stain", tuple("abcdefgh"))
    task = replace(CELLS, axes=(levels, SIZE), subsets={})
    found = histograms.count(cells([1.0, 1.0], [0, 7]), SIZE, task)
    assert found.stacked is None
    assert found.table.columns.tolist() == ["size", "photos", "bin_from"]


@pytest.mark.parametrize("spread", [1e-6, 0.3, 7, 121, 5e8])
def test_bars_are_few_whatever_the_numbers(spread: float) -> None:
    sizes = (np.linspace(0, spread, 500) + 3).tolist()
    found = histograms.count(cells(sizes, [0] * 500), SIZE, CELLS)
    assert 20 <= len(found.table) <= histograms.MOST_BARS + 1
    assert found.table["photos"].sum() == 500
    assert (found.table["size"].to_numpy()[:-1] < found.table["size"].to_numpy()[1:]).all()


def test_bins_below_zero_begin_nowhere() -> None:
    frost = Axis("frost", ("<-5", "-5--1", "0+"), (-5.0, 0.0))
    task = replace(CELLS, axes=(frost,), subsets={})
    photos = pd.DataFrame({"group": ["1", "2", "3"], "frost": [-9, -3, 4]})
    found = histograms.count(photos, frost, task)
    assert found.table["bin_from"].isna().tolist() == [True, False, False]
    assert found.table["bin_from"].tolist()[1:] == [-5.0, 0.0]


def test_a_bin_of_numbers_that_are_not_whole_reaches_up_to_the_next() -> None:
    assert histograms.bin_words((3, 8), whole=True) == ["below 3", "3 to 7", "8 and over"]
    assert histograms.bin_words((3, 8), whole=False) == ["below 3", "3 to below 8", "8 and over"]
