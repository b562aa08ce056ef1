"""params.yaml of a new project: every key, in the order of the schema, with a comment where a value was chosen."""

from collections.abc import Mapping
from typing import Any

import yaml

from stages.params.schema import Params


def text(params: Params, title: str, reasons: Mapping[str, str]) -> str:
    """title: the first comment. reasons: by key of the first level, a comment above it."""
    lines = [f"# {title}"]
    for key, value in params.model_dump(mode="json").items():
        lines += [f"# {reasons[key]}"] if key in reasons else []
        lines += _lines(key, value)
    return "\n".join(lines) + "\n"


def _lines(key: str, value: Any) -> list[str]:
    if not isinstance(value, dict) or not value or key == "subsets":
        return [f"{_flow(key)}: {_flow(value)}"]
    if key == "axes":  # what is not said is what the schema takes anyway
        value = {name: _said(axis) for name, axis in value.items()}
    return [f"{key}:", *(f"  {_flow(name)}: {_flow(item)}" for name, item in value.items())]


def _said(axis: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: item for name, item in axis.items() if item is not None and item is not False}
    return {name: item for name, item in kept.items() if name != "scale" or "regress" in kept}


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    dumped = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False)
    return dumped.removesuffix("\n").removesuffix("\n...")
