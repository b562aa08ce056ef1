"""A training step's forward and backward pass as CUDA graphs."""

from stages.params.schema import Params


def wanted(params: Params) -> bool:
    """Whether a run's steps are captured where it trains on a GPU, in one process."""
    return params.plugins.path("models") is None
