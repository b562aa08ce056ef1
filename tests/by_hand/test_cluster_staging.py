"""How an experiment's clone is made like the project; tests/by_hand/test_cluster.py has what is trained in it."""

import os
from pathlib import Path

from stages.by_hand import cluster_staging
from tests.conftest import command


def test_a_clone_takes_the_name_of_who_commits_also_where_it_is_not_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"Jos\xe9")
    for folder in (Path(), tmp_path / "clone"):
        folder.mkdir(exist_ok=True)
        command(folder, "git", "init", "-q")
    command(Path(), "git", "config", "user.name", name)
    cluster_staging._sign_alike(tmp_path / "clone")
    assert os.fsencode(name) in (tmp_path / "clone/.git/config").read_bytes()


def test_somebody_without_a_name_has_one_in_a_clone_where_dvc_wants_it_once_all_is_trained(tmp_path: Path) -> None:
    command(Path(), "git", "init", "-q")
    command(Path(), "git", "config", "user.useConfigOnly", "true")
    (tmp_path / "clone").mkdir()
    command(tmp_path / "clone", "git", "init", "-q")
    cluster_staging._sign_alike(tmp_path / "clone")
    assert command(tmp_path / "clone", "git", "config", "--local", "user.name").stdout.strip()
    assert "maskcli@" in command(tmp_path / "clone", "git", "config", "--local", "user.email").stdout
