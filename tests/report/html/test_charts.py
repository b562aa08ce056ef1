import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from stages.report.html import charts, page
from tests.report.made import run


def test_all_charts_of_a_page_are_written_in_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    page.build([run("main"), run("other", 2)], None, 50, 0, lambda names: {})
    assert len(drawn) == 2 * 9 + 2
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
