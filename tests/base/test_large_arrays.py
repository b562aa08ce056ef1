"""Large arrays come out as small ones do, byte for byte, and are not held in memory."""

import mmap
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.base import large_arrays
from stages.base.errors import UserError
from stages.base.files import load_npz, write_csv, write_csv_in_parts, write_npz
from tests.conftest import ROOT

ARRAYS = {
    "numbers": np.arange(60_000, dtype=np.float32).reshape(2, 10_000, 3),
    "text": np.array([f"é{number}" for number in range(9000)]),
    "few": np.array(7),
}


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_arrays, "LARGE", 1000)
    monkeypatch.setattr(large_arrays, "PIECE", 4096)
    monkeypatch.setattr(large_arrays, "BLOCK", 100)


def owner(array: Any) -> type:
    """Of what holds an array's memory."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return type(array.obj) if isinstance(array, memoryview) else type(array)


@pytest.mark.usefixtures("all_large")
def test_a_large_array_is_read_as_it_was_written_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    write_npz(tmp_path / "a.npz", **ARRAYS)
    found = load_npz(tmp_path / "a.npz", list(ARRAYS))
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert [owner(found[name]) is mmap.mmap for name in ARRAYS] == [True, True, False]
    assert list((tmp_path / "out").iterdir()) == []
    write_npz(tmp_path / "b.npz", **found)
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("damage", ["cut", "flip", "objects"])
def test_a_damaged_large_array_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, numbers=ARRAYS["numbers"])
    content = bytearray(path.read_bytes())
    if damage == "objects":
        np.savez(path, numbers=np.array([{}] * 1000, dtype=object))
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:  # a whole archive of half an array
            archive.writestr("numbers.npy", bytes(content[39:100_000]))
    with pytest.raises(ValueError, match=r"\w"):
        load_npz(path, ["numbers"])


@pytest.mark.usefixtures("all_large")
def test_a_disk_without_room_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*values: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(large_arrays, "reserve", full)
    with pytest.raises(UserError, match=r"has no room for 0\.0 GB of numbers that are worked on \(No space left"):
        large_arrays.room((1000,), np.int64)


@pytest.mark.parametrize("rows", [0, 1, 33, 34, 1000])
def test_blocks_are_all_rows_once_in_order(all_large: None, rows: int) -> None:
    array = np.arange(rows * 3).reshape(rows, 3)
    assert np.array_equal(large_arrays.by_rows(lambda which: array[which].sum(1), rows, 3), array.sum(1))
    picked = np.arange(rows)[::-2]
    assert np.array_equal(large_arrays.taken(array, picked), array[picked])


@pytest.mark.usefixtures("all_large")
def test_a_table_in_parts_has_the_bytes_of_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = 10 ** rng.uniform(-300, 300, 500) * rng.choice([-1, 1], 500)
    numbers[[3, 77, 78, 200, 201]] = np.nan, np.inf, -np.inf, 0.0, -0.0
    names = [f"ü,{n}" for n in range(500)]
    names[5:9] = 'said "so"', "two\nlines", "", " "
    table = pd.DataFrame({"photo": names, "label": np.arange(500), "p0": rng.random(500, np.float32), "p1": numbers})
    table["p2"] = np.float32(1e-7) * table["p0"]
    table["person"] = pd.Series(names).where(np.arange(500) % 7 > 0)
    write_csv(tmp_path / "whole.csv", table)
    write_csv_in_parts(tmp_path / "parts.csv", (table.iloc[which] for which in large_arrays.blocks(500, 2)))
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (large_arrays.text(table["photo"]) == table["photo"].to_numpy(str)).all()


HELD = """
import resource, sys
import numpy as np
from pathlib import Path
from stages.base import large_arrays
from stages.base.files import load_npz
def anonymous():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024
before = anonymous()
found = load_npz(Path(sys.argv[1]), ["a"])["a"]
found.sum()
print(anonymous() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_what_is_read_is_not_held_in_memory(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.ones(2**29, np.uint8))
    words = [sys.executable, "-c", HELD, str(tmp_path / "a.npz")]
    done = subprocess.run(
        words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2**26
