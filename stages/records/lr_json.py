"""What lr-find settled for training: the learning rate, and the CPU threads of each fold.

Rounding follows the threads, so training takes those of lr.json or none: lr.json, which git keeps, tells what a result was
made with.
"""

from typing import Any

from pydantic import BaseModel, Field, FiniteFloat, PositiveInt, ValidationError

from stages.base import cores, paths
from stages.base.errors import UserError
from stages.base.files import read_json
from stages.params.keys import flat
from stages.params.schema import Params
from stages.records import run_record

# Groups and keys of params.yaml that decide which learning rate is a good one (besides losses.<loss>).
DECISIVE = (
    *("model", "targets", "loss", "regression", "sampler", "optimizer", "image.height", "image.width"),
    *("train.batch_size", "train.mixed_precision"),
)
AGAIN = "run `maskcli lr-find` again"


class Settled(BaseModel):
    """lr.json."""

    lr: FiniteFloat = Field(gt=0)
    source: str = ""  # params.yaml, or the name of the suggestion
    threads: dict[int, PositiveInt] = {}  # of each fold
    cores: int = (
        0  # that it counted, fewer where OMP_NUM_THREADS said so, or parallel.threads: threads of the range test
    )
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


def threads(found: Settled, fold: int, params: Params) -> int:
    """CPU threads of a fold; all cores where lr.json does not name it.

    Raises UserError where there are fewer cores than lr-find counted: fewer threads would round otherwise than lr.json tells.
    Beside a GPU they round nothing, and a number in parallel.threads counts whatever there is.
    """
    here = cores.available()
    settled = found.threads.get(fold, here)
    if params.parallel.threads != "auto":
        return settled
    if settled > here and found.device in ("", "cpu"):
        raise UserError(
            f"{paths.LR_CHOSEN}: gives fold {fold} {settled} CPU threads, more than this process may use (another machine, a "
            f"container's limit, OMP_NUM_THREADS); {AGAIN}"
        )
    return min(settled, here)


def refit_threads(found: Settled, params: Params) -> int:
    """CPU threads of a refit's seed: those of most folds, which are the fewest, so that seeds train side by side too."""
    return min(threads(found, fold, params) for fold in params.folds)


def check_device(found: Settled, device: str) -> None:
    """Raise UserError where lr-find ran on another kind of device than training now does."""
    if found.device and found.device != device:
        raise UserError(
            f"{paths.LR_CHOSEN}: was measured on {found.device}, and training runs on {device} here; {AGAIN}"
        )
