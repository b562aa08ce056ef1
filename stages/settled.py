"""What lr-find settled for training: the learning rate, and the CPU threads of each fold."""

from typing import Any

from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, ValidationError

from stages import cores, paths, run_record
from stages.errors import UserError
from stages.files import read_json
from stages.params import Params, flat

# Groups and keys of params.yaml that decide which learning rate is a good one (besides losses.<loss>).
DECISIVE = (
    *("model", "targets", "loss", "age_regression", "sampler", "optimizer", "image.height", "image.width"),
    *("train.batch_size", "train.mixed_precision"),
)
AGAIN = "run `maskcli lr-find` again"


class Settled(BaseModel):
    """lr.json."""

    lr: FiniteFloat = Field(gt=0)
    source: str = ""  # params.yaml, or the name of the suggestion
    threads: dict[int, PositiveInt] = {}  # of each fold
    device: str = ""  # kind of device that it was measured on
    measured_with: dict[str, Any] = {}


def measured_with(params: Params) -> dict[str, Any]:
    """What a learning rate depends on, as lr.json records it: dotted keys, and the content of the starting weights."""
    keys = (*DECISIVE, f"losses.{params.loss}")
    chosen = flat(run_record.pick(params.model_dump(mode="json"), keys))
    weights = run_record.contents(params).get("weights")
    return chosen | ({"content of model.weights": weights} if weights else {})


def read(params: Params) -> Settled:
    """lr.json. Raises UserError where it is missing, not what this version writes, or settled for other params."""
    try:
        found = Settled.model_validate(read_json(paths.LR_CHOSEN, "lr-find", "lr"))
    except ValidationError:
        raise UserError(f"{paths.LR_CHOSEN}: is not what this version of lr-find writes; {AGAIN}") from None
    differing: dict[str, Any] = {}
    if params.lr == "auto":
        now = measured_with(params)
        differing = {
            key: value
            for key, value in found.measured_with.items()
            if now.get(key) != value
            and (now["loss"] == found.measured_with.get("loss") or not key.startswith("losses."))
        }
    elif float(params.lr) != found.lr:
        differing = {"lr": found.lr}
    if params.parallel.threads != "auto" and set(found.threads.values()) - {params.parallel.threads}:
        differing["parallel.threads"] = max(found.threads.values())
    if differing:
        told = ", ".join(f"{key}: {run_record.value_in_words(value)}" for key, value in differing.items())
        raise UserError(f"{paths.LR_CHOSEN}: was made with {told}, which params.yaml no longer says; {AGAIN}")
    return found


def threads(found: Settled, fold: int) -> int:
    """CPU threads of a fold; all cores where lr.json does not name it, and never more: it may come from another machine."""
    return min(cores.available(), found.threads.get(fold, cores.available()))


def check_device(found: Settled, device: str) -> None:
    """Raise UserError where lr-find ran on another kind of device than training now does."""
    if found.device and found.device != device:
        raise UserError(
            f"{paths.LR_CHOSEN}: was measured on {found.device}, and training runs on {device} here; {AGAIN}"
        )
