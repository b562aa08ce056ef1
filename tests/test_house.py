"""The house: which room a file lies in, and which rooms it may take from. `pytest tests/test_house.py -s` shows both.

Imports run one way, those inside functions and those of modules that are only named in a text (what a forkserver preloads,
what a new process is told to import) as much as those at the top of a file.
"""

import ast
import re
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

# From what a person types down to what everything stands on. Rooms in one line are side by side: neither takes from the other.
ORDER = (
    ("cli",),
    ("stages.by_hand",),
    ("stages.new_project",),
    ("stages.parallel",),
    ("stages",),  # loose in it: the DVC stages
    ("stages.serving", "stages.review"),
    ("stages.bundle",),
    ("stages.submission",),
    ("stages.learn", "stages.report"),
    ("stages.judge",),
    ("stages.records",),
    ("stages.data",),
    ("stages.params",),
    ("stages.base",),
)
HEAVY = ("torch", "pandas", "sklearn")
LINES, PARAMETERS = 400, 6
UNREAD = ("CHANGELOG.md", "tests/test_house.py")  # tell of what was, and of what must not be
NAMED = re.compile(r"(?<![\w./])(?:stages|cli)(?:\.[A-Za-z_]\w*)+")
TAKEN = re.compile(r"\bfrom ((?:stages|cli)[\w.]*) import (\w+(?:, *\w+)*)")
FILE = re.compile(r"\b(?:stages|cli|tests|bench|docs)/[a-z_/]+\.(?:py|md|jinja)\b")
# What does not keep to the rules yet, with the reason. One that is mended must go from here too.
KNOWN: dict[str, str] = {}


@dataclass(frozen=True)
class Use:
    """One module's mention of another: `by` imports `of`, in this line."""

    by: str
    of: str
    line: int
    top: bool  # at the top of the file, so whoever imports `by` pays for it

    def __str__(self) -> str:
        return f"{self.by} line {self.line}: takes from {self.of}"


@cache
def sources() -> dict[str, Path]:
    """Every module of the package by its dotted name; a package by the name of its folder."""
    found = {}
    for path in sorted([*(ROOT / "stages").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text(encoding="utf-8"))


def room(module: str) -> str:
    """The folder below stages/ that a module lies in; `stages` where it lies loose there; `cli` whatever its folder."""
    first, *rest = module.split(".")
    inner = first == "stages" and rest and sources()[f"stages.{rest[0]}"].name == "__init__.py"
    return f"{first}.{rest[0]}" if inner else first


def height(module: str) -> int:
    """Where in ORDER a module's room stands: what it takes from must stand further on."""
    return next(place for place, step in enumerate(ORDER) if room(module) in step)


def resolved(name: str) -> str | None:
    """The longest part of a dotted name that is a module here; None if it is somebody else's."""
    parts = name.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in sources()), None)


def uses(module: str) -> Iterator[Use]:
    """Every import of a module, and every module that one of its texts (docstrings left out) names."""
    whole = tree(module)
    docstrings = {id(text) for text in _docstrings(whole)}
    top = {id(node) for node in whole.body}
    for node in ast.walk(whole):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} line {node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            names = named_in(node.value)
        for name in names:
            own = resolved(name)
            yield Use(module, own or name, node.lineno, id(node) in top)


def named_in(text: str) -> list[str]:
    """Modules here, and what is in them, that a text names by dots or takes by `from ... import`."""
    dotted = [name for name in NAMED.findall(text) if not name.endswith((".yaml", ".json"))]
    return dotted + [f"{of}.{name}" for of, names in TAKEN.findall(text) for name in re.findall(r"\w+", names)]


def _docstrings(whole: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(whole):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


def functions(module: str) -> Iterator[tuple[str, int]]:
    """Each function but Typer commands, as `module.name`, and how many parameters it takes."""
    methods = {id(one) for node in ast.walk(tree(module)) if isinstance(node, ast.ClassDef) for one in node.body}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_command(node):
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            own = id(node) in methods and bool(taken) and taken[0].arg in ("self", "cls")
            yield f"{module}.{node.name}", len(taken) - own


def _is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    calls = [one.func for one in function.decorator_list if isinstance(one, ast.Call)]
    return any(isinstance(call, ast.Attribute) and call.attr in ("command", "callback") for call in calls)


def but_known(found: list[str]) -> list[str]:
    """Those that are not in KNOWN: a sentence is known by how it begins."""
    return [line for line in found if not line.startswith(tuple(KNOWN) or ("...",))]


def told(found: list[str]) -> str:
    return "\n" + "\n".join(found)


def against_the_order() -> list[str]:
    return [
        str(use)
        for module in sources()
        for use in uses(module)
        if use.of in sources()
        and room(use.of) != room(module)
        and (height(use.of) <= height(module) and use.of not in ("stages", "cli"))
    ]


def too_long() -> list[str]:
    counts = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in sources().items()}
    return [f"{module}: {lines} lines" for module, lines in counts.items() if lines > LINES]


def too_wide() -> list[str]:
    found = [pair for module in sources() for pair in functions(module)]
    return [f"{name}: {count} parameters" for name, count in found if count > PARAMETERS]


def of_the_systems_own() -> list[str]:
    """Text that is written with the line ends or the code page of the system, though DVC compares bytes."""
    found = []
    for module in sources():
        for node in ast.walk(tree(module)):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and called.attr == "write_text":
                assert isinstance(node, ast.Call)
                if {"encoding", "newline"} - {keyword.arg for keyword in node.keywords}:
                    found.append(f"{module} line {node.lineno}: text without encoding or newline")
    return found


def test_text_is_written_with_the_same_bytes_on_every_system() -> None:
    found = but_known(of_the_systems_own())
    assert not found, told(found)


def test_imports_run_one_way() -> None:
    for step in ORDER:
        print("  ->  " if step != ORDER[0] else "\n      ", " | ".join(step))
    found = but_known(against_the_order())
    assert not found, told(found)


def test_every_file_lies_in_a_room_of_the_plan() -> None:
    inside: dict[str, list[str]] = {}
    for path in sources().values():
        folder = path.relative_to(ROOT).parent.as_posix()
        inside.setdefault(folder, [])
        if path.name != "__init__.py":
            inside[folder].append(path.stem)
    print()
    for folder, names in inside.items():
        print(f"  {folder}/  {' '.join(names)}")
    rooms = {name.replace(".", "/") for step in ORDER for name in step}
    assert {"/".join(folder.split("/")[:2]) for folder in inside if folder.startswith("stages/")} == rooms - {
        "cli",
        "stages",
    }


def test_loose_in_stages_are_exactly_the_stages_of_dvc() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    loose = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert loose == {name.replace("-", "_") for name in stages}


def test_commands_by_hand_are_named_as_typed() -> None:
    from typer.main import get_command

    from cli.main import app

    typed = {name.replace("-", "_") for name in get_command(app).commands}  # type: ignore[attr-defined]
    files = {path.stem for path in (ROOT / "stages/by_hand").glob("*.py")} - {"__init__"}
    loose = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert typed - loose - files == {"demo_data"}
    helpers = {name for name in files - typed if not any(name.startswith(f"{one}_") for one in typed)}
    assert helpers == set()


def test_files_are_short_and_functions_take_few_parameters() -> None:
    found = but_known(too_long() + too_wide())
    assert not found, told(found)


def test_known_exceptions_are_still_there() -> None:
    found = against_the_order() + too_long() + too_wide()
    assert [name for name in KNOWN if not any(line.startswith(name) for line in found)] == []


def test_the_command_line_begins_without_what_takes_long_to_import() -> None:
    """What the commands' modules import at their top, and what these import in turn."""
    seen, waiting = (
        set(),
        [module for module in sources() if room(module) == "cli" and not module.startswith("cli.tables")],
    )
    heavy = []
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for use in uses(module):
            if use.top and use.of in sources():
                waiting.append(use.of)
            elif use.top and use.of.split(".")[0] in HEAVY:
                heavy.append(str(use))
    assert not heavy, told(heavy)


def test_what_is_named_in_texts_is_there() -> None:
    """Modules and files of code that docstrings, comments, other texts, dvc.yaml and the documentation name."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    gone = []
    for name in listed:
        path = ROOT / name
        if name not in UNREAD and path.suffix in (".py", ".md", ".yaml", ".toml", ".jinja") and path.is_file():
            text = _texts(path)
            files = [] if name.startswith("tests/") else FILE.findall(text)  # tests make some up
            gone += [f"{name}: {file}" for file in files if not (ROOT / file).exists()]
            gone += [f"{name}: {word}" for word in named_in(text) if not _is_there(word)]
    assert not gone, told(sorted(set(gone)))


def _texts(path: Path) -> str:
    """What a file says to people or to other programs: of code the comments and strings."""
    if path.suffix != ".py":
        return path.read_text(encoding="utf-8")
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    with path.open("rb") as file:
        return "\n".join(token.string for token in tokenize.tokenize(file.readline) if token.type in kinds)


def _is_there(word: str) -> bool:
    """Whether a dotted name is a module, or something defined in one."""
    module = resolved(word)
    rest = word.removeprefix(f"{module}").lstrip(".").split(".")[0]
    if module is None or not rest or rest.startswith("__"):
        return module is not None
    return bool(re.search(rf"\b{re.escape(rest)}\b", sources()[module].read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "def f():\n    from stages.by_hand import check\n",
            "stages.judge.votes line 2: takes from stages.by_hand.check",
        ),
        ("import stages.learn.fit\n", "stages.judge.votes line 1: takes from stages.learn.fit"),
        (
            "PRELOADED = ['stages.parallel.preloaded']\n",
            "stages.judge.votes line 1: takes from stages.parallel.preloaded",
        ),
        ("CODE = 'from stages import kfold, train'\n", "stages.judge.votes line 1: takes from stages.train"),
        ("CODE = 'import stages.train; print()'\n", "stages.judge.votes line 1: takes from stages.train"),
    ],
)
def test_an_import_against_the_order_is_seen_wherever_it_stands(
    text: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tree
    monkeypatch.setattr(
        f"{__name__}.tree", lambda name: ast.parse(text) if name == "stages.judge.votes" else real(name)
    )
    assert line in against_the_order()
