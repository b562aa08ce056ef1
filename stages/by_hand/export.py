"""export: the whole ensemble as one graph in a file, ONNX or torch.export's, written only where it answers as torch does."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import replacing
from stages.base.talk import Talk
from stages.bundle import graph_files, int8, one_graph
from stages.bundle.graph_files import ANSWERS, PROBABILITIES, Agreement, To
from stages.bundle.int8 import Loss
from stages.bundle.one_graph import Input, OneGraph
from stages.bundle.predictor import Predictor
from stages.by_hand import predict_photos
from stages.data import photos
from stages.data.fold_data import open_fold
from stages.data.pixel_cache import open_cache
from stages.params.schema import Params

CHECKED = 64  # most photos that a file is checked on
ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2"}


@dataclass(frozen=True)
class Asked:
    """What to write, and where."""

    source: str  # a bundle, or the project's folder
    to: To = "onnx"
    takes: Input = "uint8"
    int8: bool = False
    photos: Path | None = None  # a folder of photos to check on; None: the project's own, or drawn ones
    out: Path | None = None  # None: out/export of a project, the working folder for a bundle
    force: bool = False  # overwrite

    @property
    def of_project(self) -> bool:
        """Whether the project at hand is meant, with its photos."""
        return paths.is_here(Path(self.source))


def run(asked: Asked, opened: Callable[[], Predictor], talk: Talk) -> dict[str, Any]:
    """Write the file; return where it is, what it takes and gives, and how it was checked.

    opened: opens asked.source, once all is checked that can be without. Raises UserError, and writes nothing, where the file
    would answer otherwise than torch.
    """
    out = _place(asked)
    own = opened()
    example = one_graph.example(own, asked.takes)
    pixels, which = _photos(own, asked, talk)
    talk.say(f"export: {len(own.networks)} networks x {len(own.contents.views)} views are traced into one graph")
    graph = OneGraph(own, asked.takes, parts=asked.int8)
    said = graph_files.metadata(own, asked.takes)
    found: dict[str, Any] = {"file": str(out), "to": asked.to, "input": asked.takes, **_sizes(own), "checked_on": which}
    if asked.to == "torch-export":
        content = graph_files.torch_export_bytes(graph, example, said)
        agreement = graph_files.compare(own, graph_files.torch_export_run(content, asked.takes), pixels)
        _demand(agreement, out, asked)
    else:
        made = graph_files.onnx_model(graph, example)
        content = _bytes(made, said)
        agreement = graph_files.compare(own, graph_files.onnx_run(content, asked.takes), pixels)
        _demand(agreement, out, asked)
        if asked.int8:
            content, found["int8"] = _int8(own, made, asked, (pixels, said), talk)
    with replacing(out) as temporary:
        temporary.write_bytes(content)
    return found | {**asdict(agreement), "bytes": len(content)}


def _place(asked: Asked) -> Path:
    """Where to write. Raises UserError for what can be told before anything is opened."""
    if asked.int8 and asked.to != "onnx":
        raise UserError(f"--int8: is for --to onnx, not for {asked.to}; leave one of the two out")
    if asked.int8 and not asked.of_project:
        raise UserError(
            "--int8: needs the project, whose training photos give the ranges and tell what 8 bits cost; run `maskcli export . "
            "--to onnx --int8` there"
        )
    if asked.to == "onnx":
        graph_files.check_extra()
    ending = (".int8" if asked.int8 else "") + ENDINGS[asked.to]
    bundle = Path(asked.source).resolve().name.removesuffix(".zip")
    folder, name = (paths.EXPORT, "model") if asked.of_project else (Path(), bundle)
    out = folder / (name + ending) if asked.out is None else asked.out
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file with --out")
    if out.exists() and not asked.force:
        raise UserError(f"{out}: is there already; name another file with --out, or overwrite it with --force")
    return out


def _photos(own: Predictor, asked: Asked, talk: Talk) -> tuple[np.ndarray, str]:
    """Photos uint8 [n, H + 2m, W + 2m, 3] to check on, at most CHECKED, and which they are, in words."""
    if asked.photos is not None:
        read = _read(asked.photos, own.params, talk)
        return read, f"{len(read)} photos of {asked.photos}"
    if not asked.of_project:
        return drawn(own.params, CHECKED), f"{CHECKED} drawn photos, none real (name a folder of some with --photos)"
    evaluated = len(photos.read_eval())
    path, kind, count = (
        (paths.EVAL_PIXELS, "eval", evaluated) if evaluated else (paths.PIXELS, "training", len(photos.read(own.task)))
    )
    chosen = _spread(count)
    return np.asarray(open_cache(path, count, own.params)[chosen]), f"{len(chosen)} {kind} photos"


def _spread(count: int) -> np.ndarray:
    """Positions of at most CHECKED of so many photos, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, CHECKED)).astype(np.int64))


def _read(folder: Path, params: Params, talk: Talk) -> np.ndarray:
    """Photos of a folder as the project's cache would have them. Raises UserError where none can be read."""
    pixels = predict_photos.NewPixels(predict_photos.listed([str(folder)]), params)
    chosen = _spread(len(pixels))
    found = pixels[chosen]
    for fault in pixels.faults.values():
        talk.say(f"warning: {fault}; it is left out")
    if len(pixels.faults) == len(chosen):
        raise UserError(f"--photos {folder}: holds no photo that can be read; name a folder of others")
    return found[~np.isin(chosen, list(pixels.faults))]


def drawn(params: Params, count: int, seed: int = 0) -> np.ndarray:
    """Random photos uint8 [count, H + 2m, W + 2m, 3] with the spectrum of natural ones, amplitudes that fall as 1 / frequency
    (Field 1987, doi:10.1364/JOSAA.4.002379), and a mean and contrast of their own.
    """
    rng = np.random.default_rng(seed)
    height, width = params.cache_size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf  # no mean
    # Channels of a photo resemble each other.
    noise = rng.normal(size=(count, height, width, 1)) + 0.3 * rng.normal(size=(count, height, width, 3))
    spectrum = np.fft.rfft2(noise, axes=(1, 2)) / frequency[None, :, :, None]
    plain = np.fft.irfft2(spectrum, s=(height, width), axes=(1, 2))
    plain /= plain.std(axis=(1, 2, 3), keepdims=True)
    mean, contrast = rng.uniform(60, 190, (count, 1, 1, 3)), rng.uniform(15, 70, (count, 1, 1, 1))
    return np.clip(mean + contrast * plain, 0, 255).astype(np.uint8)


def _bytes(made: Any, said: dict[str, str]) -> bytes:
    return graph_files.onnx_bytes(graph_files.outputs_only(made, [PROBABILITIES, ANSWERS]), said)


def _demand(agreement: Agreement, out: Path, asked: Asked) -> None:
    """Raise UserError unless a file answers as torch does."""
    if agreement.holds:
        return
    other = next(to for to in ENDINGS if to != asked.to)
    raise UserError(
        f"{out}: not written: probabilities differ from torch's by up to {agreement.difference:.1g} (allowed: "
        f"{graph_files.ALLOWED:g}), and {agreement.unequal} of {agreement.photos} answers; try --to {other}"
    )


def _int8(
    own: Predictor, made: Any, asked: Asked, given: tuple[np.ndarray, dict[str, str]], talk: Talk
) -> tuple[bytes, dict[str, Any]]:
    """The file's content in int8, and what that costs. given: photos to check on, and the file's metadata."""
    pixels, said = given
    folds = [open_fold(own.params, fold) for fold in own.params.folds]
    ranges = int8.calibration_photos(folds, own.params.seed)
    talk.say(
        f"export: int8, ranges from {len(ranges)} training photos; its loss is measured fold by fold on the others"
    )
    small = int8.quantised(made, np.asarray(folds[0].pixels[ranges]), asked.takes)
    lost = int8.loss(own, (made, small), asked.takes, folds, ranges, talk)
    told = _told(lost, len(ranges), own)
    content = _bytes(small, said | {"int8": json.dumps(told)})
    near = graph_files.compare(own, graph_files.onnx_run(content, asked.takes), pixels)
    told |= {"probabilities_differ": near.difference, "answers_differ": near.unequal, "speed": lost.rate}
    return content, told


def _told(lost: Loss, ranges: int, own: Predictor) -> dict[str, Any]:
    """What int8 costs, flat: the difference of each score, its 95 % interval and verdict."""
    found: dict[str, Any] = {"photos": lost.photos, "ranges_from": ranges, "answers_equal": lost.equal}
    for row in lost.differences:
        found |= {f"{row.metric}_float": row.a, f"{row.metric}_int8": row.b, f"{row.metric}_difference": row.difference}
        found |= {f"{row.metric}_low": row.low, f"{row.metric}_high": row.high, f"{row.metric}_verdict": row.verdict}
    return found | {"units": own.task.units}


def _sizes(own: Predictor) -> dict[str, Any]:
    height, width = own.params.cache_size
    return {
        "networks": len(own.networks),
        "views": list(own.contents.views),
        "vote": own.contents.vote,
        "temperature": own.contents.temperature,
        "decision": own.contents.decision.rule,
        "height": height,
        "width": width,
        "classes": own.task.classes,
    }
