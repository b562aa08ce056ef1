"""maskcli summary: what is there, what is not, and what comes next."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.base import paths
from stages.base.files import write_csv, write_json, write_npz
from stages.by_hand import summary
from stages.records import run_record
from tests.conftest import small

SCORES = dict.fromkeys(summary.SCORES, 0.5)


def git(*words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *words], check=True, capture_output=True)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of a run, no git yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write_json(paths.OOF_METRICS, SCORES)
    run_record.write(paths.OOF_RUN, run_record.made(small(), 0.003, {}))
    for path in summary.FILES.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def following(**changes: object) -> list[str]:
    """What comes next after a run with these params."""
    params = small(**changes)
    run_record.write(paths.OOF_RUN, run_record.made(params, 0.003, {}))
    found: list[str] = summary.run(params)["next"]
    return found


def test_results_that_no_commit_holds_are_to_be_committed_under_their_loss(results: Path) -> None:
    assert following() == ["git init && git add -A && git commit -m ce", "maskcli screen"]
    git("init", "-q")
    assert following() == ["git add -A && git commit -m ce", "maskcli screen"]
    git("commit", "-q", "--allow-empty", "-m", "code alone")
    assert following(loss="focal")[0] == "git add -A && git commit -m focal"


def test_a_run_is_named_by_what_was_run_and_params_that_changed_since_are_told(committed: Path) -> None:
    following(loss="focal")
    found = summary.run(small(loss="ldam"))
    assert found["why"] == "this run had loss: focal (params.yaml now: ldam)"
    assert found["next"] == ["dvc repro"]


def test_files_of_another_run_than_the_scores_are_not_named_as_this_runs(committed: Path) -> None:
    """As after `git checkout` without `dvc checkout`, or oof-ensemble by hand without tta-predict."""
    own = run_record.made(small(), 0.003, {}).run
    for path, run in ((paths.OOF_ARRAYS, own), (paths.PROBABILITIES, "another")):
        write_npz(path, run=np.array(run))
    found = summary.run(small())
    assert (found["other"], sorted(found["files"])) == (["submission"], ["LR curve", "OOF"])
    assert found["why"] == "out/tta-predict/submission.csv is of another run than these scores"
    assert found["next"] == ["dvc checkout"]
    run_record.write(paths.OOF_RUN, run_record.made(small(), 0.004, {}))
    found = summary.run(small())
    assert (found["other"], found["next"]) == (["submission", "OOF"], ["dvc repro"])
    assert not any(
        str(path) in console for path in (paths.OOF, paths.SUBMISSION) for console in found["files"].values()
    )


@pytest.fixture
def committed(results: Path) -> Path:
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "ce")
    return results


def test_the_next_step_is_the_cheapest_one_not_done_yet(committed: Path) -> None:
    assert following() == ["maskcli screen"]
    rows = pd.DataFrame({"change": ["loss=ldam,sampler=sqrt", ""], "verdict": ["better", "base"]})
    write_csv(paths.SCREEN_RANKING, rows)
    assert following() == [
        "dvc exp run -n ldam-sqrt -S loss=ldam -S sampler=sqrt",
        "maskcli compare HEAD ldam-sqrt",
    ]
    assert following(loss="ldam", sampler="sqrt") == ["maskcli tta-search"]
    write_csv(paths.SCREEN_RANKING, rows[::-1])
    assert following() == ["maskcli tta-search"]
    write_json(paths.TTA_SUMMARY, {})
    assert following() == ["maskcli refit"]
    write_json(paths.REFIT_SUMMARY, {})
    assert following() == ["maskcli report"]


def test_experiments_on_this_commit_are_to_be_compared(committed: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    for name in ("focal", "ldam"):
        git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", head)
    git("update-ref", f"refs/exps/{'0' * 2}/{'0' * 38}/of_another_commit", head)
    assert following() == ["maskcli compare HEAD focal ldam"]


def test_other_results_than_the_commits_are_to_be_compared_with_it(committed: Path) -> None:
    write_json(paths.OOF_METRICS, SCORES | {"macro_f1": 0.6})
    assert following() == ["maskcli compare HEAD workspace", "git add -A && git commit -m ce"]


def test_a_fresh_clone_is_told_which_files_are_not_there_and_how_to_get_them(committed: Path) -> None:
    paths.SUBMISSION.unlink()
    found = summary.run(small())
    assert found["missing"] == {"submission": str(paths.SUBMISSION)}
    assert found["files"] == {"OOF": str(paths.OOF), "LR curve": str(paths.LR_PNG)}
    assert found["next"] == ["dvc repro"]  # there is nowhere to pull from
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    remote = team\n['remote \"team\"']\n    url = /somewhere\n")
    assert summary.run(small())["next"] == ["dvc pull"]
    Path(".dvc").rename(Path("..", ".dvc"))  # the repository's, of which the project is a sub-folder
    assert summary.run(small())["next"] == ["dvc pull"]
    paths.REPORT.parent.mkdir(parents=True)
    paths.REPORT.touch()
    assert summary.run(small())["files"]["report"] == str(paths.REPORT)
    os.utime(paths.REPORT, (0, 0))  # of an earlier run
    assert "report" not in summary.run(small())["files"]


@pytest.mark.parametrize("clone", [False, True])
def test_without_an_eval_set_no_submission_is_missed(results: Path, clone: bool) -> None:
    """In a clone git has dvc.yaml, and eval.csv, which DVC keeps, is not there."""
    paths.SUBMISSION.unlink()
    paths.DVC_YAML.write_text("stages: {oof-ensemble: {}}" if clone else f"stages: {{tta-predict: {paths.SUBMISSION}}}")
    if not clone:
        paths.EVAL.parent.mkdir(parents=True)
        paths.EVAL.write_text("ImageID,content\n")
    found = summary.run(small())
    assert found["missing"] == {}
    assert "submission" not in found["files"]
    paths.EVAL.unlink(missing_ok=True)
    paths.DVC_YAML.write_text(f"stages: {{tta-predict: {paths.SUBMISSION}}}")
    assert summary.run(small())["missing"] == {"submission": str(paths.SUBMISSION)}


def test_a_run_without_groups_is_summed_up_too(results: Path) -> None:
    write_json(paths.OOF_METRICS, {key: value for key, value in SCORES.items() if key not in ("people", "groups")})
    assert "people" not in summary.run(small())
