import os
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.base import files, host
from stages.base.errors import UserError
from stages.base.files import read_csv, read_json, read_npy, read_npz, replacing, write_csv, write_json, write_npz


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")

    def broken() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"a\.csv: cannot be written \(No space left on device\); free disk space"):
        broken()
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("a.csv", "old")]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "made"
    (tmp_path / f".made.{host.place()}.{2**22 + 1}.0123abcd.tmp").mkdir()  # of a process that no system has

    def write(text: str, error: BaseException | None = None) -> None:
        with files.replacing_folder(path) as temporary:
            (temporary / text).write_text(text)
            if error:
                raise error

    def found() -> list[str]:
        return sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*"))

    write("first")
    assert found() == ["made", "made/first"]
    write("second")
    assert found() == ["made", "made/second"]
    with pytest.raises(UserError, match=r"made: cannot be written \(No space left on device\)"):
        write("third", OSError(28, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        write("third", KeyboardInterrupt())
    assert found() == ["made", "made/second"]

    rename = Path.replace

    def refuse(one: Path, other: Path) -> Path:
        if one.suffix == ".tmp":
            raise PermissionError(13, "Permission denied")
        return rename(one, other)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        write("third")
    assert found() == ["made", "made/second"]


@pytest.mark.parametrize("patience", [0.0, 2.0])
def test_a_rename_waits_for_readers_where_the_system_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """On Windows a file that is open elsewhere cannot be replaced; elsewhere a refusal is final."""
    rename, tries = Path.replace, []

    def refused_twice(self: Path, target: Path) -> Path:
        tries.append(target)
        if len(tries) < 3:
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refused_twice)
    monkeypatch.setattr(files, "RENAME_PATIENCE", patience)
    path = tmp_path / "a.txt"
    if patience:
        with replacing(path) as temporary:
            temporary.write_text("new")
        assert (path.read_text(), len(tries)) == ("new", 3)
    else:
        with pytest.raises(UserError, match="Permission denied"), replacing(path) as temporary:
            temporary.write_text("new")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="file modes")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_every_writer_leaves_the_mode_that_the_umask_gives(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_csv(tmp_path / "a.csv", pd.DataFrame({"a": [1]}))
        write_json(tmp_path / "a.json", {})
        write_npz(tmp_path / "a.npz", a=np.ones(1))
        with replacing(tmp_path / "deep/a.safetensors") as temporary:
            safetensors.numpy.save_file({"a": np.ones(1)}, temporary)
        with replacing(tmp_path / "private.txt") as temporary:  # as safetensors does: another file in its place
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT, 0o600))
    finally:
        os.umask(before)
    found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    names = {"a.csv", "a.json", "a.npz", "a.safetensors", "private.txt"}
    assert found == dict.fromkeys(names, 0o666 & ~umask) | {"deep": 0o777 & ~umask}


def test_an_npz_holds_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"a": np.arange(1000), "b": np.array(["x", "é"])}
    write_npz(tmp_path / "1.npz", **arrays)
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    write_npz(tmp_path / "2.npz", **arrays)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_text_is_text_and_empty_numbers_are_missing(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", pd.DataFrame({"name": ["NA", "007", ""], "age": [1, 2, 3]}))
    table = read_csv(tmp_path / "a.csv", "prepare", {"name": str, "age": int})
    assert table["name"].tolist() == ["NA", "007", ""]
    write_csv(tmp_path / "b.csv", pd.DataFrame({"loss": [0.5, np.nan]}))
    assert read_csv(tmp_path / "b.csv", "train", {"loss": float})["loss"].isna().tolist() == [False, True]


def test_a_column_can_be_added_to_a_table_of_many_columns_without_a_warning(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", pd.DataFrame(np.zeros((2, 300)), columns=[f"f1_{number}" for number in range(300)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pandas' of performance, which a person would see
        read_csv(tmp_path / "a.csv", "train", {"f1_0": float}).assign(fold=0)


def refusal(read: Callable[[], object]) -> str:
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("examples", [pytest.param(60), pytest.param(2000, marks=pytest.mark.slow)])
def test_a_file_with_any_byte_changed_or_cut_is_read_or_refused(tmp_path: Path, examples: int) -> None:
    """Never another error, whatever the damage; what is cut off is always refused."""
    write_csv(tmp_path / "a.csv", pd.DataFrame({"name": ["x", "y"], "age": [10, 20]}))
    write_json(tmp_path / "a.json", {"lr": 0.003})
    write_npz(tmp_path / "a.npz", a=np.arange(50), b=np.ones((3, 2), np.float32))
    np.save(tmp_path / "a.npy", np.zeros((20, 3), np.uint8))
    readers = {
        "a.csv": lambda path: read_csv(path, "prepare", {"name": str, "age": int}),
        "a.json": lambda path: read_json(path, "lr-find", "lr"),
        "a.npz": lambda path: read_npz(path, "train --fold 0", ("a", "b")),
        "a.npy": lambda path: read_npy(path, "prepare"),
    }
    contents = {name: (tmp_path / name).read_bytes() for name in readers}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(list(readers)), st.integers(0), st.binary(min_size=1, max_size=4), st.booleans())
    def check(name: str, place: int, piece: bytes, cut: bool) -> None:
        content = contents[name]
        place %= len(content)
        path = tmp_path / f"changed {name}"
        path.write_bytes(content[:place] + (b"" if cut else piece + content[place + len(piece) :]))
        message = refusal(lambda: readers[name](path))
        if message:
            assert message.startswith(f"{path}: ")
            assert "run `maskcli " in message
        else:
            assert not cut or content[place:].strip(b"\n}") == b"" or (name == "a.csv" and content[place - 1] == 10)

    check()


def test_a_file_under_two_names_takes_no_room_and_each_name_keeps_its_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a/pixels.npy", tmp_path / "b/pixels.npy"
    first.parent.mkdir()
    first.write_bytes(b"before")
    files.link(first, second)
    assert first.samefile(second)
    with files.replacing(first) as temporary:
        temporary.write_bytes(b"after")
    assert second.read_bytes() == b"before"
    files.link(first, second)
    assert second.read_bytes() == b"after"
    assert [path.name for path in second.parent.iterdir()] == ["pixels.npy"]


def test_where_a_disk_has_no_second_names_a_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "a").write_bytes(b"content")
    files.link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"content"
    assert not (tmp_path / "a").samefile(tmp_path / "b")
