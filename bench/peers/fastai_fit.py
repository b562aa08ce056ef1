"""Peer: fastai's DataLoaders and Learner over the same photos, one-cycle policy. See work.py for what a peer does."""

import time
from functools import partial

import common
import numpy as np
import torch
import work
from fastai import __version__ as version  # after common, which makes torchvision importable
from fastai.vision.all import (
    Brightness,
    CategoryBlock,
    Contrast,
    DataBlock,
    DataLoaders,
    F1Score,
    FlipItem,
    ImageBlock,
    IndexSplitter,
    Learner,
    Normalize,
    OptimWrapper,
    RandomCrop,
    Resize,
    ResizeMethod,
)
from torch.nn import CrossEntropyLoss


def main() -> None:
    asked = common.options(__doc__)
    if asked.action == "predict":
        # Ten calls of get_preds would decode every photo ten times; the plain loop is what is fast.
        common.predict_eval(common.saved_models(asked), asked)
        work.say(fastai=version)
        return
    files, labels, _, val = work.of_fold(asked.project, asked.fold)
    made = data(asked, val, labels).dataloaders(list(range(len(files))), **loading(asked))
    learner = made_learner(asked, made)
    began = time.perf_counter()
    # fastai's own recipe, a cosine with one epoch of warming up.
    with learner.no_bar():
        learner.fit_one_cycle(asked.epochs, asked.lr, pct_start=1 / asked.epochs, wd=work.WEIGHT_DECAY)
        seconds = time.perf_counter() - began
        found, _ = learner.get_preds(ds_idx=1)
    common.save_fold(asked, learner.model.state_dict(), val, found.numpy())
    work.say(
        fastai=version,
        seconds_per_epoch=seconds / asked.epochs,
        val_f1=work.macro_f1(labels[val], found.numpy().argmax(1)),
    )


def data(asked: work.Options, val: np.ndarray, labels: np.ndarray) -> DataBlock:
    """Photos by position, their labels, and what is done to each photo and to each batch."""
    files = work.of_fold(asked.project, asked.fold)[0]
    return DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(range(work.CLASSES)))),
        get_x=lambda place: files[place],
        get_y=lambda place: int(labels[place]),
        splitter=IndexSplitter(val.tolist()),
        # Changes to single small photos are cheaper than fastai's affine ones on the batch; its own for light are not.
        item_tfms=[
            Resize(asked.with_margin, method=ResizeMethod.Squish),
            RandomCrop(asked.size),
            FlipItem(work.FLIP),
        ],
        batch_tfms=[
            Brightness(max_lighting=work.JITTER, p=work.JITTER_SHARE),
            Contrast(max_lighting=work.JITTER, p=work.JITTER_SHARE),
            Normalize.from_stats(common.MEAN, common.STD),
        ],
    )


def loading(asked: work.Options) -> dict[str, object]:
    return {
        "bs": asked.batch_size,
        "val_bs": 2 * asked.batch_size,
        "num_workers": asked.workers,
        "persistent_workers": asked.workers > 0,
        "device": torch.device("cpu"),
    }


def made_learner(asked: work.Options, loaders: DataLoaders) -> Learner:
    return Learner(
        loaders,
        common.new_model(asked.model, asked.channels_last),
        loss_func=CrossEntropyLoss(),
        opt_func=partial(OptimWrapper, opt=torch.optim.AdamW),
        metrics=F1Score(average="macro"),
    )


if __name__ == "__main__":
    main()
