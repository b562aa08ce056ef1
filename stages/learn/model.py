"""The model: a timm backbone, a head, and where asked for one more output for the number of an axis."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.base.errors import UserError, nearest
from stages.base.files import replacing
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import Task
from stages.learn import own_models, plugins, same_task, saved_weights
from stages.learn.timm_import import load_timm
from stages.params.model_and_training import Plugins
from stages.params.schema import Params
from stages.records import learnt_photos, run_record
from stages.records.learnt_photos import Learnt
from stages.records.run_record import Record


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build the model again around its weights and to name its classes; stored in the weights file."""

    name: str
    options: dict[str, Any]
    head: str
    hidden: int
    dropout: float
    drop_path: float
    targets: str
    cosine: bool
    scale: float
    task: Task  # whose classes it tells; without its subsets
    regression: bool  # one more output: the number of task.regressed
    height: int
    width: int
    margin: int
    face: float
    plugin: dict[str, str] | None = None  # the file that the backbone comes from, where it is none of timm's

    @property
    def outputs(self) -> int:
        """Logits of a photo."""
        return self.task.outputs(self.targets)

    @property
    def factors(self) -> tuple[slice, ...]:
        """Where each axis's logits stand; none where each class has a logit of its own."""
        return () if self.targets == "joint" else self.task.factors


class Classifier(nn.Module):
    """Photos [N, 3, H, W] (normalised) to raw outputs [N, outputs], and the regressed number in units of its scale [N] or None.

    Raw outputs go into the loss. `logits = scale * raw` are for predictions; scale is 1 but for the cosine classifier.
    What follows the backbone computes in float32, also under mixed precision: with the 8 bits of bf16 the two largest of a
    photo's logits are now and then equal, and the lower class number would win.
    """

    def __init__(self, architecture: Architecture, backbone: nn.Module, features: int) -> None:
        super().__init__()
        outputs = architecture.outputs
        self.architecture = architecture
        self.learnt: tuple[Learnt, ...] = ()  # what its weights say of the photos that they know
        self.backbone = backbone
        self.body, features = _body(architecture, features)
        self.head: nn.Module = Cosine(features, outputs) if architecture.cosine else nn.Linear(features, outputs)
        self.regression = nn.Linear(features, 1) if architecture.regression else None

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor | None]:
        pooled = self.backbone(photos)
        with _without_autocast(pooled.device):
            features = self.body(pooled.float())
            return self.head(features), None if self.regression is None else self.regression(features).squeeze(1)

    def head_modules(self) -> nn.ModuleList:
        """What follows the backbone."""
        return nn.ModuleList([self.body, self.head] + ([self.regression] if self.regression is not None else []))


class Cosine(nn.Module):
    """Cosine classifier: inner products of normalised features and normalised weights (LDAM, Cao et al. 2019)."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, features))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(F.normalize(features), F.normalize(self.weight))


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Within it products are computed in their operands' own precision."""
    # Only where it is on, so that a model that is exported has no trace of it.
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


def _body(architecture: Architecture, features: int) -> tuple[nn.Module, int]:
    """What stands between pooled features and the last linear layer, and the width it hands on."""
    dropout = architecture.dropout
    if architecture.head == "linear":
        return nn.Dropout(dropout), features
    hidden = architecture.hidden
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout)), hidden


def architecture(params: Params, task: Task) -> Architecture:
    """Raises UserError for a file of params.plugins that cannot be imported."""
    plugins.load(params.plugins)
    cosine = params.loss == "ldam"
    return Architecture(
        name=params.model.name,
        options=params.model.options,
        head=params.model.head,
        hidden=params.model.hidden,
        dropout=params.model.dropout,
        drop_path=params.model.drop_path,
        targets=params.targets,
        cosine=cosine,
        scale=params.losses.ldam.scale if cosine else 1.0,
        task=replace(task, subsets={}),
        regression=params.regression.weight > 0,
        height=params.image.height,
        width=params.image.width,
        margin=params.image.margin,
        face=params.image.face,
        plugin=plugins.described(params.model.name),
    )


def to_json(shape: Architecture) -> dict[str, Any]:
    """An architecture as plain values, the names of its classes among them."""
    told = asdict(shape) | {"task": tasks.to_json(shape.task)}
    return told if shape.plugin else {key: value for key, value in told.items() if key != "plugin"}


def from_json(value: dict[str, Any], what: str) -> Architecture:
    """An architecture from what `to_json` gave, of the model `what`; see `task_of`.

    Raises UserError too where the backbone comes from a file of one's own that has not been imported.
    """
    plugins.require(value.get("plugin"), what)
    return Architecture(**value | {"task": task_of(value, what)})


def task_of(value: dict[str, Any], what: str) -> Task:
    """The task of a described model. Raises UserError where an older version described it, which knew but one task."""
    try:
        return tasks.from_json(value["task"])
    except (KeyError, TypeError):
        raise UserError(
            f"{what}: is of another version, and does not say which classes it tells; train the folds again (`dvc repro`), "
            "or take other weights"
        ) from None


def image_of(shape: Architecture) -> dict[str, Any]:
    """The image params that a model was trained with."""
    return {"height": shape.height, "width": shape.width, "margin": shape.margin, "face": shape.face}


def check_image(shape: Architecture, params: Params, what: str) -> None:
    """Raise UserError where a model (`what`) was trained on photos of another size or crop than params.yaml's."""
    now = params.image.model_dump()
    differing = {name: value for name, value in image_of(shape).items() if now[name] != value}
    if differing:
        old = ", ".join(f"image.{name}: {value:g}" for name, value in differing.items())
        new = ", ".join(f"{now[name]:g}" for name in differing)
        raise UserError(
            f"{what}: was trained with {old}, params.yaml has {new}; put that back, or train the folds again (`dvc repro`)"
        )


def check_name(name: str) -> None:
    """Raise UserError, with the nearest names, if timm has no model of this name."""
    timm = load_timm()
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models(), most=3, otherwise="see timm.list_models()")
        raise UserError(f"params.yaml: model.name: timm has no model `{name}`{hint}")


def build(shape: Architecture, pretrained: bool = False) -> Classifier:
    """Build the model with random weights, or timm's published ones for the backbone (network).

    Raises UserError for a name or an option that timm does not know, and where published weights cannot be had.
    """
    check_name(shape.name)
    options = dict(shape.options) | ({"drop_path_rate": shape.drop_path} if shape.drop_path else {})
    try:
        backbone = _backbone(shape.name, options, pretrained)
        features = _features(backbone, shape)
    except UserError:
        raise
    except Exception as error:  # whatever a model makes of its options
        own_models.explain(shape.name, error)
        if not options:
            raise
        why = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"params.yaml: model.options: {shape.name} refuses them ({why}); mend or remove them") from None
    return Classifier(shape, backbone, features)


def _backbone(name: str, options: dict[str, Any], pretrained: bool) -> nn.Module:
    """timm's model. Raises UserError where published weights cannot be had, and whatever timm raises for its options."""
    timm = load_timm()
    for key, value in options.items():
        if key.endswith("_rate") and not 0 <= value < 1:  # else told only by the first step
            raise ValueError(f"{key} must be 0 or more, and below 1")
    try:
        made: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
        own_models.check(name, made)
    except Exception as error:  # whatever the hub's client raises: without a network there are many kinds
        if not pretrained or plugins.origin(name):
            raise
        timm.create_model(name, num_classes=0, **options)  # its options raise what they raise
        raise UserError(
            f"params.yaml: model.pretrained: weights of {name} cannot be had ({type(error).__name__}); "
            "check the network, or name a local .safetensors or .pth file by model.weights"
        ) from None
    return made


def _features(backbone: nn.Module, shape: Architecture) -> int:
    """Features of a photo, by a look at one. Raises UserError for photos of a size that the model does not take."""
    backbone.eval()
    with torch.no_grad():
        try:
            found = backbone(torch.zeros(1, 3, shape.height, shape.width))
        except (RuntimeError, AssertionError, ValueError) as error:
            own_models.explain(shape.name, error)
            raise UserError(
                f"params.yaml: image: {shape.name} cannot take {shape.height}x{shape.width} px ({str(error)[:120]}); "
                "change image.height and image.width, or set model.options: {img_size: [height, width]}"
            ) from None
    if not isinstance(found, Tensor) or found.ndim != 2:
        own_models.refuse_features(shape.name, found)
        raise ValueError("they leave no row of features a photo")
    return int(found.shape[-1])


def normalisation(model: Classifier) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of pixels (0..255) that the backbone expects, each [1, 3, 1, 1]."""
    config: Any = model.backbone.pretrained_cfg
    mean, std = (torch.tensor(config[key], dtype=torch.float32).view(1, 3, 1, 1) * 255 for key in ("mean", "std"))
    return mean, std


def load_backbone(model: Classifier, path: Path) -> str:
    """Load local weights into the backbone and say in one line what was taken and what was dropped.

    They are found by what fits (stages/learn/saved_weights.py). Classifier layers, and layers of another shape, are dropped,
    so that weights of another task may be begun with; the line says that they are.
    Raises UserError if less than half of the backbone fits or the file is no weights file; pickles that would run code are
    never loaded.
    """
    if not path.is_file():
        raise UserError(f"params.yaml: model.weights: {path} not found; give the path of a .safetensors or .pth file")
    own = model.backbone.state_dict()
    fit = saved_weights.best_fit(path, own)
    if len(fit.arrays) < len(own) / 2:
        raise UserError(
            f"{path}: only {len(fit.arrays)} of {len(own)} arrays fit {model.architecture.name}: "
            f"{saved_weights.misfit(fit, own)}; set model.name to the model that these weights belong to"
        )
    model.backbone.load_state_dict(own | fit.arrays)
    return f"{path}: {len(fit.arrays)} of {len(own)} backbone arrays loaded{saved_weights.told(fit)}{_other_task(path, model)}"


def _other_task(path: Path, model: Classifier) -> str:
    """What weights written here were trained to tell, where these are other classes; empty for files from elsewhere."""
    try:
        own = tasks.from_json(run_record.described_in(path)["task"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if own.hash == model.architecture.task.hash:
        return ""
    old, new = same_task.in_words(own, model.architecture.task)
    return f"; trained for another task ({old}; here {new}), whose classifier is dropped"


def save(
    path: Path,
    shape: Architecture,
    state: dict[str, Tensor],
    record: Record | None = None,
    learnt: Sequence[Learnt] = (),
) -> None:
    """Write weights; their metadata holds the architecture, and of the run that made them the key, the digest of photos.csv, and
    which photos they have learnt from.
    """
    # One entry: safetensors writes several in an order that changes from file to file.
    trained: dict[str, Any] | None = None
    if record is not None:
        trained = {"run": record.run, "photos": record.data.get("photos", ""), "learnt": learnt_photos.to_json(learnt)}
    metadata = {"architecture": json.dumps(to_json(shape) | {"trained": trained})}
    arrays = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(arrays, temporary, metadata=metadata)
        except safetensors.SafetensorError as error:  # what it makes of a full disk
            raise OSError(str(error)) from error


def load(path: Path, own: Plugins = plugins.NO_PLUGINS) -> Classifier:
    """Build a trained model again from its weights file, in eval mode.

    own: the files that the model may come from, params.plugins. Raises UserError if it is damaged or too old, or comes from
    another file than these.
    """
    plugins.load(own)
    try:
        with safetensors.safe_open(path, "pt") as file:
            described = json.loads(file.metadata()["architecture"])
        trained = run_record.mapping(described.pop("trained", None))
        model = build(from_json(described, str(path)))
        model.learnt = learnt_photos.of_trained(trained)
        model.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `maskcli train` (or `dvc repro`) first") from None
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise UserError(
            f"{path}: is damaged ({type(error).__name__}); run `maskcli train` for this fold (or `dvc repro`) again"
        ) from None
    return model.eval()


def channels_last(model: Classifier, device: torch.device) -> Classifier:
    """Move the model to the device, its weights laid out as channels_last, in which convolutions run faster."""
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
