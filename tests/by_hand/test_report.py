from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.by_hand import compare, report
from stages.learn import fold_maps
from stages.records.run_record import Record
from stages.report.html.page_scores import Oof
from tests.conftest import small
from tests.report.made import FOLDERS, MANY


def test_a_report_before_any_run_says_what_to_run(project: Path) -> None:
    with pytest.raises(UserError, match=r"out/oof-ensemble/oof.npz: not in the workspace; run `dvc repro` first"):
        report.run(small(), SILENT, ["workspace"])
    assert not paths.REPORT.exists()


def test_a_revision_beside_itself_is_refused() -> None:
    with pytest.raises(UserError, match="workspace stands twice"):
        report.run(small(), SILENT, ["workspace", "workspace"])


def test_runs_of_two_tasks_are_not_put_side_by_side() -> None:
    one, other = (
        compare.Run(name, task, *[np.zeros(0)] * 6, "last", 0) for name, task in (("a", FOLDERS), ("b", MANY))
    )
    with pytest.raises(UserError) as found:
        report._check_tasks([one, other])
    assert str(found.value) == (
        "report: a and b: not the same task (label with 10 levels: digit 0, digit 1, digit 2, digit 3, ...; label with 1000 "
        "levels: species 000, species 001, species 002, species 003, ...); write a report of each alone"
    )
    report._check_tasks([one, one])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a CSV table"),
        (b"lr,loss\n1,2\n", "has no column `smoothed`"),
        (b"lr,loss,smoothed\n", "has no rows"),
        (b"\xff\xfe\x00", "is not a CSV table"),
    ],
)
def test_a_damaged_table_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    paths.LR_CURVE.parent.mkdir(parents=True)
    paths.LR_CURVE.write_bytes(content)
    with pytest.raises(UserError, match=f"workspace: out/lr-find/curve.csv: {message}; run `dvc repro`"):
        report._table("workspace", paths.LR_CURVE, ["lr", "loss", "smoothed"])


def made(record: Record) -> compare.Run:
    """A run of two photos of FOLDERS' first two classes, both mistaken."""
    selected = np.log(np.full((1, 2, 10), 0.1))
    selected[0, :, 2] = -0.5
    photo, arrays = np.array(["a.png", "b.png"]), (np.arange(2), np.arange(2), np.zeros(2, int), selected, selected)
    return compare.Run("workspace", FOLDERS, photo, *arrays, "last", 0, record=record)


def oof_of(run: compare.Run) -> Oof:
    return Oof(run.photo, run.group, run.label, np.exp(run.selected[0]), run.last[0].argmax(1))


def test_a_page_without_the_models_says_why_it_has_no_heat_maps(project: Path) -> None:
    run = made(Record(run="a"))
    found = report._heat(run, oof_of(run), small(), SILENT)
    assert found.overlays == {}
    assert found.told == (
        "No heat maps, which the models in the workspace draw: out/train/0/models/0.safetensors: not here."
    )


@pytest.mark.parametrize("factored", [False, True])
def test_heat_maps_are_asked_for_the_given_answer_of_the_photos_own_fold(
    monkeypatch: pytest.MonkeyPatch, factored: bool
) -> None:
    asked: list[fold_maps.Asked] = []

    def maps(one: fold_maps.Asked, *_: object) -> fold_maps.Maps:
        asked.append(one)
        heat = np.zeros((2, 4, 4), np.float32)
        return fold_maps.Maps(np.zeros((2, 6, 6, 3), np.uint8), {0 if factored else None: heat}, (2, 3))

    monkeypatch.setattr(report.fold_maps, "of_folds", maps)
    run = replace(made(Record(run="a")), fold=np.array([4, 1]))
    found = report._heat(run, oof_of(run), small(), SILENT)
    assert asked[0].photo.tolist() == ["a.png", "b.png"]
    assert asked[0].fold.tolist() == [4, 1]
    assert asked[0].classes.tolist() == [2, 2]
    named = "label: digit 2" if factored else "digit 2"
    assert {photo: [of for of, _ in several] for photo, several in found.overlays.items()} == {
        "a.png": [named],
        "b.png": [named],
    }
    assert found.told.startswith(
        "Beside each photo, Grad-CAM: what in it speaks for the given answer, by the model of its fold, which never saw it. "
        "The map has 2 x 3 places"
    )


def test_a_run_is_set_against_the_one_before_it_where_they_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(Record(run="a"))
    assert report._before(run) == "", "no git here"
    monkeypatch.setattr(report.past_runs, "before", lambda *_: "1234567")
    earlier = replace(run, name="1234567", record=Record(run="b"), selected=run.selected - 0.1, last=run.last - 0.1)
    monkeypatch.setattr(report.compare, "load", lambda name: earlier)
    assert report._before(run).startswith("workspace against 1234567: too few photos to tell")

    def lost(name: str) -> compare.Run:
        raise UserError("is in no cache")

    monkeypatch.setattr(report.compare, "load", lost)
    assert report._before(run) == ""
