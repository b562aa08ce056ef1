"""`maskcli cluster run` with real git, DVC and processes, and on a real Ray cluster of two nodes on this machine."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from stages.base import git, paths
from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.by_hand import cluster, cluster_staging
from stages.by_hand.cluster import Asked, Found
from stages.by_hand.cluster_landing import Landed
from tests.conftest import command, lay_out, lay_out_in_sub_folder

# What a training and those who join it write and DVC keeps: the same bytes wherever it was trained.
SAME = (
    *("out/train/0/oof_logits.npz", "out/train/1/oof_logits.npz", "out/train/0/models", "out/train/1/models"),
    *("out/oof-ensemble/oof.csv", "out/oof-ensemble/oof.npz", "out/tta-predict/submission.csv"),
)


@dataclass(frozen=True)
class Trained:
    """A project in a sub-folder of a git repository after `dvc repro lr-find`, committed, photos pushed to a folder; `plain` is
    an experiment with focal, trained by DVC alone in so many seconds, on this machine as busy as it is."""

    folder: Path
    seconds: float


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Trained:
    top = tmp_path_factory.mktemp("trained")
    folder = lay_out_in_sub_folder(top, prepared)
    command(folder, "dvc", "repro", "-q", "lr-find")
    command(folder, "git", "add", "-A", str(top))
    command(folder, "git", "commit", "-qm", "first")
    command(folder, "dvc", "push", "-q", "data")
    began = time.monotonic()
    command(folder, "dvc", "exp", "run", "-q", "--temp", "-n", "plain", "-S", "loss=focal")
    return Trained(folder, time.monotonic() - began)


@pytest.fixture
def folder(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`trained` as the working folder, put back as it was afterwards."""
    there = trained.folder
    monkeypatch.chdir(there)
    experiments = command(there, "git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").stdout
    yield there
    command(there, "git", "checkout", "-q", "--force", ".")
    command(there, "git", "clean", "-q", "-d", "--force")
    command(there, "dvc", "checkout", "-q", "--force", "--allow-missing")
    for line in command(there, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split():
        if line not in experiments:
            command(there, "git", "update-ref", "-d", line)


def kept(folder: Path, revision: str) -> dict[str, str]:
    """Hashes of outputs as the dvc.lock of a revision has them."""
    lock = yaml.safe_load(command(folder, "git", "show", f"{revision}:./dvc.lock").stdout)
    outs = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
    return {name: outs[name] for name in SAME}


def workspace(folder: Path) -> dict[str, object]:
    """What nobody may touch while experiments are trained: git's state, and every file's size and time."""
    state = command(folder, "git", "status", "--porcelain").stdout, command(folder, "git", "rev-parse", "HEAD").stdout
    below = (
        path
        for path in folder.rglob("*")
        if path.is_file() and ".dvc" not in path.parts and "cluster" not in path.parts
    )
    return {"git": state} | {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in below}


@pytest.mark.slow
def test_a_grid_gives_what_dvc_gives_leaves_the_workspace_alone_and_is_not_trained_twice(folder: Path) -> None:
    before = workspace(folder)
    run = ("maskcli", "cluster", "run", "-S", "loss=focal,ldam", "--json")
    found = json.loads(command(folder, *run).stdout)
    assert [one["name"] for one in found["landed"]] == ["loss=focal", "loss=ldam"]
    assert workspace(folder) == before
    listed = command(folder, "dvc", "exp", "list", "--name-only").stdout.split()
    assert {"plain", "loss=focal", "loss=ldam"} <= set(listed)
    commits = {one["name"]: one["commit"] for one in found["landed"]}
    assert kept(folder, commits["loss=focal"]) == kept(folder, git.resolve("plain"))
    assert kept(folder, commits["loss=ldam"]) != kept(folder, git.resolve("plain"))
    assert "loss=focal" in command(folder, "dvc", "exp", "show", "--csv").stdout
    place = cluster_staging.place()
    assert [path for path in place.iterdir() if path.is_dir()] == []
    again = json.loads(command(folder, *run).stdout)
    assert again["landed"] == []
    assert list(again["left_out"]) == ["loss=focal", "loss=ldam"]
    command(folder, "dvc", "exp", "apply", "-q", "loss=focal")
    assert command(folder, "dvc", "status", "--json").stdout.strip() == "{}"


@pytest.mark.slow
def test_a_queue_is_trained_entry_by_entry_and_what_fails_stays_in_it(folder: Path) -> None:
    command(folder, "dvc", "exp", "run", "-q", "--queue", "-n", "good", "-S", "train.epochs=1")
    command(folder, "dvc", "exp", "run", "-q", "--queue", "-n", "bad", "-S", "lr=1e30", "-S", "optimizer.clip_grad=0")
    failed = command(folder, "maskcli", "cluster", "run", "--queued", code=2)
    assert "good: macro F1" in failed.stdout
    assert failed.stderr.splitlines()[-1].startswith("maskcli: bad: ")
    assert "1 done and kept" in failed.stderr.splitlines()[-1]
    waiting = command(folder, "dvc", "queue", "status").stdout
    assert "bad" in waiting
    assert "good" not in waiting
    assert "good" in command(folder, "dvc", "exp", "list", "--name-only").stdout.split()
    command(folder, "dvc", "queue", "remove", "-q", "--all")


@pytest.mark.slow
def test_the_workspace_is_trained_and_dvc_repro_has_nothing_left(folder: Path) -> None:
    paths.PARAMS.write_text(paths.PARAMS.read_text().replace("loss: ce", "loss: focal"))
    shown = command(folder, "maskcli", "cluster", "run")
    assert shown.stdout.startswith("the workspace: macro F1 ")
    assert "stage train@1" in shown.stderr
    assert command(folder, "dvc", "status", "--json").stdout.strip() == "{}"
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    outs = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
    assert {name: outs[name] for name in SAME} == kept(folder, git.resolve("plain"))


@pytest.mark.slow
def test_until_shortens_all_and_what_was_shortened_is_a_whole_experiment(folder: Path, trained: Trained) -> None:
    said: list[str] = []
    until = datetime.now().astimezone() + timedelta(seconds=max(45, 2 * trained.seconds))  # so that it surely begins
    found = cluster.run(Asked(changes=["train.epochs=5000"], name="short", until=until), Talk(say=said.append))
    assert found.problem() == ""
    (landed,) = found.landed
    assert landed.shortened
    command(folder, "dvc", "exp", "apply", "-q", "short")
    assert command(folder, "dvc", "status", "--json").stdout.strip() == "{}"
    assert json.loads(Path("out/train/0/metrics.json").read_text())["epochs"] < 5000


@pytest.mark.slow
def test_dirty_takes_along_what_is_not_committed_and_without_it_nothing_begins(folder: Path) -> None:
    own = folder / "mine.txt"
    own.write_text("mine")
    with pytest.raises(UserError, match=r"^mine\.txt: not committed, so no clone has it; commit, or add --dirty"):
        cluster.run(Asked(changes=["train.epochs=1"]), SILENT)
    found = cluster.run(Asked(changes=["train.epochs=1"], dirty=True), SILENT)
    (landed,) = found.landed
    assert command(folder, "git", "show", f"{landed.commit}:./mine.txt").stdout == "mine"
    assert own.read_text() == "mine"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a Ray cluster of two nodes on this machine, one core each."""
    pytest.importorskip("ray", reason="needs the extra `cluster`: pip install maskcli[cluster]")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = Cluster()
        try:
            for _ in range(2):
                nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False)
            yield nodes.address
        finally:
            nodes.shutdown()


@pytest.mark.slow
def test_on_a_cluster_of_two_nodes_the_bytes_are_those_of_this_machine(
    folder: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where nodes that were started so keep checkouts
    run = ("maskcli", "cluster", "run", "--address", address, "--shared", str(tmp_path / "shared"))
    found = json.loads(command(folder, *run, "-S", "loss=focal", "--json").stdout)
    (landed,) = found["landed"]
    assert kept(folder, landed["commit"]) == kept(folder, git.resolve("plain"))
    assert sorted(path.name for path in Path("out/cluster/logs").glob("*fold*")) == [
        "loss=focal-fold-0.log",
        "loss=focal-fold-1.log",
    ]


# What needs no training.


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A project in git and DVC, committed, nothing run; never written to."""
    folder = tmp_path_factory.mktemp("laid_out") / "project"
    lay_out(folder, prepared)
    command(folder, "git", "add", "-A")
    command(folder, "git", "commit", "-qm", "first")
    return folder


@pytest.fixture
def committed(laid_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `laid_out`, as the working folder."""
    folder = tmp_path / "committed"
    shutil.copytree(laid_out, folder, symlinks=True)
    command(folder, "git", "status", "--porcelain")
    monkeypatch.chdir(folder)
    return folder


def test_what_is_at_work_in_one_command_is_refused_by_a_second_and_by_name(committed: Path) -> None:
    line = r"^focal: another `maskcli cluster run` is at it \(process \d+\); wait for it, or stop it$"
    with cluster_staging.alone("focal"), pytest.raises(UserError, match=line):
        cluster.run(Asked(changes=["loss=focal"], name="focal"), SILENT)
    with cluster_staging.alone("focal"):
        pass


def test_the_name_of_another_experiment_is_refused_and_of_the_same_left_out(committed: Path) -> None:
    for words in (["checkout", "-q", "-b", "other"], ["commit", "-q", "--allow-empty", "-m", "an experiment"]):
        command(committed, "git", *words)
    head, made = git.resolve("HEAD^"), git.resolve("HEAD")
    command(committed, "git", "checkout", "-q", head)
    command(committed, "git", "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/mine", made)
    with pytest.raises(
        UserError, match=r"^mine: another experiment here is called so, with other params; name this one by"
    ):
        cluster.run(Asked(changes=["loss=focal"], name="mine"), SILENT)
    found = cluster.run(Asked(changes=["loss=ce"], name="mine"), SILENT)
    assert found.landed == []
    assert found.left_out == {"mine": "has run already; `dvc exp remove mine` first, to have it trained again"}


def test_experiments_that_another_clone_has_claimed_are_left_out(committed: Path, tmp_path: Path) -> None:
    bare, theirs = tmp_path / "bare.git", tmp_path / "theirs"
    command(tmp_path, "git", "clone", "-q", "--bare", str(committed), str(bare))
    command(tmp_path, "git", "clone", "-q", str(bare), str(theirs))
    command(committed, "git", "remote", "add", "origin", str(bare))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(theirs)
        from stages.base import claims

        assert claims.claim("origin", "loss=focal", git.resolve("HEAD")) is None
    found = cluster.run(Asked(changes=["loss=focal"], name="mine", claim="origin"), SILENT)
    assert found.landed == []
    assert found.left_out["mine"].startswith("is claimed by ")


def test_what_failed_is_one_line_with_what_is_kept() -> None:
    landed = Landed("good", "0", {"macro_f1": 0.5}, False)
    assert Found([landed]).problem() == ""
    assert Found([], {"": "it broke; mend it"}).problem() == "it broke; mend it"
    assert Found([landed], {"bad": "it broke"}).problem() == f"bad: it broke; 1 done and kept; {cluster.AGAIN}"
