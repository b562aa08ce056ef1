"""A Predictor of a bundle, folder or .zip: nothing in it is trusted before its hash is seen, nothing is unpacked or unpickled."""

import hashlib
import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import safetensors
from pydantic import ValidationError

from stages.base import environment
from stages.base.errors import UserError
from stages.base.talk import SILENT, Talk
from stages.bundle import out_of_fold, predictor, timm_folder
from stages.bundle.contents import FORMAT, NAME, Contents, File, digest_of
from stages.bundle.out_of_fold import OutOfFold
from stages.bundle.predictor import Predictor
from stages.data import pixel_cache_record
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import MOST_CLASSES, Task
from stages.learn import model, plugins
from stages.learn.model import Classifier
from stages.params.load import parse
from stages.params.model_and_training import Plugins
from stages.params.schema import Params

MOST_JSON = 50_000_000  # bytes of maskcli.json
MOST_PACKED = 50  # times its packed size that a file in a .zip may have: weights hardly shrink
FOLDER = re.compile(r"[a-z0-9-]{1,40}")
FILE = re.compile(rf"({FOLDER.pattern}/)?[A-Za-z0-9_-]+\.(json|md|safetensors)")  # none leads out of the bundle
AGAIN = "take the bundle whole again"

Read = Callable[
    [str, int], bytes
]  # a file's content by its name in the bundle, and its most bytes; KeyError where it is missing


def is_bundle(path: Path) -> bool:
    """Whether a path looks like a bundle, not yet whether it can be opened."""
    return (path / NAME).is_file() or (path.is_file() and path.suffix == ".zip")


def no_plugins() -> Plugins:
    return plugins.NO_PLUGINS


def open_bundle(path: Path, talk: Talk = SILENT, own: Callable[[], Plugins] = no_plugins) -> Predictor:
    """The bundle's models, ready to answer.

    own: the files of one's own that params.yaml of the working folder names, asked for only where the models come from such a
    file: what the bundle says of it is compared, and never imported. Raises UserError where it is no bundle, damaged, of a newer
    version, or where that file is not here as it was.
    """
    with ExitStack() as stack:
        read = _reader(path, stack)
        contents = _contents(path, read)
        params = _with_plugins(parse(contents.params, path / NAME), path, contents, own)
        _check(path, contents, params)
        files = _Files(path, read, contents.files)
        for name in contents.files:  # of those that are not read below too
            if not name.endswith(".safetensors"):
                files.content(name)
        oof = _oof(path, files, contents.own_task.classes)
        networks = [_network(path, files, contents, params, place) for place in range(len(contents.networks))]
    if contents.preprocessing.decoder != pixel_cache_record.decoder():
        talk.say(
            f"warning: {path}: learnt from pixels of {contents.preprocessing.decoder}, photos are decoded here by "
            f"{pixel_cache_record.decoder()}: last digits may differ"
        )
    return predictor.made(contents, params, networks, oof, talk)


def _with_plugins(params: Params, path: Path, contents: Contents, own: Callable[[], Plugins]) -> Params:
    """The bundle's params with the plugins that may be imported here in the place of its own."""
    given = own() if contents.plugin else plugins.NO_PLUGINS
    if contents.plugin:
        plugins.load(given)
        plugins.require(contents.plugin.model_dump(), str(path))
    return params.model_copy(update={"plugins": given})


class _Files:
    """Files of an opened bundle, as maskcli.json lists them: each is given out once its size and hash are seen to be right."""

    def __init__(self, path: Path, read: Read, listed: dict[str, File]) -> None:
        self.path, self.read, self.listed = path, read, listed

    def content(self, name: str) -> bytes:
        """Raises UserError where the file is missing, or not as it was written."""
        if name not in self.listed:
            raise _damaged(self.path, f"does not list {name}")
        told = self.listed[name]
        try:
            found = self.read(name, told.bytes)
        except KeyError:
            raise UserError(f"{self.path}: lacks {name}, which {NAME} lists; {AGAIN}") from None
        if hashlib.sha256(found).hexdigest() != told.sha256:
            raise UserError(f"{self.path}/{name}: is not as it was written (its sha256 is another); {AGAIN}")
        return found


def _reader(path: Path, stack: ExitStack) -> Read:
    """How a bundle's files are read. Raises UserError for what cannot be one."""
    wanted = "name the folder or the .zip that `maskcli bundle` wrote"
    if path.is_dir():
        if not (path / NAME).is_file():
            raise UserError(f"{path}: is no bundle, it has no {NAME}; {wanted}")
        return lambda name, most: _of_folder(path, name, most)
    if not path.is_file():
        raise UserError(f"{path}: not found; {wanted}")
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        raise UserError(f"{path}: is no bundle, neither a folder nor a whole .zip; {wanted}") from None
    entries = {entry.filename: entry for entry in archive.infolist()}
    top = _top(entries)
    if top is None:
        raise UserError(f"{path}: is no bundle, it has no {NAME}; {wanted}")
    return lambda name, most: _of_zip(path, archive, entries[top + name], most)


def _top(entries: dict[str, zipfile.ZipInfo]) -> str | None:
    """Where maskcli.json lies in a .zip: at the top, or in its one folder, where somebody has packed the folder."""
    found = [name for name in entries if name == NAME or (name.endswith(f"/{NAME}") and name.count("/") == 1)]
    return min(found, key=len).removesuffix(NAME) if found else None


def _of_folder(path: Path, name: str, most: int) -> bytes:
    if not (path / name).is_file():
        raise KeyError(name)
    try:
        _check_size(path, name, (path / name).stat().st_size, most)
        return (path / name).read_bytes()
    except OSError as error:
        raise UserError(f"{path}/{name}: cannot be read ({error.strerror}); check that it is a readable file") from None


def _of_zip(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """A file of a .zip, in memory: no more of it than its size is unpacked, whatever it was packed from."""
    name = entry.filename
    _check_size(path, name, entry.file_size, most)
    if entry.file_size > MOST_PACKED * entry.compress_size:
        raise UserError(f"{path}/{name}: unpacks to over {MOST_PACKED} times its size, which weights do not; {AGAIN}")
    try:
        with archive.open(entry) as file:
            return file.read(entry.file_size)
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):  # RuntimeError: encrypted
        raise UserError(f"{path}/{name}: cannot be unpacked; {AGAIN}") from None


def _check_size(path: Path, name: str, found: int, told: int) -> None:
    """Before anything is read. maskcli.json, of which nothing tells the size, may have up to MOST_JSON bytes."""
    if (found > told) if name.endswith(NAME) else (found != told):
        raise UserError(f"{path}/{name}: has {found} bytes, not {told}; {AGAIN}")


def _contents(path: Path, read: Read) -> Contents:
    """maskcli.json. Raises UserError where it is damaged or of a newer version."""
    try:
        value = json.loads(read(NAME, MOST_JSON))
        form, writer = value["format"], value["maskcli"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise _damaged(path, "is not what `maskcli bundle` writes") from None
    if not isinstance(form, int) or form > FORMAT:
        raise UserError(
            f"{path}/{NAME}: is of format {form}, written by maskcli {writer}; this maskcli "
            f"({environment.installed('maskcli')}) reads up to format {FORMAT}: install the newer one"
        )
    try:
        contents = Contents.model_validate(value)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise _damaged(path, f"is not what `maskcli bundle` writes (`{where}`)") from None
    if contents.digest not in (None, digest_of(value)):
        raise _damaged(path, "is not as it was written (its digest is another)")
    return contents


def _task(path: Path, contents: Contents) -> Task:
    """The bundle's task. Raises UserError where it is none, or one of more classes than there may be."""
    try:
        task = contents.own_task
        sizes = [len(axis.levels) for axis in task.axes]
        texts = [text for axis in task.axes for text in (axis.name, *axis.levels)]
        if math.prod(sizes) > MOST_CLASSES or min(sizes) < 1 or task.unit not in tasks.UNITS:
            raise ValueError
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
        return task
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _damaged(path, "describes no task") from None


def _check(path: Path, contents: Contents, params: Params) -> None:
    """Raise UserError where parts of maskcli.json contradict each other."""
    task, seen = _task(path, contents), contents.preprocessing
    image = {name: getattr(seen, name) for name in params.image.model_dump()}
    offsets = contents.decision.offsets
    folders = [one.folder for one in contents.networks]
    faults = {
        "image": image != params.image.model_dump() or seen.max_pixels != params.data.max_pixels,
        "views": contents.views != params.tta.views,
        "vote": contents.vote != params.ensemble.vote,
        "offsets": offsets is not None and len(offsets) != task.classes,
        "files": not all(FILE.fullmatch(name) for name in contents.files),
        "networks": not folders or not all(FOLDER.fullmatch(name) for name in folders),
    }
    wrong = next((name for name, is_wrong in faults.items() if is_wrong), None)
    if wrong:
        raise _damaged(path, f"contradicts itself about its {wrong}")


def _oof(path: Path, files: _Files, classes: int) -> OutOfFold:
    try:
        return out_of_fold.from_bytes(files.content(out_of_fold.NAME), classes)
    except ValueError:
        raise UserError(f"{path}/{out_of_fold.NAME}: does not hold the arrays it should; {AGAIN}") from None


def _network(path: Path, files: _Files, contents: Contents, params: Params, place: int) -> Classifier:
    """A model of the bundle, its pixels normalised as they were in training whatever timm says by now."""
    told, task = contents.networks[place], contents.own_task
    folder = timm_folder.Folder(f"{path}/{told.folder}", lambda name: files.content(f"{told.folder}/{name}"))
    if told.timm is None:
        raise _damaged(path, "does not say what its folders hold")
    try:
        net = timm_folder.read(folder, model.architecture(params, task), told.timm)
    except UserError as error:  # of a model that timm does not know, or that does not take its options
        raise UserError(str(error).replace("params.yaml", f"{path}/{NAME}", 1)) from None
    except safetensors.SafetensorError:
        raise UserError(f"{path}/{told.folder}: holds weights that cannot be read; {AGAIN}") from None
    seen = contents.preprocessing
    net.backbone.pretrained_cfg |= {"mean": seen.mean, "std": seen.std}  # type: ignore[operator]
    return net


def _damaged(path: Path, problem: str) -> UserError:
    return UserError(f"{path}/{NAME}: {problem}; {AGAIN}")
