"""Python files of one's own, imported here before a model or a loss is looked up (docs/plugins.md).

A plugin is code, and runs with all rights of whoever runs maskcli. So none is imported but those that the params of the project
at hand name: what weights and bundles tell of a plugin is compared, never followed.

What is imported stands in sys.modules and in timm's registry, where it would stand anyway. A file whose content has changed is
imported again, one that params name no more is forgotten.
"""

import copy
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from stages.base import paths
from stages.base.errors import UserError
from stages.learn.losses import LOSSES, is_registered
from stages.learn.timm_import import load_timm
from stages.params.model_and_training import PLUGIN_KINDS, PluginKind, Plugins
from stages.records import plugin_files

PREFIX = "maskcli_plugin_"  # of the modules' names
NO_PLUGINS = Plugins()
DECORATORS: dict[PluginKind, str] = {"models": "timm's @register_model", "losses": "@register_loss"}
LONGEST = 200  # characters of an error that is quoted


@dataclass(frozen=True)
class Plugin:
    """An imported file."""

    file: str  # as params.yaml names it, or the folder that it lies in
    sha256: str
    module: ModuleType
    models: Mapping[str, Callable[..., Any]]  # by the name that timm knows them by
    losses: Mapping[str, Callable[..., Any]]

    def line(self, function: Callable[..., Any]) -> str:
        """Where a function of the file begins, as messages name it."""
        return f"{self.file} line {getattr(getattr(function, '__code__', None), 'co_firstlineno', 1)}"


def load(plugins: Plugins) -> list[Plugin]:
    """Import the files that `plugins` names, where that has not been done; those of models first.

    Raises UserError, one line with file and line number, for a file that cannot be imported, that registers a name which is
    taken, or that registers nothing of what its key in params.yaml is for.
    """
    wanted: dict[Path, list[PluginKind]] = {}
    for kind in PLUGIN_KINDS:
        for path in plugin_files.files(plugins, kind):
            wanted.setdefault(path, []).append(kind)
    names = {_module_name(path) for path in wanted}
    for name in [name for name in sys.modules if name.startswith(PREFIX) and name not in names]:
        _forget(name)
    found = [_imported(path) for path in wanted]
    _check_losses(found)
    _check_kinds(plugins, found, list(wanted.values()))
    return found


def loaded() -> list[Plugin]:
    """Those that this process has imported."""
    held = [module for name, module in sys.modules.items() if name.startswith(PREFIX)]
    return [module.__dict__["__plugin__"] for module in held if "__plugin__" in module.__dict__]


def origin(model: str) -> Plugin | None:
    """The imported file that a model comes from; None for one of timm's own."""
    return next((plugin for plugin in loaded() if model in plugin.models), None)


def described(model: str) -> dict[str, str] | None:
    """What weights tell of the file that their model comes from."""
    found = origin(model)
    return None if found is None else {"file": found.file, "sha256": found.sha256}


def require(told: Mapping[str, str] | None, what: str) -> None:
    """Raise UserError unless the file that weights (`what`) tell of is imported, as it was when they were trained."""
    if told is None or any(plugin.sha256 == told["sha256"] for plugin in loaded()):
        return
    file, short = told["file"], told["sha256"][:12]
    if any(plugin.file == file for plugin in loaded()):
        raise UserError(
            f"{what}: its model comes from {file} as it was then (sha256 {short}...), and the file is another now; put that one "
            "back, or train again (`dvc repro`)"
        )
    raise UserError(
        f"{what}: its model comes from a Python file that is not named here, {file} (sha256 {short}...); if you trust it, "
        f"put it into the folder you work in and name it by plugins.models in {paths.PARAMS} there"
    )


@contextmanager
def explained(plugin: Plugin, function: Callable[..., Any], what: str) -> Iterator[None]:
    """Turn whatever the file's code raises into a UserError with the line that raised it, or else that of `function`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise explanation(plugin, function, what, error) from error


def explanation(plugin: Plugin, function: Callable[..., Any], what: str, error: BaseException) -> UserError:
    own = _last_line(error, plugin.module.__file__)
    where = plugin.line(function) if own is None else f"{plugin.file} line {own}"
    return UserError(f"{where}: {what}: {_in_words(error)}; mend it")


def _imported(path: Path) -> Plugin:
    """The plugin of a file as it is now."""
    name, file = _module_name(path), path.as_posix()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check that it is a readable file") from None
    digest = plugin_files.sha256(content)
    before = next((plugin for plugin in loaded() if plugin.module.__name__ == name), None)
    if before is not None and before.sha256 == digest:
        return before
    _forget(name)
    module = ModuleType(name)
    module.__file__ = str(path.resolve())
    try:
        code = compile(content, module.__file__, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise UserError(f"{path} line {error.lineno or 1}: is not valid Python ({error.msg}); mend it") from None
    except ValueError:
        raise UserError(f"{path}: is not valid Python (it holds zero bytes); mend it") from None
    models = _run(code, module, file)
    losses = {value.__name__: value for value in vars(module).values() if is_registered(value)}
    plugin = Plugin(file, digest, module, models, losses)
    module.__dict__["__plugin__"] = plugin
    return plugin


def _run(code: Any, module: ModuleType, file: str) -> dict[str, Callable[..., Any]]:
    """Run a module's code; the models that it registers. Of one that fails nothing is left behind."""
    load_timm()
    from timm.models import _registry as registry

    kept, entries = _copied(registry), registry._model_entrypoints
    known = dict(entries)
    sys.modules[module.__name__] = module
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Overwriting")  # told below, in one line
            exec(code, module.__dict__)
        models = {name: entry for name, entry in entries.items() if known.get(name) is not entry}
        taken = next((name for name in models if name in known), None)
        if taken is not None:
            line = getattr(getattr(models[taken], "__code__", None), "co_firstlineno", 1)
            raise UserError(f"{file} line {line}: timm has a model `{taken}` already; give yours another name")
    except BaseException as error:
        _put_back(registry, kept)
        del sys.modules[module.__name__]
        if isinstance(error, Exception | SystemExit) and not isinstance(error, UserError):
            raise UserError(
                f"{file} line {_last_line(error, module.__file__) or 1}: {_in_words(error)}; mend it"
            ) from error
        raise
    return models


def _check_losses(found: list[Plugin]) -> None:
    """Raise UserError for a loss of a name that is taken. (Of a model's, its import tells.)"""
    holder = dict.fromkeys(LOSSES, "maskcli")
    for plugin in found:
        for name, function in plugin.losses.items():
            if name in holder:
                raise UserError(
                    f"{plugin.line(function)}: {holder[name]} has a loss `{name}` already; give yours another name"
                )
            holder[name] = plugin.file


def _check_kinds(plugins: Plugins, found: list[Plugin], kinds: list[list[PluginKind]]) -> None:
    """Raise UserError where files register nothing of the kind that their key is for, or what another key is for: DVC runs
    again what depends on the key."""
    for kind in PLUGIN_KINDS:
        of_kind = [plugin for plugin, own in zip(found, kinds, strict=True) if kind in own]
        path = plugins.path(kind)
        if path is not None and not any(getattr(plugin, kind) for plugin in of_kind):
            raise UserError(
                f"{path}: registers no {_one(kind)}; put {DECORATORS[kind]} before a function of it, or set plugins.{kind}: "
                f"{paths.NO_PLUGINS}"
            )
        for plugin in found:
            for name, function in getattr(plugin, kind).items():
                if plugin not in of_kind:
                    raise UserError(
                        f"{plugin.line(function)}: registers the {_one(kind)} `{name}`, and plugins.{kind} names another file; "
                        f"name {plugin.file} there, or move the {_one(kind)}"
                    )


def _one(kind: PluginKind) -> str:
    return "model" if kind == "models" else "loss"


def _module_name(path: Path) -> str:
    return PREFIX + "".join(letter if letter.isalnum() else "_" for letter in path.with_suffix("").as_posix())


def _forget(name: str) -> None:
    """Take an imported file out of the known modules, and its models out of timm's registry."""
    module = sys.modules.pop(name, None)
    plugin = None if module is None else module.__dict__.get("__plugin__")
    if plugin is None:
        return
    from timm.models import _registry as registry

    gone = {name, *plugin.models}
    for held in _tables(registry).values():
        for key in [key for key in held if key in gone or str(key).partition(".")[0] in gone]:
            held.pop(key) if isinstance(held, dict) else held.discard(key)


def _tables(registry: ModuleType) -> dict[str, Any]:
    """What timm's registry holds by model name; it has no way to take a model out again."""
    return {
        key: held
        for key, held in vars(registry).items()
        if key.startswith(("_model", "_module", "_deprecated")) and isinstance(held, dict | set)
    }


def _copied(registry: ModuleType) -> dict[str, Any]:
    return {
        key: {name: copy.copy(value) for name, value in held.items()} if isinstance(held, dict) else set(held)
        for key, held in _tables(registry).items()
    }


def _put_back(registry: ModuleType, kept: Mapping[str, Any]) -> None:
    for key, held in _tables(registry).items():
        held.clear()
        held.update(kept[key])


def _last_line(error: BaseException, file: str | None) -> int | None:
    """The last line of a file that an error came through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _in_words(error: BaseException) -> str:
    text = " ".join(str(error).split())[:LONGEST]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
