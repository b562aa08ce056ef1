"""runs: one table of commits, experiments and the workspace, on hand-made histories."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cli.tables.runs import lines
from stages.base import git, paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT
from stages.by_hand import compare, runs
from stages.records.run_record import Record
from tests import histories
from tests.conftest import maskcli


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ce, then an experiment on it, a commit that changes no result, and a better run."""
    folder = histories.lay(tmp_path / "history")
    monkeypatch.chdir(folder)
    histories.commit(folder, "empty", day=1)
    histories.write_results(folder, histories.oof(1), 0.40, loss="ce")
    histories.commit(folder, "cross entropy", day=2)
    histories.write_results(folder, histories.oof(2), 0.41, loss="focal", train={"epochs": 3})
    histories.experiment(folder, "focal", day=3)
    (folder / "README").write_text("words\n")
    histories.commit(folder, "words", day=4)
    histories.write_results(folder, histories.oof(3, lift=3), 0.80, loss="ldam")
    histories.commit(folder, "ldam", day=5)
    return folder


def by_name(found: runs.Found) -> dict[str, runs.Row]:
    return {row.subject or row.name: row for row in found.rows}


def test_commits_and_experiments_stand_best_first_against_the_oldest(history: Path) -> None:
    found = runs.run(SILENT)
    assert [row.subject or row.name for row in found.rows] == ["ldam", "focal", "cross entropy"]
    assert found.base == git.resolve("HEAD~2")[:7]
    assert (found.without_results, found.older, found.notes) == (1, 0, [])
    rows = by_name(found)
    assert rows["cross entropy"].verdict == "base"
    assert rows["cross entropy"].same == [git.resolve("HEAD~1")[:7]]  # the commit that changed no result
    assert rows["ldam"].same == ["workspace"]
    assert rows["ldam"].verdict == "better"
    assert rows["ldam"].changed == ["loss ldam (was ce)"]
    assert rows["focal"].changed == ["loss focal (was ce)", "train.epochs 3 (was 20)"]
    assert (rows["focal"].macro_f1, rows["focal"].macro_f1_low) == (0.41, pytest.approx(0.31))
    assert rows["focal"].seconds is None  # no history was written


def test_the_verdict_is_that_of_compare_with_the_same_candidates(history: Path) -> None:
    rows = by_name(runs.run(SILENT))
    names = [git.resolve("HEAD~2"), "focal", "HEAD"]
    told = compare.run(names, compare.Asked(), None, Path("forest.png"), SILENT)
    for name, comparison in zip(("focal", "ldam"), told, strict=True):
        expected = next(row for row in comparison.rows if row.metric == "macro_f1")
        row = rows[name]
        assert (row.difference, row.low, row.high) == pytest.approx((expected.difference, expected.low, expected.high))
        assert (row.p_value, row.verdict) == (pytest.approx(expected.p_value), expected.verdict)


def test_the_limit_keeps_the_newest_and_counts_the_rest(history: Path) -> None:
    found = runs.run(SILENT, limit=2)
    assert list(by_name(found)) == ["ldam", "cross entropy"]  # whose results HEAD~1 has as well
    assert (found.base, found.older) == (git.resolve("HEAD~2")[:7], 1)
    named = runs.run(SILENT, limit=2, base="focal")
    assert list(by_name(named)) == ["ldam", "focal"]
    assert (named.base, named.older) == ("focal", 2)
    assert runs.run(SILENT, base="HEAD~1").base == "HEAD~1"
    with pytest.raises(UserError, match=r"^runs: --base HEAD~3: holds no results"):
        runs.run(SILENT, base="HEAD~3")


def test_other_branches_are_looked_at_on_request(history: Path) -> None:
    histories.git(history, "checkout", "-q", "-b", "side", "HEAD~1")
    histories.write_results(history, histories.oof(7), 0.45, loss="f1")
    histories.commit(history, "f1", day=6)
    histories.git(history, "checkout", "-q", "main")
    histories.write_results(history, histories.oof(3, lift=3), 0.80, loss="ldam")
    assert "f1" not in by_name(runs.run(SILENT))
    assert by_name(runs.run(SILENT, everywhere=True))["f1"].changed == ["loss f1 (was ce)"]


def test_a_branch_of_a_remote_is_one_of_the_others(history: Path) -> None:
    test_other_branches_are_looked_at_on_request(history)
    histories.git(history, "update-ref", "refs/remotes/origin/side", "side")
    histories.git(history, "branch", "-q", "-D", "side")
    assert "f1" in by_name(runs.run(SILENT, everywhere=True))


def test_commits_that_cannot_be_read_are_not_left_out_in_silence(history: Path) -> None:
    """As in a shallow clone whose end DVC has forgotten by `dvc exp pull`."""
    first = git.resolve("HEAD~3")
    Path(f".git/objects/{first[:2]}/{first[2:]}").unlink()
    with pytest.raises(UserError, match=r"^commits are missing .*`git fetch --refetch`"):
        runs.run(SILENT)


def test_what_else_computed_is_told_beside_the_same_params(history: Path) -> None:
    base = {"torch": "2.8.0", "threads": {"0": 1, "1": 1}, "libraries": {"timm": "1.0.1", "numpy": "2.0"}, "code": "a"}
    other = base | {"torch": "2.13.0", "threads": {"0": 2, "1": 2}, "libraries": {"timm": "1.0.2", "numpy": "2.0"}}
    for seed, setting in enumerate((base, other, base | {"code": "b"}), 10):
        write_json(paths.OOF_RUN, Record(params={"loss": "ce"}, setting=setting).model_dump())
        histories.write_results(history, histories.oof(seed), 0.5, loss="ce")
        histories.commit(history, f"run {seed}", day=seed)
    rows = by_name(runs.run(SILENT, base="HEAD~2"))
    assert rows["run 11"].changed == ["computed with another torch, threads, timm"]
    assert rows["run 12"].changed == ["computed with another code"]
    pinned = [runs.Made(Record(), {"requirements.txt": pin}) for pin in ("old", "new")]
    assert runs.changes(*pinned) == ["another requirements.txt"]
    on_gpu = Record(params={"loss": "ce"}, setting=base | {"threads": 0})
    assert runs.changes(runs.Made(on_gpu, {}), runs.Made(Record(params={"loss": "ce"}, setting=base), {})) == [
        "computed with another device"
    ]


def test_what_follows_from_other_params_or_code_is_not_told_twice() -> None:
    made = [
        runs.Made(Record(params={"seed": seed}, setting={"pixel_cache": text, "code": text}), {"stages/train.py": text})
        for seed, text in enumerate(("old", "new"))
    ]
    assert runs.changes(*made) == ["seed 1 (was 0)", "other code (train.py)"]


def test_equal_predictions_of_two_runs_are_told(history: Path) -> None:
    run = dict(np.load(compare.paths.OOF_ARRAYS))
    np.savez_compressed("again.npz", **run)  # other bytes, the same arrays
    histories.write_results(history, Path("again.npz").read_bytes(), 0.80, loss="ldam", seed=1)
    histories.commit(history, "another seed", day=6)
    found = runs.run(SILENT, base="HEAD~1")
    assert by_name(found)["another seed"].verdict == "the same predictions"


def test_runs_that_cannot_be_compared_stand_there_with_the_reason(history: Path) -> None:
    histories.write_results(history, histories.oof(4, first=20), 0.5, loss="ce")
    histories.commit(history, "other people", day=6)
    found = runs.run(SILENT)
    assert by_name(found)["other people"].verdict == "not comparable"
    assert "not the same photos (140 only in the first" in " ".join(found.notes)
    shutil.rmtree(".dvc/cache")
    found = runs.run(SILENT)
    assert {row.verdict for row in found.rows} == {"base", "not comparable"}
    assert "is neither in the DVC cache nor in a remote" in found.notes[0]
    assert [row.macro_f1 for row in found.rows] == [0.80, 0.50, 0.41, 0.40]  # the scores are in git


def test_a_run_whose_epochs_were_chosen_on_the_scored_photos_is_said_to_read_too_high(history: Path) -> None:
    histories.write_results(history, histories.oof(5, select="best_f1"), 0.9, loss="ce")
    histories.commit(history, "best epochs", day=6)
    found = runs.run(SILENT)
    assert found.rows[0].subject == "best epochs"
    (note,) = found.notes
    assert note.startswith(
        f"{git.resolve('HEAD')[:7]}: epochs were chosen on the scored photos (train.select: best_f1)"
    )


def test_an_experiment_whose_name_stands_twice_goes_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(histories.two_commits(tmp_path / "two"))
    twice = [row for row in runs.run(SILENT).rows if row.subject == "smooth"]
    assert len({row.name for row in twice}) == 2
    assert all(git.resolve(row.name) == row.revision for row in twice)


def test_hundreds_of_commits_with_the_same_results_are_read_once(
    history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        histories.git(history, "commit", "-q", "--allow-empty", "-m", f"{number}", day=7)
    asked: list[tuple[str, ...]] = []
    real = git.tried
    monkeypatch.setattr(git, "tried", lambda *words, **more: (asked.append(words), real(*words, **more))[1])
    found = runs.run(SILENT)
    assert len(by_name(found)["ldam"].same) == 31
    many = len(asked)
    histories.git(history, "reset", "-q", "--hard", "HEAD~20")
    asked.clear()
    runs.run(SILENT)
    assert len(asked) == many


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal(history: Path, width: int) -> None:
    histories.git(history, "update-ref", "-d", _experiment(history))
    histories.write_results(history, histories.oof(8), 0.3, loss="f1", train={"epochs": 2, "batch_size": 64})
    histories.experiment(history, "a-name-that-somebody-typed-in-full", day=8)
    shown = lines(runs.run(SILENT), width)
    assert max(map(len, shown)) <= width
    whole = " ".join(" ".join(shown).split())
    for part in ("a-name-that-somebody-typed-in-full", "0.3000", "loss f1 (was ce)", "better", "without results: 1"):
        assert part in whole
    assert ("run " in shown[2]) == (width > 79)


def _experiment(history: Path) -> str:
    return histories.git(history, "for-each-ref", "--format=%(refname)", "refs/exps")


def test_a_repository_without_results_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(histories.lay(tmp_path / "new"))
    for commits in range(2):
        if commits:
            histories.commit(Path(), "empty")
        with pytest.raises(UserError, match=r"^runs: no commit and no experiment here holds results"):
            runs.run(SILENT)


def test_the_command_prints_the_table_and_json(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, _ = maskcli(monkeypatch, capsys, "runs")
    assert code == 0
    assert shown.startswith("3 runs, best macro F1 first.")
    assert "note: the best of 3 reads too high, for it is picked on the people that it is scored on" in " ".join(
        shown.split()
    )
    found = json.loads(maskcli(monkeypatch, capsys, "runs", "--json")[1])
    assert [row["macro_f1"] for row in found["rows"]] == [0.80, 0.41, 0.40]


def test_a_score_of_several_repeats_is_told_from_that_of_one(history: Path) -> None:
    assert "repeat" not in " ".join(lines(runs.run(SILENT), 80))
    histories.write_results(history, histories.oof(8), 0.6, loss="f1")
    path = history / paths.OOF_METRICS
    write_json(path, json.loads(path.read_text()) | {"repeats": 3})
    histories.commit(history, "f1")
    found = runs.run(SILENT)
    assert sorted(row.repeats for row in found.rows) == [1, 1, 1, 3]
    shown = " ".join(" ".join(lines(found, 80)).split())
    assert "3 repeats" in shown
    assert "note: with train.repeats macro F1 is that of the repeats joined" in shown


def test_who_ran_what_is_told_where_there_are_several(history: Path) -> None:
    assert "a," not in " ".join(lines(runs.run(SILENT), 80)).split()  # one person: nothing to tell
    histories.write_results(history, histories.oof(8), 0.3, loss="f1")
    bob = ("-c", "user.name=Bob de Bruijn")
    histories.git(history, *bob, "commit", "-q", "-a", "-m", "f1", day=8)
    histories.git(history, *bob, "commit", "-q", "--allow-empty", "-m", "words", day=9)
    histories.write_results(history, histories.oof(1), 0.40, loss="ce")  # what a ran first, once more
    histories.git(history, *bob, "commit", "-q", "-a", "-m", "ce again", day=10)
    found = runs.run(SILENT)
    rows = by_name(found)
    assert {name: row.who for name, row in rows.items()} == {
        "ldam": "a",
        "focal": "a",
        "cross entropy": "a",
        "f1": "Bob de Bruijn",
    }
    again = git.resolve("HEAD")[:7]
    assert dict(zip(rows["cross entropy"].same, rows["cross entropy"].same_who, strict=True))[again] == "Bob de Bruijn"
    shown = lines(found, 80)
    assert max(map(len, shown)) <= 80
    whole = " ".join(" ".join(shown).split())
    assert "loss f1 (was ce); Bob de Bruijn, 08 Mar 2026" in whole
    assert "loss ldam (was ce); a, 05 Mar 2026" in whole
    assert f"{again} (Bob de Bruijn)" in whole
    (history / ".mailmap").write_text("Bob <a@example.org> Bob de Bruijn <a@example.org>\n")
    assert by_name(runs.run(SILENT))["f1"].who == "Bob"
