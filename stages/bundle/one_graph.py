"""A whole ensemble as one module: cached photos in, calibrated probabilities and answers out, so that it can be exported.

What stages/bundle/predictor.py does in steps, with arrays between them, is here one graph of tensors in float32. No branch
depends on a value, so that tracing sees all of it.
"""

import copy
import math
from typing import Literal

import torch
from torch import Tensor, nn

from stages.bundle.predictor import LEAST, Predictor
from stages.learn import model, tta_views

Input = Literal["uint8", "float"]


class OneGraph(nn.Module):
    """Photos [n, H + 2m, W + 2m, 3] to probabilities float32 [n, C] and answers int64 [n].

    Photos are uint8, or float32 in 0..1 where `takes` is float. Probabilities are voted over networks and views and calibrated
    by the temperature; answers follow from the voted ones by the decision rule, as in submission.csv. With `parts` there
    follow each network's own probabilities, float32 [views, n, C], one output a network.
    """

    factor: Tensor
    shift: Tensor
    offsets: Tensor | None

    def __init__(self, predictor: Predictor, takes: Input = "uint8", parts: bool = False) -> None:
        super().__init__()
        contents = predictor.contents
        # Copies: where predictions run, and how weights lie in memory there, stays as it is.
        own = [copy.deepcopy(net).to(device="cpu", dtype=torch.float32) for net in predictor.networks]
        self.networks = nn.ModuleList(own)
        self.views = [tta_views.make(name) for name in contents.views]
        self.margin, self.takes, self.parts = predictor.params.image.margin, takes, parts
        self.vote, self.temperature = contents.vote, contents.temperature
        self.factors, self.scale = own[0].architecture.factors, own[0].architecture.scale
        mean, std = model.normalisation(own[0])
        self.register_buffer("factor", 1 / std)
        self.register_buffer("shift", -mean / std)
        offsets = contents.offsets
        self.register_buffer("offsets", None if offsets is None else torch.as_tensor(offsets, dtype=torch.float32))
        self.eval()

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        seen = self.normalised(photos)
        # [views, n, C] of each network
        logs = [self.log_probabilities(net, seen).unflatten(0, (len(self.views), -1)) for net in self.networks]
        voted = VOTES[self.vote](torch.cat(logs))
        calibrated = torch.softmax(at_least(voted, LEAST).log() / self.temperature, dim=1)
        own = tuple(log.exp() for log in logs) if self.parts else ()
        return calibrated, self.answers(voted), *own

    def normalised(self, photos: Tensor) -> Tensor:
        """All views of all photos, one view after the other, as the networks take them: float32 [views * n, 3, H, W]."""
        if self.takes == "float":
            photos = photos * 255
        views = [view(photos, self.margin) for view in self.views]
        if any(view.is_floating_point() for view in views):
            views = [view.float() for view in views]
        # As bytes through the transposition, which then moves a quarter of the memory.
        channels_first = torch.cat(views).permute(0, 3, 1, 2).float()
        return channels_first * self.factor + self.shift

    def log_probabilities(self, net: nn.Module, seen: Tensor) -> Tensor:
        """Log probabilities [N, C] of normalised photos [N, 3, H, W] (stages.judge.metrics.joint_log_probabilities)."""
        logits = net(seen)[0] * self.scale
        if not self.factors:
            return torch.log_softmax(logits, dim=1)
        joint, *others = (torch.log_softmax(logits[:, place], dim=1) for place in self.factors)
        for axis in others:
            joint = (joint[:, :, None] + axis[:, None, :]).flatten(1)
        return joint

    def answers(self, voted: Tensor) -> Tensor:
        """The class answered, int64 [n], from voted probabilities [n, C]."""
        return (voted if self.offsets is None else at_least(voted, LEAST).log() + self.offsets).argmax(dim=1)


def at_least(values: Tensor, least: float) -> Tensor:
    """Not by clamp, which is the node that ReLU6 is too: int8 takes those, and would round probabilities."""
    return torch.maximum(values, torch.tensor(least))


def soft(logs: Tensor) -> Tensor:
    """Each vote takes log probabilities [voters, n, C] and gives [n, C], as the one of its name in stages/judge/votes.py."""
    return logs.exp().mean(dim=0)


def geometric(logs: Tensor) -> Tensor:
    return torch.softmax(at_least(logs, math.log(LEAST)).mean(dim=0), dim=1)


def hard(logs: Tensor) -> Tensor:
    ballots = nn.functional.one_hot(logs.argmax(dim=2), logs.shape[2]).sum(dim=0).float()
    summed = logs.exp().sum(dim=0)
    shares = ballots + summed / (summed.sum(dim=1, keepdim=True) + LEAST) * 0.5
    return shares / shares.sum(dim=1, keepdim=True)


VOTES = {"soft": soft, "geometric": geometric, "hard": hard}  # rank looks at the other photos: no Predictor has it


def example(predictor: Predictor, takes: Input, photos: int = 3) -> Tensor:
    """Photos to trace with, of the right size and type."""
    pixels = torch.zeros((photos, *predictor.params.cache_size, 3), dtype=torch.uint8)
    return pixels if takes == "uint8" else pixels.float()
