"""Short trainings: a full one in small, for a screening, or for models that say which labels of the training side are wrong.

Without torch: whoever shows how far trainings are asks here how long each is.
"""

import math

from stages.params.model_and_training import LabelNoise
from stages.params.schema import Params


def shortened(params: Params, share: float, epochs: int) -> Params:
    """The params of a training of `epochs` epochs that is a full one in small: its schedule is complete.

    What counts in epochs, the warm-up, the frozen ones and the plateau's patience, takes the same `share` of the training as at
    full length; what counts in shares of it (drw) does so by itself. Nothing is selected, repeated, compiled or given up early.
    """
    schedule, frozen, noise = params.schedule, params.model.freeze_epochs, params.label_noise
    train = {"epochs": epochs, "select": "last", "repeats": 1, "patience": 0, "compile": False}
    return params.model_copy(
        update={
            "train": params.train.model_copy(update=train),
            "budget": params.budget.model_copy(update={"minutes": 0.0}),
            "label_noise": noise
            if noise.epochs == "auto"
            else noise.model_copy(update={"epochs": max(1, round(noise.epochs * share))}),
            "model": params.model.model_copy(update={"freeze_epochs": math.ceil(frozen * share - 1e-9)}),
            "schedule": schedule.model_copy(
                update={
                    "warmup_epochs": schedule.warmup_epochs * share,
                    "plateau_patience": math.floor(schedule.plateau_patience * share),
                }
            ),
        }
    )


def inner(params: Params) -> Params:
    """Of the models that say which labels are wrong: by plain cross entropy, without a sampler.

    What is asked of them is a probability. Losses and samplers that make up for rare classes answer with that of another
    population, in which all classes are as common (Menon et al. 2021, arXiv:2007.07314): the common ones would look wrong.
    """
    epochs = inner_epochs(params)
    short = shortened(params, epochs / params.train.epochs, epochs)
    return short.model_copy(update={"loss": "ce", "sampler": "none", "label_noise": LabelNoise()})


def inner_epochs(params: Params) -> int:
    """Epochs of each of those models: auto, as many as the real training's, on fewer photos."""
    chosen = params.label_noise.epochs
    return params.train.epochs if chosen == "auto" else chosen


def inner_cost(params: Params) -> float:
    """What one of those models takes, as a share of a training of the fold; 0 where there is none."""
    noise = params.label_noise
    return 0.0 if noise.is_off else (1 - 1 / noise.folds) * inner_epochs(params) / params.train.epochs


def epochs_in_turn(params: Params) -> tuple[int, ...]:
    """Epochs of each training that a fold takes, one after the other: those models, then train.repeats."""
    first = () if params.label_noise.is_off else (inner_epochs(params),) * params.label_noise.folds
    return (*first, *(params.train.epochs,) * params.train.repeats)
