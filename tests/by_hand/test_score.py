"""maskcli score: the scores, and over what their intervals are."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from stages import prepare
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json
from stages.base.talk import SILENT
from stages.by_hand import compare, score
from stages.data import photos
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import CONTEST, Task
from stages.judge.paired_difference import MODEL_BETTER, MODEL_WORSE, UNDECIDED, Comparison, Difference
from stages.learn import model
from stages.params.load import parse
from stages.records import learnt_photos
from stages.report import verdicts
from stages.submission import write
from tests.conftest import maskcli, record_folds, small
from tests.new_project import made
from tests.tasks import PATIENTS, task_of


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path, pd.DataFrame]:
    """A truth of 30 people with 7 photos each, and a submission that gets whole people right or wrong."""
    rng = np.random.default_rng(0)
    person = np.repeat([f"{number:03d}" for number in range(30)], 7)
    truth = pd.DataFrame(
        {"ImageID": [f"{n}.jpg" for n in range(210)], "ans": rng.integers(0, 18, 210), "person": person}
    )
    right = np.repeat(rng.random(30) < 0.7, 7)
    answers = pd.DataFrame({"ImageID": truth["ImageID"], "ans": np.where(right, truth["ans"], (truth["ans"] + 1) % 18)})
    answers.sample(frac=1, random_state=0).to_csv(tmp_path / "submission.csv", index=False)
    truth.to_csv(tmp_path / "truth.csv", index=False)
    return tmp_path / "truth.csv", tmp_path / "submission.csv", truth.assign(predicted=answers["ans"])


def half(found: dict[str, float], name: str) -> float:
    return (found[f"{name}_high"] - found[f"{name}_low"]) / 2


def test_scores_are_scikit_learns_and_stand_within_their_intervals(tables: tuple[Path, Path, pd.DataFrame]) -> None:
    truth, submission, known = tables
    found = score.run(CONTEST, truth, submission)
    expected = f1_score(known["ans"], known["predicted"], average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(accuracy_score(known["ans"], known["predicted"]))
    for name in ("macro_f1", "accuracy", "f1_60plus", "f1_mask", "f1_gender", "f1_age"):
        assert 0 <= found[f"{name}_low"] < found[name] < found[f"{name}_high"] <= 1
    assert (found["people"], found["photos"], found["interval_over"]) == (30, 210, "people")
    assert found == score.run(CONTEST, truth, submission)


def test_intervals_are_over_people_where_the_truth_knows_them_and_else_over_photos(
    tables: tuple[Path, Path, pd.DataFrame],
) -> None:
    truth, submission, known = tables
    over_people = score.run(CONTEST, truth, submission)
    # A person's seven photos are right or wrong together: 30 draws tell less than 210 would, by the root of 7.
    known[["ImageID", "ans"]].to_csv(truth, index=False)
    over_photos = score.run(CONTEST, truth, submission)
    assert over_photos["interval_over"] == "photos"
    assert "people" not in over_photos
    assert over_photos["accuracy"] == over_people["accuracy"]
    assert half(over_people, "accuracy") == pytest.approx(half(over_photos, "accuracy") * 7**0.5, rel=0.3)
    known.rename(columns={"person": "group"})[["ImageID", "ans", "group"]].to_csv(truth, index=False)
    assert score.run(CONTEST, truth, submission) == over_people


def test_photos_of_no_group_are_not_taken_as_one_group(tables: tuple[Path, Path, pd.DataFrame]) -> None:
    truth, submission, known = tables
    known["person"] = known["person"].where(known["person"] != "004", "")
    known[["ImageID", "ans", "person"]].to_csv(truth, index=False)
    with pytest.raises(UserError, match=r"truth.csv: 7 photos are of no group, first 28.jpg; name the group of each"):
        score.run(CONTEST, truth, submission)


def test_the_demos_truth_knows_its_people(prepared: Path) -> None:
    truth = pd.read_csv(prepared / "data/eval_truth.csv", dtype=str)
    assert truth.groupby("person").size().tolist() == [7] * 6
    assert pd.read_csv(prepared / "data/eval/info.csv").columns.tolist() == ["ImageID", "ans"]


def answered(task: Task, seed: int, photos: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names, classes and predicted classes of eval photos."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, task.classes, photos)
    predicted = np.where(rng.random(photos) < 0.6, labels, rng.integers(0, task.classes, photos))
    return np.array([f"kind/{number}.jpg" for number in range(photos)]), labels, predicted


@pytest.mark.parametrize("task", [task_of(2), task_of(300), PATIENTS, CONTEST], ids=lambda task: f"{task.classes}")
def test_any_task_is_scored_by_a_truth_in_the_form_of_its_submission(task: Task, tmp_path: Path) -> None:
    images, labels, predicted = answered(task, 0)
    truth, submission = tmp_path / "truth.csv", tmp_path / "submission.csv"
    write.write(truth, task, images[::-1], labels[::-1])
    write.write(submission, task, images, predicted)
    found = score.run(task, truth, submission, 100)
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    scored = [name for name in found if f"{name}_low" in found]
    axes = [f"f1_{axis.name}" for axis in task.axes] if len(task.axes) > 1 else []
    assert scored == ["macro_f1", "accuracy", *(f"f1_{name}" for name in task.subsets), *axes]
    assert (found["photos"], found["interval_over"]) == (120, "photos")
    for name in scored:
        assert 0 <= found[f"{name}_low"] <= found[f"{name}_high"] <= 1


def test_the_truth_that_the_eval_set_brings_needs_no_file(project: Path) -> None:
    task = task_of(3)
    images, labels, predicted = answered(task, 1)
    write.write(paths.SUBMISSION, task, images, predicted)
    known = pd.DataFrame({"ImageID": images, "content": "0", "label": labels})
    write_csv(paths.EVAL, known)
    found = score.run(task, None, paths.SUBMISSION, 100)
    assert found["accuracy"] == accuracy_score(labels, predicted)
    write_csv(paths.EVAL, known.drop(columns="label"))
    with pytest.raises(
        UserError, match=r"score: out/prepare/eval\.csv does not know the eval photos' classes; name a CSV"
    ):
        score.run(task, None, paths.SUBMISSION, 100)
    write_csv(paths.EVAL, known[:0])
    with pytest.raises(UserError, match="score: there is no eval set"):
        score.run(task, None, paths.SUBMISSION, 100)


def test_the_groups_that_a_table_names_of_its_eval_photos_are_what_the_bootstrap_draws() -> None:
    rows = [("train", patient, number) for patient in ("007", "008", "009", "010") for number in range(2)]
    rows += [("test", patient, number) for patient in ("011", "012", "013") for number in range(4)]
    table = pd.DataFrame([(f"{p}_{n}.png", p, "cat" if int(p) % 2 else "dog", split) for split, p, n in rows])
    table.columns = ["file", "patient", "kind", "split"]
    for position, (file, kind) in enumerate(zip(table["file"], table["kind"], strict=True)):
        made.photo(Path(file), kind, position)
    table.to_csv("cats.csv", index=False)
    said = {"data": {"layout": "table", "root": None, "train": "cats.csv", "group": "patient", "split": "split"}}
    params = parse(said | {"axes": {"kind": {}}, "folds": [0, 1]})
    prepare.run(params, SILENT)
    known = photos.read_eval()
    assert known["group"].tolist() == ["011"] * 4 + ["012"] * 4 + ["013"] * 4
    task = tasks.read(params)
    write.write(paths.SUBMISSION, task, known["ImageID"].to_numpy(), known["label"].to_numpy())
    found = score.run(task, None, paths.SUBMISSION, 100)
    assert (found["groups"], found["photos"], found["interval_over"]) == (3, 12, "groups")
    assert (found["macro_f1"], found["macro_f1_low"], found["macro_f1_high"]) == (1, 0, 1)  # three tell nothing
    table.loc[table["patient"] == "013", "patient"] = ""
    table.to_csv("cats.csv", index=False)
    prepare.run(params, SILENT)
    assert "group" not in photos.read_eval()  # not all are known


@pytest.mark.parametrize("named", [True, False])
def test_groups_that_the_eval_photos_own_table_names_are_drawn_too(named: bool) -> None:
    made.table(Path())
    rows = pd.read_csv("photos.csv", dtype=str)
    rows[rows["split"] == "train"].to_csv("photos.csv", index=False)
    known = rows[rows["split"] == "test"].assign(kind="cat", patient=["c00", "e1", "e1", "e2", "e2", "e2"])
    known[["filename", "kind", *["patient"] * named]].to_csv("eval.csv", index=False)
    data = {"layout": "table", "root": None, "train": "photos.csv", "eval": "eval.csv", "file": "filename"}
    params = parse({"data": data | {"group": "patient"}, "axes": {"kind": {}}, "folds": [0, 1]})
    prepare.run(params, SILENT)
    found = photos.read_eval()
    assert (found["group"].tolist() == known["patient"].tolist()) if named else ("group" not in found)
    shared = [line for line in photos.find(params).warnings if "groups with both training and eval photos: 1" in line]
    assert bool(shared) == named


def test_groups_of_a_table_are_drawn_where_the_truth_names_them(tmp_path: Path) -> None:
    images, labels, predicted = answered(PATIENTS, 2)
    truth = write.table(PATIENTS, images, labels).assign(group=np.arange(120) // 4)
    write_csv(tmp_path / "truth.csv", truth)
    write.write(tmp_path / "submission.csv", PATIENTS, images, predicted)
    found = score.run(PATIENTS, tmp_path / "truth.csv", tmp_path / "submission.csv", 100)
    assert (found["groups"], found["photos"], found["interval_over"]) == (30, 120, "groups")


def worse(tables: tuple[Path, Path, pd.DataFrame], people: int = 12) -> Path:
    """The submission of `tables` with wrong answers for all photos of the first so many people."""
    _, submission, known = tables
    wrong = known["person"].astype(int) < people
    answers = pd.DataFrame(
        {"ImageID": known["ImageID"], "ans": known["predicted"].where(~wrong, (known["ans"] + 5) % 18)}
    )
    answers.to_csv(submission.with_name("worse.csv"), index=False)
    return submission.with_name("worse.csv")


def by_name(found: Comparison) -> dict[str, Difference]:
    return {row.metric: row for row in found.rows}


def test_a_submission_against_itself_is_no_difference(tables: tuple[Path, Path, pd.DataFrame]) -> None:
    truth, submission, known = tables
    again = submission.with_name("again.csv")
    pd.read_csv(submission)[::-1].to_csv(again, index=False)
    found = score.against(CONTEST, truth, submission, again, 200)
    assert {(row.difference, row.low, row.high, row.verdict) for row in found.rows} == {(0, 0, 0, UNDECIDED)}
    assert verdicts.of_submissions(found) == (
        f"{submission} answers every photo as {again} does: there is no difference to find"
    )
    # One photo of 210 otherwise: there is a difference, of which nothing is known.
    known.assign(ans=known["predicted"].where(known.index > 0, 17))[["ImageID", "ans"]].to_csv(again, index=False)
    told = verdicts.of_submissions(score.against(CONTEST, truth, submission, again, 200))
    assert told.startswith(f"{submission} against {again}: no evidence either way (macro F1 ")


def test_a_better_submission_is_told_with_its_interval_over_people(tables: tuple[Path, Path, pd.DataFrame]) -> None:
    truth, submission, _ = tables
    other = worse(tables)
    found = score.against(CONTEST, truth, submission, other)
    rows = by_name(found)
    assert list(rows) == ["macro_f1", "accuracy", "f1_60plus", "f1_mask", "f1_gender", "f1_age"]
    mine, theirs = (score.run(CONTEST, truth, path, 100) for path in (submission, other))
    for name, row in rows.items():
        assert (row.a, row.b, row.difference) == pytest.approx((theirs[name], mine[name], mine[name] - theirs[name]))
    assert rows["macro_f1"].verdict == rows["accuracy"].verdict == MODEL_BETTER
    assert 0 < rows["accuracy"].low < rows["accuracy"].difference < rows["accuracy"].high
    assert verdicts.of_submissions(found).startswith(f"{submission} answers better than {other} (macro F1 +0.")
    assert verdicts.of_submissions(found).endswith(", with 30 people")
    assert found.notes == [
        "the intervals of differences are over people alone: training again with another seed, which could make or undo a "
        "difference, is not in them"
    ]
    # Seven photos of a person are right or wrong together: over photos, the interval is narrower by the root of 7.
    pd.read_csv(truth)[["ImageID", "ans"]].to_csv(truth, index=False)
    over_photos = by_name(score.against(CONTEST, truth, submission, other))["accuracy"]
    assert over_photos.units == "photos"
    width = rows["accuracy"].high - rows["accuracy"].low
    assert width == pytest.approx((over_photos.high - over_photos.low) * 7**0.5, rel=0.3)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), task=st.sampled_from([task_of(3), PATIENTS]))
def test_turned_round_the_differences_turn_their_signs(
    tmp_path_factory: pytest.TempPathFactory, seed: int, task: Task
) -> None:
    folder = tmp_path_factory.mktemp("turned")
    images, labels, a = answered(task, seed, 60)
    b = np.where(np.random.default_rng(seed).random(60) < 0.3, labels, a)
    for name, answers in (("truth", labels), ("a", a), ("b", b)):
        write.write(folder / f"{name}.csv", task, images, answers)
    truth, one, two = (folder / f"{name}.csv" for name in ("truth", "a", "b"))
    opposite = {MODEL_BETTER: MODEL_WORSE, MODEL_WORSE: MODEL_BETTER}
    forth, back = score.against(task, truth, two, one, 100), score.against(task, truth, one, two, 100)
    for row, turned in zip(forth.rows, back.rows, strict=True):
        assert (row.difference, row.low, row.high) == pytest.approx(
            (-turned.difference, -turned.high, -turned.low), abs=1e-4
        )
        assert row.verdict == opposite.get(turned.verdict, turned.verdict)


def test_a_subset_of_which_there_is_no_photo_has_no_difference(tmp_path: Path) -> None:
    labels = np.arange(60) % 2  # none of the old, none of the tumours
    images = np.array([f"{number}.jpg" for number in range(60)])
    for name, answers in (("truth", labels), ("a", labels), ("b", 1 - labels)):
        write.write(tmp_path / f"{name}.csv", PATIENTS, images, answers)
    found = score.against(PATIENTS, *(tmp_path / f"{name}.csv" for name in ("truth", "a", "b")), 100)
    assert list(by_name(found)) == ["macro_f1", "accuracy", "f1_finding", "f1_age"]
    alone = score.run(PATIENTS, tmp_path / "truth.csv", tmp_path / "a.csv", 100)
    assert np.isnan([alone[f"f1_old{end}"] for end in ("", "_low", "_high")]).all()


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (
            lambda other: other[:0],
            "other.csv: has no answer for 0.jpg (210 such photos); score it against its own truth",
        ),
        (
            lambda other: other.assign(ImageID=other["ImageID"].replace("3.jpg", "z.jpg")),
            "other.csv: has no answer for 3.jpg (1 such photos); score it against its own truth",
        ),
        (
            lambda other: pd.concat([other, other[:1].assign(ImageID="z.jpg")]),
            "other.csv: answers photos the truth lacks: z.jpg (1 such photos); score it against its own truth",
        ),
        (
            lambda other: pd.concat([other, other[:1]]),
            "other.csv: must have the columns ImageID and ans, each ImageID once",
        ),
        (lambda other: other.assign(ans=18), "other.csv: ans must be whole numbers from 0 to 17"),
        (None, "other.csv: not found; --than wants another submission of the same photos"),
    ],
    ids=["none", "another", "more", "doubled", "class", "missing"],
)
def test_another_submission_must_answer_the_same_photos(
    tables: tuple[Path, Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch, damage: object, line: str
) -> None:
    truth, submission, _ = tables
    monkeypatch.chdir(truth.parent)
    if callable(damage):
        damage(pd.read_csv(submission)).to_csv("other.csv", index=False)
    with pytest.raises(UserError) as refused:
        score.against(CONTEST, truth, submission, Path("other.csv"), 100)
    assert str(refused.value) == line


def test_the_first_line_answers_and_json_carries_the_differences(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli.entry import run as maskcli

    known = pd.read_csv("data/eval_truth.csv")
    wrong = known.assign(ans=(known["ans"] + known["person"].astype(int) % 2) % 18)
    for name, table in (("good", known), ("bad", wrong)):
        table[["ImageID", "ans"]].to_csv(f"{name}.csv", index=False)
    words = ["maskcli", "score", "data/eval_truth.csv", "--submission", "bad.csv", "--than", "good.csv"]
    said = []
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with pytest.raises(SystemExit) as stop:
            maskcli()
        assert not stop.value.code
        said.append(capsys.readouterr().out)
    found = json.loads(said[1])
    lines = said[0].splitlines()
    assert lines[0].startswith("bad.csv ")
    assert " ".join(lines).startswith(" ".join(found["than"]["answer"].split()[:4]))
    assert any(line.startswith("note: the intervals of differences are over people alone") for line in lines)
    assert any(line.startswith("macro F1 ") and "95 % interval" in line for line in lines)
    compared = score.against(CONTEST, Path("data/eval_truth.csv"), Path("bad.csv"), Path("good.csv"))
    assert found["than"]["differences"] == compare.as_rows([compared])
    assert found["than"]["differences"][0]["difference"] < 0
    assert found["accuracy"] == pytest.approx(found["than"]["differences"][1]["b"])


@pytest.fixture
def submitted(project: Path) -> list[str]:
    """A submission of the folds' models, of which fold 1's has learnt three eval photos; their names."""
    params = small()
    record = record_folds(params)
    table = photos.read_eval()
    net = model.build(model.architecture(params, CONTEST))
    for fold, contents in enumerate((photos.content_of(table[:0]), photos.content_of(table[4:7]))):
        learnt = learnt_photos.of_training(record, contents, ())
        model.save(paths.weights(fold), net.architecture, net.state_dict(), record, learnt)
    truth = pd.read_csv("data/eval_truth.csv")
    write_csv(paths.SUBMISSION, truth[["ImageID", "ans"]])
    write_json(paths.SUBMISSION_SUMMARY, {"run": record.run})
    return table["ImageID"].tolist()


def test_a_score_of_photos_that_the_models_have_learnt_is_said_to_be_one(
    submitted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        "warning: out/tta-predict/submission.csv: its models have learnt from 3 of these 42 photos, so this is not the score "
        "that new photos would have"
    )
    code, out, err = maskcli(monkeypatch, capsys, "score", "data/eval_truth.csv", "--json")
    assert (code, json.loads(out)["accuracy"], err) == (0, 1.0, [line])
    shutil.copy(paths.SUBMISSION, "mine.csv")  # whose that is nobody knows
    _, _, err = maskcli(monkeypatch, capsys, "score", "data/eval_truth.csv", "--json", "--submission", "mine.csv")
    assert err == []
    _, _, err = maskcli(
        monkeypatch,
        capsys,
        *("score", "data/eval_truth.csv", "--json", "--submission", "mine.csv", "--than", str(paths.SUBMISSION)),
    )
    assert err == [line]
    truth = pd.read_csv("data/eval_truth.csv")
    for name in ("truth.csv", paths.SUBMISSION):  # none of the three
        write_csv(Path(name), truth[~truth["ImageID"].isin(submitted[4:7])])
    assert list(score.warnings(CONTEST, Path("truth.csv"), [paths.SUBMISSION])) == []


def test_models_that_were_trained_since_the_submission_say_nothing_of_it(submitted: list[str]) -> None:
    assert len(list(score.warnings(CONTEST, Path("data/eval_truth.csv"), [paths.SUBMISSION]))) == 1
    write_json(paths.SUBMISSION_SUMMARY, {"run": "another"})
    assert list(score.warnings(CONTEST, Path("data/eval_truth.csv"), [paths.SUBMISSION])) == []


def test_a_refit_that_has_learnt_the_photos_is_told_too(submitted: list[str]) -> None:
    paths.REFIT_MODELS.mkdir(parents=True)
    shutil.copy(paths.weights(1), paths.refit_weights(0))
    shutil.copy(paths.SUBMISSION, paths.REFIT_SUBMISSION)
    (line,) = score.warnings(CONTEST, Path("data/eval_truth.csv"), [paths.REFIT_SUBMISSION])
    assert "its models have learnt from 3 of these 42 photos" in line


def test_without_the_eval_photos_contents_a_truth_is_scored_all_the_same(submitted: list[str]) -> None:
    paths.EVAL.unlink()
    assert list(score.warnings(CONTEST, Path("data/eval_truth.csv"), [paths.SUBMISSION])) == []
