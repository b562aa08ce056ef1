"""export: one file that answers as torch does and as submission.csv has it, or no file and one line that says why."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from stages import tta_predict
from stages.base import paths
from stages.base.talk import SILENT, Talk
from stages.bundle import graph_files, of_bundle, of_project
from stages.bundle.predictor import Predictor
from stages.by_hand import export
from stages.by_hand.export import Asked
from tests.bundle.made import draw_folds
from tests.bundle.unexportable import REFUSED, TORCH
from tests.conftest import small
from tests.test_bad_input import files_up_to, maskcli, refused

BUNDLE = Path("out/bundle")


def of(source: str) -> Predictor:
    return of_project.open_project(small()) if source == "." else of_bundle.open_bundle(Path(source))


def exported(talk: Talk = SILENT, **asked: Any) -> dict[str, Any]:
    wanted = Asked(**{"source": ".", "to": "torch-export"} | asked)
    return export.run(wanted, lambda: of(wanted.source), talk)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_one_line(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    for name in graph_files.EXTRA:
        monkeypatch.setitem(sys.modules, name, None)
    refused(monkeypatch, capsys, REFUSED[case], case)


def test_a_file_that_answers_otherwise_is_not_written(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(content: bytes, takes: str) -> graph_files.Run:
        return lambda pixels: [np.full((len(pixels), 18), 0.5), np.zeros(len(pixels), int)]

    monkeypatch.setattr(graph_files, "torch_export_bytes", lambda *_: b"")
    monkeypatch.setattr(graph_files, "torch_export_run", wrong)
    code, _, err = maskcli(monkeypatch, capsys, "export", ".", *TORCH)
    assert code == 2
    assert err[-1].startswith(
        "maskcli: out/export/model.pt2: not written: probabilities differ from torch's by up to 0."
    )
    assert err[-1].endswith(" of 42 answers; try --to onnx")
    assert not paths.EXPORT.exists()


def test_the_pt2_file_of_a_bundle_answers_alone_as_submission_csv(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tta_predict.run(small(), SILENT)
    code, out, _ = maskcli(monkeypatch, capsys, "export", "out/bundle.zip", *TORCH)
    assert code == 0
    assert out.startswith("exported     bundle.pt2 (")
    assert "on 64 drawn photos, none real" in " ".join(out.split())
    extra = {"class_names": "", "contents_sha256": ""}
    graph = torch.export.load("bundle.pt2", extra_files=extra).module()
    probabilities, answers = graph(torch.from_numpy(np.load(paths.EVAL_PIXELS)))
    assert answers.tolist() == pd.read_csv(paths.SUBMISSION)["ans"].tolist()
    assert json.loads(extra["class_names"])[0] == of(".").task.class_names[0]
    assert extra["contents_sha256"] == hashlib.sha256((BUNDLE / "maskcli.json").read_bytes()).hexdigest()
    assert probabilities.sum(1).tolist() == pytest.approx([1.0] * 42, abs=1e-5)
    with files_up_to(1000):
        code, _, err = maskcli(monkeypatch, capsys, "export", "out/bundle.zip", *TORCH, "--force")
    assert (code, err[-1].split("(")[0]) == (2, "maskcli: bundle.pt2: cannot be written ")
    torch.export.load("bundle.pt2")  # the one before


def test_photos_that_are_named_are_checked_on_and_unreadable_ones_told(bundled: Path) -> None:
    folder = Path("mine")
    folder.mkdir()
    photo = next(path for path in paths.TRAIN_IMAGES.rglob("*") if path.is_file())
    for number in (0, 2):
        (folder / f"{number}{photo.suffix}").write_bytes(photo.read_bytes())
    (folder / "1.jpg").write_bytes(b"no photo")
    said: list[str] = []
    own = of(".")
    pixels, which = export._photos(own, Asked(".", photos=folder), Talk(said.append))
    assert (len(pixels), which) == (2, "2 photos of mine")
    assert said[0].startswith("warning: mine/1.jpg: ")
    assert len(said) == 1


def test_drawn_photos_use_the_whole_range_and_have_neighbours_alike() -> None:
    photos = export.drawn(small(), 16).astype(float)
    assert photos.shape == (16, 36, 36, 3)
    assert photos.min() < 30
    assert photos.max() > 225
    steps = np.abs(np.diff(photos, axis=2)).mean()
    assert steps < np.abs(photos - photos.mean(axis=(1, 2), keepdims=True)).mean()
    assert (export.drawn(small(), 2) == export.drawn(small(), 2)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "takes"),
    [
        (
            {"targets": "factored", "decision": "adjusted", "train": {"repeats": 2}, "ensemble": {"vote": "geometric"}},
            "uint8",
        ),
        ({"ensemble": {"vote": "hard"}, "tta": {"views": ["rotate_5", "brightness_0.9"]}, "loss": "ldam"}, "float"),
        ({"model": {"name": "test_vit", "options": {"img_size": [32, 32]}}}, "uint8"),
        (
            {"model": {"name": "test_efficientnet", "options": {"pad_type": "same"}}, "regression": {"weight": 0.1}},
            "float",
        ),
    ],
)
def test_the_onnx_file_of_a_project_answers_as_submission_csv(
    project: Path, changes: dict[str, Any], takes: Any
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    params = small(**changes)
    draw_folds(params)
    tta_predict.run(params, SILENT)
    found = export.run(Asked(".", takes=takes), lambda: of_project.open_project(params), SILENT)
    assert found["difference"] < 1e-5
    pixels = graph_files.taken(np.load(paths.EVAL_PIXELS), takes)
    session = runtime.InferenceSession(found["file"], providers=["CPUExecutionProvider"])
    _, answers = session.run(None, {"photos": pixels})
    assert answers.tolist() == pd.read_csv(paths.SUBMISSION)["ans"].tolist()


@pytest.mark.slow
def test_int8_is_told_with_what_it_costs_each_photo_by_its_own_fold(bundled: Path) -> None:
    pytest.importorskip("onnxruntime")
    found = exported(to="onnx", int8=True)
    told = found["int8"]
    assert found["file"] == "out/export/model.int8.onnx"
    assert (told["photos"], told["ranges_from"]) == (168 - 42, 42)
    assert told["macro_f1_low"] <= told["macro_f1_difference"] <= told["macro_f1_high"]
    assert told["macro_f1_difference"] == pytest.approx(told["macro_f1_int8"] - told["macro_f1_float"], abs=1e-9)
    assert told["answers_equal"] > 0.8
    assert 0 < told["probabilities_differ"] < 0.5
    weights = sum(path.stat().st_size for path in BUNDLE.rglob("*.safetensors"))
    assert found["bytes"] < 0.5 * weights
