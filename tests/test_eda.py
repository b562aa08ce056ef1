import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from stages import eda
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.data import photos as data_photos
from stages.data import task_and_classes as tasks
from stages.data.found_photos import Found
from stages.data.task_and_classes import Task
from stages.report.png import eda_figures
from tests.conftest import ROOT, contest_axes, maskcli, small
from tests.report.made import CELLS, FOLDERS, MANY

PICTURES = ("classes.png", "ages.png", "sizes.png", "near_duplicates.png", "contact_sheet.png")


@pytest.fixture
def unpictured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables alone are made: drawing takes longer than all else."""
    for name in ("histogram", "sizes", "near_duplicates"):
        monkeypatch.setattr(eda_figures, name, lambda *_: None)
    monkeypatch.setattr(eda, "_draw_classes", lambda *_: None)


def photos_of(project: Path) -> list[Path]:
    return sorted(project.glob("data/train/images/*/normal.jpg"))


def near_duplicates() -> pd.DataFrame:
    return pd.read_csv("out/eda/near_duplicates.csv", dtype={"person_a": str, "person_b": str}, keep_default_na=False)


def people() -> pd.DataFrame:
    return pd.read_csv("data/train/train.csv", dtype=str)


@pytest.mark.usefixtures("unpictured")
def test_class_counts_are_those_of_prepare(project: Path) -> None:
    eda.run(small(), SILENT)
    counts = pd.read_csv("out/eda/class_counts.csv")
    pd.testing.assert_frame_equal(counts, pd.read_csv("out/prepare/class_counts.csv"))
    assert counts["photos"].sum() == 168


@pytest.mark.usefixtures("unpictured")
def test_ages_and_genders_count_every_person_once(project: Path) -> None:
    result = eda.run(small(), SILENT)
    table, truth = pd.read_csv("out/eda/ages.csv"), people()
    assert result["people"] == table["people"].sum() == len(truth) == 24
    assert result["gender_people"] == truth["gender"].value_counts().to_dict()
    for (age, gender), rows in table.groupby(["age", "gender"]):
        assert rows["people"].sum() == ((truth["age"].astype(int) == age) & (truth["gender"] == gender)).sum()


@pytest.mark.usefixtures("unpictured")
def test_age_bins_follow_the_params(project: Path) -> None:
    result = eda.run(small(axes=contest_axes(20, 50)), SILENT)
    ages = people()["age"].astype(int)
    in_bins = {"below 20": ages < 20, "20 to 49": (ages >= 20) & (ages < 50), "50 and over": ages >= 50}
    assert result["age_people"] == {name: members.sum() for name, members in in_bins.items()}
    assert result["age_people"] != eda.run(small(), SILENT)["age_people"]
    assert sum(count > 0 for count in result["age_people"].values()) >= 2


@pytest.mark.usefixtures("unpictured")
def test_photo_sizes_are_those_of_the_files(project: Path) -> None:
    with Image.open(photos_of(project)[0]) as image:
        width, height = image.size
        image.resize((width + 30, height + 5)).save(photos_of(project)[0])
    eda.run(small(), SILENT)
    rows = pd.read_csv("out/eda/sizes.csv")[["height", "width", "photos", "eval_photos"]].to_numpy().tolist()
    assert rows == [[height, width, 167, 42], [height + 5, width + 30, 1, 0]]


def test_nothing_is_reported_where_nothing_was_planted(project: Path) -> None:
    result = eda.run(small(), SILENT)
    assert result["near_duplicates"] == result["faults"] == result["unreadable_photos"] == result["blank_photos"] == 0
    assert near_duplicates().empty
    assert all((Path("out/eda") / name).stat().st_size > 1000 for name in PICTURES)


@pytest.mark.usefixtures("unpictured")
def test_planted_copies_under_another_person_are_found_and_only_these(project: Path) -> None:
    photos = photos_of(project)
    shutil.copy(photos[0], photos[1])
    with Image.open(photos[2]) as image:
        image.save(photos[3], quality=60)
    with Image.open(photos[4]) as image:
        image.resize((image.width * 9 // 10, image.height * 9 // 10)).save(photos[5], quality=90)
    eval_photo = min((project / "data/eval/images").iterdir())
    shutil.copy(photos[6], eval_photo)
    result = eda.run(small(), SILENT)
    found = near_duplicates()
    planted = [{photos[a], photos[b]} for a, b in ((0, 1), (2, 3), (4, 5))] + [{photos[6], eval_photo}]
    reported = [{project / a, project / b} for a, b in zip(found["photo_a"], found["photo_b"], strict=True)]
    assert sorted(map(sorted, reported)) == sorted(map(sorted, planted))
    assert result["near_duplicates"] == 4
    assert result["near_duplicates_with_eval"] == 1
    assert result["near_duplicate_people"] == 7
    of_folder = dict(zip(people()["path"], people()["id"], strict=True))
    for row in found.itertuples():
        assert row.person_a == of_folder[Path(row.photo_a).parent.name]
        assert row.person_b == ("" if "eval" in row.photo_b else of_folder[Path(row.photo_b).parent.name])


@pytest.mark.usefixtures("unpictured")
def test_alike_photos_of_one_person_and_of_the_eval_set_are_not_reported(project: Path) -> None:
    folder = photos_of(project)[0].parent
    shutil.copy(folder / "mask1.jpg", folder / "mask2.jpg")
    first, second, *_ = sorted((project / "data/eval/images").iterdir())
    shutil.copy(first, second)
    assert eda.run(small(), SILENT)["near_duplicates"] == 0


@pytest.mark.usefixtures("unpictured")
def test_an_unreadable_photo_is_listed_and_its_person_left_out_of_the_counts(project: Path) -> None:
    broken, missing, *_ = photos_of(project)
    broken.write_bytes(b"not a photo")
    missing.unlink()
    next((project / "data/eval/images").iterdir()).write_bytes(b"")
    result = eda.run(small(), SILENT)
    table = pd.read_csv("out/eda/unreadable.csv")
    assert table.columns.tolist() == ["where", "problem", "mend"]
    assert str(broken.relative_to(project)) in table["where"].tolist()
    assert table["problem"].str.contains("missing").sum() == 1
    assert table["problem"].str.contains("zero bytes").sum() == 1
    assert (result["unreadable_photos"], result["faults"]) == (2, 3)
    assert (result["people"], result["photos"]) == (22, 154)


@pytest.mark.usefixtures("unpictured")
def test_blank_photos_are_listed_and_make_no_pairs(project: Path) -> None:
    for photo in photos_of(project)[:3]:
        Image.new("RGB", (40, 50), (120, 110, 100)).save(photo)
    result = eda.run(small(), SILENT)
    assert (result["blank_photos"], result["near_duplicates"], result["faults"]) == (3, 0, 0)
    assert pd.read_csv("out/eda/unreadable.csv")["problem"].str.contains("blank").sum() == 3
    assert result["people"] == 24


def test_a_data_set_without_one_complete_person_is_an_error(project: Path) -> None:
    (project / "data/train/train.csv").write_text("id,gender,race,age,path\n")
    with pytest.raises(UserError, match=r"train\.csv: has a header but no rows"):
        eda.run(small(), SILENT)


@pytest.mark.usefixtures("unpictured")
def test_the_command_prints_json_or_tables(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(photos_of(project)[0], photos_of(project)[1])

    def printed(*words: str) -> str:
        code, out, err = maskcli(monkeypatch, capsys, "eda", *words)
        assert code == 0, err
        return out

    assert json.loads(printed("--json")) == json.loads(Path("out/eda/summary.json").read_text())
    tables = printed()
    assert "wear male <30" in tables
    assert "near-duplicates: 1 pair under different people" in tables
    assert "out/eda/near_duplicates.csv" in tables


def test_the_report_knows_no_torch() -> None:
    code = "import sys, stages.eda; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_pictures_hold_up_against_one_person_and_many_pairs(project: Path) -> None:
    photos = photos_of(project)
    for folder in photos[1:16]:
        shutil.copy(photos[0], folder)
    result = eda.run(small(), SILENT)
    assert result["near_duplicates"] == 16 * 15 // 2
    with Image.open("out/eda/near_duplicates.png") as image:
        assert np.asarray(image.convert("L")).std() > 10
    table = people()
    table.head(1).to_csv("data/train/train.csv", index=False)
    assert eda.run(small(), SILENT)["people"] == 1


def test_the_contact_sheet_draws_people_by_seed_and_shows_all_of_a_rare_class() -> None:
    people = np.repeat(np.arange(40), 5)
    photos = pd.DataFrame(
        {
            "group": people.astype(str),
            "file": [f"{p}/{n}.jpg" for n, p in enumerate(people)],
            "label": (people < 3) * 2,
        }
    )
    common, absent, rare = drawn = eda_figures.draw(photos, [0, 1, 2], seed=0)
    owners = [file.split("/")[0] for file in common]
    assert len(set(owners)) == len(owners) == eda_figures.SHEET_PHOTOS
    assert min(map(int, owners)) >= 3, "of this class"
    assert absent == []
    assert {file.split("/")[0] for file in rare} == {"0", "1", "2"}
    assert eda_figures.draw(photos, [0, 1, 2], seed=0) == drawn
    assert eda_figures.draw(photos, [0, 1, 2], seed=1)[0] != common
    assert eda_figures.draw(photos, [0], seed=0)[0] == common, "other classes have no say in it"


def test_the_contact_sheet_shows_the_photos_of_each_class_in_its_row(project: Path) -> None:
    eda.run(small(), SILENT)
    with Image.open("out/eda/contact_sheet.png") as image:
        sheet = np.asarray(image.convert("RGB"))
    photos = data_photos.read(tasks.read(small()))
    rows = eda_figures.draw(photos, range(18), seed=0)
    assert any(rows)
    for number, files in enumerate(rows):
        top = len(sheet) - (18 - number) * (eda_figures.SHEET_HEIGHT + eda_figures.GAP)
        for place, file in enumerate(files):
            photo = eda_figures.fitted(paths.TRAIN_IMAGES / file, 10**8)
            left = 200 + place * (photo.shape[1] + eda_figures.GAP)
            shown = sheet[top : top + len(photo), left : left + photo.shape[1]]
            assert (shown == photo).all(), f"{file} stands px by px in row {number}"
        left = 200 + len(files) * (72 + eda_figures.GAP)
        assert (sheet[top : top + eda_figures.SHEET_HEIGHT, left:] == 255).all(), "and nobody else"


def test_the_contact_sheet_is_of_a_size_to_look_at_whatever_the_photos(project: Path) -> None:
    wide, tall, *_ = photos_of(project)
    for photo, size in ((wide, (4000, 300)), (tall, (30, 2000))):
        Image.new("RGB", size, (200, 30, 30)).save(photo)
    assert eda_figures.fitted(wide, 10**8).shape == (10, eda_figures.SHEET_WIDTH, 3)
    assert eda_figures.fitted(tall, 10**8).shape == (eda_figures.SHEET_HEIGHT, 1, 3)
    eda.run(small(), SILENT)
    with Image.open("out/eda/contact_sheet.png") as image:
        assert image.width <= 200 + eda_figures.SHEET_PHOTOS * (eda_figures.SHEET_WIDTH + eda_figures.GAP)
        assert image.height <= 1900


def test_every_picture_is_an_output_of_its_stage_which_reads_the_seed_of_the_draw() -> None:
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["eda"]
    assert {f"out/eda/{name}" for name in PICTURES} <= set(map(str, stage["outs"]))
    assert "seed" in stage["params"]
    assert {"stages/report/png/eda_figures.py", "stages/report/colours.py"} <= set(stage["deps"])


def made_up(task: Task, count: int, monkeypatch: pytest.MonkeyPatch) -> Found:
    """A data set of drawn photos in photos/, as a layout's reader would find it; groups of three photos where there are any."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % (task.classes - 1)  # the last class has no photo
    values = {}
    for axis, codes in zip(task.axes, task.parts(labels), strict=True):
        middles = np.array([axis.bins[0] / 2, *(edge + 0.25 for edge in axis.bins)]) if axis.numeric else None
        values[axis.name] = codes if middles is None else middles[codes]
    Path("photos").mkdir()
    files = [f"{number}.png" for number in range(count)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (8, 6, 3), np.uint8)).resize((48, 64)).save(Path("photos") / file)
    group = files if task.unit == "photo" else [f"g{number // 3}" for number in range(count)]
    table = pd.DataFrame({"group": group, "file": files, **values})
    found = Found(task, table, table[["group"]].drop_duplicates(), pd.DataFrame({"ImageID": []}, dtype=str))
    for name in ("folder", "eval_folder"):
        monkeypatch.setattr(data_photos, name, lambda params: Path("photos"))
    monkeypatch.setattr(data_photos, "find", lambda params: found)
    return found


def test_without_groups_all_is_said_of_photos_and_every_pair_of_twins_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(FOLDERS, 30, monkeypatch)
    shutil.copy("photos/3.png", "photos/4.png")
    result = eda.run(small(), SILENT)
    assert "people" not in json.dumps(result)
    assert (result["photos"], result["near_duplicates"], result["near_duplicate_photos"]) == (30, 1, 2)
    assert result["classes"][0] == {"class": "digit 0", "photos": 4}
    assert pd.read_csv("out/eda/near_duplicates.csv").columns.tolist() == (
        ["photo_a", "set_a", "photo_b", "set_b", "distance", "correlation"]
    )
    assert sorted(path.name for path in Path("out/eda").iterdir()) == sorted(
        ["class_counts.csv", "classes.png", "contact_sheet.png", "near_duplicates.csv", "near_duplicates.png",
         "sizes.csv", "sizes.png", "summary.json", "unreadable.csv"]
    ), "nothing of ages where no axis has numbers"  # fmt: skip


def test_an_axis_with_numbers_has_a_histogram_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    found = made_up(CELLS, 48, monkeypatch)
    result = eda.run(small(), SILENT)
    assert (result["groups"], result["photos"]) == (16, 48)
    table = pd.read_csv("out/eda/size_numbers.csv")  # sizes.csv has those of the photos
    assert table["photos"].sum() == 48
    large = found.photos["size"].to_numpy() >= 10
    assert table["photos"][table["bin_from"] == 10].sum() == large.sum() > 0
    assert Path("out/eda/size_numbers.png").stat().st_size > 5000
    assert pd.read_csv("out/eda/near_duplicates.csv").columns.tolist()[1::2] == ["group_a", "group_b", "correlation"]


def test_bars_of_large_numbers_keep_their_digits(monkeypatch: pytest.MonkeyPatch, unpictured: None) -> None:
    found = made_up(CELLS, 48, monkeypatch)
    found.photos["size"] = 20230101 + np.arange(48) / 2
    eda.run(small(), SILENT)
    table = pd.read_csv("out/eda/size_numbers.csv")
    assert table["size"].unique().tolist() == found.photos["size"].tolist()
    assert (table["to"] - table["size"]).unique().tolist() == [0.5]


def test_of_many_classes_pictures_show_the_commonest_and_the_rarest(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = pd.DataFrame({"label": range(1000), "class": MANY.class_names, "photos": [*range(998), 0, 0]})
    shown = eda_figures.ends(counts)
    assert shown["photos"].tolist() == [*range(997, 977, -1), *range(20, 0, -1)]
    assert eda_figures.which(counts) == "the 20 commonest and 20 rarest (3 have none)"
    eda_figures.classes(Path("classes.png"), counts, MANY)
    with Image.open("classes.png") as image:
        assert image.height < 1800
    assert eda_figures.ends(counts.head(40)).equals(counts.head(40))
