"""Which experiments `cluster run` is asked for: of DVC's queue, of a grid of changes, or the workspace as it is."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.base import claims, git, paths, programs
from stages.base.errors import UserError, nearest
from stages.params import yaml_text
from stages.params.keys import flat
from stages.params.load import parse
from stages.params.schema import Params

WRITTEN = ("out", paths.DVC_LOCK.name)  # by stages and by DVC: no change of the project
SHOWN = 3


@dataclass(frozen=True)
class Experiment:
    """One to be trained. base: the commit that it starts from. tree: a commit that holds its files, but for params.yaml; that
    is `content`. queued: its entry in DVC's queue is removed once it is done.
    """

    name: str
    base: str
    tree: str
    content: bytes
    queued: bool = False

    @property
    def params(self) -> Params:
        return parsed(self.content, self.name)


def of_queue(names: Sequence[str], everything: bool) -> list[Experiment]:
    """Those of DVC's queue that are named, or all that wait in it.

    Raises UserError where a name is not in the queue, or a worker of `dvc queue start` is at it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]}: is named twice; name each experiment once")
    try:
        with Repo() as repo:
            queue = repo.experiments.celery_queue
            waiting = {entry.name or entry.stash_rev[: git.SHORT]: entry for entry in queue.iter_queued()}
            active = bool(waiting) and bool(queue.worker_status())
    except DvcException as error:
        raise UserError(f"cluster run: DVC's queue cannot be read: {error}") from None
    wanted = list(waiting) if everything else list(names)
    for name in wanted:
        if name not in waiting:
            raise UserError(_not_queued(name, list(waiting)))
    if not wanted:
        raise UserError(
            "cluster run: DVC's queue is empty; put experiments there by `dvc exp run --queue -S loss=ce,focal`"
        )
    if active:
        raise UserError(
            "cluster run: a worker of `dvc queue start` takes from the same queue; `dvc queue stop` first, or both train the same"
        )
    found = []
    for name in wanted:
        entry = waiting[name]
        found.append(Experiment(name, entry.baseline_rev, entry.stash_rev, _params_of(entry.stash_rev), queued=True))
    for one in found:
        _ = one.params  # a value that cannot be is told before anything is trained
    return found


def of_grid(changes: Sequence[str], name: str, base: str, tree: str) -> list[Experiment]:
    """One for each combination of values, in DVC's own words for sweeps: `loss=ce,focal` and `train.epochs=range(5,20,5)`.

    base and tree: as of Experiment. name: of the only one, or with a number behind it; "": by its changes, always the same.
    Raises UserError, also for a value that params.yaml would not take.
    """
    content = _params_of(tree)
    combined = _combined(changes)
    names = [named(one) for one in combined]
    if name:
        names = [name] if len(combined) == 1 else [f"{name}-{number}" for number in range(1, len(combined) + 1)]
    for one in names:
        _check_name(one)
    twice = [one for one, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"-S: gives the experiment {twice[0]} twice; write each value once")
    found = [Experiment(one, base, tree, changed(content, over)) for one, over in zip(names, combined, strict=True)]
    for experiment in found:
        _ = experiment.params
    return found


def named(changes: Sequence[str]) -> str:
    """What an experiment is called by its changes, whoever trains it and whenever: `loss=focal+train.epochs=5`."""
    from dvc.utils.hydra import to_hydra_overrides

    values = {}
    for text, change in zip(changes, to_hydra_overrides(list(changes)), strict=True):
        value = None if change.is_delete() else change.value()
        plain = isinstance(value, str | int | float | bool | None)
        values[change.key_or_group] = value if plain else text.partition("=")[2]
    return claims.experiment_name(values)


def claimed_as(base: str, params: Params) -> str:
    """What an experiment is called to those who share a git remote: by the params that differ from those of the commit that it
    starts from, however it was named. Raises UserError.
    """
    before = git.read(base, paths.PARAMS) or b""
    old, new = (flat(one.model_dump(mode="json")) for one in (parsed(before, base[: git.SHORT]), params))
    return claims.experiment_name({key: value for key, value in new.items() if old.get(key, ...) != value})


def changed(content: bytes, changes: Sequence[str]) -> bytes:
    """params.yaml with the changes that DVC makes for `-S`. Raises UserError."""
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / paths.PARAMS.name
        path.write_bytes(content)
        try:
            apply_overrides(path, list(changes))
        except DvcException as error:
            raise UserError(_not_applied(changes, content, error)) from None
        return path.read_bytes()


def parsed(content: bytes, name: str) -> Params:
    source = Path(f"{name}: {paths.PARAMS}")
    return parse(yaml_text.read(content, source) or {}, source)


def uncommitted() -> list[str]:
    """Files of the project, but for what stages write, that differ from the newest commit or are not in it."""
    listed = git.ask("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".", *_but_written())
    found = [line[3:] for line in listed.decode(errors="surrogateescape").split("\0") if line]
    return [name.removeprefix(git.prefix()) for name in found]  # git names them from the top of the repository


def _but_written() -> list[str]:
    return [f":(exclude){name}" for name in WRITTEN]


def told(changed: Sequence[str]) -> str:
    """Some of the files by name: `params.yaml and 2 more`."""
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return ", ".join(changed[:SHOWN]) + more


def snapshot(everything: bool) -> str:
    """A commit, in no branch, of the workspace as it is on top of HEAD: of what stages write, or of `everything` that git does
    not ignore. HEAD where nothing differs. Raises UserError.
    """
    top, head = programs.git_top(Path.cwd()), git.resolve("HEAD")
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}  # not the workspace's own, which stays as it is

        def ask(*words: str) -> str:
            return programs.run(["git", *words], top, more=index).strip()

        ask("read-tree", head)
        names = [f"{git.prefix()}{name}" for name in WRITTEN if Path(name).exists()]
        ask("add", "--all", *([] if everything else ["--", *names]))
        tree = ask("write-tree")
        if tree == ask("rev-parse", f"{head}^{{tree}}"):
            return head
        return ask(*git.signed(), "commit-tree", tree, "-p", head, "-m", "maskcli cluster run: the workspace as it was")


def _params_of(commit: str) -> bytes:
    content = git.read(commit, paths.PARAMS)
    if content is None:
        raise UserError(f"{commit[: git.SHORT]}: has no {paths.PARAMS}; `git add {paths.PARAMS}` and commit it")
    return content


def _combined(changes: Sequence[str]) -> list[list[str]]:
    from dvc.exceptions import DvcException
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import get_hydra_sweeps
    from hydra.errors import HydraException

    try:
        by_file = to_path_overrides(changes)
        other = [name for name in by_file if name != paths.PARAMS.name]
        if other:
            raise UserError(f"-S: {other[0]} is no file of params here; write -S key=value for params.yaml")
        return [list(one[paths.PARAMS.name]) for one in get_hydra_sweeps(by_file)]
    except (DvcException, HydraException) as error:
        line = " ".join(str(error).split())
        raise UserError(f"-S {' '.join(changes)}: {line}; write key=value, as -S loss=ce,focal") from None


def _not_applied(changes: Sequence[str], content: bytes, error: Exception) -> str:
    known = flat(yaml_text.read(content, paths.PARAMS) or {})
    for change in changes:
        key = change.partition("=")[0].lstrip("+~")
        if key not in known and not any(one.startswith(f"{key}.") for one in known):
            return f"-S {change}: params.yaml has no `{key}`{nearest(key, known)}"
    reason = " ".join(str(error.__cause__ or error).split())
    return f"-S {' '.join(changes)}: {reason}"


def _not_queued(name: str, waiting: list[str]) -> str:
    if any(ref.name == name and ref.base for ref in git.refs()):
        return f"{name}: is an experiment that has run; `maskcli compare HEAD {name}` looks at it"
    there = f"; it has {', '.join(waiting)}" if waiting else ", which is empty"
    return f"{name}: is not in DVC's queue{there}; `dvc exp run --queue -n {name} -S key=value` puts it there"


def _check_name(name: str) -> None:
    if not name or git.run("check-ref-format", f"refs/exps/00/{name}") is None or "/" in name:
        raise UserError(f"-n {name}: is no name that git takes; write letters, digits, - and _")
