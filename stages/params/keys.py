"""Dotted keys, as dvc.lock and messages have them, and nested groups, as params.yaml has them."""

from typing import Any


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups as one mapping of dotted keys; an empty group stands as it is."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= flat(item, f"{prefix}{key}.") if isinstance(item, dict) and item else {f"{prefix}{key}": item}
    return found


def nested(value: dict[str, Any]) -> dict[str, Any]:
    """The reverse of `flat`, also for keys of which some are dotted and some groups, as dvc.lock has them."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        *above, last = key.split(".")
        group = found
        for part in above:
            group = group.setdefault(part, {})
        group[last] = item
    return found
