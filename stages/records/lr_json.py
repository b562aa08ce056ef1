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

# Keys of params.yaml that the range test depends on, besides the data. Loss, sampler, targets and head are not among them: it
# measures with its own (stages/lr_find.py). Nor is what moves its rate by less than another seed does: flips, threads.
DECISIVE = (
    *("model.name", "model.pretrained", "model.weights", "model.dropout", "model.drop_path", "model.options"),
    *("image", "optimizer", "augment.pipeline", "train.batch_size", "train.mixed_precision"),
)
# Of the range test's rate, where the loss is f1 alone: of a batch its gradient is mostly noise, so that steps of AdamW's size
# undo each other. Measured: docs/learning_rate.md.
F1_SHARE = 0.25
CONTENT = "content of model.weights"
CODE = "code in plugins.models"
RANGE_TEST = "range test"  # the source of a rate that lr-find took from its curve
AGAIN = "run `maskcli lr-find` again"


class Settled(BaseModel):
    """lr.json."""

    lr: FiniteFloat = Field(gt=0)
    source: str = ""  # params.yaml, or RANGE_TEST
    threads: dict[int, PositiveInt] = {}  # of each fold
    cores: int = 0  # that it counted, fewer where OMP_NUM_THREADS said so, or parallel.threads
    device: str = ""  # kind of device that it was measured on
    measured_with: dict[str, Any] = {}


def measured_with(params: Params) -> dict[str, Any]:
    """What a learning rate depends on, as lr.json records it: dotted keys, the content of the starting weights, and the code of
    one's own models.
    """
    chosen = flat(run_record.pick(params.model_dump(mode="json"), DECISIVE))
    held = run_record.contents(params)
    return chosen | {name: held[key] for name, key in ((CONTENT, "weights"), (CODE, "models")) if key in held}


def read(params: Params) -> Settled:
    """lr.json, its rate as these params train with it.

    Raises UserError where it is missing, not what this version writes, or settled for other params.
    """
    try:
        found = Settled.model_validate(read_json(paths.LR_CHOSEN, "lr-find", "lr"))
    except ValidationError:
        raise UserError(f"{paths.LR_CHOSEN}: is not what this version of lr-find writes; {AGAIN}") from None
    differing: dict[str, Any] = {}
    if params.lr == "auto":
        now = measured_with(params)
        recorded = {key: value for key, value in found.measured_with.items() if _decisive(key)}
        differing = {key: value for key, value in recorded.items() if now.get(key) != value}
    elif float(params.lr) != found.lr:
        differing = {"lr": found.lr}
    if params.parallel.threads != "auto" and set(found.threads.values()) - {params.parallel.threads}:
        differing["parallel.threads"] = max(found.threads.values())
    if differing:
        told = ", ".join(f"{key}: {run_record.value_in_words(value)}" for key, value in differing.items())
        raise UserError(f"{paths.LR_CHOSEN}: was made with {told}, which params.yaml no longer says; {AGAIN}")
    return found.model_copy(update={"lr": found.lr * share(params)}) if params.lr == "auto" else found


def share(params: Params) -> float:
    """Of the range test's rate that `lr: auto` trains with."""
    return F1_SHARE if params.loss == "f1" and not params.losses.f1.ce_mix else 1.0


def _decisive(key: str) -> bool:
    """Whether the range test depends on a key; earlier versions recorded others too."""
    return any(f"{key}.".startswith(f"{one}.") for one in (*DECISIVE, CONTENT, CODE))


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
