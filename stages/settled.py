"""What lr-find settled for training: the learning rate, and the CPU threads of each fold."""

from typing import Any

from stages import cores, paths
from stages.errors import UserError
from stages.files import read_json
from stages.params import Params


def measured_with(params: Params) -> dict[str, Any]:
    """What a learning rate depends on most, as lr.json records it."""
    return {
        "model.name": params.model.name,
        "targets": params.targets,
        "loss": params.loss,
        "sampler": params.sampler,
        "optimizer.name": params.optimizer.name,
        "train.batch_size": params.train.batch_size,
    }


def read(params: Params) -> dict[str, Any]:
    """lr.json: lr, threads, device, measured_with. Raises UserError where it is missing or was settled for other params."""
    found: dict[str, Any] = read_json(paths.LR_CHOSEN, "lr-find", "lr")
    if not isinstance(found.get("threads", {}), dict):
        raise UserError(f"{paths.LR_CHOSEN}: was written by an older version; run `maskcli lr-find` again")
    if params.lr == "auto":
        now = measured_with(params)
        differing = {key: value for key, value in found.get("measured_with", now).items() if now.get(key) != value}
    else:
        differing = {} if float(params.lr) == float(found["lr"]) else {"lr": found["lr"]}
    if params.parallel.threads != "auto" and set(found.get("threads", {}).values()) - {params.parallel.threads}:
        differing |= {"parallel.threads": max(found["threads"].values())}
    for key, value in differing.items():
        raise UserError(
            f"{paths.LR_CHOSEN}: was made with {key}: {value}, which params.yaml no longer says; run `maskcli lr-find` again"
        )
    return found


def threads(found: dict[str, Any], fold: int) -> int:
    """CPU threads of a fold; all cores where lr.json does not name it, and never more: it may come from another machine."""
    return min(cores.available(), int(found.get("threads", {}).get(str(fold), cores.available())))


def check_device(found: dict[str, Any], device: str) -> None:
    """Raise UserError where lr-find ran on another kind of device than training now does."""
    if found.get("device", device) != device:
        raise UserError(
            f"{paths.LR_CHOSEN}: was measured on {found['device']}, and training runs on {device} here; run `maskcli lr-find` "
            "again"
        )
