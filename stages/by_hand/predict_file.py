"""The file that predict writes photo by photo: what is in it stays whole, and the same command goes on from there.

Until all photos are answered the file is called <name>.partial, and beside it <name>.partial.json says what it is made by.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stages.base import lock
from stages.base.errors import UserError
from stages.base.files import make_folder, unwritable, write_json

NEW = "new"
SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """Where answers go, and what they are made of."""

    path: Path
    columns: tuple[str, ...]  # of a CSV
    made_by: Row  # what must be the same to go on: the models and the flags
    force: bool = False  # write over what is there

    @property
    def partial(self) -> Path:
        return self.path.with_name(f"{self.path.name}.partial")

    @property
    def key(self) -> Path:
        return self.path.with_name(f"{self.path.name}.partial.json")

    @property
    def as_csv(self) -> bool:
        return SUFFIXES[self.path.suffix.lower()] == "csv"


def check(path: Path, force: bool) -> None:
    """Raise UserError for a file that is there, or whose name says no format."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {path}: the name must end in .csv, or in .jsonl for JSON lines")
    if path.is_dir():
        raise UserError(f"--out {path}: is a folder; name a file in it, as {path}/answers.csv")
    if path.exists() and not force:
        raise UserError(f"{path}: is there already; name another file, or give --force to write over it")


@dataclass
class Answers:
    """A file of answers that is being written."""

    wanted: Wanted
    file: IO[bytes]
    before: Counter[str]  # `kind` of the rows that were in it
    added: int = 0  # rows

    @property
    def done(self) -> int:
        return self.before.total() + self.added

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows, all or none. Raises UserError where they cannot be written."""
        size = self.file.tell()
        left = memoryview("".join(map(self._line, rows)).encode())
        try:
            while left:
                left = left[self.file.write(left) :]
        except OSError as error:
            self.file.truncate(size)
            raise UserError(
                f"{unwritable(self.wanted.partial, error)}; the {self.done} answers in it are whole, and the same command "
                "goes on from there"
            ) from error
        self.added += len(rows)

    def _line(self, row: Row) -> str:
        return csv_line(row, self.wanted.columns) if self.wanted.as_csv else json_line(row)


def json_line(row: Row) -> str:
    """A row as JSON, with a newline."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def csv_line(row: Row, columns: Sequence[str]) -> str:
    """A row's values in these columns, one line whatever they hold: numbers with 6 significant digits, "" for what is missing."""
    text = io.StringIO()
    values = [row.get(name, "") for name in columns]
    csv.writer(text, lineterminator="\n").writerow(
        [f"{value:.6g}" if isinstance(value, float) else value for value in values]
    )
    return text.getvalue()


@contextmanager
def opened(wanted: Wanted, names: Sequence[str]) -> Iterator[Answers]:
    """Go on with the file of answers to these photos, or begin it; it takes its own name once the block ends without error.

    A half last line, which a killed process leaves, is cut off. Raises UserError where the file was begun by other models or
    flags or for other photos, or another process writes it.
    """
    make_folder(wanted.path.parent)
    with _alone(wanted):
        before = _begun(wanted, names)
        try:
            # Without a buffer: what is written has been handed over, also if the process is killed in the next moment.
            with wanted.partial.open("ab", buffering=0) as file:
                answers = Answers(wanted, file, before)
                if not file.tell() and wanted.as_csv:
                    file.write(
                        csv_line(dict(zip(wanted.columns, wanted.columns, strict=True)), wanted.columns).encode()
                    )
                yield answers
            wanted.partial.replace(wanted.path)
            wanted.key.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(wanted.partial, error) from error


@contextmanager
def _alone(wanted: Wanted) -> Iterator[None]:
    path = wanted.path.with_name(f".{wanted.path.name}.lock")
    try:
        with lock.held(path):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows: it is open
                    path.unlink()
    except lock.Held as busy:
        raise UserError(
            f"{wanted.partial}: {busy.holder.in_words} writes it; wait for it, or name another file"
        ) from None


def _begun(wanted: Wanted, names: Sequence[str]) -> Counter[str]:
    """What is answered of the photos; a file that may not be gone on with is begun anew where that is asked for."""
    differs = _differs(wanted)
    if not differs:
        before = _rows(wanted, names)
        if before is not None:
            return before
        differs = "for other photos"
    if differs != NEW and not wanted.force:
        raise UserError(
            f"{wanted.partial}: was begun {differs}; repeat the command that began it, or give --force to begin anew"
        )
    wanted.partial.unlink(missing_ok=True)
    write_json(wanted.key, wanted.made_by)
    return Counter()


def _differs(wanted: Wanted) -> str:
    """In what the command that began the file differs from this one; NEW where there is none."""
    if not wanted.partial.exists():
        return NEW
    try:
        before = json.loads(wanted.key.read_text(encoding="utf-8"))
        other = [name for name, value in wanted.made_by.items() if before.get(name) != value]
    except (OSError, ValueError, AttributeError):
        return "by another command"
    return f"with another {', '.join(other)}" if other else ""


def _rows(wanted: Wanted, names: Sequence[str]) -> Counter[str] | None:
    """What the whole rows of the file say, whose half last line is cut off; None unless they are of the first of these photos,
    in order.
    """
    end, before = 0, Counter[str]()
    with wanted.partial.open("r+b") as file:
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                break
            end += len(line)
            if wanted.as_csv and not number:
                continue
            row = _read(line, wanted)
            if before.total() >= len(names) or row.get("file") != names[before.total()]:
                return None
            before[kind(row)] += 1
        file.truncate(end)
    return before


def _read(line: bytes, wanted: Wanted) -> Row:
    """A row of the file; empty where it is none."""
    try:
        text = line.decode()
        found = dict(zip(wanted.columns, next(csv.reader([text])), strict=True)) if wanted.as_csv else json.loads(text)
    except (ValueError, StopIteration, csv.Error):
        return {}
    return found if isinstance(found, dict) else {}


def kind(row: Row) -> str:
    """What became of a photo: answered, abstained or unreadable."""
    if row.get("error"):
        return "unreadable"
    return "abstained" if row.get("abstained") in (True, "1") else "answered"
