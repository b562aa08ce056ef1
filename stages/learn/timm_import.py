"""timm, importable also beside a torchvision whose compiled library does not load.

timm imports torchvision. pip may pair a CPU build of torch with PyPI's CUDA build of torchvision. torchvision then skips its
compiled library, and fails at import with "operator torchvision::nms does not exist", because it registers shape functions
for two operators that only that library declares. Nothing here uses a torchvision operator, so declaring the two is enough.
What a torchvision is made of is not looked at: whether it can be imported is tried, and where it can, nothing is touched.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

import torch

from stages.base.errors import UserError

# The signatures that torchvision's shape functions are registered for.
OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a Library takes its declarations with it when it is collected


def load_timm() -> ModuleType:
    """Import timm, after torchvision, whose operators are declared where its import fails without.

    Raises UserError if torchvision cannot be imported even so.
    """
    load_torchvision()
    import timm

    return timm


def load_torchvision() -> None:
    """Import torchvision, which timm does anyway; without one installed, do nothing.

    Raises UserError if it can be imported neither as it is nor after its operators are declared.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception:  # RuntimeError for an unknown operator, but what a torchvision raises is not ours to foresee
        _forget()
        _declare_operators()
        try:
            importlib.import_module("torchvision")
        except Exception as error:
            _forget()
            raise UserError(_cannot_be_imported(error)) from error


def _forget() -> None:
    """Take the parts of a torchvision that failed half-way out of the known modules, so that the next import is whole."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare_operators() -> None:
    """Declare torchvision::nms and torchvision::qnms, without an implementation, unless they are known already."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, signature in OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(signature)
    _declared.append(library)


def _cannot_be_imported(error: Exception) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return (
        f"torchvision, which timm needs, cannot be imported beside torch {torch.__version__}: {said}; "
        "install the torchvision that belongs to this torch"
    )
