"""maskcli audit: what it writes of a project whose models contradict some labels, and what a person reads."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cli.tables import audit as audit_table
from stages import oof_ensemble
from stages.base import paths
from stages.base.files import write_csv, write_json, write_npz
from stages.base.talk import SILENT, Talk
from stages.by_hand import audit, compare
from stages.data import corrections, photos
from stages.data.corrections import Row
from stages.data.task_and_classes import CONTEST
from stages.judge.metrics import log_softmax
from tests.conftest import record_folds, small
from tests.judge.test_label_suspects import shown

SWAPPED, OTHER_GENDER = 3, 8  # people, by their place


def at_the_edge(table: pd.DataFrame) -> int:
    """The place of the first person whose age is next to 30 or 60."""
    years = table["age"].to_numpy()[::7]
    return int(np.flatnonzero(np.minimum(abs(years - 30), abs(years - 60)) <= 2)[0])


def join(seed: int = 0) -> pd.DataFrame:
    """In a prepared project: OOF predictions that contradict two people's labels, and what oof-ensemble makes of them."""
    table = photos.read(CONTEST)
    person = np.arange(len(table)) // 7
    mask, gender, age = (levels.copy() for levels in CONTEST.parts(table["label"].to_numpy()))
    own = np.flatnonzero(person == SWAPPED)
    one, other = (own[mask[own] == level][0] for level in (1, 2))
    mask[one], mask[other] = 2, 1
    gender[person == OTHER_GENDER] = 1 - gender[person == OTHER_GENDER]
    edge = at_the_edge(table)
    years = table["age"].iloc[edge * 7]
    age[person == edge] = (years < 30) if years < 45 else 1 + (years < 60)  # the level on the other side
    rng = np.random.default_rng(seed)
    each = [shown(true, levels, rng, 4.0) for true, levels in zip((mask, gender, age), CONTEST.sizes, strict=True)]
    logits = np.log(np.einsum("na,nb,nc->nabc", *each).reshape(len(table), -1)).astype(np.float32)
    fold_of = pd.read_csv(paths.FOLDS)["fold"].to_numpy().repeat(7)
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml"})
    record = record_folds(small())
    for fold in (0, 1):
        which = np.flatnonzero(fold_of == fold)
        own_logits = log_softmax(logits[None, which]).astype(np.float32)
        predicted = np.repeat(own_logits.argmax(-1)[:, None], 2, axis=1)
        arrays = {"run": np.array(record.run), "photo": which, "selected": own_logits, "last": own_logits}
        write_npz(paths.oof_logits(fold), **arrays, predicted=predicted)
        names = ("train_loss", "val_loss", "val_nll", "val_f1")
        write_csv(
            paths.history(fold), pd.DataFrame({"epoch": [1, 2], **{key: [0.6, 0.5] for key in names}, "repeat": 0})
        )
        for path in (paths.train_environment(fold), paths.train_metrics(fold)):
            write_json(path, {})
    oof_ensemble.run(small(), SILENT)
    return table


@pytest.fixture
def table(project: object) -> pd.DataFrame:
    """photos.csv of a project with OOF predictions."""
    return join()


def test_suspects_are_ranked_each_with_its_label_and_why(table: pd.DataFrame) -> None:
    found = audit.run(small(), SILENT)
    rows = pd.read_csv(paths.SUSPECTS, dtype=audit.TYPES, keep_default_na=False)
    assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
    clear = rows[rows["ambiguous"] == 0]
    assert clear["score"].is_monotonic_decreasing
    person = table["group"].iloc[OTHER_GENDER * 7]
    of_gender = rows[(rows["axis"] == "gender")].iloc[0]
    assert (of_gender["id"], of_gender["score"] > 0.5) == (person, True)
    assert {of_gender["given"], of_gender["suggested"]} == {"male", "female"}
    assert of_gender["why"].startswith(f"7 of 7 photos look {of_gender['suggested']} (")
    assert of_gender["photos"].split("|") == table["file"][OTHER_GENDER * 7 :][:7].tolist()
    swapped = rows[rows["axis"] == "mask"][:2]
    assert set(swapped["group"]) == {table["group"].iloc[SWAPPED * 7]}
    assert sorted(zip(swapped["given"], swapped["suggested"], strict=True)) == [
        ("incorrect", "none"),
        ("none", "incorrect"),
    ]
    assert swapped["why"].str.contains("of the same group").all()
    assert swapped["why"].str.endswith("swapped?").all()
    assert found["axes"]["mask"]["swapped"] == 2
    assert found["likely_wrong"] == rows["likely_wrong"].sum() >= 3


def test_a_label_that_the_models_hardly_tell_apart_is_listed_but_not_as_likely_wrong(table: pd.DataFrame) -> None:
    looked = audit.look(compare.load("workspace"), small(), SILENT)
    before = audit.ranked(looked)
    axes = {name: replace(one, told_apart=np.zeros_like(one.told_apart)) for name, one in looked.found.axes.items()}
    after = audit.ranked(replace(looked, found=replace(looked.found, axes=axes)))
    assert (before["likely_wrong"] == (before["score"] >= audit.LIKELY) & (before["ambiguous"] == 0)).all()
    assert before["likely_wrong"].any()
    assert after["score"].equals(before["score"])
    assert not after["likely_wrong"].any()


def test_the_summary_names_its_run_and_how_far_to_trust_the_list(table: pd.DataFrame) -> None:
    audit.run(small(), SILENT)
    summary = json.loads(paths.AUDIT_SUMMARY.read_text())
    rows = pd.read_csv(paths.SUSPECTS)
    assert summary["run"] == json.loads(paths.OOF_RUN.read_text())["run"]
    assert (summary["people"], summary["photos"], summary["labels"]) == (24, 168, 168 + 24 + 24)
    first = {one["suspects"]: one["precision_estimated"] for one in summary["first"]}
    assert first == pytest.approx({count: rows["score"][:count].mean() for count in (50, 100, 200)}, abs=1e-4)


def test_params_that_have_changed_since_are_told(table: pd.DataFrame) -> None:
    said: list[str] = []
    audit.run(small(loss="focal"), Talk(said.append))
    assert said[0] == "audit: by the models of what was trained: loss: ce (params.yaml now: focal)"
    said.clear()
    audit.run(small(), Talk(said.append))
    assert not any("params.yaml now" in line for line in said)


def test_noise_is_told_of_pairs_of_levels_with_an_interval(table: pd.DataFrame) -> None:
    audit.run(small(), SILENT)
    noise = pd.read_csv(paths.AUDIT_NOISE).set_index(["axis", "given", "likely"])
    row = noise.loc[("mask", "incorrect", "none")]
    assert row["units"] == 24  # photos: one a person
    assert row["share"] == pytest.approx(1 / 24, rel=0.3)
    assert 0 <= row["share_low"] < row["share"] < row["share_high"] < 0.3
    assert row["told_apart"] == 1


def test_the_same_predictions_give_the_same_bytes(table: pd.DataFrame) -> None:
    def written() -> list[bytes]:
        audit.run(small(), SILENT)
        return [path.read_bytes() for path in (paths.SUSPECTS, paths.AUDIT_NOISE, paths.AUDIT_SUMMARY)]

    assert written() == written()


def test_what_people_decided_stays_in_the_list_and_says_so(table: pd.DataFrame) -> None:
    person, own = table["group"].iloc[OTHER_GENDER * 7], int(table["gender"].iloc[OTHER_GENDER * 7])
    old, new = (CONTEST.axis("gender").levels[level] for level in (own, 1 - own))
    other = table["group"].iloc[0]
    level = CONTEST.axis("gender").levels[int(table["gender"].iloc[0])]
    corrections.append(
        [Row(person, "gender", old, new, "ann", corrections.now()), Row(other, "gender", level, level, "ann", "now")]
    )
    found = audit.run(small(), SILENT)
    rows = {(row["id"], row["axis"]): row["decided"] for row in found["suspects"]}
    assert rows[person, "gender"] == "corrected"
    assert rows.get((other, "gender"), "kept") == "kept"
    assert found["corrected"] == 1
    assert found["first"][0]["corrected"] == 1
    assert any("decided in corrections.csv" in line for line, _ in audit_table.audit(found, 5, 200))


def test_a_correction_that_prepare_has_applied_speaks_for_the_label_that_is_still_suspect(table: pd.DataFrame) -> None:
    person, own = table["group"].iloc[OTHER_GENDER * 7], int(table["gender"].iloc[OTHER_GENDER * 7])
    given, before = (CONTEST.axis("gender").levels[level] for level in (own, 1 - own))
    corrections.append([Row(person, "gender", before, given, "ann", corrections.now())])
    found = audit.run(small(), SILENT)
    rows = {(row["id"], row["axis"]): row["decided"] for row in found["suspects"]}
    assert rows[person, "gender"] == "kept"
    assert (found["decided"], found["corrected"]) == (1, 0)


def test_a_number_is_decided_by_the_level_that_it_lies_in(table: pd.DataFrame) -> None:
    audit.run(small(), SILENT)
    rows = pd.read_csv(paths.SUSPECTS, dtype=audit.TYPES, keep_default_na=False)
    one = rows[rows["axis"] == "age"].iloc[0]
    ages = {"<30": "20", "30-59": "40", "60+": "70"}
    for level, decided in ((one["given"], "kept"), (one["suggested"], "corrected")):
        corrections.append([Row(one["id"], "age", one["value"], ages[level], "ann", corrections.now())])
        found = {(row["id"], row["axis"]): row["decided"] for row in audit.run(small(), SILENT)["suspects"]}
        assert found[one["id"], "age"] == decided


def test_a_full_disk_leaves_the_earlier_audit_whole(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    audit.run(small(), SILENT)
    before = paths.SUSPECTS.read_bytes()
    monkeypatch.setattr(audit, "write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Exception, match="No space left"):
        audit.run(small(), SILENT)
    assert paths.SUSPECTS.read_bytes() == before
    assert [path.name for path in paths.SUSPECTS.parent.parent.glob(".audit*")] == []


def test_the_report_shows_suspects_of_its_own_run_alone(table: pd.DataFrame) -> None:
    audit.run(small(), SILENT)
    own = json.loads(paths.AUDIT_SUMMARY.read_text())["run"]
    shown_rows = audit.of_run(own, 5)
    assert [row["rank"] for row in shown_rows.rows] == [1, 2, 3, 4, 5]
    assert shown_rows.told.startswith(
        f"{json.loads(paths.AUDIT_SUMMARY.read_text())['likely_wrong']} labels are likely"
    )
    assert audit.of_run("another", 5).rows == ()


def test_the_first_line_is_the_answer_and_all_fits_in_80_columns(table: pd.DataFrame) -> None:
    found = audit.run(small(), SILENT)
    lines = [line for line, _ in audit_table.audit(found, 8, 80)]
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"{found['likely_wrong']} labels are likely wrong: ")
    assert "as estimated" in lines[2] + lines[1]
    assert sum(" > " in line for line in lines) == 8


def test_a_number_next_to_an_edge_is_ambiguous_and_ranks_behind_all_that_are_not(table: pd.DataFrame) -> None:
    found = audit.run(small(), SILENT)
    person, years = table.iloc[at_the_edge(table) * 7][["group", "age"]]
    row = next(row for row in found["suspects"] if (row["id"], row["axis"]) == (person, "age"))
    assert (row["ambiguous"], row["value"]) == (1, f"{years}")
    assert row["score"] > audit.LISTED
    assert row["why"].endswith(f"; {years} is next to the edge at {30 if years < 45 else 60}")
    clear = [other for other in found["suspects"] if not other["ambiguous"]]
    assert max(other["rank"] for other in clear) < row["rank"]
    assert min(other["score"] for other in clear) < row["score"]
