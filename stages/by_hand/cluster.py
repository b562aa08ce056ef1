"""cluster run: train folds, repeats and experiments on the nodes of a Ray cluster, or side by side on this machine.

Workers only train; their checkpoints land here, in the workspace or in the clone that each experiment has, and DVC, which runs
nowhere else, finds all trained. So `dvc repro` has nothing left to do, and experiments stand where `dvc exp run` puts them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from stages.base import claims, dvc_cache, git, gpu, paths
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.by_hand import claim, cluster_experiments, cluster_landing, cluster_staging, folds
from stages.by_hand.cluster_experiments import Experiment
from stages.by_hand.cluster_landing import Landed
from stages.by_hand.cluster_sending import Sender
from stages.by_hand.cluster_staging import Staged
from stages.learn import interrupt
from stages.learn.training_terms import Terms
from stages.parallel import gpus, side_by_side
from stages.parallel.checkout import Checkout
from stages.parallel.engine import Engine, Training
from stages.parallel.gpus import Gpus
from stages.parallel.local_processes import LocalProcesses
from stages.parallel.training_process import Order
from stages.params.load import load
from stages.params.schema import Params

OF_NODES = "see what ails those machines"
AGAIN = "run the same command again: it goes on from there"


@dataclass(frozen=True)
class Asked:
    """What a person asks for. names: of experiments in DVC's queue. queued: all that are in it. changes: as of `dvc exp run -S`.
    name: of the experiments that these make. address: of a Ray cluster; None: this machine. shared: a folder that all nodes
    see. git_remote: from which nodes fetch the revision; "": it is sent. claim: the git remote on which experiments are
    claimed; "": none. jobs: trainings at a time; None: on this machine as parallel.jobs says, on a cluster as many as it has
    room for.
    """

    names: Sequence[str] = ()
    queued: bool = False
    changes: Sequence[str] = ()
    name: str = ""
    address: str | None = None
    gpus_per_fold: float | None = None
    shared: Path | None = None
    git_remote: str = ""
    claim: str = ""
    dirty: bool = False
    until: datetime | None = None
    jobs: int | None = None


@dataclass
class Found:
    """What has come of it. failed: one line by name, "" the workspace. left_out: experiments, and why."""

    landed: list[Landed] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def problem(self) -> str:
        """One line that tells what failed; empty where nothing has."""
        if not self.failed:
            return ""
        told = "; ".join(
            f"{name}: {error.removeprefix(f'{name} ')}" if name else error for name, error in self.failed.items()
        )
        kept = f"; {len(self.landed)} done and kept" if self.landed else ""
        return f"{told}{kept}" + ("" if len(self.failed) == 1 and not kept else f"; {AGAIN}")


@dataclass(frozen=True)
class Ready:
    """What is prepared for training: its folder, its params, CPU threads of each fold, how many train at a time on this machine,
    and what other machines need."""

    staged: Staged
    params: Params
    threads: Mapping[int, int]
    jobs: int
    checkout: Checkout | None

    def orders(self, until: datetime | None) -> list[Order]:
        """One a fold and repeat; one a fold where models that doubt labels come first, once for all of its repeats."""
        several = self.params.train.repeats > 1 and self.params.label_noise.is_off
        repeats: list[int | None] = [*range(self.params.train.repeats)] if several else [None]
        return [self._order(fold, repeat, until) for repeat in repeats for fold in self.params.folds]

    def _order(self, fold: int, repeat: int | None, until: datetime | None) -> Order:
        return Order(
            self.staged.folder,
            self.params,
            fold,
            None,
            Terms(until=until, outputs=False, repeat=repeat),
            interrupt.heeded(),
            checkout=self.checkout,
            cores=self.threads[fold],
            experiment=self.staged.name,
        )


def run(asked: Asked, talk: Talk) -> Found:
    """Train what is asked for and have DVC write the results; what fails leaves the rest running.

    Raises UserError where nothing can begin, KeyboardInterrupt once all that runs has written a checkpoint.
    """
    _check(asked)
    found, sender = Found(), Sender(asked.git_remote)
    _refuse_uncommitted(asked)
    experiments = _experiments(asked)
    if experiments is not None:
        experiments = _not_yet_run(experiments, found)
        if not experiments:
            return found
    with ExitStack() as held:
        for name in [""] if experiments is None else [one.name for one in experiments]:
            held.enter_context(cluster_staging.alone(name))
        engine = _engine(asked)
        held.callback(engine.close, [])  # also where it comes to no training
        experiments = experiments and _claimed(experiments, asked, found)
        ready = _made_ready(experiments, asked, sender, talk, found)
        for one, trainings in zip(ready, _trained(ready, asked, engine, talk), strict=True):
            with _noting(one.staged.name, found):
                side_by_side.report(trainings, side_by_side.FEWER if asked.address is None else OF_NODES)
                told = replace(talk, say=_saying(one.staged, talk))
                found.landed.append(cluster_landing.land(one.staged, one.params, asked.until, told))
    return found


def _check(asked: Asked) -> None:
    """Raise UserError where an option would do nothing, or two contradict each other."""
    queue = bool(asked.names or asked.queued)
    if asked.changes and queue:
        raise UserError("cluster run: takes experiments of DVC's queue, or -S for others, not both; run it twice")
    if asked.name and not asked.changes:
        raise UserError(f"-n {asked.name}: names an experiment, which -S makes; add -S key=value, or leave -n out")
    if asked.claim and not asked.changes and not queue:
        raise UserError(f"--claim {asked.claim}: experiments are claimed, not the workspace; add -S, or leave it out")
    if asked.dirty and queue:
        raise UserError("--dirty: DVC's queue has taken along what was not committed when it was filled; leave it out")
    of_nodes = {"--shared": asked.shared, "--git-remote": asked.git_remote, "--gpus-per-fold": asked.gpus_per_fold}
    for option, value in of_nodes.items():
        if asked.address is None and value not in (None, ""):
            raise UserError(f"{option} {value}: is said of the nodes of a cluster; add --address, or leave it out")


def _refuse_uncommitted(asked: Asked) -> None:
    """Raise UserError where what would be trained elsewhere is not what the workspace shows."""
    here = asked.address is None and not asked.changes
    if asked.dirty or here or asked.names or asked.queued:  # DVC's queue has taken the workspace as it was then
        return
    if changed := cluster_experiments.uncommitted():
        raise UserError(
            f"{cluster_experiments.told(changed)}: not committed, so no clone has it; commit, or add --dirty, which sends the "
            "workspace as it is, as a commit of its own in no branch"
        )


def _experiments(asked: Asked) -> list[Experiment] | None:
    """None: the workspace is trained. Raises UserError."""
    if asked.names or asked.queued:
        return cluster_experiments.of_queue(asked.names, asked.queued)
    if asked.changes:
        tree = cluster_experiments.snapshot(everything=asked.dirty)
        return cluster_experiments.of_grid(asked.changes, asked.name, git.resolve("HEAD"), tree)
    return None


def _not_yet_run(experiments: list[Experiment], found: Found) -> list[Experiment]:
    """Those that are not here, finished. Raises UserError where another experiment has the name."""
    left = []
    for one in experiments:
        commit = git.run("rev-parse", "--verify", "--quiet", cluster_landing.ref_of(one))
        content = git.read(commit.decode().strip(), paths.PARAMS) if commit else None
        if content is None:
            left.append(one)
        elif cluster_experiments.parsed(content, one.name) == one.params:
            found.left_out[one.name] = f"has run already; `dvc exp remove {one.name}` first, to have it trained again"
        else:
            raise UserError(
                f"{one.name}: another experiment here is called so, with other params; name this one by -n, or remove that one: "
                f"`dvc exp remove {one.name}`"
            )
    return left


def _claimed(experiments: list[Experiment], asked: Asked, found: Found) -> list[Experiment]:
    """Those that nobody else has claimed on the remote, claimed now."""
    left = []
    for one in experiments:
        holder = (
            claims.claim(asked.claim, cluster_experiments.claimed_as(one.base, one.params), one.base, one.tree)
            if asked.claim
            else None
        )
        if holder is None:
            left.append(one)
        else:
            found.left_out[one.name] = f"is claimed by {claim.in_words(holder)}"
    return left


def _made_ready(
    experiments: list[Experiment] | None, asked: Asked, sender: Sender, talk: Talk, found: Found
) -> list[Ready]:
    """A folder for each experiment (None: the workspace itself) in which all that comes before training has run."""
    ready: list[Ready] = []
    wanted: Sequence[Experiment | None] = [None] if experiments is None else experiments
    for one in wanted:
        with _noting(one.name if one else "", found):
            if one:
                talk.say(f"{one.name}: makes its clone of the project")
            staged = cluster_staging.made(one) if one else Staged("", Path.cwd())
            cluster_staging.prepare(staged, _saying(staged, talk))
            with chdir(staged.folder):
                params = load()
                threads = folds.threads(params)
                jobs = asked.jobs or folds.number_of_jobs(params)
            sent = None if asked.address is None else sender.checkout(staged, asked.dirty)
            if sent and asked.shared:  # made here: this machine has the photos
                sent.made(asked.shared.resolve(), _saying(staged, talk), dvc_cache.folder())
            ready.append(Ready(staged, params, threads, jobs, sent))
    return ready


def _trained(ready: list[Ready], asked: Asked, engine: Engine, talk: Talk) -> list[list[Training]]:
    """How the trainings of each have ended, all of them at a time under one display."""
    if not ready:
        return []
    ordered = [one.orders(asked.until) for one in ready]
    jobs = min(one.jobs for one in ready) if asked.address is None else asked.jobs
    ended = iter(side_by_side.run_on(engine, [order for orders in ordered for order in orders], talk, jobs))
    return [[next(ended) for _ in orders] for orders in ordered]


def _engine(asked: Asked) -> Engine:
    """Where trainings run. Raises UserError where no cluster answers."""
    if asked.address is None:
        here = gpus.listed() if gpu.usable() else ()
        return LocalProcesses(gpus=Gpus(here) if here else None)
    from stages.parallel.ray_engine import RayEngine

    as_here = float(gpu.usable())  # as lr-find has it
    of_each = as_here if asked.gpus_per_fold is None else asked.gpus_per_fold
    return RayEngine(asked.address, of_each, asked.shared.resolve() if asked.shared else None)


def _saying(staged: Staged, talk: Talk) -> Callable[[str], None]:
    return (lambda line: talk.say(f"{staged.name}: {line}")) if staged.name else talk.say


@contextmanager
def _noting(name: str, found: Found) -> Iterator[None]:
    """What fails of one experiment leaves the others to go on."""
    try:
        yield
    except UserError as error:
        found.failed[name] = str(error)
