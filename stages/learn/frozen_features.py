"""Pooled outputs of a frozen backbone for every photo and view, extracted once and kept with a key of what made them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from stages.base import paths
from stages.base.environment import installed
from stages.base.files import load_npz, replacing
from stages.base.talk import Talk
from stages.data import pixel_cache_record
from stages.data.fold_data import Pixels
from stages.learn import augment, loader, model, predict, tta_views
from stages.learn.heads_on_features import Features
from stages.learn.model import Classifier, to_numpy
from stages.params.schema import Params

CODE = (__file__, model.__file__, tta_views.__file__, predict.__file__, loader.__file__, augment.__file__)
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
    values = _extract(nets, pixels, names, params, device, talk)
    with replacing(paths.SCREEN_FEATURES) as temporary:
        np.savez(temporary, key=np.array(wanted), values=values)
    return Features(torch.from_numpy(values).to(device))


def key(nets: list[Classifier], names: tuple[str, ...], params: Params) -> str:
    """Hash of all that features follow from: backbones' weights, photos, views, image params, this code, libraries."""
    digest = hashlib.blake2b(digest_size=16)
    chosen = {
        "views": names,
        "image": params.image.model_dump(),
        "libraries": {name: installed(name) for name in LIBRARIES},
    }
    digest.update(json.dumps(chosen, sort_keys=True).encode())
    digest.update(pixel_cache_record.checked_digest(paths.PIXELS).encode())
    for path in [paths.PHOTOS, *map(Path, CODE)]:
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
    nets: list[Classifier], pixels: Pixels, names: tuple[str, ...], params: Params, device: torch.device, talk: Talk
) -> np.ndarray:
    """Features float32 [nets, views, N, D] of all photos, the backbones in eval mode and full precision.

    Each photo is read once, and each of its views made once, for all backbones, which are of one architecture.
    """
    ready = [model.channels_last(net, device).eval() for net in nets]
    mean, std = (tensor.to(device) for tensor in model.normalisation(nets[0]))
    made = [tta_views.make(name) for name in names]
    size = predict.batch_size(params, device)
    everything = np.arange(len(pixels))
    batches = loader.evaluation(pixels, everything, 0, size)
    found = []
    for photos in talk.track(batches, len(loader.split(everything, size)), "features"):
        there = predict.moved(photos, device)
        seen = [predict.normalise(view(there, params.image.margin), mean, std) for view in made]
        found.append(np.stack([[to_numpy(net.backbone(one)) for one in seen] for net in ready]))
    return np.concatenate(found, axis=2)
