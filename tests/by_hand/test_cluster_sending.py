"""Which files of DVC's another machine is told to get; tests/parallel/test_checkout.py has what it makes of them."""

from pathlib import Path

import pytest
import yaml

from stages.base import git
from stages.base.errors import UserError
from stages.by_hand import cluster_experiments, cluster_sending
from stages.by_hand.cluster_sending import Sender
from tests import histories
from tests.conftest import command


def test_files_of_dvc_are_named_as_they_are_also_beyond_ascii(tmp_path: Path) -> None:
    """git puts such names in quotes by itself, their bytes as numbers."""
    Path("params.yaml").write_text(yaml.safe_dump({"data": {"layout": "folder", "root": "사진/안"}}), encoding="utf-8")
    for name in ("사진.dvc", "weights/é.pth.dvc"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    command(tmp_path, "git", "init", "-q")
    command(tmp_path, "git", "add", "-A")
    assert cluster_sending.tracked() == (("사진.dvc",), ("weights/é.pth.dvc",))


def test_a_shallow_clone_has_no_history_to_send_and_other_machines_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = histories.lay(tmp_path / "origin")
    for name in ("first", "second"):
        histories.commit(origin, name)
    command(tmp_path, "git", "clone", "-q", "--depth", "1", f"file://{tmp_path}/origin", "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    with pytest.raises(UserError, match=r"^cluster run: this clone is shallow, .*`git fetch --unshallow`"):
        Sender()._bundle(git.resolve("HEAD"))
    assert Sender("origin")._bundle(git.resolve("HEAD")) == b""
    Path("more.txt").touch()
    assert Sender("origin")._bundle(cluster_experiments.snapshot(everything=True))  # in no branch
    command(Path(), "git", "fetch", "-q", "--unshallow")
    assert Sender()._bundle(git.resolve("HEAD"))
