"""What a predictor says of machines and photos other than those it was made on."""

from pathlib import Path

import numpy as np
import pytest

from stages.base import gpu
from stages.base.talk import Talk
from stages.bundle import of_bundle, of_project, predictor
from stages.data import pixel_cache_record
from tests.conftest import small


def test_no_photos_have_no_answers(bundled: Path) -> None:
    opened = of_project.open_project(small())
    none = predictor.probabilities(opened, np.empty((0, 36, 36, 3), np.uint8))
    assert none.shape == (0, 18)
    assert predictor.answers(opened, none).shape == (0,)
    assert predictor.calibrated(opened, none).shape == (0, 18)


def test_fp16_without_a_gpu_predicts_in_float32_and_says_so(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = of_bundle.open_bundle(Path("out/bundle"))
    said: list[str] = []
    monkeypatch.setattr(gpu, "usable", lambda: False)
    params = small(train={"mixed_precision": "fp16"})
    made = predictor.made(opened.contents, params, opened.networks, opened.oof, Talk(said.append))
    assert made.params.train.mixed_precision == "none"
    assert said == [
        "warning: trained with fp16, which needs a GPU; here it predicts in float32: last digits may differ"
    ]


def test_another_decoder_is_told(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pixel_cache_record, "decoder", lambda: "OpenCV 9")
    of_bundle.open_bundle(Path("out/bundle"), Talk(said.append))
    assert len(said) == 1
    assert said[0].startswith("warning: out/bundle: learnt from pixels of OpenCV ")
    assert said[0].endswith("photos are decoded here by OpenCV 9: last digits may differ")
