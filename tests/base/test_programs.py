import os
import sys
import sysconfig
from pathlib import Path

import pytest

from stages.base import programs
from stages.base.errors import UserError


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "1 file\nERROR: failed to pull data from the cloud - Checkout failed for:\ndata\n",
            "failed to pull data from the cloud - Checkout failed for: data",
        ),
        (
            "Running stage 'lr-find':\nmaskcli: out/x: is not there; mend it\nERROR: failed to reproduce 'lr-find'\n",
            "out/x: is not there; mend it",
        ),
        ("warning: x\nfatal: repository 'x' does not exist\n", "repository 'x' does not exist"),
        ("Traceback\nValueError: 3\n", "ValueError: 3"),
        ("\n", "ended with code 7"),
    ],
)
def test_why_a_program_failed_is_one_line_in_its_own_words(said: str, reason: str) -> None:
    assert programs.reason(said, 7) == reason


def test_a_program_is_run_in_a_folder_and_one_that_fails_or_is_missing_is_told(tmp_path: Path) -> None:
    where = [sys.executable, "-c", "import os; print(os.getcwd())"]
    assert programs.run(where, tmp_path).strip() == str(tmp_path.resolve())
    with pytest.raises(UserError, match=r"^no photos: that is all$"):
        programs.run([sys.executable, "-c", "raise SystemExit('that is all')"], tmp_path, "no photos")
    with pytest.raises(UserError, match=r"^nothing here: nothing-of-this-name is not found on PATH; install it$"):
        programs.run(["nothing-of-this-name"], tmp_path, "nothing here")


def test_maskcli_is_found_where_pip_has_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, own = tmp_path / "beside", tmp_path / "own"  # `pip install --user` leaves nothing beside Python
    for folder in (beside, own):
        folder.mkdir()
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(beside))
    monkeypatch.setenv("PATH", str(own))
    name = "maskcli.exe" if os.name == "nt" else "maskcli"
    for folder in (own, beside):
        (folder / name).touch(0o755)
        assert Path(programs.maskcli()).parent == folder


def test_what_python_prints_is_read_whatever_the_code_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    assert programs.run([sys.executable, "-c", "print('é 마스크')"], tmp_path) == "é 마스크\n"


def test_a_name_that_is_no_utf_8_is_read_as_it_is(tmp_path: Path) -> None:
    printing = "import os; print(os.fsdecode(b'Jos\\xe9'))"
    assert programs.run([sys.executable, "-c", printing], tmp_path) == "Jos\udce9\n"
