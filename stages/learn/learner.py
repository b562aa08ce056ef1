"""What training changes (weights, optimizer, moving average, plateau schedule), built for one fold and copied back."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.data.fold_data import FoldData
from stages.learn import (
    augment,
    captured_step,
    compiling,
    cudnn,
    device_memory,
    loader,
    model,
    objective,
    optimizer,
    own_losses,
    processes,
    resident_pixels,
    starting_weights,
    synced_batch_norm,
)
from stages.learn.model import Classifier
from stages.learn.timm_import import load_timm
from stages.params.schema import Params


@dataclass
class Learner:
    """What training changes, and what it needs at hand to do so."""

    params: Params
    data: FoldData
    fold: int
    lr: float  # the highest of the schedule
    accelerator: Accelerator
    model: Classifier
    bare: Classifier  # the model without what accelerate wraps it in
    optimizer: torch.optim.Optimizer
    plateau: torch.optim.lr_scheduler.ReduceLROnPlateau
    augment: augment.Augment
    mean: Tensor
    std: Tensor
    ema: Any = None
    mixup: Any = None
    updates: int = 0  # steps taken
    parts: int = 1  # pieces that a batch is cut into, their gradients added up (train.auto_batch)
    val_parts: int = 1  # by which a batch of validation is smaller still, where memory ran out; changes no prediction
    making: loader.Makers = field(default_factory=loader.Makers)  # of training batches
    evaluating: loader.Makers = field(default_factory=loader.Makers)  # of validation batches
    captured: captured_step.Capture | None = None  # its steps as CUDA graphs; None: they are taken kernel by kernel

    @property
    def validated(self) -> Classifier:
        """The model that is validated and kept: the moving average where there is one."""
        return self.bare if self.ema is None else self.ema.module


@device_memory.in_one_line(
    "the model does not fit the device; take a smaller one, or free what other programs have of its memory"
)
def start(params: Params, data: FoldData, fold: int, lr: float, accelerator: Accelerator, talk: Talk) -> Learner:
    """Build model, optimizer and augmentation for one fold, the same for the same seed and fold."""
    make_augment = check(params)
    objective.check(params, data.task)
    if params.model.freeze_epochs and accelerator.num_processes > 1:
        raise UserError("params.yaml: model.freeze_epochs: works in one process only; set it to 0 or run one process")
    if params.train.auto_batch and accelerator.num_processes > 1:
        # One process would add up its pieces while the others wait for it, or take its next piece for their next step.
        raise UserError(
            "params.yaml: train.auto_batch: works in one process only; set it to false and lower train.batch_size, or run "
            "one process"
        )
    loader.check_batches(params, len(data.train), accelerator.num_processes)
    torch.manual_seed(key(params, fold, 0))
    shape = model.architecture(params, data.task)
    net = model.build(shape, params.model.pretrained)
    _take_starting_weights(net, params, data, talk)
    mean, std = (tensor.to(accelerator.device) for tensor in model.normalisation(net))
    net = synced_batch_norm.installed(net, params, accelerator.device)
    net = model.channels_last(net, accelerator.device)
    cudnn.choose(params)
    if params.train.compile:
        compiling.install(net)
    made = optimizer.make(net, params.optimizer, lr)
    data = resident_pixels.placed(params, data, accelerator.device)
    processes.wait()  # NCCL would not wait as long for one that fetches its starting weights from far away
    wrapped, prepared = accelerator.prepare(net, made)
    if accelerator.scaler is not None or accelerator.device.type == "xla":
        made = prepared  # else it only passes steps on, and looks on the disk for libraries at each of them
    learner = Learner(
        params, data, fold, lr, accelerator, wrapped, net, made, _plateau(params), make_augment, mean, std
    )
    learner.captured = captured_step.start(params, accelerator.device, accelerator.num_processes)
    timm = load_timm()
    if params.train.ema_decay:
        learner.ema = timm.utils.ModelEmaV3(learner.bare, decay=params.train.ema_decay, use_warmup=True)
    if params.augment.mixup or params.augment.cutmix:
        learner.mixup = timm.data.Mixup
    return learner


def _take_starting_weights(net: Classifier, params: Params, data: FoldData, talk: Talk) -> None:
    """Load model.weights into the backbone, where it names a file, and say what was taken."""
    if params.model.begins_without_file:
        return
    path = Path(params.model.weights)
    talk.say(model.load_backbone(net, path))
    for line in starting_weights.warnings(path, data.task.units):
        talk.say(line)


def of_repeat(params: Params, repeat: int) -> Params:
    """The params of one of train.repeats: the first has the seed of params.yaml, each other one a seed of its own."""
    if not repeat:
        return params
    return params.model_copy(update={"seed": int(np.random.SeedSequence([params.seed, repeat]).generate_state(1)[0])})


def uncompiled(params: Params) -> Params:
    """Without train.compile, which costs more than a few steps are worth."""
    return params.model_copy(update={"train": params.train.model_copy(update={"compile": False})})


def check(params: Params) -> augment.Augment:
    """Check the names that only timm and albumentations know, and the files that params name, before any data is read;
    returns the augmentation. Models and losses of one's own are imported first.
    """
    own_losses.check(params)
    model.check_name(params.model.name)
    starting_weights.check(params)
    optimizer.check_name(params.optimizer.name)
    return augment.make(params)


def set_mode(learner: Learner, epoch: float) -> bool:
    """Training mode; in the first model.freeze_epochs the backbone stands still, its batch norm included: whether it does."""
    frozen = epoch < learner.params.model.freeze_epochs
    learner.model.train()
    learner.bare.backbone.requires_grad_(not frozen)
    if frozen:
        learner.bare.backbone.eval()
    if learner.captured is not None:
        learner.captured.look(learner.bare)
    return frozen


def key(params: Params, *parts: int) -> int:
    """A seed below 2^63 that depends on params.seed and every part."""
    return int(np.random.SeedSequence([params.seed, *parts]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def state(learner: Learner) -> dict[str, Any]:
    """All that training has changed, as tensors, numbers and containers of them; not copied."""
    scaler = learner.accelerator.scaler
    return {
        "model": learner.bare.state_dict(),
        "ema": None if learner.ema is None else learner.ema.module.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "plateau": _plateau_state(learner.plateau),
        "scaler": None if scaler is None else scaler.state_dict(),
        "updates": learner.updates,
        "parts": learner.parts,
    }


def restore(learner: Learner, state: dict[str, Any]) -> None:
    """Put back what `state` gave."""
    learner.bare.load_state_dict(state["model"])
    if learner.ema is not None:
        learner.ema.module.load_state_dict(state["ema"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.plateau.load_state_dict(state["plateau"]["scheduler"])
    learner.plateau.optimizer.param_groups[0]["lr"] = state["plateau"]["share"]
    if learner.accelerator.scaler is not None and state["scaler"]:
        learner.accelerator.scaler.load_state_dict(state["scaler"])
    learner.updates, learner.parts = state["updates"], state["parts"]


def frozen_copy(learner: Learner) -> dict[str, Any]:
    """`state`, copied, so that training on does not change it."""
    return copy.deepcopy(state(learner))


def _plateau(params: Params) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    """ReduceLROnPlateau on a carrier whose learning rate, from 1 down, is the factor on ours; inert for other schedules."""
    carrier = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    chosen = params.schedule
    active = chosen.name == "plateau"
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        carrier,
        factor=chosen.plateau_factor,
        patience=chosen.plateau_patience if active else 10**9,
        min_lr=chosen.min_share,
    )


def _plateau_state(plateau: torch.optim.lr_scheduler.ReduceLROnPlateau) -> dict[str, Any]:
    known = plateau.state_dict()
    return {"scheduler": known, "share": plateau.optimizer.param_groups[0]["lr"]}
