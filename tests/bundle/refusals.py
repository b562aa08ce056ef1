"""What is done to a bundle, or asked of `maskcli bundle`, by the name that docs/bad_input.md gives it."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stages.base import paths
from stages.base.files import read_json, write_json, write_npz
from stages.bundle.contents import NAME
from tests.bundle.made import another_architecture, draw_refit
from tests.conftest import small

BUNDLE, ZIP = Path("out/bundle"), Path("out/bundle.zip")
TOLD = BUNDLE / NAME


def told(**changes: Any) -> Callable[[], None]:
    """maskcli.json with other values under these keys, by somebody who leaves its digest out."""

    def write() -> None:
        write_json(TOLD, json.loads(TOLD.read_text()) | {"digest": None} | changes)

    return write


def told_in(group: str, **changes: Any) -> Callable[[], None]:
    def write() -> None:
        value = json.loads(TOLD.read_text())
        value[group] |= changes
        write_json(TOLD, value | {"digest": None})

    return write


def flipped() -> None:
    path = BUNDLE / "fold1/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def another_digit() -> None:
    """maskcli.json is still one, of another temperature."""
    value = json.loads(TOLD.read_text())
    TOLD.write_text(TOLD.read_text().replace(str(value["temperature"]), f"{value['temperature']:.3f}"))
    assert json.loads(TOLD.read_text())["temperature"] != value["temperature"]


def cut() -> None:
    path = BUNDLE / "fold1/model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def other_weights() -> None:
    """Weights that maskcli.json lists with their right hash, of another architecture than it names."""
    path = BUNDLE / "fold1/model.safetensors"
    path.write_bytes(another_architecture())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    files = json.loads(TOLD.read_text())["files"]
    told(files=files | {"fold1/model.safetensors": {"bytes": path.stat().st_size, "sha256": digest}})()


def with_option(**options: Any) -> Callable[[], None]:
    def write() -> None:
        params = json.loads(TOLD.read_text())["params"]
        told(params=params | {"model": params["model"] | {"options": options}})()

    return write


def outside() -> None:
    """A file that maskcli.json lists, out of the bundle."""
    files = json.loads(TOLD.read_text())["files"]
    told(files=files | {"../../params.yaml": files["README.md"]})()


def zipped_without() -> None:
    with zipfile.ZipFile(ZIP, "w") as archive:
        archive.writestr("README.md", "a bundle?")


def zip_cut() -> None:
    ZIP.write_bytes(ZIP.read_bytes()[:100_000])


def bomb() -> None:
    """A .zip whose weights are 20 MB of zeros in 20 kB."""
    with zipfile.ZipFile(ZIP) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    value = json.loads(entries[NAME])
    value["files"]["fold0/model.safetensors"]["bytes"], value["digest"] = 20_000_000, None
    entries |= {NAME: json.dumps(value).encode(), "fold0/model.safetensors": bytes(20_000_000)}
    with zipfile.ZipFile(ZIP, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def unknown_model() -> None:
    params = json.loads(TOLD.read_text())["params"]
    told(params=params | {"model": params["model"] | {"name": "test_resnets"}})()


def damaged_metrics() -> None:
    write_json(paths.OOF_METRICS, read_json(paths.OOF_METRICS, "oof-ensemble") | {"nll": 7.0})


def of_another_run() -> None:
    write_json(paths.train_run(0), read_json(paths.train_run(0), "train") | {"run": "other"})


def by_rank() -> None:
    params = yaml.safe_load(paths.PARAMS.read_text())
    paths.PARAMS.write_text(yaml.safe_dump(params | {"ensemble": {"vote": "rank", "replicates": 100}}))


def offered() -> None:
    """oof-ensemble found offsets better than argmax."""
    write_json(paths.DECISION, read_json(paths.DECISION, "oof-ensemble") | {"offered": True})


def kept(**changes: np.ndarray | None) -> None:
    """oof.npz with other arrays, or without them."""
    with np.load(paths.OOF_ARRAYS) as arrays:
        found = dict(arrays) | changes
    write_npz(paths.OOF_ARRAYS, **{name: array for name, array in found.items() if array is not None})


def of_an_earlier_version() -> None:
    params = yaml.safe_load(paths.PARAMS.read_text())
    paths.PARAMS.write_text(yaml.safe_dump(params | {"decision": "adjusted"}))
    offered()
    kept(adjusted=None)


# The path that is opened, and what is done before.
OPEN: dict[str, tuple[Path, Callable[[], object]]] = {
    "a bundle of a newer version": (BUNDLE, told(format=3, maskcli="9.0.0")),
    "a bundle with one byte changed": (BUNDLE, flipped),
    "a bundle whose copy broke off": (BUNDLE, cut),
    "a bundle that lacks a fold": (BUNDLE, lambda: shutil.rmtree(BUNDLE / "fold1")),
    "a bundle with weights of another architecture": (BUNDLE, other_weights),
    "a bundle that is not there": (Path("out/bundles"), lambda: None),
    "a folder that is no bundle": (Path("out/prepare"), lambda: None),
    "a file that is no bundle": (paths.PARAMS, lambda: None),
    "a .zip that is no bundle": (ZIP, zipped_without),
    "a .zip that is cut off": (ZIP, zip_cut),
    "a .zip bomb": (ZIP, bomb),
    "maskcli.json is not JSON": (BUNDLE, lambda: TOLD.write_text("{")),
    "maskcli.json with another digit": (BUNDLE, another_digit),
    "maskcli.json lacks a key": (BUNDLE, lambda: write_json(TOLD, {"format": 1, "maskcli": "0.1.0"})),
    "maskcli.json with a temperature of 0": (BUNDLE, told(temperature=0.0)),
    "maskcli.json with other views than its params": (BUNDLE, told(views=["identity"])),
    "maskcli.json of another size than its params": (BUNDLE, told_in("preprocessing", height=64)),
    "maskcli.json lists a file outside": (BUNDLE, outside),
    "maskcli.json describes no task": (BUNDLE, told_in("task", axes=[])),
    "maskcli.json with an option that reads a file": (BUNDLE, with_option(checkpoint_path="mine.pth")),
    "maskcli.json of a model that timm does not know": (BUNDLE, unknown_model),
}


# The words that are typed, and what is done before; a bundle lies in its place already.
WRITE: dict[str, tuple[tuple[str, ...], Callable[[], object]]] = {
    "a bundle where one is already": (("bundle",), lambda: None),
    "--force on a folder that is no bundle": (("bundle", "out/prepare", "--force"), lambda: None),
    "a bundle of a fold that is not there": (("bundle", "b", "--fold", "7"), lambda: None),
    "a bundle of a fold of the refit": (("bundle", "b", "--fold", "0", "--refit"), lambda: None),
    "a bundle of a refit that was not run": (("bundle", "b", "--refit"), lambda: None),
    "a bundle of a refit by another learning rate": (("bundle", "b", "--refit"), lambda: draw_refit(small(), 0.1)),
    "a bundle of a refit on other photos": (("bundle", "b", "--refit"), lambda: draw_refit(small(), photos="others")),
    "a bundle before oof-ensemble": (("bundle", "b"), paths.OOF_METRICS.unlink),
    "a bundle of scores of another run": (("bundle", "b"), damaged_metrics),
    "a bundle by offsets, answers not kept": (("bundle", "b"), of_an_earlier_version),
    "a bundle of half a training": (("bundle", "b"), of_another_run),
    "a bundle of folds of which one is missing": (("bundle", "b"), paths.weights(1).unlink),
    "a bundle by rank": (("bundle", "b"), by_rank),
}

# Bytes that a file may have, where more is a full disk.
FULL = {"no room for a bundle": 2_000_000}
