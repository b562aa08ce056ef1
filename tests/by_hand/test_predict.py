"""predict: new photos answered as tta-predict would, in a stream that goes on where it ended."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cli import main
from cli.commands import take_along
from stages import tta_predict
from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.bundle import predictor as predictors
from stages.bundle.predictor import Predictor
from stages.by_hand import bundle, export, predict, predict_photos
from stages.by_hand.predict import Asked
from stages.by_hand.predict_photos import NewPixels, listed
from stages.by_hand.predict_rows import Form
from stages.data.task_and_classes import CONTEST
from stages.learn import grad_cam
from stages.report import heat_overlay
from tests.by_hand import unanswerable
from tests.by_hand.unanswerable import VIEWS, photo
from tests.conftest import ENVIRONMENT, ROOT, files_up_to, small

EVAL = "data/eval/images"
PLAIN = Form()


@pytest.fixture(scope="module")
def judged(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose models can answer; never written to."""
    folder = unanswerable.copy(prepared, tmp_path_factory.mktemp("judged") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params = unanswerable.judge()
        tta_predict.run(params, SILENT)
    return folder


@pytest.fixture(scope="module")
def opened(judged: Path) -> Predictor:
    return unanswerable.opened(judged)


@pytest.fixture
def here(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the eval photos of the project in data/."""
    (tmp_path / "data").symlink_to(judged / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(opened: Predictor, *photos: str, talk: Talk = SILENT, form: Form = PLAIN, **how: Any) -> dict[str, Any]:
    return predict.run(
        Asked(photos, form, **{key: Path(value) if key == "out" else value for key, value in how.items()}),
        lambda: opened,
        talk,
    )


def called(opened: Predictor, **changes: Any) -> Predictor:
    """The same models, of a first axis that is called otherwise."""
    first, *others = opened.task.axes
    return replace(opened, task=replace(opened.task, axes=(replace(first, **changes), *others), subsets={}))


@pytest.mark.parametrize("name", ["class", "probability", "error", "top1", "set"])
def test_an_axis_that_is_called_as_a_column_of_the_csv_is_answered_in_json_lines_alone(
    opened: Predictor, here: Path, name: str
) -> None:
    models, form = called(opened, name=name), Form(top=2, level=0.5)
    with pytest.raises(UserError, match=rf"a CSV would have two columns `{name}`, .*answers\.jsonl$"):
        run(models, EVAL, form=form, out="a.csv")
    assert not list(here.glob("a.csv*"))
    assert run(models, EVAL, form=form, out="a.jsonl")["unreadable"] == 0
    row = json.loads(Path("a.jsonl").read_text().splitlines()[0])
    assert (type(row["class"]), type(row["probability"]), "error" in row) == (int, float, False)
    assert row["axes"][name]["label"] in opened.task.axes[0].levels


def test_classes_with_the_sign_that_parts_a_set_are_told_apart_in_json_lines_alone(
    opened: Predictor, here: Path
) -> None:
    models, form = called(opened, levels=("a", "a|b", "b")), Form(level=0.5)
    with pytest.raises(UserError, match=r"the class `a\|b .*` holds `\|`, .*answers\.jsonl$"):
        run(models, EVAL, form=form, out="a.csv")
    run(models, EVAL, out="a.csv")
    run(models, EVAL, form=form, out="a.jsonl")


def eval_photos(judged: Path) -> list[str]:
    return [f"{EVAL}/{name}" for name in pd.read_csv(judged / paths.EVAL)["ImageID"]]


def test_the_same_photos_have_the_probabilities_and_answers_of_tta_predict(
    judged: Path, opened: Predictor, here: Path
) -> None:
    pixels = NewPixels(listed(eval_photos(judged)), opened.params)
    found = np.concatenate([part for _, part in predict.voted(opened, pixels)])
    with np.load(judged / paths.PROBABILITIES) as arrays:
        assert np.abs(found - arrays["probabilities"]).max() <= 1e-6
    rows = run(opened, *eval_photos(judged))["rows"]
    assert [row["class"] for row in rows] == pd.read_csv(judged / paths.SUBMISSION)["ans"].tolist()
    calibrated = predictors.calibrated(opened, found)
    assert opened.contents.temperature != pytest.approx(1, abs=0.01)
    for row, probability in zip(rows, calibrated, strict=True):
        assert row["probability"] == pytest.approx(probability[row["class"]], abs=1e-6)


def test_photos_that_the_models_have_learnt_from_are_told_in_one_line(
    judged: Path, opened: Predictor, here: Path
) -> None:
    files = pd.read_csv(judged / paths.PHOTOS)["file"][:3].tolist()
    (here / "holiday").mkdir()
    for number, file in enumerate(files):  # whatever they are called
        shutil.copy(judged / "data/train/images" / file, f"holiday/{number}.jpg")
    said: list[str] = []
    run(opened, "holiday", talk=Talk(said.append))
    shutil.copy(unanswerable.photo(seed=9), "holiday/new.jpg")
    run(opened, "holiday", EVAL, talk=Talk(said.append), out="a.csv", form=Form(maps=Path("maps")))
    assert said == [
        f"warning: predict: these models have learnt from 3 of these {count} photos; how well they answer them says nothing of "
        "new ones"
        for count in (3, 46)
    ]
    run(opened, EVAL, talk=Talk(said.append))
    assert len(said) == 2


def test_a_row_has_the_class_each_axis_and_what_else_is_asked_for(judged: Path, opened: Predictor, here: Path) -> None:
    first = eval_photos(judged)[0]
    probability = predictors.calibrated(
        opened, next(predict.voted(opened, NewPixels(listed([first]), opened.params)))[1]
    )[0]
    found = run(opened, first, form=Form(top=3, abstain=1e-9, level=0.9))
    row = found["rows"][0]
    number = row["class"]
    assert (row["file"], row["label"], row["abstained"]) == (first, CONTEST.class_names[number], False)
    cube = probability.reshape(3, 2, 3)
    mask, gender, age = np.unravel_index(number, cube.shape)
    assert row["axes"]["mask"] == {
        "label": ("wear", "incorrect", "none")[mask],
        "probability": pytest.approx(cube[mask].sum(), abs=1e-6),
    }
    assert row["axes"]["gender"]["probability"] == pytest.approx(cube[:, gender].sum(), abs=1e-6)
    assert row["axes"]["age"]["probability"] == pytest.approx(cube[..., age].sum(), abs=1e-6)
    top = np.argsort(-probability)[:3]
    assert [told["label"] for told in row["top"]] == [CONTEST.class_names[place] for place in top]
    assert row["label"] in row["set"]
    assert found["classes_in_a_set"] == len(row["set"])
    assert json.loads(json.dumps(row)) == row


def test_below_the_asked_probability_there_is_no_answer_and_how_often_is_told(
    judged: Path, opened: Predictor, here: Path
) -> None:
    probabilities = [row["probability"] for row in run(opened, EVAL)["rows"]]
    least = float(np.median(probabilities))
    found = run(opened, EVAL, form=Form(abstain=least))
    assert found["abstained"] == sum(value < least for value in probabilities) > 0
    for row in found["rows"]:
        assert row["abstained"] == (row["label"] is None) == (row["probability"] < least)
    oof, told = opened.oof, found["abstain"]
    given = oof.confidence >= least
    assert told["coverage"] == pytest.approx(given.mean())
    assert told["accuracy"] == pytest.approx((oof.answer == oof.label)[given].mean())
    assert told["accuracy_low"] <= told["accuracy"] <= told["accuracy_high"]


def test_sets_say_how_often_they_hold_and_for_which_classes_that_is_not_known(opened: Predictor, here: Path) -> None:
    told = run(opened, EVAL, form=Form(level=0.9))["set"]
    groups = [len(np.unique(opened.oof.group[opened.oof.label == number])) for number in range(18)]
    rare = [CONTEST.class_names[number] for number in range(18) if groups[number] < 9]
    assert told["fewest"] == 9
    assert told["own_threshold"] == 18 - len(rare)
    assert told["shared_threshold"] + told["threshold_of_all"] == rare
    assert 0.8 < told["held_low"] <= told["held"] <= told["held_high"]


def test_a_photo_that_cannot_be_read_has_a_row_and_the_rest_goes_on(
    judged: Path, opened: Predictor, here: Path
) -> None:
    first, second, *_ = eval_photos(judged)
    Path("half.jpg").write_bytes(Path(first).read_bytes()[:300])
    alone = run(opened, first, second)["rows"]
    found = run(opened, first, "half.jpg", second)
    assert [found["rows"][0], found["rows"][2]] == alone
    assert found["rows"][1]["error"].startswith("is cut off before its end")
    assert (found["answered"], found["unreadable"]) == (2, 1)


def test_each_readable_photo_gets_the_mean_map_of_all_networks_for_its_answer(
    judged: Path, opened: Predictor, here: Path
) -> None:
    Path("broken.jpg").write_text("no photo")
    names = [*eval_photos(judged)[:2], "broken.jpg", "data/../" + eval_photos(judged)[1]]
    rows = run(opened, *names, form=Form(maps=Path("maps")))["rows"]
    assert "heat_map" not in rows[2]
    drawn = [row["heat_map"] for row in rows if "heat_map" in row]
    assert sorted(drawn) == [str(path) for path in sorted(Path("maps").iterdir())]
    assert len(drawn) == 3  # of two photos of one name, each its own
    pixels = NewPixels(listed(names[:1]), opened.params)[np.array([0])]
    answer = np.array([rows[0]["class"]])
    heat = [grad_cam.explain(net, pixels, answer, opened.params)[0] for net in opened.networks]
    assert len(heat) > 1
    with Image.open(drawn[0]) as picture:
        assert (np.asarray(picture) == heat_overlay.overlay(pixels[0], np.mean(heat, axis=0))).all()
    with pytest.raises(UserError, match="is there already"):
        run(opened, names[0], form=Form(maps=Path("maps")))


def test_a_photo_turned_by_its_exif_is_answered_as_the_upright_one(opened: Predictor, here: Path) -> None:
    upright = photo("upright.png")
    with Image.open(upright) as image:
        exif = image.getexif()
        exif[274] = 6  # turn it by 90 degrees clockwise to see it upright
        image.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=exif)
    rows = run(opened, "upright.png", "turned.png")["rows"]
    assert rows[0]["probability"] == pytest.approx(rows[1]["probability"], abs=1e-6)


def test_csv_and_json_lines_say_the_same(opened: Predictor, here: Path) -> None:
    form, lines = Form(top=2, abstain=0.1, level=0.9), []
    Path("half.jpg").write_bytes(b"")
    found = run(opened, EVAL, "half.jpg", form=form, emit=lines.append)
    assert "rows" not in found
    run(opened, EVAL, "half.jpg", form=form, out="a.jsonl")
    assert Path("a.jsonl").read_text() == "".join(lines)
    run(opened, EVAL, "half.jpg", form=form, out="a.csv")
    for made, row in zip(map(json.loads, lines), csv.DictReader(Path("a.csv").read_text().splitlines()), strict=True):
        assert row["file"] == made["file"]
        assert row["error"] == made.get("error", "")
        if "error" not in made:
            assert (row["label"] or None, int(row["abstained"])) == (made["label"], made["abstained"])
            assert row["set"].split("|") == made["set"]
            assert [row["top1"], row["top2"]] == [told["label"] for told in made["top"]]
            assert row["age"] == (made["axes"]["age"]["label"] or "")
            assert float(row["age_probability"]) == pytest.approx(made["axes"]["age"]["probability"], rel=1e-5)
    assert not list(Path().glob("*.partial*"))


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of four photos."""
    monkeypatch.setattr("stages.learn.predict.BATCH", 4)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_run_that_was_cut_off_goes_on_and_leaves_the_same_file(
    opened: Predictor, here: Path, few_at_a_time: None, name: str
) -> None:
    Path("half.jpg").write_bytes(b"")
    photos, form = ("half.jpg", EVAL), Form(top=1, abstain=0.2)
    run(opened, *photos, form=form, out=f"whole-{name}")
    whole = Path(f"whole-{name}").read_bytes()

    def interrupted(items: Any, total: int, label: str, done: int = 0) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 14:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt, match=rf"12 answers are in {name}.partial"):
        run(opened, *photos, form=form, out=name, talk=Talk(track=interrupted))
    assert not Path(name).exists()
    partial = Path(f"{name}.partial")
    partial.write_bytes(partial.read_bytes()[:-9])  # as kill -9 in the middle of a line
    said: list[str] = []
    found = run(opened, *photos, form=form, out=name, talk=Talk(said.append))
    assert said == [f"predict: goes on after 11 answers in {name}.partial"]
    assert (found["already_answered"], found["unreadable"]) == (11, 1)
    assert found["answered"] + found["abstained"] + 1 == found["photos"]
    assert_alike(Path(name).read_text(), whole.decode())
    assert not list(Path().glob("*.partial*")) + list(Path().glob(".*.lock"))


def assert_alike(found: str, whole: str) -> None:
    """The same words, and the same numbers but for the last digits, which may follow from the batch that a photo stands in."""
    number = re.compile(r"\d\.\d{4,}(?:e-\d+)?")
    assert number.sub("", found) == number.sub("", whole)
    assert [*map(float, number.findall(found))] == pytest.approx([*map(float, number.findall(whole))], abs=2e-4)


def test_a_half_header_is_begun_anew(opened: Predictor, here: Path, few_at_a_time: None) -> None:
    run(opened, EVAL, out="whole.csv")

    def interrupted(items: Any, total: int, label: str, done: int = 0) -> Iterator[Any]:
        yield from ()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(opened, EVAL, out="a.csv", talk=Talk(track=interrupted))
    partial = Path("a.csv.partial")
    partial.write_bytes(partial.read_bytes()[:5])
    run(opened, EVAL, out="a.csv")
    assert Path("a.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_other_models_flags_or_photos_do_not_go_on_with_it_unless_told_to_begin_anew(
    judged: Path, opened: Predictor, here: Path, few_at_a_time: None
) -> None:
    def full() -> None:
        with files_up_to(1500), pytest.raises(UserError, match="cannot be written"):
            run(opened, EVAL, out="a.csv")

    full()
    other = replace(opened, contents=opened.contents.model_copy(update={"temperature": 3.0}))
    for models, photos, form, differs in (
        (other, (EVAL,), Form(), "with another model"),
        (opened, (EVAL,), Form(top=1, level=0.9), "with another --top, --set"),
        (opened, (eval_photos(judged)[1], EVAL), Form(), "for other photos"),
    ):
        before = Path("a.csv.partial").read_bytes()
        with pytest.raises(UserError, match=f"^a.csv.partial: was begun {differs}; repeat the command"):
            run(models, *photos, form=form, out="a.csv")
        assert Path("a.csv.partial").read_bytes() == before
    found = run(opened, EVAL, form=Form(top=1), out="a.csv", force=True)
    assert found["already_answered"] == 0
    assert "top1" in Path("a.csv").read_text().splitlines()[0]


def test_on_a_full_disk_what_is_written_stays_whole_and_is_gone_on_with(
    opened: Predictor, here: Path, few_at_a_time: None
) -> None:
    run(opened, EVAL, out="whole.csv")
    with (
        files_up_to(1500),
        pytest.raises(UserError, match=r"^a.csv.partial: cannot be written \(File too large\)") as told,
    ):
        run(opened, EVAL, out="a.csv")
    lines = Path("a.csv.partial").read_text().splitlines(keepends=True)
    whole = Path("whole.csv").read_text()
    assert_alike("".join(lines), "".join(whole.splitlines(keepends=True)[: len(lines)]))
    assert lines[-1].endswith("\n")
    assert len(lines) > 4
    assert f"the {len(lines) - 1} answers in it are whole" in str(told.value)
    assert run(opened, EVAL, out="a.csv")["already_answered"] == len(lines) - 1
    assert_alike(Path("a.csv").read_text(), whole)


def test_a_file_of_answers_is_kept_unless_it_may_be_written_over(opened: Predictor, here: Path) -> None:
    Path("a.csv").write_text("mine")
    with pytest.raises(UserError, match=r"^a.csv: is there already"):
        run(opened, EVAL, out="a.csv")
    assert Path("a.csv").read_text() == "mine"
    run(opened, EVAL, out="a.csv", force=True)
    assert Path("a.csv").read_text().startswith("file,class,label,probability,mask,mask_probability,")


def test_two_processes_do_not_write_one_file(opened: Predictor, here: Path) -> None:
    import filelock

    with filelock.FileLock(".a.csv.lock"), pytest.raises(UserError, match="another process writes it"):
        run(opened, EVAL, out="a.csv")


def test_folders_patterns_and_tables_name_photos_in_order() -> None:
    for name in ("b/2.JPG", "b/1.png", "b/deep/0.webp", "b/.hidden.jpg", "b/__MACOSX/x.jpg", "b/notes.txt", "c.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert (listed(["b"]).names, listed(["b"]).passed_over) == (["b/1.png", "b/2.JPG", "b/deep/0.webp"], 1)
    assert listed(["b/*.png", "c.jpg"]).names == ["b/1.png", "c.jpg"]
    assert listed(["*"]).names == ["b/1.png", "b/2.JPG", "b/deep/0.webp", "c.jpg"]
    assert listed(["b/**"]).names == ["b/1.png", "b/2.JPG", "b/deep/0.webp"]
    assert listed(["b/notes.txt"]).names == ["b/notes.txt"]  # who names a file means it
    Path("b/new.csv").write_text("photo;colour\n1.png;red\ndeep/0.webp;blue\n")
    assert (listed(["b/new.csv"]).names, listed(["b/new.csv"]).paths) == (
        ["1.png", "deep/0.webp"],
        ["b/1.png", "b/deep/0.webp"],
    )
    Path("new.csv").write_text("id,folder\n2,b\n")
    assert listed(["new.csv"], "{folder}/{id}.JPG").names == ["b/2.JPG"]
    Path("[1].jpg").touch()
    assert listed(["[1].jpg"]).names == ["[1].jpg"]  # a name that is there is no pattern


def test_a_name_that_would_break_a_line_or_is_no_unicode_is_escaped() -> None:
    Path("a\nb.jpg").touch()
    Path(os.fsdecode(b"\xff.jpg")).touch()
    found = listed(["."])
    assert found.names == ["a\\nb.jpg", *[name for name in found.names[1:] if "\\udcff" in name]]
    assert all(Path(path).exists() for path in found.paths)


def test_what_could_not_be_read_is_forgotten_once_told(opened: Predictor, here: Path) -> None:
    """Flat memory: of a million broken photos none is kept."""
    Path("a.jpg").touch()
    pixels = NewPixels(listed(["a.jpg"]), opened.params)
    assert pixels[np.array([0])].max() == 0
    assert [fault.problem for fault in pixels.take(range(1)) if fault] == ["is empty (zero bytes)"]
    assert pixels.faults == {}


def test_url_like_words_are_told_from_names() -> None:
    assert predict_photos.URL.match("HTTPS://a.b/c.jpg")
    assert predict_photos.URL.match("s3://bucket/a.jpg")
    assert not predict_photos.URL.match("C:/photos/a.jpg")


def test_a_bundle_elsewhere_says_what_the_project_says(
    judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As typed: in the project, and in a folder that has nothing but the photos and the bundle's path."""
    first, second, *_ = [str(judged / path) for path in eval_photos(judged)]
    monkeypatch.chdir(judged)
    bundle.run(small(**VIEWS), tmp_path / "bundle", bundle.Asked(), SILENT)
    words = (first, second, "--top", "2", "--abstain", "0.01", "--set", "0.9", "--json")
    said = typed(monkeypatch, capsys, ".", *words)
    monkeypatch.chdir(tmp_path)
    for source in ("bundle", "bundle.zip"):
        assert typed(monkeypatch, capsys, source, *words) == said
    assert said[1].count("\n") == 2
    code, _, err = typed(monkeypatch, capsys, str(judged), first)
    assert (code, err.split(": ", 2)[2]) == (
        2,
        "is another project; go there and name it by a point, or make a bundle of it there\n",
    )


def test_json_lines_are_utf_8_whatever_the_code_page(judged: Path, tmp_path: Path) -> None:
    folder = unanswerable.copy(judged, tmp_path / "project")
    name = "é 마스크.jpg"
    (folder / eval_photos(judged)[0]).rename(folder / name)
    words = [sys.executable, "-m", "cli.main", "predict", ".", name, "--json"]
    environment = ENVIRONMENT | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert json.loads(done.stdout.decode("utf-8"))["file"] == name


def test_a_point_is_this_project_also_on_a_drive_that_stands_for_another_place(
    judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a letter of Windows that a folder of the network has: what is resolved names the network's."""
    (tmp_path / "Z").symlink_to(judged, target_is_directory=True)
    monkeypatch.chdir(judged)
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "Z")
    assert export.Asked(".", "onnx").of_project
    assert take_along.opened(".", SILENT).networks


def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of predict."""
    monkeypatch.setattr(sys, "argv", ["maskcli", "predict", *words])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main.run()
    return int(stop.value.code or 0), *capsys.readouterr()


def test_shares_of_ballots_are_taken_for_no_probabilities(opened: Predictor, here: Path) -> None:
    ballots = replace(opened, contents=opened.contents.model_copy(update={"vote": "hard", "temperature": 1.0}))
    assert run(ballots, EVAL)["answered"] == 42
    with pytest.raises(UserError, match=r"^--set: ensemble\.vote: hard gives shares of ballots"):
        run(ballots, EVAL, form=Form(level=0.9))


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_ends_with_every_photo_once(judged: Path, tmp_path: Path) -> None:
    """kill -9 at several moments, then to the end."""
    folder = unanswerable.copy(judged, tmp_path / "project")
    first = folder / eval_photos(judged)[0]
    (folder / "many").mkdir()
    for number in range(3000):
        (folder / f"many/{number:04d}.jpg").hardlink_to(first)
    words = [sys.executable, "-m", "cli.main", "predict", ".", "many", "--out", "a.csv", "--json"]
    env = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    seen = []
    for more in (1, 700, 1500):
        process = subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        while process.poll() is None and lines(folder / "a.csv.partial") < (seen[-1] if seen else 0) + more:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append(lines(folder / "a.csv.partial"))
    assert seen == sorted(seen)
    assert 0 < seen[0] < 3000
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answered"] == 3000
    table = pd.read_csv(folder / "a.csv")
    assert table["file"].tolist() == [f"many/{number:04d}.jpg" for number in range(3000)]
    assert table["probability"].nunique() <= 3


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
