from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import oof_ensemble, train
from stages.base.errors import UserError
from stages.base.files import read_json, write_json
from stages.base.talk import SILENT
from stages.by_hand import compare, epochs
from stages.judge import bootstrap, metrics
from stages.judge import paired_difference as judge
from stages.judge.metrics import log_softmax
from stages.records import run_record
from stages.records.run_record import Record
from tests.conftest import small


def made(name: str, seed: int, people: int = 30) -> compare.Run:
    photo = np.array([f"{person}/{number}.jpg" for person in range(people) for number in range(7)])
    label = np.random.default_rng(0).integers(0, 18, people * 7)
    logits = log_softmax(np.random.default_rng(seed).normal(size=(1, people * 7, 18))).astype(np.float32)
    person = np.repeat([str(number) for number in range(people)], 7)
    return compare.Run(name, photo, person, label, np.repeat(np.arange(people) % 5, 7), logits, logits, "last", 0)


def test_photos_are_matched_by_name_not_by_place() -> None:
    run = made("b", 1)
    order = np.random.default_rng(2).permutation(len(run.photo))
    shuffled = replace(
        run,
        photo=run.photo[order],
        person=run.person[order],
        label=run.label[order],
        fold=run.fold[order],
        selected=run.selected[:, order],
        last=run.last[:, order],
    )
    (_, back), told = compare.alike([made("a", 0), shuffled])
    assert (back.selected == run.selected).all()
    assert (back.fold == run.fold).all()
    assert told == []


def test_photos_and_labels_that_differ_are_told_and_left_out() -> None:
    base, other = made("a", 0), made("b", 1)
    content = np.arange(1, 211, dtype=np.uint64)
    swapped = content.copy()
    swapped[[0, 1, 2]] = content[[1, 0, 2]] + np.array([0, 0, 900], np.uint64)  # two change places, one is replaced
    label = other.label.copy()
    label[7] = (label[7] + 1) % 18
    (one, two), told = compare.alike([replace(base, content=content), replace(other, content=swapped, label=label)])
    gone = {0, 1, 2, 7} if base.label[0] != base.label[1] else {2, 7}
    assert set(base.photo) - set(one.photo) == {str(base.photo[place]) for place in gone}
    assert (one.photo == base.photo[np.setdiff1d(np.arange(210), list(gone))]).all()
    assert (one.label == two.label).all()
    (line,) = told
    assert line.startswith("a and b saw other photos or labels: ")
    assert f"{len(gone) - 1} of another label or person, 1 of other content" in line
    assert f"the {210 - len(gone)} photos that both saw alike are compared" in line


def test_photos_all_made_anew_are_compared_by_name_and_told() -> None:
    content = np.arange(1, 211, dtype=np.uint64)
    runs = [replace(made("a", 0), content=content), replace(made("b", 1), content=content + np.uint64(999))]
    (one, _), told = compare.alike(runs)
    assert len(one.photo) == 210
    assert "210 of 210 photos of a and b differ in content, first 0/0.jpg: they are taken, by their names" in told[0]


def test_runs_on_other_people_or_classes_are_refused() -> None:
    (one, _), told = compare.alike([made("a", 0), made("b", 1, people=29)])
    assert len(one.photo) == 29 * 7
    assert "a and b saw other photos or labels: 7 only in a, first 29/0.jpg" in told[0]
    few = made("b", 1)
    few = replace(few, photo=np.char.add("x", few.photo))
    with pytest.raises(
        UserError, match=r"a and b: not the same photos \(210 only in the first, 210 only in the second, 0 of"
    ):
        compare.alike([made("a", 0), few])
    old, young = (
        replace(made(n, 0), record=Record(params={"axes": {"age": {"bins": bins}}})) for n, bins in AGES.items()
    )
    with pytest.raises(
        UserError, match=r"a and b: classes are cut at other ages \(axes.age.bins \[30, 60\] and \[30, 58\]\)"
    ):
        compare.alike([old, young])


AGES = {"a": [30, 60], "b": [30, 58]}


def test_the_same_trained_models_are_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_record, "not_run", lambda name, record: f"{name}: its params.yaml" if name == "b" else "")
    base = replace(made("a", 0), record=Record(run="1"))
    same, other = replace(base, name="b"), replace(made("b", 1), record=Record(run="2"))
    told = compare.of_records(base, same)
    assert told == ["b holds the same trained models as a: there is no difference to find", "b: its params.yaml"]
    assert compare.of_records(base, other) == ["b: its params.yaml"]
    before = [replace(run, record=Record()) for run in (base, same)]  # results of before there were records
    assert compare.same_models(*before)


def test_what_differs_between_two_runs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_record, "not_run", lambda name, record: "")
    params = [run_record.training(small(**change)) for change in ({}, {"loss": "focal", "train": {"epochs": 9}})]
    settings = [{"torch": "2.1+cpu"}, {"torch": "2.2+cu1"}]
    base, other = (
        replace(made(name, number), record=Record(run=name, params=params[number], setting=settings[number]))
        for number, name in enumerate(("a", "b"))
    )
    assert compare.of_records(base, other) == [
        "a was trained with loss: ce (b: focal), train.epochs: 2 (b: 9)",
        "computed with another torch (a: 2.1+cpu; b: 2.2+cu1): last digits may differ by it",
    ]


def test_notes_say_what_the_interval_leaves_out() -> None:
    base, other = made("a", 0), replace(made("b", 1), seed=7, select="best_f1", fold=np.roll(made("b", 1).fold, 7))
    told = " ".join(compare.notes(base, other, "last"))
    for part in ("different rules (last, best_f1)", "the folds differ", "seeds 0 and 7", "train.repeats: 3"):
        assert part in told
    assert compare.settle_rule("auto", [base, other]) == "last"
    assert compare.settle_rule("auto", [other, other]) == "selected"


def test_two_repeats_are_trained_apart_scored_together_and_never_mixed_up(project: Path) -> None:
    write_json(Path("out/lr-find/lr.json"), {"lr": 0.003})
    params = small(train={"repeats": 2})
    for fold in params.folds:
        train.run(params, SILENT, fold)
    oof_ensemble.run(params, SILENT)
    run = compare.load("workspace")
    assert run.selected.shape[0] == 2
    assert not np.allclose(run.selected[0], run.selected[1])
    scores = read_json(Path("out/oof-ensemble/metrics.json"), "oof-ensemble")
    assert scores["repeats"] == 2
    assert scores["macro_f1_seed_sd"] >= 0
    advice = epochs.run(params, SILENT)
    assert advice["runs"] == ["0.0", "0.1", "1.0", "1.1"]
    assert 1 <= advice["recommended"] <= 2
    # One repeat alone is what a run without repeats gives: the first seed is that of params.yaml.
    train.run(small(), SILENT, 0)
    assert (np.load("out/train/0/oof_logits.npz")["last"][0] == run.last[0][run.fold == 0]).all()
    assert [path.name for path in sorted(Path("out/train/0/models").iterdir())] == ["0.safetensors"]


def test_parts_are_compared_beside_the_classes_without_changing_their_scores() -> None:
    base, other = made("a", 0), made("b", 1)
    found = {row.metric: row for row in compare.against(base, other, "last", 200, 0).rows}
    predictions = other.last[0].argmax(1)
    for name, value in metrics.part_f1(other.label, predictions).items():
        assert found[name].b == pytest.approx(value, abs=1e-6)
        assert found[name].low < found[name].difference < found[name].high
    of_classes = [[bootstrap.of_run(*of(run))] for run in (base, other)]
    for row in judge.compare(*of_classes, {}, 200, 0):
        assert (found[row.metric].a, found[row.metric].b) == pytest.approx((row.a, row.b), abs=1e-6)
        assert found[row.metric].p_improved == pytest.approx(row.p_improved)


def of(run: compare.Run) -> tuple[np.ndarray, ...]:
    rows = np.arange(len(run.label))
    return bootstrap.numbered(run.person), run.label, run.last[0].argmax(1), -run.last[0][rows, run.label]
