"""check finds in a minute what would fail late, and leaves the project as it was."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from stages import check, tta_predict
from stages.check import Report
from stages.learn import model
from stages.params import Params
from stages.talk import SILENT
from tests.conftest import command, small


def found(params: Params) -> Report:
    before = sorted(str(path) for path in Path().rglob("*"))
    report = check.run(params, SILENT)
    assert sorted(str(path) for path in Path().rglob("*")) == before  # nothing is written here
    return report


def failures(report: Report) -> dict[str, str]:
    return {finding.what: finding.detail for finding in report.failed}


def test_all_stages_run_and_are_timed(project: Path) -> None:
    report = found(small(train={"epochs": 9000}))
    assert failures(report) == {}
    looked_at = {finding.what for finding in report.findings}
    stages = {"prepare", "kfold", "lr-find", "train", "oof-ensemble", "tta-predict"}
    assert looked_at == stages | {"data set", "folds", "real batch", "memory", "disk space"}
    seconds = {estimate.stage: estimate.seconds for estimate in report.estimates}
    assert set(seconds) == (stages - {"train"}) | {"train, 2 folds", "eda"}
    assert report.total_seconds == pytest.approx(sum(seconds.values()))
    assert all(value > 0 for value in seconds.values())
    assert seconds["train, 2 folds"] > 2 * seconds["kfold"]  # the start of two processes, and 9,000 epochs
    assert seconds["train, 2 folds"] > 100


@pytest.mark.parametrize(
    ("changes", "what", "message"),
    [
        ({"model": {"pretrained": "gone.safetensors"}}, "lr-find", "gone.safetensors not found"),
        ({"model": {"name": "resnet18x"}}, "lr-find", "timm has no model `resnet18x`"),
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
    params = small(model={"pretrained": "start.safetensors"})  # a relative path, seen from the temporary folder
    assert failures(found(params)) == {"tta-predict": "ZeroDivisionError: an undebugged line"}


def test_debug_raises_what_a_stage_raises(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("an undebugged line")

    monkeypatch.setattr(check.prepare, "run", broken)
    with pytest.raises(ZeroDivisionError):
        check.run(small(), SILENT, debug=True)


def of_tables(params: Params) -> tuple[check.Data | None, Report]:
    report = Report()
    return check.look_at_tables(params, report), report


def test_too_few_people_for_the_folds_and_faulty_photos_are_found(project: Path) -> None:
    _, report = of_tables(small(folds=list(range(9))))
    assert "fewer than the 9 folds" in failures(report)["folds"]
    next(project.glob("data/train/images/*/mask2.jpg")).unlink()
    assert "this photo is missing" in failures(of_tables(small())[1])["data set"]


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
    needed = (24 * 7 + 42) * 1000 + 2 * (2 * 10_000 + 40_000)  # two folds; weights in the workspace and in DVC's cache
    assert check.disk_space(small(), data, int(needed / 0.9) + 10, sizes).state == "ok"
    finding = check.disk_space(small(), data, int(needed / 0.9) - 10, sizes)
    assert finding.state == "failed"
    assert "330 kB needed" in finding.detail


def _weights() -> bytes:
    net = model.build(model.architecture(small()))
    model.save(Path("some.safetensors"), net.architecture, net.backbone.state_dict())
    content = Path("some.safetensors").read_bytes()
    Path("some.safetensors").unlink()
    return content


def test_the_command_exits_with_2_where_something_would_fail(project: Path) -> None:
    (project / "params.yaml").write_text(yaml.safe_dump(small(model={"name": "resnet18x"}).model_dump(mode="json")))
    done = command(project, "maskcli", "check", "--json", code=2)
    told = json.loads(done.stdout)
    assert not told["ok"]
    assert "Traceback" not in done.stderr
    assert not (project / "out/train").exists()
