"""An ensemble as one graph answers as it does step by step, and a file that does not is told apart."""

import json
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.bundle import graph_files, one_graph, out_of_fold, predictor
from stages.bundle.contents import Contents, Decision, Origin, Preprocessing, params_without_places
from stages.bundle.one_graph import OneGraph
from stages.bundle.predictor import Predictor
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import CONTEST
from stages.learn import model
from stages.learn.model import Classifier
from stages.params.schema import Params
from tests.conftest import small

OFFSETS = tuple(np.linspace(-2, 2, CONTEST.classes))
EVERY_VIEW = (
    *("identity", "hflip", "shift_left", "shift_up_1", "crop_bottom_right", "scale_0.9", "rotate_5", "brightness_1.2"),
)


class Small(nn.Module):
    """A backbone that is traced in a moment: one convolution, its batch norm, and a mean over the photo."""

    pretrained_cfg: ClassVar = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv, self.norm = nn.Conv2d(3, 8, 5, stride=3), nn.BatchNorm2d(8)

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(self.conv(photos)).relu().mean(dim=(2, 3))
        return found


def networks(params: Params, count: int = 2) -> list[Classifier]:
    """Untrained models whose answers differ from photo to photo."""
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        net = Classifier(model.architecture(params, CONTEST), Small(seed), 8).eval()
        with torch.no_grad():
            for weight in net.head.parameters():
                weight.mul_(6)
        found.append(net)
    return found


def predictor_of(params: Params, nets: list[Classifier], offsets: tuple[float, ...] | None = None) -> Predictor:
    contents = Contents(
        maskcli="0",
        kind="folds",
        networks=(),
        task=tasks.to_json(CONTEST),
        params=params_without_places(params),
        preprocessing=Preprocessing(
            **params.image.model_dump(), max_pixels=1, mean=(0, 0, 0), std=(1, 1, 1), decoder="none"
        ),
        views=params.tta.views,
        vote=params.ensemble.vote,  # type: ignore[arg-type]
        temperature=1.4 if params.ensemble.vote != "hard" else 1.0,
        temperature_low=1.0,
        temperature_high=2.0,
        decision=Decision(asked=params.decision, rule="argmax", offsets=offsets, reason=""),
        scores={},
        classes=(),
        origin=Origin(run="", commit=None, commit_dirty=None, data={}, lr=None, setting={}, device=None, python=None),
        licence=None,
    )
    oof = out_of_fold.of(np.log(np.full((1, 18), 1 / 18)), np.zeros(1, int), np.zeros(1, int), 1.0, np.zeros(1, int))
    return predictor.made(contents, params, nets, oof, SILENT)


def pixels_for(params: Params, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    level = rng.integers(40, 200, (count, 1, 1, 3))
    return np.clip(level + rng.integers(-40, 40, (count, *params.cache_size, 3)), 0, 255).astype(np.uint8)


def eager(own: Predictor, takes: one_graph.Input = "uint8") -> graph_files.Run:
    """The graph's module as it is, called on photos."""
    graph = OneGraph(own, takes)

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [found.numpy() for found in graph(torch.from_numpy(graph_files.taken(pixels, takes)))]

    return run


@pytest.mark.parametrize(
    ("changes", "offsets"),
    [
        ({}, None),
        ({"targets": "factored", "decision": "adjusted"}, OFFSETS),
        ({"ensemble": {"vote": "geometric"}, "loss": "ldam"}, OFFSETS),
        ({"ensemble": {"vote": "hard"}, "regression": {"weight": 0.1}}, None),
        ({"tta": {"views": list(EVERY_VIEW)}}, None),
    ],
    ids=["joint", "factored, adjusted", "geometric, cosine", "hard", "every view"],
)
@pytest.mark.parametrize("takes", ["uint8", "float"])
def test_the_graph_answers_as_the_predictor(
    changes: dict[str, Any], offsets: tuple[float, ...] | None, takes: one_graph.Input
) -> None:
    params = small(**changes)
    own = predictor_of(params, networks(params), offsets)
    pixels = pixels_for(params, 24)
    found = graph_files.compare(own, eager(own, takes), pixels)
    assert found.difference < 2e-6
    assert found.holds
    answers = predictor.answers(own, graph_files.expected(own, pixels))
    assert len(set(answers)) > 2, "photos that are all answered alike would show nothing"


def test_the_reference_is_what_the_predictor_says() -> None:
    params = small(targets="factored")
    own = predictor_of(params, networks(params))
    pixels = pixels_for(params, 9)
    assert np.abs(graph_files.expected(own, pixels) - predictor.probabilities(own, pixels)).max() < 1e-7


@pytest.mark.parametrize(
    "wrong",
    [
        lambda found: [found[0] + 2e-4, found[1]],
        lambda found: [found[0], (found[1] + 1) % CONTEST.classes],
        lambda found: [found[0] * np.nan, found[1]],
        lambda found: [np.where(len(found[0]) == 7, 0.5, found[0]), found[1]],
    ],
    ids=["a probability", "answers", "nan", "batches of seven"],
)
def test_a_file_that_answers_otherwise_does_not_hold(wrong: Callable[[list[np.ndarray]], list[np.ndarray]]) -> None:
    params = small()
    own = predictor_of(params, networks(params))
    right = eager(own)
    assert not graph_files.compare(own, lambda pixels: wrong(right(pixels)), pixels_for(params, 16)).holds


def test_two_classes_that_only_rounding_tells_apart_are_counted_as_ties() -> None:
    params = small(ensemble={"vote": "soft"}, tta={"views": ["identity"]})
    nets = networks(params, 1)
    with torch.no_grad():
        nets[0].head.weight.zero_()  # type: ignore[operator,union-attr]
        nets[0].head.bias.zero_()  # type: ignore[operator,union-attr]
    own = predictor_of(params, nets)
    right = eager(own)
    found = graph_files.compare(own, lambda pixels: [right(pixels)[0], right(pixels)[1] + 1], pixels_for(params, 4))
    assert (found.ties, found.unequal, found.holds) == (4, 0, True)


@pytest.mark.parametrize("name", graph_files.EXTRA)
def test_without_the_extra_one_line_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"export: needs {name}; run `pip install onnx onnxscript onnxruntime`, or"):
        graph_files.check_extra()


def test_an_onnx_file_answers_as_torch_in_any_batch() -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    params = small(targets="factored", decision="adjusted")
    own = predictor_of(params, networks(params), OFFSETS)
    made = graph_files.onnx_model(OneGraph(own), one_graph.example(own, "uint8"))
    content = graph_files.onnx_bytes(made, graph_files.metadata(own, "uint8"))
    assert graph_files.compare(own, graph_files.onnx_run(content, "uint8"), pixels_for(params, 10)).holds
    told = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    assert json.loads(told["class_names"]) == list(CONTEST.class_names)
    assert Contents.model_validate_json(told["contents"]) == own.contents
    assert told["input"].startswith("photos [n, 36, 36, 3], uint8")
    assert str(graph_files.__file__.rsplit("/", 3)[0]).encode() not in content, "a path of this machine"


@pytest.mark.slow
def test_the_same_models_give_the_same_onnx_file() -> None:
    pytest.importorskip("onnxscript")
    own = predictor_of(small(), networks(small()))
    first, second = (
        graph_files.onnx_bytes(graph_files.onnx_model(OneGraph(own), one_graph.example(own, "uint8")), {})
        for _ in range(2)
    )
    assert first == second
