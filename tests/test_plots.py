import io

import pytest
from PIL import Image

from stages import plots
from stages.errors import UserError

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
