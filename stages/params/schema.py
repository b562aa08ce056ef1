"""All of params.yaml: its groups of keys in order, and what must fit together.

Every key's type, bounds, unit and default stand here and in the files beside; docs/methods.md is generated from them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from stages.base import paths
from stages.base.errors import nearest
from stages.params import tta_view_names
from stages.params.data_and_axes import CONTEST_AXES, AxisParams, Data, check_axes
from stages.params.error_line import short
from stages.params.fields import MOST, Bins, Count, CountOrZero, Group, Positive, Share
from stages.params.loss_options import LOSSES, Loss, Losses
from stages.params.model_and_training import (
    Augment,
    Budget,
    Checkpoint,
    Image,
    LabelNoise,
    LrFind,
    Model,
    Optimizer,
    Parallel,
    Plugins,
    Regression,
    Sampler,
    Schedule,
    Targets,
    Train,
)


class Ensemble(Group):
    vote: Literal["soft", "geometric", "hard", "rank"] = Field(
        "soft", description="How folds, repeats and views are joined in the submission (stages/judge/votes.py)"
    )
    replicates: Annotated[int, Field(ge=100, le=MOST, strict=True)] = Field(
        2000, description="Bootstrap samples of people"
    )


class Tta(Group):
    views: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("identity", "hflip"),
        description=f"Views of each eval photo that are predicted and joined: {tta_view_names.LISTED}; `maskcli tta-search`",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            tta_view_names.check(self.views)
        except ValueError as error:
            raise ValueError(f"views.{error}") from None
        return self


class Refit(Group):
    epochs: Literal["auto"] | Count = Field(
        "auto", description="Passes over all training photos, epochs; auto: what `maskcli epochs` names for a refit"
    )
    seeds: Count = Field(3, description="Models trained on all the training data, each with its own seed")


class Pseudo(Group):
    labels: str = Field(
        paths.NO_PSEUDO_LABELS.as_posix(),
        description="CSV of eval photos that join the training side of each fold, as `maskcli pseudo-label` writes it; "
        "pseudo/none.csv: off (a file that is always there, because DVC tracks the one named here)",
    )
    confidence: Share = Field(0.8, description="`maskcli pseudo-label`: least probability of the predicted class")
    per_class: Count = Field(20, description="`maskcli pseudo-label`: most photos of a class, the surest first")

    @property
    def is_off(self) -> bool:
        return Path(self.labels) == paths.NO_PSEUDO_LABELS


class Params(Group):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)] = Field(
        0, description="Every random draw follows from it"
    )
    data: Data = Data()
    axes: dict[str, AxisParams] = Field(
        {},
        description="What is told of a photo, the first axis slowest in class numbers: names with `{levels: [..]}`, `{bins: "
        "[..]}` or `{}`, whose levels are those in the data; {}: the contest's three, or a folder's one, `label`",
    )
    train_bins: dict[str, Bins] = Field(
        {}, description="Bins for training labels only, as `age: [30, 58]` (the 58-for-60 trick). Scoring never moves"
    )
    subsets: dict[str, dict[str, str | tuple[str, ...]]] = Field(
        {},
        description="Named groups of classes that get an F1 of their own, by the levels they have: `60plus: {age: 60+}`",
    )
    image: Image = Image()
    folds: Annotated[tuple[CountOrZero, ...], Field(min_length=2, max_length=1000)] = Field(
        (0, 1, 2, 3, 4), description="Names of the folds, 0 to k-1 (a list, because a DVC matrix needs one)"
    )
    plugins: Plugins = Plugins()
    model: Model = Model()
    targets: Targets = Field(
        "joint", description="joint: a logit a class; factored: a softmax an axis, whose product is the class's"
    )
    loss: Loss | str = Field(
        "ce", description="The training objective, also one of plugins.losses; its options stand under losses"
    )
    losses: Losses = Losses()
    regression: Regression = Regression()
    sampler: Sampler = Field(
        "none", description="How training photos are drawn; every epoch draws as many as there are"
    )
    label_noise: LabelNoise = LabelNoise()
    optimizer: Optimizer = Optimizer()
    lr: Literal["auto"] | Positive = Field("auto", description="Peak learning rate, or auto: the one lr-find suggests")
    schedule: Schedule = Schedule()
    train: Train = Train()
    budget: Budget = Budget()
    parallel: Parallel = Parallel()
    checkpoint: Checkpoint = Checkpoint()
    augment: Augment = Augment()
    lr_find: LrFind = LrFind()
    ensemble: Ensemble = Ensemble()
    tta: Tta = Tta()
    refit: Refit = Refit()
    pseudo: Pseudo = Pseudo()
    decision: Literal["argmax", "adjusted"] = Field(
        "argmax",
        description="The class to answer: the most probable, or with offsets for macro F1 where OOF shows that they help",
    )

    @model_validator(mode="before")
    @classmethod
    def _axes_of_the_layout(cls, value: Any) -> Any:
        """Where no axes are declared: the contest's, or the one that folders of classes have."""
        data = value.get("data", {}) if isinstance(value, dict) else None
        layout = data.get("layout", "contest") if isinstance(data, dict) else getattr(data, "layout", None)
        known = {"contest": CONTEST_AXES, "folder": {"label": {}}}
        if isinstance(layout, str) and layout in known and value.get("axes", {}) == {}:
            return value | {"axes": known[layout]}
        return value

    @model_validator(mode="after")
    def _axes_are_a_task(self) -> Self:
        check_axes(self)
        return self

    @model_validator(mode="after")
    def _loss_is_known(self) -> Self:
        """As far as that can be said without importing plugins.losses, where stages/learn/own_losses.py goes on."""
        own = self.losses.own
        if self.plugins.path("losses") is None and own:
            name = next(iter(own))
            close = nearest(
                name, LOSSES, otherwise="remove it, or name the file of a loss of your own by plugins.losses"
            )
            raise ValueError(f"unknown key `losses.{short(name)}`{close}")
        if self.loss not in (*LOSSES, *own):
            told = (
                ""
                if self.plugins.path("losses") is None
                else (
                    f"; one of plugins.losses wants its entry too, which DVC watches: `losses: {{{short(self.loss)}: {{}}}}`"
                )
            )
            close = nearest(self.loss, (*LOSSES, *own))
            raise ValueError(
                f"loss: `{short(self.loss)}` is not known{close}; valid: {', '.join((*LOSSES, *own))}{told}"
            )
        return self

    @model_validator(mode="after")
    def _views_fit_the_margin(self) -> Self:
        for place, name in enumerate(self.tta.views):
            needed = tta_view_names.margin_needed(name)
            if needed > self.image.margin:
                raise ValueError(
                    f"tta.views.{place}: `{name}` needs image.margin: {needed} or more, it is {self.image.margin}"
                )
        return self

    @model_validator(mode="after")
    def _adjusted_needs_probabilities(self) -> Self:
        if self.decision == "adjusted" and self.ensemble.vote in ("hard", "rank"):
            raise ValueError(
                f"decision: adjusted needs ensemble.vote: soft or geometric, because {self.ensemble.vote} votes are no "
                "probabilities"
            )
        return self

    @model_validator(mode="after")
    def _folds_count_up(self) -> Self:
        if list(self.folds) != list(range(len(self.folds))):
            raise ValueError(f"folds: must count up from 0 without gaps, as {list(range(len(self.folds)))}")
        return self

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.model.pretrained and not self.model.begins_without_file:
            raise ValueError(
                f"model.pretrained: true and model.weights: {self.model.weights} are two starts; set model.pretrained: false, "
                f"or model.weights: {paths.NO_WEIGHTS}"
            )
        return self

    @property
    def regressed(self) -> str | None:
        """The axis whose number may be regressed."""
        return next((name for name, axis in self.axes.items() if axis.regress), None)

    @property
    def own_loss(self) -> bool:
        """Whether the loss is one of plugins.losses."""
        return self.loss not in LOSSES

    @property
    def objective(self) -> str:
        """What training minimises, in words: losses of two runs lie on one scale only where this is the same."""
        options = self.losses.typed(self.loss)
        listed = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in options.items()
        )
        return (
            (f"{self.loss} ({listed})" if listed else self.loss)
            + (", factored" if self.targets == "factored" else "")
            + (f", {self.regressed} {self.regression.weight:g}" if self.regression.weight else "")
        )

    @property
    def cache_size(self) -> tuple[int, int]:
        """Height and width of a photo in the pixel cache, px: the training size plus the crop margin on every side."""
        return self.image.height + 2 * self.image.margin, self.image.width + 2 * self.image.margin
