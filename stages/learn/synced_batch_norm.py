"""Batch norm over the photos of all processes that share a batch, where each one's own are too few for a mean and a variance."""

import torch

from stages.base.errors import UserError
from stages.learn import processes
from stages.learn.model import Classifier
from stages.learn.timm_import import load_timm
from stages.params.schema import Params

# Photos of a process below which `auto` syncs: below 16 the error that batch norm makes grows fast (Wu & He 2018, Group
# Normalization, figure 1).
FEW = 16


def wanted(params: Params, device: torch.device, number: int) -> bool:
    """Whether batch norm is to see the photos of all of so many processes. Raises UserError where it is asked for on a CPU."""
    asked = params.train.sync_batchnorm
    if number == 1 or asked is False:
        return False
    if asked == "auto":
        return device.type == "cuda" and params.train.batch_size // number < FEW
    if device.type == "cpu":
        raise UserError(
            "params.yaml: train.sync_batchnorm: true works on GPUs only, of which these processes have none; set auto or false"
        )
    return True


def installed(net: Classifier, params: Params, device: torch.device) -> Classifier:
    """The model with torch's SyncBatchNorm in place of its batch norms, where that is wanted; its weights keep their names, and
    in eval mode it computes as before. timm's batch norms keep the activation that they hold, which torch's own conversion
    would lose.
    """
    if not wanted(params, device, processes.place()[1]):
        return net
    made: Classifier = load_timm().layers.convert_sync_batchnorm(net)
    return made
