"""What the results of a revision were made with, where records are and where there were none yet."""

import os
from pathlib import Path

import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.params.schema import Params
from stages.records import past_runs, run_record
from stages.records.run_record import Record
from tests.conftest import command, small

LOCK = """
stages:
  train@0:
    params:
      params.yaml:
        loss: ce
        losses.ce: {}
        data.age_bins: [30, 60]
        train: {epochs: 2}
  tta-predict:
    params:
      params.yaml:
        ensemble.vote: rank
"""


@pytest.fixture
def revision(monkeypatch: pytest.MonkeyPatch) -> dict[Path, str]:
    """Files of the one revision that there is, `old`."""
    content: dict[Path, str] = {paths.PARAMS: "loss: focal\ntrain: {epochs: 2}\n"}

    def read(name: str, path: Path) -> bytes:
        if name != "old" or path not in content:
            raise UserError(f"{name}: {path}")
        return content[path].encode()

    monkeypatch.setattr(past_runs.revisions, "read", read)
    return content


def test_results_of_before_are_of_what_dvc_ran_not_of_what_params_yaml_says(revision: dict[Path, str]) -> None:
    revision[paths.DVC_LOCK] = LOCK
    found = past_runs.of_revision("old")
    assert (found.run, found.loss, found.params["train"]) == ("", "ce", {"epochs": 2})
    assert past_runs.not_run("old", found) == (
        "old: its results are of loss: ce (its params.yaml: focal), which was not run; run `dvc repro` there"
    )
    params = past_runs.params_of("old", found)
    assert (params["loss"], params["ensemble"]["vote"], params["tta"]["views"]) == ("ce", "rank", ["identity", "hflip"])


def test_the_record_counts_before_dvc_lock(revision: dict[Path, str]) -> None:
    revision[paths.DVC_LOCK] = LOCK
    record = Record(run="key", params=run_record.training(small(loss="bce")))
    revision[paths.OOF_RUN] = record.model_dump_json()
    assert past_runs.of_revision("old") == record
    assert past_runs.params_of("old", record)["loss"] == "bce"
    revision[paths.OOF_RUN] = "half a {"
    with pytest.raises(
        UserError, match=r"old: out/oof-ensemble/run.json: is not JSON; run `dvc repro oof-ensemble` there"
    ):
        past_runs.of_revision("old")


@pytest.mark.parametrize(("action", "told"), [("none", False), ("drop", True)])
def test_what_label_noise_says_counts_only_where_it_is_on(revision: dict[Path, str], action: str, told: bool) -> None:
    revision[paths.PARAMS] = f"label_noise: {{action: {action}, epochs: 2}}\n"
    record = Record(run="key", params=run_record.training(Params()))
    found = past_runs.not_run("old", record)
    assert ("label_noise" in found) == told


def test_without_record_and_lock_params_yaml_is_all_there_is(revision: dict[Path, str]) -> None:
    found = past_runs.of_revision("old")
    assert found.loss == "focal"
    assert past_runs.not_run("old", found) == ""
    with pytest.raises(UserError, match="nowhere"):
        past_runs.of_revision("nowhere")


def test_results_of_before_tasks_keep_their_bins(revision: dict[Path, str]) -> None:
    revision[paths.PARAMS] = "data: {age_bins: [30, 58]}\n"
    found = past_runs.of_revision("old")
    assert found.params["data"] == {"age_bins": [30, 58]}
    assert past_runs.not_run("old", found) == ""


@pytest.fixture
def history(tmp_path: Path) -> list[Record]:
    """A repository whose commits hold the results of two trainings, the second twice, and a damaged record between them."""
    command(tmp_path, "git", "init", "-q")
    records = [run_record.made(small(), lr, {}).model_copy(update={"data": {"photos": "00ff"}}) for lr in (0.1, 0.2)]
    for number, content in enumerate(
        [records[0].model_dump_json(), "{", records[1].model_dump_json(), records[1].model_dump_json(indent=1)]
    ):
        paths.OOF_RUN.parent.mkdir(parents=True, exist_ok=True)
        paths.OOF_RUN.write_text(content)
        command(tmp_path, "git", "add", "-A")
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command(tmp_path, "git", *who, "commit", "-qm", str(number), "--date=2026-01-01T00:00:00Z")
    return records


def commit(name: str) -> str:
    return command(Path(), "git", "rev-parse", "--short=7", name).stdout.strip()


def test_the_run_before_is_the_last_commit_of_another_training(history: list[Record]) -> None:
    first, second = history
    for revision in ("workspace", "HEAD", "HEAD~1"):
        assert past_runs.before(revision, second) == commit("HEAD~3"), revision
    assert past_runs.before("workspace", Record(run="new")) == commit("HEAD"), "not committed yet"
    assert past_runs.before("HEAD~3", first) == ""


def test_results_come_from_a_commit_a_day_and_data(history: list[Record]) -> None:
    day = command(Path(), "git", "show", "-s", "--format=%cs", "HEAD~1").stdout.strip()
    assert past_runs.origin("HEAD~1", history[1]) == f"commit {commit('HEAD~1')}, results of {day}, data 00ff"
    paths.OOF_ARRAYS.write_text("")
    os.utime(paths.OOF_ARRAYS, (1_000_000_000, 1_000_000_000))
    rest = "results of 2001-09-09, data 00ff"
    assert past_runs.origin("workspace", history[1]) == f"commit {commit('HEAD')}, {rest}"
    paths.OOF_RUN.write_text("{}")
    assert past_runs.origin("workspace", history[1]) == f"commit {commit('HEAD')} and uncommitted changes, {rest}"


def test_a_change_beside_a_project_in_a_sub_folder_is_none_of_its_results(
    history: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.OOF_RUN.write_text("{}")
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    paths.OOF_ARRAYS.parent.mkdir(parents=True)
    paths.OOF_ARRAYS.write_text("")
    assert "uncommitted" not in past_runs.origin("workspace", Record())


def test_without_git_there_is_no_run_before_and_no_commit(tmp_path: Path) -> None:
    paths.OOF_ARRAYS.parent.mkdir(parents=True)
    paths.OOF_ARRAYS.write_text("")
    os.utime(paths.OOF_ARRAYS, (1_000_000_000, 1_000_000_000))
    assert past_runs.before("workspace", Record(run="a")) == ""
    assert past_runs.origin("workspace", Record()) == "results of 2001-09-09"
