"""check finds in a minute what would fail late, and leaves the project as it was."""

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from stages import tta_predict
from stages.base import paths
from stages.base.talk import SILENT
from stages.by_hand import check, check_batches, check_estimates, check_findings, check_trial
from stages.by_hand.check_findings import Finding, Report
from stages.by_hand.check_trial import Trial
from stages.data import photos, pseudo_labelled_photos, task_and_classes
from stages.data.found_photos import Found
from stages.data.task_and_classes import CONTEST, Task
from stages.learn import losses, model, plugins, predict
from stages.params.load import load, parse
from stages.params.schema import Params
from tests import layouts
from tests.conftest import SMALL, maskcli, small
from tests.learn import plugged
from tests.new_project import made

STARTUP = check_estimates._startup


@pytest.fixture(autouse=True)
def no_process_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process takes to start is measured by starting two, which are left out where their time is not looked at."""
    monkeypatch.setattr(check_estimates, "_startup", lambda imports: 0.0)


def found(params: Params) -> Report:
    before = sorted(str(path) for path in Path().rglob("*"))
    report = check.run(params, SILENT)
    assert sorted(str(path) for path in Path().rglob("*")) == before  # nothing is written here
    return report


def failures(report: Report) -> dict[str, str]:
    return {finding.what: finding.detail for finding in report.failed}


def test_all_stages_run_and_are_timed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: dict[str, Any] = {}
    look_at_disk, usage = check_findings.disk_space, shutil.disk_usage(".")

    def noted(params: Params, data: Found, free: int, sizes: dict[str, Any]) -> Finding:
        measured.update(sizes, free=free)
        return look_at_disk(params, data, free, sizes)

    monkeypatch.setattr(check.shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    monkeypatch.setattr(check_findings, "disk_space", noted)
    monkeypatch.setattr(check_estimates, "_startup", STARTUP)
    report = found(small(train={"epochs": 9000}))
    assert failures(report) == {}
    looked_at = {finding.what for finding in report.findings}
    stages = {"prepare", "eda", "kfold", "lr-find", "train", "oof-ensemble", "tta-predict"}
    assert looked_at == stages | {"data set", "folds", "submission batch", "real batch", "memory", "disk space"}
    seconds = {estimate.stage: estimate.seconds for estimate in report.estimates}
    assert set(seconds) == (stages - {"train"}) | {"train, 2 folds"}
    assert report.total_seconds == pytest.approx(sum(seconds.values()))
    assert all(value > 0 for value in seconds.values())
    assert seconds["train, 2 folds"] > 2 * seconds["kfold"]  # the start of two processes, and 9,000 epochs
    assert seconds["train, 2 folds"] > 100
    assert measured["predicted"] == 42  # all eval photos are one batch of tta-predict, though the trial has 8 of them
    # prepare's new caches will take the place of those that are there.
    assert measured["free"] == 10**9 + paths.PIXELS.stat().st_size + paths.EVAL_PIXELS.stat().st_size


@pytest.mark.parametrize("folder", [Path(), Path("out"), paths.PHOTOS.parent, paths.TRAIN / "0"])
def test_a_folder_that_cannot_be_written_into_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (paths.TRAIN / "0").mkdir(parents=True)
    make = tempfile.TemporaryFile

    def refuse(dir: Path) -> Any:
        if dir == folder:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return make(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    detail = f"{folder if folder.parts else project}: cannot be written (Read-only file system); free disk space"
    assert failures(found(small()))["project folder"].startswith(detail)


TABLE: dict[str, Any] = {
    "subsets": {"heavy": {"weight": "14+"}},
    "data": {"layout": "table", "train": "set/photos.csv", "root": "set", "file": "filename", "group": "patient"},
    "axes": {"kind": {}, "weight": {"bins": [8, 14], "regress": True, "scale": 10}},
    "targets": "factored",
}


def test_folders_without_an_eval_set_are_tried_too() -> None:
    made.folder(Path("photos"))
    report = found(parse(SMALL | {"subsets": {}, "data": {"layout": "folder", "root": "photos"}}))
    assert failures(report) == {}
    assert {"tta-predict", "submission batch"}.isdisjoint(finding.what for finding in report.findings)
    assert "tta-predict" not in {estimate.stage for estimate in report.estimates}
    assert "30 photos, no eval set" in {finding.detail for finding in report.findings}


def test_tables_with_groups_and_an_eval_set_are_tried_too() -> None:
    made.table(Path("set"))
    report = found(parse(SMALL | TABLE))
    assert failures(report) == {}
    assert "15 groups, 30 photos, 6 eval photos" in {finding.detail for finding in report.findings}
    assert report.estimates[-1].stage == "tta-predict"


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (
            {},
            "this user id has no name or home, and DVC ends without; set USER and HOME (`docker run -e USER=me -e HOME=/tmp`)",
        ),
        ({"HOME": "/tmp"}, "this user id has no name, and DVC ends without; set USER (`docker run -e USER=me`)"),
        ({"LOGNAME": "me"}, "this user id has no home, and DVC ends without; set HOME (`docker run -e HOME=/tmp`)"),
        ({"USER": "me", "HOME": "/tmp"}, None),
    ],
)
def test_a_user_id_without_an_account_is_found(
    monkeypatch: pytest.MonkeyPatch, kept: dict[str, str], expected: str | None
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    report = Report()
    check_findings.look_at_account(report)
    assert [finding.detail for finding in report.failed] == ([expected] if expected else [])


@pytest.mark.parametrize(("name", "told"), [("José", ["warning"]), ("Jose", [])])
def test_a_path_by_which_dvcs_queue_fails_is_told(
    name: str, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / name)
    report = Report()
    check_findings.look_at_dvc_cache(report)
    assert [finding.state for finding in report.findings] == told
    assert all("José/.dvc/cache: is a path with letters beyond ASCII" in finding.detail for finding in report.findings)


def test_speed_is_measured_with_the_threads_of_the_real_folds(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(params: Params, device: str, most: int) -> dict[int, int]:
        return dict.fromkeys(params.folds, 1 if params.folds == (0, 1, 2) else 2)

    monkeypatch.setattr(check_batches.cpu_threads, "choose", choose)
    monkeypatch.setattr(check_batches.cores, "available", lambda: 2)
    asked: list[int] = []
    monkeypatch.setattr(check_batches.torch, "set_num_threads", asked.append)
    report = found(small(folds=[0, 1, 2]))
    assert failures(report) == {}
    assert "train, 3 folds, 2 at a time" in {estimate.stage for estimate in report.estimates}
    assert asked[-2:] == [2, 1]  # predictions on all cores, then steps as a fold's


@pytest.mark.parametrize(
    ("changes", "what", "message"),
    [
        ({"model": {"weights": "gone.safetensors"}}, "lr-find", "gone.safetensors not found"),
        ({"model": {"name": "resnet18x"}}, "lr-find", "timm has no model `resnet18x`"),
        ({"optimizer": {"name": "adahessian"}}, "lr-find", "`adahessian` needs second derivatives"),
        ({"augment": {"pipeline": ["Clahe"]}}, "lr-find", "albumentations has no `Clahe`"),
        (
            {"image": {"height": 16, "width": 16}, "model": {"name": "vit_tiny_patch16_224"}},
            "lr-find",
            "cannot take 16x16",
        ),
    ],
)
def test_what_params_ask_for_and_cannot_have_is_found(
    project: Path, changes: dict[str, Any], what: str, message: str
) -> None:
    report = found(small(**changes))
    assert message in failures(report)[what]
    assert report.estimates == []


def test_a_fault_of_the_last_stage_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("an undebugged line")

    monkeypatch.setattr(tta_predict, "predict_views", broken)
    (Path("start.safetensors")).write_bytes(_weights())
    params = small(model={"weights": "start.safetensors"})  # a relative path, seen from the temporary folder
    assert failures(found(params)) == {"tta-predict": "ZeroDivisionError: an undebugged line"}


def test_starting_weights_that_know_these_people_are_found(project: Path) -> None:
    paths.weights(0).parent.mkdir(parents=True)
    paths.weights(0).write_bytes(_weights())
    told = failures(found(small(model={"weights": str(paths.weights(0))})))["starting weights"]
    assert "was trained on these photos" in told


@pytest.mark.slow
def test_the_trial_has_models_and_losses_of_ones_own_and_lists_them(project: Path) -> None:
    report = found(plugged.place(train={"epochs": 1}))
    assert failures(report) == {}
    told = next(finding for finding in report.findings if finding.what == "plugins")
    assert told.detail == "nets.py: model tiny; mine.py: loss squared (power 2.0, balanced False)"
    plugins.load(plugins.NO_PLUGINS)


def test_a_file_of_ones_own_that_cannot_be_imported_is_found_before_anything_is_tried(project: Path) -> None:
    params = plugged.place()
    Path("nets.py").write_text("nonsense(")
    assert failures(found(params)) == {"plugins": "nets.py line 1: is not valid Python ('(' was never closed); mend it"}


def test_a_fault_of_eda_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("an undebugged line")

    monkeypatch.setattr(check.eda.eda_figures, "classes", broken)
    assert failures(found(small())) == {"eda": "ZeroDivisionError: an undebugged line"}


def test_a_submission_batch_that_does_not_fit_the_memory_is_found(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial has 8 eval photos, the whole data set 42, which tta-predict takes at once."""
    predict_views = predict.of_views

    def little_memory(net: Any, asked: predict.Asked, *rest: Any) -> Any:
        if len(asked.positions) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict_views(net, asked, *rest)

    monkeypatch.setattr(predict, "of_views", little_memory)
    assert failures(found(small())) == {"submission batch": "OutOfMemoryError: CUDA out of memory"}


def test_a_fault_of_the_last_epochs_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ldam re-weights from 0.8 of the epochs on, which the trial's one epoch never comes to."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("an undebugged line")

    monkeypatch.setattr(losses, "_effective_number", broken)
    assert failures(found(small(loss="ldam"))) == {"real batch": "ZeroDivisionError: an undebugged line"}


def test_debug_raises_what_a_stage_raises(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("an undebugged line")

    monkeypatch.setattr(check.prepare, "run", broken)
    with pytest.raises(ZeroDivisionError):
        check.run(small(), SILENT, debug=True)


def of_tables(params: Params) -> tuple[Found | None, Report]:
    report = Report()
    return check_findings.look_at_data(params, report), report


def test_too_few_people_for_the_folds_and_faulty_photos_are_found(project: Path) -> None:
    _, report = of_tables(small(folds=list(range(9))))
    (rare,) = [finding for finding in report.findings if finding.what == "folds"]
    assert rare.state == "warning"
    assert "fewer people than folds (9) in" in rare.detail
    next(project.glob("data/train/images/*/mask2.jpg")).unlink()
    assert "this photo is missing" in failures(of_tables(small())[1])["data set"]


def test_faults_of_the_photos_tried_are_no_list_that_is_gone_with_the_trial(project: Path) -> None:
    for photo in project.glob("data/train/images/*/mask2.jpg"):
        photo.write_bytes(b"")
    (told,) = failures(found(small())).values()
    assert "faults among the photos tried; `maskcli prepare` lists all there are; mend them" in told
    assert str(paths.FAULTS) not in told


def test_a_class_without_people_is_warned_of(project: Path) -> None:
    table = pd.read_csv("data/train/train.csv", dtype={"id": str})
    table[table["age"] < 60].to_csv("data/train/train.csv", index=False)
    (warning,) = [finding for finding in of_tables(small())[1].findings if finding.what == "folds"]
    assert warning.state == "warning"
    assert "nobody is male 60+, female 60+" in warning.detail


def test_caches_checkpoints_and_weights_must_fit_the_disk(project: Path) -> None:
    data, _ = of_tables(small())
    assert data is not None
    sizes = {"photo_bytes": 1000, "weights_bytes": 10_000, "checkpoint_bytes": 40_000}
    checkpoint = 40_000 + 10_000  # with the selected epoch's weights, which the measured one has not yet
    # Two folds; weights in the workspace and in DVC's cache; a checkpoint's successor is written beside it.
    needed = (24 * 7 + 42) * 1000 + 2 * (2 * 10_000 + checkpoint) + checkpoint
    assert check_findings.disk_space(small(), data, int(needed / 0.9) + 10, sizes).state == "ok"
    finding = check_findings.disk_space(small(), data, int(needed / 0.9) - 10, sizes)
    assert finding.state == "failed"
    assert "400 kB needed" in finding.detail


def of_pseudo_labels(params: Params) -> tuple[str, str]:
    """State and detail of what was found."""
    data, report = of_tables(params)
    assert data is not None
    report.findings.clear()
    check_findings.look_at_pseudo_labels(params, data, report)
    (finding,) = report.findings
    return finding.state, finding.detail


def test_photos_that_will_be_decoded_on_the_fly_are_in_the_trial_too() -> None:
    """The trial's few photos would fit any cache, and training from it would be timed too fast."""
    params = small(data={"cache_gb": 0.01})
    own = made_of(pd.DataFrame({"group": ["a"]}))
    assert check_trial.params_of(params, own, cached=True).data.cache_gb == 0.01
    assert check_trial.params_of(params, own, cached=False).data.cache_gb == 0


def made_of(photos: pd.DataFrame) -> Found:
    return Found(task_and_classes.CONTEST, photos, pd.DataFrame(), pd.DataFrame({"ImageID": []}))


def test_pseudo_labels_are_checked_against_the_real_folds_and_eval_photos(project: Path) -> None:
    params = small(pseudo={"labels": "mine.csv"})
    failed = found(small(pseudo={"labels": "mine.csv"}, model={"name": "resnet18x"}))
    assert "mine.csv not found" in failures(failed)["pseudo-labels"]
    image = str(pd.read_csv(paths.EVAL_CSV)["ImageID"][30])  # not among the trial's
    table = pd.DataFrame(
        [["0", image, 3, 0.99, pseudo_labelled_photos.split()]], columns=pseudo_labelled_photos.COLUMNS
    )
    table.to_csv("mine.csv", index=False)
    assert of_pseudo_labels(params) == ("ok", "mine.csv: 1 labels")
    table.assign(split="other").to_csv("mine.csv", index=False)
    assert "split is not that of out/kfold/folds.csv" in of_pseudo_labels(params)[1]


def test_before_kfold_pseudo_labels_must_be_a_table_at_least(project: Path) -> None:
    params = small(pseudo={"labels": "mine.csv"})
    paths.FOLDS.unlink()
    assert "mine.csv not found" in of_pseudo_labels(params)[1]
    for content, message in ((b"\xff\x00", "cannot be read"), (b"", "cannot be read"), (b"a,b\n", "no column")):
        Path("mine.csv").write_bytes(content)
        state, detail = of_pseudo_labels(params)
        assert state == "failed"
        assert message in detail
    Path("mine.csv").write_text(",".join(pseudo_labelled_photos.COLUMNS) + "\n")
    assert of_pseudo_labels(params)[0] == "warning"


def test_judging_is_measured_on_few_photos_and_reckoned_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    now = [0.0]
    monkeypatch.setattr(check_estimates.time, "perf_counter", lambda: now[0])

    def slow(log_probabilities: np.ndarray, labels: np.ndarray, group: np.ndarray, own: Task, params: Params) -> None:
        seen.append(len(labels))
        assert log_probabilities.shape == (len(labels), 18)
        now[0] += 0.2

    monkeypatch.setattr(check_estimates.decision_rule, "judge", slow)
    table = pd.DataFrame({"group": np.repeat(np.arange(6000), 7).astype(str)})
    seconds = check_estimates.judging(small(), made_of(table))
    assert seen == [3000]
    assert seconds == pytest.approx(0.2 * 14)


def test_training_is_reckoned_with_hashing_the_pixel_cache_and_predictions_with_their_own_speed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = of_tables(small())
    assert data is not None
    measured = {"batch": 32, "jobs": 2, "train_rate": 1e9, "val_rate": 1e9, "predict_rate": 2.0, "photo_bytes": 10**9}
    found = check_estimates.of_stages(Trial(small(), small(), data, 0), {"prepare": 1.0, "eda": 1.0}, measured)
    seconds = {estimate.stage: estimate.seconds for estimate in found}
    hashing = 24 * 7 * 1e9 / check_estimates.HASHED_PER_SECOND
    assert seconds["train, 2 folds, 2 at a time"] == pytest.approx(2 * (hashing + check_estimates.DVC_STAGE), rel=1e-3)
    robust = small(label_noise={"action": "drop"}, train={"epochs": 4})  # two models, each on half of the photos
    measured |= {"train_rate": 1.0, "val_rate": 1.0}
    more, less = (
        next(
            one.seconds
            for one in check_estimates.of_stages(Trial(each, each, data, 0), {"prepare": 1.0, "eda": 1.0}, measured)
            if one.stage.startswith("train")
        )
        for each in (robust, small(train={"epochs": 4}))
    )
    assert more - less == pytest.approx(4 * 24 * 7)
    views = len(small().tta.views)
    assert seconds["tta-predict"] == pytest.approx(42 * views * 2 / 2.0 + check_estimates.DVC_STAGE)


def _weights() -> bytes:
    net = model.build(model.architecture(small(), CONTEST))
    model.save(Path("some.safetensors"), net.architecture, net.backbone.state_dict())
    content = Path("some.safetensors").read_bytes()
    Path("some.safetensors").unlink()
    return content


def test_the_command_exits_with_2_where_something_would_fail(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "params.yaml").write_text(
        yaml.safe_dump(small(model={"name": "resnet18x"}).model_dump(mode="json"), sort_keys=False)
    )
    code, out, err = maskcli(monkeypatch, capsys, "check", "--json")
    assert code == 2
    assert not json.loads(out)["ok"]
    assert not any("Traceback" in line for line in err)
    assert not (project / "out/train").exists()


def test_the_trial_of_a_contests_tables_has_a_table_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.by_pattern(eval="test.csv", eval_file="new/{id}.png")()
    Path("test.csv").write_text("id\n7\n8\n")
    layouts.photo("new/7.png", "new/8.png")()
    real = load()
    found = photos.find(real)
    check_trial.lay_out(Path("trial"), real, check_trial.params_of(real, found, cached=True), found)
    monkeypatch.chdir("trial")
    again = photos.find(load())
    assert (len(again.photos), again.eval["ImageID"].tolist()) == (4, ["new/7.png", "new/8.png"])
    assert not again.faults + again.eval_faults
