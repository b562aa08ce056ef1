"""Claims on a bare git repository: one holder each, whoever pushes at the same moment; readable, and released."""

import json
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import claims, git
from stages.base.errors import UserError
from tests import histories
from tests.by_hand.unclaimable import push_claim, two_clones
from tests.conftest import ENVIRONMENT, ROOT


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_clones(tmp_path_factory.mktemp("cloned"))


@pytest.fixture
def ann(cloned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ann's project, as the working folder; Bob's lies in bob/photos."""
    shutil.copytree(cloned, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "ann/photos")
    return tmp_path / "ann/photos"


@pytest.fixture
def bob(ann: Path) -> Path:
    return ann.parent.parent / "bob/photos"


def names() -> list[str]:
    return [one.name for one in claims.listed("origin")]


def test_the_first_holds_it_and_everybody_reads_who_where_and_since_when(
    ann: Path, bob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert claims.claim("origin", "focal", "HEAD") is None
    monkeypatch.chdir(bob)
    holder = claims.claim("origin", "focal", "HEAD")
    assert holder is not None
    assert (holder.who, holder.host) == ("ann", socket.gethostname())
    assert before <= holder.when <= datetime.now(UTC)
    assert claims.claim("origin", "ldam", "HEAD") is None
    assert [(one.name, one.holder.who) for one in claims.listed("origin")] == [("focal", "ann"), ("ldam", "bob")]


def test_a_folder_knows_its_own_claims_again_and_a_copy_of_it_does_not(
    ann: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # the second time as after a crash
        assert claims.claim("origin", "focal", "HEAD") is None
    assert names() == ["focal"]
    subprocess.run(["cp", "-r", tmp_path / "ann", tmp_path / "copy"], check=True)
    monkeypatch.chdir(tmp_path / "copy/photos")
    assert claims.claim("origin", "focal", "HEAD") is not None


RACE = """
import random, sys
from stages.base import claims
for number in random.sample(range(8), 8):
    if claims.claim("origin", f"n{number}", "HEAD") is None:
        print(number, flush=True)
"""


def test_of_two_processes_that_claim_at_once_each_experiment_has_one(ann: Path, bob: Path) -> None:
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", RACE],
            cwd=folder,
            env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in (ann, bob)
    ]
    of_ann, of_bob = (set(process.communicate()[0].split()) for process in racing)
    assert [process.returncode for process in racing] == [0, 0]
    assert of_ann | of_bob == set("01234567")
    assert not of_ann & of_bob
    told = {one.name[1:]: one.holder.who for one in claims.listed("origin")}
    assert told == {number: "ann" if number in of_ann else "bob" for number in "01234567"}


def test_a_push_that_another_one_overtakes_is_tried_again(ann: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the other one's lock lies on the ref at that moment, and the ref is not there yet."""
    real, tried = claims._pushed, []

    def locked(*words: str, **more: str) -> str:
        tried.append(words)
        return "cannot lock ref" if len(tried) == 1 else real(*words, **more)

    monkeypatch.setattr(claims, "_pushed", locked)
    assert claims.claim("origin", "focal", "HEAD") is None
    assert len(tried) == 2


def test_a_connection_that_is_cut_after_the_push_leaves_the_claim_ours(
    ann: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = claims._pushed
    monkeypatch.setattr(claims, "_pushed", lambda *words, **more: real(*words, **more) or "the remote end hung up")
    monkeypatch.setattr(claims, "clone", lambda: "")  # it is told by the push, not by the clone
    assert claims.claim("origin", "focal", "HEAD") is None
    assert claims.claim("origin", "focal", "HEAD") is None
    assert names() == ["focal"]


def test_a_released_claim_is_free_and_another_ones_new_claim_is_not_released(
    ann: Path, bob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims.claim("origin", "focal", "HEAD")
    (of_ann,) = claims.listed("origin")
    claims.release("origin", of_ann)
    assert names() == []
    claims.release("origin", of_ann)  # is no error
    monkeypatch.chdir(bob)
    assert claims.claim("origin", "focal", "HEAD") is None
    claims.release("origin", of_ann)
    assert names() == ["focal"]


def test_a_claim_is_of_what_it_starts_from_not_of_one_commit(
    ann: Path, bob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims.claim("origin", "focal", "HEAD")
    monkeypatch.chdir(bob)
    (bob / "README.md").write_text("other words\n")
    (bob / "dvc.lock").write_text("results\n")
    histories.commit(bob, "results and words")
    assert claims.claim("origin", "focal", "HEAD") is not None
    (bob / "params.yaml").write_text("folds: [0, 1, 2]\n")
    histories.commit(bob, "more folds")
    assert claims.claim("origin", "focal", "HEAD") is None
    assert names() == ["focal", "focal"]


def test_no_ref_and_no_branch_comes_of_a_claim_here(ann: Path) -> None:
    before = git.ask("for-each-ref")
    claims.claim("origin", "focal", "HEAD")
    assert git.ask("for-each-ref") == before
    assert git.ask("status", "--porcelain") == b""


def test_the_hook_that_dvc_install_sets_is_not_run(ann: Path) -> None:
    hook = ann.parent / ".git/hooks/pre-push"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert claims.claim("origin", "focal", "HEAD") is None


def test_who_has_no_name_for_git_claims_all_the_same(ann: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    histories.git(ann, "config", "user.useConfigOnly", "true")
    histories.git(ann, "config", "--unset", "user.name")
    monkeypatch.setattr(git.getpass, "getuser", lambda: "carol")
    assert claims.claim("origin", "focal", "HEAD") is None
    assert claims.listed("origin")[0].holder.who == "carol"


def test_what_others_wrote_moves_no_cursor(ann: Path) -> None:
    said = {"who": "b\x1b[2Job", "host": "a\nb", "when": "2026-03-01T09:45:00+00:00", "clone": "x"}
    push_claim("focal", json.dumps(said))
    (one,) = claims.listed("origin")
    assert (one.holder.who, one.holder.host) == ("b[2Job", "ab")


def test_a_name_is_made_of_what_changes_whatever_the_order() -> None:
    assert claims.experiment_name({"loss": "focal"}) == "loss=focal"
    assert claims.experiment_name({"train.epochs": 3, "loss": "focal"}) == "loss=focal+train.epochs=3"
    assert claims.experiment_name({"lr": 0.001, "data.group_duplicates": True}) == "data.group_duplicates=true+lr=0.001"
    long = {f"key{number}": number for number in range(20)}
    assert claims.experiment_name(long) != claims.experiment_name(long | {"key19": 0})
    assert len(claims.experiment_name(long)) == claims.LONGEST
    assert claims.experiment_name({"a": "x/y"}) != claims.experiment_name({"a": "x y"})


values = st.one_of(
    st.text(max_size=80), st.integers(), st.floats(), st.lists(st.text(max_size=5), max_size=3), st.none()
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=20), values, max_size=4))
def test_every_name_that_is_made_is_one_that_git_takes(changes: dict[str, object]) -> None:
    """The rules of git-check-ref-format, without a process for each."""
    name = claims.experiment_name(changes)
    assert claims.CLAIM.fullmatch(f"{claims.WHERE}/0a/{name}")
    assert not set(name) & set(" ~^:?*[\\@")
    assert ".." not in name
    assert not name.startswith((".", "-"))
    assert not name.endswith((".", ".lock"))
    assert name.isascii()
    assert name.isprintable()


def test_names_that_cannot_be_are_told(ann: Path) -> None:
    for name in ("", "a b", "a..b", "a/b", "x.lock"):
        with pytest.raises(UserError, match="no name of an experiment"):
            claims.claim("origin", name, "HEAD")
