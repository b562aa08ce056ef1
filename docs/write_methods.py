"""Writes docs/methods.md from the schema in stages/params and the docstrings of the losses: python docs/write_methods.py"""

import inspect
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from stages.learn.losses import LOSSES
from stages.learn.lr_schedule import share
from stages.params.schema import Params

TITLE = """# Every option of params.yaml

Written by `python docs/write_methods.py` from `stages/params/schema.py`; a test keeps the two alike. Any of them can be set for
one experiment: `dvc exp run -S loss=focal -S losses.focal.gamma=1.5`.

| key | default | valid | meaning |
|---|---|---|---|
"""


def text() -> str:
    """The whole page."""
    losses = "\n".join(f"### {name}\n\n{inspect.getdoc(function)}\n" for name, function in LOSSES.items())
    schedule = f"## Schedules\n\n{inspect.getdoc(share)}\n"
    return (
        TITLE
        + "\n".join(_rows(Params))
        + f"\n\n## Losses\n\nLogits z [N, C], target y, n_c training photos of class c.\n\n{losses}\n{schedule}"
    )


def _rows(group: type[BaseModel], prefix: str = "") -> list[str]:
    rows = []
    for name, field in group.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += _rows(kind, f"{prefix}{name}.")
            continue
        default = "{}" if field.default_factory else _shown(field.default)
        rows.append(f"| `{prefix}{name}` | {default} | {_valid(kind, field.metadata)} | {field.description} |")
        rows += _of_each(kind, f"{prefix}{name}")
    return rows


def _of_each(kind: Any, key: str) -> list[str]:
    """The options of what a person names, as those of each axis."""
    inner = get_args(kind)[1] if get_origin(kind) is dict else None
    return _rows(inner, f"{key}.<name>.") if isinstance(inner, type) and issubclass(inner, BaseModel) else []


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _valid(kind: Any, metadata: list[Any]) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return ", ".join(str(option) for option in get_args(kind))
    if origin is not None and origin.__class__.__name__ == "type" and origin is tuple:
        return "list of " + _valid(get_args(kind)[0], [])
    if hasattr(kind, "__metadata__"):
        inner = [item for entry in kind.__metadata__ for item in getattr(entry, "metadata", [entry])]
        return _valid(kind.__origin__, inner)
    if get_args(kind) and origin is not dict and origin is not list:
        return " or ".join(_valid(option, metadata) for option in get_args(kind) if option is not type(None))
    if kind is str:
        return "text"
    names = {int: "whole number", float: "number", bool: "true, false"}
    bounds = [
        f"{sign} {_plain(getattr(item, key))}"
        for item in metadata
        for key, sign in _SIGNS.items()
        if hasattr(item, key)
    ]
    once = ", ".join(dict.fromkeys(bounds))  # some releases of pydantic give an annotated bound twice
    return " ".join([names.get(kind, "list" if origin is list else "mapping"), once]).strip()


def _plain(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


_SIGNS = {"ge": ">=", "gt": "above", "le": "<=", "lt": "below"}

if __name__ == "__main__":
    Path(__file__).with_name("methods.md").write_text(text(), encoding="utf-8")
