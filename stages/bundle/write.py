"""A bundle written: a folder, and a .zip of it, the same bytes for the same models."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from stages.base.files import replacing, write_json
from stages.bundle import model_card, out_of_fold, timm_folder
from stages.bundle.contents import NAME, Contents, File, digest_of
from stages.bundle.out_of_fold import OutOfFold
from stages.learn.model import Classifier

CARD = "README.md"
# The earliest that a .zip can tell: when it was made would change its bytes.
TIME = (1980, 1, 1, 0, 0, 0)
MODE = 0o644 << 16  # of files unpacked
PIECE = 2**20  # bytes


def folder(path: Path, contents: Contents, networks: Iterable[Classifier], oof: OutOfFold) -> Contents:
    """Write a bundle into an empty folder: first its files, last maskcli.json with their hashes, which is returned.

    networks: those of contents.networks in their order, as they were loaded; one is held at a time.
    """
    told = []
    for one, net in zip(contents.networks, networks, strict=True):
        (path / one.folder).mkdir()
        told.append(one.model_copy(update={"timm": timm_folder.write(net, path / one.folder, contents.licence)}))
    contents = contents.model_copy(update={"networks": tuple(told)})
    (path / out_of_fold.NAME).write_bytes(out_of_fold.to_bytes(oof))
    (path / CARD).write_text(model_card.text(contents), encoding="utf-8", newline="\n")
    for name in _names(path):  # safetensors gives its files to the writer alone
        (path / name).chmod((path / CARD).stat().st_mode)
    files = {name: _file(path / name) for name in _names(path)}
    contents = contents.model_copy(update={"files": files})
    value = json.loads(contents.model_dump_json())
    digest = digest_of(value)
    write_json(path / NAME, value | {"digest": digest})
    return contents.model_copy(update={"digest": digest})


def archive(path: Path, folder: Path) -> None:
    """Write a .zip of a bundle's folder: names sorted, no times, nothing compressed, since weights do not shrink."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as made:
        for name in _names(folder):
            entry = zipfile.ZipInfo(name, TIME)
            entry.external_attr, entry.create_system = MODE, 3
            with (folder / name).open("rb") as source, made.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, PIECE)


def _names(folder: Path) -> list[str]:
    return sorted(found.relative_to(folder).as_posix() for found in folder.rglob("*") if found.is_file())


def _file(path: Path) -> File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(bytes=path.stat().st_size, sha256=digest)
