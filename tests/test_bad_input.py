"""What bad input gets: each row of docs/bad_input.md is provoked here through real files, and must say exactly that."""

import errno
import io
import itertools
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from stages import oof_ensemble, prepare
from stages.base import files, paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json, write_npz
from stages.base.talk import SILENT
from stages.by_hand import compare
from stages.data import photos
from stages.data import task_and_classes as tasks
from stages.data.contest_layout import PHOTO_MASKS
from stages.data.task_and_classes import CONTEST, Task
from stages.records import learnt_photos, run_record
from stages.records.run_record import Record
from tests import histories, layouts
from tests.bundle import refusals as bundles
from tests.bundle import unexportable
from tests.by_hand import unanswerable, unclaimable, unclusterable
from tests.conftest import DVC_CONFIG, ROOT, SMALL, files_up_to, maskcli, record_folds, small
from tests.data import miscorrected
from tests.learn import plugged
from tests.new_project import refusals
from tests.review import refusals as reviews
from tests.serving import refusals as services

HEADER = "id,gender,race,age,path\n"
ROWS = "1,female,Asian,30,one\n2,male,Asian,61,two\n"
PARAMS = "image: {height: 16, width: 16, margin: 0}\nfolds: [0, 1]\n"
KOREAN = "김é"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, two eval photos, params.yaml."""
    folder = tmp_path_factory.mktemp("template")
    for name in ("one", "two"):
        for stem in PHOTO_MASKS:
            save(folder / f"data/train/images/{name}/{stem}.jpg")
    for name in ("a", "b"):
        save(folder / f"data/eval/images/{name}.jpg")
    (folder / paths.TRAIN_CSV).write_text(HEADER + ROWS)
    (folder / paths.EVAL_CSV).write_text("ImageID,ans\na.jpg,0\nb.jpg,0\n")
    (folder / paths.PARAMS).write_text(PARAMS)
    return folder


@pytest.fixture
def tiny(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, tmp_path / "tiny")
    monkeypatch.chdir(tmp_path / "tiny")
    return tmp_path / "tiny"


def save(path: Path, size: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([*f"{path.parent.name}/{path.name}".encode()]).integers(
        0, 255, (size, size, 3), np.uint8
    )
    Image.fromarray(noise).save(path, "JPEG")


def listing(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones and temporary ones too, but for the locks of training, which hold nothing."""
    return sorted(str(path) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


# What is done to the small project, by the name that docs/bad_input.md gives it.


def train_csv(content: str | bytes) -> Callable[[], None]:
    return lambda: write(paths.TRAIN_CSV, content)


def rows(*lines: str) -> Callable[[], None]:
    return train_csv(HEADER + "\n".join(lines) + "\n")


def info_csv(content: str | bytes) -> Callable[[], None]:
    return lambda: write(paths.EVAL_CSV, content)


def params_yaml(content: str | bytes) -> Callable[[], None]:
    return lambda: write(paths.PARAMS, content)


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def photo(content: bytes | Callable[[], bytes]) -> Callable[[], None]:
    return lambda: ONE.write_bytes(content if isinstance(content, bytes) else content())


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def without_end(kind: str) -> Callable[[], bytes]:
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    return lambda: encoded(Image.fromarray(noise), kind)[:-200]


def flipped_png() -> bytes:
    content = bytearray(
        encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)), "PNG")
    )
    content[len(content) // 2] ^= 1
    return bytes(content)


def bomb(side: int) -> Callable[[], bytes]:
    """A PNG that says it has side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(10**6))
    return lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def yaml_bomb() -> str:
    """Ten lines that stand for 9^9 words."""
    lines = "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghij"))
    return f"a: &a [{','.join('xxxxxxxxx')}]\n{lines}"


def link(path: Path, target: str) -> Callable[[], None]:
    """Move a file or folder out of data/ and leave a link to it."""

    def damage() -> None:
        outside = Path("..") / target
        path.rename(outside)
        path.symlink_to(outside.resolve())

    return damage


def folder_twice() -> None:
    shutil.rmtree("data/train/images/two")
    Path("data/train/images/two").symlink_to("one")


def locked_photo() -> None:
    ONE.unlink()
    ONE.mkdir()


ONE = Path("data/train/images/one/mask1.jpg")
EVAL = Path("data/eval/images/a.jpg")

PREPARE: dict[str, Callable[[], object]] = {
    "no data": lambda: shutil.rmtree("data"),
    "data of another layout": lambda: (shutil.rmtree("data/train"), save(Path("data/cat/1.jpg"))),
    "train.csv is missing": lambda: paths.TRAIN_CSV.unlink(),
    "train.csv is a folder": lambda: (paths.TRAIN_CSV.unlink(), paths.TRAIN_CSV.mkdir()),
    "train.csv is empty": train_csv(b""),
    "train.csv has a header alone": train_csv(HEADER),
    "a column of another name": train_csv(HEADER.replace("gender", "sex") + ROWS),
    "a column twice": train_csv(HEADER.replace("race", "age") + ROWS),
    "semicolons (Excel in much of Europe)": train_csv((HEADER + ROWS).replace(",", ";")),
    "tabs (Excel's `Unicode text`, saved as UTF-8)": train_csv((HEADER + ROWS).replace(",", "\t")),
    "cp949 (Korean Excel's CSV)": train_csv((HEADER + "1,female,한국,30,one\n").encode("cp949")),
    "UTF-16 (Excel's `Unicode text`)": train_csv((HEADER + ROWS).encode("utf-16")),
    "an id twice": rows("1,female,Asian,30,one", "1,male,Asian,61,two"),
    "a path twice": rows("1,female,Asian,30,one", "2,male,Asian,61,one"),
    "an empty id": rows(",female,Asian,30,one", "2,male,Asian,61,two"),
    "an unknown gender": rows("1,woman,Asian,30,one", "2,male,Asian,61,two"),
    "age in words": rows("1,female,Asian,thirty,one", "2,male,Asian,61,two"),
    "a negative age": rows("1,female,Asian,-3,one", "2,male,Asian,61,two"),
    "age 200": rows("1,female,Asian,200,one", "2,male,Asian,61,two"),
    "an age of 5,000 digits": rows(f"1,female,Asian,{'0' * 5000},one", "2,male,Asian,61,two"),
    "an age with a decimal point": rows("1,female,Asian,30.0,one", "2,male,Asian,61,two"),
    "a path with ..": rows("1,female,Asian,30,../images/one", "2,male,Asian,61,two"),
    "an absolute path": rows("1,female,Asian,30,/etc", "2,male,Asian,61,two"),
    "a path with a backslash (Windows)": rows("1,female,Asian,30,images\\one", "2,male,Asian,61,two"),
    "a path below a folder": rows("1,female,Asian,30,images/one", "2,male,Asian,61,two"),
    "an empty path": rows("1,female,Asian,30,", "2,male,Asian,61,two"),
    "a path of 300 letters": rows(f"1,female,Asian,30,{'x' * 300}", "2,male,Asian,61,two"),
    "too few values": rows("1,female,Asian", "2,male,Asian,61,two"),
    "a comma inside a value": rows("1,female,Asian, mixed,30,one", "2,male,Asian,61,two"),
    "a quote that is not closed": rows('1,female,"Asian,30,one', "2,male,Asian,61,two"),
    "a quote that is closed lines later": rows('1,female,"Asian', 'x",30,one', "2,male,Asian,61,two"),
    "a NUL byte": rows("1,female,As\0ian,30,one", "2,male,Asian,61,two"),
    "a value of 200,000 letters": rows(f"1,female,{'x' * 200_000},30,one", "2,male,Asian,61,two"),
    "an escape sequence for the terminal": rows("1,\u009b31mfemale,Asian,30,one", "2,male,Asian,61,two"),
    "a folder that is missing (half a copy)": lambda: shutil.rmtree("data/train/images/one"),
    "data/train/images is missing": lambda: shutil.rmtree("data/train/images"),
    "data/eval/images is missing": lambda: shutil.rmtree("data/eval/images"),
    "a photo that is missing": ONE.unlink,
    "a photo too many": lambda: save(ONE.with_name("holiday.jpg")),
    "a photo twice, as .jpg and .png": lambda: save(ONE.with_name("mask1.png")),
    "a folder named as a photo": locked_photo,
    "two names of one folder": folder_twice,
    "a folder that is a link out of data/": link(ONE.parent, "outside"),
    "a photo that is a link out of data/": link(ONE, "outside.jpg"),
    "an eval photo that is a link out of data/": link(EVAL, "outside.jpg"),
    "zero bytes": photo(b""),
    "a truncated JPEG": photo(without_end("JPEG")),
    "a truncated PNG": photo(without_end("PNG")),
    "a PNG with a flipped bit": photo(flipped_png),
    "a JPEG whose second half is zeros (a copy that broke off)": lambda: ONE.write_bytes(
        ONE.read_bytes()[:400] + bytes(len(ONE.read_bytes()) - 400)
    ),
    "text named .jpg": photo(b"hello, I am text"),
    "a web page named .jpg": photo(b"<html><body>404</body></html>"),
    "a GIF named .jpg": photo(lambda: encoded(Image.new("L", (4, 4)), "GIF")),
    "a WebP named .jpg": photo(lambda: encoded(Image.new("RGB", (4, 4)), "WEBP")),
    "a bomb of 20,000 x 20,000 px": photo(bomb(20_000)),
    "8,000 x 8,000 px": photo(bomb(8_000)),
    "an eval photo of zero bytes": lambda: EVAL.write_bytes(b""),
    "info.csv is missing": lambda: paths.EVAL_CSV.unlink(),
    "info.csv is cp949": info_csv("ImageID,ans\n김.jpg,0\n".encode("cp949")),
    "info.csv without ImageID": info_csv("image,ans\na.jpg,0\n"),
    "an unknown ImageID": info_csv("ImageID,ans\na.jpg,0\nc.jpg,0\n"),
    "an ImageID twice": info_csv("ImageID,ans\na.jpg,0\nb.jpg,0\na.jpg,0\n"),
    "an ImageID with ..": info_csv("ImageID,ans\n../images/a.jpg,0\n"),
    "several faults at once": lambda: (rows("1,female,Asian,x,one", "2,boy,Asian,61,two")(), EVAL.write_bytes(b"")),
    "several faults of people": rows("1,female,Asian,x,one", "2,boy,Asian,61,two"),
    "params.yaml is missing": lambda: paths.PARAMS.unlink(),
    "params.yaml is empty": params_yaml(b""),
    "a list for a mapping": params_yaml("- seed: 0\n"),
    "no YAML": params_yaml("seed: 0\nlr: 'fast\n"),
    "a tab": params_yaml("train:\n\tepochs: 3\n"),
    "params.yaml in cp949": params_yaml("seed: 0 # 시드\n".encode("cp949")),
    "a control character": params_yaml(b"seed: 0\nloss: c\0e\n"),
    "a megabyte of something else": params_yaml(b"x" * 1_000_001),
    "a key twice": params_yaml("loss: ce\nseed: 0\nloss: focal\n"),
    "an alias": params_yaml("seed: &a 3\nlr: *a\n"),
    "a YAML bomb": params_yaml(yaml_bomb()),
    "a tag that would run code": params_yaml("seed: !!python/object/apply:os.mkdir [ran]\n"),
    "brackets 5,000 deep": params_yaml("seed: " + "[" * 5000 + "]" * 5000),
    "a number of 5,000 digits": params_yaml(f"seed: {'9' * 5000}\n"),
    "a seed beyond 32 bits": params_yaml(f"seed: {2**40}\n"),
    "a billion epochs": params_yaml("train: {epochs: 1000000000}\n"),
    "a key that is not known": params_yaml("optimizr: {}\n"),
    "a sentence for a key": params_yaml("Every key: is named\n"),
    "a key that is a number": params_yaml("1: 2\n"),
    "a value that is not known": params_yaml("loss: focl\n"),
    "a word for a whole number": params_yaml("train: {epochs: many}\n"),
    "a float for a whole number": params_yaml("train: {epochs: 2.0}\n"),
    "1e1 for a whole number": params_yaml("train: {epochs: 1e1}\n"),
    "a word for a number": params_yaml("lr: fast\n"),
    "a decimal comma": params_yaml("augment: {hflip: '0,5'}\n"),
    "a boolean for a number": params_yaml("augment: {hflip: true}\n"),
    "no, which YAML 1.1 reads as false": params_yaml("train:\n  mixed_precision: no\n"),
    "010, which YAML 1.1 reads as 8": params_yaml("seed: 010\n"),
    "1:30, which YAML 1.1 reads as 90": params_yaml("lr: 1:30\n"),
    ".nan": params_yaml("model: {dropout: .nan}\n"),
    ".inf": params_yaml("lr_find: {diverge: .inf}\n"),
    "a number below its bound": params_yaml("train: {epochs: 0}\n"),
    "a number above its bound": params_yaml("augment: {hflip: 1.5}\n"),
    "a group without content": params_yaml("train:\n"),
    "a list for a group": params_yaml("train: []\n"),
    "folds: 5": params_yaml("folds: 5\n"),
    "folds: [0, 2]": params_yaml("folds: [0, 2]\n"),
    "folds: []": params_yaml("folds: []\n"),
    "age bins in the wrong order": params_yaml("axes: {age: {bins: [60, 30]}}\n"),
    "a file stands where out/ should be": lambda: Path("out").write_text(""),
    "a file stands where out/prepare/ should be": lambda: (Path("out").mkdir(), Path("out/prepare").write_text("")),
}

PREPARE_SKIP: dict[str, Callable[[], object]] = {
    "skip: an eval photo": lambda: EVAL.write_bytes(b""),
    "skip: an eval photo and a person": lambda: (EVAL.write_bytes(b""), ONE.write_bytes(b"")),
    "skip: a row without an id, and a person": rows(",female,Asian,30,one", "2,boy,Asian,61,two"),
    "skip: no person is left": rows("1,female,Asian,x,one", "2,boy,Asian,61,two"),
}


def documented() -> dict[str, str]:
    """Message by case, from the tables of the page."""
    lines = (ROOT / "docs/bad_input.md").read_text(encoding="utf-8").splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {case: message for case, message in cells if case not in ("input", "---")}


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared project with outputs of the later stages, their numbers drawn."""
    from stages.learn import model

    folder = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(prepared, folder)
    params = small()
    fold_of = pd.read_csv(folder / paths.FOLDS)["fold"].to_numpy().repeat(7)
    net = model.build(model.architecture(params, CONTEST))
    rng = np.random.default_rng(0)
    write_json(folder / paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        record = record_folds(params)
    for fold in params.folds:
        which = np.flatnonzero(fold_of == fold)
        logits = np.log(rng.dirichlet(np.ones(18), (1, len(which)))).astype(np.float32)
        arrays = {"run": np.array(record.run), "photo": which, "selected": logits, "last": logits}
        predicted = rng.integers(0, 18, (1, 2, len(which))).astype(np.uint8)
        write_npz(folder / paths.oof_logits(fold), **arrays, predicted=predicted)
        names = ("train_loss", "val_loss", "val_nll", "val_f1")
        history = pd.DataFrame({"epoch": [1, 2], **{name: [0.6, 0.5] for name in names}, "repeat": 0})
        write_csv(folder / paths.history(fold), history)
        for path in (paths.train_metrics(fold), paths.train_environment(fold)):
            write_json(folder / path, {})
        model.save(folder / paths.weights(fold), net.architecture, net.state_dict(), record)
    return folder


@pytest.fixture
def results(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path / "results")
    monkeypatch.chdir(tmp_path / "results")
    return tmp_path / "results"


def cut(path: Path, share: float = 0.5) -> Callable[[], None]:
    return lambda: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def cut_one_byte(path: Path) -> Callable[[], None]:
    return lambda: path.write_bytes(path.read_bytes()[:-1])


def drop_rows(path: Path) -> Callable[[], None]:
    return lambda: path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-7]))


def no_rows(path: Path) -> Callable[[], object]:
    return lambda: write_csv(path, pd.read_csv(path, dtype=str)[:0])


def text(path: Path) -> Callable[[], object]:
    return lambda: path.write_text("half a\x00 file\n")


def array(path: Path, shape: tuple[int, ...], kind: str) -> Callable[[], None]:
    return lambda: np.save(path, np.zeros(shape, kind))


def pickled(path: Path) -> Callable[[], None]:
    """An array file that holds a pickle which would make a folder."""

    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, ("ran",)

    def damage() -> None:
        with path.open("wb") as file:
            np.save(file, np.array([Runs()], object), allow_pickle=True)

    return damage


def starting(name: str, content: Callable[[], bytes]) -> Callable[[], None]:
    def damage() -> None:
        Path(name).write_bytes(content())
        paths.PARAMS.write_text(yaml.safe_dump(SMALL | {"model": {"weights": name}}))

    return damage


def changed(**groups: object) -> Callable[[], None]:
    def damage() -> None:
        paths.PARAMS.write_text(yaml.safe_dump(SMALL | groups))

    return damage


def weights_that_run_code() -> bytes:
    import pickle

    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, ("ran",)

    return pickle.dumps({"weight": Runs()})


def flip(path: Path) -> Callable[[], None]:
    def damage() -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content)

    return damage


def cropped() -> None:
    """Another crop in params.yaml, which is all that `git checkout` or `dvc exp apply` changes of what prepare goes by."""
    paths.PARAMS.write_text(yaml.safe_dump(SMALL | {"image": SMALL["image"] | {"face": 0.5}}))


def replaced() -> None:
    first, second = (paths.TRAIN_IMAGES / name for name in pd.read_csv(paths.PHOTOS)["file"][:2])
    shutil.copyfile(second, first)


def another_run(fold: int, **changes: Any) -> None:
    """As if a fold had been trained with other params."""
    record = run_record.of_fold(fold)
    params = run_record.training(small(**changes))
    run_record.write(paths.train_run(fold), record.model_copy(update={"params": params}))


TRAIN = ("train", "--fold", "0")
OOF = ("oof-ensemble",)
TTA = ("tta-predict",)
THAN = ("score", "data/eval_truth.csv", "--submission", "data/eval_truth.csv", "--than", "other.csv")
FILL = ("fill", "sample.csv")
ONE_AXIS = replace(CONTEST, axes=CONTEST.axes[:1], subsets={})


def answered() -> None:
    """A submission of two photos."""
    paths.SUBMISSION.parent.mkdir(parents=True, exist_ok=True)
    paths.SUBMISSION.write_text("ImageID,ans\na.jpg,0\nb.jpg,17\n")


def sample(text: str) -> Callable[[], object]:
    """A contest's sample submission."""
    return lambda: Path("sample.csv").write_text(text)


def ranked() -> None:
    """Votes by rank beside the submission, where probabilities are wanted."""
    images = np.array(["a.jpg", "b.jpg"])
    write_npz(paths.PROBABILITIES, image=images, probabilities=np.full((2, 18), 3, np.float32))


def describe(path: Path, task: Task | None) -> None:
    """Make weights such that tell the classes of this task; None: that say nothing of it, as before there were tasks."""
    import safetensors
    import safetensors.torch

    with safetensors.safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["architecture"])
    described = {key: value for key, value in described.items() if key != "task"}
    described["trained"]["photos"] = "elsewhere"  # else it would know the people here
    described |= {} if task is None else {"task": tasks.to_json(task)}
    arrays = safetensors.torch.load_file(path)
    arrays |= {key: arrays[key][: (task or CONTEST).classes].clone() for key in ("head.weight", "head.bias")}
    safetensors.torch.save_file(arrays, path, metadata={"architecture": json.dumps(described)})


def knowing_the_first_person() -> bytes:
    """Weights of another project, which learnt seven of these photos."""
    from stages.learn import model

    contents = photos.content_of(pd.read_csv(paths.PHOTOS, dtype=str)[:7])
    record = Record(run="there", data={"photos": "elsewhere"})
    net = model.load(WEIGHTS)
    learnt = learnt_photos.of_training(record, contents, ())
    model.save(Path("theirs"), net.architecture, net.state_dict(), record, learnt)
    content = Path("theirs").read_bytes()
    Path("theirs").unlink()
    return content


def one_axis() -> None:
    tasks.write(ONE_AXIS)


def joined() -> None:
    """The folds' predictions, joined by oof-ensemble."""
    for fold in (0, 1):
        write_json(paths.train_environment(fold), {})
    oof_ensemble.run(small(), SILENT)


def relabelled() -> None:
    """The last person's labels are others by now, as after a correction that prepare has applied."""
    table = pd.read_csv(paths.PHOTOS, dtype=str)
    table.loc[len(table) - 7 :, "label"] = "0"
    write_csv(paths.PHOTOS, table)


LOGITS, HISTORY, WEIGHTS = paths.oof_logits(0), paths.history(1), paths.weights(0)
RESULTS: dict[str, tuple[tuple[str, ...], Callable[[], object]]] = {
    "--ahead without --fold": (("train", "--ahead"), lambda: None),
    "--top beside --json": (("screen", "--top", "3", "--json"), lambda: None),
    "a list without a name": (("screen", "--frozen", "--losses", ","), lambda: None),
    "--losses without --frozen": (("screen", "--losses", "ce,focal"), lambda: None),
    "--try beside --frozen": (("screen", "--frozen", "--try", "loss=focal"), lambda: None),
    "a change without a key": (("screen", "--try", "focal"), lambda: None),
    "a change of an unknown key": (("screen", "--try", "lss=focal"), lambda: None),
    "a change to an unknown value": (("screen", "--try", "loss=fokal"), lambda: None),
    "a change of a key twice": (("screen", "--try", "loss=focal,loss=ldam"), lambda: None),
    "a change that needs other photos": (("screen", "--try", "image.height=64"), lambda: None),
    "a change that a short training cannot show": (("screen", "--try", "train.repeats=2"), lambda: None),
    "a rate that would be another for each": (("screen", "--try", "lr=auto"), lambda: None),
    "a change to what params.yaml says": (("screen", "--try", "loss=ce"), lambda: None),
    "no file of candidates": (("screen", "--from", "candidates.yaml"), lambda: None),
    "a file that is no list of candidates": (
        ("screen", "--from", "candidates.yaml"),
        lambda: Path("candidates.yaml").write_text("loss: focal\n"),
    ),
    "pixels.npy is missing": (TRAIN, lambda: paths.PIXELS.unlink()),
    "pixels.npy is truncated": (TRAIN, cut(paths.PIXELS)),
    "pixels.npy is cut within its header": (TRAIN, cut(paths.PIXELS, 0.00005)),
    "pixels.npy is text": (TRAIN, text(paths.PIXELS)),
    "pixels.npy is empty": (TRAIN, cut(paths.PIXELS, 0)),
    "pixels.npy has another shape": (TRAIN, array(paths.PIXELS, (168, 20, 20, 3), "uint8")),
    "pixels.npy has another type": (TRAIN, array(paths.PIXELS, (168, 36, 36, 3), "float32")),
    "pixels.npy holds a pickle that would run code": (TRAIN, pickled(paths.PIXELS)),
    "pixels.npy is an .npz": (TRAIN, lambda: shutil.copy(LOGITS, paths.PIXELS)),
    "eval_pixels.npy is truncated": (TTA, cut(paths.EVAL_PIXELS)),
    "pixels.npy has a changed bit": (TRAIN, flip(paths.PIXELS)),
    "pixels.npy is of another image.face": (TRAIN, cropped),
    "pixels.json is missing": (TRAIN, lambda: paths.PIXELS.with_suffix(".json").unlink()),
    "eval_pixels.json is text": (TTA, text(paths.EVAL_PIXELS.with_suffix(".json"))),
    "photos.csv lists the photos in another order": (
        TRAIN,
        lambda: write_csv(paths.PHOTOS, pd.read_csv(paths.PHOTOS, dtype=str)[::-1]),
    ),
    "photos.csv is of an older version": (
        TRAIN,
        lambda: write_csv(paths.PHOTOS, pd.read_csv(paths.PHOTOS).drop(columns="content")),
    ),
    "a training photo has been replaced since": (TRAIN, replaced),
    "weights are of another image.face": (TTA, lambda: (cropped(), prepare.run(small(image={"face": 0.5}), SILENT))),
    "groups.csv is cut off": (("kfold",), cut_one_byte(paths.GROUPS)),
    "photos.csv is text": (TRAIN, text(paths.PHOTOS)),
    "photos.csv is cut off": (TRAIN, cut(paths.PHOTOS)),
    "photos.csv is empty": (TRAIN, cut(paths.PHOTOS, 0)),
    "photos.csv has lost rows": (TRAIN, drop_rows(paths.PHOTOS)),
    "photos.csv has lost a column": (
        OOF,
        lambda: write_csv(paths.PHOTOS, pd.read_csv(paths.PHOTOS).drop(columns="label")),
    ),
    "folds.csv is text": (TRAIN, text(paths.FOLDS)),
    "folds.csv has lost rows": (TRAIN, drop_rows(paths.FOLDS)),
    "folds.csv is missing": (TRAIN, lambda: paths.FOLDS.unlink()),
    "eval.csv is text": (TTA, text(paths.EVAL)),
    "tta-predict without an eval set": (TTA, no_rows(paths.EVAL)),
    "score without an eval set": (("score",), no_rows(paths.EVAL)),
    "score without a truth, whose eval set has none": (("score",), lambda: None),
    "a range test whose loss does not fall": (
        ("lr-find",),
        params_yaml(yaml.safe_dump(SMALL | {"lr": "auto", "lr_find": {"start": 1e-9, "end": 1e-8, "steps": 10}})),
    ),
    "lr.json is missing": (TRAIN, lambda: paths.LR_CHOSEN.unlink()),
    "lr.json is cut off": (TRAIN, cut(paths.LR_CHOSEN)),
    "lr.json is of an older version": (TRAIN, lambda: write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": 2})),
    "lr.json is of another learning rate": (TRAIN, lambda: write_json(paths.LR_CHOSEN, {"lr": 0.01})),
    "lr.json is from a GPU": (TRAIN, lambda: write_json(paths.LR_CHOSEN, {"lr": 0.003, "device": "cuda"})),
    "lr.json is from a larger machine": (
        TRAIN,
        lambda: write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {"0": 9999}}),
    ),
    "oof_logits.npz is missing": (OOF, lambda: LOGITS.unlink()),
    "oof_logits.npz is truncated": (OOF, cut(LOGITS)),
    "oof_logits.npz is text": (OOF, text(LOGITS)),
    "oof_logits.npz is empty": (OOF, cut(LOGITS, 0)),
    "oof_logits.npz lacks arrays": (OOF, lambda: write_npz(LOGITS, photo=np.arange(84))),
    "oof_logits.npz is of other photos": (OOF, lambda: shutil.copy(paths.oof_logits(1), LOGITS)),
    "history.csv is text": (OOF, text(HISTORY)),
    "history.csv is cut off": (("epochs",), cut(HISTORY)),
    "weights are missing": (TTA, lambda: WEIGHTS.unlink()),
    "weights are truncated": (TTA, cut(WEIGHTS)),
    "weights are text": (TTA, text(WEIGHTS)),
    "weights are of before there were tasks": (TTA, lambda: describe(WEIGHTS, task=None)),
    "weights are of another task": (TTA, lambda: describe(WEIGHTS, task=ONE_AXIS)),
    "targets: factored with one axis": (TRAIN, lambda: (one_axis(), changed(targets="factored", subsets={})())),
    "regression.weight without a number": (
        TRAIN,
        lambda: (one_axis(), changed(regression={"weight": 0.1}, subsets={})()),
    ),
    "label_noise with fewer people than folds of it": (
        TRAIN,
        changed(label_noise={"action": "drop", "folds": 20}),
    ),
    "metrics.json is cut off": (
        ("summary",),
        lambda: (write_json(paths.OOF_METRICS, {"people": 3}), cut(paths.OOF_METRICS)()),
    ),
    "metrics.json is of something else": (("summary",), lambda: write_json(paths.OOF_METRICS, {"people": 3})),
    "oof.npz is truncated": (
        ("compare", "workspace", "HEAD"),
        lambda: (paths.OOF_ARRAYS.parent.mkdir(), paths.OOF_ARRAYS.write_bytes(LOGITS.read_bytes()[:300])),
    ),
    "audit before there are OOF predictions": (("audit",), lambda: None),
    "audit: OOF predictions of fewer photos": (("audit",), lambda: (joined(), drop_rows(paths.PHOTOS)())),
    "audit: OOF predictions of other labels": (("audit",), lambda: (joined(), relabelled())),
    "audit: OOF predictions of another task": (("audit",), lambda: (joined(), one_axis(), changed(subsets={})())),
    "model.weights: a pickle that would run code": (TRAIN, starting("mine.pth", weights_that_run_code)),
    "model.weights: a truncated .safetensors": (
        TRAIN,
        starting("mine.safetensors", lambda: WEIGHTS.read_bytes()[:999]),
    ),
    "model.weights: text": (TRAIN, starting("mine.pth", lambda: b"hello")),
    "model.weights: no such file": (
        TRAIN,
        lambda: (starting("mine.pth", lambda: b"")(), Path("mine.pth").unlink()),
    ),
    "model.weights: a fold's own model": (
        TRAIN,
        lambda: paths.PARAMS.write_text(yaml.safe_dump(SMALL | {"model": {"weights": str(paths.weights(1))}})),
    ),
    "model.weights: a model that has learnt some of the photos": (
        TRAIN,
        starting("mine.safetensors", knowing_the_first_person),
    ),
    "model.pretrained names a file": (
        TRAIN,
        lambda: paths.PARAMS.write_text(yaml.safe_dump(SMALL | {"model": {"pretrained": "mine.pth"}})),
    ),
    "model.pretrained and model.weights": (
        TRAIN,
        lambda: paths.PARAMS.write_text(yaml.safe_dump(SMALL | {"model": {"pretrained": True, "weights": "mine.pth"}})),
    ),
    "model.options names a file": (
        TRAIN,
        lambda: paths.PARAMS.write_text(
            yaml.safe_dump(SMALL | {"model": {"options": {"checkpoint_path": "mine.pth"}}})
        ),
    ),
    "run.json is missing": (OOF, lambda: paths.train_run(1).unlink()),
    "run.json is of another version": (TTA, lambda: write_json(paths.train_run(1), {"run": 7})),
    "run.json is of another loss": (OOF, lambda: another_run(0, loss="focal")),
    "run.json is of another loss in all folds": (TTA, lambda: [another_run(fold, loss="focal") for fold in (0, 1)]),
    "run.json is not of these logits": (OOF, lambda: run_record.write(paths.train_run(0), Record(run="other"))),
    "an optimizer that needs second derivatives": (TRAIN, changed(optimizer={"name": "adahessian"})),
    "options that the model refuses": (TRAIN, changed(model={"options": {"act_layer": "swoosh"}})),
    "a submission with an answer that is no class": (
        ("score", "data/eval_truth.csv", "--submission", "mine.csv"),
        lambda: Path("mine.csv").write_text("ImageID,ans\na.jpg,18\n"),
    ),
    "a submission without ImageID": (
        ("score", "data/eval_truth.csv", "--submission", "mine.csv"),
        lambda: Path("mine.csv").write_bytes("이름,답\n".encode("cp949")),
    ),
    "another submission that is not there": (THAN, lambda: None),
    "another submission of more photos": (
        THAN,
        lambda: Path("other.csv").write_bytes(Path("data/eval_truth.csv").read_bytes() + b"a.jpg,0,a\n"),
    ),
    "fill: a sample that is not there": (FILL, answered),
    "fill: before there is a submission": (FILL, sample("image_id,label\na,0\n")),
    "fill: a sample of other photos": (FILL, lambda: (answered(), sample("image_id,label\nc,0\n")())),
    "fill: one photo more": (FILL, lambda: (answered(), sample("image_id,label\na,0\nb,0\nc,0\n")())),
    "fill: a photo twice": (FILL, lambda: (answered(), sample("image_id,label\na,0\na.jpg,0\n")())),
    "fill: columns that nothing is known of": (FILL, lambda: (answered(), sample("image_id,x,y\na,0,0\n")())),
    "fill: no column but the photos'": (FILL, lambda: (answered(), sample("image_id\na\n")())),
    "fill: probabilities that are not there": (
        (*FILL, "--probability-of", "wear male <30"),
        lambda: (answered(), sample("image_id,label\na,0\n")()),
    ),
    "fill: the probability of no class": (
        (*FILL, "--probability-of", "wear male"),
        lambda: (answered(), sample("image_id,label\na,0\n")()),
    ),
    "fill: ranks in place of probabilities": (
        (*FILL, "--probability-of", "wear male <30"),
        lambda: (answered(), sample("image_id,label\na,0\n")(), ranked()),
    ),
    "fill: over the sample": (
        (*FILL, "--out", "sample.csv"),
        lambda: (answered(), sample("image_id,label\na,0\n")()),
    ),
    "a fold that is not there": (("train", "--fold", "7"), lambda: None),
}


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], case: str
) -> list[str]:
    """Run a command that must fail as documented, change nothing but faults.csv, and leave nothing half done."""
    before = {name: Path(name).read_bytes() for name in listing(Path()) if name != str(paths.FAULTS)}
    code, out, err = maskcli(monkeypatch, capsys, *words)
    assert err, "must say something"
    assert (code, out, err[-1]) == (2, "", f"maskcli: {documented()[case]}")
    assert "Traceback" not in "\n".join(err)
    after = {name: Path(name).read_bytes() for name in listing(Path()) if name != str(paths.FAULTS)}
    assert after == before
    assert not Path("ran").exists()
    return err


@pytest.mark.parametrize("case", PREPARE)
def test_a_bad_data_set_or_params_yaml_is_one_line(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    PREPARE[case]()
    refused(monkeypatch, capsys, ("prepare",), case)


@pytest.mark.parametrize("case", miscorrected.FAULTS)
def test_bad_corrections_are_one_line(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    miscorrected.FAULTS[case]()
    refused(monkeypatch, capsys, ("prepare",), case)


@pytest.mark.parametrize("case", miscorrected.WORKS)
def test_odd_corrections_work(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    miscorrected.WORKS[case]()
    code, _, err = maskcli(monkeypatch, capsys, "prepare")
    assert code == 0, err
    assert [documented()[case]] == ([line for line in err if line.startswith("warning")] or ["works"])


@pytest.mark.parametrize("case", PREPARE_SKIP)
def test_what_on_fault_skip_cannot_skip(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    PREPARE_SKIP[case]()
    paths.PARAMS.write_text(PARAMS + "data: {on_fault: skip}\n")
    refused(monkeypatch, capsys, ("prepare",), case)


@pytest.mark.parametrize("case", RESULTS)
def test_a_damaged_result_of_an_earlier_stage_is_one_line(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    words, damage = RESULTS[case]
    damage()
    refused(monkeypatch, capsys, words, case)


@pytest.mark.parametrize("case", histories.CASES)
def test_a_revision_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    # Plain content, so that hashes are the same everywhere.
    monkeypatch.chdir(histories.two_commits(tmp_path / "history", lambda seed: b"%d" % seed))
    revision, damage = histories.CASES[case]
    damage()
    refused(monkeypatch, capsys, ("compare", revision), case)


@pytest.mark.parametrize("case", layouts.REFUSED)
def test_bad_photos_in_folders_and_tables_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    layouts.REFUSED[case]()
    refused(monkeypatch, capsys, ("prepare",), case)


@pytest.mark.parametrize("case", layouts.WORKS)
def test_odd_folders_and_tables_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    lay_out, classes, of_eval = layouts.WORKS[case]
    lay_out()
    code, _, err = maskcli(monkeypatch, capsys, "prepare")
    assert code == 0, err
    assert documented()[case] == (err[-2] if len(err) > 1 else "works")
    counts = pd.read_csv(paths.CLASS_COUNTS, dtype=str, keep_default_na=False)
    assert dict(zip(counts["class"], counts["photos"].astype(int), strict=True)) == classes
    assert len(np.load(paths.PIXELS)) == sum(classes.values())
    assert len(np.load(paths.EVAL_PIXELS)) == of_eval
    assert maskcli(monkeypatch, capsys, "kfold")[0] == 0


@pytest.mark.parametrize("case", refusals.CASES)
def test_what_init_cannot_begin_with_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    words, lay_out = refusals.CASES[case]
    lay_out()
    refused(monkeypatch, capsys, ("init", *words), case)


@pytest.mark.parametrize("case", unanswerable.UNASKED)
def test_photos_that_predict_cannot_be_asked_about_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    words, lay_out = unanswerable.UNASKED[case]
    lay_out()
    refused(monkeypatch, capsys, ("predict", ".", *words), case)


@pytest.fixture(scope="module")
def judged(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose models can answer new photos."""
    return unanswerable.judged(prepared, tmp_path_factory.mktemp("judged") / "project")


@pytest.fixture
def answering(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(unanswerable.linked(judged, tmp_path / "answering"))
    return tmp_path / "answering"


@pytest.mark.parametrize("case", unanswerable.REFUSED)
def test_what_the_models_cannot_be_asked_is_one_line(
    answering: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    words, lay_out = unanswerable.REFUSED[case]
    lay_out()
    refused(monkeypatch, capsys, ("predict", ".", *words), case)


@pytest.mark.parametrize("case", unanswerable.UNREADABLE)
def test_a_photo_without_an_answer_says_why_in_its_row_and_in_the_exit_code(
    answering: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    word, lay_out = unanswerable.UNREADABLE[case]
    lay_out()
    good = str(unanswerable.photo("photos/good.jpg"))
    code, out, _ = maskcli(monkeypatch, capsys, "predict", ".", word, good, "--json")
    bad, row = map(json.loads, out.splitlines())
    assert (code, f"{bad['file']}: {bad['error']}") == (3, documented()[case])
    assert (row["file"], "error" in row) == (good, False)


def test_a_disk_that_fills_up_in_the_middle_of_the_answers_is_one_line(
    answering: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stages.learn.predict.BATCH", 4)
    with files_up_to(1500):
        code, out, err = maskcli(monkeypatch, capsys, "predict", ".", "data/eval/images", "--out", "answers.csv")
    assert (code, out, err[-1]) == (2, "", f"maskcli: {documented()[unanswerable.FULL]}")
    assert Path("answers.csv.partial").read_text().endswith("\n")
    assert not Path("answers.csv").exists()


@pytest.mark.parametrize("case", plugged.REFUSED)
def test_bad_plugins_are_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    plugged.REFUSED[case]()
    refused(monkeypatch, capsys, TRAIN, case)


@pytest.mark.parametrize("case", services.CASES)
def test_what_serve_cannot_begin_with_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    if case != services.EXTRA_MISSING:
        pytest.importorskip("uvicorn")
    words, lay_out = services.CASES[case]
    lay_out(monkeypatch)
    refused(monkeypatch, capsys, ("serve", *words), case)


@pytest.mark.parametrize("case", reviews.CASES)
def test_what_review_cannot_begin_with_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    if case != reviews.EXTRA_MISSING:
        pytest.importorskip("uvicorn")
    words, lay_out = reviews.CASES[case]
    lay_out(monkeypatch)
    refused(monkeypatch, capsys, ("review", *words), case)


@pytest.mark.parametrize("case", unclaimable.CASES)
def test_what_cannot_be_claimed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path.cwd().parent))
    unclaimable.at_noon(monkeypatch)
    words, lay_out = unclaimable.CASES[case]
    lay_out()
    refused(monkeypatch, capsys, ("claim", *words), case)


@pytest.mark.parametrize("case", reviews.SAID)
def test_what_review_says_and_goes_on(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    pytest.importorskip("uvicorn")
    words, lay_out = reviews.SAID[case]
    lay_out(monkeypatch)
    monkeypatch.setattr("stages.base.http_server.run", lambda server, place, patience: place.close())
    code, out, err = maskcli(monkeypatch, capsys, "review", "--who", "ann", *words)
    assert code == 0
    assert documented()[case] in err
    assert "/?token=" in out.splitlines()[0]


@pytest.fixture(scope="module")
def in_git_and_dvc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in git and DVC, with params alone, committed."""
    folder = tmp_path_factory.mktemp("in_git_and_dvc") / "project"
    folder.mkdir()
    (folder / paths.PARAMS).write_text(yaml.safe_dump(small().model_dump(mode="json"), sort_keys=False))
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text(DVC_CONFIG)
    (folder / ".dvc/.gitignore").write_text("/tmp\n/config.local\n/cache\n")
    for words in (["init", "-q"], ["config", "user.email", "a@example.org"], ["config", "user.name", "a"]):
        histories.git(folder, *words)
    histories.git(folder, "add", "-A")
    histories.git(folder, "commit", "-qm", "first")
    return folder


@pytest.mark.parametrize("case", unclusterable.CASES)
def test_what_cluster_run_does_not_begin_with_is_one_line(
    in_git_and_dvc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    shutil.copytree(in_git_and_dvc, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    words, lay_out = unclusterable.CASES[case]

    def files() -> dict[str, bytes]:  # but for what git and DVC keep of having been asked
        return {
            name: Path(name).read_bytes() for name in listing(Path()) if not name.startswith((".git/", ".dvc/tmp/"))
        }

    with lay_out():
        before = files()
        code, out, err = maskcli(monkeypatch, capsys, "cluster", "run", *words)
    assert (code, out, err) == (2, "", [f"maskcli: {documented()[case]}"])
    assert files() == before
    place = Path(".dvc/tmp/cluster")
    assert [path.name for path in place.glob("*") if path.suffix not in (".lock", ".json")] == []


@pytest.mark.parametrize("case", unclusterable.NODES)
def test_what_a_node_does_not_train_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    checkout = unclusterable.NODES[case](monkeypatch)
    with pytest.raises(UserError) as told:
        checkout.made(tmp_path / "node", lambda line: None)
    assert str(told.value) == documented()[case]
    assert [path.name for path in (tmp_path / "node").iterdir() if path.name.startswith("key")] == ["key.lock"]


def test_the_page_lists_what_is_tested_and_nothing_else() -> None:
    tested = [*PREPARE, *refusals.CASES, *PREPARE_SKIP, *RESULTS, *histories.CASES, *WORKS, *FULL, *MOUNTS]
    tested += plugged.REFUSED
    tested += [*unanswerable.UNASKED, *unanswerable.REFUSED, *unanswerable.UNREADABLE, unanswerable.FULL]
    tested += [
        *services.CASES,
        *unclusterable.CASES,
        *unclusterable.NODES,
        *reviews.CASES,
        *unclaimable.CASES,
        *reviews.SAID,
        *reviews.ANSWERS,
        *miscorrected.FAULTS,
        *miscorrected.WORKS,
    ]
    of_bundles = [*bundles.OPEN, *bundles.WRITE, *bundles.FULL, *unexportable.REFUSED]
    assert sorted(documented()) == sorted([*tested, *layouts.REFUSED, *layouts.WORKS, *of_bundles])


def excel(content: str) -> bytes:
    """As Excel saves `CSV UTF-8`: a byte order mark, CRLF, and empty rows of commas at the end."""
    return b"\xef\xbb\xbf" + (content + ",,,,\n,,,,\n").replace("\n", "\r\n").encode()


def renamed(form_on_disk: str, form_in_csv: str) -> None:
    Path("data/train/images/one").rename(Path("data/train/images") / unicodedata.normalize(form_on_disk, KOREAN))
    EVAL.rename(EVAL.with_name(unicodedata.normalize(form_on_disk, KOREAN) + ".jpg"))
    name = unicodedata.normalize(form_in_csv, KOREAN)
    rows(f"1,female,Asian,30,{name}", "2,male,Asian,61,two")()
    info_csv(f"ImageID,ans\n{name}.jpg,0\nb.jpg,0\n")()


def litter() -> None:
    for name in (".DS_Store", "._mask1.jpg", "Thumbs.db", "desktop.ini", "mask1.jpg:Zone.Identifier"):
        ONE.with_name(name).write_bytes(b"x")
        EVAL.with_name(name).write_bytes(b"x")


DONE = "prepare: 2 people, 14 training photos, 2 eval photos"
WORKS: dict[str, Callable[[], object]] = {
    "a byte order mark, CRLF and empty rows (Excel's `CSV UTF-8`)": train_csv(excel(HEADER + ROWS)),
    "CR alone (old Macs)": train_csv((HEADER + ROWS).replace("\n", "\r")),
    "blank lines, and no newline at the end": train_csv(HEADER + "\n" + ROWS.strip() + "\n \n\n,,,,"),
    "more columns, and columns in another order": train_csv(
        "note,path,age,race,gender,id\n,one,30,Asian,female,1\nx,two,61,Asian,male,2\n"
    ),
    "blanks around values, and Female for female": rows(" 1, Female ,Asian, 30 ,one ", "2,MALE,Asian,61,two/"),
    "an id called NA": rows("NA,female,Asian,30,one", "null,male,Asian,61,two"),
    "a byte order mark in info.csv": info_csv(excel("ImageID,ans\na.jpg,0\nb.jpg,0\n")),
    "a byte order mark in params.yaml": lambda: paths.PARAMS.write_bytes(b"\xef\xbb\xbf" + PARAMS.encode()),
    "1e-3 for 0.001 in params.yaml": lambda: paths.PARAMS.write_text(PARAMS + "lr: 1e-3\n"),
    "composed names in the tables, decomposed on the disk (macOS)": lambda: renamed("NFD", "NFC"),
    "decomposed names in the tables, composed on the disk": lambda: renamed("NFC", "NFD"),
    "extensions in upper case": lambda: ONE.rename(ONE.with_suffix(".JPG")),
    "what macOS and Windows leave in folders": litter,
    "data/ is itself a link": lambda: (Path("data").rename("../disk"), Path("data").symlink_to("../disk")),
    "a folder without a row in train.csv": lambda: shutil.copytree(ONE.parent, "data/train/images/three"),
    "an eval photo without a row in info.csv": lambda: shutil.copy(EVAL, EVAL.with_name("c.jpg")),
}


@pytest.mark.parametrize("case", WORKS)
def test_harmless_oddities_work(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    WORKS[case]()
    code, _, err = maskcli(monkeypatch, capsys, "prepare")
    assert (code, err[-1]) == (0, f"maskcli: {err}" if code else DONE)
    assert documented()[case] == (err[-2] if len(err) > 1 else "works")
    photos = pd.read_csv(paths.PHOTOS, dtype=str, keep_default_na=False)
    assert len(photos) == len(np.load(paths.PIXELS)) == 14
    assert photos["label"].tolist() == ["4"] * 5 + ["10", "16"] + ["2"] * 5 + ["8", "14"]


def test_an_id_called_na_goes_through_all_stages(results: Path) -> None:
    """pandas reads NA as a missing value unless told otherwise."""
    from stages.data.fold_data import open_fold

    for path in (paths.GROUPS, paths.PHOTOS, paths.FOLDS):
        path.write_text(path.read_text().replace("000001,", "NA,"))
    assert len(open_fold(small(), 0).labels) == 168


def test_all_faults_stand_in_a_table_and_in_faults_csv(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_csv(HEADER + "1,female,Asian,x,one\n1,[b]boy,Asian,61,two\n")()
    EVAL.write_bytes(b"")
    _, _, err = maskcli(monkeypatch, capsys, "prepare")
    faults = pd.read_csv(paths.FAULTS, dtype=str, keep_default_na=False)
    assert list(faults) == ["where", "problem", "mend", "person"]
    assert faults["problem"].tolist() == [
        "age `x` is not a whole number from 0 to 120",
        "id `1` stands on line 2 already",
        "gender `[b]boy` is not known",
        "is empty (zero bytes)",
    ]
    assert faults["person"].tolist() == ["1", "1", "1", ""]
    table = "\n".join(err[:-1])
    for text in [*faults["where"], *faults["problem"], *faults["mend"]]:
        assert text in table


def test_skip_leaves_out_whoever_a_fault_names_by_both_rows(tiny: Path) -> None:
    """Of two rows with one id, or two people with one folder, nobody knows which is right: all of them go."""
    from stages import prepare
    from stages.base.talk import SILENT

    for name in ("three", "four", "five"):
        shutil.copytree("data/train/images/one", f"data/train/images/{name}")
    doubled = ("1,female,Asian,30,one", "1,male,Asian,30,two", "3,male,Asian,30,three", "4,male,Asian,30,three")
    rows(*doubled, "5,male,Asian,30,four", "6,male", "7,male,Asian,30,five")()
    Path("data/train/images/four/normal.jpg").write_bytes(b"")
    params = small(data={"on_fault": "skip"}, image={"height": 16, "width": 16, "margin": 0})
    prepare.run(params, SILENT)
    assert pd.read_csv(paths.GROUPS)["person"].tolist() == [7]
    assert pd.read_csv(paths.PHOTOS)["file"].tolist() == [f"five/{stem}.jpg" for stem in PHOTO_MASKS]
    faults = pd.read_csv(paths.FAULTS, dtype=str)
    assert faults["person"].tolist() == ["6", "1", "4", "3", "5"]


FULL: dict[str, tuple[int, tuple[str, ...]]] = {
    "no room for the pixel cache": (100_000, ("prepare",)),
    "no room for a table": (100, ("kfold",)),
    "no room for eda's pictures": (100_000, ("eda",)),
    "no room for the OOF predictions": (1000, OOF),
    "no room for the probabilities": (1000, TTA),
}


@pytest.mark.parametrize("case", FULL)
def test_a_full_disk_is_one_line(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    size, words = FULL[case]
    with files_up_to(size):
        refused(monkeypatch, capsys, words, case)


ANSWERS = {
    "epochs": (),
    "compare": ("workspace", "again", "--replicates", "100"),
    "audit": (),
    "tta-search": ("--view", "hflip", "--replicates", "100"),
    "screen": ("--try", "seed=1", "--replicates", "100"),
    "screen --frozen": ("--losses", "ce", "--samplers", "none", "--epochs", "1", "--repeats", "1"),
}


@pytest.mark.parametrize("command", ANSWERS)
def test_an_answer_that_cannot_be_written_is_printed_before_the_error(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    write_json(paths.train_environment(0), {})
    oof_ensemble.run(small(), SILENT)
    load = compare.load
    monkeypatch.setattr(compare, "load", lambda name: replace(load("workspace"), name=name))
    words = (*command.split(), *ANSWERS[command], "--json")
    code, out, _ = maskcli(monkeypatch, capsys, *words)
    assert code == 0

    def refuse(*_: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "_rename", refuse)
    code, printed, err = maskcli(monkeypatch, capsys, *words)
    assert code == 2
    assert re.fullmatch(r"maskcli: out/\S+: cannot be written \(Read-only file system\); free disk space .*", err[-1])
    assert printed == out or {**json.loads(printed), "seconds": 0} == {**json.loads(out), "seconds": 0}


@pytest.mark.parametrize("size", [50, 1000, 100_000])
def test_a_disk_that_fills_up_in_training_is_one_line(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    weights = WEIGHTS.read_bytes()
    with files_up_to(size):
        code, out, err = maskcli(monkeypatch, capsys, *TRAIN)
    assert (code, out) == (2, "")
    assert "Traceback" not in "\n".join(err)
    assert re.fullmatch(
        r"maskcli: \S+: cannot be written \(.*File too large.*\); free disk space or check permissions, then rerun",
        err[-1],
    )
    assert WEIGHTS.read_bytes() == weights
    assert [name for name in listing(Path("out")) if ".tmp" in name] == []


MOUNTS = {
    "a full disk, a real one": "mount -t tmpfs -o size=64k tmpfs out/prepare",
    "out/ on a disk that is read-only": "mount --bind out out && mount -o remount,ro,bind out",
}


@pytest.mark.parametrize("case", MOUNTS)
def test_a_disk_that_is_full_or_read_only_for_real(results: Path, case: str) -> None:
    script = f"{MOUNTS[case]} && {sys.executable} -m cli.main prepare; echo $?; find out/prepare -name '.*' | wc -l"
    if subprocess.run(["unshare", "-rm", "sh", "-c", MOUNTS[case]], capture_output=True).returncode:
        pytest.skip("mounting needs Linux and user namespaces")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
    )
    assert done.stderr.splitlines() == [f"maskcli: {documented()[case]}"]
    assert done.stdout.split() == ["2", "0"]
