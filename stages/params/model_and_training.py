"""The keys of the model and of its training: photo size, backbone and head, optimizer, schedule, epochs, augmentation."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, field_validator, model_validator
from pydantic_core import PydanticCustomError

from stages.base import paths
from stages.params.fields import (
    Count,
    CountOrZero,
    Group,
    NotNegative,
    Number,
    Positive,
    Share,
    ShareBelowOne,
    ShareInside,
    ascend,
)

Sampler = Literal["none", "weighted", "imbalanced", "sqrt", "class_uniform"]


Targets = Literal["joint", "factored"]


PluginKind = Literal["models", "losses"]


PLUGIN_KINDS: tuple[PluginKind, ...] = ("models", "losses")


class Image(Group):
    height: Annotated[int, Field(ge=16, le=1024, strict=True)] = Field(64, description="Height the model sees, px")
    width: Annotated[int, Field(ge=16, le=1024, strict=True)] = Field(48, description="Width the model sees, px")
    margin: Annotated[int, Field(ge=0, le=128, strict=True)] = Field(
        4, description="Cached on every side for random crops, px; evaluation takes the centre"
    )
    face: Annotated[Number, Field(gt=0.2, le=1)] = Field(
        1.0,
        gt=0.2,
        description="Share of the photo's height and width kept, centred, before resizing (1 = whole photo)",
    )


class Model(Group):
    name: str = Field("test_resnet", description="A timm model name (`timm.list_models()`)")
    pretrained: StrictBool = Field(False, description="true: begin with timm's published weights (network)")
    weights: str = Field(
        paths.NO_WEIGHTS.as_posix(),
        description="File that the backbone's weights begin with, .safetensors or .pth; weights/none: no file (one that is "
        "always there, because DVC tracks the one named here)",
    )
    head: Literal["linear", "mlp"] = Field(
        "linear", description="linear: one layer; mlp: dropout, Linear(hidden), ReLU, dropout, Linear"
    )
    hidden: Count = Field(256, description="Width of the mlp head's hidden layer, units")
    dropout: ShareBelowOne = Field(0.0, description="Dropout before each linear layer of the head")
    drop_path: ShareBelowOne = Field(
        0.0, description="Stochastic depth rate, for backbones that have it (Huang et al. 2016)"
    )
    freeze_epochs: CountOrZero = Field(
        0,
        description="First epochs in which only the head learns, epochs; then the backbone's rate rises from 0 to the head's "
        "over schedule.warmup_epochs, or half of the epochs left where that is less",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="More arguments for timm.create_model, as `pad_type: same`"
    )

    @field_validator("pretrained", mode="before")
    @classmethod
    def _no_file(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise PydanticCustomError(
                "told", "takes true or false; name a file by model.weights: {value}", {"value": value[:80]}
            )
        return value

    @property
    def begins_without_file(self) -> bool:
        return Path(self.weights) == paths.NO_WEIGHTS


class Plugins(Group):
    """Python files of one's own. One that is not used is `plugins/none`, a file that is always there, because DVC tracks the
    ones named here."""

    models: str = Field(
        paths.NO_PLUGINS.as_posix(),
        description="Python file in the project, or a folder of them, whose `@register_model` functions model.name may name "
        "(docs/plugins.md); plugins/none: none",
    )
    losses: str = Field(
        paths.NO_PLUGINS.as_posix(),
        description="The same for losses, `@register_loss` functions that loss may name, with options under losses.<name>; may "
        "be the same file; plugins/none: none",
    )

    def path(self, kind: PluginKind) -> Path | None:
        """Where those of a kind lie; None where there are none."""
        named = Path(self.models if kind == "models" else self.losses)
        return None if named == paths.NO_PLUGINS else named

    @property
    def are_off(self) -> bool:
        return all(self.path(kind) is None for kind in PLUGIN_KINDS)


class Regression(Group):
    weight: NotNegative = Field(
        0.0,
        description="Factor on smooth-L1 of the axis with `regress: true`, in units of its scale, on shared features; 0 = off",
    )


class Optimizer(Group):
    name: str = Field(
        "adamw",
        description="A name of timm's optimizer factory: adamw, lion, ..., also with lookahead_ before it; sgd: momentum 0.9 "
        "by Nesterov, momentum: the classical 0.9",
    )
    weight_decay: NotNegative = Field(
        0.05, description="Weight decay, not applied to biases, norms and what the backbone's no_weight_decay() names"
    )
    layer_decay: Annotated[Number, Field(gt=0, le=1)] = Field(
        1.0,
        description="Each layer's learning rate as a share of the one above it, by timm's layer numbers, the head on top; "
        "1 = the same everywhere (Clark et al. 2020)",
    )
    decay_all: StrictBool = Field(
        False, description="true: weight decay on biases and norms too, as papers that train by SGD have it"
    )
    clip_grad: NotNegative = Field(0.0, description="Largest gradient norm; 0 = unclipped")


class Schedule(Group):
    name: Literal["constant", "plateau", "cosine", "onecycle", "step"] = Field(
        "cosine",
        description="plateau: ReduceLROnPlateau on val_nll; onecycle: Smith & Topin 2018; step: falls at `steps`",
    )
    warmup_epochs: NotNegative = Field(
        1.0, description="Linear warm-up, epochs (onecycle has its own), and the backbone's after model.freeze_epochs"
    )
    min_share: ShareBelowOne = Field(
        0.01, description="Final learning rate as a share of lr (cosine, plateau, onecycle)"
    )
    plateau_factor: Annotated[Number, Field(gt=0, lt=1)] = Field(
        0.5, description="plateau: factor on the learning rate"
    )
    plateau_patience: CountOrZero = Field(
        2, description="plateau: epochs without a better val_nll before it falls, epochs"
    )
    steps: Annotated[tuple[ShareInside, ...], Field(min_length=1, max_length=100)] = Field(
        (0.8, 0.9),
        description="step: where the learning rate falls, shares of the training (0.8 of 200 epochs: after 160)",
    )
    factor: Annotated[Number, Field(gt=0, lt=1)] = Field(
        0.01, description="step: factor on the learning rate at each of them, on top of those before"
    )

    @field_validator("steps")
    @classmethod
    def _ascend(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not ascend(value):
            raise PydanticCustomError(
                "told", "{value} must ascend, each share above the one before", {"value": str(list(value))}
            )
        return value


class Train(Group):
    epochs: Annotated[int, Field(ge=1, le=10_000, strict=True)] = Field(20, description="Most epochs, epochs")
    batch_size: Annotated[int, Field(ge=2, le=65_536, strict=True)] = Field(32, description="Photos a step")
    select: Literal["best_f1", "best_nll", "last"] = Field(
        "last",
        description="The epoch whose weights are kept; best_f1 (ties by val_nll) and best_nll choose on the scored photos",
    )
    repeats: Annotated[int, Field(ge=1, le=100, strict=True)] = Field(
        1, description="Times each fold is trained, each with its own seed; two or more show the noise of the seed"
    )
    patience: CountOrZero = Field(
        0, description="Stop after so many epochs in which neither val_nll nor val_f1 got better, epochs; 0 = never"
    )
    ema_decay: ShareBelowOne = Field(
        0.0, description="Exponential moving average of weights (timm's ModelEmaV3); 0 = off"
    )
    mixed_precision: Literal["none", "bf16", "fp16"] = Field(
        "none", description="AMP through accelerate; the head computes in float32"
    )
    auto_batch: StrictBool = Field(
        False,
        description="Where memory runs out: cut batches in pieces and add up their gradients, instead of stopping",
    )
    compile: StrictBool = Field(
        False,
        description="torch.compile the model for training; needs a C++ compiler on a CPU or Triton on a GPU",
    )
    cuda_graph: Literal["auto"] | StrictBool = Field(
        "auto",
        description="On a GPU, one process a fold: forward and backward pass as CUDA graphs, 1.6 to 4 times the photos/s; auto: "
        "where timm has the model and train.compile is off; true: also a model of one's own, whose Python must do the same in "
        "each step",
    )
    sync_batchnorm: Literal["auto"] | StrictBool = Field(
        "auto",
        description="Several processes on GPUs (torchrun): batch norm over the photos of all of them, not of each one; auto: "
        "where a process has fewer than 16 in a batch",
    )
    deterministic: StrictBool = Field(
        False,
        description="On a GPU: the same bytes again on the same card, by algorithms some of which are slower; a CPU does so by "
        "itself, but for train.compile",
    )


MOST_INNER_FOLDS = 20


class LabelNoise(Group):
    action: Literal["none", "drop", "weight", "smooth"] = Field(
        "none",
        description="What training does with photos of its own side whose label is more likely wrong than right, as models that "
        "never saw their group say (docs/label_noise.md): drop them, draw them with the chance 1 - score (weight), or mix "
        "their label with what those models predict (smooth)",
    )
    folds: Annotated[int, Field(ge=2, le=MOST_INNER_FOLDS, strict=True)] = Field(
        2, description="Parts of the training side, each judged by a model trained on the others"
    )
    epochs: Literal["auto"] | Count = Field(
        "auto", description="How long those models train, epochs; auto: as long as train.epochs"
    )
    share: Literal["auto"] | Annotated[Number, Field(gt=0, le=0.5)] = Field(
        "auto",
        description="Most of the training side's photos that are taken for wrong, the surest first, share; auto: as many as the "
        "scores, which are probabilities, add up to (Northcutt et al. 2021)",
    )
    mix: Literal["auto"] | Annotated[Number, Field(gt=0, le=1)] = Field(
        "auto",
        description="smooth: share of the prediction in the label (Reed et al. 2015); auto: the photo's score",
    )

    @property
    def is_off(self) -> bool:
        return self.action == "none"


class Budget(Group):
    minutes: NotNegative = Field(
        0.0,
        description="Time for training all folds and predicting, minutes; the schedule is shortened to fit; 0 = no limit",
    )


class Parallel(Group):
    jobs: Literal["auto"] | Count = Field(
        "auto",
        description="Folds trained side by side; auto: cores / threads on a CPU; one a GPU, or what fits without CUDA graphs",
    )
    threads: Literal["auto"] | Count = Field(
        "auto",
        description="CPU threads that train a fold; auto: by a rule of cores, folds and batch (docs/speed.md)",
    )


class Checkpoint(Group):
    minutes: Positive = Field(
        5.0, description="Time between checkpoints within an epoch, minutes; every epoch ends with one"
    )


class Augment(Group):
    pad: Annotated[int, Field(ge=0, le=128, strict=True)] = Field(
        0,
        description="Black pixels laid around each training photo before its random crop, px, beside image.margin, which is of "
        "the photo itself (CIFAR's papers: 4, with image.margin: 0)",
    )
    hflip: Share = Field(0.5, description="Probability of a horizontal flip")
    pipeline: Literal["none", "light", "medium", "strong"] | list[str | dict[str, dict[str, Any]]] = Field(
        "light",
        description="After crop and flip: light (OpenCV), medium or strong (albumentations), or albumentations transforms as "
        "`- CLAHE: {p: 0.3}`",
    )
    mixup: NotNegative = Field(0.0, description="Alpha of mixup (Zhang et al. 2018); 0 = off")
    cutmix: NotNegative = Field(0.0, description="Alpha of CutMix (Yun et al. 2019); 0 = off")


class LrFind(Group):
    start: Positive = Field(1e-6, description="First learning rate")
    end: Positive = Field(1.0, description="Last learning rate")
    steps: Annotated[int, Field(ge=10, le=100_000, strict=True)] | Literal["auto"] = Field(
        "auto", description="Batches from start to end; auto: 5 % of those that all folds train on, from 50 to 100"
    )
    diverge: Annotated[Number, Field(gt=1)] = Field(
        2.0, description="Stop when the running mean of the loss is so many times its lowest"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.end:
            raise ValueError("start: must be below end")
        return self
