"""init looks at photos and writes a project that trains on them; it replaces nothing, and works without this repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.by_hand import init
from stages.by_hand.init import Plan
from stages.data import demo_faces
from stages.new_project import pinned_version
from stages.new_project.declare_task import Said
from stages.params.load import load, parse
from tests.conftest import ENVIRONMENT, ROOT, command, maskcli
from tests.new_project import made

HERE = Path()
QUICK: dict[str, Any] = {
    "image": {"height": 32, "width": 32, "margin": 2},
    "folds": [0, 1],
    "train": {"epochs": 1, "batch_size": 8, "mixed_precision": "none"},
    "lr": 0.003,
    "lr_find": {"steps": 10},
    "ensemble": {"replicates": 100},
}


def planned(data: Path, into: Path = HERE, said: Said | None = None) -> Plan:
    said = said or Said(scratch=True)
    return init.plan(init.declared(data, into, said), into, said, SILENT)


def test_a_folder_of_classes_is_looked_at_and_declared() -> None:
    plan = planned(made.folder(Path("photos")))
    found = plan.found.as_dict()
    assert found["photos"] == 30
    assert [(row["class"], row["photos"]) for row in found["classes"]] == [("cat", 14), ("dog", 10), ("horse", 6)]
    assert found["sizes"] == [{"height": 48, "width": 40, "photos": 30}]
    assert found["suspicious"] == []
    assert (plan.params.data.layout, plan.params.data.root) == ("folder", "photos")
    assert parse(yaml.safe_load(plan.files["params.yaml"])) == plan.params
    assert plan.places.added == ("photos",)
    stages = yaml.safe_load(plan.files["dvc.yaml"])["stages"]
    assert "tta-predict" not in stages
    assert stages["prepare"]["deps"] == ["${data.root}", "corrections.csv", "requirements.txt"]
    assert list(HERE.iterdir()) == [Path("photos")]  # nothing is written yet


def test_few_groups_are_compared_with_the_folds_that_they_get() -> None:
    table = made.table(Path("scans"), eval_photos=0)
    rows = pd.read_csv(table)
    rows["patient"] = [f"p{place % 3}" for place in range(len(rows))]
    rows.to_csv(table, index=False)
    plan = planned(table, said=Said(labels=("kind",), group="patient", scratch=True))
    assert plan.params.folds == (0, 1, 2)
    assert not [line for line in plan.found.suspicious if "too few" in line]


def test_train_and_test_folders_are_honoured() -> None:
    made.folder(Path("photos/train"))
    made.folder(Path("photos/test"), {"cat": 3, "dog": 2}, first=500)
    plan = planned(Path("photos"))
    assert len(plan.found.photos) == 30
    assert plan.found.eval_photos == 5
    assert "tta-predict" in yaml.safe_load(plan.files["dvc.yaml"])["stages"]


def test_a_table_is_looked_at_and_declared() -> None:
    plan = planned(made.table(Path("set")))
    assert plan.found.as_dict()["groups"] == 15
    assert plan.found.eval_photos == 6
    value = yaml.safe_load(plan.files["params.yaml"])
    data = {key: item for key, item in value["data"].items() if item}
    assert (data["train"], data["root"]) == ("set/photos.csv", "set")
    assert (data["file"], data["group"], data["split"]) == ("filename", "patient", "split")
    assert value["axes"] == {"kind": {}}
    stages = yaml.safe_load(plan.files["dvc.yaml"])["stages"]
    assert stages["eda"]["deps"] == ["${data.train}", "${data.root}/images", "corrections.csv", "requirements.txt"]


def test_a_table_that_leaves_out_the_folder_of_its_photos_is_read_from_there() -> None:
    place = made.table(Path("set"))
    place.write_text(place.read_text().replace("images/", ""))
    said = Said(labels=("kind",), scratch=True)
    plan = planned(place, said=said)
    assert (plan.params.data.root, plan.params.data.train) == ("set/images", "set/photos.csv")
    assert len(plan.found.photos) == 30
    shutil.copytree("set/images", "set/copies")  # which is meant, nobody can know
    with pytest.raises(UserError, match=r"not one of its 36 files is in .*set, first"):
        planned(place, said=said)


def contest(root: Path, names: dict[str, str]) -> None:
    """train.csv and sample_submission.csv, which lists no endings, and photos in train_images/ and test_images/."""
    for part, table in names.items():
        ids = [f"{part}{number:02d}" for number in range(12)]
        for number, name in enumerate(ids):
            made.photo(root / f"{part}_images/{name}.png", ("cat", "dog")[number % 2], hash_of(name))
        labels = [number % 2 if part == "train" else 0 for number in range(12)]
        pd.DataFrame({"id_code": ids, "grade": labels}).to_csv(root / table, index=False)


def hash_of(name: str) -> int:
    return int.from_bytes(name.encode())


def test_a_contests_tables_without_endings_and_folders_are_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contest(Path("set"), {"train": "train.csv", "test": "sample_submission.csv"})
    code, _, told = maskcli(monkeypatch, capsys, "init", "set/train.csv", "--scratch", "--dry-run")
    assert code == 0
    assert "`--eval set/sample_submission.csv` has them predicted" in " ".join(told)
    plan = planned(Path("set/train.csv"), said=Said(eval=Path("set/sample_submission.csv"), scratch=True))
    data = plan.params.data
    assert (data.root, data.file, data.eval_file) == (
        "set",
        "train_images/{id_code}.png",
        "test_images/{id_code}.png",
    )
    assert (len(plan.found.photos), plan.found.eval_photos) == (12, 12)
    assert any("taken as a form to fill in" in line for line in plan.found.suspicious)
    shutil.rmtree("set/test_images")
    _, _, told = maskcli(
        *(monkeypatch, capsys, "init", "set/train.csv", "--eval", "set/sample_submission.csv", "--scratch", "--dry-run")
    )
    assert "has them predicted" not in " ".join(told)  # they are named already
    deps = yaml.safe_load(plan.files["dvc.yaml"])["stages"]["eda"]["deps"]
    assert deps[:4] == ["${data.train}", "${data.eval}", "${data.root}/test_images", "${data.root}/train_images"]


def test_a_pattern_of_ones_own_is_taken_as_it_is() -> None:
    contest(Path("set"), {"train": "train.csv"})
    plan = planned(Path("set/train.csv"), said=Said(file="train_images/{id_code}.png", scratch=True))
    assert (plan.params.data.root, plan.params.data.file) == ("set", "train_images/{id_code}.png")
    with pytest.raises(UserError, match=r"^--file id: is no column of set/train.csv"):
        planned(Path("set/train.csv"), said=Said(file="train_images/{id}.png", scratch=True))


def test_a_table_may_have_several_axes_and_numbers() -> None:
    said = Said(labels=("kind", "weight:8,14"), group="", scratch=True)
    plan = planned(made.table(Path("set")), said=said)
    assert yaml.safe_load(plan.files["params.yaml"])["axes"]["weight"]["bins"] == [8, 14]
    assert plan.found.task.unit == "photo"
    outs = yaml.safe_load(plan.files["dvc.yaml"])["stages"]["eda"]["outs"]
    assert "out/eda/weights.png" in outs


def test_photos_outside_the_project_are_named_by_their_whole_path_and_not_copied(tmp_path: Path) -> None:
    photos = made.folder(tmp_path / "elsewhere/photos")
    plan = planned(photos, Path("project"))
    assert plan.params.data.root == photos.as_posix()
    assert plan.places.added == ()
    assert "photos" not in plan.files[".gitignore"]


def test_photos_that_would_fill_the_disk_twice_are_not_given_to_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = made.folder(Path("photos"))
    size, usage = sum(path.stat().st_size for path in photos.rglob("*.png")), shutil.disk_usage(".")
    for free, expected in ((2 * size, ("photos",)), (2 * size - 2, ())):
        monkeypatch.setattr(init.shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        assert planned(photos).places.added == expected


def test_photos_that_git_keeps_are_not_ignored_and_how_dvc_gets_them_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = made.folder(Path("photos of mine"))
    command(HERE, "git", "init", "-q")
    command(HERE, "git", "add", ".")
    code, _, told = maskcli(monkeypatch, capsys, "init", str(photos), "--scratch", "--yes")
    assert code == 0
    advice = "`git rm -rq --cached 'photos of mine' && dvc add 'photos of mine'`"
    assert any("init: git keeps files of photos of mine, so DVC does not" in line and advice in line for line in told)
    assert "Git keeps the photos (photos of mine)" in Path("README.md").read_text()
    shutil.copy(photos / "cat/000.png", photos / "cat/next.png")
    assert "next.png" in command(HERE, "git", "status", "--porcelain").stdout
    Path(".gitignore").unlink()
    assert maskcli(monkeypatch, capsys, "init", "--update")[0] == 0
    assert "photos" not in Path(".gitignore").read_text()
    command(HERE, "sh", "-c", advice.strip("`"))
    assert Path("photos of mine.dvc").is_file()


def test_a_table_that_git_keeps_is_left_to_it_and_is_no_photo() -> None:
    made.table(Path())
    command(HERE, "git", "init", "-q")
    command(HERE, "git", "add", "photos.csv")
    said, told = Said(labels=("kind",), scratch=True), list[str]()
    plan = init.plan(init.declared(Path("photos.csv"), HERE, said), HERE, said, Talk(told.append))
    assert plan.places.added == ("images",)
    assert not [line for line in told if "git keeps" in line]
    assert "/photos.csv\n" not in plan.files[".gitignore"]
    assert "DVC keeps the photos (images)" in plan.files["README.md"]
    plan = planned(Path("photos.csv"), said=replace(said, add=False))
    assert "Neither git nor DVC keeps a copy of the photos; `dvc add images` does" in plan.files["README.md"]


def test_a_folder_of_which_git_keeps_no_photo_is_ignored() -> None:
    photos = made.folder(Path("photos"))
    (photos / ".gitkeep").touch()
    command(HERE, "git", "init", "-q")
    command(HERE, "git", "add", "photos/.gitkeep")
    plan = planned(photos)
    assert plan.places.added == ()  # DVC would refuse it
    assert "/photos\n" in plan.files[".gitignore"]


@pytest.mark.parametrize("name", ["[x]", r"a\b", "x ", "st*r", "sets/[x]"])
def test_git_ignores_photos_in_a_folder_of_any_name(name: str) -> None:
    photos = made.folder(Path(name))
    command(HERE, "git", "init", "-q")
    Path(".gitignore").write_text(planned(photos).files[".gitignore"])
    command(HERE, "git", "add", "--all")
    assert command(HERE, "git", "ls-files").stdout.split() == [".gitignore"]


def test_what_looks_suspicious_is_told() -> None:
    photos = made.folder(Path("photos"), {"cat": 8, "dog": 3})
    made.folder(photos, {"horse": 1}, first=700)
    (photos / "Hor-se").mkdir()
    shutil.copy(photos / "cat/000.png", photos / "Hor-se/copy.png")
    made.photo(photos / "Hor-se/2.png", "cat", 77)
    (photos / "cat/broken.png").write_bytes(b"no photo")
    told = "\n".join(planned(photos).found.suspicious)
    assert "`Hor-se` and `horse` differ in case" in told
    assert "horse (1), Hor-se (2), dog (3)" in told
    assert "1 pair of near-duplicates" in told
    assert "broken.png" in told


def test_a_dry_run_writes_nothing_and_says_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.folder(Path("photos"))
    dry = ("init", "photos", "--dry-run", "--scratch")
    code, shown, _ = maskcli(monkeypatch, capsys, *dry)
    assert code == 0
    assert sorted(path.name for path in HERE.iterdir()) == ["photos"]
    assert shown.splitlines()[0] == "photos: 30 photos in 3 classes, no eval set (layout folder)"
    for word in ("cat", "folds", "suspicious", "would be written", "params.yaml", "DVC would keep photos"):
        assert word in shown
    told = json.loads(maskcli(monkeypatch, capsys, *dry, "--json")[1])
    assert not told["written"]
    assert told["found"]["photos"] == 30


def test_the_project_is_a_git_and_dvc_project_with_all_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.folder(Path("work/photos"))
    work = Path("work").resolve()
    command(work, "maskcli", "init", "photos", "--scratch", "--yes")
    listed = command(work, "git", "status", "--porcelain", "-uall").stdout
    for name in (
        "params.yaml",
        "dvc.yaml",
        "requirements.txt",
        "README.md",
        ".gitattributes",
        "corrections.csv",
        "weights/none",
        "plugins/none",
        "pseudo/none.csv",
        "photos.dvc",
    ):
        assert name in listed
    assert "photos/" not in listed  # git has none of them
    assert (work / "requirements.txt").read_text().startswith("maskcli==")
    monkeypatch.chdir(work)
    code, again, _ = maskcli(monkeypatch, capsys, "init", "photos", "--scratch", "--yes")
    assert code == 0
    assert "nothing new" in again
    (work / "params.yaml").write_text("seed: 1\n")
    code, _, refused = maskcli(monkeypatch, capsys, "init", "photos", "--scratch", "--yes")
    assert code == 2
    assert any("params.yaml already, with other content" in line for line in refused)
    assert (work / "params.yaml").read_text() == "seed: 1\n"


def test_the_demo_is_drawn_into_a_project_with_the_demos_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []
    write = init.demo_faces.write
    monkeypatch.setattr(
        init.demo_faces, "write", lambda folder, talk: (drawn.append(folder), write(folder, people=12, eval_people=6))
    )
    would = init.demo_project(Path("demo"), SILENT, dry_run=True)
    assert not Path("demo").exists()
    told = init.demo_project(Path("demo"), SILENT)
    assert told["files"] == would["files"]
    assert load(Path("demo/params.yaml")) == load(ROOT / "params.yaml")
    assert Path("demo/data.dvc").is_file()
    again = init.demo_project(Path("demo"), SILENT)
    assert (again["drawn"], again["files"]) == (False, [])
    assert len(drawn) == 2


def test_the_demo_is_not_drawn_into_another_project() -> None:
    Path("params.yaml").write_text("data: {layout: folder, root: photos}\n")
    Path("dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(UserError, match=r"params\.yaml: is of another project"):
        init.demo_project(HERE, SILENT)
    assert not Path("data").exists()


@pytest.mark.skipif(os.name != "posix", reason="a terminal of its own")
def test_on_a_terminal_it_asks_what_the_table_does_not_show() -> None:
    place = made.table(Path("set"))
    place.write_text(place.read_text().replace("patient", "number", 1).replace("kind", "sort", 1))
    here, there = os.openpty()
    words = ["maskcli", "init", str(place), "--scratch", "--into", "new"]
    os.write(here, b"sort\nnumber\nn\n")  # labels, groups, and not to write it
    done = subprocess.run(words, env=ENVIRONMENT, stdin=there, stdout=subprocess.PIPE, stderr=there, text=True)
    os.close(there)
    asked = os.read(here, 10_000).decode()
    os.close(here)
    assert done.returncode == 0, asked
    assert "Column of the labels (sort, weight) [sort]:" in asked
    assert "Column of what a fold must not divide, as a patient" in asked
    assert done.stdout.startswith("set/photos.csv: 30 photos of 15 groups in 3 classes, 6 eval photos")
    assert "would be written" in done.stdout
    assert not Path("new").exists()


def test_an_update_writes_what_follows_from_the_version_and_the_data_and_leaves_params_yaml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made.folder(Path("work/photos/train"))
    work = Path("work")
    init.make(planned(work / "photos", work), SILENT)
    assert init.update(work, SILENT)["files"] == []
    own = "# mine\n" + (work / "params.yaml").read_text()
    (work / "params.yaml").write_text(own)
    (work / "requirements.txt").write_text("pandas\nmaskcli==0.0.1\n")
    made.folder(work / "photos/test", {"cat": 2}, first=500)
    assert init.update(work, SILENT, dry_run=True)["files"] == ["dvc.yaml", "requirements.txt"]
    assert "tta-predict" not in (work / "dvc.yaml").read_text()
    init.update(work, SILENT)
    assert "tta-predict" in yaml.safe_load((work / "dvc.yaml").read_text())["stages"]
    assert (work / "requirements.txt").read_text() == f"pandas\n{pinned_version.line()}\n"
    assert (work / "params.yaml").read_text() == own


def test_an_update_watches_the_folder_that_params_yaml_names_for_the_training_photos() -> None:
    work = Path("work")
    made.folder(work / "photos")
    init.make(planned(work / "photos", work), SILENT)
    made.folder(work / "cleaned", first=500)
    text = (work / "params.yaml").read_text()
    (work / "params.yaml").write_text(re.sub("train: null", "train: cleaned", text))
    init.update(work, SILENT)
    assert "${data.train}" in yaml.safe_load((work / "dvc.yaml").read_text())["stages"]["prepare"]["deps"]


def test_an_update_brings_what_an_older_project_lacks_and_leaves_what_a_person_wrote() -> None:
    made.folder(Path("work/photos"))
    work = Path("work")
    init.make(planned(work / "photos", work), SILENT)
    for name in ("corrections.csv", ".gitattributes"):
        (work / name).unlink()
    with (work / ".gitignore").open("a") as file:
        file.write("/mine/\n")
    assert init.update(work, SILENT)["files"] == [".gitattributes", "corrections.csv"]
    assert "corrections.csv text eol=lf merge=union" in (work / ".gitattributes").read_text()
    with (work / "corrections.csv").open("a") as file:
        file.write("photos/cat/1.png,label,cat,dog,ann,,\n")
    assert init.update(work, SILENT)["files"] == []
    assert "/mine/" in (work / ".gitignore").read_text()


def test_an_update_names_the_keys_that_dvc_wants_and_an_older_params_yaml_lacks() -> None:
    work, said = Path("work"), list[str]()
    made.folder(work / "photos")
    init.make(planned(work / "photos", work), SILENT)
    init.update(work, Talk(said.append))
    assert not said
    params = yaml.safe_load((work / "params.yaml").read_text())
    del params["augment"]["pad"]
    (work / "params.yaml").write_text(yaml.safe_dump(params))
    init.update(work, Talk(said.append))
    assert said == ["init: params.yaml lacks augment.pad, which dvc.yaml names; add it (0), or DVC refuses to run"]


def test_an_update_says_of_photos_that_have_come_that_nothing_keeps_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    init.make(planned(made.folder(Path("photos"))), SILENT)
    made.folder(Path("new ones"), {"cat": 3}, first=500)
    params = Path("params.yaml").read_text()
    Path("params.yaml").write_text(params.replace("  eval: null", "  eval: new ones"))
    told = "init: neither git nor DVC keeps new ones: `dvc add 'new ones'` does"
    assert told in maskcli(monkeypatch, capsys, "init", "--update")[2]
    assert told not in maskcli(monkeypatch, capsys, "init", "--update")[2]  # once is enough


def test_photos_in_a_folder_that_dvc_keeps_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.folder(Path("data/photos"))
    Path("data.dvc").touch()
    plan = planned(Path("data/photos"))
    assert plan.places.added == ()
    assert "DVC keeps the photos (data/photos)" in plan.files["README.md"]
    init.make(plan, SILENT)
    Path(".gitignore").write_text("/data\n")
    assert not [line for line in maskcli(monkeypatch, capsys, "init", "--update")[2] if "neither git nor DVC" in line]


def test_only_a_project_can_be_updated() -> None:
    with pytest.raises(UserError, match="no project of `maskcli init` stands there"):
        init.update(HERE, SILENT)


def test_a_command_of_another_version_is_refused_before_it_reads_params(project: Path) -> None:
    Path("requirements.txt").write_text("maskcli==0.0.1\n")
    Path("params.yaml").write_text("a_key_of_another_version: 1\n")
    done = command(project, "maskcli", "kfold", code=2)
    assert done.stderr.startswith("maskcli: requirements.txt: names maskcli 0.0.1, and ")


def quicken(project: Path) -> None:
    """Make a project's training quick: a test of the stages, not of what they learn."""
    value = yaml.safe_load((project / "params.yaml").read_text())
    for key, change in QUICK.items():
        value[key] = value[key] | change if isinstance(change, dict) else change
    (project / "params.yaml").write_text(yaml.safe_dump(value, sort_keys=False))


def lay(layout: str, photos: Path) -> list[str]:
    """Photos in a layout; the words that name them to init."""
    if layout == "contest":
        demo_faces.write(photos, people=24, eval_people=6)
        return [str(photos)]
    if layout == "folder":
        return [str(made.folder(photos))]
    if layout == "folder with a test set":
        made.folder(photos / "train")
        made.folder(photos / "val", {"cat": 2, "dog": 2}, first=300)
        made.folder(photos / "test", {"cat": 3, "dog": 2}, first=500)
        return [str(photos)]
    return [str(made.table(photos)), "--label", "kind", "--label", "weight:8,14"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "inside"),
    [("contest", False), ("folder", True), ("folder with a test set", False), ("table", True), ("table", False)],
)
def test_a_project_runs_from_photos_to_the_report(layout: str, inside: bool, tmp_path: Path) -> None:
    project = tmp_path / "project"
    words = lay(layout, project / "photos" if inside else tmp_path / "photos")
    command(tmp_path, "maskcli", "init", *words, "--into", "project", "--yes", "--scratch")
    quicken(project)
    runs_through(project, dict(ENVIRONMENT), eval_set=layout != "folder")


def runs_through(project: Path, environment: dict[str, str], eval_set: bool) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("maskcli", "check")
    run(sys.executable, "-m", "dvc", "repro")
    run("maskcli", "report")
    assert "OOF macro F1" in run("maskcli", "summary")
    assert (project / "out/report/report.html").is_file()
    assert (project / "out/tta-predict/submission.csv").is_file() is eval_set
    assert "Data and pipelines are up to date." in run(sys.executable, "-m", "dvc", "repro")


@pytest.mark.slow
def test_the_installed_package_needs_no_clone(tmp_path: Path) -> None:
    """A wheel of the tree, in an environment of its own that borrows the libraries of this one."""
    tree = tmp_path / "tree"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    python = sys.executable
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "."], cwd=tree, check=True)
    subprocess.run([python, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    binaries = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    its = sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")})
    (Path(its) / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (wheel,) = (tree / "dist").glob("*.whl")
    subprocess.run([*pip, "--python", binaries / "python", "install", "--no-deps", wheel], check=True)
    shutil.rmtree(tree)
    environment = {**ENVIRONMENT, "PATH": f"{binaries}{os.pathsep}{ENVIRONMENT['PATH']}"}
    where = [binaries / "python", "-c", "import stages; print(stages.__file__)"]
    assert str(tmp_path) in subprocess.run(where, env=environment, capture_output=True, text=True, check=True).stdout
    made.folder(tmp_path / "photos")
    words = [binaries / "maskcli", "init", "photos", "--into", "project", "--yes", "--scratch"]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True)
    quicken(tmp_path / "project")
    project = tmp_path / "project"
    runs_through(project, environment, eval_set=False)
    (project / "requirements.txt").write_text("maskcli==0.0.1\n")
    repro = [sys.executable, "-m", "dvc", "repro"]
    refused = subprocess.run(repro, cwd=project, env=environment, capture_output=True, text=True)
    assert refused.returncode
    assert "requirements.txt: names maskcli 0.0.1, and " in refused.stderr
    subprocess.run([binaries / "maskcli", "init", "--update"], cwd=project, env=environment, check=True)
    again = subprocess.run(repro, cwd=project, env=environment, capture_output=True, text=True, check=True)
    assert "Stage 'train@1' didn't change, skipping" in again.stdout  # DVC had made room for prepare, which was refused
