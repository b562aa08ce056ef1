from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data import task_and_classes
from stages.learn import fold_maps, grad_cam, model
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record
from tests.conftest import small
from tests.learn.test_merged_batch_norm import trained


def with_places(**changes: object) -> Params:
    return small(model={"options": {"output_stride": 8}}, **changes)


def write_models(params: Params) -> Record:
    """Weights of two folds and two repeats, all different, and the record of their run."""
    record = run_record.made(params, 0.01, {})
    for fold in params.folds:
        for repeat in range(2):
            net = trained(10 * fold + repeat, model={"options": {"output_stride": 8}}, targets=params.targets)
            shape = model.architecture(params, task_and_classes.read(params))
            model.save(paths.weights(fold, repeat), shape, net.state_dict(), record)
    return record


@pytest.mark.parametrize("targets", ["joint", "factored"])
def test_each_photo_is_explained_by_the_models_of_its_own_fold(project: Path, targets: str) -> None:
    params = with_places(targets=targets)
    record = write_models(params)
    rows, folds = np.array([40, 3, 7]), np.array([1, 0, 1])
    names = pd.read_csv(paths.PHOTOS)["file"].to_numpy()[rows]
    classes = np.array([13, 2, 5])
    found = fold_maps.of_folds(fold_maps.Asked(names, folds, classes, 2), record, params, SILENT)
    assert found.places == (4, 4)
    assert np.array_equal(found.pixels, np.load(paths.PIXELS, mmap_mode="r")[rows])
    assert list(found.heat) == ([None] if targets == "joint" else [0, 1, 2])
    for axis, heat in found.heat.items():
        for row, fold in enumerate(folds):
            own = [
                grad_cam.explain(
                    model.load(paths.weights(fold, repeat)), found.pixels[[row]], classes[[row]], params, axis
                )
                for repeat in range(2)
            ]
            assert heat[row] == pytest.approx(np.mean(own, axis=0)[0], abs=1e-4)
    assert np.ptp(found.heat[None if targets == "joint" else 2]) > 0.1, "else nothing is tried here"


def test_models_of_another_training_explain_nothing(project: Path) -> None:
    params = with_places()
    record = write_models(params)
    name = pd.read_csv(paths.PHOTOS)["file"].to_numpy()[:1]
    asked = fold_maps.Asked(name, np.zeros(1, int), np.zeros(1, int), 2)
    other = run_record.made(params, 0.02, {})
    with pytest.raises(UserError, match=r"^out/train/0/models/0.safetensors: is of another training$"):
        fold_maps.of_folds(asked, other, params, SILENT)
    with pytest.raises(UserError, match=r"^out/train/0/models/0.safetensors: is of another training$"):
        fold_maps.of_folds(asked, Record(), params, SILENT)  # of before there were records
    paths.weights(0, 1).unlink()
    with pytest.raises(UserError, match=r"^out/train/0/models/1.safetensors: not here$"):
        fold_maps.of_folds(asked, record, params, SILENT)
