"""Writing files whole or not at all: write beside, then rename."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.errors import UserError


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on any error it is removed.

    The rename is atomic within one file system, so a reader sees the old file or the new one, never half of one.
    durable: also after a power loss; the content is on the disk before the name is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot make this folder ({error.strerror}); check its permissions") from error
    # The suffix stays last: writers such as numpy.save and imwrite choose their format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        if durable:
            _flush(temporary)
        temporary.replace(path)
        if durable and os.name == "posix":
            _flush(path.parent)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); free disk space or check permissions, then rerun"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's table of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as UTF-8 CSV without its index, floats with 6 significant digits."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, with a closing newline; NaN becomes null, since JSON has no NaN."""
    text = json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as a compressed .npz."""
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def read_json(path: Path, made_by: str) -> Any:
    """Read JSON that the stage `made_by` writes."""
    require(path, made_by)
    return json.loads(path.read_text(encoding="utf-8"))


def read_csv(path: Path, made_by: str, **options: Any) -> pd.DataFrame:
    """Read a CSV that the stage `made_by` writes."""
    require(path, made_by)
    return pd.read_csv(path, **options)


def require(path: Path, made_by: str) -> None:
    """Raise UserError if a file that the stage `made_by` writes is absent."""
    if not path.exists():
        raise UserError(f"{path}: not found; run `maskcli {made_by}` (or `dvc repro`) first")


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
