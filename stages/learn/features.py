"""Pooled outputs of a frozen backbone for every photo and view, extracted once and kept with a key of what made them."""

import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from stages import paths
from stages.data.fold import Pixels
from stages.files import load_npz, replacing
from stages.learn import loader, model, predict, views
from stages.learn.heads import Features
from stages.learn.model import Classifier, to_numpy
from stages.params import Params
from stages.talk import Talk

BATCH = 256
CODE = ("features.py", "model.py", "views.py", "predict.py", "loader.py", "augment.py")
LIBRARIES = ("torch", "timm")


def of_backbones(
    nets: list[Classifier], pixels: Pixels, names: tuple[str, ...], params: Params, device: torch.device, talk: Talk
) -> Features:
    """Features of all photos by each backbone under each view (its name); from paths.SCREEN_FEATURES where its key fits."""
    wanted = key(nets, names, params)
    known = _read(wanted)
    if known is not None:
        talk.say(f"screen: features taken from {paths.SCREEN_FEATURES}")
        return Features(torch.from_numpy(known).to(device))
    jobs = [(net, name) for net in nets for name in names]
    batches = len(loader.split(np.arange(len(pixels)), BATCH))
    ticks = iter(talk.track(range(len(jobs) * batches), len(jobs) * batches, "features"))
    found = [_extract(net, pixels, name, params, device, ticks) for net, name in jobs]
    for _ in ticks:
        pass
    values = np.stack(found).reshape(len(nets), len(names), len(pixels), -1)
    with replacing(paths.SCREEN_FEATURES) as temporary:
        np.savez(temporary, key=np.array(wanted), values=values)
    return Features(torch.from_numpy(values).to(device))


def key(nets: list[Classifier], names: tuple[str, ...], params: Params) -> str:
    """Hash of all that features follow from: backbones' weights, photos, views, image params, this code, libraries."""
    digest = hashlib.blake2b(digest_size=16)
    chosen = {
        "views": names,
        "image": params.image.model_dump(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    digest.update(json.dumps(chosen, sort_keys=True).encode())
    for path in [paths.PHOTOS, paths.PIXELS, *(Path(__file__).parent / name for name in CODE)]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    for net in nets:
        digest.update(json.dumps([net.architecture.name, net.architecture.options], sort_keys=True).encode())
        for name, value in net.backbone.state_dict().items():
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(wanted: str) -> np.ndarray | None:
    """The kept features if they are those wanted; None if absent, damaged or of something else."""
    try:
        if str(load_npz(paths.SCREEN_FEATURES, ("key",))["key"]) != wanted:
            return None
        return load_npz(paths.SCREEN_FEATURES, ("values",))["values"]
    except ValueError:
        return None


@torch.inference_mode()
def _extract(
    net: Classifier, pixels: Pixels, name: str, params: Params, device: torch.device, ticks: Iterator[int]
) -> np.ndarray:
    """Features float32 [N, D] of all photos under one view, the backbone in eval mode and full precision."""
    net = model.channels_last(net, device).eval()
    mean, std = (tensor.to(device) for tensor in model.normalisation(net))
    view = views.make(name)
    found = []
    for photos in loader.evaluation(pixels, np.arange(len(pixels)), 0, BATCH):
        seen = view(photos.to(device, non_blocking=True), params.image.margin)
        found.append(to_numpy(net.backbone(predict.normalise(seen, mean, std))))
        next(ticks, None)
    return np.concatenate(found)
