"""A wrong params.yaml in one line: the key, what is wrong, and the nearest valid spelling."""

import re
import reprlib
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from stages.base.errors import nearest

MOVED = {
    "data.age_bins": "axes: {age: {bins: [30, 60], regress: true, scale: 10}}",
    "data.train_age_bins": "train_bins: {age: [30, 58]}",
    "age_regression": "regression: {weight: 0.0}",
    "lr_find.take": "lr: auto",
    "lr_find.smoothing": "lr_find: {steps: auto}",
}


def one_line(error: ValidationError, schema: type[BaseModel]) -> str:
    """The first fault that names a key best: unknown keys before wrong values."""
    faults = error.errors()
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    *above, last = fault["loc"] or ("",)
    unknown = fault["type"] == "extra_forbidden"  # then the last part is what a person wrote, whatever it looks like
    keys = [part for part in above if not _is_union_branch(part)]
    keys += [last] if last != "" and (unknown or not _is_union_branch(last)) else []
    key = short(".".join(str(part) for part in keys))
    if unknown:
        if key in MOVED:
            return f"`{key}` is no more; write `{MOVED[key]}`"
        close = nearest(
            str(last), _keys_beside(keys, schema), otherwise="remove it, or see docs/methods.md for the keys"
        )
        return f"unknown key `{key}`{close}"
    if fault["type"] == "told":
        return f"{key}: {fault['msg']}"
    if fault["type"] == "value_error":
        message = str(fault["msg"]).removeprefix("Value error, ")
        return f"{key}.{message}" if key else message
    given = fault["input"]
    options = _options(keys, schema)
    if options and isinstance(given, str):
        listed = ", ".join(str(option) for option in options)
        return f"{key}: `{short(given)}` is not known{nearest(given, options)}; valid: {listed}{_other_kinds(faults)}"
    wanted = "; or ".join(dict.fromkeys(_wanted(other) for other in faults if _same_key(other["loc"], keys)))
    return f"{key}: `{short(given)}` is wrong; {wanted}"


def short(value: Any) -> str:
    """A value as messages quote it: one line, shortened without writing all of it out."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text[:80])
    return text[:80]


def _other_kinds(faults: list[Any]) -> str:
    kinds = {"float_parsing": ", or a number", "int_parsing": ", or a whole number", "list_type": ", or a list"}
    return "".join(dict.fromkeys(kinds.get(fault["type"], "") for fault in faults))


def _wanted(fault: Any) -> str:
    """pydantic's message in the words of YAML."""
    message = str(fault["msg"])
    message = (message[:1].lower() + message[1:]).replace("tuple", "list").replace(" after validation", "")
    return re.sub("valid dictionary or instance of [A-Za-z]+", "mapping of keys to values", message)


def _same_key(location: tuple[Any, ...], keys: list[Any]) -> bool:
    return [part for part in location if not _is_union_branch(part)] == keys


def _is_union_branch(part: Any) -> bool:
    """pydantic puts the name of a union's branch among the keys: `float`, `literal['auto']`, `list[...]`."""
    return isinstance(part, str) and (
        not part.isidentifier() or part in {"float", "int", "str", "bool", "list", "none"}
    )


def _keys_beside(keys: list[Any], schema: type[BaseModel]) -> list[str]:
    group: Any = schema
    for part in keys[:-1]:
        if get_origin(group) is dict:  # its keys are names of the person's own, as those of axes
            group = get_args(group)[1]
            continue
        field = group.model_fields.get(part) if hasattr(group, "model_fields") else None
        group = field.annotation if field else None
    return list(group.model_fields) if hasattr(group, "model_fields") else []


def _options(keys: list[Any], schema: type[BaseModel]) -> list[Any]:
    """The values a key may take where its type is a Literal (or a union or list with one)."""
    group: Any = schema
    for part in keys:
        if not hasattr(group, "model_fields") or part not in group.model_fields:
            break
        group = group.model_fields[part].annotation
    return [] if hasattr(group, "model_fields") else _literals(group)


def _literals(annotation: Any) -> list[Any]:
    if getattr(annotation, "__origin__", None) is Literal:
        return list(get_args(annotation))
    return [option for inner in get_args(annotation) for option in _literals(inner)]
