"""corrections.csv: what people decided about labels, groups and photos, one decision a row; nothing in it is ever changed.

Rows are only added, so that two people's files become one by taking the lines of both (git's `merge=union`). What the data
set becomes by them is in stages/data/corrected_photos.py; what the rows mean is told in docs/corrections.md.
"""

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from stages.base import lock, paths
from stages.base.errors import UserError
from stages.base.files import replacing, unwritable
from stages.data import csv_rows
from stages.data.csv_rows import CONTROL, Fault, normal, printable, shown

COLUMNS = ("id", "axis", "old", "new", "who", "when", "why")
HEADER = ",".join(COLUMNS)
GROUP, PHOTO = "group", "photo"  # what `axis` may say besides the task's axes
THERE, REMOVED = "there", "removed"  # `old` and `new` of a photo
UNDONE = "undone"  # a row whose `why` says so takes the last decision back
CONFLICT = ("<<<<<<<", "=======", ">>>>>>>")  # how lines begin that git puts in where it cannot merge
PATIENCE = 30.0  # seconds to wait for another process that adds rows


@dataclass(frozen=True)
class Row:
    """One decision: that on `axis` the group or photo `id` is not `old` but `new`; where both are the same, that it is right."""

    id: str
    axis: str
    old: str
    new: str
    who: str
    when: str  # ISO 8601, UTC, seconds
    why: str = ""
    line: int = field(default=0, compare=False)  # in the file; 0: not from one

    @property
    def undoes(self) -> bool:
        return self.why == UNDONE

    @property
    def place(self) -> str:
        """How messages name a row: its line, and who wrote it."""
        return f"line {self.line}{f' ({printable(self.who)})' if self.who else ''}"


def now() -> str:
    """The time as the column `when` has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(path: Path = paths.CORRECTIONS) -> list[Row]:
    """All rows in the order of the file; none where there is no file. Raises UserError where it is not one of corrections."""
    rows, faults, _ = look(path)
    if faults:
        raise UserError(str(faults[0]))
    return rows


def look(path: Path = paths.CORRECTIONS) -> tuple[list[Row], list[Fault], list[str]]:
    """All rows, what is wrong with the file, and warnings: the rest of a row that a crash left at its end is left out."""
    if not path.exists():
        return [], [], []
    content = csv_rows.content_of(path)
    return ([], [content], []) if isinstance(content, Fault) else parsed(content, path)


def parsed(content: bytes, path: Path = paths.CORRECTIONS) -> tuple[list[Row], list[Fault], list[str]]:
    """What `look` finds in a file of this content, called `path`."""
    warnings = []
    kept, rest = _parted(content)
    if rest:
        line = kept.count(b"\n") + 1
        warnings.append(
            f"{path} line {line}: the row is cut off (a crash?): left out; add it again, or delete the line"
        )
    text = csv_rows.decoded(path, kept)
    if isinstance(text, Fault):
        return [], [text], warnings
    if not text.strip():
        return [], [], warnings
    names = csv_rows.header(path, text)
    problem = names if isinstance(names, Fault) else csv_rows.header_fault(path, names, COLUMNS)
    problem = problem or _conflict(path, text)
    if problem:
        return [], [problem], warnings
    rows, faults = [], []
    for line, values, fault in csv_rows.walk(path, text, COLUMNS):
        row = Row(**dict(zip(COLUMNS, values, strict=True)), line=line)
        fault = fault or _lacking(path, row)
        if fault:
            faults.append(fault)
        else:
            rows.append(row)
    return rows, faults, warnings


def append(rows: Iterable[Row] | Callable[[list[Row]], Iterable[Row]], path: Path = paths.CORRECTIONS) -> None:
    """Add rows at the end of the file, which is made where it is not there; on the disk when this returns.

    rows: or what gives them, told the rows that are there at a moment when nobody else can add any.
    Processes that add at the same time wait for each other. A row that a crash cut off is removed first. Of `who` and `why`,
    control characters become blanks and double quotes single ones: so no cut-off row looks like a whole one. Raises UserError
    where the file is of other columns or cannot be written, or a name could not be read back; the file is then as before.
    """
    lines = b"" if callable(rows) else _lines(rows, path)
    try:
        with lock.held(path.with_name(f".{path.name}.lock"), patience=PATIENCE):
            if not path.exists():
                with replacing(path, durable=True) as temporary:
                    temporary.write_bytes(f"{HEADER}\n".encode())
            _add(_lines(rows(read(path)), path) if callable(rows) else lines, path)
    except lock.Held as busy:
        who = busy.holder.in_words
        raise UserError(f"{path}: {who} has been writing it for {PATIENCE:g} s; end it, then try again") from None
    except OSError as error:
        raise unwritable(path, error) from error


def decided(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """The last decision that holds on each (id, axis), ids in normal form (NFC); undone ones are absent.

    By the rows alone: whether an old value is that of the data is prepare's to say.
    """
    standing: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        held = standing.setdefault((normal(row.id), row.axis), [])
        if row.undoes:
            place = next((place for place in reversed(range(len(held))) if _exchanged(held[place], row)), None)
            if place is not None:
                del held[place]
        elif not (held and held[-1].new == row.new and any(_says_the_same(other, row) for other in held)):
            held.append(row)
    return {key: held[-1] for key, held in standing.items() if held}


def _exchanged(row: Row, undoing: Row) -> bool:
    return (row.old, row.new) == (undoing.new, undoing.old)


def _says_the_same(row: Row, other: Row) -> bool:
    return (row.old, row.new) == (other.old, other.new)


def _conflict(path: Path, text: str) -> Fault | None:
    marked = next((line for line, one in enumerate(text.splitlines(), 1) if one.startswith(CONFLICT)), None)
    if marked is None:
        return None
    mend = "keep the rows of both sides, and delete this line and others like it"
    return Fault(f"{path} line {marked}", "git marks a conflict here", mend)


def _lacking(path: Path, row: Row) -> Fault | None:
    name = next((name for name in COLUMNS[:4] if not getattr(row, name)), None)
    return Fault(f"{path} line {row.line}", f"{name} is empty", "mend the row") if name else None


def _lines(rows: Iterable[Row], path: Path) -> bytes:
    return b"".join(_line(row, path).encode() for row in rows)


def _line(row: Row, path: Path) -> str:
    """A row as it is written; `why` in quotes always, so that a row cut off within it is seen to be."""
    *values, _ = astuple(row)
    values[4:] = [CONTROL.sub(" ", text).replace('"', "'").encode("utf-8", "replace").decode() for text in values[4:]]
    values[4:] = [text.strip() for text in values[4:]]
    for name, text in zip(COLUMNS, values, strict=True):
        if CONTROL.search(text) or text != text.strip() or text.encode("utf-8", "replace").decode() != text:
            raise UserError(
                f"{path}: the {name} {shown(text)} cannot be written in a row; rename it, without odd characters"
            )
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(values[:-1])
    return f'{out.getvalue()},"{values[-1]}"\n'


def _add(lines: bytes, path: Path) -> None:
    # Without a buffer: one that was not emptied, for the disk is full, would be tried again as the file is closed.
    with path.open("r+b", buffering=0) as file:
        kept, rest = _parted(file.read())
        first = kept.split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip()
        if kept and first != HEADER:
            raise UserError(f"{path} line 1: the header is {shown(first)}; rows can be added where it is {HEADER}")
        whole = len(kept)
        if rest:
            file.truncate(whole)
        file.seek(whole)
        try:
            before = b"" if kept.endswith(b"\n") else b"\n" if kept else f"{HEADER}\n".encode()
            left = memoryview(before + lines)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(whole)
            raise


def _parted(content: bytes) -> tuple[bytes, bytes]:
    """A file's whole rows, and the rest of a row that a crash cut off: a last line without its end and with too few values."""
    end = content.rfind(b"\n") + 1
    last = content[end:]
    return (content, b"") if not last or _is_whole(last, header=end == 0) else (content[:end], last)


def _is_whole(last: bytes, header: bool) -> bool:
    if header:
        text = last.decode("utf-8-sig", "replace")
        return text == HEADER or not HEADER.startswith(text)
    try:
        (values,) = csv.reader([last.decode()], strict=True)
    except (ValueError, csv.Error):
        return False
    return len(values) >= len(COLUMNS) and not last.rstrip().endswith(b",")
