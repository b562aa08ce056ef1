"""torchvision for the peers, which need all of it, also where its compiled library does not load.

pip may pair a CPU build of torch with PyPI's CUDA build of torchvision. torchvision then skips its compiled library, and fails
at import with "operator torchvision::nms does not exist", because it registers shape functions for two operators that only
that library declares. No peer uses a torchvision operator, so declaring the two is enough.
"""

import importlib
import sys

import torch

# The signatures that torchvision's shape functions are registered for.
OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a Library takes its declarations with it when it is collected


def load_torchvision() -> None:
    """Import torchvision; where that fails, once more after its operators are declared."""
    try:
        importlib.import_module("torchvision")
    except Exception:  # RuntimeError for an unknown operator, but what a torchvision raises is not ours to foresee
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half of it
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name, signature in OPERATORS.items():
            if not hasattr(torch.ops.torchvision, name):
                library.define(signature)
        _declared.append(library)
        importlib.import_module("torchvision")
