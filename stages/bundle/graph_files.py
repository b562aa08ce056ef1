"""An ensemble as one file that other programs run, ONNX or torch.export's, and whether it answers as torch does."""

import copy
import hashlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from stages.base import environment
from stages.base.errors import UserError
from stages.bundle import predictor
from stages.bundle.one_graph import Input, OneGraph
from stages.bundle.predictor import Predictor
from stages.judge import votes
from stages.learn import model, predict

To = Literal["onnx", "torch-export"]
Run = Callable[[np.ndarray], list[np.ndarray]]  # photos uint8 [n, H + 2m, W + 2m, 3] to the graph's outputs
EXTRA = ("onnx", "onnxscript", "onnxruntime")
PHOTOS, PROBABILITIES, ANSWERS = "photos", "probabilities", "answers"
ALLOWED = 1e-4  # most that a probability may differ from torch's
TIE = 1e-6  # two scores nearer than this are told apart by rounding
BATCHES = (1, 2, 7)  # one photo, the smallest batch, and an odd one that no tracing has seen
MOST_BYTES = 2**31 - 2**20  # protobuf writes less than 2 GiB


def check_extra() -> None:
    """Raise UserError where what ONNX needs is not installed."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise UserError(
            f"export: needs {', '.join(missing)}; run `pip install {' '.join(EXTRA)}`, or export with --to torch-export"
        )


def onnx_model(graph: OneGraph, example: Tensor) -> Any:
    """The graph as an onnx.ModelProto, the number of photos left open. Raises UserError where torch cannot make it."""
    size = sum(value.nbytes for value in graph.state_dict().values())
    if size > MOST_BYTES:
        raise UserError(
            f"export: the networks have {size / 2**30:.1f} GiB, and an ONNX file holds 2; export with --to torch-export, or "
            "bundle one fold"
        )
    parts = [network_name(number) for number in range(len(graph.networks))] if graph.parts else []
    with quiet(), _one_line("onnx"):
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            dynamic_shapes=_open_batch(),
            input_names=[PHOTOS],
            output_names=[PROBABILITIES, ANSWERS, *parts],
            verbose=False,
        )
        assert program is not None
        made = program.model_proto
    _without_traces(made)
    return made


def network_name(number: int) -> str:
    """The output that holds the probabilities of one network alone."""
    return f"network_{number}"


def outputs_only(made: Any, names: list[str]) -> Any:
    """An ONNX model cut down to what these outputs need."""
    import onnx.utils

    return onnx.utils.Extractor(made).extract_model([PHOTOS], names)


def onnx_bytes(made: Any, metadata: dict[str, str]) -> bytes:
    """An ONNX model as a file's content, with metadata."""
    import onnx

    onnx.helper.set_model_props(made, metadata)
    made.producer_name, made.producer_version = "maskcli", environment.installed("maskcli") or ""
    content: bytes = made.SerializeToString(deterministic=True)
    return content


def onnx_run(content: bytes, takes: Input) -> Run:
    """How ONNX Runtime answers, on the CPU, in as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {PHOTOS: taken(pixels, takes)})


def torch_export_bytes(graph: OneGraph, example: Tensor, metadata: dict[str, str]) -> bytes:
    """The graph as torch.export.save writes it; metadata stand in it as extra files. Raises UserError."""
    with quiet(), _one_line("torch-export"):
        program = torch.export.export(graph, (example,), dynamic_shapes=_open_batch())
        for node in program.graph.nodes:
            # Where on this machine the code lies is nobody's business.
            for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"):
                node.meta.pop(key, None)
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files=dict(metadata))
    return buffer.getvalue()


def torch_export_run(content: bytes, takes: Input) -> Run:
    """How torch answers from the file."""
    with quiet():
        ready: nn.Module = torch.export.load(io.BytesIO(content)).module()

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [found.numpy() for found in ready(torch.from_numpy(taken(pixels, takes)))]

    return run


def taken(pixels: np.ndarray, takes: Input) -> np.ndarray:
    """Cached photos, uint8, as a graph takes them."""
    return np.array(pixels) if takes == "uint8" else pixels.astype(np.float32) / 255


def metadata(own: Predictor, takes: Input) -> dict[str, str]:
    """What the file says of itself: to a person, and to a program that has to name the classes."""
    # As a bundle's maskcli.json has it, so that the hash is that file's.
    plain = json.loads(own.contents.model_dump_json())
    contents = json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    height, width = own.params.cache_size
    given = "uint8, RGB, 0 to 255" if takes == "uint8" else "float32, RGB, 0 to 1"
    return {
        "maskcli": environment.installed("maskcli") or "",
        "input": f"{PHOTOS} [n, {height}, {width}, 3], {given}: image.face cropped, resized by area, upright",
        "outputs": f"{PROBABILITIES} [n, {own.task.classes}], calibrated; {ANSWERS} [n], class numbers by the decision rule",
        "class_names": json.dumps(own.task.class_names, ensure_ascii=False),
        "contents": contents,
        "contents_sha256": hashlib.sha256(contents.encode()).hexdigest(),
    }


@dataclass(frozen=True)
class Agreement:
    """How the answers of a file compare with torch's."""

    photos: int
    difference: float  # largest, of a probability
    unequal: int  # answers, where torch does not hold two classes for equally good
    ties: int  # photos whose two best classes torch tells apart by less than TIE

    @property
    def holds(self) -> bool:
        return self.difference <= ALLOWED and not self.unequal  # a NaN does not


def compare(own: Predictor, run: Run, pixels: np.ndarray) -> Agreement:
    """A file's answers to photos uint8 [n, H + 2m, W + 2m, 3] with those of torch in float32; batches of BATCHES and whole."""
    voted = expected(own, pixels)
    wanted, answers = predictor.calibrated(own, voted), predictor.answers(own, voted)
    ties = _undecided(own, voted)
    difference, unequal = 0.0, np.zeros(len(pixels), bool)
    for batch in (*BATCHES, len(pixels)):
        most = len(pixels) if batch > 1 else min(len(pixels), 8)  # one by one takes long
        for start in range(0, most, batch):
            rows = slice(start, min(start + batch, most))
            found, decided = run(pixels[rows])[:2]
            difference = max(difference, float(np.nan_to_num(np.abs(found - wanted[rows]), nan=np.inf).max()))
            unequal[rows] |= (decided != answers[rows]) & ~ties[rows]
    return Agreement(len(pixels), difference, int(unequal.sum()), int(ties.sum()))


def expected(own: Predictor, pixels: np.ndarray) -> np.ndarray:
    """Voted probabilities [n, C] as stages.bundle.predictor has them, in float32 on the CPU whatever params ask for."""
    device = torch.device("cpu")
    networks = [
        net if next(net.parameters()).device == device else model.channels_last(copy.deepcopy(net), device)
        for net in own.networks
    ]
    asked = predict.Asked(own.task, pixels, np.arange(len(pixels)), own.contents.views)
    parts = [part for _, part in predict.of_ready(networks, asked, own.params, device=device)]
    voters = np.concatenate(parts, axis=2).reshape(-1, len(pixels), own.task.classes)
    return votes.VOTES[own.contents.vote](voters)


def _undecided(own: Predictor, voted: np.ndarray) -> np.ndarray:
    """Whether the two best classes of each photo, by the decision rule, are equal but for rounding, [n]."""
    offsets = own.contents.offsets
    scores = voted if offsets is None else np.log(np.maximum(voted, predictor.LEAST)) + offsets
    best = np.sort(scores, axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0] < TIE)


def _open_batch() -> tuple[dict[int, Any], ...]:
    return ({0: torch.export.Dim("n", min=1)},)


def _without_traces(made: Any) -> None:
    """Take out where each node comes from: with paths of this machine, it is half of a small file."""
    for value in (
        *made.graph.node,
        *made.graph.value_info,
        *made.graph.input,
        *made.graph.output,
        *made.graph.initializer,
    ):
        del value.metadata_props[:]
        value.doc_string = ""
    del made.graph.metadata_props[:]
    del made.metadata_props[:]
    for function in made.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch and onnxscript tell their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _one_line(to: To) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever tracing makes of a model: many kinds, pages long
        other = "torch-export" if to == "onnx" else "onnx"
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        why = " ".join(str(cause).split())[:150] or type(cause).__name__
        raise UserError(f"export: torch cannot make one graph of this model ({why}); try --to {other}") from error
