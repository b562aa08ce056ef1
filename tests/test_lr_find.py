"""lr-find: what it trains, with how many threads, and what it says of a curve that suggests nothing."""

from typing import Any

import numpy as np
import pytest
import torch
import yaml

from stages import lr_find
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_csv, read_json
from stages.base.talk import SILENT, Talk
from stages.learn import cpu_threads, lr_range_test
from stages.params.model_and_training import Augment
from tests.conftest import ROOT, small

LRS = np.geomspace(1e-6, 1, 100)
FALLS = 3 - 1.5 / (1 + np.exp(-4 * np.log10(LRS / 1e-3)))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the range test finds, in place of training, and the threads it had."""
    found: dict[str, Any] = {"curve": (LRS, FALLS)}

    def range_test(*words: object) -> Any:
        found["threads"] = torch.get_num_threads()
        return found["curve"]

    monkeypatch.setattr(lr_find, "range_test", range_test)
    return found


def said(**changes: Any) -> list[str]:
    lines: list[str] = []
    lr_find.run(small(**changes), Talk(lines.append))
    return lines


def test_auto_takes_what_the_curve_suggests_and_says_how(project: object, measured: dict[str, Any]) -> None:
    reading = lr_range_test.read(LRS, FALLS)
    assert reading is not None
    (told, *_) = said(lr="auto")
    assert told.startswith("lr-find: half of the loss's fall at 0.001, times 7.5: 0.007")
    assert told.endswith("(range test)")
    assert said(lr="auto", loss="f1")[0].endswith("training uses 0.00188 (range test, a quarter of it for loss: f1)")
    assert read_json(paths.LR_CHOSEN, "lr-find", "lr")["lr"] == reading.suggestion
    marks = read_csv(paths.LR_SUGGESTIONS, "lr-find", {"name": str, "lr": float}).set_index("name")["lr"]
    assert marks.to_dict() == pytest.approx(  # six digits are written
        {"half the fall": reading.middle, "lowest": reading.lowest, "chosen": reading.suggestion}, rel=1e-5
    )


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ((LRS, 6 - FALLS), "does not fall in the range test, .*; write a number in `lr`"),
        ((LRS[:2], FALLS[:2]), "does not fall in the range test"),
        ((LRS[:55], FALLS[:55]), r"ended at 0.0019, below what it suggests \(0.00\d+\); raise lr_find.end"),
    ],
    ids=["rises", "diverges at once", "ends too early"],
)
def test_auto_takes_no_rate_that_the_curve_does_not_show(
    project: object, measured: dict[str, Any], curve: tuple[np.ndarray, np.ndarray], message: str
) -> None:
    measured["curve"] = curve
    with pytest.raises(UserError, match=message):
        said(lr="auto")
    assert not paths.LR_CHOSEN.exists()
    assert "training uses 0.002 (params.yaml)" in said(lr=0.002)[0], "a number needs no curve"


def test_the_range_test_has_the_threads_of_its_fold(
    project: object, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_threads, "choose", lambda *words: {0: 1, 1: 2})
    before = torch.get_num_threads()
    for fold in (0, 1):
        lr_find.run(small(), SILENT, fold)
        assert measured["threads"] == fold + 1
    assert torch.get_num_threads() == before


def test_sgd_with_a_loss_of_another_scale_is_warned_of(project: object, measured: dict[str, Any]) -> None:
    def warned(name: str, **changes: Any) -> bool:
        return any(f"warning: lr-find: steps of {name}" in line for line in said(optimizer={"name": name}, **changes))

    assert warned("sgd", lr="auto", loss="focal")
    assert warned("lookahead_momentum", lr="auto", targets="factored")
    assert not warned("sgd", lr="auto")
    assert not warned("sgd", lr=0.1, loss="focal")
    assert not warned("adamw", lr="auto", loss="focal")


def test_dvc_measures_again_where_what_is_done_to_its_photos_changes() -> None:
    """All of augment but what the range test puts in the place of the run's own."""
    named = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["lr-find"]["params"]
    kept = set(Augment.model_fields) - set(lr_find.PLAIN["augment"])
    assert {f"augment.{name}" for name in kept} == {name for name in named if name.startswith("augment.")}
