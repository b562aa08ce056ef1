"""What `cluster run` is asked to train: names, grids in DVC's words, and the workspace as a commit. With real git."""

from pathlib import Path

import pytest
import yaml

from stages.base import claims, git, paths
from stages.base.errors import UserError
from stages.by_hand import cluster, cluster_experiments
from stages.by_hand.cluster_experiments import Experiment
from tests.conftest import command, small


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a sub-folder of a git repository, one commit, nothing in it but its params; the working folder."""
    folder = tmp_path / "repository/sub"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    paths.PARAMS.write_text(yaml.safe_dump(small().model_dump(mode="json"), sort_keys=False))
    Path(".gitignore").write_text("/out/*/*\n!/out/**/lr.json\n")
    for words in (["init", "-q"], ["config", "user.email", "a@example.org"], ["config", "user.name", "a"]):
        command(folder.parent, "git", *words)
    command(folder, "git", "add", "-A")
    command(folder, "git", "commit", "-qm", "first")
    return folder


def grid(*changes: str, name: str = "") -> list[Experiment]:
    head = git.resolve("HEAD")
    return cluster_experiments.of_grid(changes, name, head, head)


def test_a_grid_has_an_experiment_for_each_combination_with_a_name_that_says_it(repository: Path) -> None:
    found = grid("loss=focal,ldam", "train.epochs=range(3,6,2)")
    assert {one.name: (one.params.loss, one.params.train.epochs) for one in found} == {
        "loss=focal+train.epochs=3": ("focal", 3),
        "loss=focal+train.epochs=5": ("focal", 5),
        "loss=ldam+train.epochs=3": ("ldam", 3),
        "loss=ldam+train.epochs=5": ("ldam", 5),
    }
    assert found == grid("loss=focal,ldam", "train.epochs=range(3,6,2)")
    (one,) = grid("tta.views=[identity]")
    assert list(one.params.tta.views) == ["identity"]
    assert git.run("check-ref-format", f"refs/exps/00/{one.name}") is not None


def test_a_given_name_is_that_of_one_experiment_and_has_a_number_for_several(repository: Path) -> None:
    assert [one.name for one in grid("loss=focal", name="mine")] == ["mine"]
    assert [one.name for one in grid("loss=focal,ldam", name="mine")] == ["mine-1", "mine-2"]


@pytest.mark.parametrize(
    ("changes", "name", "line"),
    [
        (["los=focal"], "", "-S los=focal: params.yaml has no `los`; did you mean `loss`?"),
        (["loss=facal"], "", "loss=facal: params.yaml: loss: `facal` is not known.*`focal`"),
        (["loss"], "", "-S loss: .*write key=value, as -S loss=ce,focal"),
        (["other.yaml:loss=ce"], "", "-S: other.yaml is no file of params here; write -S key=value for params.yaml"),
        (["loss=ce,ce"], "", "-S: gives the experiment loss=ce twice; write each value once"),
        (["loss=ce"], "a b", "-n a b: is no name that git takes; write letters, digits, - and _"),
        (["loss=ce"], "a/b", "-n a/b: is no name that git takes; write letters, digits, - and _"),
    ],
)
def test_what_no_experiment_can_be_made_of_is_refused(
    repository: Path, changes: list[str], name: str, line: str
) -> None:
    with pytest.raises(UserError, match=f"^{line}"):
        grid(*changes, name=name)


def test_whoever_trains_the_same_params_from_the_same_commit_claims_the_same(repository: Path) -> None:
    names = {
        cluster_experiments.claimed_as(one.base, one.params)
        for one in (*grid("loss=focal"), *grid("++loss=focal", name="mine"))
    }
    assert names == {"loss=focal"}
    assert [cluster_experiments.claimed_as(one.base, one.params) for one in grid("loss=ce")] == ["unchanged"]


def test_what_is_sent_though_not_committed_is_part_of_what_is_claimed(repository: Path, tmp_path: Path) -> None:
    command(tmp_path, "git", "init", "-q", "--bare", "origin")
    command(repository, "git", "remote", "add", "origin", str(tmp_path / "origin"))
    Path("corrections.csv").write_text("id,axis,old,new,who,when,why\n")
    head, tree = git.resolve("HEAD"), cluster_experiments.snapshot(everything=True)
    found = cluster_experiments.of_grid(["loss=focal"], "", head, tree)
    assert cluster._claimed(found, cluster.Asked(claim="origin"), cluster.Found()) == found
    (held,) = claims.listed("origin")
    assert held.start == claims.start(head, tree) != claims.start(head)


def test_the_workspace_is_a_commit_also_of_somebody_whose_name_git_does_not_know(repository: Path) -> None:
    for words in (["--unset", "user.name"], ["--unset", "user.email"], ["user.useConfigOnly", "true"]):
        command(repository, "git", "config", *words)
    Path("mine.txt").touch()
    assert cluster_experiments.snapshot(everything=True) != git.resolve("HEAD")


def test_the_workspace_as_a_commit_holds_what_stages_wrote_and_on_demand_what_is_not_committed(
    repository: Path,
) -> None:
    head = git.resolve("HEAD")
    assert cluster_experiments.snapshot(everything=True) == head
    paths.LR_CHOSEN.parent.mkdir(parents=True)
    paths.LR_CHOSEN.write_text("{}")
    Path("out/lr-find/curve.png").write_text("ignored")
    Path("mine.txt").write_text("new")
    assert cluster_experiments.uncommitted() == ["mine.txt"]
    before = command(repository, "git", "status", "--porcelain").stdout
    written, all_of_it = (cluster_experiments.snapshot(everything=one) for one in (False, True))

    def changed(commit: str) -> list[str]:
        return command(repository, "git", "diff", "--name-only", head, commit).stdout.split()

    assert changed(written) == ["sub/out/lr-find/lr.json"]
    assert changed(all_of_it) == ["sub/mine.txt", "sub/out/lr-find/lr.json"]
    assert command(repository, "git", "rev-parse", f"{all_of_it}^").stdout.strip() == head
    assert command(repository, "git", "status", "--porcelain").stdout == before
    assert command(repository, "git", "for-each-ref").stdout.count("\n") == 1


def test_uncommitted_files_are_told_some_by_name() -> None:
    assert cluster_experiments.told(["a", "b"]) == "a, b"
    assert cluster_experiments.told(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
