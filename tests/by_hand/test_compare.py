import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import oof_ensemble, train
from stages.base import paths, revisions
from stages.base.errors import UserError
from stages.base.files import read_json, write_json, write_npz
from stages.base.talk import SILENT, Talk
from stages.by_hand import compare, epochs
from stages.by_hand.compare import Asked
from stages.data.corrections import Row
from stages.data.task_and_classes import CONTEST, to_json
from stages.judge import bootstrap, metrics
from stages.judge import paired_difference as judge
from stages.judge.metrics import log_softmax
from stages.judge.training_noise import Training
from stages.records import past_runs, run_record
from stages.records.run_record import Record
from stages.report.score_names import of_class
from tests.conftest import small
from tests.tasks import task_of


def made(name: str, seed: int, people: int = 30) -> compare.Run:
    photo = np.array([f"{person}/{number}.jpg" for person in range(people) for number in range(7)])
    label = np.random.default_rng(0).integers(0, 18, people * 7)
    logits = log_softmax(np.random.default_rng(seed).normal(size=(1, people * 7, 18))).astype(np.float32)
    person = np.repeat([str(number) for number in range(people)], 7)
    fold = np.repeat(np.arange(people) % 5, 7)
    return compare.Run(name, CONTEST, photo, person, label, fold, logits, logits, "last", 0)


def test_photos_are_matched_by_name_not_by_place() -> None:
    run = made("b", 1)
    order = np.random.default_rng(2).permutation(len(run.photo))
    shuffled = replace(
        run,
        photo=run.photo[order],
        group=run.group[order],
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


def test_runs_of_other_tasks_are_refused_and_what_differs_is_named() -> None:
    mask, gender, age = CONTEST.axes
    younger = replace(CONTEST, axes=(mask, gender, replace(age, bins=(30, 58), levels=("<30", "30-57", "58+"))))
    for other, told in (
        (younger, r"age cut at 30, 60 .*60\+.*; age cut at 30, 58 .*58\+"),
        (task_of(18), "mask x gender x age, 18 classes; label, 18 classes"),
    ):
        with pytest.raises(
            UserError, match=rf"a and b: not the same task \(.*{told}.*\), so they are scored by different"
        ):
            compare.alike([made("a", 0), replace(made("b", 1), task=other)])
    # What a subset is called, or whether an axis is regressed, changes no class.
    compare.alike([made("a", 0), replace(made("b", 1), task=replace(CONTEST, subsets={"wear": (0, 1)}))])


def write_oof(folder: Path, **arrays: np.ndarray) -> None:
    run = made("", 0)
    kept = {name: getattr(run, name) for name in ("photo", "label", "fold", "selected", "last")}
    folder.mkdir(exist_ok=True)
    (folder / paths.PARAMS).write_text("seed: 0\n")
    write_npz(folder / paths.OOF_ARRAYS, **kept, select=np.array("last"), seed=np.array(0), **arrays)


def test_results_of_before_tasks_are_the_contests_and_others_are_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "opened", lambda name, path: (tmp_path / name / path).open("rb"))
    who = made("", 0).group
    told = {
        axis: to_json(CONTEST) | {"subsets": {"worn": [0, 1, 2, 3, 4, 5]}, "unit": axis} for axis in ("group", "photo")
    }
    write_oof(tmp_path / "old", person=who)
    for unit, task in told.items():
        write_oof(tmp_path / unit, group=who, task=np.array(json.dumps(task)))
    old, new, alone = (compare.load(name) for name in ("old", "group", "photo"))
    assert old.task == CONTEST
    assert (old.group == who).all()
    assert (new.task.unit, new.task.units, new.task.subsets) == ("group", "groups", {"worn": (0, 1, 2, 3, 4, 5)})
    assert (new.group == who).all()
    assert (compare.groups(alone) == np.arange(210)).all()
    found = compare.against(old, new, Asked("last", 100))
    assert [row.metric for row in found.rows if not of_class(row.metric)] == [
        *("macro_f1", "f1_60plus", "accuracy", "nll"),
        *("f1_mask", "f1_gender", "f1_age"),
    ]
    for damaged in (np.array("{"), np.array('{"axes": 3}')):
        write_oof(tmp_path / "bad", group=who, task=damaged)
        with pytest.raises(UserError, match=r"bad: out/oof-ensemble/oof\.npz is damaged or of another version"):
            compare.load("bad")


def test_bins_of_before_tasks_are_taken_from_what_was_run() -> None:
    task = compare._task(None, Record(params={"data": {"age_bins": [30, 58]}}))
    assert task.hash != CONTEST.hash
    assert task.axis("age").levels == ("<30", "30-57", "58+")
    assert compare._task(None, Record(params={"data": {"age_bins": [30, 60]}})).hash == CONTEST.hash


def folder_run(name: str, seed: int, classes: int = 300) -> compare.Run:
    """A run of a folder of classes: photos stand alone, there is one axis."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, classes, 600)
    logits = np.random.default_rng(seed).normal(size=(1, 600, classes))
    logits[0, np.arange(600), label] += 3
    photo = np.array([f"{number}/{place}.jpg" for place, number in enumerate(label)])
    logits = log_softmax(logits).astype(np.float32)
    return compare.Run(name, task_of(classes), photo, photo, label, np.arange(600) % 5, logits, logits, "last", 0)


def test_a_task_of_many_classes_without_groups_is_compared_over_photos() -> None:
    base, other = folder_run("a", 1), folder_run("b", 2)
    found = compare.against(base, other, Asked("last", 200))
    assert [row.metric for row in found.rows] == ["macro_f1", *(f"f1_{c}" for c in range(300)), "accuracy", "nll"]
    by_name = {row.metric: row for row in found.rows}
    predicted = other.last[0].argmax(1)
    assert by_name["macro_f1"].b == pytest.approx(metrics.macro_f1(other.label, predicted, 300), abs=1e-6)
    assert {row.units for row in found.rows} == {"photos"}
    assert any("the F1 of 300 classes is tested one by one" in note for note in found.notes)
    few = np.flatnonzero(np.bincount(base.label, minlength=300) < 5)
    assert all(by_name[f"f1_{number}"].verdict == judge.TOO_FEW for number in few)
    # Renamed photos are the same photos: their own names are no group that they could have left.
    content = np.arange(1, 601, dtype=np.uint64)
    renamed = replace(other, photo=np.char.add("new/", other.photo), content=content)
    again = compare.against(replace(base, content=content), replace(renamed, group=renamed.photo), Asked("last", 200))
    assert [row.difference for row in again.rows] == [row.difference for row in found.rows]


def test_what_is_left_out_and_what_differs_is_said_in_the_words_of_the_unit() -> None:
    base, other = folder_run("a", 1), folder_run("b", 2)
    label = other.label.copy()
    label[0] = (label[0] + 1) % 300
    _, (line,) = compare.alike([base, replace(other, label=label)])
    assert "1 of another label, first" in line
    notes = compare.notes(base, replace(other, fold=np.roll(other.fold, 1)), "last")
    assert any("models were trained on other photos; the luck" in note for note in notes)


def test_the_same_trained_models_are_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_runs, "not_run", lambda name, record: f"{name}: its params.yaml" if name == "b" else "")
    base = replace(made("a", 0), record=Record(run="1"))
    same, other = replace(base, name="b"), replace(made("b", 1), record=Record(run="2"))
    told = compare.of_records(base, same)
    assert told == ["b holds the same trained models as a: there is no difference to find", "b: its params.yaml"]
    assert compare.of_records(base, other) == ["b: its params.yaml"]
    decision = {"a": {"decision": "argmax"}, "b": {"decision": "adjusted"}}
    monkeypatch.setattr(past_runs, "params_of", lambda name, record: decision[name])
    answers = (
        "a answers eval photos with decision: argmax (b: adjusted): their submissions may differ, by what these scores"
    )
    assert compare.of_records(base, same)[1].startswith(answers)
    before = [replace(run, record=Record()) for run in (base, same)]  # results of before there were records
    assert compare.same_models(*before)


def test_what_differs_between_two_runs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_runs, "not_run", lambda name, record: "")
    params = [run_record.training(small(**change)) for change in ({}, {"loss": "focal", "train": {"epochs": 9}})]
    settings = [{"torch": "2.1+cpu", "threads": {"0": 2}}, {"torch": "2.2+cu1", "threads": 0}]
    base, other = (
        replace(made(name, number), record=Record(run=name, params=params[number], setting=settings[number]))
        for number, name in enumerate(("a", "b"))
    )
    assert compare.of_records(base, other) == [
        "a was trained with loss: ce (b: focal), train.epochs: 2 (b: 9)",
        "computed with another torch (a: 2.1+cpu; b: 2.2+cu1): last digits may differ by it",
        "computed with another device (a: CPU; b: GPU): last digits may differ by it",
    ]


def test_notes_say_what_the_interval_leaves_out() -> None:
    base, other = made("a", 0), replace(made("b", 1), seed=7, select="best_f1", fold=np.roll(made("b", 1).fold, 7))
    told = " ".join(compare.notes(base, other, "last"))
    for part in ("different rules (last, best_f1)", "the folds differ", "the luck of the split"):
        assert part in told
    assert compare.settle_rule("auto", [base, other]) == "last"
    assert compare.settle_rule("auto", [other, other]) == "selected"


def test_two_repeats_are_trained_apart_scored_together_and_never_mixed_up(project: Path) -> None:
    write_json(Path("out/lr-find/lr.json"), {"lr": 0.003})
    params = small(train={"repeats": 2})
    for fold in params.folds:
        train.run(params, SILENT, fold)
    said: list[str] = []
    oof_ensemble.run(params, Talk(said.append))
    run = compare.load("workspace")
    assert run.selected.shape[0] == 2
    assert not np.allclose(run.selected[0], run.selected[1])
    scores = read_json(Path("out/oof-ensemble/metrics.json"), "oof-ensemble")
    assert scores["repeats"] == 2
    assert scores["macro_f1_seed_sd"] >= 0
    # Rules for the epoch are scored one repeat at a time: beside them stands what the selected epochs score that way.
    assert f"2 repeats joined), last epochs {scores['macro_f1_last']:.4f}; of a repeat alone, on average, " in said[0]
    assert f"average, {scores['macro_f1_seed_mean']:.4f}, epochs fixed from the other folds" in said[0]
    advice = epochs.run(params, SILENT)
    assert advice["runs"] == ["0.0", "0.1", "1.0", "1.1"]
    assert 1 <= advice["recommended"] <= 2
    # One repeat alone is what a run without repeats gives: the first seed is that of params.yaml.
    train.run(small(), SILENT, 0)
    assert (np.load("out/train/0/oof_logits.npz")["last"][0] == run.last[0][run.fold == 0]).all()
    assert [path.name for path in sorted(Path("out/train/0/models").iterdir())] == ["0.safetensors"]


def test_parts_are_compared_beside_the_classes_without_changing_their_scores() -> None:
    base, other = made("a", 0), made("b", 1)
    found = {row.metric: row for row in compare.against(base, other, Asked("last", 200)).rows}
    predictions = other.last[0].argmax(1)
    for name, value in metrics.axis_f1(other.label, predictions, CONTEST.axis_sizes).items():
        assert found[name].b == pytest.approx(value, abs=1e-6)
        assert found[name].low < found[name].difference < found[name].high
    of_classes = [[Training(bootstrap.of_run(*of(run), classes=18, subsets=CONTEST.subsets))] for run in (base, other)]
    for row in judge.compare(of_classes[0], of_classes[1], judge.Asked(200, 0)):
        assert (found[row.metric].a, found[row.metric].b) == pytest.approx((row.a, row.b), abs=1e-6)
        ends = found[row.metric].models_low, found[row.metric].models_high
        assert ends == pytest.approx((row.models_low, row.models_high), abs=1e-6) or row.verdict == judge.TOO_FEW


def of(run: compare.Run) -> tuple[np.ndarray, ...]:
    rows = np.arange(len(run.label))
    return bootstrap.numbered(run.group), run.label, run.last[0].argmax(1), -run.last[0][rows, run.label]


def before_and_after() -> tuple[compare.Run, compare.Run, list[Row]]:
    """Two runs between which the mask of photo 0/0.jpg and the gender of person 1 were corrected; and the rows that say so."""
    before, after = made("before", 0), made("after", 1)
    mask, gender, age = (codes.copy() for codes in CONTEST.parts(before.label))
    gender[7:14] = gender[7]
    before = replace(before, label=CONTEST.numbers((mask, gender, age)))
    rows = []
    for name, axis, codes, which in (("0/0.jpg", "mask", mask, slice(1)), ("1", "gender", gender, slice(7, 14))):
        levels = CONTEST.axis(axis).levels
        old, new = int(codes[which][0]), int(codes[which][0] == 0)
        codes[which] = new
        rows.append(Row(name, axis, levels[old], levels[new], "ann", ""))
    return before, replace(after, label=CONTEST.numbers((mask, gender, age))), rows


def test_what_was_corrected_between_two_runs_is_the_truth_for_both() -> None:
    before, after, rows = before_and_after()
    after = replace(after, corrections=tuple(rows))
    for pair in ((before, after), (after, before)):
        found = compare.against(*pair, Asked("last", 100))
        row = next(row for row in found.rows if row.metric == "accuracy")
        scores = [metrics.accuracy(after.label, run.last[0].argmax(1)) for run in pair]
        assert (row.a, row.b) == pytest.approx(scores)
        assert found.groups == 30
        assert found.untouched is not None
        assert found.untouched.groups == 28
        kept = np.arange(210) >= 14
        scores = [metrics.accuracy(after.label[kept], run.last[0].argmax(1)[kept]) for run in pair]
        row = next(row for row in found.untouched.rows if row.metric == "accuracy")
        assert (row.a, row.b) == pytest.approx(scores)
        (told,) = [note for note in found.notes if "corrections.csv" in note]
        assert told == (
            f"corrections.csv changed 8 photos of 2 people between {pair[0].name} and {pair[1].name}: what was decided is the "
            "truth for both runs (8 as in after); a run whose mistakes led to decisions may gain by them"
        )
        answers = json.loads(compare.as_json([found]))
        assert len(answers["untouched"]) == len(answers["comparisons"])


def test_labels_that_differ_by_no_decision_are_left_out_as_before() -> None:
    before, after, rows = before_and_after()
    found = compare.against(before, after, Asked("last", 100))
    assert found.untouched is None
    assert "8 of another label or person" in found.notes[0]
    found = compare.against(before, replace(after, corrections=tuple(rows[:1])), Asked("last", 100))
    assert "corrections.csv changed 1 photo of 1 person" in found.notes[0]
    assert "7 of another label or person" in found.notes[1]
    assert found.untouched is not None
    assert found.untouched.groups == 28


def test_people_joined_between_two_runs_are_drawn_as_one_in_both() -> None:
    before, after = made("before", 0), made("after", 1)
    joined = np.where(after.group == "3", "2", after.group)
    after = replace(after, group=joined, corrections=(Row("3", "group", "3", "2", "ann", ""),))
    found = compare.against(before, after, Asked("last", 100))
    assert (found.groups, found.untouched and found.untouched.groups) == (29, 28)


def test_photos_joined_to_groups_are_compared_over_groups() -> None:
    before, after = (folder_run(name, seed) for seed, name in enumerate(("before", "after")))
    names = before.photo.astype(str)
    group = names.copy()
    group[1] = names[0]
    told = (Row(names[1], "group", names[1], names[0], "ann", ""),)
    after = replace(after, group=group, task=replace(after.task, unit="group"), corrections=told)
    found = compare.against(replace(before, group=names), after, Asked("last", 100))
    assert (found.groups, found.task.unit) == (len(names) - 1, "group")
