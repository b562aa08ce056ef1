from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages import kfold, prepare
from stages.base import paths
from stages.base.talk import SILENT, Talk
from stages.data import duplicate_groups, near_duplicates, photos, task_and_classes
from stages.params.load import parse
from stages.params.schema import Params
from tests import layouts
from tests.conftest import small


def a_copy(file: str, of: str) -> None:
    """A copy of a photo, one grey level brighter: another file, the same picture."""
    with Image.open(layouts.PETS / of) as image:
        pixels = np.asarray(image).astype(int)
    Image.fromarray(np.minimum(pixels + 1, 255).astype(np.uint8)).save(layouts.PETS / file)


def params(**data: object) -> Params:
    return parse(layouts.SMALL | {"data": {"layout": "folder", "root": "pets"} | data})


def told(given: Params) -> list[str]:
    lines: list[str] = []
    prepare.run(given, Talk(say=lines.append))
    return [line for line in lines if line.startswith("warning")]


def test_near_duplicates_of_two_classes_are_warned_of(tmp_path: Path) -> None:
    layouts.folder()
    assert told(params()) == []
    a_copy("dog/9.png", "cat/1.png")
    (warning,) = told(params())
    assert warning.startswith(
        "warning: pairs of near-duplicate photos: 1 between photos, 1 of them of different classes, which may stand on both "
        "sides of a fold; first `cat/1.png` and `dog/9.png`: `maskcli eda`"
    )


def test_twins_of_eval_photos_are_counted_apart(tmp_path: Path) -> None:
    layouts.divided()
    a_copy("test/dog/9.png", "train/dog/deep/0.png")
    (warning,) = told(params())
    assert "photos: 1 between training and eval photos; first `train/dog/deep/0.png` and `dog/9.png`" in warning


def test_photos_with_a_twin_become_one_group_and_stay_together(tmp_path: Path) -> None:
    layouts.folder()
    a_copy("cat/8.png", "cat/1.png")
    a_copy("cat/9.png", "cat/8.png")
    given = params(group_duplicates=True)
    assert told(given) == [
        "warning: data.group_duplicates: 3 photos with near-duplicates became 1 groups, the largest of 3"
    ]
    own = task_and_classes.read(given)
    assert own.unit == "group"
    assert own.axes[0].constant
    table = photos.read(own)
    assert dict(zip(table["file"], table["group"], strict=True)) == {
        **dict.fromkeys(("cat/1.png", "cat/8.png", "cat/9.png"), "cat/1.png"),
        **{file: file for file in ("cat/2.png", "dog/1.png", "dog/2.png")},
    }
    kfold.run(given, SILENT)
    assert len(pd.read_csv(paths.FOLDS)) == len(photos.read_groups(own)) == 4


def test_an_axis_is_constant_only_where_twins_agree(tmp_path: Path) -> None:
    layouts.folder()
    a_copy("dog/9.png", "cat/1.png")
    told(params(group_duplicates=True))
    own = task_and_classes.read(params())
    assert not own.axes[0].constant
    assert list(photos.read_groups(own)) == ["group"]
    kfold.run(params(group_duplicates=True), SILENT)


def test_people_with_a_picture_in_common_become_one(project: Path) -> None:
    table = pd.read_csv(paths.PHOTOS, dtype=str)
    first, second = (table[table["person"] == person]["file"].iloc[0] for person in table["person"].unique()[:2])
    images = Path("data/train/images")
    (images / second).write_bytes((images / first).read_bytes())
    given = small(data={"group_duplicates": True})
    assert told(given) == [
        "warning: data.group_duplicates: 2 people with near-duplicates became 1 people, the largest of 2; some of them differ in "
        "gender, age"
    ]
    kfold.run(given, SILENT)
    folds, joined = pd.read_csv(paths.FOLDS, dtype=str), pd.read_csv(paths.PHOTOS, dtype=str)
    assert len(folds) == joined["person"].nunique() == 23
    assert (joined["person"].value_counts().iloc[0], len(joined)) == (14, 168)


def test_among_very_many_photos_identical_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.folder()
    (layouts.PETS / "dog/9.png").write_bytes((layouts.PETS / "cat/1.png").read_bytes())
    a_copy("dog/8.png", "cat/2.png")
    monkeypatch.setattr(duplicate_groups, "MOST_LOOKED_AT", 3)
    (warning,) = told(params())
    assert warning.startswith("warning: pairs of identical files: 1 between photos, 1 of them of different classes")


def test_groups_that_share_pairs_join_through_others() -> None:
    owners = np.array([0, 0, 1, 2, 3, 4])
    pairs = pd.DataFrame({"a": [2, 3, 1], "b": [5, 5, 4]})
    assert near_duplicates.joined(owners, pairs).tolist() == [0, 0, 1, 1, 0, 1]
    chain = pd.DataFrame({"a": np.arange(999), "b": np.arange(1, 1000)})
    assert (near_duplicates.joined(np.arange(1000)[::-1].copy(), chain) == 0).all()
