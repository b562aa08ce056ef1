"""The page as a browser sees it: questions in order, decisions that are on the disk, two people at once, photos that are gone."""

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("uvicorn")

from stages import prepare
from stages.base import paths
from stages.base.talk import SILENT
from stages.data import corrections
from stages.data.corrections import Row
from stages.params.load import load
from tests.review.made import ASKED, IMAGES, Browser, near_duplicates, reviewing, suspects, table, unreadable


@pytest.fixture
def ids(project: Path) -> list[tuple[str, str]]:
    """The working folder is a project with six suspects: gender, mask, age, gender, mask, age."""
    return suspects()


@pytest.fixture
def browser(ids: list[tuple[str, str]]) -> Iterator[Browser]:
    with reviewing() as found:
        yield found


def written() -> list[tuple[str, str, str, str, str]]:
    return [(row.id, row.axis, row.old, row.new, row.who) for row in corrections.read()]


def test_questions_come_in_the_order_of_the_audit_and_the_next_follows_a_decision(
    browser: Browser, ids: list[tuple[str, str]]
) -> None:
    for person, axis in ids:
        said = browser.question()
        assert (said["question"]["id"], said["question"]["axis"]) == (person, axis)
        browser.decide(said["question"], "a")
    assert browser.question() == {"question": None, "place": None, "asked": 6, "decided": 6, "ahead": []}


def test_a_question_shows_the_group_what_is_given_and_suggested_why_and_how_sure(browser: Browser) -> None:
    said = browser.question()
    one = said["question"]
    assert (len(one["photos"]), one["why"], one["score"]) == (7, "7 of 7 look so", 0.9)
    assert (one["ambiguous"], one["likely_wrong"]) == (False, True)
    assert {one["given"], one["suggested"]} == {"male", "female"}
    assert all(photo["labels"]["gender"] == one["given"] for photo in one["photos"])
    assert [action["key"] for action in one["actions"]] == ["a", "k", "1", "2"]
    assert (said["place"], said["asked"], said["decided"], len(said["ahead"])) == (1, 6, 0, 2)
    mask = browser.question("at", 1)["question"]
    assert (mask["ambiguous"], mask["likely_wrong"]) == (True, False)
    assert (len(mask["about"]), len(mask["photos"]), mask["photos"][0]["file"]) == (1, 7, mask["id"])


def test_accept_keep_and_relabel_are_rows_of_corrections(browser: Browser, ids: list[tuple[str, str]]) -> None:
    gender, mask, age = (browser.question("at", place)["question"] for place in range(3))
    browser.decide(gender, "a", who="  bob\n ")
    browser.decide(mask, "k")
    browser.decide(age, "3")
    number = age["number_of"]
    assert written() == [
        (*ids[0], gender["given"], gender["suggested"], "bob"),
        (*ids[1], "wear", "wear", "ann"),
        (*ids[2], number, "60+", "ann"),
    ]
    rows = corrections.read()
    assert [row.why for row in rows] == ["suggested: 7 of 7 look so", "looked at: right", "suggested: 7 of 7 look so"]
    assert all(row.when.endswith("Z") for row in rows)


def test_prepare_takes_what_was_decided(browser: Browser, ids: list[tuple[str, str]]) -> None:
    for place, key in enumerate("aka"):
        browser.decide(browser.question("at", place)["question"], key)
    before = table()
    prepare.run(load(), SILENT)
    after = table()
    person = after[after["group"] == ids[0][0]]
    assert set(person["gender"]) == {browser.question("at", 0)["question"]["suggested"]}
    assert (before["mask"] == after["mask"]).all()
    with reviewing() as again:  # and is asked about the rest alone, by the data as it is now
        assert again.question()["question"]["id"] == ids[3][0]


def test_a_number_may_be_typed(browser: Browser, ids: list[tuple[str, str]]) -> None:
    age = browser.question("at", 2)["question"]
    saved = browser.decide(age, "a", new="47")
    assert written() == [(*ids[2], age["number_of"], "47", "ann")]
    assert saved["row"]["new"] == "47"
    assert browser.question("at", 2)["question"]["number_of"] == "47"
    status, said, _ = browser.ask(
        "/decide", {**dict(zip(("id", "axis"), ids[2], strict=True)), "new": "4.5", "seen": 1, "question": 2}
    )
    assert (status, said.decode()) == (409, "age `4.5` is not a whole number from 0 to 120; mend the row")


def test_undo_takes_back_and_the_question_is_asked_again(browser: Browser, ids: list[tuple[str, str]]) -> None:
    one = browser.question()["question"]
    row = browser.decide(one, "a")["row"]
    assert browser.question()["question"]["number"] == 1
    assert browser.undo(row)["told"] == ""
    assert browser.question()["question"]["number"] == 0
    assert [(old, new) for _, _, old, new, _ in written()] == [("male", "female"), ("female", "male")][
        :: 1 if one["given"] == "male" else -1
    ]
    assert corrections.read()[1].why == "undone"
    assert browser.undo(row)["told"] == "it had been taken back already"
    kept = browser.decide(browser.question()["question"], "k")["row"]
    browser.undo(kept)
    assert browser.question()["question"]["number"] == 0


def test_of_two_browsers_on_one_question_both_are_kept_and_the_later_is_told(
    browser: Browser, ids: list[tuple[str, str]]
) -> None:
    seen = browser.question()["question"]
    first = browser.decide(seen, "a", who="ann")
    second = browser.decide(seen, "k", who="bob")
    assert first["told"] == ""
    assert (
        second["told"]
        == f"ann decided gender of {ids[0][0]}: {seen['suggested']} before you; both are kept, and yours holds"
    )
    assert written() == [
        (*ids[0], seen["given"], seen["suggested"], "ann"),
        (*ids[0], seen["suggested"], seen["given"], "bob"),
    ]
    assert (
        browser.undo(first["row"])["told"]
        == f"bob decided gender of {ids[0][0]}: {seen['given']} after you, and that stays"
    )
    assert len(written()) == 2


def test_of_two_browsers_that_agree_the_later_is_told_too(browser: Browser, ids: list[tuple[str, str]]) -> None:
    seen = browser.question()["question"]
    for who in ("ann", "bob", "cid"):
        told = browser.decide(seen, "a", who=who)["told"]
        if who != "ann":
            assert told.endswith("before you, the same; both are kept")
    prepare.run(load(), SILENT)
    assert set(table().set_index("group").loc[ids[0][0], "gender"]) == {seen["suggested"]}


def test_what_another_process_writes_is_seen_at_once(browser: Browser, ids: list[tuple[str, str]]) -> None:
    seen = browser.question()["question"]
    corrections.append([Row(*ids[0], seen["given"], seen["suggested"], "eve", corrections.now())])
    assert browser.question()["question"]["number"] == 1
    assert browser.question("at", 0)["question"]["decided"] == f"eve decided gender of {ids[0][0]}: {seen['suggested']}"
    assert "eve" in browser.decide(seen, "k")["told"]


def test_two_servers_on_one_project_lose_and_contradict_nothing(browser: Browser, ids: list[tuple[str, str]]) -> None:
    with reviewing() as other:
        seen, also_seen = browser.question()["question"], other.question()["question"]
        browser.decide(seen, "a", who="ann")
        assert "ann" in other.decide(also_seen, "2", who="bob")["told"]
        assert other.question()["question"]["number"] == 1
        browser.decide(browser.question("at", 0)["question"], "1", who="ann")
    prepare.run(load(), SILENT)  # refuses rows that contradict each other
    assert set(table().set_index("group").loc[ids[0][0], "gender"]) == {"male"}


def test_what_was_decided_in_an_earlier_session_is_not_asked_again(ids: list[tuple[str, str]]) -> None:
    with reviewing() as first:
        first.decide(first.question()["question"], "k")
    with reviewing() as second:
        said = second.question()
        assert (said["question"]["number"], said["decided"]) == (1, 1)


def test_skipped_questions_come_again_at_the_end_and_steps_pass_by_decided_ones_too(browser: Browser) -> None:
    browser.decide(browser.question("at", 1)["question"], "k")
    assert browser.question("next", 0)["question"]["number"] == 2
    assert browser.question("after", 0)["question"]["number"] == 1
    assert browser.question("before", 2)["question"]["number"] == 1
    assert browser.question("next", 5)["question"]["number"] == 0
    assert browser.question("before", 0)["question"] is None
    assert browser.question("after", 5)["question"] is None


def test_filters_are_by_axis_class_and_person(browser: Browser, ids: list[tuple[str, str]]) -> None:
    assert [browser.question("after", at, about="mask")["question"]["number"] for at in (-1, 1)] == [1, 4]
    assert browser.question(about="age")["asked"] == 2
    assert browser.question(text=ids[3][0])["question"]["number"] == 3
    label = int(table().loc[table()["group"] == ids[0][0], "label"].iloc[0])
    by_class = browser.question(**{"class": label})
    assert by_class["question"]["number"] == 0
    assert by_class["asked"] < 6
    assert browser.question(text="nobody")["question"] is None


def test_first_and_axis_choose_among_the_suspects(ids: list[tuple[str, str]]) -> None:
    near_duplicates((0, 7))
    with reviewing(replace(ASKED, first=2)) as found:
        assert found.question()["asked"] == 3
    with reviewing(replace(ASKED, axis="mask")) as found:
        assert found.question()["asked"] == 2


def test_any_photo_can_be_looked_for_and_relabelled(browser: Browser) -> None:
    listed = browser.get("/photos")
    assert (listed["total"], len(listed["photos"]), listed["pages"]) == (168, 60, 3)
    assert len(browser.get("/photos?page=2")["photos"]) == 48
    (one,) = browser.get("/photos?text=" + listed["photos"][9]["file"].upper())["photos"]
    assert one["number"] == 9
    alone = browser.get("/photo/9")
    assert [axis["name"] for axis in alone["axes"]] == ["mask", "gender", "age"]
    assert [axis["all"] for axis in alone["axes"]] == [False, True, True]
    body = {
        **{name: alone["axes"][0]["actions"][1][name] for name in ("id", "axis", "new")},
        "seen": 0,
        "question": None,
    }
    assert browser.ask("/decide", body)[0] == 200
    after = browser.get("/photo/9")
    assert (after["photos"][0]["labels"]["mask"], after["photos"][0]["changed"]) == ("incorrect", ["mask"])
    assert [row["told"] for row in after["history"]] == [f"ann decided mask of {one['file']}: incorrect"]
    browser.undo(after["history"][0]["row"])
    assert browser.get("/photo/9")["history"] == []


def test_the_same_person_is_joined_and_prepare_has_one(project: Path) -> None:
    near_duplicates((0, 7), (1, 8), (0, 14))
    with reviewing() as browser:
        one = browser.question()["question"]
        said = browser.decide(one, "a")
        assert browser.question()["question"]["number"] == 2  # the other pair of these two is decided as well
        own = table()
        first, second = own["group"][0], own["group"][7]
        assert written() == [(second, "group", second, first, "ann")]
        differs = [axis for axis in ("gender",) if own[axis][0] != own[axis][7]]
        assert all(axis in said["told"] for axis in differs)
        browser.undo(said["row"])
        assert browser.question()["question"]["number"] == 0


def test_apart_is_remembered_for_these_two_alone(project: Path) -> None:
    near_duplicates((0, 7), (0, 14), (7, 14))
    with reviewing() as browser:
        row = browser.decide(browser.question()["question"], "k")["row"]
        assert row["old"] == row["new"] == table()["group"][7]
        assert browser.question()["question"]["number"] == 1
        third = browser.question("at", 2)["question"]
        assert third["decided"] == ""
    with reviewing() as again:
        assert again.question()["decided"] == 1
        again.undo(row)
        assert again.question()["question"]["number"] == 0
    prepare.run(load(), SILENT)


def test_groups_joined_in_a_row_are_one(project: Path) -> None:
    """first = second and second = third make first = third."""
    near_duplicates((0, 7), (7, 14), (0, 14))
    with reviewing() as browser:
        browser.decide(browser.question("at", 0)["question"], "a")
        row = browser.decide(browser.question("at", 1)["question"], "a")["row"]
        assert browser.question()["question"] is None
        browser.undo(row)
        assert browser.question()["question"]["number"] == 1


def test_one_photo_of_a_pair_can_be_removed(project: Path) -> None:
    near_duplicates((0, 7), (1, 8))
    with reviewing() as browser:
        row = browser.decide(browser.question()["question"], "2")["row"]
        file = table()["file"][7]
        assert written() == [(file, "photo", "there", "removed", "ann")]
        assert browser.question()["question"]["number"] == 1
        assert browser.get("/photo/7")["photos"][0]["removed"]
        browser.undo(row)
        assert not browser.get("/photo/7")["photos"][0]["removed"]


def test_photos_that_cannot_be_used_are_asked_about_whether_or_not_prepare_lists_them(project: Path) -> None:
    own = table()
    extra = IMAGES / own["file"][0].replace("mask1", "mask9")
    extra.write_bytes(b"\xff\xd8nothing")
    (IMAGES / own["file"][3]).write_bytes(b"")
    unreadable(str(IMAGES / own["file"][3]), str(extra), "data/train/train.csv line 3", "../secret.jpg", "/etc/passwd")
    Path("../secret.jpg").write_bytes(b"secret")
    with reviewing() as browser:
        assert browser.question()["asked"] == 2
        one = browser.question()["question"]
        assert (one["why"], one["id"]) == ("is cut off before its end", own["file"][3])
        status, said, _ = browser.ask("/photo/3/large.jpg")
        assert (status, said.decode()) == (422, "this photo is empty (zero bytes); replace it by the original")
        browser.decide(one, "a")
        other = browser.question()["question"]
        assert other["photos"][0]["labels"] == {}
        assert browser.get(f"/photo/{other['photos'][0]['number']}")["axes"] == []
        browser.decide(other, "k")
        assert [row[1:4] for row in written()] == [("photo", "there", "removed"), ("photo", "there", "there")]


def test_a_photo_deleted_while_the_page_is_open_is_said_and_the_rest_goes_on(browser: Browser) -> None:
    one = browser.question()["question"]
    number = one["photos"][0]["number"]
    status, _, headers = browser.ask(f"/photo/{number}/large.jpg")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    (IMAGES / one["photos"][0]["file"]).unlink()
    status, said, _ = browser.ask(f"/photo/{number}/large.jpg", If_None_Match=headers["etag"])
    assert status == 422
    assert said.decode() == (
        "this photo cannot be read (No such file or directory); was it moved or deleted? `maskcli prepare` looks again"
    )
    browser.decide(one, "k")
    assert browser.ask(f"/photo/{number + 1}/large.jpg")[0] == 200


def test_a_photo_is_shown_upright_in_its_own_shape_and_no_larger_than_it_is(browser: Browser) -> None:
    file = IMAGES / table()["file"][0]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 300, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(file, "JPEG", exif=exif)
    shown = {
        size: Image.open(io.BytesIO(browser.ask(f"/photo/0/{size}.jpg")[1])).size
        for size in ("small", "large", "whole")
    }
    assert shown == {"small": (224, 75), "large": (900, 300), "whole": (900, 300)}


def test_a_photo_that_has_not_changed_is_not_sent_again(browser: Browser) -> None:
    headers = browser.ask("/photo/0/small.jpg")[2]
    status, said, _ = browser.ask("/photo/0/small.jpg", If_None_Match=headers["etag"])
    assert (status, said) == (304, b"")
    os.utime(IMAGES / table()["file"][0], (1, 1))
    assert browser.ask("/photo/0/small.jpg", If_None_Match=headers["etag"])[0] == 200


def test_pixels_beyond_the_limit_are_not_decoded(project: Path) -> None:
    paths.PARAMS.write_text(paths.PARAMS.read_text() + "data: {max_pixels: 1000}\n")
    with reviewing() as browser:
        status, said, _ = browser.ask("/photo/0/small.jpg")
        assert status == 422
        assert b"more than 1000 pixels; shrink it, or raise data.max_pixels" in said


TRICKS = ("../../../secret.jpg", "/etc/passwd", "..\\secret.jpg", "linked.jpg", "out/secret.jpg")


@pytest.mark.parametrize("name", TRICKS)
def test_a_name_in_photos_csv_that_leads_out_of_the_data_is_not_followed(project: Path, name: str) -> None:
    """Whoever gives a person a project could have written any name there."""
    Image.new("RGB", (9, 9)).save("secret.jpg")
    (IMAGES / "linked.jpg").symlink_to(Path("secret.jpg").resolve())
    (IMAGES / "out").symlink_to(Path().resolve())
    first = table()["file"][0]
    paths.PHOTOS.write_text(paths.PHOTOS.read_text().replace(first, name))
    with reviewing() as browser:
        status, said, _ = browser.ask("/photo/0/large.jpg")
        assert status == 422
        assert b"lead" in said or b"is absolute" in said or b"backslash" in said


def test_a_file_of_corrections_that_is_damaged_meanwhile_is_told_and_not_written_to(browser: Browser) -> None:
    one = browser.question()["question"]
    paths.CORRECTIONS.write_text("id,axis\n")
    status, said, _ = browser.ask("/question")
    assert status == 409
    assert said.decode().startswith("corrections.csv line 1: column `old` is missing")
    action = one["actions"][0]
    body = {name: action[name] for name in ("id", "axis", "new")} | {"seen": 0, "question": 0}
    assert browser.ask("/decide", body)[0] == 409
    assert paths.CORRECTIONS.read_text() == "id,axis\n"
    paths.CORRECTIONS.unlink()
    assert browser.question()["question"]["number"] == 0


def test_a_full_disk_is_told_and_the_decision_can_be_made_again(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = browser.question()["question"]
    browser.decide(one, "a")
    before = paths.CORRECTIONS.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(corrections.os, "fsync", full)
        two = browser.question()["question"]
        body = {name: two["actions"][0][name] for name in ("id", "axis", "new")} | {"seen": 0, "question": 1}
        status, said, _ = browser.ask("/decide", body)
        assert status == 409
        assert "cannot be written (No space left on device)" in said.decode()
        assert paths.CORRECTIONS.read_bytes() == before
    browser.decide(two, "a")
    assert len(written()) == 2


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder is a project of 13 classes, three photos each, without groups; one suspect, one pair."""
    monkeypatch.chdir(tmp_path)
    drawn = np.random.default_rng(0)
    for place in range(39):
        file = Path(f"data/class{place % 13:02d}/{place:02d}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.integers(0, 255, (20, 20, 3), np.uint8)).save(file)
    paths.PARAMS.write_text("data: {layout: folder}\nimage: {height: 16, width: 16, margin: 0}\nfolds: [0, 1]\n")
    prepare.run(load(), SILENT)
    row = "1,class00/00.png,label,class00,class12,0.9,0,,class00/00.png,class00/00.png,looks class12,\n"
    paths.SUSPECTS.parent.mkdir(parents=True)
    paths.SUSPECTS.write_text("rank,id,axis,given,suggested,score,ambiguous,value,group,photos,why,decided\n" + row)
    paths.EDA.mkdir()
    pair = "data/class01/01.png,train,data/class02/02.png,train,1,0.99\n"
    eval_pair = "data/class03/03.png,train,elsewhere/9.png,eval,1,0.99\n"
    paths.EDA_DUPLICATES.write_text("photo_a,set_a,photo_b,set_b,distance,correlation\n" + pair + eval_pair)


def test_photos_without_groups_and_of_many_classes_are_reviewed_too(folders: None) -> None:
    with reviewing() as browser:
        one = browser.question()["question"]
        assert [action["key"] for action in one["actions"]] == ["a", "k", *"1234567890", "", "", ""]
        assert [photo["file"] for photo in one["photos"]] == ["class00/00.png"]
        assert not one["likely_wrong"]  # an earlier version's suspects.csv does not say what the audit counted so
        browser.decide(one, "k", new="class05")
        pair = browser.question()["question"]
        assert (pair["kind"], pair["actions"][0]["text"]) == ("pair", "Same photo")
        browser.decide(pair, "a")
        assert browser.question()["question"] is None
        assert written() == [
            ("class00/00.png", "label", "class00", "class05", "ann"),
            ("class02/02.png", "group", "class02/02.png", "class01/01.png", "ann"),
        ]
    prepare.run(load(), SILENT)
    found = pd.read_csv(paths.PHOTOS).set_index("file")
    assert found["label"]["class00/00.png"] == 5
    assert found["group"]["class02/02.png"] == found["group"]["class01/01.png"]
    with reviewing() as again:  # what prepare has applied is not asked again
        assert again.question()["question"] is None
        assert [photo["group"] for photo in again.get("/photos?text=class02/02")["photos"]] == ["class01/01.png"]
