"""The typed schema of params.yaml: every key, its type, bounds, unit and default, in one place.

`load` reads the file and checks all of it before any data is read. docs/methods.md is generated from this file.
"""

import difflib
import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from stages.base import paths
from stages.base.errors import UserError
from stages.params import view_names, yaml_text

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
Sampler = Literal["none", "weighted", "imbalanced", "sqrt", "class_uniform"]
Targets = Literal["joint", "factored"]


def _no_boolean(value: Any) -> Any:
    """pydantic takes true for 1; as a rate or a share that is a slip."""
    if isinstance(value, bool):
        raise PydanticCustomError("boolean", "input should be a number")
    return value


Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
ShareBelowOne = Annotated[Number, Field(ge=0, lt=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
MOST = 1_000_000  # bound of whole numbers that have no narrower one, so that none asks for arrays beyond any memory
Count = Annotated[int, Field(ge=1, le=MOST, strict=True)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST, strict=True)]
Age = Annotated[int, Field(ge=1, le=120, strict=True)]


class Group(BaseModel):
    """What all groups share: unknown keys are errors, values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Data(Group):
    age_bins: tuple[Age, Age] = Field((30, 60), description="Ages, in years, where the second and third age bin begin")
    train_age_bins: tuple[Age, Age] | None = Field(
        None,
        description="The same for training labels only (the 58-for-60 trick); null: as age_bins. Scoring never moves",
    )
    on_fault: Literal["stop", "skip"] = Field(
        "stop",
        description="What prepare does about bad rows and photos: refuse the data set, or leave those people out",
    )
    # Pillow refuses more than twice 89,478,485 px whatever is asked.
    max_pixels: Annotated[int, Field(ge=1, le=178_956_970, strict=True)] = Field(
        50_000_000, description="A photo of more pixels than this is refused undecoded, px"
    )
    cache_gb: NotNegative = Field(
        50.0,
        description="Most disk space for the pixel caches of training and eval photos together, GB (10^9 bytes); "
        "above it photos are decoded on the fly",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("age_bins", "train_age_bins"):
            bins = getattr(self, name)
            if bins is not None and bins[0] >= bins[1]:
                raise ValueError(f"{name}: the first age must be below the second")
        return self


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
        str(paths.NO_WEIGHTS),
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
    freeze_epochs: CountOrZero = Field(0, description="First epochs in which only the head learns, epochs")
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
    """Options of each loss; only the chosen loss's options make DVC train again."""

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


class AgeRegression(Group):
    weight: NotNegative = Field(
        0.0, description="Factor on smooth-L1 of age in units of 10 years, learnt on shared features; 0 = off"
    )


class Optimizer(Group):
    name: str = Field(
        "adamw", description="A name of timm's optimizer factory: adamw, sgd, lion, ..., also with lookahead_ before it"
    )
    weight_decay: NotNegative = Field(0.05, description="Weight decay, not applied to biases and norms")
    layer_decay: Annotated[Number, Field(gt=0, le=1)] = Field(
        1.0,
        description="Each layer's learning rate as a share of the one above it; 1 = the same everywhere (Clark et al. 2020)",
    )
    clip_grad: NotNegative = Field(0.0, description="Largest gradient norm; 0 = unclipped")


class Schedule(Group):
    name: Literal["constant", "plateau", "cosine", "onecycle"] = Field(
        "cosine", description="plateau: ReduceLROnPlateau on val_nll; onecycle: Smith & Topin 2018"
    )
    warmup_epochs: NotNegative = Field(1.0, description="Linear warm-up, epochs (onecycle has its own)")
    min_share: ShareBelowOne = Field(
        0.01, description="Final learning rate as a share of lr (cosine, plateau, onecycle)"
    )
    plateau_factor: Annotated[Number, Field(gt=0, lt=1)] = Field(
        0.5, description="plateau: factor on the learning rate"
    )
    plateau_patience: CountOrZero = Field(
        2, description="plateau: epochs without a better val_nll before it falls, epochs"
    )


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
    mixed_precision: Literal["none", "bf16", "fp16"] = Field("none", description="AMP through accelerate")
    auto_batch: StrictBool = Field(
        False,
        description="Where memory runs out: cut batches in pieces and add up their gradients, instead of stopping",
    )
    compile: StrictBool = Field(
        False,
        description="torch.compile the model for training; needs a C++ compiler on a CPU or Triton on a GPU",
    )


class Budget(Group):
    minutes: NotNegative = Field(
        0.0,
        description="Time for training all folds and predicting, minutes; the schedule is shortened to fit; 0 = no limit",
    )


class Parallel(Group):
    jobs: Literal["auto"] | Count = Field(
        "auto",
        description="Folds trained side by side; auto: cores / threads on a CPU, what fits a GPU for `maskcli folds`, else 1",
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
    hflip: Share = Field(0.5, description="Probability of a horizontal flip")
    pipeline: Literal["none", "light", "medium", "strong"] | list[str | dict[str, dict[str, Any]]] = Field(
        "light",
        description="After crop and flip: light (OpenCV), medium or strong (albumentations), or albumentations transforms as "
        "`- CLAHE: {p: 0.3}`",
    )
    mixup: NotNegative = Field(0.0, description="Alpha of mixup (Zhang et al. 2018); 0 = off")
    cutmix: NotNegative = Field(0.0, description="Alpha of CutMix (Yun et al. 2019); 0 = off")


class LrFind(Group):
    take: Literal["steepest", "valley", "minimum/10"] = Field(
        "valley", description="The suggestion that `lr: auto` uses"
    )
    start: Positive = Field(1e-6, description="First learning rate")
    end: Positive = Field(1.0, description="Last learning rate")
    steps: Annotated[int, Field(ge=10, le=100_000, strict=True)] = Field(100, description="Batches from start to end")
    smoothing: ShareBelowOne = Field(0.9, description="Decay of the bias-corrected moving average of the loss")
    diverge: Annotated[Number, Field(gt=1)] = Field(
        4.0, description="Stop when the smoothed loss is so many times its minimum"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.end:
            raise ValueError("start: must be below end")
        return self


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
        description=f"Views of each eval photo that are predicted and joined: {view_names.LISTED}; `maskcli tta-search`",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            view_names.check(self.views)
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
        str(paths.NO_PSEUDO_LABELS),
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
    subsets: dict[str, dict[str, str | tuple[str, ...]]] = Field(
        {"60plus": {"age": "60+"}},
        description="Named groups of classes that get an F1 of their own, by the levels they have: `60plus: {age: 60+}`",
    )
    image: Image = Image()
    folds: Annotated[tuple[CountOrZero, ...], Field(min_length=2, max_length=1000)] = Field(
        (0, 1, 2, 3, 4), description="Names of the folds, 0 to k-1 (a list, because a DVC matrix needs one)"
    )
    model: Model = Model()
    targets: Targets = Field("joint", description="joint: 18 logits; factored: mask 3 + gender 2 + age 3 logits")
    loss: Loss = Field("ce", description="The training objective; its options stand under losses")
    losses: Losses = Losses()
    age_regression: AgeRegression = AgeRegression()
    sampler: Sampler = Field(
        "none", description="How training photos are drawn; every epoch draws as many as there are"
    )
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

    @model_validator(mode="after")
    def _views_fit_the_margin(self) -> Self:
        for place, name in enumerate(self.tta.views):
            needed = view_names.margin_needed(name)
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
    def train_age_bins(self) -> tuple[int, int]:
        return self.data.train_age_bins or self.data.age_bins

    @property
    def objective(self) -> str:
        """What training minimises, in words: losses of two runs lie on one scale only where this is the same."""
        options = getattr(self.losses, self.loss).model_dump()
        listed = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in options.items()
        )
        return (
            (f"{self.loss} ({listed})" if listed else self.loss)
            + (", factored" if self.targets == "factored" else "")
            + (f", age {self.age_regression.weight:g}" if self.age_regression.weight else "")
        )

    @property
    def cache_size(self) -> tuple[int, int]:
        """Height and width of a photo in the pixel cache, px: the training size plus the crop margin on every side."""
        return self.image.height + 2 * self.image.margin, self.image.width + 2 * self.image.margin


def load(path: Path = paths.PARAMS) -> Params:
    """Read and check params.yaml; keys left out take their defaults.

    Raises UserError with one line that names the key, what is wrong, and the nearest valid spelling.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run maskcli in the project's folder, beside params.yaml") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check that it is a readable file") from None
    value = yaml_text.read(content, path)
    if value is None:
        raise UserError(f"{path}: is empty; take it from git again, or write `{{}}` for all defaults")
    if not isinstance(value, dict):
        raise UserError(f"{path}: must be a mapping of keys to values, as `seed: 0`")
    return parse(value, path)


def parse(value: dict[str, Any], source: Path = paths.PARAMS) -> Params:
    """Check the content of params.yaml; see `load`."""
    try:
        return Params.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{source}: {_one_line(error)}") from None


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups as one mapping of dotted keys; an empty group stands as it is."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= flat(item, f"{prefix}{key}.") if isinstance(item, dict) and item else {f"{prefix}{key}": item}
    return found


def nested(value: dict[str, Any]) -> dict[str, Any]:
    """The reverse of `flat`, also for keys of which some are dotted and some groups, as dvc.lock has them."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        *above, last = key.split(".")
        group = found
        for part in above:
            group = group.setdefault(part, {})
        group[last] = item
    return found


def _one_line(error: ValidationError) -> str:
    """The first fault that names a key best: unknown keys before wrong values."""
    faults = error.errors()
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    *above, last = fault["loc"] or ("",)
    unknown = fault["type"] == "extra_forbidden"  # then the last part is what a person wrote, whatever it looks like
    keys = [part for part in above if not _is_union_branch(part)]
    keys += [last] if last != "" and (unknown or not _is_union_branch(last)) else []
    key = _short(".".join(str(part) for part in keys))
    if unknown:
        nearest = _nearest(str(last), _keys_beside(keys)) or "; remove it, or see docs/methods.md for the keys"
        return f"unknown key `{key}`{nearest}"
    if fault["type"] == "told":
        return f"{key}: {fault['msg']}"
    if fault["type"] == "value_error":
        message = str(fault["msg"]).removeprefix("Value error, ")
        return f"{key}.{message}" if key else message
    given = fault["input"]
    options = _options(keys)
    if options and isinstance(given, str):
        listed = ", ".join(str(option) for option in options)
        return f"{key}: `{_short(given)}` is not known{_nearest(given, options)}; valid: {listed}{_other_kinds(faults)}"
    wanted = "; or ".join(dict.fromkeys(_wanted(other) for other in faults if _same_key(other["loc"], keys)))
    return f"{key}: `{_short(given)}` is wrong; {wanted}"


def _short(value: Any) -> str:
    """A value as messages quote it: one line, shortened without writing all of it out."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text[:80])
    return text[:80]


def _other_kinds(faults: list[Any]) -> str:
    kinds = {"float_parsing": ", or a number", "int_parsing": ", or a whole number", "list_type": ", or a list"}
    return "".join(dict.fromkeys(kinds.get(fault["type"], "") for fault in faults))


def _wanted(fault: Any) -> str:
    """pydantic's message in the words of YAML."""
    message = str(fault["msg"])
    message = (message[:1].lower() + message[1:]).replace("tuple", "list").replace(" after validation", "")
    return re.sub("valid dictionary or instance of [A-Za-z]+", "mapping of keys to values", message)


def _same_key(location: tuple[Any, ...], keys: list[Any]) -> bool:
    return [part for part in location if not _is_union_branch(part)] == keys


def _is_union_branch(part: Any) -> bool:
    """pydantic puts the name of a union's branch among the keys: `float`, `literal['auto']`, `list[...]`."""
    return isinstance(part, str) and (
        not part.isidentifier() or part in {"float", "int", "str", "bool", "list", "none"}
    )


def _keys_beside(keys: list[Any]) -> list[str]:
    group: Any = Params
    for part in keys[:-1]:
        field = group.model_fields.get(part) if hasattr(group, "model_fields") else None
        group = field.annotation if field else None
    return list(group.model_fields) if hasattr(group, "model_fields") else []


def _options(keys: list[Any]) -> list[Any]:
    """The values a key may take where its type is a Literal (or a union or list with one)."""
    group: Any = Params
    for part in keys:
        if not hasattr(group, "model_fields") or part not in group.model_fields:
            break
        group = group.model_fields[part].annotation
    return [] if hasattr(group, "model_fields") else _literals(group)


def _literals(annotation: Any) -> list[Any]:
    if getattr(annotation, "__origin__", None) is Literal:
        return list(get_args(annotation))
    return [option for inner in get_args(annotation) for option in _literals(inner)]


def _nearest(word: str, options: list[Any]) -> str:
    close = difflib.get_close_matches(word, [str(option) for option in options], n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else ""
