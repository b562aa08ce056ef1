"""The contest's results stay what they were before other tasks were thought of.

tests/golden/contest.json holds what the code of commit 2a309eb made of the small data set and the made-up predictions below.
They pass through the command line and the files in out/ alone, so the test holds wherever the code lies. What JUDGED names, the
intervals and verdicts, has changed on purpose since, and is of the commit that wrote the file last. To write it again:

    git worktree add /tmp/before 2a309eb
    cp tests/test_golden.py /tmp/before/tests/
    (cd /tmp/before && PYTHONPATH=. python -m tests.test_golden before) > tests/golden/contest.json
    python -m tests.test_golden judged > /tmp/judged.json && mv /tmp/judged.json tests/golden/contest.json

Nothing in it is of one machine: photos are PNGs put together by hand, at the size at which they are learnt from, and logits
come from numpy. Tables of names and whole numbers are held to the byte. Numbers that went through exp, log or sums are held
to 1 in 100,000, which is what tables keep of them: their last digits follow numpy's version and the processor.
"""

import csv
import hashlib
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
import zlib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import ENVIRONMENT, command

GOLDEN = Path(__file__).parent / "golden/contest.json"
SIDE, MARGIN = 28, 2  # px: 32 with both margins, the size of the photos themselves
FOLDS, REPEATS, EPOCHS = (0, 1, 2), 2, 4
PHOTOS = ("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal")
# Every stratum has four people, the edges of both bins among them: one more than there are folds.
YOUNG, MIDDLE, OLD = (18, 22, 27, 29), (30, 41, 58, 59), (60, 61, 70, 99)
EVAL_PEOPLE = 30
PARAMS: dict[str, Any] = {
    "seed": 3,
    "folds": list(FOLDS),
    "image": {"height": SIDE, "width": SIDE, "margin": MARGIN},
    "train": {"epochs": EPOCHS, "repeats": REPEATS},
    "ensemble": {"replicates": 300},
}
# What params.yaml says since other tasks are thought of, too.
SINCE: dict[str, Any] = {"subsets": {"60plus": {"age": "60+"}}}
# Files that hold nothing but names and whole numbers. (groups.csv was people.csv.)
EXACT = (
    *("prepare/groups.csv", "prepare/photos.csv", "prepare/eval.csv", "prepare/class_counts.csv", "prepare/faults.csv"),
    *("kfold/folds.csv", "kfold/summary.json", "eda/class_counts.csv", "eda/ages.csv", "eda/sizes.csv"),
    *("eda/unreadable.csv", "oof-ensemble/confusion.csv", "blend/submission.csv"),
)
EARLIER = {"prepare/groups.csv": "prepare/people.csv"}
TABLES = ("eda/near_duplicates.csv", "oof-ensemble/per_class.csv", "epochs/curve.csv", "compare/table.csv")
RECORDS = ("eda/summary.json", "blend/weights.json")
# What is told besides, since then.
ADDED = (
    "/blend/people",
    "/blend/photos",
    "/blend/eval_photos",
    *(f"/blend/weights.json/{n}" for n in ("people", "photos", "eval_photos")),
    *(
        f"/metrics of {run}/{score}_{end}"
        for run in ("a", "b")
        for score in ("ece", "ece_calibrated", "temperature")
        for end in ("low", "high", "debiased", "by_chance")
    ),
)
# Leaves that say how sure a number is.
JUDGED = re.compile(
    r"(^|_)(low|high|verdict|detectable|seed_sd|p_value|p_improved|more_people|groups|answers|learning_rates|notes|val_f1_error|val_nll_error)$"
)
RUNS = {"a": 1, "b": 2}  # git tags, and how much more the second run's logits know


def maskcli(*words: str) -> str:
    """What a command prints, run in this process and in the working folder."""
    said, told = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(told):
        patch.setattr(sys, "argv", ["maskcli", *words])
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        patch.setattr(threading, "excepthook", threading.excepthook)
        from cli.entry import run

        code: Any = 0
        try:
            run()
        except SystemExit as stop:
            code = stop.code
        assert not code, told.getvalue()
    return said.getvalue()


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, env=ENVIRONMENT, capture_output=True)


def png(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 [H, W, 3] whose bytes no library chooses: one uncompressed block (RFC 1950, 1951)."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    stored = b"\x01" + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows
    data = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def write_data(folder: Path) -> np.ndarray:
    """train/, eval/ and truth.csv below `folder`; the pixels of all training photos, uint8 [N, H, W, 3].

    One person's last photo is another person's too, and one folder is written in capitals.
    """
    rng = np.random.default_rng(0)
    side = SIDE + 2 * MARGIN
    people = [
        (gender, age) for ages in zip(YOUNG, MIDDLE, OLD, strict=True) for age in ages for gender in ("Female", "male")
    ]
    pixels = rng.integers(0, 256, (len(people), len(PHOTOS), side, side, 3), np.uint8)
    pixels[7, -1] = pixels[2, -1]
    rows = ["id,gender,race,age,path"]
    for number, (gender, age) in enumerate(people):
        name = f"{number:06d}_{gender}_Asian_{age}"
        rows.append(f"{number:06d},{gender},Asian,{age},{name}")
        for stem, photo in zip(PHOTOS, pixels[number], strict=True):
            path = folder / "train/images" / name / f"{stem}.{'PNG' if number == 5 else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(photo))
    (folder / "train/train.csv").write_text("\n".join(rows) + "\n")
    answers, truth = ["ImageID,ans"], ["ImageID,ans,person"]
    (folder / "eval/images").mkdir(parents=True)
    for person in range(EVAL_PEOPLE):
        for place in range(len(PHOTOS)):
            image = f"{rng.integers(16**8):08x}.png"
            answers.append(f"{image},0")
            truth.append(f"{image},{max(0, place - 4) * 6 + person % 6},{person}")
            (folder / "eval/images" / image).write_bytes(png(rng.integers(0, 256, (side, side, 3), np.uint8)))
    (folder / "eval/info.csv").write_text("\n".join(answers) + "\n")
    (folder / "truth.csv").write_text("\n".join(truth) + "\n")
    return pixels.reshape(-1, side, side, 3)


def columns(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def log_probabilities(labels: np.ndarray, seed: int, right: float, before: int = 0) -> np.ndarray:
    """float32 [*before, N, 18]: noise, and so much more for the true class."""
    rng = np.random.default_rng([seed, before])
    logits = rng.normal(size=(*[before][: before > 0], len(labels), 18)) * 1.5
    logits[..., np.arange(len(labels)), labels] += right
    top = logits.max(-1, keepdims=True)
    return (logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))).astype(np.float32)


def write_folds(run: str, right: float) -> np.ndarray:
    """What training would leave in out/train, of made-up logits; those of the selected epochs, [R, N, 18]."""
    photos, of_person = columns(Path("out/prepare/photos.csv")), columns(Path("out/kfold/folds.csv"))
    folds = dict(zip(of_person["person"], map(int, of_person["fold"]), strict=True))
    labels = np.array(list(map(int, photos["label"])))
    fold_of = np.array([folds[person] for person in photos["person"]])
    selected = log_probabilities(labels, RUNS[run], right, REPEATS)
    last = log_probabilities(labels, RUNS[run] + 10, right + 0.2, REPEATS)
    for fold in FOLDS:
        folder, which = Path(f"out/train/{fold}"), np.flatnonzero(fold_of == fold)
        folder.mkdir(parents=True, exist_ok=True)
        epochs = np.stack([log_probabilities(labels, 20 + epoch, epoch * 0.7, REPEATS) for epoch in range(EPOCHS)], 1)
        np.savez_compressed(
            folder / "oof_logits.npz",
            run=np.array(f"run-{run}"),
            photo=which.astype(np.int64),
            selected=selected[:, which],
            last=last[:, which],
            predicted=epochs.argmax(-1)[:, :, which].astype(np.uint16),
        )
        trained_with = {name: PARAMS[name] for name in ("seed", "folds", "image", "train")}
        record = {"run": f"run-{run}", "params": trained_with, "lr": 0.003, "data": {}, "setting": {"torch": "made up"}}
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "environment.json").write_text(json.dumps({"device": "cpu"}))
        (folder / "metrics.json").write_text("{}")
        (folder / "history.csv").write_text(_history(fold, RUNS[run]))
    return selected


def _history(fold: int, seed: int) -> str:
    rng, rows = (
        np.random.default_rng([seed, fold]),
        ["epoch,train_loss,lr,val_loss,val_nll,val_f1,val_acc,repeat,objective"],
    )
    for repeat in range(REPEATS):
        for epoch in range(1, EPOCHS + 1):
            noise = rng.integers(0, 100, 3) / 1000
            loss, nll, f1 = 2 / epoch + noise[0], 2 / epoch + epoch * 0.15 + noise[1], 0.5 - 0.4 / epoch + noise[2]
            rows.append(f"{epoch},{loss:.6g},0.003,{nll:.6g},{nll:.6g},{f1:.6g},{f1 + 0.1:.6g},{repeat},ce")
    return "\n".join(rows) + "\n"


def write_answers(run: str, right: float) -> None:
    """What tta-predict would leave for a blend, of made-up probabilities."""
    truth = columns(Path("data/truth.csv"))
    found = np.exp(log_probabilities(np.array(list(map(int, truth["ans"]))), RUNS[run] + 30, right))
    content = [int(text, 16) for text in columns(Path("out/prepare/eval.csv"))["content"]]
    path = Path("out/tta-predict/probabilities.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        image=np.array(truth["ImageID"]),
        probabilities=found,
        run=np.array(f"run-{run}"),
        content=np.array(content, np.uint64),
    )


def run_everything(params: dict[str, Any]) -> dict[str, Any]:
    """Every stage and command but those that train or predict, in the working folder; what they print as JSON."""
    pixels = write_data(Path("data"))
    Path("params.yaml").write_text(yaml.safe_dump(params))
    git("init", "-q")
    for stage in ("prepare", "kfold", "eda"):
        maskcli(stage)
    found = {"pixels": bool((np.load("out/prepare/pixels.npy") == pixels).all()), "of_run": {}}
    for run, right in (("a", 2.5), ("b", 3.5)):
        selected = write_folds(run, right)
        write_answers(run, right)
        maskcli("oof-ensemble")
        found["of_run"][run] = _oof_as_it_should_be(selected)
        for name in ("metrics", "decision"):
            found[f"{name} of {run}"] = json.loads(Path(f"out/oof-ensemble/{name}.json").read_text())
        for words in (("add", "-f", "params.yaml", "out"), ("commit", "-qm", run), ("tag", run)):
            git("-c", "user.name=a", "-c", "user.email=a@example.org", *words)
    found["compare"] = json.loads(
        maskcli("compare", "a", "b", "--replicates", "300", "--csv", "out/compare/table.csv", "--json")
    )
    found["blend"] = json.loads(maskcli("blend", "a", "b", "--replicates", "300", "--json"))
    found["epochs"] = json.loads(maskcli("epochs", "--json"))
    found["score"] = json.loads(
        maskcli("score", "data/truth.csv", "--submission", "out/blend/submission.csv", "--replicates", "300", "--json")
    )
    return found


def _oof_as_it_should_be(selected: np.ndarray) -> bool:
    """Whether oof.csv is, to the byte, the mean probabilities of the repeats in six digits, and oof.npz what was joined."""
    photos = columns(Path("out/prepare/photos.csv"))
    mean = np.exp(np.log(np.maximum(np.exp(selected.astype(np.float64)).mean(0), 1e-30)))
    lines = [",".join(["photo", "person", "label", *(f"p{number}" for number in range(18))])]
    for file, person, label, row in zip(photos["file"], photos["person"], photos["label"], mean, strict=True):
        lines.append(",".join([file, person, label, *(f"{value:.6g}" for value in row)]))
    with np.load("out/oof-ensemble/oof.npz") as arrays:
        same = (arrays["selected"] == selected).all() and arrays["selected"].dtype == np.float32
        names = arrays["person"].tolist() == photos["person"] and arrays["photo"].tolist() == photos["file"]
    return bool(same and names and Path("out/oof-ensemble/oof.csv").read_text() == "\n".join(lines) + "\n")


def facts(params: dict[str, Any]) -> dict[str, Any]:
    """Everything that contest.json holds, made anew in the working folder."""
    said = run_everything(params)
    out = Path("out")
    exact = {name: out / name if (out / name).exists() else out / EARLIER[name] for name in EXACT}
    return {
        "said": said,
        "sha256": {name: hashlib.sha256(path.read_bytes()).hexdigest()[:32] for name, path in exact.items()},
        "tables": {name: {key: _read(cells) for key, cells in columns(out / name).items()} for name in TABLES},
        "records": {name: json.loads((out / name).read_text()) for name in RECORDS},
    }


def judged(old: Any, new: Any) -> Any:
    """The old value with what JUDGED names from the new one."""
    if isinstance(old, dict) and isinstance(new, dict):
        kept = {name: judged(value, new.get(name)) for name, value in old.items() if not JUDGED.search(name)}
        return kept | {name: value for name, value in new.items() if JUDGED.search(name)}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [judged(*pair) for pair in zip(old, new, strict=True)]
    return old


def _read(cells: list[str]) -> list[Any]:
    """Cells of a table as numbers where they are numbers."""
    try:
        return [float(cell) if cell else None for cell in cells]
    except ValueError:
        return list(cells)


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Where two nested values differ; numbers by more than 1 in 100,000, temperatures (a search's) by 1 in 1,000, and small
    ones by more than another CPU's float32 changes a difference of numbers about 1."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [f"{where}/{name}: gone" for name in old.keys() - new.keys()]
        names += [f"{where}/{name}: is new" for name in new.keys() - old.keys()]
        return names + [
            line for name in old.keys() & new.keys() for line in differences(old[name], new[name], f"{where}/{name}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line for n, pair in enumerate(zip(old, new, strict=True)) for line in differences(*pair, f"{where}[{n}]")
        ]
    if (
        isinstance(old, int | float)
        and isinstance(new, int | float)
        and not isinstance(old, bool) | isinstance(new, bool)
    ):
        close = 1e-3 if "temperature" in where or "calibrated" in where else 1e-5
        return [] if new == pytest.approx(old, rel=close, abs=1e-6) else [f"{where}: {old} was, {new} is"]
    return [] if old == new and type(old) is type(new) else [f"{where}: {old!r} was, {new!r} is"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("golden"))
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        return facts(PARAMS | SINCE)


@pytest.mark.parametrize("part", ["sha256", "tables", "records", "said"])
def test_the_contests_results_are_what_they_were(found: dict[str, Any], part: str) -> None:
    changed = differences(json.loads(GOLDEN.read_text(encoding="utf-8"))[part], found[part])
    told = [line for line in changed if line.split(":")[0] not in ADDED]
    assert not told, "\n" + "\n".join(told)


@pytest.mark.slow
def test_the_contests_submission_is_what_its_probabilities_say(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    params = PARAMS | SINCE | {"lr": 0.003, "train": {"epochs": 1, "batch_size": 32}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    for words in (["prepare"], ["kfold"], ["lr-find"], ["train"], ["oof-ensemble"], ["tta-predict"]):
        command(tmp_path, "maskcli", *words)
    with np.load(tmp_path / "out/tta-predict/probabilities.npz") as arrays:
        rows = [f"{image},{row.argmax()}" for image, row in zip(arrays["image"], arrays["probabilities"], strict=True)]
    assert (tmp_path / "out/tta-predict/submission.csv").read_bytes() == "\n".join(["ImageID,ans", *rows, ""]).encode()
    assert [row.split(",")[0] for row in rows] == columns(tmp_path / "data/eval/info.csv")["ImageID"]


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        made = facts(PARAMS if "before" in sys.argv[1:] else PARAMS | SINCE)
        if "judged" in sys.argv[1:]:
            made = judged(json.loads(GOLDEN.read_text(encoding="utf-8")), made)
    shutil.rmtree(place)
    print(json.dumps(made, indent=1))
