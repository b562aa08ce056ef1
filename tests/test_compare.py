from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import best_epochs, compare, oof_ensemble, train
from stages.errors import UserError
from stages.files import read_json, write_json
from stages.judge import bootstrap, metrics
from stages.judge import compare as judge
from stages.judge.metrics import log_softmax
from stages.talk import SILENT
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
    back = compare.aligned(made("a", 0), shuffled)
    assert (back.selected == run.selected).all()
    assert (back.fold == run.fold).all()


def test_runs_on_other_people_or_labels_are_refused() -> None:
    with pytest.raises(UserError, match=r"a and b: not the same photos \(7 only in the first, 0 only in the second\)"):
        compare.aligned(made("a", 0), made("b", 1, people=29))
    other = made("b", 1)
    other.label[3] = (other.label[3] + 1) % 18
    with pytest.raises(UserError, match=r"1 photos have other scoring labels or people, first 0/3.jpg"):
        compare.aligned(made("a", 0), other)


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
    advice = best_epochs.run(params, SILENT)
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
