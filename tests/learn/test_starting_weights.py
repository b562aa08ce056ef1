"""What a training may begin with: files that DVC watches, and none that knows the people it is scored on."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from stages import lr_find, train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT
from stages.by_hand import refit
from stages.data.task_and_classes import CONTEST
from stages.learn import learner, model, starting_weights
from stages.records.run_record import Record
from tests.conftest import record_folds, small


def write_model(path: Path, record: Record | None) -> None:
    net = model.build(model.architecture(small(), CONTEST))
    model.save(path, net.architecture, net.state_dict(), record)


@pytest.fixture
def fold(project: Path) -> Path:
    """A fold's weights."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    write_model(paths.weights(1), record_folds(small()))
    return paths.weights(1)


@pytest.mark.parametrize(
    "how", ["by its path", "by a link", "as DVC links it", "copied", "copied, renamed and refit's"]
)
def test_models_trained_on_these_people_start_no_fold(fold: Path, how: str) -> None:
    Path("weights").mkdir()
    path = Path("weights/mine.safetensors")
    if how == "by its path":
        path = fold
    elif how == "by a link":
        path.symlink_to(fold.resolve())
    elif how == "as DVC links it":
        cached = Path("cache").resolve()
        fold.rename(cached)
        fold.symlink_to(cached)
        path = fold
    elif how == "copied":
        shutil.copy(fold, path)
    else:
        write_model(paths.refit_weights(0), record_folds(small()))
        path = Path("weights/best.safetensors")
        shutil.copy(paths.refit_weights(0), path)
    params = small(model={"weights": str(path)})
    message = r"params.yaml: model.weights: .* was trained on these photos, which each fold is scored on"
    for stage in (
        lambda: lr_find.run(params, SILENT),
        lambda: train.run(params, SILENT, 0),
        lambda: refit.run(params, SILENT),
    ):
        with pytest.raises(UserError, match=message):
            stage()


def test_models_of_other_photos_and_other_programs_do(fold: Path) -> None:
    other = Path("other.safetensors")
    write_model(other, Record(run="there", data={"photos": "of another set"}))
    starting_weights.check(small(model={"weights": str(other)}))
    assert starting_weights.trained_on(other) == "of another set"
    write_model(other, None)
    starting_weights.check(small(model={"weights": str(other)}))
    Path("other.pth").write_bytes(b"whatever")
    starting_weights.check(small(model={"weights": "other.pth"}))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model": {"options": {"checkpoint_path": "mine.pth"}}}, "model.options.checkpoint_path"),
        (
            {"model": {"options": {"pretrained_cfg_overlay": {"file": "mine.pth"}}}},
            "model.options.pretrained_cfg_overlay.file",
        ),
        ({"augment": {"pipeline": [{"TextImage": {"font_path": "a.ttf"}}]}}, "augment.pipeline.0.TextImage.font_path"),
        (
            {"augment": {"pipeline": [{"FDA": {"reference_images": ["data/eval/info.csv"]}}]}},
            "augment.pipeline.0.FDA.refer",
        ),
    ],
)
def test_files_named_where_dvc_does_not_look_are_refused(project: Path, changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=rf"params.yaml: {key}.*: names the file .*, and DVC would not see it change"):
        learner.check(small(**changes))


def test_words_that_name_no_file_are_arguments(project: Path) -> None:
    starting_weights.check(
        small(
            model={"options": {"pad_type": "same"}},
            augment={"pipeline": ["ToGray", {"CoarseDropout": {"fill": "random"}}]},
        )
    )
