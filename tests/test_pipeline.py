"""The whole path with real DVC and real processes, on a small data set."""

import json
import os
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from sklearn.metrics import f1_score

from stages.data import corrections
from stages.data.corrections import Row
from tests.conftest import ROOT, SMALL, command, lay_out, maskcli


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A git and DVC project on the small data set, after one `dvc repro`, its results committed."""
    folder = tmp_path_factory.mktemp("repository")
    lay_out(folder, prepared)
    command(folder, "dvc", "repro")
    command(folder, "git", "add", "-A")
    command(folder, "git", "commit", "-qm", "ce")
    return folder


def status(repository: Path, *targets: str) -> dict[str, Any]:
    """What `dvc status --json` prints, without a process of its own."""
    with chdir(repository), Repo() as repo:
        found: dict[str, Any] = repo.status(targets=list(targets) or None)
        return found


def test_every_training_photo_has_one_oof_prediction_and_the_metrics_are_theirs(repository: Path) -> None:
    oof = pd.read_csv(repository / "out/oof-ensemble/oof.csv", dtype={"person": str})
    photos = pd.read_csv(repository / "out/prepare/photos.csv", dtype={"person": str})
    assert oof["photo"].tolist() == photos["file"].tolist()
    probabilities = oof[[f"p{number}" for number in range(18)]].to_numpy()
    assert probabilities.sum(1) == pytest.approx(np.ones(len(oof)), abs=1e-4)
    scores = json.loads((repository / "out/oof-ensemble/metrics.json").read_text())
    expected = f1_score(oof["label"], probabilities.argmax(1), average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(expected, abs=1e-6)
    assert scores["macro_f1_low"] <= scores["macro_f1"] + 0.05
    assert scores["people"] == 24
    assert scores["photos"] == 168


def test_an_oof_prediction_comes_from_the_model_that_never_saw_the_person(repository: Path) -> None:
    photos = pd.read_csv(repository / "out/prepare/photos.csv", dtype={"person": str})
    folds = pd.read_csv(repository / "out/kfold/folds.csv", dtype={"person": str}).set_index("person")["fold"]
    for fold in (0, 1):
        which = np.load(repository / f"out/train/{fold}/oof_logits.npz")["photo"]
        assert (photos["person"].iloc[which].map(folds) == fold).all()


def test_the_submission_answers_in_the_order_of_info_csv(repository: Path) -> None:
    submission = pd.read_csv(repository / "out/tta-predict/submission.csv")
    info = pd.read_csv(repository / "data/eval/info.csv")
    assert submission["ImageID"].tolist() == info["ImageID"].tolist()
    arrays = np.load(repository / "out/tta-predict/probabilities.npz")
    assert (arrays["probabilities"].argmax(1) == submission["ans"]).all()
    scored = json.loads(command(repository, "maskcli", "score", "data/eval_truth.csv", "--json").stdout)
    truth = pd.read_csv(repository / "data/eval_truth.csv")
    assert scored["macro_f1"] == pytest.approx(
        f1_score(truth["ans"], submission["ans"], average="macro", zero_division=0)
    )


def test_only_what_a_change_concerns_is_run_again(repository: Path) -> None:
    params, weights = (repository / "params.yaml").read_text(), repository / "weights/mine"
    weights.write_bytes(b"x")
    try:
        for old, new, stages in (
            ("loss: ce", "loss: balanced_softmax", ["train@0", "train@1"]),
            ("- hflip\n", "", ["tta-predict"]),
            ("decision: argmax", "decision: adjusted", ["tta-predict"]),
            ("vote: soft", "vote: rank", ["tta-predict"]),
            ("weights: weights/none", "weights: weights/mine", ["lr-find", "train@0", "train@1"]),
            ("models: plugins/none", "models: weights/mine", ["lr-find", "train@0", "train@1"]),
            ("losses: plugins/none", "losses: weights/mine", ["train@0", "train@1"]),
        ):
            assert old in params
            (repository / "params.yaml").write_text(params.replace(old, new))
            assert list(status(repository)) == stages
        unused = params.replace("gamma: 2.0", "gamma: 1.5").replace("confidence: 0.8", "confidence: 0.9")
        unused = unused.replace("seeds: 3", "seeds: 1")
        assert len(set(unused.splitlines()) - set(params.splitlines())) >= 3
        (repository / "params.yaml").write_text(unused)
        assert status(repository) == {}
    finally:
        (repository / "params.yaml").write_text(params)
        weights.unlink()


def test_a_refit_answers_beside_the_fold_ensemble_and_is_no_part_of_repro(repository: Path) -> None:
    shown = json.loads(command(repository, "maskcli", "refit", "--json").stdout)
    ours, theirs = (
        pd.read_csv(repository / f"out/{stage}/submission.csv").set_index("ImageID")["ans"]
        for stage in ("refit", "tta-predict")
    )
    assert list(ours.index) == list(theirs.index)
    assert shown["equal_answers"] == pytest.approx((ours == theirs).mean())
    assert status(repository) == {}


def test_pseudo_labels_train_again_when_switched_on_and_when_their_content_changes(repository: Path) -> None:
    def stale() -> list[str]:
        return list(status(repository))

    params, labels = repository / "params.yaml", repository / "pseudo/labels.csv"
    before, none = params.read_text(), repository / "pseudo/none.csv"
    assert command(repository, "git", "ls-files", "pseudo").stdout.split() == ["pseudo/none.csv"]
    try:
        params.write_text(before.replace("confidence: 0.8", "confidence: 0.0"))
        shown = json.loads(command(repository, "maskcli", "pseudo-label", "--json").stdout)
        assert shown["labels"] == "pseudo/labels.csv"
        assert stale() == []  # a file that is not in use concerns nobody
        params.write_text(params.read_text().replace(str(none.relative_to(repository)), "pseudo/labels.csv"))
        assert stale() == ["train@0", "train@1"]
        command(repository, "dvc", "repro", "-s", "train@0")
        assert stale()[0] == "train@1"
        trained = json.loads((repository / "out/train/0/metrics.json").read_text())["train_photos"]
        assert trained == 84 + shown["fold_0"]
        assert len(np.load(repository / "out/train/0/oof_logits.npz")["photo"]) == 84
        lines = labels.read_text().splitlines(keepends=True)
        labels.write_text("".join([lines[0], *lines[2:]]))
        assert stale()[0] == "train@0"
    finally:
        params.write_text(before)
        labels.unlink(missing_ok=True)
        command(repository, "git", "checkout", "-q", ".")
        command(repository, "dvc", "checkout", "-q")
    assert stale() == []


def modes(folder: Path) -> dict[str, int]:
    """Mode of every file and folder below, by name; of folders without the right to enter."""
    return {
        str(path): path.stat().st_mode & (0o666 if path.is_dir() else 0o777)
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_everything_that_a_run_leaves_has_the_mode_that_the_umask_gives(repository: Path) -> None:
    plain = repository / "plain"
    plain.touch()
    assert set(modes(repository / "out").values()) == {plain.stat().st_mode & 0o777}
    plain.unlink()


def test_other_content_of_the_starting_weights_trains_again(repository: Path) -> None:
    def stale() -> dict[str, Any]:
        return status(repository, "lr-find", "train")

    none = repository / "weights/none"
    before = none.read_text()
    assert stale() == {}
    try:
        none.write_text("other content")
        for stage, changes in stale().items():
            assert stage in ("lr-find", "train@0", "train@1")
            assert {"changed deps": {"weights/none": "modified"}} in changes
        assert len(stale()) == 3
    finally:
        none.write_text(before)


def test_a_stage_by_hand_gives_what_dvc_gave_and_plots_compare_commits(repository: Path) -> None:
    before = np.load(repository / "out/train/0/oof_logits.npz")["last"]
    umask = os.umask(0o077)
    try:
        command(repository, "maskcli", "train", "--fold", "0", "--fresh")
    finally:
        os.umask(umask)
    if os.name == "posix":
        made = modes(repository / "out/train/0").items()
        assert {mode for name, mode in made if not name.endswith(("models", "tensorboard"))} == {0o600}
    assert (np.load(repository / "out/train/0/oof_logits.npz")["last"] == before).all()
    history = pd.read_csv(repository / "out/oof-ensemble/history.csv")
    plots = json.loads(command(repository, "dvc", "plots", "diff", "HEAD", "--json").stdout)["data"]
    (loss,) = [content for name, content in plots.items() if name.startswith("Loss")]
    content = loss[0]["content"]
    spec = json.loads(content) if isinstance(content, str) else content
    points = [point for point in spec["data"]["values"] if point["rev"] == "HEAD"]
    for column in ("train_loss", "val_loss"):
        shown = [point["dvc_inferred_y_value"] for point in points if point["field"] == column]
        assert [float(value) for value in shown] == pytest.approx(history[column].tolist())


def test_an_experiment_changes_the_loss_and_shows_its_score(repository: Path) -> None:
    command(repository, "git", "checkout", "-q", ".")
    command(repository, "dvc", "exp", "run", "-n", "smooth", "-S", "loss=label_smoothing", "-S", "train.epochs=1")
    shown = json.loads(command(repository, "dvc", "exp", "show", "--json").stdout)
    assert "smooth" in json.dumps(shown)
    difference = json.loads(command(repository, "dvc", "params", "diff", "--json").stdout)
    assert difference["params.yaml"]["loss"] == {"old": "ce", "new": "label_smoothing"}


def test_compare_pairs_revisions_experiments_and_the_workspace(repository: Path) -> None:
    shown = json.loads(command(repository, "maskcli", "compare", "HEAD", "smooth", "--json").stdout)
    rows = {row["metric"]: row for row in shown["comparisons"]}
    parts = ("f1_mask", "f1_gender", "f1_age")
    assert set(rows) == {"macro_f1", "f1_60plus", "accuracy", "nll", *parts, *(f"f1_{number}" for number in range(18))}
    scores = json.loads((repository / "out/oof-ensemble/metrics.json").read_text())
    base = json.loads(command(repository, "git", "show", "HEAD:out/oof-ensemble/metrics.json").stdout)
    row = rows["macro_f1"]
    assert row["a"] == pytest.approx(base["macro_f1"], abs=1e-6)
    assert row["b"] == pytest.approx(scores["macro_f1"], abs=1e-6)  # the experiment's results stand in the workspace
    assert all(rows[name]["b"] == pytest.approx(scores[name], abs=1e-6) for name in parts)
    assert row["low"] <= row["difference"] <= row["high"]
    assert shown["answers"]["smooth"].startswith("smooth ")
    assert "one training each" in shown["answers"]["smooth"]
    assert all(rate.endswith(("(params.yaml)", "range test)")) for rate in shown["learning_rates"]["smooth"])
    alone = command(repository, "maskcli", "compare", "smooth", "--csv", "out/compare/table.csv").stdout
    assert alone.startswith("workspace holds the same trained models as smooth: there is no difference to find\n")
    assert (pd.read_csv(repository / "out/compare/table.csv")["difference"] == 0).all()
    assert (repository / "out/compare/forest.png").stat().st_size > 10_000


def test_report_shows_two_revisions_from_the_cache_in_one_file(repository: Path) -> None:
    written = json.loads(command(repository, "maskcli", "report", "HEAD", "smooth", "--json").stdout)
    assert written["revisions"] == ["HEAD", "smooth"]
    page = repository / written["report"]
    assert page.stat().st_size == written["bytes"] < 5_000_000
    text = page.read_text(encoding="utf-8")
    base = json.loads(command(repository, "git", "show", "HEAD:out/oof-ensemble/metrics.json").stdout)
    scores = json.loads((repository / "out/oof-ensemble/metrics.json").read_text())  # the experiment's
    for found in (base, scores):
        for name in ("macro_f1", "macro_f1_low", "macro_f1_high", "accuracy", "nll", "ece"):
            assert f"{found[name]:.4f}" in text, name
    assert 'class="value">label_smoothing<' in text
    assert "photo not found" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *(
            (words, "nowhere: no such commit, branch, tag or experiment; see `git log --oneline` and `dvc exp list`")
            for words in (
                ("compare", "nowhere", "HEAD"),
                ("report", "nowhere"),
                ("plots", "nowhere"),
                ("blend", "HEAD", "nowhere"),
            )
        ),
        (("tta-search", "--view", "hflp"), "tta-search: --view `hflp` is not known; did you mean `hflip`?"),
    ],
)
def test_what_is_not_there_to_compare_or_to_try_is_one_line(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(repository)
    code, _, err = maskcli(monkeypatch, capsys, *words)
    assert code == 2
    assert any(f"maskcli: {message}" in line for line in err)


def test_params_committed_without_a_run_name_no_result(repository: Path) -> None:
    """`loss: focal` is typed and committed, `dvc repro` forgotten: HEAD still holds the results of ce."""
    command(repository, "git", "stash", "-q")  # the experiment
    params = repository / "params.yaml"
    params.write_text(params.read_text().replace("loss: ce", "loss: focal"))
    command(repository, "git", "commit", "-qam", "focal")
    try:
        notes = json.loads(command(repository, "maskcli", "compare", "HEAD~1", "HEAD", "--json").stdout)["notes"][
            "HEAD"
        ]
        assert notes[:2] == [
            "HEAD holds the same trained models as HEAD~1: there is no difference to find",
            "HEAD: its results are of loss: ce (its params.yaml: focal), which was not run; run `dvc repro` there",
        ]
        shown = command(repository, "maskcli", "compare", "HEAD~1", "HEAD").stdout
        assert shown.startswith("HEAD holds the same trained models as HEAD~1")
        command(repository, "maskcli", "report", "HEAD", "--output", "out/report/head.html")
        page = (repository / "out/report/head.html").read_text(encoding="utf-8")
        assert "folds, loss ce<" in page
        assert 'class="value">focal<' not in page
        assert "its results are of loss: ce (its params.yaml: focal)" in page
    finally:
        command(repository, "git", "reset", "-q", "--hard", "HEAD~1")
        command(repository, "git", "stash", "pop", "-q")


def test_plots_draws_what_dvc_plots_without_a_browser_and_a_network(repository: Path) -> None:
    done = command(repository, "maskcli", "plots", "HEAD", "smooth", "--format", "svg", "--json")
    drawn = {Path(path).stem: (repository / path).read_text() for path in json.loads(done.stdout)}
    assert set(drawn) >= {"loss", "validation-cross-entropy", "validation-macro-f1", "f1-per-class", "confusion-matrix"}
    panels = (">loss: ce<", ">loss: label_smoothing (eps 0.1)<")
    for word in ("train_loss", "val_loss", "epoch", ">HEAD<", ">smooth<", *panels):
        assert word in drawn["loss"], word
    assert ">val_nll<" in drawn["validation-cross-entropy"]


def test_the_environment_is_recorded_beside_the_metrics_and_committed(repository: Path) -> None:
    record = json.loads(command(repository, "git", "show", "HEAD:out/oof-ensemble/environment.json").stdout)
    assert record["numpy"] == np.__version__
    assert record["device"] == json.loads((repository / "out/train/0/environment.json").read_text())["device"]
    assert record["git_revision"] is None  # the first run came before the first commit
    assert "numpy" not in command(repository, "dvc", "metrics", "show", "--json").stdout


def test_faults_can_be_read_after_dvc_repro_has_failed(repository: Path) -> None:
    """DVC removes a stage's outputs before it runs; faults.csv is written all the same."""
    table = repository / "data/train/train.csv"
    content = table.read_text()
    table.unlink()  # it may be a link into DVC's cache
    table.write_text(content.replace("female", "femail", 1) + "x,male,A,999,y\n")
    done = command(repository, "dvc", "repro", "prepare", code=255)
    assert "maskcli: data: 2 faults, all listed in out/prepare/faults.csv; mend them" in done.stderr
    faults = pd.read_csv(repository / "out/prepare/faults.csv")
    assert faults["problem"].tolist() == [
        "gender `femail` is not known",
        "age `999` is not a whole number from 0 to 120",
    ]
    assert all(problem in done.stderr for problem in faults["problem"])
    table.write_text(content)
    command(repository, "dvc", "repro", "prepare")
    assert len(pd.read_csv(repository / "out/prepare/faults.csv")) == 0
    assert command(repository, "dvc", "status", "prepare").stdout.strip() == "Data and pipelines are up to date."


def test_blend_of_two_revisions_writes_a_submission_and_its_weights(repository: Path) -> None:
    found = json.loads(
        command(repository, "maskcli", "blend", "HEAD", "smooth", "--replicates", "100", "--json").stdout
    )
    assert found == json.loads((repository / "out/blend/weights.json").read_text())
    scores = json.loads(command(repository, "git", "show", "HEAD:out/oof-ensemble/metrics.json").stdout)
    assert found["runs"]["HEAD"] == pytest.approx(scores["macro_f1"], abs=1e-6)
    assert list(found["all_weights"]) == ["equal", "greedy", "convex"]
    submission = pd.read_csv(repository / "out/blend/submission.csv")
    assert submission["ImageID"].tolist() == pd.read_csv(repository / "data/eval/info.csv")["ImageID"].tolist()
    shown = command(
        repository, "maskcli", "blend", "HEAD", "smooth", "--weights", "equal", "--replicates", "100"
    ).stdout
    assert "out/blend/submission.csv (equal weights)" in shown
    assert "out/blend/weights.json" in shown


def test_tta_search_names_the_line_for_params_yaml(repository: Path) -> None:
    views = ("--view", "hflip", "--view", "crop_top_left", "--replicates", "100")
    found = json.loads(command(repository, "maskcli", "tta-search", *views, "--json").stdout)
    assert found == json.loads((repository / "out/tta-search/summary.json").read_text())
    table = pd.read_csv(repository / "out/tta-search/views.csv")
    assert table["views"].tolist() == ["identity hflip", "identity crop_top_left", "identity hflip crop_top_left"]
    scores = json.loads((repository / "out/oof-ensemble/metrics.json").read_text())
    assert found["identity_macro_f1"] == pytest.approx(scores["macro_f1"], abs=1e-6)
    shown = command(repository, "maskcli", "tta-search", *views).stdout
    assert f"params.yaml  {found['line']}" in shown


def test_compare_says_what_to_do_when_the_cache_no_longer_holds_a_run(repository: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    command(tmp_path, "git", "clone", "-q", str(repository), str(clone))
    done = command(clone, "maskcli", "compare", "HEAD", "HEAD~0", code=2)
    assert "oof.npz is neither in the DVC cache nor in a remote" in done.stderr
    assert "neither in the DVC cache nor in a remote (there is none); run `dvc push" in done.stderr
    command(clone, "git", "rm", "-q", "dvc.lock")
    command(clone, "git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "no results")
    assert "maskcli: HEAD: holds no results" in command(clone, "maskcli", "compare", "HEAD", code=2).stderr


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ("params", ("prepare",), "maskcli: params.yaml: loss: `focl` is not known; did you mean `focal`?"),
        ("photo", ("prepare",), "mask2.jpg: is empty (zero bytes); replace it by the original"),
        ("row", ("prepare",), "maskcli: data: 2 faults, all listed in out/prepare/faults.csv"),
        ("none", ("train", "--fold", "7"), "maskcli: --fold 7: params.yaml has folds [0, 1]; name one of them"),
        ("none", ("oof-ensemble",), "out/train/0/oof_logits.npz: not found; run `maskcli train --fold 0`"),
        (
            "cache",
            ("train", "--fold", "0"),
            "out/prepare/pixels.npy: is not the array it should be; run `maskcli prepare`",
        ),
    ],
)
def test_what_a_person_gets_wrong_is_one_line_and_exit_code_2(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
    words: tuple[str, ...],
    message: str,
) -> None:
    if change == "params":
        (project / "params.yaml").write_text("loss: focl\n")
    elif change == "photo":
        next(project.glob("data/train/images/*/mask2.jpg")).write_bytes(b"")
    elif change == "row":
        table = project / "data/train/train.csv"
        table.write_text(table.read_text().replace("female", "femail", 1) + "x,male,A,999,y\n")
    elif change == "cache":
        (project / "out/lr-find").mkdir(parents=True)
        (project / "out/lr-find/lr.json").write_text('{"lr": 0.001}')
        path = project / "out/prepare/pixels.npy"
        path.write_bytes(path.read_bytes()[:5000])
    code, out, err = maskcli(monkeypatch, capsys, *words)
    assert (code, out) == (2, "")
    assert message in err[-1]
    assert not any("Traceback" in line for line in err)


def test_faulty_people_are_skipped_on_request(project: Path) -> None:
    next(project.glob("data/train/images/*/mask2.jpg")).write_bytes(b"")
    (project / "params.yaml").write_text(yaml.safe_dump(SMALL | {"data": {"on_fault": "skip"}}))
    command(project, "maskcli", "prepare")
    assert len(pd.read_csv(project / "out/prepare/groups.csv")) == 23
    assert len(pd.read_csv(project / "out/prepare/photos.csv")) == 161
    assert len(np.load(project / "out/prepare/pixels.npy")) == 161
    assert len(pd.read_csv(project / "out/prepare/faults.csv")) == 1


def test_help_is_quick_to_import() -> None:
    code = "import sys, cli.main; print(sorted({'torch', 'pandas', 'sklearn', 'dvc', 'pydantic'} & set(sys.modules)))"
    assert command(ROOT, sys.executable, "-c", code).stdout.strip() == "[]"


@pytest.mark.slow
def test_corrected_labels_train_again_and_are_the_truth_for_both_runs(repository: Path) -> None:
    command(repository, "git", "checkout", "-q", ".")
    command(repository, "dvc", "checkout", "-q")
    photos = pd.read_csv(repository / "out/prepare/photos.csv", dtype={"person": str})
    one, other = photos.iloc[0], photos.iloc[7]
    levels = ("male", "female")
    rows = [
        Row(
            one["person"],
            "gender",
            levels[one["gender"]],
            levels[1 - one["gender"]],
            "ann",
            corrections.now(),
            "looks so",
        ),
        Row(other["file"], "mask", "wear", "wear", "ann", corrections.now()),
        Row(photos["file"].iloc[14], "photo", "there", "removed", "ann", corrections.now(), "blurred"),
    ]
    corrections.append(rows, repository / "corrections.csv")
    told = command(repository, "dvc", "repro")
    assert (
        "corrections.csv: 1 label of 1 person changed, 1 photo removed, 1 looked at and kept"
        in told.stdout + told.stderr
    )
    assert pd.read_csv(repository / "out/oof-ensemble/oof.csv")["label"].iloc[0] != photos["label"].iloc[0]
    shown = command(repository, "maskcli", "compare", "HEAD", "workspace").stdout
    assert "with 24 people" in shown.splitlines()[0]
    assert "On people with the same labels in both runs: workspace against HEAD" in shown
    assert "with 23 people" in shown
    assert (
        "corrections.csv changed 7 photos of 1 person between HEAD and workspace: what was decided is the truth"
        in shown
    )
    assert "(7 as in workspace)" in shown
    corrections.append(
        [Row(other["person"], "age", str(other["age"]), str(other["age"]), "bob", "")], repository / "corrections.csv"
    )
    again = command(repository, "dvc", "repro").stdout
    assert "Running stage 'prepare'" in again
    assert "Running stage 'train" not in again  # looked at and kept: nothing to learn anew
