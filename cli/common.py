"""What several commands share. Everything heavy is imported inside functions, so that --help answers at once."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def params() -> Any:
    """params.yaml of the working folder, checked."""
    from stages.params import load

    return load()


def talk() -> Any:
    """Progress and talk on stderr."""
    from cli import console

    return console.talk()


def answer(made: Callable[[int], Any]) -> None:
    """Print what `made` says for the width of stdout, lines of cli/lines.py."""
    from cli import console

    console.answer(made)


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """A flat result on stdout, as JSON or as aligned lines."""
    if as_json:
        print(json.dumps(result))
        return
    width = max(len(name) for name in result)
    for name, value in result.items():
        print(f"{name:<{width}}  {value:.4f}" if isinstance(value, float) else f"{name:<{width}}  {value}")
