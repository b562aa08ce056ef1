"""maskcli fill: the contest's file, beside the answers that it is filled with."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.base import paths
from stages.base.files import write_npz
from tests import layouts
from tests.conftest import maskcli


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A prepared project with three eval photos of two classes, answered; their names end in what the contest's leave out."""
    layouts.by_pattern(eval="test.csv", eval_file="new/{id}_left.png")()
    Path("test.csv").write_text("id\n7\n8\n9\n")
    layouts.photo("new/7_left.png", "new/8_left.png", "new/9_left.png")()
    assert maskcli(monkeypatch, capsys, "prepare")[0] == 0
    images = np.array(["new/7_left.png", "new/8_left.png", "new/9_left.png"])
    for folder, answers in (("tta-predict", ["cat", "dog", "cat"]), ("blend", ["dog", "dog", "dog"])):
        path = Path("out", folder, "submission.csv")
        path.parent.mkdir(parents=True)
        pd.DataFrame({"file": images, "label": answers}).to_csv(path, index=False)
    write_npz(
        paths.PROBABILITIES, image=images, probabilities=np.array([[0.9, 0.1], [0.25, 0.75], [0.6, 0.4]], np.float32)
    )


def test_a_sample_is_filled_as_it_stands(
    answered: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sample.csv").write_text('id;"the; label"\n9;x\n8;x\n')
    code, out, err = maskcli(monkeypatch, capsys, "fill", "sample.csv")
    told = "2 rows, the class, by out/tta-predict/submission.csv; eval photos that are not in the sample: 1"
    assert (code, " ".join(out.split())) == (0, f"out/fill/submission.csv: {told}")
    assert "`the; label` has `x`, which is no class here; `cat` is one" in " ".join(err)
    assert paths.FILLED.read_text() == 'id;"the; label"\n9;cat\n8;dog\n'


def test_the_answers_of_another_command_are_taken_where_they_are_named(
    answered: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sample.csv").write_text("id,label\n7,\n8,\n9,\n")
    blend = ("--submission", str(paths.BLEND_SUBMISSION), "--out", "mine.csv")
    code, out, _ = maskcli(monkeypatch, capsys, "fill", "sample.csv", *blend, "--json")
    assert code == 0
    assert json.loads(out) == {
        "submission": "out/blend/submission.csv",
        "file": "mine.csv",
        "rows": 3,
        "holds": "the class",
        "left_out": 0,
        "notes": [],
    }
    assert Path("mine.csv").read_text() == "id,label\n7,dog\n8,dog\n9,dog\n"
    assert not paths.FILLED.exists()


def test_probabilities_are_those_beside_the_answers(
    answered: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sample.csv").write_text("id,dog,cat\n8,0.5,0.5\n7,0.5,0.5\n")
    assert maskcli(monkeypatch, capsys, "fill", "sample.csv")[0] == 0
    assert paths.FILLED.read_text() == "id,dog,cat\n8,0.75,0.25\n7,0.1,0.9\n"
    blend = ("--submission", str(paths.BLEND_SUBMISSION))
    code, _, err = maskcli(monkeypatch, capsys, "fill", "sample.csv", *blend)
    assert code == 2
    assert err[-1].startswith("maskcli: out/blend/probabilities.npz: not found")
    write_npz(paths.BLEND_PROBABILITIES, image=np.array(["new/7_left.png"]), probabilities=np.ones((1, 2), np.float32))
    code, _, err = maskcli(monkeypatch, capsys, "fill", "sample.csv", *blend)
    assert code == 2
    assert "is of other photos or classes than the submission beside it" in err[-1]


@pytest.mark.parametrize("out", ["sample.csv", str(paths.SUBMISSION)])
def test_what_is_read_is_not_written_over(
    answered: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    Path("sample.csv").write_text("id,label\n7,x\n")
    before = Path(out).read_bytes()
    code, _, err = maskcli(monkeypatch, capsys, "fill", "sample.csv", "--out", out)
    assert (code, Path(out).read_bytes()) == (2, before)
    assert "is read; name another file to write" in err[-1]


def test_a_sample_with_a_row_that_cannot_be_read_is_refused(
    answered: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sample.csv").write_text("id,label\n7,x\n8,x,y\n")
    code, _, err = maskcli(monkeypatch, capsys, "fill", "sample.csv")
    assert code == 2
    assert err[-1].startswith("maskcli: sample.csv line 3")
