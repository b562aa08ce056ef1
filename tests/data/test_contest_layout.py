import unicodedata
from pathlib import Path

import pytest

from stages.data import contest_layout

HEADER = "id,gender,race,age,path\n"
ROW = "1,female,Asian,30,one\n"


def faults_of(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [
        str(fault).replace(f"{path} ", "").replace(f"{path}: ", "") for fault in contest_layout.read_people(path)[1]
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; it must begin with the line id,gender,race,age,path"),
        (HEADER.encode(), "has a header but no rows; add the rows"),
        (b"id,sex,race,age,path\n", "line 1: column `gender` is missing; the header must be id,gender,race,age,path"),
        ((HEADER + "1,여,Asian,30,one\n").encode("cp949"), "line 2: is not UTF-8 text; save the table as UTF-8"),
        ((HEADER + ROW + ROW.replace("one", "two")).encode(), "line 3: id `1` stands on line 2 already"),
        ((HEADER + ROW + ROW.replace("1,", "2,", 1)).encode(), "line 3: path `one` stands on line 2 already"),
        (
            (HEADER + ROW.replace("female", "woman")).encode(),
            "line 2: gender `woman` is not known; write male or female",
        ),
        ((HEADER + ROW.replace("30", "old")).encode(), "line 2: age `old` is not a whole number from 0 to 120"),
        ((HEADER + ROW.replace("30", "-3")).encode(), "line 2: age `-3` is not a whole number from 0 to 120"),
        ((HEADER + ROW.replace("30", "200")).encode(), "line 2: age `200` is not a whole number from 0 to 120"),
        ((HEADER + ROW.replace("one", "../one")).encode(), "line 2: path `../one` leads out of its folder"),
        ((HEADER + ROW.replace("one", "/etc")).encode(), "line 2: path `/etc` is absolute"),
        ((HEADER + "1,female\n").encode(), "line 2: 2 values where the header has 5"),
    ],
)
def test_a_bad_table_is_named_by_line(tmp_path: Path, content: bytes, message: str) -> None:
    assert faults_of(tmp_path / "train.csv", content)[0].startswith(message)


def test_a_byte_order_mark_and_extra_columns_do_no_harm(tmp_path: Path) -> None:
    assert (
        faults_of(
            tmp_path / "train.csv", b"\xef\xbb\xbf" + (HEADER.strip() + ",note\n" + ROW.strip() + ",x\n").encode()
        )
        == []
    )


def test_all_faults_are_collected(tmp_path: Path) -> None:
    rows = ROW.replace("30", "x").replace("female", "?") + "2,male,Asian,-1,two\n"
    assert len(faults_of(tmp_path / "train.csv", (HEADER + rows).encode())) == 3


def person(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"x")


SEVEN = [f"{stem}.jpg" for stem in contest_layout.PHOTO_MASKS]


def found(tmp_path: Path, path: str = "one") -> tuple[int, list[str]]:
    (tmp_path / "train.csv").write_text(HEADER + f"1,female,Asian,30,{path}\n", encoding="utf-8")
    people, _ = contest_layout.read_people(tmp_path / "train.csv")
    photos, faults = contest_layout.find_photos(people, tmp_path / "images")
    return len(photos), [str(fault).replace(f"{tmp_path}/", "") for fault in faults]


def test_seven_photos_in_any_spelling_of_the_extension(tmp_path: Path) -> None:
    person(tmp_path / "images/one", ["mask1.JPG", "mask2.jpeg", "mask3.PNG", *SEVEN[3:], ".DS_Store", "._mask1.JPG"])
    assert found(tmp_path) == (7, [])


def test_missing_extra_and_doubled_photos_are_named(tmp_path: Path) -> None:
    person(tmp_path / "images/one", [*SEVEN[1:], "mask2.png", "holiday.jpg"])
    count, faults = found(tmp_path)
    assert count == 0
    assert faults[0].startswith("images/one/holiday.jpg: is not one of the seven photos")
    assert faults[1].startswith("images/one/mask2.png: is a second `mask2` beside mask2.jpg")
    assert faults[2].startswith("images/one/mask1.*: this photo is missing")


def test_a_missing_folder_and_a_link_out_of_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert found(tmp_path)[1][0].startswith("images/one: this folder is missing")
    person(tmp_path / "elsewhere", SEVEN)
    (tmp_path / "images/one").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path)[1][0].startswith("images/one: is a link that leads out of data/")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_unicode_names_match_in_both_normal_forms(tmp_path: Path, form: str) -> None:
    person(tmp_path / "images" / unicodedata.normalize(form, "김é"), SEVEN)
    assert found(tmp_path, unicodedata.normalize("NFC", "김é")) == (7, [])


@pytest.mark.parametrize("again", [unicodedata.normalize("NFD", "김é"), "김é/", "./김é"])
def test_one_folder_under_two_spellings_is_a_fault_of_both_people(tmp_path: Path, again: str) -> None:
    """The same photos under two ids would stand on both sides of a split."""
    table = tmp_path / "train.csv"
    table.write_text(HEADER + f"1,female,Asian,30,{unicodedata.normalize('NFC', '김é')}\n2,male,Asian,30,{again}\n")
    faults = contest_layout.read_people(table)[1]
    assert [fault.group for fault in faults] == ["2", "1"]
    assert all(fault.problem.endswith("stands on line 2 already") for fault in faults)


def test_ids_are_compared_in_one_normal_form(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text(
        HEADER + "".join(f"{unicodedata.normalize(form, '김é')},male,A,30,{form}\n" for form in ("NFC", "NFD"))
    )
    (fault,) = contest_layout.read_people(table)[1]
    assert fault.group == unicodedata.normalize("NFC", "김é")


def test_eval_rows_must_have_one_photo_each(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(b"x")
    (tmp_path / "info.csv").write_text("ImageID,ans\na.jpg,0\na.jpg,0\nb.jpg,0\n../c.jpg,0\n")
    ids, faults = contest_layout.read_eval(tmp_path / "info.csv", tmp_path / "images")
    assert ids == ["a.jpg"]
    problems = [fault.problem for fault in faults]
    assert problems[0] == "ImageID `a.jpg` stands on line 2 already"
    assert problems[1].startswith("ImageID `b.jpg` has no photo in")
    assert problems[2] == "ImageID `../c.jpg` leads out of its folder"
