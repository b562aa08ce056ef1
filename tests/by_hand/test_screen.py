"""maskcli screen: short trainings of changes, the best of them longer, and what to train next."""

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cli.main import app
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import screen, screen_candidates, screen_training
from stages.by_hand.screen import Choice
from stages.by_hand.screen_training import Trial
from stages.data.fold_data import open_fold
from stages.data.task_and_classes import CONTEST, Axis, Task
from stages.learn import fit
from stages.learn.around_training import Around
from stages.learn.training_terms import Terms
from stages.parallel.side_by_side import Plan
from stages.params.schema import Params
from tests.conftest import ENVIRONMENT, command, small
from tests.histories import git

FIVE = Choice(("loss=focal,bce", "sampler=sqrt", "model.head=mlp", "lr=0.01"), replicates=100)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trainings are made in this process; the names of those that were made."""
    names: list[str] = []

    def run(params: Params, talk: Talk, plan: Plan) -> None:
        assert plan.work
        for number in plan.wanted:
            names.append(plan.work.names[number])
            plan.work.train(params, talk, number, Terms())

    monkeypatch.setattr(screen.side_by_side, "run", run)
    return names


@pytest.fixture
def quick(here: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """As `here`, but nothing is learnt: what a model would say is drawn, the same for the same training."""

    def drawn(trial: Trial, around: Around) -> tuple[np.ndarray, np.ndarray, str]:
        labels = open_fold(trial.params, trial.fold)
        truth = labels.labels[labels.val]
        rng = np.random.default_rng(int(trial.run, 16) + trial.fold)
        wrong = rng.random(len(truth)) < rng.random()
        return np.where(wrong, rng.integers(18, size=len(truth)), truth), rng.random(len(truth), np.float32), ""

    monkeypatch.setattr(screen_training, "_fitted", drawn)
    return here


def stands(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows without what a clock says."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found["rows"]]


def test_compare_is_told_of_head_only_where_that_is_what_was_screened_against(project: Path) -> None:
    Path("params.yaml").write_text("seed: 0\n")
    assert not screen.base_is_committed()  # no repository
    for words in (["init", "--quiet"], ["add", "params.yaml"], ["commit", "--quiet", "-m", "base"]):
        git(project, *words)
    assert screen.base_is_committed()
    Path("params.yaml").write_text("seed: 1\n")
    assert not screen.base_is_committed()


def test_the_best_train_longer_and_all_are_ranked_with_what_to_train_next(project: Path, quick: list[str]) -> None:
    found = screen.run(small(), FIVE, SILENT)
    json.dumps(found, allow_nan=False)
    assert [(one["candidates"], one["folds"], one["trainings"]) for one in found["rungs"]] == [(5, 2, 12), (3, 2, 8)]
    assert quick[:6] == [
        f"{name}, fold 0, 1 of 2 epochs"
        for name in ("params.yaml", "loss=focal", "loss=bce", "sampler=sqrt", "model.head=mlp", "lr=0.01")
    ]
    assert quick[6] == "params.yaml, fold 1, 1 of 2 epochs"
    assert quick[12] == "params.yaml, fold 0, 2 of 2 epochs"
    assert len(quick) == 12 + 8
    rows = found["rows"]
    assert sorted(row["change"] for row in rows) == [
        "",
        "loss=bce",
        "loss=focal",
        "lr=0.01",
        "model.head=mlp",
        "sampler=sqrt",
    ]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert sorted(row["epochs"] for row in rows) == [1, 1, 2, 2, 2, 2]
    (base,) = [row for row in rows if row["verdict"] == "base"]
    assert base["change"] == ""
    for row in rows:
        assert row["low"] <= row["difference"] <= row["high"]
    assert list(pd.read_csv(paths.SCREEN_RANKING, keep_default_na=False)["change"]) == [row["change"] for row in rows]
    assert not list(paths.CHECKPOINTS.glob("*.ckpt"))  # none is needed any more

    before = list(quick)
    assert stands(screen.run(small(), FIVE, SILENT)) == stands(found)
    assert quick == before  # nothing was trained again


def test_each_training_is_ordered_with_its_own_params() -> None:
    """By them it is told whether a process that has made others may make it too (training_process.as_in_a_new_one)."""
    each = [small(), small(train={"mixed_precision": "bf16"})]
    trials = [Trial(f"candidate {number}", params, 0.1, 0, "run", 1) for number, params in enumerate(each)]
    assert dict(screen_training.work(trials, None).params) == dict(enumerate(each))


def test_a_screening_that_was_cut_off_comes_to_the_answer_of_one_that_was_not(project: Path, quick: list[str]) -> None:
    whole = stands(screen.run(small(), FIVE, SILENT))
    for path in sorted(paths.SCREEN_TRAININGS.iterdir())[::2]:
        path.unlink()
    damaged = next(iter(sorted(paths.SCREEN_TRAININGS.iterdir())))
    damaged.write_bytes(damaged.read_bytes()[:100])
    quick.clear()
    assert stands(screen.run(small(), FIVE, SILENT)) == whole
    assert len(quick) == 10 + 1


def test_when_the_time_is_up_a_checkpoint_is_left_and_what_is_known_is_told(
    project: Path, here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    real = fit.train_epoch

    def slow(*words: Any) -> Any:
        now[0] += 10.0
        return real(*words)

    monkeypatch.setattr(fit, "train_epoch", slow)
    limited = Choice(("loss=focal,bce",), minutes=(35 + screen.RESERVE) / 60, replicates=100)
    found = screen.run(small(), limited, SILENT)
    assert not found["whole"]
    assert [row["change"] for row in found["rows"]] == [""]  # the base has one fold, focal was at it
    assert found["next"] is None
    assert len(list(paths.CHECKPOINTS.glob("*.ckpt"))) == 1
    now[0] = 1000.0
    limited = replace(limited, minutes=(25 + screen.RESERVE) / 60)
    assert len(screen.run(small(), limited, SILENT)["rows"]) == 2  # the second went on from its first epoch to its end

    nothing = screen.run(small(seed=7), replace(limited, minutes=0.01), SILENT)
    assert nothing["rows"] == []
    assert nothing["next"] is None


def test_a_change_that_cannot_be_trained_stands_last_with_why(project: Path, here: list[str]) -> None:
    found = screen.run(small(), Choice(("lr=1e20",), replicates=100), SILENT)
    last = found["rows"][-1]
    assert (last["change"], last["verdict"]) == ("lr=1e+20", "failed")
    assert "is NaN or infinite" in last["fault"]
    assert found["next"] is None


def names(*typed: str, **changes: Any) -> list[str]:
    return [one.name for one in screen_candidates.made(small(**changes), 0.003, CONTEST, list(typed), None)]


def test_changes_are_typed_as_keys_and_values_with_commas_between() -> None:
    assert names("loss=focal") == ["loss=focal"]
    assert names("loss=focal,ldam") == ["loss=focal", "loss=ldam"]
    assert names("loss=ldam,model.head=mlp") == ["loss=ldam,model.head=mlp"]
    assert names("loss=focal,ldam,model.head=linear,mlp") == [
        *("loss=focal", "loss=focal,model.head=mlp", "loss=ldam", "loss=ldam,model.head=mlp")
    ]
    assert names("train_bins.age=[30,58]", "lr=1e-3,0.01") == ["train_bins.age=[30,58]", "lr=0.001", "lr=0.01"]
    assert names("loss=ce,focal", "loss=focal") == ["loss=focal"]  # as params.yaml, and the same twice


def test_a_file_lists_changes_too(project: Path) -> None:
    file = Path("candidates.yaml")
    file.write_text("- loss: focal\n- {loss: ldam, losses: {ldam: {drw: 1.0}}}\n- model.head: mlp\n")
    found = screen_candidates.made(small(), 0.003, CONTEST, ["sampler=sqrt"], file)
    assert [one.name for one in found] == [
        "sampler=sqrt",
        "loss=focal",
        "loss=ldam,losses.ldam.drw=1",
        "model.head=mlp",
    ]
    assert found[2].params.losses.ldam.drw == 1.0
    assert {one.lr for one in found} == {0.003}


def test_left_to_itself_it_tries_every_other_loss_sampler_head_and_target_and_two_rates() -> None:
    assert names() == [
        *("loss=weighted_ce", "loss=label_smoothing", "loss=focal", "loss=f1", "loss=ldam", "loss=class_balanced"),
        *("loss=balanced_softmax", "loss=logit_adjust", "loss=bce", "sampler=weighted", "sampler=sqrt"),
        *("model.head=mlp", "targets=factored", "lr=0.001", "lr=0.009"),
    ]
    assert "loss=ce" in names(loss="ldam")
    one_axis = Task("folder", (Axis("label", ("a", "b")),), "photo")
    found = screen_candidates.made(small(), 0.003, one_axis, [], None)
    assert "targets=factored" not in [one.name for one in found]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("focal", "--try focal: is not `key=value`; write for instance --try loss=focal,ldam"),
        ("loss=fokal", "--try: loss: `fokal` is not known; did you mean `focal`?"),
        ("lss=focal", "--try: unknown key `lss`; did you mean `loss`?"),
        (
            "loss=focal,loss=ldam",
            "--try loss=focal,loss=ldam: `loss` stands twice; write its values with commas between",
        ),
        ("image.height=64", "--try: image.height: needs photos or folds made anew"),
        ("train.repeats=2", "--try: train.repeats: has no part in a short training"),
        ("lr=auto", "--try: lr: `auto` would be another rate for each candidate; give a number"),
        ("loss=ce", "--try: asks for what params.yaml says already; name a key with another value"),
    ],
)
def test_what_cannot_be_tried_is_said_before_anything_is_trained(typed: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        names(typed)
    assert str(error.value).startswith(told)


def test_with_lr_auto_all_share_the_rate_that_was_found_and_the_next_command_names_it(
    project: Path, quick: list[str]
) -> None:
    with pytest.raises(UserError, match="run `maskcli lr-find`"):
        screen.run(small(lr="auto"), FIVE, SILENT)
    write_json(paths.LR_CHOSEN, {"lr": 0.004})
    found = screen.run(small(lr="auto", train={"epochs": 1}), Choice(("loss=focal",), replicates=100), SILENT)
    assert found["lr"] == 0.004
    made = screen.screening(small(lr="auto"), Choice(("loss=focal",)))
    plan = screen.successive_halving.rungs(1, 2)
    reached = screen.train(made, plan, None, SILENT)
    row = {"change": "loss=focal", "verdict": "no evidence either way", "rung": 1}
    following = screen.following(made, plan, reached, [row])
    assert following["switches"] == "-S loss=focal -S lr=0.004"
    assert following["name"] == "focal"


def test_the_answer_is_one_line_first_and_its_numbers_are_whole(project: Path, here: list[str]) -> None:
    (project / "params.yaml").write_text(small().model_dump_json())
    words = ["screen", "--try", "loss=focal", "--replicates", "100"]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(("train loss=focal next: macro F1 +0.", "train params.yaml as it is: none of 1"))
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "..." not in done.stdout
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert {row["change"] for row in found["rows"]} == {"", "loss=focal"}


@pytest.mark.slow
def test_killed_and_run_again_it_goes_on_in_processes_of_its_own(project: Path) -> None:
    (project / "params.yaml").write_text(small(train={"epochs": 3}).model_dump_json())
    words = ["maskcli", "screen", "--try", "loss=focal,bce", "--replicates", "100", "--json"]
    began = subprocess.Popen(words, cwd=project, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not list(paths.SCREEN_TRAININGS.glob("*.npz")):
        assert began.poll() is None
        time.sleep(0.05)
    began.kill()
    began.communicate()
    kept = {path: path.stat().st_mtime_ns for path in paths.SCREEN_TRAININGS.glob("*.npz")}
    found = json.loads(command(project, *words).stdout)
    assert found["whole"]
    assert all(path.stat().st_mtime_ns == moment for path, moment in kept.items())
    again = json.loads(command(project, *words).stdout)
    assert stands(again) == stands(found)
