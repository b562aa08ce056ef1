"""Which Python files `plugins` in params.yaml names, and what they hold. Nothing is imported here."""

import hashlib
from pathlib import Path

from stages.base import paths
from stages.base.errors import UserError
from stages.params.model_and_training import PluginKind, Plugins

GIVE = f"give the path of a .py file in the project, or {paths.NO_PLUGINS}"


def listed(path: Path) -> list[Path]:
    """The files that a path stands for: those of a folder, or itself."""
    return sorted(path.glob("*.py")) if path.is_dir() else [path]


def files(plugins: Plugins, kind: PluginKind) -> list[Path]:
    """The files of a kind in the order of their names. Raises UserError where they are not there, or not in the project.

    Elsewhere git would not keep them, and an experiment of DVC, which has a folder of its own, would lack them.
    """
    path = plugins.path(kind)
    if path is None:
        return []
    key, found = f"{paths.PARAMS}: plugins.{kind}", listed(path)
    if not path.exists():
        raise UserError(f"{key}: {path} not found; {GIVE}")
    if not path.resolve().is_relative_to(Path.cwd().resolve()):
        raise UserError(f"{key}: {path} lies outside the project, where git does not keep it; {GIVE}")
    if not found or found[0].suffix != ".py" or not found[0].is_file():
        raise UserError(f"{key}: {path} is no .py file, nor a folder that holds some; {GIVE}")
    return found


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
