import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.base.errors import UserError
from stages.data import demo_faces


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.md5(
        b"".join(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files)
    ).hexdigest()


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        demo_faces.write(tmp_path / name, seed, 12, 6)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_imbalance_and_wrong_labels_are_as_stated(tmp_path: Path) -> None:
    demo_faces.write(tmp_path / "data")
    people = pd.read_csv(tmp_path / "data/train/train.csv")
    assert len(people) == 132
    shares = pd.Series(np.digitize(people["age"].to_numpy(), (30, 60))).value_counts(normalize=True)
    assert shares[0] == pytest.approx(0.47, abs=0.01)
    assert shares[1] == pytest.approx(0.45, abs=0.01)
    assert shares[2] == pytest.approx(0.08, abs=0.01)
    # 79 of 132 are female; the one flipped label moves that by one.
    assert (people["gender"] == "female").sum() in (78, 80)
    truth = pd.read_csv(tmp_path / "data/eval_truth.csv")
    info = pd.read_csv(tmp_path / "data/eval/info.csv")
    assert len(truth) == 280
    assert truth["ImageID"].tolist() == info["ImageID"].tolist()
    assert (info["ans"] == 0).all()


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/photo.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match="exists already"):
        demo_faces.write(tmp_path / "data")
    assert (tmp_path / "data/photo.jpg").read_bytes() == b"mine"
