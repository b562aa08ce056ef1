"""DVC's commands as a person would type them, in the workspace or in an experiment's clone: lines told, Ctrl-C passed on."""

import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from stages.base import programs
from stages.base.errors import UserError
from stages.learn import interrupt

LOOK_EVERY = 0.2  # seconds between two looks whether somebody asked to stop
PATIENCE = 30.0  # seconds for it to end then
WIDE = "1000"  # columns: a line is passed on whole
KEPT = 40  # last lines, in which the reason of a failure is looked for
STAGE = re.compile(r"Running stage '(.*)':")
TOLD = ("warning: ", "lr-find: ")  # of what stages say
Say = Callable[[str], None]


def run(words: list[str], folder: Path, say: Say) -> None:
    """Run a command of DVC that writes, waiting for others of the same repository, and tell of each stage that runs.

    Raises UserError where it fails, in the words of what failed; KeyboardInterrupt, once it has ended, if a person asked.
    """
    command = [*programs.DVC, "--wait-for-lock", *words]
    with interrupt.noted() as asked:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=programs.environment() | {"COLUMNS": WIDE},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # what asks to stop goes to DVC and to the stage that it runs, from here, once
        )
        try:
            lines = _heard(process, say, asked)
        finally:
            _end(process)
        if asked():
            raise KeyboardInterrupt(f"`dvc {' '.join(words)}` was stopped")
    if process.returncode:
        why = programs.reason("\n".join(lines), process.returncode)
        raise UserError(f"`dvc {' '.join(words)}`: {why}")


def _heard(process: subprocess.Popen[str], say: Say, asked: interrupt.Interrupt) -> list[str]:
    """The last lines that the process writes until it ends, or is asked to."""
    assert process.stdout is not None
    heard: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, heard), daemon=True).start()
    lines: list[str] = []
    while not asked():
        try:
            line = heard.get(timeout=LOOK_EVERY)
        except queue.Empty:
            continue
        if line is None:
            process.wait()
            return lines
        lines = [*lines[1 - KEPT :], line]
        if found := STAGE.search(line):
            say(f"stage {found[1]}")
        elif line.startswith(TOLD):
            say(line)
    return lines


def _read(stream: IO[str], heard: "queue.Queue[str | None]") -> None:
    for line in stream:
        heard.put(line.rstrip())
    heard.put(None)


def _end(process: subprocess.Popen[str]) -> None:
    """Have the process and all it has started end."""
    for name in ("SIGINT", "SIGTERM", "SIGKILL"):
        if process.poll() is not None:
            return
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.Signals[name])
        else:  # Windows, which has no SIGKILL either
            process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            continue
