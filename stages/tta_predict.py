"""tta-predict: predict the eval photos with every fold's model and every view, join them by vote, write the submission."""

from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from stages import paths
from stages.data.cache import open_cache
from stages.files import read_csv, replacing, write_csv
from stages.judge import metrics, votes
from stages.learn import loader, model, predict
from stages.params import Params
from stages.talk import Talk

BATCH = 256

VIEWS = {
    "identity": lambda photos: photos,
    "hflip": lambda photos: photos.flip(2),
}


def run(params: Params, talk: Talk) -> None:
    """Write submission.csv (ImageID, ans) in info.csv's order, and probabilities.npz (image, probabilities [N, 18])."""
    images = read_csv(paths.EVAL, "prepare", dtype={"ImageID": str})["ImageID"]
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
    probabilities = predict_views(params, pixels, talk)
    joined = votes.VOTES[params.ensemble.vote](probabilities)
    with replacing(paths.PROBABILITIES) as temporary:
        np.savez_compressed(temporary, image=images.to_numpy(str), probabilities=joined.astype(np.float32))
    write_csv(paths.SUBMISSION, pd.DataFrame({"ImageID": images, "ans": joined.argmax(1)}))
    talk.say(
        f"tta-predict: {len(images)} answers from {len(params.folds)} folds x {len(params.tta.views)} views in {paths.SUBMISSION}"
    )


def predict_views(params: Params, pixels: np.ndarray, talk: Talk, weights: list[Path] | None = None) -> np.ndarray:
    """Probabilities [models x views, N, 18] of cached photos by every fold's and repeat's model, or those in `weights`."""
    accelerator = predict.accelerator(params)
    found = []
    models = weights or [paths.weights(fold, repeat) for fold in params.folds for repeat in range(params.train.repeats)]
    pairs = [(path, view) for path in models for view in params.tta.views]
    for path, view in talk.track(pairs, len(pairs), "predict eval photos"):
        if view == params.tta.views[0]:
            net = model.channels_last(model.load(path), accelerator.device)
            mean, std = (tensor.to(accelerator.device) for tensor in model.normalisation(net))
        batches = (
            _view(view, photos)
            for photos in loader.evaluation(pixels, np.arange(len(pixels)), params.image.margin, BATCH)
        )
        raw, _ = predict.raw_outputs(net, batches, mean, std, accelerator)
        found.append(np.exp(metrics.joint_log_probabilities(raw * net.architecture.scale, net.architecture.targets)))
    return np.stack(found).astype(np.float32)


def _view(name: str, photos: Tensor) -> Tensor:
    """One view of photos uint8 [N, H, W, 3]."""
    return VIEWS[name](photos)
