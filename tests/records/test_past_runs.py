"""What the results of a revision were made with, where records are and where there were none yet."""

from pathlib import Path

import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.records import past_runs, run_record
from stages.records.run_record import Record
from tests.conftest import small

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
