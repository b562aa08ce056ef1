"""What a training may begin with: files that DVC watches, and none that knows the people it is scored on."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages import kfold, lr_find, prepare, train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json
from stages.base.talk import SILENT, Talk
from stages.by_hand import refit, screen_frozen
from stages.by_hand.screen_frozen import Choice
from stages.data import demo_faces, photos
from stages.data.fold_data import open_fold
from stages.data.task_and_classes import CONTEST
from stages.learn import learner, model, starting_weights
from stages.params.schema import Params
from stages.records import learnt_photos
from stages.records.run_record import Record
from tests.conftest import SMALL, record_folds, small
from tests.data.test_pseudo_labelled_photos import with_labels, write_labels


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
    assert starting_weights.warnings(other, "people") == [
        "warning: other.safetensors: was trained by maskcli on other photos; where people of these are among them, OOF scores "
        "flatter"
    ]
    write_model(other, None)
    Path("other.pth").write_bytes(b"whatever")
    for path in (other, Path("other.pth")):
        starting_weights.check(small(model={"weights": str(path)}))
        assert starting_weights.warnings(path, "people") == []


@pytest.fixture(scope="module")
def of_fold_0(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that `train` wrote of fold 0 of the prepared project, elsewhere."""
    folder = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(prepared, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fitted(small())
        return paths.weights(0).resolve()


def fitted(params: Params, say: Callable[[str], None] = lambda line: None) -> None:
    """Train fold 0 for an epoch."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    brief = params.model_copy(update={"train": params.train.model_copy(update={"epochs": 1})})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        train.run(brief, Talk(say), 0)


def edited(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """photos.csv as it would be of other tables, labels or photos."""
    write_csv(paths.PHOTOS, change(pd.read_csv(paths.PHOTOS, dtype=str, keep_default_na=False)))


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a corrected label": lambda table: table.assign(label=["17", *table["label"][1:]]),
    "other names": lambda table: table.assign(file="mine/" + table["file"], person="x" + table["person"]),
    "another order": lambda table: table[::-1],
    "fewer photos": lambda table: table[7:],
    "one photo more": lambda table: pd.concat([table, table[:1].assign(file="new.jpg", content="0123456789abcdef")]),
}


@pytest.mark.parametrize("case", CHANGES)
def test_models_that_learnt_photos_of_these_start_no_fold_whatever_the_table_says_of_them(
    project: Path, of_fold_0: Path, case: str
) -> None:
    """They were known by the digest of photos.csv alone: one corrected label made them strangers, and OOF scores flattered."""
    learnt = set(pd.read_csv(paths.PHOTOS, dtype=str)["content"].iloc[open_fold(small(), 0).train])
    edited(CHANGES[case])
    table = pd.read_csv(paths.PHOTOS, dtype=str)
    shutil.copy(of_fold_0, "mine.pth")  # whatever its name
    count = sum(table["content"].isin(learnt))
    assert count >= 77
    first = table["file"][table["content"].isin(learnt)].iloc[0]
    with pytest.raises(UserError) as raised:
        starting_weights.check(small(model={"weights": "mine.pth"}))
    assert str(raised.value) == (
        f"params.yaml: model.weights: mine.pth was trained on {count} of these {len(table)} photos ({first} is one), which each "
        "fold is scored on, so the scores would flatter; take weights from elsewhere"
    )


def test_a_screening_on_their_features_is_refused_too(project: Path, of_fold_0: Path) -> None:
    edited(CHANGES["a corrected label"])
    with pytest.raises(
        UserError, match=r"screen: .* was trained on 84 of these 168 photos \(.*\), which it would be scored"
    ):
        screen_frozen.run(small(), Choice(backbone=str(of_fold_0), losses=("ce",), samplers=("none",)), SILENT)


def test_models_of_other_files_start_folds_and_it_is_said_whom_they_may_know(project: Path, of_fold_0: Path) -> None:
    val = open_fold(small(), 0).val
    edited(lambda table: table.iloc[val])  # the very photos that this fold left out
    starting_weights.check(small(model={"weights": str(of_fold_0)}))
    assert starting_weights.warnings(of_fold_0, "people") == [
        f"warning: {of_fold_0}: was trained by maskcli on other photos, none of them a file of these; where people of these are "
        "among them all the same, OOF scores flatter"
    ]


def test_of_photos_that_are_a_sample_of_those_learnt_none_is_said_to_be_no_file_of_these(project: Path) -> None:
    record = Record(run="there", data={"photos": "of another set"})
    learnt = learnt_photos.of(np.arange(1, learnt_photos.MOST + 2, dtype=np.uint64), "of another set")
    net = model.build(model.architecture(small(), CONTEST))
    model.save(Path("other.safetensors"), net.architecture, net.state_dict(), record, [learnt])
    edited(lambda table: table.assign(content=f"{learnt_photos.MOST + 1:016x}"))  # the one that is not in the sample
    assert starting_weights.warnings(Path("other.safetensors"), "people") == [
        "warning: other.safetensors: was trained by maskcli on other photos; where people of these are among them, OOF scores "
        "flatter"
    ]


def test_eval_photos_that_starting_weights_have_learnt_are_told(project: Path, of_fold_0: Path) -> None:
    data = open_fold(small(), 0)
    learnt = pd.read_csv(paths.PHOTOS, dtype=str)["content"].iloc[data.train[:3]].tolist()
    table = pd.read_csv(paths.EVAL, dtype=str)
    write_csv(paths.EVAL, table.assign(content=[*learnt, *table["content"][3:]]))
    edited(lambda table: table.iloc[data.val])
    _, told = starting_weights.warnings(of_fold_0, "people")
    assert told == (
        f"warning: {of_fold_0}: was trained on 3 of the 42 eval photos ({table['ImageID'][0]} is one), so a score of their "
        "answers would flatter"
    )


def another_data_set(folder: Path, seed: int) -> None:
    """A project of other photos, prepared."""
    demo_faces.write(folder / "data", seed=seed, people=24, eval_people=6)
    (folder / "params.yaml").write_text(str(SMALL))
    prepare.run(small(), SILENT)
    kfold.run(small(), SILENT)


def test_weights_carry_what_their_starting_weights_knew(
    project: Path, of_fold_0: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A -> B -> C: neither B nor C starts a training on A's photos."""
    start, said = of_fold_0, list[str]()
    for number, name in enumerate("BC", 1):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        another_data_set(folder, seed=number)
        fitted(small(model={"weights": str(start)}), said.append)
        start = paths.weights(0).resolve()
        assert [one.photos for one in learnt_photos.of_weights(start)] == [84] * (number + 1)
        assert (
            sum("was trained by maskcli on other photos, none of them a file of these" in line for line in said)
            == number
        )
    monkeypatch.chdir(project)
    with pytest.raises(UserError, match="was trained on these photos"):  # A's very table
        starting_weights.check(small(model={"weights": str(start)}))
    edited(CHANGES["a corrected label"])
    with pytest.raises(UserError, match="was trained on 84 of these 168 photos"):
        starting_weights.check(small(model={"weights": str(start)}))


def test_weights_that_began_with_those_of_an_earlier_version_carry_the_digest_of_its_table(project: Path) -> None:
    write_model(Path("old.safetensors"), Record(run="there", data={"photos": "of another set"}))
    fitted(small(model={"weights": "old.safetensors"}))
    assert [(one.table, one.photos) for one in learnt_photos.of_weights(paths.weights(0))][1:] == [
        ("of another set", 0)
    ]


def test_pseudo_labelled_photos_are_learnt_like_others(project: Path) -> None:
    write_labels([("0", 5, 17), ("0", 2, 3), ("1", 7, 9)])
    fitted(with_labels())
    known = learnt_photos.Known(learnt_photos.of_weights(paths.weights(0)))
    contents = photos.content_of(photos.read_eval())
    assert np.flatnonzero(known.standing_for(contents)).tolist() == [2, 5]
    data = open_fold(small(), 0)
    contents = photos.content_of(photos.read(data.task))
    assert np.array_equal(np.flatnonzero(known.standing_for(contents)), data.train)


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
