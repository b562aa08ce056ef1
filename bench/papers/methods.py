"""The methods, each as what it changes in params.yaml, and the errors that were published of it."""

from dataclasses import dataclass
from typing import Any

Params = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """published: top-1 error by imbalance, per cent, and whose (CAO or MENON); adjusted: answers by log p - log prior."""

    params: Params
    published: dict[int, float]
    source: str = ""
    adjusted: bool = False


@dataclass(frozen=True)
class SetUp:
    """What all trainings of a table have alike."""

    model: str
    epochs: int
    mixed_precision: str = "none"

    @property
    def name(self) -> str:
        """As tables and results.json have it."""
        numbers = "" if self.mixed_precision == "none" else f", {self.mixed_precision}"
        return f"{self.model}, {self.epochs} epochs{numbers}"


CAO = "Cao et al. 2019 (arXiv:1906.07413), table 2"
MENON = "Menon et al. 2021 (arXiv:2007.07314), README of their code"

METHODS: dict[str, Method] = {
    "ce": Method({"loss": "ce"}, {100: 29.64, 10: 13.61}, CAO),
    "focal": Method({"loss": "focal", "losses": {"focal": {"gamma": 1.0}}}, {100: 29.62, 10: 13.34}, CAO),
    "weighted sampler": Method({"sampler": "weighted"}, {}),
    "class-uniform sampler": Method({"sampler": "class_uniform"}, {100: 29.45, 10: 13.21}, CAO),
    "class_balanced": Method(
        {"loss": "class_balanced", "losses": {"class_balanced": {"beta": 0.9999}}}, {100: 27.63, 10: 13.46}, CAO
    ),
    "ldam": Method({"loss": "ldam", "losses": {"ldam": {"drw": 1.0}}}, {100: 26.65, 10: 13.04}, CAO),
    "ldam, drw": Method({"loss": "ldam", "losses": {"ldam": {"drw": 0.8}}}, {100: 22.97, 10: 11.84}, CAO),
    "balanced_softmax": Method({"loss": "balanced_softmax"}, {}),
    "logit_adjust": Method({"loss": "logit_adjust", "losses": {"logit_adjust": {"tau": 1.0}}}, {100: 22.11}, MENON),
    "ce, adjusted afterwards": Method({"loss": "ce"}, {100: 22.68}, MENON, adjusted=True),
}


def params(method: Method, seed: int, set_up: SetUp) -> Params:
    """All of params.yaml that differs from the defaults: the papers' set-up (docs/plugins.md)."""
    return {
        "seed": seed,
        "data": {"layout": "folder", "root": "data"},
        "image": {"height": 32, "width": 32, "margin": 0},
        "folds": [0, 1],
        "plugins": {"models": "resnet_cifar.py"},
        "model": {"name": set_up.model},
        "optimizer": {"name": "momentum", "weight_decay": 2e-4, "decay_all": True},
        "lr": 0.1,
        "lr_find": {"steps": 10},
        # On a CPU, where rounding follows them: the same however many trainings run beside it.
        "parallel": {"threads": 1},
        "schedule": {"name": "step", "warmup_epochs": 5, "steps": [0.8, 0.9], "factor": 0.01},
        # A model of one's own, whose Python does the same in each step.
        "train": {
            "epochs": set_up.epochs,
            "batch_size": 128,
            "mixed_precision": set_up.mixed_precision,
            "select": "last",
            "cuda_graph": True,
        },
        "augment": {"pad": 4, "hflip": 0.5, "pipeline": "none"},
        "tta": {"views": ["identity"]},
        "refit": {"epochs": set_up.epochs, "seeds": 1},
        **method.params,
    }
