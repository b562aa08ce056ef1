"""Which experiments `cluster run` is asked for: of DVC's queue, of a grid of changes, or the workspace as it is."""

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from stages.base import git, paths
from stages.base.errors import UserError, nearest
from stages.params.keys import flat
from stages.params.load import parse
from stages.params.schema import Params
from stages.params import yaml_text

LONGEST = 100  # letters of a name: git keeps it as a file's name
OUTPUTS = (":(exclude)out", ":(exclude)dvc.lock")  # what stages write themselves is no change of a project
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
        raise UserError("cluster run: DVC's queue is empty; put experiments there by `dvc exp run --queue -S loss=ce,focal`")
    if active:
        raise UserError(
            "cluster run: a worker of `dvc queue start` takes from the same queue, and would train the same; `dvc queue stop` first"
        )
    found = []
    for name in wanted:
        entry = waiting[name]
        content = git.ask("cat-file", "blob", f"{entry.stash_rev}:{git.prefix()}{paths.PARAMS}")
        found.append(Experiment(name, entry.baseline_rev, entry.stash_rev, content, queued=True))
    for one in found:
        _ = one.params  # a value that cannot be is told before anything is trained
    return found


def of_grid(changes: Sequence[str], name: str, base: str, tree: str) -> list[Experiment]:
    """One for each combination of values, in DVC's own words for sweeps: `loss=ce,focal` and `train.epochs=range(5,20,5)`.

    base and tree: as of Experiment. name: of the only one, or with a number behind it; "": by its changes, always the same.
    Raises UserError, also for a value that params.yaml would not take.
    """
    content = git.ask("cat-file", "blob", f"{tree}:{git.prefix()}{paths.PARAMS}")
    combined = _combined(changes)
    names = [named(one) for one in combined]
    if name:
        names = [name] if len(combined) == 1 else [f"{name}-{number}" for number in range(1, len(combined) + 1)]
    for one in names:
        _check_name(one)
    twice = [one for one, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"-S: gives the experiment {twice[0]} twice; write each value once")
    found = [
        Experiment(one, base, tree, changed(content, over)) for one, over in zip(names, combined, strict=True)
    ]
    for experiment in found:
        _ = experiment.params
    return found


def named(changes: Sequence[str]) -> str:
    """What an experiment is called by its changes, whoever trains it and whenever: `loss-focal_train.epochs-5`."""
    text = "_".join(sorted(changes))
    plain = re.sub(r"[^\w.+]+", "-", text, flags=re.ASCII).strip("-.")
    plain = re.sub(r"\.{2,}", ".", plain)
    if len(plain) <= LONGEST and not plain.endswith(".lock"):
        return plain
    return f"{plain[: LONGEST - 9].rstrip('.-')}-{blake2b(text.encode(), digest_size=4).hexdigest()}"


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
    listed = git.ask("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".", *OUTPUTS)
    return [line[3:] for line in listed.decode(errors="surrogateescape").split("\0") if line]


def told(changed: Sequence[str]) -> str:
    """Some of the files by name: `params.yaml and 2 more`."""
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return ", ".join(changed[:SHOWN]) + more


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
