"""The program `maskcli`: its commands come from the rooms beside this file; here are its options and its errors."""

import io
import os
import platform
import sys
import threading
import warnings
from contextlib import suppress
from typing import Annotated, Any

import typer

from cli import commands
from cli.commands import (
    against_the_clock,
    answers,
    begin,
    better_scores,
    cluster,
    serving,
    stages,
    take_along,
    team,
    wrong_labels,
)
from cli.common import main_process

app = typer.Typer(
    name="maskcli",
    cls=commands.InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Trains image classifiers on unbalanced photos, and gives answers that can be trusted.\n\n"
    "`dvc repro` runs all stages; each can be run by hand with the same effect.\n\n"
    "Example: maskcli check && dvc repro && maskcli summary",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        # Not torch.__version__: importing it takes seconds.
        print(f"maskcli {version('maskcli')}, Python {platform.python_version()}, torch {version('torch')}")
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the versions and exit.")
    ] = False,
) -> None:
    """Options before the command."""


ROOMS = (begin, stages, answers, wrong_labels, better_scores, take_along, serving, cluster, team, against_the_clock)
for room in ROOMS:
    commands.place(room.commands)
    app.add_typer(room.commands)


def run() -> None:
    """Entry point: known errors become one line and exit code 2; others too, unless --debug asks for the traceback."""
    from stages.base import garbage, openmp
    from stages.base.errors import UserError

    debug = "--debug" in sys.argv[1:2]
    try:
        garbage.collect_seldom()
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        openmp.sleep_soon()
        warnings.showwarning = _warn
        if isinstance(sys.stdout, io.TextIOWrapper):
            # As stderr has it by itself: behind a pipe Windows gives stdout its code page, which lacks most letters.
            sys.stdout.reconfigure(errors="backslashreplace")
        if not debug:
            threading.excepthook = _thread_failed
        app()
    except UserError as error:
        if debug:
            raise
        sys.exit(_fail(str(error), 2))
    except (KeyboardInterrupt, SystemExit) as error:
        interrupt = _interrupt(error)
        if interrupt is None:
            raise
        sys.exit(_fail(_interrupted(interrupt), 130) if main_process() else 130)
    except OSError as error:
        if debug:
            raise
        sys.exit(_fail(f"{error.filename or 'system'}: {error.strerror or error}; check disk space and permissions", 2))
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split())[:300]
        sys.exit(_fail(f"unexpected {type(error).__name__}: {text}; run `maskcli --debug ...` for the traceback", 1))


def _interrupt(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that an error comes from, if it does: typer makes an exit without a word of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _interrupted(interrupt: KeyboardInterrupt) -> str:
    """What is kept: training says so itself; all other commands write their files whole, when they are done."""
    if str(interrupt):
        return f"interrupted; {interrupt}; the same command goes on from there"
    return "interrupted; no file is half written, and what was there before stands; the same command begins again"


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    _fail(f"warning: {message}", 0)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """An error in a thread in one line. A full disk is told by the main thread, which meets it too."""
    if not isinstance(failure.exc_value, OSError | SystemExit):
        _fail(f"unexpected {failure.exc_type.__name__} in a thread: {failure.exc_value}", 1)


def _fail(line: str, code: int) -> int:
    """Say what went wrong, in one line; on a terminal it is wrapped at words."""
    line = f"maskcli: {' '.join(line.split())}"
    if sys.stderr.isatty():
        from cli import lines

        line = "\n".join(lines.paragraph(line, lines.width(sys.stderr)))
    with suppress(OSError):  # the terminal is gone
        print(line, file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    run()
