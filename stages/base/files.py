"""The files between the stages: written whole or not at all (beside, then renamed), and checked when read."""

import csv
import json
import os
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from stages.base import large_arrays, temporaries
from stages.base.errors import UserError

# Windows refuses to replace a file that another process has open at that moment; how long to try again, seconds.
RENAME_PATIENCE = 5.0 if os.name == "nt" else 0.0

BY_HAND = ("audit",)  # what writes files and is no DVC stage


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on any error it is removed.

    The rename is atomic within one file system, so a reader sees the old file or the new one, never half of one.
    Its mode is what the process's umask gives every new file, whatever the writer chose (safetensors: 0600).
    What killed processes left of their own is removed first (stages/base/temporaries.py).
    durable: also after a power loss; the content is on the disk before the name is.
    """
    make_folder(path.parent)
    temporary = temporaries.beside(path)
    try:
        temporary.touch()  # asking the umask itself would change it for a moment, for every thread
        begun = temporary.stat()
        for left in temporaries.left(path, begun.st_mtime):
            temporaries.remove(left)
        yield temporary
        _restore(temporary, begun.st_mode)
        if durable:
            _flush(temporary)
        _rename(temporary, path)
        if durable and os.name == "posix":
            _flush(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # on a read-only disk, even for a file that is not there
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes `path`'s place, on any error it is removed.

    What was there before is moved aside first and removed last: it comes back where the new folder cannot take its place, also
    after a process that was killed in between.
    """
    make_folder(path.parent)
    temporary, before = (temporaries.beside(path, end, folder=True) for end in ("tmp", "old"))
    try:
        temporary.mkdir()
        _tidy(path, temporary.stat().st_mtime)
        yield temporary
        if path.exists():
            _rename(path, before)
        _rename(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(before, ignore_errors=True)
        elif before.exists():
            _rename(before, path)


def _tidy(path: Path, now: float) -> None:
    """Remove what killed processes left of a folder `path`, but for its content of before where it has none now."""
    for left in temporaries.left(path, now, folder=True):
        temporaries.remove(left)
    for left in temporaries.left(path, now, "old", folder=True):
        if path.exists():
            temporaries.remove(left)
        else:
            _rename(left, path)


def _restore(path: Path, mode: int) -> None:
    """Give a file the mode it began with, where a library has put another in its place."""
    if path.stat().st_mode != mode:
        path.chmod(mode & 0o777)


def _rename(temporary: Path, path: Path) -> None:
    """Rename over `path`; where a reader is in the way (Windows), wait up to RENAME_PATIENCE for it to be done."""
    ends = time.monotonic() + RENAME_PATIENCE
    while True:
        try:
            temporary.replace(path)
            return
        except PermissionError:
            if time.monotonic() >= ends:
                raise
            time.sleep(0.05)


def unwritable(path: Path, error: OSError) -> UserError:
    """What to say where a file cannot be written."""
    problem = error.strerror or error
    return UserError(f"{path}: cannot be written ({problem}); free disk space or check permissions, then rerun")


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's table of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link(source: Path, target: Path) -> None:
    """Have a file under a second name too, which takes no room; a copy where the disk has no such names, or is another one.

    Both are of whoever replaces one of them by a rename: the other name keeps what it was.
    """
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they are there. Raises UserError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot make this folder ({error.strerror}); free disk space or check permissions, then rerun"
        ) from error


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as UTF-8 CSV without its index, floats with 6 significant digits."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def write_csv_in_parts(path: Path, tables: Iterable[pd.DataFrame]) -> None:
    """Write tables of the same columns, one below the other, as `write_csv` writes the whole.

    Not by pandas, which formats number by number: a million photos of 100 classes took it two minutes, and take 50 seconds.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, table in enumerate(tables):
            if not number:
                writer.writerow(table.columns)
            writer.writerows(zip(*(_written(column) for _, column in table.items()), strict=True))


def _written(column: pd.Series) -> list[Any]:
    """A column's values as `write_csv` writes them."""
    values: list[Any] = column.tolist()
    if column.dtype.kind == "f":
        values = ("%.6g\n" * len(values) % tuple(values)).splitlines()
    for place in np.flatnonzero(column.isna()):
        values[place] = ""
    return values


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, with a closing newline; NaN becomes null, since JSON has no NaN."""
    text = json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as a compressed .npz."""
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def read_json(path: Path, made_by: str, *numbers: str) -> Any:
    """Read JSON that the stage `made_by` writes; if `numbers` are named, it must be an object that holds them.

    This and the readers below raise UserError if the file is absent or damaged, and name the stage to run again.
    """
    require(path, made_by)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise damaged(path, "is not JSON", made_by) from None
    for name in numbers:
        found = value.get(name) if isinstance(value, dict) else None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise damaged(path, f"has no number `{name}`", made_by)
    return value


def read_csv(path: Path, made_by: str, columns: Mapping[str, type] | None = None, **options: Any) -> pd.DataFrame:
    """Read a CSV that the stage `made_by` writes; `columns` must be there, each of its type (str, int or float).

    With a text column nothing counts as missing: a person may be called `NA`.
    """
    require(path, made_by)
    if columns:
        options |= {"dtype": dict(columns), "keep_default_na": str not in columns.values()}
    try:
        if not _ends_with_newline(path):
            raise damaged(path, "is cut off", made_by)
        table = pd.read_csv(path, **options)
    except (ValueError, OverflowError):  # pandas' parser, type and empty-file errors are ValueErrors
        raise damaged(path, "is not the table it should be", made_by) from None
    missing = [name for name in columns or () if name not in table]
    if missing:
        raise damaged(path, f"has no column `{missing[0]}`", made_by)
    if columns and table.empty:
        raise damaged(path, "has no rows", made_by)
    # As read, each column lies by itself; pandas warns of more than a hundred such, as many classes have, once one is added.
    return table.copy() if table.shape[1] > 99 else table


def _ends_with_newline(path: Path) -> bool:
    """All tables written here do; without it, the last number may have lost digits."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read() == b"\n"


def read_npy(path: Path, made_by: str) -> np.ndarray:
    """Open an array that the stage `made_by` writes, memory-mapped."""
    require(path, made_by)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # numpy raises many kinds for damaged files
        array = None
    if not isinstance(array, np.ndarray):
        raise damaged(path, "is not the array it should be", made_by)
    return array


def read_npz(path: Path, made_by: str, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read the arrays `names` of an .npz that the stage `made_by` writes, and those of `optional` that it has."""
    require(path, made_by)
    try:
        return load_npz(path, names, optional)
    except ValueError:
        raise damaged(path, "does not hold the arrays it should", made_by) from None


def load_npz(source: Path | IO[bytes], names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays `names` of an .npz, and those of `optional` that it has; large ones mapped (stages/base/large_arrays.py).

    Raises ValueError if it is damaged or lacks one, UserError where the disk has no room for a large one.
    """
    try:
        with np.load(source, allow_pickle=False) as arrays:
            wanted = [*names, *(name for name in optional if name in arrays)]
            is_large = {name: large_arrays.is_large(arrays.zip, name) for name in wanted}
            return {
                name: large_arrays.unpacked(arrays.zip, name) if is_large[name] else arrays[name] for name in wanted
            }
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
        raise ValueError(f"{type(error).__name__}: {error}") from None


def damaged(path: Path, problem: str, made_by: str) -> UserError:
    """What to say of a file whose content is not what the stage `made_by` writes."""
    return UserError(f"{path}: {problem}; run {_command(made_by)} to write it again")


def require(path: Path, made_by: str) -> None:
    """Raise UserError if a file that the stage `made_by` writes is absent."""
    if not path.is_file():
        raise UserError(f"{path}: not found; run {_command(made_by)} first")


def _command(made_by: str) -> str:
    return f"`maskcli {made_by}`{'' if made_by in BY_HAND else ' (or `dvc repro`)'}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
