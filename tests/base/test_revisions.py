"""Whatever a person calls a revision, wherever the project lies in the repository, and wherever its files are kept."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.base import git, paths, revisions
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.by_hand import plots
from tests import histories
from tests.conftest import maskcli


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = histories.two_commits(tmp_path / "history")
    monkeypatch.chdir(folder)
    return folder


def test_a_revision_may_be_a_commit_a_branch_a_tag_or_an_experiment(history: Path) -> None:
    histories.git(history, "tag", "-a", "-m", "first", "v1", "HEAD~1")
    histories.git(history, "branch", "side", "HEAD~1")
    first = histories.git(history, "rev-parse", "HEAD~1")
    for name in ("HEAD~1", "v1", "side", "heads/side", "main~1", first, first[:7]):
        assert git.resolve(name) == first, name
        assert revisions.read(name, paths.OOF_ARRAYS) == histories.oof(1), name
    histories.write_results(history, histories.oof(9), loss="f1")
    histories.experiment(history, "only-one", day=5)
    assert revisions.read("only-one", paths.OOF_ARRAYS) == histories.oof(9)
    assert revisions.read("only-one", paths.PARAMS) == b"loss: f1\n"
    histories.git(history, "checkout", "-q", "--detach", "HEAD~1")
    assert git.resolve("HEAD") == first


def test_a_name_that_stands_twice_for_one_commit_is_no_question(history: Path) -> None:
    histories.git(history, "branch", "v1")
    histories.git(history, "tag", "v1")
    assert git.resolve("v1") == git.resolve("HEAD")


def test_an_abbreviation_of_several_commits_asks_for_more_digits(history: Path) -> None:
    found: dict[str, str] = {}
    for number in range(2000):  # a commit object needs no more than a text
        text = f"tree {histories.git(history, 'rev-parse', 'HEAD^{tree}')}\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n"
        made = _write_commit(history, f"{text}\n{number}\n")
        if made[:4] in found:
            break
        found[made[:4]] = made
    with pytest.raises(UserError, match=rf"^{made[:4]}: several commits begin so: .*{made[:7]}.*; give more digits"):
        git.resolve(made[:4])


def _write_commit(folder: Path, content: str) -> str:
    words = ("git", "hash-object", "-t", "commit", "-w", "--stdin")
    return subprocess.run(words, cwd=folder, input=content, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("own", [True, False], ids=[".dvc beside params.yaml", ".dvc at the top of the repository"])
def test_a_project_may_lie_in_a_sub_folder_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    folder = tmp_path / "repository/team/photos"
    folder.mkdir(parents=True)
    histories.git(tmp_path / "repository", "init", "-q")
    histories.lay_dvc(folder if own else tmp_path / "repository")
    (folder / ".gitignore").write_text(histories.IGNORED)
    histories.commit(folder, "empty")
    cache = None if own else tmp_path / "repository/.dvc/cache"
    for day in (1, 2):
        histories.write_results(folder, histories.oof(day), cache=cache, loss=f"loss{day}")
        histories.commit(folder, "results", day)
    monkeypatch.chdir(folder)
    assert revisions.read("HEAD~1", paths.PARAMS) == b"loss: loss1\n"
    assert revisions.read("HEAD~1", paths.OOF_ARRAYS) == histories.oof(1)
    with pytest.raises(UserError, match=r"^HEAD~2: holds no results in team/photos/; after `dvc repro` commit them"):
        revisions.read("HEAD~2", paths.OOF_ARRAYS)


def test_remotes_are_those_of_the_workspace_not_of_the_revision(history: Path, tmp_path: Path) -> None:
    """`dvc remote add` after the commit, not yet committed; the second of two remotes has the file, and none is the default."""
    (tmp_path / "empty").mkdir()
    shutil.move(history / ".dvc/cache", tmp_path / "store")
    config = history / ".dvc/config"
    config.write_text(
        f"{config.read_text()}['remote \"empty\"']\n    url = {tmp_path}/empty\n"
        f"['remote \"team\"']\n    url = {tmp_path}/store\n"
    )
    assert revisions.read("HEAD~1", paths.OOF_ARRAYS) == histories.oof(1)
    shutil.rmtree(tmp_path / "store/files/md5")
    with pytest.raises(
        UserError, match=r"^HEAD: .*oof.npz is neither in the DVC cache nor in a remote \(empty, team\); "
    ):
        revisions.read("HEAD", paths.OOF_ARRAYS)


def test_a_remote_that_cannot_be_asked_says_why_and_the_next_is_tried(history: Path) -> None:
    shutil.rmtree(history / ".dvc/cache")
    config = history / ".dvc/config"
    config.write_text(
        f"{config.read_text()}    remote = team\n['remote \"backup\"']\n    url = {history}/empty\n"
        f"['remote \"team\"']\n    url = {history}/params.yaml\n"
    )
    with pytest.raises(
        UserError, match=r"nor in a remote \(team: .*params.yaml.*, backup\); run `dvc push --all-commits`"
    ):
        revisions.read("HEAD", paths.OOF_ARRAYS)


def test_without_git_or_a_repository_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match=r"^this folder is no git repository, .*; run `git init`$"):
        revisions.read("HEAD", paths.OOF_ARRAYS)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"^git: not found on PATH"):
        revisions.read("HEAD", paths.OOF_ARRAYS)


def test_a_repository_of_somebody_else_is_told_with_what_git_asks_for(
    history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    monkeypatch.setenv("HOME", str(history))
    line = f"{history}: belongs to another user, .*; if you trust it, run `git config --global --add safe.directory {history}`"
    reading: tuple[Callable[[], object], ...] = (
        lambda: revisions.read("HEAD", paths.OOF_ARRAYS),
        lambda: plots.run(SILENT, ["HEAD"]),
    )
    for read in reading:
        with pytest.raises(UserError, match=f"^{line}$"):
            read()


def test_every_command_that_takes_revisions_says_the_same_of_a_wrong_one(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("compare", "HEAD"), ("blend", "HEAD"), ("report", "HEAD"), ("plots", "HEAD")):
        code, _, err = maskcli(monkeypatch, capsys, *words, "smooth")
        assert code == 2, err
        assert err[-1].startswith("maskcli: smooth: stands for 2 commits: the experiment of "), words
