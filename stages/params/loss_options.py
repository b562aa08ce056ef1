"""The keys of the losses: options of each, with their sources."""

from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field

from stages.params.fields import Group, NotNegative, Positive, Share, ShareBelowOne

Loss = Literal[
    "ce",
    "weighted_ce",
    "label_smoothing",
    "focal",
    "f1",
    "ldam",
    "class_balanced",
    "balanced_softmax",
    "logit_adjust",
    "bce",
]


class NoOptions(Group):
    """A loss without options."""


class LabelSmoothing(Group):
    eps: ShareBelowOne = Field(0.1, description="Probability spread evenly over all classes (Szegedy et al. 2016)")


class Focal(Group):
    gamma: NotNegative = Field(2.0, description="Exponent of (1 - p_y); 0 is ce (Lin et al. 2017)")
    alpha: Literal["none", "balanced"] = Field(
        "none", description="balanced: times 1/n_c, normalised to mean 1 over classes"
    )


class F1(Group):
    eps: Positive = Field(1e-7, description="Added to the denominator of each class's soft F1")
    ce_mix: Share = Field(0.0, description="Share of cross entropy mixed in (contestants: 0.3)")


class Ldam(Group):
    max_margin: Positive = Field(0.5, description="Margin of the rarest class (Cao et al. 2019)")
    scale: Positive = Field(30.0, description="Factor on the cosine logits (Cao et al. 2019)")
    drw: Share = Field(
        0.8,
        description="Share of epochs after which class-balanced weights (beta 0.9999) begin; 1 = never (Cao et al. 2019)",
    )


class ClassBalanced(Group):
    beta: ShareBelowOne = Field(0.9999, description="Weights (1-beta)/(1-beta^n_c) (Cui et al. 2019)")


class LogitAdjust(Group):
    tau: NotNegative = Field(
        1.0, description="Factor on the log prior added to the logits in training (Menon et al. 2021)"
    )


class Bce(Group):
    smoothing: ShareBelowOne = Field(0.0, description="Label smoothing of timm's BinaryCrossEntropy")


class Losses(Group):
    """Options of each loss; only the chosen loss's options make DVC train again.

    A loss of plugins.losses has an entry of its own, whose options its function's signature tells
    (stages/learn/own_losses.py).
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, Any]]

    ce: NoOptions = NoOptions()
    weighted_ce: NoOptions = NoOptions()
    label_smoothing: LabelSmoothing = LabelSmoothing()
    focal: Focal = Focal()
    f1: F1 = F1()
    ldam: Ldam = Ldam()
    class_balanced: ClassBalanced = ClassBalanced()
    balanced_softmax: NoOptions = NoOptions()
    logit_adjust: LogitAdjust = LogitAdjust()
    bce: Bce = Bce()

    @property
    def own(self) -> dict[str, dict[str, Any]]:
        """Options as typed of the losses that are none of this program's, by name."""
        return dict(self.__pydantic_extra__ or {})

    def typed(self, loss: str) -> dict[str, Any]:
        """Options of a loss: all of one of this program's, those typed of one of plugins.losses."""
        found = getattr(self, loss, {})
        return dict(found) if isinstance(found, dict) else found.model_dump()


LOSSES: tuple[str, ...] = get_args(Loss)
