import io
import json
import re
from typing import Any

import numpy as np
import pytest
import yaml
from dvc_render import VegaRenderer
from PIL import Image

from stages import oof_ensemble
from stages.base.errors import UserError
from stages.by_hand import plots
from stages.data.task_and_classes import CONTEST
from stages.judge import metrics
from stages.report import colours
from tests.conftest import ROOT

SPEC = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "data": {"values": [{"epoch": 1, "val_loss": 2.0}, {"epoch": 2, "val_loss": 1.0}]},
    "width": 120,
    "height": 80,
    "mark": "line",
    "encoding": {"x": {"field": "epoch", "type": "quantitative"}, "y": {"field": "val_loss", "type": "quantitative"}},
}


def test_a_specification_is_drawn_as_png_and_svg() -> None:
    picture = Image.open(io.BytesIO(plots.render(SPEC, "png", "loss")))
    assert min(picture.size) > 2 * 80
    assert picture.convert("L").getextrema()[0] < 200  # something is drawn
    assert b"val_loss" in plots.render(SPEC, "svg", "loss")


def test_a_specification_that_cannot_be_drawn_names_its_plot() -> None:
    with pytest.raises(UserError, match=r"^plots: loss: cannot be drawn \(.*\); mend its template in .dvc/plots"):
        plots.render({"mark": 3}, "png", "loss")


def test_files_are_named_after_the_plots_and_never_overwrite_each_other() -> None:
    named = plots.name_files({"Loss (train)": [1, 2], "Loss: (val)": [3], "../F1 per class": [4], "(?)": [5]})
    assert named == {"loss": 1, "loss-2": 2, "loss-3": 3, "f1-per-class": 4, "plot": 5}


def test_revisions_are_drawn_in_the_order_in_which_a_person_names_them() -> None:
    revisions = ["main", "focal", "workspace"]
    rows = [{"rev": rev, "n": n} for rev in ("workspace", "main", "focal") for n in (2, 1)]
    ordered = plots.in_order(SPEC | {"data": {"values": rows}}, revisions)
    shown = [(row["rev"], row["n"]) for row in ordered["data"]["values"]]
    assert shown == [("main", 2), ("main", 1), ("focal", 2), ("focal", 1), ("workspace", 2), ("workspace", 1)]
    assert ordered["mark"] == "line"
    assert plots.in_order(SPEC, []) == SPEC


def drawn(template: str, rows: list[dict[str, Any]], **properties: str) -> str:
    """SVG of one of our templates, filled in by DVC's own code; every value is text, as DVC reads CSV files."""
    texts = [{key: str(value) for key, value in row.items()} for row in rows]
    names = {"x_label": properties["x"], "y_label": properties["y"], "title": "a title"} | properties
    spec = VegaRenderer(texts, "plot", template=template, template_dir=str(ROOT / ".dvc/plots"), **names)
    return plots.render(json.loads(json.dumps(spec.get_filled_template())), "svg", template).decode()


def written(svg: str) -> list[str]:
    return [text.replace("&lt;", "<") for text in re.findall(r">([^<>]+)</text>", svg)]


def colour_of(svg: str, label: str) -> set[str]:
    """Fills or strokes of the marks whose description holds `label`."""
    marks = [mark for mark in re.findall(r"<path [^>]*>", svg) if label in mark and "graphics-symbol" in mark]
    return {colour for mark in marks for colour in re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', mark)}


def losses(rev: str, objective: str | None, scale: float) -> list[dict[str, Any]]:
    """What DVC makes of history.csv: two folds, three epochs, train_loss and val_loss."""
    told = {} if objective is None else {"objective": objective}
    return [
        {
            "rev": rev,
            "fold": fold,
            "repeat": 0,
            "epoch": epoch,
            "field": field,
            "loss_value": scale * (4 - epoch),
            **told,
        }
        for fold in (0, 1)
        for epoch in (1, 2, 3)
        for field in ("train_loss", "val_loss")
    ]


def confusion(rev: str, counts: list[list[int]]) -> list[dict[str, Any]]:
    return [
        {"rev": rev, "true": "ab"[true], "predicted": "ab"[predicted], "photos": counts[true][predicted]}
        for true in (0, 1)
        for predicted in (0, 1)
    ]


# Of projects whose classes are many, or whose numbers are those of any axis: `maskcli init` names these in their dvc.yaml.
ELSEWHERE = {"worst_classes", "confused_pairs", "numbers"}


def test_every_plot_of_dvc_has_a_template_of_ours() -> None:
    wanted = {
        next(iter(plot.values()))["template"] for plot in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    }
    assert {path.stem for path in (ROOT / ".dvc/plots").glob("*.json")} == wanted | ELSEWHERE


def test_each_loss_has_panels_and_a_scale_of_its_own() -> None:
    rows = losses("one", "ce", 1) + losses("other", "focal (gamma 2, alpha none)", 0.01) + losses("third", "ce", 1)
    texts = written(drawn("train_and_val_by_fold", rows, x="epoch", y="loss_value"))
    panels = [text for text in texts if text.startswith("loss: ")]
    assert panels == ["loss: ce"] * 2 + ["loss: focal (gamma 2, alpha none)"] * 2
    assert texts.count("0.030") == 2, "small losses have ticks of their own"
    assert texts.count("3.0") == 2
    assert [text for text in texts if text.isdecimal()] == ["1", "2", "3"] * 2, "there are no half epochs"
    assert {"one", "other", "third"} <= set(texts)


def test_losses_of_runs_that_do_not_name_theirs_are_not_drawn_over_each_other() -> None:
    rows = losses("old", None, 1) + losses("older", None, 0.01)
    texts = written(drawn("train_and_val_by_fold", rows, x="epoch", y="loss_value"))
    assert [text for text in texts if text.startswith("loss of")] == ["loss of old"] * 2 + ["loss of older"] * 2


def test_train_and_validation_loss_of_one_objective_share_their_scale() -> None:
    rows = [row | {"loss_value": 5} if row["field"] == "val_loss" else row for row in losses("one", "ce", 1)]
    texts = written(drawn("train_and_val_by_fold", rows, x="epoch", y="loss_value"))
    assert texts.count("5.0") == texts.count("1.0") == 2


def test_shares_are_written_in_the_cells_of_the_confusion_matrix() -> None:
    texts = written(drawn("confusion", confusion("workspace", [[3, 1], [1, 999]]), x="predicted", y="true"))
    cells = [text for text in texts if text.lstrip("<").isdecimal()]
    assert cells == ["75", "25", "<1", "100"]
    assert "rev" not in texts
    assert "workspace" not in texts


def test_confusion_matrices_of_two_revisions_are_named_and_stand_in_the_order_asked_for() -> None:
    rows = confusion("second", [[1, 0], [0, 1]]) + confusion("first", [[4, 1], [0, 1]])
    texts = written(drawn("confusion", rows, x="predicted", y="true"))
    assert "rev" not in texts
    assert texts.index("second") < texts.index("first")
    assert [text for text in texts if text.isdecimal()] == ["100", "100", "80", "20", "100"]


def test_a_confusion_table_of_before_with_a_row_a_photo_is_drawn_too() -> None:
    rows = [{"rev": "old", "true": true, "predicted": predicted} for true, predicted in ("aa", "aa", "aa", "ab", "bb")]
    texts = written(drawn("confusion", rows, x="predicted", y="true"))
    assert [text for text in texts if text.isdecimal()] == ["75", "25", "100"]


def test_the_confusion_table_is_as_small_with_many_photos_and_has_every_class() -> None:
    labels, predictions = np.repeat([0, 3], 500), np.tile([0, 3], 500)
    table = oof_ensemble.confusion_table(CONTEST, labels, predictions)
    assert len(table) == 18 * 18
    assert (table["photos"].to_numpy().reshape(18, 18) == metrics.confusion(labels, predictions, 18)).all()
    assert table.iloc[3].tolist() == ["00 wear male <30", "03 wear female <30", 250]


def test_of_many_classes_the_worst_are_drawn_worst_first_and_those_without_photos_left_out() -> None:
    rows = [
        {"rev": rev, "class": f"{number:03d} c", "f1": f1, "photos": number % 50, "predicted": 1}
        for rev, better in (("one", 0.0), ("other", 0.001))
        for number in range(200)
        for f1 in [round(1 - number / 200 + better, 4)]
    ]
    svg = drawn("worst_classes", rows, x="f1", y="class")
    named = [text for text in written(svg) if text.endswith(" c")]
    assert named == [f"{number} c" for number in range(199, 168, -1) if number % 50][:30]
    assert [colour_of(svg, f"rev: {rev}") for rev in ("one", "other")] == [{one} for one in colours.REVISIONS[:2]]


def test_of_many_classes_the_pairs_most_mistaken_are_drawn_and_right_answers_never() -> None:
    rows = [
        {"rev": "workspace", "true": f"{true:02d} c", "predicted": f"{predicted:02d} c", "photos": photos}
        for true in range(40)
        for predicted, photos in ((true, 900), ((true + 1) % 40, true))
    ]
    named = [text for text in written(drawn("confused_pairs", rows, x="predicted", y="true")) if "taken for" in text]
    assert len(named) == 30
    assert named[:2] == ["39 c taken for 00 c", "38 c taken for 39 c"]


@pytest.mark.parametrize("first", ["", 0])
def test_numbers_of_any_axis_are_drawn_as_bars_of_their_width_with_the_edges_of_bins(first: object) -> None:
    rows = [
        {"rev": "one", "weight": 0.5 * place, "stain": stain, "photos": 3, "bin_from": edge, "to": 0.5 * place + 0.5}
        for place, edge in ((0, first), (3, 1.5), (4, 1.5))
        for stain in ("weak", "strong")
    ]
    svg = drawn("numbers", rows, x="weight", y="photos")
    bars = re.findall(r'aria-label="weight: ([^;]*); photos: ([^;]*); ends: ([^;]*);', svg)
    assert bars == [("0", "6", "0.5"), ("1.5", "6", "2"), ("2", "6", "2.5")], "levels are counted together"
    assert svg.count('aria-roledescription="rule mark"') == 1, "where the first bin begins is no edge"


def test_genders_have_the_colours_of_eda_and_revisions_those_of_the_report() -> None:
    ages = [{"rev": "workspace", "age": 25, "gender": name, "people": 2, "bin_from": 0} for name in ("female", "male")]
    svg = drawn("ages", ages, x="age", y="people")
    for name, colour in zip(("male", "female"), colours.LEVELS, strict=False):
        assert colour_of(svg, f"gender: {name}") == {colour}
    assert "workspace" not in written(svg)
    classes = [{"rev": rev, "class": "a", "f1": 0.5, "photos": 1, "predicted": 1} for rev in ("z", "a")]
    svg = drawn("per_class", classes, x="f1", y="class")
    assert [colour_of(svg, f"rev: {rev}") for rev in ("z", "a")] == [{colour} for colour in colours.REVISIONS[:2]]


def test_range_tests_of_two_runs_have_a_panel_each_and_show_what_was_chosen() -> None:
    curve = [{"lr": lr, "loss": scale, "smoothed": scale * lr} for scale in (1, 100) for lr in (0.01, 0.1, 1)]
    rows = [row | {"rev": rev} for rev, part in (("one", curve[:3]), ("other", curve[3:])) for row in part]
    marks = ("half the fall", "lowest", "chosen")
    rows += [{"rev": rev, "lr": 0.1, "smoothed": 0.1, "name": name} for rev in ("one", "other") for name in marks]
    svg = drawn("lr_range", rows, x="lr", y="smoothed")
    texts = written(svg)
    assert texts.index("one") < texts.index("other")
    assert {"100", "1.0"} <= set(texts), "each panel has its own scale"
    assert "chosen" not in texts, "it is a line, no suggestion"
    assert svg.count("mark-rule role-mark") >= 2
