"""timm, importable also beside a torchvision whose compiled library does not load.

pip may pair a CPU build of torch with PyPI's CUDA build of torchvision. torchvision then skips its compiled library, and
fails at import with "operator torchvision::nms does not exist", because it registers shape functions for two operators
that only that library declares. Nothing here uses a torchvision operator, so declaring the two is enough. Where the
compiled library loads, nothing is touched.
"""

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

# The signatures that torchvision's shape functions are registered for.
OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a Library takes its declarations with it when it is collected


def load_timm() -> ModuleType:
    """Import timm, after declaring torchvision's operators where that is needed."""
    if not compiled_torchvision_loads():
        declare_operators()
    import timm

    return timm


def compiled_torchvision_loads() -> bool:
    """Whether torchvision's own compiled library can be loaded into this torch."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return False
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        library = Path(found.origin).with_name(f"_C{suffix}")
        if library.exists():
            try:
                torch.ops.load_library(str(library))
            except (OSError, RuntimeError):
                return False
            return True
    return False


def declare_operators() -> None:
    """Declare torchvision::nms and torchvision::qnms, without an implementation, unless they are known already."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, signature in OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(signature)
    _declared.append(library)
