from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from stages.data.task_and_classes import CONTEST
from stages.judge.paired_difference import UNDECIDED
from stages.report import colours
from stages.report.png import result_figures
from tests.differences import made as difference
from tests.report.made import MANY


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, as they were drawn."""
    found: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **options: Any) -> None:
        found.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


ROWS = [
    difference("macro_f1", 0.01, 0.02),
    difference("accuracy", 0.01, 0.01, "better"),
    difference("nll", -3.0, 1.0, "better"),
    difference("f1_0", 0.0, 0.02),
    difference("f1_17", -0.3, 0.7, "worse"),
    difference("f1_16", 0.5, 1.0, "too few to tell"),
    difference("f1_15", 0.1, 0.15, "better as trained"),
]


def test_a_headline_number_has_an_axis_of_its_own_apart_from_rare_classes(drawn: list[Figure], tmp_path: Path) -> None:
    result_figures.forest(tmp_path / "forest.png", [("one", ROWS), ("other", ROWS)], "base", CONTEST)
    scores, _, classes, _, nll, _ = drawn[0].axes
    assert [text.get_text() for text in scores.get_yticklabels()] == ["macro F1", "accuracy"]
    assert [text.get_text() for text in nll.get_yticklabels()] == ["val_nll"]
    assert len(classes.get_yticklabels()) == 4
    low, high = scores.get_xlim()
    assert (0.03 - -0.01) / (high - low) > 0.3, "the interval of macro F1 is seen as one"
    assert classes.get_xlim() == (-1, 1), "and a rare class's whole interval too, but nothing that cannot be"


def test_classes_of_few_people_have_a_panel_of_their_own(drawn: list[Figure], tmp_path: Path) -> None:
    groups = {f"f1_{number}": 40 if number % 6 % 3 < 2 else 6 for number in range(18)}
    rows = [replace(difference(name, 0.01, 0.05 if count > 9 else 0.5), groups=count) for name, count in groups.items()]
    result_figures.forest(tmp_path / "forest.png", [("one", [*ROWS[:3], *rows])], "base", CONTEST)
    _, classes, rare, _ = drawn[0].axes
    assert (len(classes.get_yticklabels()), len(rare.get_yticklabels())) == (12, 6)
    assert all(text.get_text().endswith("60+") for text in rare.get_yticklabels())
    assert classes.get_xlim()[1] < 0.1 < rare.get_xlim()[1]


def test_both_intervals_are_drawn_the_models_within_the_methods(drawn: list[Figure], tmp_path: Path) -> None:
    result_figures.forest(tmp_path / "forest.png", [("one", ROWS[:1])], "base", CONTEST)
    thin, thick = (
        line for line in drawn[0].axes[0].lines if len(line.get_xdata()) == 2 and line.get_color() != colours.INK
    )
    assert list(thin.get_xdata()) == pytest.approx([-0.01, 0.03])
    assert list(thick.get_xdata()) == pytest.approx([0.0, 0.02])
    assert thin.get_linewidth() < thick.get_linewidth()


def test_a_forest_plot_names_the_verdicts_it_shows_by_colour_and_mark(drawn: list[Figure], tmp_path: Path) -> None:
    result_figures.forest(tmp_path / "forest.png", [("one", ROWS)], "base", CONTEST)
    (legend,) = drawn[0].legends
    named = {text.get_text(): line for text, line in zip(legend.texts, legend.legend_handles, strict=True)}
    assert {row.verdict for row in ROWS} == set(named) - {
        "95 % interval of these trained models", "of the method, trained again",
    }  # fmt: skip
    for verdict in {row.verdict for row in ROWS}:
        line = named[verdict]
        assert line.get_color() == colours.VERDICTS[verdict.removesuffix(" as trained")]  # type: ignore[union-attr]
        assert line.get_marker() == ("x" if verdict == "too few to tell" else "o")  # type: ignore[attr-defined]
        assert (line.get_markerfacecolor() == "white") == verdict.endswith("as trained")  # type: ignore[attr-defined]


def test_a_difference_that_is_the_same_in_every_sample_is_a_cross_for_it_has_no_interval(
    drawn: list[Figure], tmp_path: Path
) -> None:
    same = replace(ROWS[0], difference=0.0, low=0.0, high=0.0, models_low=0.0, models_high=0.0, verdict=UNDECIDED)
    result_figures.forest(tmp_path / "forest.png", [("one", [same])], "base", CONTEST)
    (mark,) = [line for line in drawn[0].axes[0].lines if line.get_color() != colours.INK]
    assert mark.get_marker() == "x"
    (legend,) = drawn[0].legends
    assert f"{UNDECIDED}: the same in every sample" in [text.get_text() for text in legend.texts]
    assert UNDECIDED not in [text.get_text() for text in legend.texts]


def test_suggestions_are_told_apart_by_shape(drawn: list[Figure], tmp_path: Path) -> None:
    lrs = np.geomspace(1e-5, 1, 20)
    names, curve = dict.fromkeys(colours.SUGGESTIONS, 0.01), (lrs, np.linspace(3, 2, 20), np.linspace(3, 2, 20))
    result_figures.lr_curve(tmp_path / "curve.png", curve, names, 0.07, 0.003)
    marks = [line for line in drawn[0].axes[0].lines if line.get_marker() not in ("None", "")]
    assert len({line.get_marker() for line in marks}) == 2
    assert {line.get_color() for line in marks} == {colours.INK}


def test_a_range_tests_picture_says_how_its_suggestion_came_about(drawn: list[Figure], tmp_path: Path) -> None:
    lrs = np.geomspace(1e-5, 1, 20)
    losses = 3 - 1 / (1 + np.exp(-4 * np.log10(lrs / 1e-3)))
    marks = {"half the fall": 1e-3, "lowest": 1.0}
    result_figures.lr_curve(tmp_path / "curve.png", (lrs, losses, losses), marks, 7e-3, 3e-3)
    axes = drawn[0].axes[0]
    assert any("x 7.0 = 0.007" in text.get_text() for text in axes.texts)
    (arrow,) = [text for text in axes.texts if isinstance(text, Annotation)]
    assert (arrow.xyann[0], arrow.xy[0]) == (1e-3, 7e-3)
    levels = sorted(line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":")  # type: ignore[index]
    assert levels == pytest.approx([2, 3], abs=0.02)
    assert "chosen: 0.003" in [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    result_figures.lr_curve(tmp_path / "curve.png", (lrs, losses, losses), {}, None, 3e-3)
    assert not drawn[1].axes[0].texts, "a curve that suggests nothing"


def test_of_many_classes_a_forest_plot_draws_those_that_differ_most_and_says_so(
    drawn: list[Figure], tmp_path: Path
) -> None:
    rows = [difference("macro_f1", 0.01, 0.02)]
    rows += [difference(f"f1_{number}", number / 1000, 0.1) for number in range(998)]
    rows += [difference("f1_998", 0.9, 1.0, "too few to tell"), difference("f1_999", 0.002, 0.001, "better")]
    result_figures.forest(tmp_path / "forest.png", [("one", rows)], "base", MANY)
    classes = drawn[0].axes[1]
    names = [text.get_text() for text in classes.get_yticklabels()]
    assert len(names) == 20
    assert "999 species 999" in names, "where there is evidence"
    assert "997 species 997" in names
    assert "998 species 998" not in names, "of which next to nothing is known"
    assert classes.get_xlabel().startswith("difference of the F1 of the 20 of 1000 classes")


@pytest.mark.parametrize(("classes", "written"), [(2, 3), (30, 3), (31, 0), (1000, 0)])
def test_counts_are_written_in_a_confusion_matrix_where_they_can_be_read(classes: int, written: int) -> None:
    figure = result_figures.confusion_figure(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), classes)
    assert len(figure.axes[0].texts) == written
    assert figure.axes[0].images[0].get_array().shape == (classes, classes)  # type: ignore[union-attr]
    assert max(figure.get_size_inches()) < 12
