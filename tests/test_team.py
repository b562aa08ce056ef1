"""A team on one project, as README and docs/team.md tell it: real git, DVC and trainings, in two clones of a bare repository.

Each line of the pages' blocks is typed as it stands there, but for the place of DVC's files. In the colleague's clone a program
before the real `maskcli` writes down what is run, by hand or by DVC.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import command, lay_out
from tests.test_docs import blocks, named_as

TRAINING = ("train", "folds", "refit", "lr-find", "screen")  # commands that learn something
COMPARED = "out/oof-ensemble/oof.npz"


@dataclass(frozen=True)
class Trained:
    """A project's files, DVC's cache with them: after `dvc repro`, and after `dvc exp run -n focal -S loss=focal`."""

    ce: Path
    focal: Path


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained once; the histories of the tests are made of it by git."""
    folder = tmp_path_factory.mktemp("trained")
    lay_out(folder / "focal", prepared)
    command(folder / "focal", "dvc", "repro", "-q")
    command(folder / "focal", "git", "add", "-A")
    command(folder / "focal", "git", "commit", "-qm", "ce")
    shutil.copytree(folder / "focal", folder / "ce", ignore=shutil.ignore_patterns(".git"))
    command(folder / "focal", "dvc", "exp", "run", "-q", "-n", "focal", "-S", "loss=focal")
    return Trained(folder / "ce", folder / "focal")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server of this machine, with a bucket `team`."""
    pytest.importorskip("dvc_s3", reason="DVC reads S3 with `pip install dvc-s3`")
    server = pytest.importorskip(
        "moto.server", reason="the tests' S3 server wants `pip install 'moto[s3]' flask flask-cors`"
    )
    import boto3

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    address = "http://{}:{}".format(*running.get_host_and_port())
    keys = {"aws_access_key_id": "ann", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="team")
    yield address
    running.stop()


def project_of(trained: Trained, top: Path, within: str, own: bool) -> Path:
    """Ann's repository: the project at its top or in a sub-folder, .dvc the project's `own` or the repository's."""
    project = top / within
    shutil.copytree(trained.ce, project)
    if not own:
        for name in (".dvc", ".dvcignore"):
            shutil.move(project / name, top / name)
    command(top, "git", "init", "-q", "-b", "main")
    named_as(top, "ann")
    command(top, "git", "add", "-A")
    command(top, "git", "commit", "-qm", "ce")
    command(top, "git", "remote", "add", "origin", str(top.parent / "origin"))
    command(top, "git", "push", "-q", "origin", "HEAD")
    # As `dvc exp run` leaves it: an experiment, and its files in the cache.
    cache = (project if own else top) / ".dvc/cache"
    shutil.copytree(trained.focal / ".dvc/cache", cache, dirs_exist_ok=True)
    left = shutil.ignore_patterns(".git", ".dvc", "data")
    shutil.copytree(trained.focal, project, ignore=left, dirs_exist_ok=True)
    command(top, "git", "add", "-A")
    command(top, "git", "commit", "-qm", "focal")
    focal, base = (command(top, "git", "rev-parse", name).stdout.strip() for name in ("HEAD", "HEAD~1"))
    command(top, "git", "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/focal", focal)
    command(top, "git", "reset", "-q", "--soft", base)  # the experiment stays in the workspace
    command(top, "git", "reset", "-q")
    return project


@dataclass(frozen=True)
class Typist:
    """Somebody at a keyboard: types lines of the pages in a folder, and `maskcli` notes in `log` what it is asked."""

    folder: Path
    programs: Path

    @property
    def log(self) -> Path:
        return self.programs / "log"

    def types(self, *lines: str) -> str:
        """What the last line printed."""
        keys = "export AWS_ACCESS_KEY_ID=ann AWS_SECRET_ACCESS_KEY=secret"
        shown = ""
        for line in lines:
            shown = command(self.folder, "bash", "-ec", f'{keys} PATH="{self.programs}:$PATH"; {line}').stdout
        return shown

    def ran(self) -> list[str]:
        """Commands of maskcli that were run since it was last asked, by hand or by DVC."""
        commands = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return commands


def typist(folder: Path, programs: Path) -> Typist:
    programs.mkdir()
    shim = programs / "maskcli"
    real = Path(sys.executable).parent / "maskcli"
    shim.write_text(f'#!/bin/sh\necho "$1" >> {programs}/log\nexec {real} "$@"\n')
    shim.chmod(0o755)
    return Typist(folder, programs)


def two(trained: Trained, folder: Path, within: str = ".", own: bool = True) -> tuple[Typist, Typist]:
    """Ann, who has trained, and Bob, who has cloned her repository before there was a place for DVC's files."""
    command(folder, "git", "init", "-q", "--bare", "-b", "main", "origin")
    ann = project_of(trained, folder / "ann", within, own)
    command(folder, "git", "clone", "-q", str(folder / "origin"), "bob")
    named_as(folder / "bob", "bob")
    return typist(ann, folder / "of-ann"), typist(folder / "bob" / within, folder / "of-bob")


def block(page: str, begins: str) -> list[str]:
    """The commands of the block of a page that begins so."""
    return next(one.commands for one in blocks(page) if one.commands and one.commands[0].startswith(begins))


def put(lines: Sequence[str], places: dict[str, str]) -> list[str]:
    for old, new in places.items():
        lines = [line.replace(old, new) for line in lines]
    return list(lines)


CONFIG = "git add .dvc/config", 'git add "$(dvc root)/.dvc/config"'


def share(typist: Typist, store: str, s3: str | None) -> None:
    """README's block of the one who shares; with S3, docs/team.md's in the place of its first lines."""
    lines = put(block("README.md", "dvc remote add -d team"), {"/path/to/shared/folder": store})
    if s3:
        places = {"s3://bucket/folder": store, "https://s3.example.org": s3}
        of_s3 = put(block("docs/team.md", "dvc remote add -d team s3"), places)
        committed = of_s3[-1]
        assert committed in lines
        lines = [*of_s3, *lines[lines.index(committed) + 1 :]]
    if not (typist.folder / ".dvc").exists():  # docs/team.md: the repository's is added so
        assert CONFIG[1] in block("docs/team.md", CONFIG[1])
        lines = put(lines, dict([CONFIG]))
    typist.types(*lines)


@pytest.mark.slow  # three trainings and two dozen starts of DVC
@pytest.mark.parametrize(
    ("within", "own", "in_s3"),
    [(".", True, False), ("work/photos", True, True), ("work/photos", False, False)],
    ids=["a folder", "S3, in a sub-folder", "a folder, in a sub-folder of a repository with DVC"],
)
def test_one_trains_and_the_other_compares_without_training_and_sends_one_back(
    trained: Trained, tmp_path: Path, request: pytest.FixtureRequest, within: str, own: bool, in_s3: bool
) -> None:
    ann, bob = two(trained, tmp_path, within, own)
    s3 = request.getfixturevalue("s3") if in_s3 else None
    share(ann, f"s3://team/{tmp_path.name}" if in_s3 else str(tmp_path / "shared"), s3)

    lines = block("README.md", "git pull && dvc pull")
    trains = next(number for number, line in enumerate(lines) if "dvc exp run" in line)
    bob.types(*lines[:trains])
    assert {"compare", "blend", "report"} <= set(bob.ran())
    for result in ("out/compare/forest.png", "out/blend/submission.csv", "out/report/report.html"):
        assert (bob.folder / result).is_file(), result
    repeated = bob.types("dvc repro")
    assert "Stage 'train@1' didn't change, skipping" in repeated
    assert bob.ran() == ["prepare"]  # nobody sends pixel caches
    assert not (bob.folder / "out/checkpoints").exists()
    assert bob.types("git status --porcelain") == ""

    bob.types(*lines[trains:])
    assert {"claim", "train"} <= set(bob.ran())  # so the shim would have seen a training
    ann.types("git pull -q origin main", "dvc exp pull origin ldam")
    rows = json.loads(ann.types("maskcli runs --json"))["rows"]
    assert {row["name"]: row["who"] for row in rows if row["name"] in ("focal", "ldam")} == {
        "focal": "ann",
        "ldam": "bob",
    }
    assert "ldam against focal: " in ann.types("maskcli compare focal ldam")
    ann.types("git stash -q", "dvc exp apply -q ldam")
    assert (ann.folder / COMPARED).read_bytes() == (bob.folder / COMPARED).read_bytes()
    assert not {*ann.ran()} & {*TRAINING}


@pytest.mark.slow  # two trainings in DVC's queues
def test_two_queues_of_one_grid_train_each_experiment_once(trained: Trained, tmp_path: Path) -> None:
    ann, bob = two(trained, tmp_path)
    ann.types("git checkout -q .", "dvc checkout -q")
    share(ann, str(tmp_path / "shared"), None)
    bob.types("git pull -q", "dvc pull -q")
    grid, claimed = block("docs/team.md", "dvc exp run --queue")
    claim, start = claimed.split(" && ")
    people = (ann, bob)
    for one in people:
        one.types(grid)
    first, second = (one.types(f"{claim} --json") for one in people)
    names = [{row["name"]: row["queued_as"] for row in json.loads(text)["ours"]} for text in (first, second)]
    assert [list(one) for one in names] == [["loss=f1"], ["loss=weighted_ce"]]
    for one in people:
        one.types(start)
    finished = (
        "for again in $(seq 600); do dvc queue status | grep -Eq 'Queued|Running' || exit 0; sleep 2; done; exit 1"
    )
    for one in people:
        one.types(finished)
    push, pull, runs = block("docs/team.md", "dvc exp push origin -A")
    for one in people:
        one.types(push)
    for one in people:
        one.types(pull)
        rows = json.loads(one.types(f"{runs} --json"))["rows"]
        told = {row["name"]: (row["who"], row["changed"]) for row in rows if row["changed"]}
        assert {name: told[name] for of in names for name in of.values()} == {
            names[0]["loss=f1"]: ("ann", ["loss f1 (was ce)"]),
            names[1]["loss=weighted_ce"]: ("bob", ["loss weighted_ce (was ce)"]),
        }
        assert one.ran().count("train") == 2  # two folds of the one experiment that it claimed


def test_the_pages_have_the_blocks_that_are_typed_here() -> None:
    """In seconds, so that a change of the pages is told before the slow tests are run."""
    assert CONFIG[0] in block("README.md", "dvc remote add -d team")[2]
    assert any("dvc exp run" in line for line in block("README.md", "git pull && dvc pull"))
    assert len(block("docs/team.md", "dvc remote add -d team s3")) == 5
    assert len(block("docs/team.md", "dvc exp run --queue")) == 2
    assert len(block("docs/team.md", "dvc exp push origin -A")) == 3
