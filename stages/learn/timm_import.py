"""timm, imported with the few parts of torchvision that it needs, and without torch's compiler.

timm takes torchvision's transforms, one class of its ops, and names of datasets. But `import torchvision` executes all of its
models and operators, which import torch's compiler (torch._dynamo): that takes longer than timm itself. And it fails
("operator torchvision::nms does not exist") where pip pairs a CPU build of torch with PyPI's CUDA build of torchvision.
So while timm is imported, torchvision and torchvision.ops are packages that have not been executed, whose modules are found
as ever. Afterwards nothing of them is left in sys.modules: who imports torchvision next gets the whole one.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import torch

from stages.base.errors import UserError

PACKAGES = ("torchvision", "torchvision.ops")  # what stands in their __init__.py is not executed
# Their names are wanted at timm's import, what they name much later if at all: torchvision's data sets, and features_only by fx.
LATER = ("torchvision.datasets", "torchvision.models.feature_extraction")


def load_timm() -> ModuleType:
    """Import timm. A torchvision that is imported already is taken as it is; so is the whole of one whose parts are not enough.

    Raises UserError if timm needs the whole torchvision and that cannot be imported.
    """
    if "timm" not in sys.modules:
        with _compiler_left_out():
            if not _with_parts_of_torchvision():
                _import_torchvision()
            import timm
    import timm

    return timm


def _with_parts_of_torchvision() -> bool:
    """Import timm beside the parts of torchvision that it needs. False, and nothing is imported, where that does not do."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return False
    try:
        for name in PACKAGES:
            if spec := importlib.util.find_spec(name):
                sys.modules[name] = importlib.util.module_from_spec(spec)
        sys.modules.update({name: _called_later(name) for name in LATER})
        importlib.import_module("timm")
    except Exception:  # what a timm needs besides, or a torchvision is made of, is not ours to foresee
        _forget("timm")
        return False
    finally:
        _forget("torchvision")
    return True


def _called_later(name: str) -> ModuleType:
    """In place of a module: whatever is taken from it is a function that imports the module and calls what it has there."""
    module = ModuleType(name)

    def taken(wanted: str) -> Callable[..., Any]:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return lambda *args, **options: getattr(importlib.import_module(name), wanted)(*args, **options)

    module.__getattr__ = taken  # type: ignore[method-assign]
    return module


@contextmanager
def _compiler_left_out() -> Iterator[None]:
    """Within it torch.compiler.disable does not import the compiler to mark a function, of which timm has a few.

    The function imports it when it is first called, as functions do that torch marks in this way itself.
    """
    asked = torch.compiler.disable

    def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
        return torch._disable_dynamo(fn, recursive) if type(fn) is FunctionType else asked(fn, recursive, reason=reason)

    torch.compiler.disable = disable
    try:
        yield
    finally:
        torch.compiler.disable = asked


def _import_torchvision() -> None:
    """Import the whole torchvision; without one installed, do nothing. Raises UserError if it cannot be imported."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        _forget("torchvision")
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"torchvision, which timm needs, cannot be imported beside torch {torch.__version__}: {said}; "
            "install the torchvision that belongs to this torch"
        ) from error


def _forget(package: str) -> None:
    """Take a package and its modules out of the known ones, so that its next import is whole."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]
