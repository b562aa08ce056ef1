from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from stages.data.task_and_classes import Axis
from stages.judge.calibration import reliability
from stages.report.colours import REVISIONS, VERDICTS
from stages.report.html import charts, class_section, page
from stages.report.html.page_scores import Oof
from tests.report.made import MANY, oof, run


def test_all_charts_of_a_page_are_written_in_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    page.build([run("main"), run("other", 2)], None, 50, 0, lambda names: {})
    assert len(drawn) == 4 + 2 + 4 + 1 + 2
    forty = replace(MANY, axes=(Axis("label", MANY.axes[0].levels[:40]),))
    page.build([run("main", task=forty, oof=oof(1, 60, forty))], None, 50, 0, lambda names: {})
    assert len(drawn) == 13 + 9 + 2 * 3, "and of many classes"
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


def test_a_half_per_cent_reads_as_in_dvcs_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [charts.per_cent(share) for share in (87 / 120, 3 / 24, 1 / 200, 0.004, 1.0)] == [73, 13, 1, 0, 100]
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    charts.confusion(np.array([[87, 33], [1, 999]]), ["a", "b"], normalised=True)
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["73", "28", "<1", "100"]
    labels, predicted = np.repeat([0, 1], [24, 60]), np.repeat([2, 0, 1], [3, 21, 60])
    of_many = Oof(labels.astype(str), labels, labels, np.eye(1000)[predicted], predicted)
    (pair,) = class_section.confusion(of_many, MANY)["pairs"]
    assert pair["share"] == "13\u00a0%"


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


@pytest.mark.parametrize(("fewest", "most"), [(4, 10), (26, 34), (100, 100), (1, 40), (1, 90_000)])
def test_photos_of_classes_are_written_as_whole_numbers_however_close_they_are(
    monkeypatch: pytest.MonkeyPatch, fewest: int, most: int
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    photos, f1 = np.linspace(fewest, most, 40).astype(int), np.linspace(0, 1, 40)
    charts.f1_by_photos(photos, [charts.ClassF1("a", f1, f1, f1, f1 > 1)], 320)
    axes = drawn[0].axes[0]
    drawn[0].draw_without_rendering()
    shown = [tick.label1 for tick in [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]]
    low, high = axes.get_xlim()
    written = [one.get_text() for one in shown if one.get_text() and low <= one.get_position()[0] <= high]
    assert 1 <= len(set(written)) == len(written) <= 6, written
    assert all(text.replace(",", "").isdecimal() for text in written), written


@pytest.mark.parametrize("photos", [np.full(40, 500), np.repeat([7, 500, 900], [4, 30, 6])])
def test_the_mean_of_like_classes_stands_only_where_there_are_classes(
    monkeypatch: pytest.MonkeyPatch, photos: np.ndarray
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    f1 = np.full(len(photos), 0.5)
    charts.f1_by_photos(photos, [charts.ClassF1("a", f1, f1, f1, f1 > 1)], 320)
    mean = drawn[0].axes[0].lines[1]
    assert np.asarray(mean.get_ydata()) == pytest.approx(0.5)
    assert np.asarray(mean.get_xdata()).min() >= photos.min() * 0.999


def test_a_bin_of_one_photo_is_a_hollow_dot_without_interval_and_nothing_leaves_the_possible_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    confidence = np.array([*[0.95] * 30, *[0.75] * 12, 0.35])  # the last is alone in its bin, and right
    right = np.array([*[1] * 30, *[1, 0] * 6, 1])
    probabilities = np.stack([confidence, *np.tile((1 - confidence) / 4, (4, 1))], axis=1)
    bins = reliability(probabilities, 1 - right, np.arange(43), 100, 0)
    charts.reliability([("a", "#00786c", bins)], "people")
    top, bottom = drawn[0].axes
    assert not top.patches, "no bars that fill a bin's height"
    intervals, known, few = top.collections
    ends = np.array([path.vertices for path in intervals.get_paths()])
    assert len(ends) == len(known.get_offsets()) == 2
    assert ends.min() >= 0
    assert ends.max() <= 1
    assert np.asarray(few.get_offsets()).tolist() == [[0.35, 1.0]]
    assert few.get_facecolor().tolist() == [[1, 1, 1, 1]], "hollow"
    small, large = known.get_sizes()
    assert small / large == pytest.approx(12 / 30)
    assert few.get_sizes()[0] < small
    shades = {round(bar.get_height()): to_hex(bar.get_facecolor()) for bar in bottom.patches if bar.get_height()}
    assert shades == {30: "#00786c", 12: "#00786c", 1: VERDICTS["too few to tell"]}
    assert "fewer than 5 people: too few to tell" in [text.get_text() for text in drawn[0].legends[0].get_texts()]
    known_bins = reliability(probabilities[:42], 1 - right[:42], np.arange(42), 100, 0)
    charts.reliability([("a", "#00786c", known_bins)], "people")
    assert len(drawn[1].legends[0].get_texts()) == 2, "nothing is said of what is not there"


def test_two_runs_lie_over_each_other_in_their_own_colours_and_legends_cover_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    page.build([run("main"), run("other", 2)], None, 50, 0, lambda names: {})
    named = [figure for figure in drawn if figure.legends]
    assert len(named) == 4 + 2 + 1 + 2, "all but the matrices"
    for figure in named:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (legend,), renderer = figure.legends, canvas.get_renderer()
        texts = [text.get_text() for text in legend.get_texts()]
        assert [any(text.startswith(name) for text in texts) for name in ("main", "other")] == [True, True]
        assert not any(
            legend.get_window_extent(renderer).overlaps(axes.get_tightbbox(renderer)) for axes in figure.axes
        )
        used = {to_hex(line.get_color()) for axes in figure.axes for line in axes.lines}
        marks = {to_hex(one) for axes in figure.axes for mark in axes.collections for one in mark.get_edgecolor()}
        assert set(REVISIONS[:2]) <= used | marks


def test_an_interval_of_few_groups_is_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "_svg", lambda figure: str(drawn.append(figure)))
    low = np.array([0.4, 0.1, np.nan])
    made = charts.ClassF1("a", np.full(3, 0.5), low, low + 0.4, np.array([False, True, True]))
    charts.per_class(["a", "b", "c"], np.array([90, 3, 1]), [made], 320)
    many, few = drawn[0].axes[0].collections
    assert few.get_linewidths()[0] < many.get_linewidths()[0] / 2
    assert [float(mark.get_segments()[0][0][1]) for mark in (many, few)] == [0, 1]
