"""Changes of params.yaml as a person types them: `loss=ldam,model.head=mlp`, and as `dvc exp run` takes them."""

import itertools
from pathlib import Path
from typing import Any

from stages.base.errors import UserError
from stages.params import yaml_text

TYPED = Path("--try")  # where they come from, as messages name it
BEGINS = "([{"
ENDS = ")]}"


def grid(text: str) -> list[dict[str, Any]]:
    """Changes that `loss=ldam,model.head=mlp` asks for; several values of a key, `loss=focal,ldam`, are tried one by one, and
    with other keys' values each with each. Commas within brackets divide nothing.
    """
    values: dict[str, list[Any]] = {}
    key = ""
    for part in _parts(text):
        named, equals, value = part.partition("=")
        if equals:
            key = named.strip()
            if key in values:
                raise UserError(f"{TYPED} {text}: `{key}` stands twice; write its values with commas between")
            values[key] = []
        if not key or not (value if equals else part).strip():
            raise UserError(f"{TYPED} {text}: is not `key=value`; write for instance --try loss=focal,ldam")
        values[key].append(_value(text, value if equals else part))
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def _parts(text: str) -> list[str]:
    """The text divided at the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in BEGINS) - (letter in ENDS)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _value(text: str, written: str) -> Any:
    """A value as YAML reads it; 1e-3 is a number too, as for DVC."""
    try:
        return float(written) if "e" in written.lower() else yaml_text.read(written.encode(), TYPED)
    except ValueError:
        return yaml_text.read(written.encode(), Path(f"{TYPED} {text}"))


def name(changes: dict[str, Any]) -> str:
    """Changes as `--try` takes them."""
    return ",".join(f"{key}={_typed(value)}" for key, value in changes.items())


def switches(changes: dict[str, Any]) -> str:
    """Changes as `dvc exp run` takes them."""
    pairs = [f"{key}={_typed(value)}" for key, value in changes.items()]
    return " ".join(f"-S '{pair}'" if set(pair) & set("[]{}, ") else f"-S {pair}" for pair in pairs)


def experiment(changes: dict[str, Any]) -> str:
    """A name for the experiment that trains changes: their values, in letters that git takes in a name."""
    label = "-".join(_typed(value) for value in changes.values())
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in label).strip("._-")


def _typed(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_typed, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
