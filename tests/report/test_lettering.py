import warnings
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from stages.data.task_and_classes import Axis, Task
from stages.report import lettering
from stages.report.html import class_section
from stages.report.png import eda_figures

KOREAN = ("마스크", "없음")


def test_names_that_no_font_can_draw_go_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_letters", lambda: frozenset(map(ord, "Größe")))
    assert lettering.legible(["mask", "Größe", *KOREAN], [0, 1, 2, 30]) == ["mask", "Größe", "class 2", "class 30"]


def test_dollar_signs_are_drawn_and_no_formula_is_read(tmp_path: Path) -> None:
    names = ("$5-$10", "$10_$20", r"$\frac{$")
    texts = [Text(text=name) for name in lettering.legible(names, range(3))]
    assert [text._preprocess_math(text.get_text()) for text in texts] == [(name, False) for name in names]
    counts = pd.DataFrame({"label": range(3), "class": names, "photos": [3, 4, 5]})
    eda_figures.classes(tmp_path / "classes.png", counts, Task("folder", (Axis("label", names),), "photo"))


def test_a_font_that_has_the_letters_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_letters", lambda: frozenset(map(ord, "".join(KOREAN))))
    assert lettering.legible(KOREAN, [0, 1]) == list(KOREAN)


def test_no_picture_has_boxes_in_place_of_letters(tmp_path: Path) -> None:
    task = Task("folder", (Axis("label", KOREAN),), "photo")
    counts = pd.DataFrame({"label": [0, 1], "class": KOREAN, "photos": [3, 4]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each letter that it has no picture of
        eda_figures.classes(tmp_path / "classes.png", counts, task)


def test_a_class_that_charts_call_by_its_number_has_it_in_the_tables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_letters", frozenset)
    task = Task("folder", (Axis("label", ("mask", *KOREAN)),), "photo")
    assert [class_section._named(task, number) for number in range(3)] == ["mask", "class 1: 마스크", "class 2: 없음"]


def test_a_legend_has_names_that_begin_with_an_underscore(tmp_path: Path) -> None:
    axes = Figure().add_subplot()
    for name in ("_rest", "$5-$10"):
        axes.plot([], [], label=lettering.in_legend(name))
    assert [text.get_text() for text in axes.legend().get_texts()] == [" _rest", r"\$5-\$10"]
