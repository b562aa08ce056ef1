from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from stages.data.task_and_classes import Axis
from stages.report.html import charts, page
from tests.report.made import MANY, oof, run


def test_all_charts_of_a_page_are_written_in_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    page.build([run("main"), run("other", 2)], None, 50, 0, lambda names: {})
    assert len(drawn) == 2 * 9 + 2
    forty = replace(MANY, axes=(Axis("label", MANY.axes[0].levels[:40]),))
    page.build([run("main", task=forty, oof=oof(1, 60, forty))], None, 50, 0, lambda names: {})
    assert len(drawn) == 20 + 9 + 2 * 3, "and of many classes"
    for figure in drawn:
        written = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        assert written
        assert {round(text.get_fontsize() * charts.INCH / 72, 6) for text in written} == {charts.FONT}


def test_an_axis_does_not_reach_where_no_score_can_be() -> None:
    history = run("a").history.assign(val_f1=[0.0, 0.5, 1.0] * 2, val_nll=[2.0, 1.0, 0.01] * 2)
    assert charts.limits([history], "val_f1", highest=1.0) == (0, 1)
    low, high = charts.limits([history], "val_nll")
    assert low == 0
    assert high > 2
    assert charts.limits([history.assign(val_f1=np.nan)], "val_f1") == (0, 1)


@pytest.mark.parametrize(("classes", "side"), [(2, charts.PANEL), (18, charts.MATRIX), (30, 896)])
def test_cells_of_a_matrix_are_of_one_size_however_many(classes: int, side: int) -> None:
    svg = charts.confusion(np.eye(classes, dtype=int), [f"c{number}" for number in range(classes)], normalised=False)
    width = float(svg[svg.index('width="') + 7 :].split("pt")[0]) * charts.INCH / 72
    assert round(width) == side


def test_of_many_classes_no_mistake_is_lost_between_the_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    counts = np.diag(np.arange(1000, 0, -1))
    counts[999, 3] = 1  # half of the rarest class
    charts.confusion_of_many(counts, 320)
    (dots,) = (np.asarray(image.get_array()) for image in drawn[0].axes[0].images)
    assert max(dots.shape) <= 320 * charts.DOTS
    assert dots[-1, 0] == pytest.approx(0.5**0.5)
    assert (np.diag(dots)[:-1] == 1).all()
    assert np.count_nonzero(dots) == len(dots) + 1
