"""Puts the files of a new project in place, all of them or none, in a git repository and a DVC project."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from stages.base import git, programs
from stages.base.errors import UserError
from stages.base.files import make_folder, replacing
from stages.new_project import pinned_version

# What a person may have there already: lines are added, or the file stays as it is.
JOINED = (".gitignore", ".gitattributes", ".dvcignore", "requirements.txt")
KEPT = ("README.md", "corrections.csv", ".dvc/config", ".dvc/.gitignore")


def settle(folder: Path, files: Mapping[str, str], overwrite: bool = False) -> dict[str, str]:
    """What will be written of `files`, by path below `folder`: lines join those that are there, and what is the same stays.

    Raises UserError where another file stands in the way, unless `overwrite` allows to replace it.
    """
    settled: dict[str, str] = {}
    in_the_way = []
    for name, text in files.items():
        path = folder / name
        if not path.exists():
            settled[name] = text
            continue
        there = _read(path)
        if name in KEPT or there == text:
            continue
        if name in JOINED and there is not None and not pinned_version.names_another(there):
            lacking = [line for line in text.splitlines() if line not in there.splitlines()]
            joined = "".join(f"{line}\n" for line in [*there.splitlines(), *lacking])
            settled |= {name: joined} if lacking else {}
            continue
        in_the_way.append(name)
        settled[name] = text
    if in_the_way and not overwrite:
        raise UserError(
            f"{folder}: holds {', '.join(in_the_way)} already, with other content; name an empty folder by --into, or replace "
            f"{'it' if len(in_the_way) == 1 else 'them'} by --overwrite"
        )
    return settled


def differs(path: Path, text: str) -> bool:
    """Whether a file is not there, or has another text."""
    return _read(path) != text


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def put(folder: Path, files: Mapping[str, str], added: Sequence[str] = ()) -> None:
    """Write files below `folder`, which becomes a git repository and a DVC project unless it is one; `added`, by path below it,
    is given to DVC.

    Raises UserError where something fails; then all that was made is removed again.
    """
    with ExitStack() as undo:
        names = (".git", ".dvc", ".dvcignore", *files, *(f"{name}.dvc" for name in added))
        for made in (folder, *(folder / name for name in names)):
            if not made.exists():
                undo.callback(_remove, made)
        make_folder(folder)
        _make_repositories(folder)
        if added:
            dvc(folder, "add", *added)
        with ExitStack() as together:
            for name, text in files.items():
                together.enter_context(replacing(folder / name)).write_text(text, encoding="utf-8", newline="\n")
        undo.pop_all()


def _make_repositories(folder: Path) -> None:
    top = git.run("-C", str(folder), "rev-parse", "--show-toplevel")
    if top is None:
        git.ask("init", "--quiet", str(folder))
    if not (folder / ".dvc").is_dir():
        within = top is not None and Path(top.decode().strip()).resolve() != folder.resolve()
        dvc(folder, "init", "--quiet", *(["--subdir"] if within else []))


def dvc(folder: Path, *words: str) -> None:
    """Run a command of DVC in a folder, whose progress a terminal shows. Raises UserError with DVC's message where it refuses."""
    programs.dvc(words, folder, "mend that, then run `maskcli init` again", progress=True)


def tracked_by_git(folder: Path, path: Path) -> list[str]:
    """The names of all files that git keeps of `path`, which DVC then cannot keep; empty outside a repository."""
    listed = git.run("-C", str(folder), "ls-files", "-z", "--", str(path.resolve())) or b""
    return [name for name in listed.decode(errors="replace").split("\0") if name]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
