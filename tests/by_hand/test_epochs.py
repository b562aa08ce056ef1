"""maskcli epochs: which runs the advice is taken from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages import oof_ensemble, train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import epochs
from stages.learn.training_terms import Terms
from tests.conftest import record_folds, small

RISING = [0.1, 0.3, 0.5, 0.5, 0.5, 0.5]
PARAMS: dict[str, Any] = {"schedule": {"name": "constant"}, "train": {"epochs": 6, "repeats": 2}}


def histories(of_folds: Mapping[int, list[list[float]]]) -> None:
    """Records of both folds, and val_f1 after each epoch of every repeat."""
    record_folds(small(**PARAMS))
    for fold, repeats in of_folds.items():
        tables = [
            pd.DataFrame({"repeat": number, "epoch": range(1, len(f1) + 1), "val_f1": f1})
            for number, f1 in enumerate(repeats)
        ]
        losses = {"train_loss": 1.0, "val_loss": 1.0, "val_nll": 1.0}
        write_csv(paths.history(fold), pd.concat(tables).assign(**losses))


def test_a_run_that_is_in_training_does_not_stand_still_for_the_epochs_to_come(project: Path) -> None:
    histories({0: [RISING, RISING], 1: [RISING, RISING]})
    whole = epochs.run(small(**PARAMS), SILENT)
    histories({0: [RISING, RISING], 1: [RISING, RISING[:2]]})
    said: list[str] = []
    found = epochs.run(small(**PARAMS), Talk(said.append))
    assert said == ["epochs: left out: run 1.1, not trained to the end"]
    assert found["runs"] == ["0.0", "0.1", "1.0"]
    for told in (found, whole):
        assert np.allclose([row["val_f1"] for row in told["curve"]], RISING)
    histories({0: [RISING, RISING], 1: [RISING[:2]]})
    assert epochs.run(small(**PARAMS), SILENT)["folds"] == [0]
    # Early stopping ends a run sooner: a fold that has its metrics is done.
    write_json(paths.train_metrics(1), {})
    assert epochs.run(small(**PARAMS), SILENT)["folds"] == [0, 1]


def test_where_no_run_has_ended_the_epochs_so_far_are_shown_and_name_none_for_a_refit(project: Path) -> None:
    histories({0: [RISING[:3]], 1: [RISING[:2]]})
    said: list[str] = []
    found = epochs.run(small(**PARAMS), Talk(said.append))
    assert said == ["epochs: no fold is trained to its end: this is about the epochs so far, of 6"]
    assert found["trained_epochs"] == 3
    with pytest.raises(
        UserError, match=r"refit: no fold is trained to its end \(3 epochs so far\), so nothing says when"
    ):
        epochs.for_refit(small(**PARAMS), SILENT)


def test_standard_errors_are_over_folds_however_many_repeats(project: Path) -> None:
    lower = [value - 0.1 for value in RISING]
    histories({0: [RISING, RISING], 1: [lower, lower]})
    table = epochs.run(small(**PARAMS), SILENT)["curve"]
    assert np.allclose([row["val_f1_error"] for row in table], 0.05)  # half of the difference of two folds


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_fold_that_is_trained_anew_and_cut_off_is_not_taken_for_one_that_has_ended(
    project: Path, repeats: int
) -> None:
    """Its weights and predictions of before are there still, whole and of that same run; its history has begun again."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    params, said = small(train={"repeats": repeats}), list[str]()
    train.run(params, SILENT, None)
    with pytest.raises(KeyboardInterrupt):
        train.run(
            params, Talk(said.append), 0, Terms(fresh=True, stop=lambda: any("epoch  1/2" in line for line in said))
        )
    said.clear()
    assert epochs.run(params, Talk(said.append))["folds"] == [1]
    assert said == ["epochs: left out: run 0, not trained to the end"]
    with pytest.raises(UserError, match=r"out/train/0/metrics.json: not found; run `maskcli train --fold 0`"):
        oof_ensemble.run(params, SILENT)
    train.run(params, SILENT, 0)
    oof_ensemble.run(params, SILENT)
