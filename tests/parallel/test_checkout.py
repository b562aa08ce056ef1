"""A checkout on another machine, here another folder: with real git, and real DVC with a folder as its remote."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from stages.base import dvc_cache, git, paths
from stages.base.errors import UserError
from stages.by_hand import cluster_experiments
from stages.by_hand.cluster_experiments import Experiment
from stages.by_hand.cluster_sending import Sender
from stages.by_hand.cluster_staging import Staged
from stages.parallel.checkout import Checkout
from stages.records.run_record import Record
from tests.conftest import command, lay_out_in_sub_folder

WORKSPACE = "the workspace"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A project in a sub-folder of a git repository, committed, its photos pushed to a folder; lr-find has run."""
    top = tmp_path_factory.mktemp("head")
    folder = lay_out_in_sub_folder(top, prepared)
    command(folder, "git", "add", "-A", str(top))
    command(folder, "git", "commit", "-qm", "first")
    command(folder, "dvc", "push", "-q")
    command(folder, "dvc", "repro", "-q", "lr-find")
    return folder


@pytest.fixture
def sent(head: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Checkout]:
    """What the head sends of its workspace."""
    monkeypatch.chdir(head)

    def make(remote: str = "", dirty: bool = False) -> Checkout:
        made = Sender(remote).checkout(Staged("", Path.cwd()), dirty)
        found = pickle.loads(pickle.dumps(made))
        assert isinstance(found, Checkout)
        return found

    return make


@pytest.mark.slow
def test_another_machine_gets_the_project_as_the_head_has_it_and_makes_it_once(
    head: Path, sent: Callable[..., Checkout], tmp_path: Path
) -> None:
    said: list[str] = []
    checkout = sent()
    made = checkout.made(tmp_path / "node", said.append)
    assert made == tmp_path / "node" / checkout.key / "sub"
    assert said[0].startswith("makes the checkout")
    assert said[1:] == ["dvc pull data.dvc", "prepares the photos"]
    for name in (
        *checkout.prepared,
        "out/prepare/pixels.npy",
        "out/kfold/folds.csv",
        "out/lr-find/lr.json",
        "params.yaml",
    ):
        assert (made / name).read_bytes() == (head / name).read_bytes(), name
    assert not (made / ".git/sent.bundle").exists()
    assert command(made, "git", "rev-parse", "HEAD").stdout == command(head, "git", "rev-parse", "HEAD").stdout
    assert not (made / "dvc.lock").exists(), "DVC writes on the head alone"
    assert checkout.made(tmp_path / "node", said.append) == made
    assert len(said) == 3


@pytest.mark.slow
def test_experiments_on_one_machine_share_what_prepare_made_and_it_needs_no_photos_again(
    head: Path, sent: Callable[..., Checkout], tmp_path: Path
) -> None:
    said: list[str] = []
    first = sent()
    one = first.made(tmp_path / "node", said.append)
    params = head / paths.PARAMS
    before = params.read_bytes()
    try:
        params.write_bytes(cluster_experiments.changed(before, ["loss=focal"]))
        second = sent()
    finally:
        params.write_bytes(before)
    assert second.key != first.key
    assert second.record.run != first.record.run
    del said[:]
    two = second.made(tmp_path / "node", said.append)
    assert len(said) == 1, said
    assert (one / paths.PIXELS).samefile(two / paths.PIXELS)
    assert yaml.safe_load((two / paths.PARAMS).read_text())["loss"] == "focal"


@pytest.mark.slow
def test_on_a_shared_disk_the_head_makes_it_from_its_own_cache_and_no_machine_needs_a_remote(
    head: Path, sent: Callable[..., Checkout], tmp_path: Path
) -> None:
    said: list[str] = []
    cache = dvc_cache.folder()
    (head.parent / "store").rename(head.parent / "away")
    try:
        made = sent().made(tmp_path / "shared", said.append, cache)
    finally:
        (head.parent / "away").rename(head.parent / "store")
    assert not any("dvc pull" in line for line in said)
    assert not any(path.is_symlink() for path in (made / "data").rglob("*")), (
        "into a cache that other machines do not see"
    )


@pytest.mark.slow
def test_a_machine_that_would_train_another_run_is_refused_before_it_trains(
    sent: Callable[..., Checkout], tmp_path: Path
) -> None:
    checkout = sent()
    other = Record.model_validate(
        checkout.record.model_dump() | {"run": "0", "setting": {**checkout.record.setting, "torch": "9.9"}}
    )
    with pytest.raises(
        UserError, match=r"^would train another run than the head asks for: torch: .* \(head: 9.9\); have both"
    ):
        replace(checkout, record=other).made(tmp_path / "node", lambda line: None)
    assert [path.name for path in (tmp_path / "node").iterdir() if path.name.startswith(checkout.key)] == [
        f"{checkout.key}.lock"
    ]
    photos = replace(checkout, prepared={**checkout.prepared, "out/prepare/photos.csv": "0"})
    with pytest.raises(
        UserError, match=r"^out/prepare/photos.csv: is not what prepare made on the head: other photos, labels"
    ):
        photos.made(tmp_path / "node", lambda line: None)


@pytest.mark.slow
def test_photos_that_no_remote_has_are_told_in_one_line(
    head: Path, sent: Callable[..., Checkout], tmp_path: Path
) -> None:
    (head.parent / "store").rename(head.parent / "away")
    try:
        with pytest.raises(
            UserError,
            match=r"^data\.dvc: `dvc pull` does not get it here \(`dvc push` on the head sends it\): failed to pull",
        ):
            sent().made(tmp_path / "node", lambda line: None)
    finally:
        (head.parent / "away").rename(head.parent / "store")


@pytest.mark.slow
def test_from_a_git_remote_only_what_it_lacks_is_sent(
    head: Path, sent: Callable[..., Checkout], tmp_path: Path
) -> None:
    bare = tmp_path / "bare.git"
    command(head, "git", "clone", "-q", "--bare", str(head.parent), str(bare))
    command(head, "git", "remote", "add", "team", str(bare))
    command(head, "git", "fetch", "-q", "team")
    own = head / "mine.txt"
    try:
        assert (sent("team").url, sent("team").bundle) == (str(bare), b"")
        own.write_text("not committed")
        dirty = sent("team", dirty=True)
        assert 0 < len(dirty.bundle) < len(sent(dirty=True).bundle)
        made = dirty.made(tmp_path / "node", lambda line: None)
        assert (made / "mine.txt").read_text() == "not committed"
        bare.rename(tmp_path / "gone.git")
        with pytest.raises(
            UserError,
            match=rf"^revision {dirty.revision[:7]} cannot be had here: .*does not appear to be a git repository",
        ):
            replace(dirty, url=str(bare)).made(tmp_path / "other", lambda line: None)
    finally:
        own.unlink(missing_ok=True)
        command(head, "git", "remote", "remove", "team")


def test_a_revision_that_is_not_sent_and_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    checkout = Checkout("key", "0" * 40, "", b"", ".", {}, (), (), {}, False, Record())
    with pytest.raises(UserError, match=r"^revision 0000000 cannot be had here: "):
        checkout.made(tmp_path / "node", lambda line: None)
    assert [path.name for path in (tmp_path / "node").iterdir()] == ["key.lock"]


@pytest.mark.slow
def test_an_experiment_is_sent_as_its_base_where_only_params_differ_and_as_its_own_commit_elsewhere(
    head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(head)
    base, own = git.resolve("HEAD"), head / "mine.txt"
    written = cluster_experiments.snapshot(everything=False)
    try:
        own.write_text("not committed")
        dirty = cluster_experiments.snapshot(everything=True)
    finally:
        own.unlink()

    def revision(tree: str) -> str:
        experiment = Experiment("focal", base, tree, b"")
        return Sender()._revision(Staged("focal", head, experiment), False)

    assert written != base, "lr.json is not committed"
    assert revision(written) == base
    assert revision(dirty) == dirty
