"""What several commands share. Everything heavy is imported inside functions, so that --help answers at once."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def params() -> Any:
    """params.yaml of the working folder, checked, where this is the version of maskcli that the project names."""
    from stages.new_project import pinned_version
    from stages.params.load import load

    pinned_version.check()
    return load()


def talk() -> Any:
    """Progress and talk on stderr."""
    from cli import console

    return console.talk()


def answer(made: Callable[[int], Any]) -> None:
    """Print what `made` says for the width of stdout, lines of cli/lines.py."""
    from cli import console

    console.answer(made)


@contextmanager
def found_by(work: Callable[[], Any]) -> Iterator[Any]:
    """What a command has found, for the block to print; where it could not be written too, the error comes after that."""
    from stages.base.errors import Unwritten

    unwritten = None
    try:
        found = work()
    except Unwritten as error:
        found, unwritten = error.found, error
    yield found
    if unwritten:
        raise unwritten


def examples(*commands: str) -> str:
    """The last lines of a command's help, an example a line."""
    return "\n".join(["Example:" if len(commands) == 1 else "Examples:", *commands])


def print_json(result: Any) -> None:
    """JSON on one line of stdout, null for NaN, which JSON does not have."""
    print(json.dumps(json.loads(json.dumps(result), parse_constant=lambda _: None)))


def main_process() -> bool:
    """Whether this is the one of torchrun's or accelerate's processes that speaks."""
    return os.environ.get("RANK", "0") == "0"


def written(path: Path) -> Any:
    """What a JSON file holds that a stage has just written."""
    return json.loads(path.read_text(encoding="utf-8"))


def rows(path: Path) -> int:
    """Rows of a CSV that a stage has just written, without its header; without pandas, which takes a second to import."""
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1
