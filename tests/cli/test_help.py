"""maskcli --help: groups in the order of the work, a line a command; --version; completion; --json."""

import json
import re
import sys
from collections.abc import Iterator

import click
import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner

from cli import commands, main
from tests.conftest import ROOT, command

WITHOUT_JSON: set[str] = set()  # commands that answer with nothing a script could read


def program() -> click.Group:
    found = typer.main.get_command(main.app)
    assert hasattr(found, "commands")
    return found  # type: ignore[return-value]


def shown(*words: str, columns: int = 80) -> str:
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    done = CliRunner().invoke(main.app, [*words, "--help"], env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_command_stands_in_a_group_on_a_line_of_its_own() -> None:
    listed = shown()
    for name in program().commands:
        assert name in commands.ORDER, f"give `{name}` a place in cli/commands/__init__.py"
    lines = [line.strip("│ \n") for line in listed.splitlines()]
    words = [line.split()[0] for line in lines if line.split() and line.split()[0] in commands.ORDER]
    assert words == [name for name in commands.ORDER if name in program().commands]
    assert [name for name in commands.GROUPS if f"─ {name} ─" in listed] == list(commands.GROUPS)
    assert "Example: maskcli check && dvc repro && maskcli summary" in listed
    of_commands = listed.splitlines()[listed[: listed.index("─ Begin ─")].count("\n") :]
    continued = [line for line in of_commands if re.match(r"│ {5}", line)]
    assert not continued, "the first paragraph of a command's docstring has at most 62 letters"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_fits_and_breaks_no_example(columns: int) -> None:
    groups = [name for name, one in program().commands.items() if hasattr(one, "commands")]
    for name in (None, *groups, *(name for name, _ in each_command())):
        text = shown(*(name.split() if name else []), columns=columns)
        assert max(map(cell_len, text.splitlines())) <= columns
        if name and columns >= 80:
            examples = [line.strip() for line in text.splitlines() if line.strip().startswith("maskcli ")]
            assert examples, name
            assert all(example.startswith(f"maskcli {name}") for example in examples)


def each_command() -> Iterator[tuple[str, click.Command]]:
    """Those of groups too, as `cluster run`."""
    for name, one in program().commands.items():
        within = getattr(one, "commands", None)
        yield from ((f"{name} {inner}", each) for inner, each in within.items()) if within else [(name, one)]


def test_every_command_has_json() -> None:
    for name, one in each_command():
        options = {option for parameter in one.params for option in parameter.opts}
        assert ("--json" in options) is (name not in WITHOUT_JSON), name


def test_version_names_what_a_report_needs_without_importing_torch() -> None:
    code = (
        "import sys; from cli.main import app; app(['--version'], standalone_mode=False); print('torch' in sys.modules)"
    )
    told, imported = command(ROOT, sys.executable, "-c", code).stdout.splitlines()
    assert re.fullmatch(r"maskcli \d+\.\d+\.\d+, Python 3\.\d+\.\d+, torch 2\.\d+\.\d+\S*", told)
    assert imported == "False"


def test_commands_that_read_tables_alone_wait_for_neither_torch_nor_matplotlib() -> None:
    names = ", ".join(["audit", "blend", "claim", "compare", "review", "runs", "score", "summary"])
    code = f"import sys; from stages.by_hand import {names}; print({{'torch', 'matplotlib'}} & set(sys.modules))"
    assert command(ROOT, sys.executable, "-c", code).stdout.strip() == "set()"


def test_the_shell_can_complete_commands() -> None:
    environment = {"_MASKCLI_COMPLETE": "complete_bash", "COMP_WORDS": "maskcli tta", "COMP_CWORD": "1"}
    done = CliRunner().invoke(main.app, [], env=environment, prog_name="maskcli")
    assert done.stdout.split() == ["tta-predict", "tta-search"]


def test_demo_data_tells_scripts_what_it_drew(tmp_path: object) -> None:
    words = ["demo-data", f"{tmp_path}/data", "--people", "12", "--eval-people", "6", "--json"]
    found = json.loads(CliRunner().invoke(main.app, words).stdout)
    assert {name: found[name] for name in ("people", "photos", "eval_photos")} == (
        {"people": 12, "photos": 84, "eval_photos": 42}
    )


def test_prepare_and_kfold_tell_scripts_what_they_made(project: object) -> None:
    prepared = json.loads(CliRunner().invoke(main.app, ["prepare", "--json"]).stdout)
    assert prepared == {"people": 24, "photos": 168, "eval_photos": 42, "faults": 0}
    found = json.loads(CliRunner().invoke(main.app, ["kfold", "--json"]).stdout)
    assert sum(found["people"].values()) == 24
