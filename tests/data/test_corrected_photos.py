"""What corrections.csv does to a data set, and which rows are refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import eda, kfold, prepare
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.by_hand import check_trial
from stages.data import corrected_photos, corrections, photos, task_and_classes
from stages.data.corrections import Row
from stages.data.csv_rows import Fault
from stages.data.fold_data import open_fold
from stages.data.found_photos import Found
from stages.data.task_and_classes import CONTEST, Axis, Task
from stages.params.load import load
from stages.params.schema import Params
from tests import layouts
from tests.conftest import ROOT, command, small

MASKS = {"mask1.jpg": 0, "incorrect_mask.jpg": 1, "normal.jpg": 2}


def people(*given: tuple[str, int, int]) -> Found:
    """People by id, gender and age, each of three photos."""
    rows = [(name, f"{name}/{file}", mask, gender, age) for name, gender, age in given for file, mask in MASKS.items()]
    table = pd.DataFrame(rows, columns=["group", "file", "mask", "gender", "age"])
    groups = pd.DataFrame([(*one, "") for one in given], columns=["group", "gender", "age", "race"])
    return Found(replace(CONTEST, subsets={}), table, groups, pd.DataFrame({"ImageID": []}, dtype=str))


THREE = people(("p1", 0, 25), ("p2", 0, 59), ("p3", 1, 61))


def rows(*lines: str) -> list[Row]:
    """Rows by `id axis old new`, and who and why where they matter."""
    made = []
    for number, line in enumerate(lines):
        name, axis, old, new, *more = line.split(" ")
        who, why = [*more, "", ""][:2]
        made.append(Row(name, axis, old, new, who, "", why, number + 2))
    return made


def corrected(*lines: str, found: Found = THREE) -> Found:
    done = corrected_photos.apply(found, rows(*lines))
    assert [str(fault) for fault in done.faults] == []
    return done


def of(found: Found, name: str, column: str) -> list[int]:
    return found.photos.loc[found.photos["group"] == name, column].tolist()


def test_without_rows_the_data_set_is_what_it_was() -> None:
    assert corrected_photos.apply(THREE, []) is THREE


def test_what_a_person_is_changes_on_all_their_photos_and_in_the_table_of_people() -> None:
    done = corrected("p1 gender male female", "p2 age 59 62")
    assert (of(done, "p1", "gender"), of(done, "p2", "age"), of(done, "p3", "age")) == ([1] * 3, [62] * 3, [61] * 3)
    assert done.groups[["gender", "age"]].to_numpy().tolist() == [[1, 25], [0, 62], [1, 61]]
    assert THREE.photos["gender"].tolist() == [0] * 6 + [1] * 3
    assert done.corrected == "2 labels of 2 people changed"


def test_what_a_photo_shows_changes_on_that_photo_alone() -> None:
    done = corrected("p1/incorrect_mask.jpg mask incorrect none", "p1/normal.jpg mask none incorrect")
    assert (of(done, "p1", "mask"), of(done, "p2", "mask")) == ([0, 2, 1], [0, 1, 2])
    assert done.corrected == "2 labels of 1 person changed"


@pytest.mark.parametrize(
    ("old", "new", "age"), [("59", "60+", 60), ("30-59", "<30", 29), ("59", "30-59", 59), ("30-59", "61", 61)]
)
def test_a_number_asked_for_by_its_level_becomes_the_nearest_of_it(old: str, new: str, age: int) -> None:
    done = corrected(f"p2 age {old} {new}")
    assert of(done, "p2", "age") == [age] * 3


def test_of_an_older_number_a_lower_level_is_the_largest_below() -> None:
    assert of(corrected("p3 age 61 30-59"), "p3", "age") == [59] * 3


def test_numbers_that_are_not_whole_come_next_to_the_end_of_a_level() -> None:
    axis = Axis("dose", ("<0.5", "0.5-2", "2+"), (0.5, 2.0))
    table = pd.DataFrame({"group": ["a", "b"], "file": ["a", "b"], "dose": [0.1, 2.5]})
    found = Found(Task("table", (axis,), "photo"), table, table[["group"]], pd.DataFrame({"ImageID": []}, dtype=str))
    done = corrected("a dose 0.1 0.5-2", "b dose 2.5 0.5-2", found=found)
    assert done.photos["dose"].tolist() == [0.5, 1.99999]
    assert done.task.labels(done.photos).tolist() == [1, 1]


def test_numbers_keep_the_digits_that_a_row_has_and_stay_in_a_level_narrower_than_a_step() -> None:
    axis = Axis("paid", ("<20000", "20000-20000.005", "20000.005+"), (20000.0, 20000.005))
    table = pd.DataFrame({"group": ["a", "b"], "file": ["a", "b"], "paid": [20000.01, 30000.5]})
    found = Found(Task("table", (axis,), "photo"), table, table[["group"]], pd.DataFrame({"ImageID": []}, dtype=str))
    done = corrected("a paid 20000.01 19999.99", "b paid 30000.5 20000-20000.005", found=found)
    assert done.photos["paid"].tolist() == [19999.99, 20000]
    assert done.task.labels(done.photos).tolist() == [0, 1]


@pytest.mark.parametrize(("number", "old"), [(29.123456, "29.1235"), (20230131, "20230100")])
def test_decisions_on_numbers_that_an_earlier_version_had_rounded_still_hold(number: float, old: str) -> None:
    axis = Axis("age", ("<30", "30+"), (30.0,))
    table = pd.DataFrame({"group": ["a"], "file": ["a"], "age": [number]})
    found = Found(Task("table", (axis,), "photo"), table, table[["group"]], pd.DataFrame({"ImageID": []}, dtype=str))
    assert corrected(f"a age {old} 31", found=found).photos["age"].tolist() == [31]


def test_small_numbers_that_the_review_writes_with_an_exponent_are_read() -> None:
    axis = Axis("dose", ("<0.5", "0.5+"), (0.5,))
    table = pd.DataFrame({"group": ["a"], "file": ["a"], "dose": [0.00002]})
    found = Found(Task("table", (axis,), "photo"), table, table[["group"]], pd.DataFrame({"ImageID": []}, dtype=str))
    old, new = task_and_classes.number_text(0.00002), task_and_classes.number_text(0.00003)
    assert corrected(f"a dose {old} {new}", found=found).photos["dose"].tolist() == [0.00003]
    refused = corrected_photos.apply(found, rows(f"a dose {old} 1e999"))
    assert "`1e999` is no number" in str(refused.faults[0])


def test_decisions_follow_each_other_count_once_and_are_taken_back() -> None:
    done = corrected(
        *("p1 gender male female ann", "p1 gender male female bob", "p1 gender female male ann undone"),
        *("p2 age 59 60 ann", "p2 age 60 61 bob", "p2 age 61 60 bob undone"),
        *("p3 gender female female ann", "p3 gender female female bob"),
    )
    assert (of(done, "p1", "gender"), of(done, "p2", "age")) == ([0] * 3, [60] * 3)
    assert done.corrected == "1 label of 1 person changed, 1 looked at and kept"


def test_a_photo_is_taken_out_and_put_back() -> None:
    gone = "p1/mask1.jpg photo there removed ann"
    done = corrected(gone, "p2/mask1.jpg photo there there", "p1/mask1.jpg mask wear none")
    assert len(done.photos) == 8
    assert done.photos.index.tolist() == list(range(8))
    assert "p1/mask1.jpg" not in set(done.photos["file"])
    assert done.corrected == "1 label of 1 person changed, 1 photo removed, 1 looked at and kept"
    assert len(corrected(gone, "p1/mask1.jpg photo removed there ann undone").photos) == 9


def test_groups_that_are_one_person_are_called_as_the_one_they_join() -> None:
    found = people(("p1", 0, 25), ("p2", 0, 27), ("p3", 1, 61))
    done = corrected("p1 group p1 p2", found=found)
    assert done.photos["group"].tolist() == ["p2"] * 6 + ["p3"] * 3
    assert done.groups[["group", "age"]].to_numpy().tolist() == [["p2", 27], ["p3", 61]]
    assert of(done, "p2", "age") == [27] * 6
    assert done.corrected == "1 person joined to others"
    assert corrected("p1 group p1 p2", "p1 group p2 p1 ann undone", found=found).photos.equals(found.photos)


@pytest.mark.parametrize("turned", [False, True])
def test_a_row_on_one_of_joined_groups_is_a_row_on_all_wherever_it_stands(turned: bool) -> None:
    lines = ["p1 group p1 p2", "p2 gender male female"]
    done = corrected(*(lines[::-1] if turned else lines), found=people(("p1", 0, 25), ("p2", 0, 27), ("p3", 1, 61)))
    assert of(done, "p2", "gender") == [1] * 6


def test_groups_join_in_any_order_and_direction() -> None:
    found = people(("p1", 0, 25), ("p2", 0, 25), ("p3", 0, 25), ("p4", 0, 25))
    done = corrected("p1 group p1 p2", "p2 group p2 p1", "p1 group p1 p3", "p4 group p4 p4", found=found)
    assert done.photos["group"].unique().tolist() == ["p3", "p4"]
    assert done.corrected == "2 people joined to others, 1 looked at and kept"


def test_photos_that_stood_alone_become_groups_whose_labels_stay_their_own() -> None:
    axis = Axis("kind", ("cat", "dog"), constant=True)
    table = pd.DataFrame({"group": list("abc"), "file": list("abc"), "kind": [0, 1, 1]})
    found = Found(Task("folder", (axis,), "photo"), table, table[["group", "kind"]], pd.DataFrame({"ImageID": []}))
    done = corrected("a group a b", "b kind dog cat", found=found)
    assert (done.task.unit, done.task.axes[0].constant) == ("group", False)
    assert done.photos.to_numpy().tolist() == [["b", "a", 0], ["b", "b", 0], ["c", "c", 1]]
    assert done.groups.to_numpy().tolist() == [["b"], ["c"]]


ONCE = "p1 gender male female ann"
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "an unknown person": (
        ("p9 gender male female",),
        " line 2: there is no person `p9`; mend the row, or delete it (out/prepare/photos.csv has the names)",
    ),
    "an unknown photo": (
        ("p1/mask9.jpg mask wear none",),
        " line 2: there is no photo `p1/mask9.jpg`; mend the row, or delete it (out/prepare/photos.csv has the names)",
    ),
    "an unknown axis": (
        ("p1 sex male female",),
        " line 2: axis `sex` is not known; write mask, gender, age, group or photo",
    ),
    "an unknown level": (
        ("p1 gender male femal",),
        " line 2: `femal` is no level of gender; did you mean `female`?; the levels are male, female",
    ),
    "no number": (
        ("p1 age 25 old",),
        " line 2: `old` is no number and no level of age; write a number, or one of <30, 30-59, 60+",
    ),
    "an impossible age": (("p1 age 25 300",), " line 2: age `300` is not a whole number from 0 to 120; mend the row"),
    "no state of a photo": (
        ("p1/mask1.jpg photo there gone",),
        " line 2: `gone` is nothing a photo is; write there or removed",
    ),
    "an old value that is not the data's": (
        ("p1 gender female male ann",),
        " line 2 (ann): gender of `p1` is `male` in the data, not `female`; mend the row, or delete it",
    ),
    "an old value that another row has changed": (
        (ONCE, "p1 gender male male bob"),
        " line 3 (bob): gender of `p1` is no longer `male`: line 2 (ann) made it `female`; settle which of the two is right, and "
        "delete the other",
    ),
    "two new values": (
        ("p1 age 25 31 ann", "p1 age 25 61 bob"),
        " line 3 (bob): age of `p1` is no longer `25`: line 2 (ann) made it `31`; settle which of the two is right, and delete "
        "the other",
    ),
    "what does not stand taken back": (
        ("p1 gender female male ann undone",),
        " line 2 (ann): takes back `male` to `female` on gender of `p1`, which does not stand; delete the row",
    ),
    "a photo's row on what belongs to the person": (
        ("p2/mask1.jpg gender male female",),
        " line 2: `p2/mask1.jpg` is a photo, and gender is told of the whole person; name the person: `p2`",
    ),
    "a photo's row on groups": (
        ("p2/mask1.jpg group p2/mask1.jpg p1",),
        " line 2: `p2/mask1.jpg` is a photo, and group is about a person; name the person: `p2`",
    ),
    "a person's row on what belongs to the photo": (
        ("p1 mask wear none",),
        " line 2: `p1` is a person, and mask is told of each photo; name the photo by its file, as out/prepare/photos.csv does",
    ),
    "a person to be removed": (
        ("p1 photo there removed",),
        " line 2: `p1` is a person, and photo is told of each photo; name the photo by its file, as out/prepare/photos.csv does",
    ),
    "a person joined to nobody": (
        ("p1 group p1 p9",),
        " line 2: there is no person `p9`; mend the row, or delete it (out/prepare/photos.csv has the names)",
    ),
    "joined people who differ": (
        ("p1 group p1 p3 ann",),
        " line 2 (ann): `p1` and `p3` become one person, but differ in gender (`male` and `female`), age (`25` and `61`); add a "
        "row that corrects one of them",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_row_that_does_not_fit_is_told_by_line(kind: str) -> None:
    lines, expected = REFUSED[kind]
    done = corrected_photos.apply(THREE, rows(*lines))
    assert str(done.faults[0]) == f"{paths.CORRECTIONS}{expected}"


def test_rows_on_people_with_faults_wait_until_these_are_mended() -> None:
    found = replace(THREE, faults=[Fault("data/train/images/p9", "this folder is missing", "add it", "p9")])
    done = corrected_photos.apply(found, rows("p9 gender male female", "p1 gender male female"))
    assert done.faults == found.faults
    assert done.warnings == [
        "corrections.csv: 1 row on what is not there, or has faults, first `p9` on line 2: not applied"
    ]
    assert of(done, "p1", "gender") == [1] * 3


@given(st.lists(st.tuples(st.sampled_from(["p1", "p2"]), st.sampled_from(["male", "female"])), max_size=8))
def test_taking_back_every_decision_gives_the_data_set_as_it_was(steps: list[tuple[str, str]]) -> None:
    now = {"p1": "male", "p2": "male"}
    made = []
    for name, new in steps:
        made.append(f"{name} gender {now[name]} {new} ann")
        now[name] = new
    held = corrections.decided(rows(*made))
    while held:
        for (name, axis), row in held.items():
            made.append(f"{name} {axis} {row.new} {row.old} ann undone")
        held = corrections.decided(rows(*made))
    assert corrected(*made).photos.equals(THREE.photos)


def said(params: Params) -> list[str]:
    lines: list[str] = []
    prepare.run(params, Talk(say=lines.append))
    return [line for line in lines if str(paths.CORRECTIONS) in line]


def test_prepare_writes_what_was_decided_and_edits_no_original(project: Path) -> None:
    before = photos.read(CONTEST)
    one, other = before["group"].iloc[[0, 7]]
    wrong = before["file"].iloc[1]
    original = Path("data/train/train.csv").read_bytes()
    gender = CONTEST.axis("gender").levels[before["gender"].iloc[0]]
    turned = {"male": "female", "female": "male"}[gender]
    corrections.append(rows(f"{one} gender {gender} {turned} ann", f"{wrong} mask wear none ann"))
    corrections.append(rows(f"{other} age {before['age'].iloc[7]} {before['age'].iloc[7]} bob"))
    assert said(small()) == ["prepare: corrections.csv: 2 labels of 1 person changed, 1 looked at and kept"]
    after = photos.read(CONTEST)
    assert (after["gender"] != before["gender"]).tolist() == [True] * 7 + [False] * (len(before) - 7)
    assert np.flatnonzero(after["mask"] != before["mask"]).tolist() == [1]
    assert photos.read_groups(CONTEST)["gender"].iloc[0] == after["gender"].iloc[0]
    assert after["label"].tolist() == CONTEST.labels(after).tolist()
    assert Path("data/train/train.csv").read_bytes() == original
    paths.CORRECTIONS.unlink()
    prepare.run(small(), SILENT)
    assert photos.read(CONTEST).equals(before)


def test_a_photo_that_cannot_be_read_stops_nothing_once_it_is_taken_out(project: Path) -> None:
    broken = photos.read(CONTEST)["file"].iloc[3]
    (Path("data/train/images") / broken).write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        prepare.run(small(), SILENT)
    corrections.append(rows(f"{broken} photo there removed ann"))
    assert said(small()) == ["prepare: corrections.csv: 1 photo removed"]
    assert broken not in set(photos.read(CONTEST)["file"])
    kfold.run(small(), SILENT)
    assert eda.run(small(), SILENT)["unreadable_photos"] == 0
    assert len(open_fold(small(), 0).val) + len(open_fold(small(), 1).val) == 24 * 7 - 1


def test_check_tries_out_what_was_decided(project: Path) -> None:
    table = photos.read(CONTEST)
    one, other = table["group"].iloc[[0, 7]]
    age = table["age"].iloc[0]
    corrections.append(rows(f"{table['file'].iloc[8]} photo there removed ann", f"{one} age {age} {119 - age} ann"))
    found = photos.find(small())
    trial = check_trial.params_of(small(), found, cached=False)
    check_trial.lay_out(Path("trial"), small(), trial, found)
    people = pd.read_csv("trial/data/train/train.csv", dtype={"id": str}).set_index("id")
    assert people.loc[one, "age"] == 119 - age
    assert other not in people.index


def test_a_folder_and_a_table_are_corrected_alike(tmp_path: Path) -> None:
    layouts.folder()
    corrections.append(rows("cat/1.png label cat dog ann", "dog/2.png photo there removed ann"))
    assert said(load()) == ["prepare: corrections.csv: 1 label of 1 photo changed, 1 photo removed"]
    own = task_and_classes.read(load())
    assert photos.read(own)[["file", "label"]].to_numpy().tolist() == [
        ["cat/1.png", 1],
        ["cat/2.png", 0],
        ["dog/1.png", 1],
    ]
    paths.CORRECTIONS.unlink()
    lines = [f"cat/{number}.png,p{number % 2},cat" for number in (1, 2)] + ["dog/1.png,p3,dog", "dog/2.png,p3,dog"]
    layouts.table(*lines, group="patient")()
    corrections.append(rows("p3 diagnosis dog cat ann", "p0 group p0 p1 ann"))
    assert said(load()) == ["prepare: corrections.csv: 1 label of 1 group changed, 1 group joined to others"]
    own = task_and_classes.read(load())
    assert photos.read(own)[["group", "diagnosis"]].to_numpy().tolist() == [["p1", 0], ["p1", 0], ["p3", 0], ["p3", 0]]


def test_two_branches_that_decide_on_other_things_become_one_without_a_conflict(project: Path) -> None:
    table = photos.read(CONTEST)
    axes = table.drop_duplicates("group").set_index("group")
    one, other = axes.index[:2]
    paths.CORRECTIONS.write_text(f"{corrections.HEADER}\n")
    shutil.copy(ROOT / ".gitattributes", ".")
    for words in (
        ("init", "-q", "-b", "main"),
        ("config", "user.email", "a@example.org"),
        ("config", "user.name", "a"),
    ):
        command(project, "git", *words)
    command(project, "git", "add", ".gitattributes", "corrections.csv")
    command(project, "git", "commit", "-qm", "begin")

    def decide(branch: str, person: str) -> None:
        command(project, "git", "checkout", "-q", "-b", branch, "main")
        age = axes.loc[person, "age"]
        corrections.append(rows(f"{person} age {age} {age + 1} {branch}"))
        command(project, "git", "commit", "-qam", branch)

    decide("ann", one)
    decide("bob", other)
    command(project, "git", "merge", "-q", "-m", "both", "ann")
    assert {(row.id, row.who) for row in corrections.read()} == {(one, "ann"), (other, "bob")}
    assert said(small()) == ["prepare: corrections.csv: 2 labels of 2 people changed"]
    after = photos.read_groups(CONTEST).set_index("group")["age"]
    assert (after - axes["age"]).loc[[one, other]].tolist() == [1, 1]
