"""params.yaml read and checked, all of it, before any data is read."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.base import paths
from stages.base.errors import UserError
from stages.params import yaml_text
from stages.params.error_line import one_line
from stages.params.schema import Params


def load(path: Path = paths.PARAMS) -> Params:
    """Read and check params.yaml; keys left out take their defaults.

    Raises UserError with one line that names the key, what is wrong, and the nearest valid spelling.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; run maskcli in the project's folder, beside params.yaml, or make a project of your photos: "
            "`maskcli init DATA`"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check that it is a readable file") from None
    value = yaml_text.read(content, path)
    if value is None:
        raise UserError(f"{path}: is empty; take it from git again, or write `{{}}` for all defaults")
    if not isinstance(value, dict):
        raise UserError(f"{path}: must be a mapping of keys to values, as `seed: 0`")
    return parse(value, path)


def parse(value: dict[str, Any], source: Path = paths.PARAMS) -> Params:
    """Check the content of params.yaml; see `load`."""
    try:
        return Params.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{source}: {one_line(error, Params)}") from None
