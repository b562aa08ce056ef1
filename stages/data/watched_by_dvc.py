"""What of the data dvc.yaml does not name: DVC does not see it change, so that `dvc repro` would leave old results in place."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from stages.base import paths
from stages.params.keys import flat
from stages.params.schema import Params

STAGE = "prepare"  # that reads the data
_KEY = re.compile(r"\$\{([\w.]+)\}")


def unwatched(params: Params, read: Iterable[Path]) -> list[str]:
    """A line, or none, that names the first of the files and folders `read` that is in no dependency of prepare in dvc.yaml.

    None either where there is no dvc.yaml, no such stage in it, or a dependency that only DVC can spell out.
    """
    known = flat(params.model_dump(mode="json"))
    named = [_KEY.sub(lambda found: str(known.get(found[1], found[0])), name) for name in _dependencies()]
    watched = {os.path.normpath(Path(name).absolute()) for name in named}
    for path in read if watched and not any("${" in name for name in named) else ():
        whole = Path(os.path.normpath(path.absolute()))
        if not watched & {str(place) for place in (whole, *whole.parents)}:
            return [
                f"{paths.DVC_YAML}: {STAGE} does not name {path}, so `dvc repro` would not see it change; run `maskcli init "
                "--update`"
            ]
    return []


def _dependencies() -> list[str]:
    """Of prepare, as dvc.yaml has them."""
    try:
        found: Any = yaml.safe_load(paths.DVC_YAML.read_text(encoding="utf-8"))
        deps = found["stages"][STAGE]["deps"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):  # DVC tells what is wrong with it
        return []
    return [name for name in deps if isinstance(name, str)] if isinstance(deps, list) else []
