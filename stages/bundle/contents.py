"""maskcli.json: all that is to be known of a bundle, so that it answers without the project that it comes from."""

import hashlib
import json
from pathlib import PurePath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stages.base import paths
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import Task
from stages.params.schema import Params

NAME = paths.OF_BUNDLE
FORMAT = 2  # of bundles; one more with every change that an older maskcli would read wrongly or refuse: a new key
PLACES = (("data", "root"), ("data", "train"), ("data", "eval"), ("model", "weights"), ("pseudo", "labels"))


class Plain(BaseModel):
    """Values that JSON keeps; a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class File(Plain):
    """A file of the bundle as it was written."""

    bytes: int
    sha256: str


class Network(Plain):
    """One trained model of the ensemble."""

    folder: str  # below the bundle's own
    trained_as: str  # fold 0, fold 0 repeat 1, refit seed 0
    # What `timm.create_model("local-dir:...")` makes of the folder: the whole model, or its backbone without the head.
    timm: Literal["model", "backbone"] | None = None


class Decision(Plain):
    """How a photo's class follows from its voted probabilities."""

    asked: str  # params.decision
    rule: Literal["argmax", "adjusted"]
    offsets: tuple[float, ...] | None  # [C], of log probabilities; None: argmax
    reason: str


class Preprocessing(Plain):
    """A photo's way to the model. It sees (v / 255 - mean) / std, v in 0..255, RGB."""

    height: int  # what the model sees, px
    width: int
    margin: int  # cached around it, px: what views move over
    face: float  # share of height and width kept, centred, before resizing
    max_pixels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    decoder: str  # libraries and code that made the pixels learnt from


class Plugin(Plain):
    """The file of one's own that the networks' backbone comes from (docs/plugins.md); the bundle does not hold it."""

    file: str
    sha256: str


class Origin(Plain):
    """What was trained, from what, and where it stands in git."""

    run: str  # key of the training (stages/records/run_record.py)
    commit: str | None
    commit_dirty: bool | None  # whether the project's files differed from the commit
    data: dict[str, str]  # digests of the task, the photos, the folds ... that were learnt from
    lr: float | None
    setting: dict[str, Any]  # versions, code and threads
    device: str | None
    python: str | None


class Contents(Plain):
    """All of maskcli.json."""

    format: int = FORMAT
    maskcli: str  # version that wrote it
    kind: Literal["folds", "fold", "refit"]
    networks: tuple[Network, ...]
    task: dict[str, Any]  # stages.data.task_and_classes.to_json, and its subsets
    params: dict[str, Any]  # params.yaml as it was trained, places in the file system left out
    preprocessing: Preprocessing
    views: tuple[str, ...]
    vote: Literal["soft", "geometric", "hard"]
    temperature: Annotated[
        float, Field(gt=0)
    ]  # by which log probabilities are divided; 1 where votes are no probabilities (hard)
    temperature_low: float  # 95 % interval over people (groups, photos)
    temperature_high: float
    decision: Decision
    scores: dict[str, float | int | None]  # of OOF predictions: out/oof-ensemble/metrics.json
    classes: tuple[dict[str, Any], ...]  # each class's name, f1, photos, people or groups (units)
    origin: Origin
    plugin: Plugin | None = None
    licence: str | None
    files: dict[str, File] = {}  # all but maskcli.json itself, by their path in the bundle
    digest: str | None = None  # of all else in maskcli.json; None: of a project, or of an older bundle

    @property
    def own_task(self) -> Task:
        return tasks.from_json(self.task)

    @property
    def offsets(self) -> np.ndarray | None:
        """The decision rule's offsets [C], or None."""
        return None if self.decision.offsets is None else np.asarray(self.decision.offsets, float)

    @property
    def calibrates(self) -> bool:
        """Whether votes are probabilities, which a temperature calibrates: those of a hard vote are shares of ballots."""
        return self.vote != "hard"


def digest_of(value: dict[str, Any]) -> str:
    """What maskcli.json's `digest` must be for its other values."""
    rest = {key: one for key, one in value.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def params_without_places(params: Params) -> dict[str, Any]:
    """params.yaml's values; of absolute paths (home folders, disks) only the last part."""
    found = params.model_dump(mode="json")
    for group, key in PLACES:
        value = found[group][key]
        if value is not None and PurePath(value).is_absolute():
            found[group][key] = PurePath(value).name or key
    return found
