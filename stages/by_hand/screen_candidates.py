"""screen: what is tried beside params.yaml: `--try` as a person types it, a file of them, or the usual suspects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base.errors import UserError
from stages.data.task_and_classes import Task
from stages.learn import objective, own_losses
from stages.params import typed_changes, yaml_text
from stages.params.keys import flat, nested
from stages.params.load import parse
from stages.params.loss_options import LOSSES
from stages.params.schema import Params
from stages.params.typed_changes import TYPED

# Keys and groups that no training of the folds that there are can try: photos and folds would have to be made anew, or the key
# has no part in a short training.
FIXED = {
    "needs photos or folds made anew; change params.yaml, run `dvc repro kfold`, and screen there": (
        *("data", "axes", "subsets", "image", "folds", "pseudo"),
    ),
    "has no part in a short training; leave it out": (
        *("budget", "parallel", "checkpoint", "lr_find", "ensemble", "tta", "refit", "decision"),
        *("train.select", "train.repeats", "train.patience", "train.compile"),
    ),
    "names code, which is imported once for all candidates; change params.yaml": ("plugins",),
}
SAMPLERS = ("weighted", "sqrt")  # imbalanced and class_uniform draw with the chances of weighted
RATES = (1 / 3, 3.0)  # of the base's rate


@dataclass(frozen=True)
class Candidate:
    """Params that differ from params.yaml's by `changes` (dotted keys), and the peak learning rate."""

    changes: dict[str, Any]
    params: Params
    lr: float

    @property
    def name(self) -> str:
        return typed_changes.name(self.changes)


def base(params: Params, lr: float) -> Candidate:
    return Candidate({}, params.model_copy(update={"lr": lr}), lr)


def made(params: Params, lr: float, task: Task, typed: list[str], file: Path | None) -> list[Candidate]:
    """The candidates asked for, each once, those like params.yaml left out; without any asked for, the usual ones.

    All have the learning rate `lr` but those that change it. Raises UserError for a key or value that cannot be tried.
    """
    asked = [(TYPED, changes) for text in typed for changes in typed_changes.grid(text)]
    asked += [(file, changes) for changes in _of_file(file)] if file else []
    if not asked:
        usual = [_candidate(params, lr, changes) for changes in _usual(params, lr, task)]
        return [one for one in usual if _fits(one.params, task)]
    found: dict[str, Candidate] = {}
    for source, changes in asked:
        one = _candidate(params, lr, changes, source)
        objective.check(one.params, task)
        if one.changes:
            found.setdefault(one.name, one)
    if not found:
        raise UserError(f"{asked[0][0]}: asks for what params.yaml says already; name a key with another value")
    return list(found.values())


def _of_file(path: Path) -> list[dict[str, Any]]:
    """A list of changes, each with dotted keys or groups."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"--from {path}: cannot be read ({error.strerror}); name a YAML file of candidates") from None
    listed = yaml_text.read(content, path)
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) and one for one in listed):
        raise UserError(f"--from {path}: must be a list of changes, as `- {{loss: focal}}`, one line a candidate")
    return [flat(nested(one)) for one in listed]


def _usual(params: Params, lr: float, task: Task) -> list[dict[str, Any]]:
    """Every other loss, other samplers, the other head and targets, a lower and a higher rate: one change each."""
    found: list[dict[str, Any]] = [{"loss": loss} for loss in _losses(params) if loss != params.loss]
    found += [{"sampler": sampler} for sampler in ("none", *SAMPLERS) if sampler != params.sampler]
    found += [{"model.head": head} for head in ("linear", "mlp") if head != params.model.head]
    if len(task.axes) > 1:
        found += [{"targets": targets} for targets in ("joint", "factored") if targets != params.targets]
    return [*found, *({"lr": float(f"{lr * share:.2g}")} for share in RATES)]


def _losses(params: Params) -> tuple[str, ...]:
    """All losses; of one's own those that params.yaml has an entry for, without which DVC does not watch them."""
    return (*LOSSES, *(name for name in own_losses.known(params.plugins) if name in params.losses.own))


def _fits(params: Params, task: Task) -> bool:
    try:
        objective.check(params, task)
    except UserError:
        return False
    return True


def _candidate(params: Params, lr: float, changes: dict[str, Any], source: Path = TYPED) -> Candidate:
    """Raises UserError that names the key."""
    before = flat(base(params, lr).params.model_dump(mode="json"))
    for key in changes:
        _check_key(key, source)
    wanted = parse(nested(_without(before, changes) | changes), source)
    if wanted.lr == "auto":
        raise UserError(f"{source}: lr: `auto` would be another rate for each candidate; give a number")
    after = flat(wanted.model_dump(mode="json"))
    differing = {
        key: after.get(key, value) for key, value in changes.items() if after.get(key, value) != before.get(key)
    }
    return Candidate(differing, wanted, float(wanted.lr))


def _without(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """What stands below or above a changed key gives way to it."""
    return {
        key: value
        for key, value in before.items()
        if not any(key.startswith(f"{new}.") or new.startswith(f"{key}.") for new in changes)
    }


def _check_key(key: str, source: Path) -> None:
    for why, groups in FIXED.items():
        if any(key == group or key.startswith(f"{group}.") for group in groups):
            raise UserError(f"{source}: {key}: {why}")
