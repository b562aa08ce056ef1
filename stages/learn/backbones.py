"""Whose features `maskcli screen` trains heads on: a backbone from elsewhere, or each fold's own model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import load_npz
from stages.base.talk import Talk
from stages.data.fold_data import FoldData
from stages.learn import model, same_task, starting_weights
from stages.learn.model import Classifier
from stages.params.schema import Params
from stages.records import run_record

OWN_MODELS = "each fold's own model"
# Groups of params.yaml that may say otherwise than what the folds were trained with, whose backbones are taken.
OF_HEADS = (
    "loss",
    "losses.",
    "sampler",
    "lr",
    "optimizer.",
    "schedule.",
    "train.",
    "augment.",
    "regression.",
    "model.head",
)


def choose(params: Params, asked: str, folds: Sequence[FoldData], talk: Talk) -> tuple[str, list[Classifier]]:
    """What the features come from, in words, and the models: one for all folds, or one a fold.

    `auto` is params where model.pretrained or model.weights is set, else folds where all are trained. Raises UserError where
    neither is, and for weights that have seen these photos, in whose OOF scores that would show as skill.
    """
    trained = all(paths.weights(fold).is_file() for fold in params.folds)
    starts = params.model.pretrained or not params.model.begins_without_file
    if asked == "auto":
        asked = "params" if starts else "folds"
        if asked == "folds" and not trained:
            raise UserError(
                "screen: there is no backbone: random features tell nothing about losses; set model.pretrained or "
                "model.weights in params.yaml, give --backbone WEIGHTS.safetensors, or train the folds first (`maskcli folds`)"
            )
    if asked == "folds":
        # The features need the folds' backbones alone: what else params.yaml says by now is no matter.
        run_record.joined(params, talk, "screen", told=OF_HEADS)
        return f"{OWN_MODELS} ({paths.weights(0)} ...)", [
            _of_fold(params, fold, data) for fold, data in enumerate(folds)
        ]
    if asked == "params" and not starts:
        raise UserError(
            "screen: --backbone params: model.pretrained in params.yaml is false and model.weights names no file, and random "
            "features tell nothing about losses; set one of them, or take --backbone folds"
        )
    if asked == "params":
        weights = None if params.model.begins_without_file else Path(params.model.weights)
    else:
        weights = Path(asked)
    if weights and not weights.is_file():
        raise UserError(
            f"screen: --backbone {weights}: no such file; give auto, params, folds, or the path of a .safetensors or .pth file"
        )
    if weights:
        refuse_leak(weights)
    torch.manual_seed(params.seed)
    net = model.build(model.architecture(params, folds[0].task), weights is None)
    if weights:
        talk.say(model.load_backbone(net, weights))
        for line in starting_weights.warnings(weights, folds[0].task.units):
            talk.say(line)
    return f"{params.model.name}, {weights or 'published weights'}", [net]


def refuse_leak(path: Path) -> None:
    """Raise UserError for weights of models that were trained on these photos."""
    if known := starting_weights.known_here(path):
        raise UserError(
            f"screen: {path}: was trained on {known}, which it would be scored on; take --backbone folds, which uses each "
            "fold's model for that fold alone, or weights from elsewhere"
        )


def _of_fold(params: Params, fold: int, data: FoldData) -> Classifier:
    """A fold's first model, checked to have left out the photos that the fold validates on today."""
    net = model.load(paths.weights(fold), params.plugins)
    own, wanted = net.architecture, model.architecture(params, data.task)
    same_task.check(own.task, wanted.task, str(paths.weights(fold)))
    if (own.name, own.options) != (wanted.name, wanted.options):
        raise UserError(
            f"{paths.weights(fold)}: is {own.name} with model.options {own.options}, params.yaml has {wanted.name} with "
            f"{wanted.options}; train the folds again (`dvc repro`)"
        )
    model.check_image(own, params, str(paths.weights(fold)))
    try:
        left_out = load_npz(paths.oof_logits(fold), ("photo",))["photo"]
    except ValueError:
        left_out = np.empty(0)
    if not np.array_equal(left_out, data.val):
        raise UserError(
            f"{paths.oof_logits(fold)}: this fold's model was not trained with the folds of {paths.FOLDS}, so it may have seen "
            "the photos it would be scored on; train the folds again (`dvc repro`)"
        )
    return net
