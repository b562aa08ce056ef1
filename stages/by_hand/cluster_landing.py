"""Where an experiment is trained: its results written by DVC from the checkpoints that have come, and brought to the project.

Only here, on the head, DVC writes. `dvc repro` finds every training finished in out/checkpoints, and writes in seconds what it
has come to.
"""

from contextlib import chdir
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from stages.base import git, paths, programs
from stages.base.files import read_json
from stages.base.talk import Talk
from stages.by_hand import cluster_dvc, cluster_staging
from stages.by_hand.cluster_dvc import Say
from stages.by_hand.cluster_experiments import Experiment
from stages.by_hand.cluster_staging import Staged
from stages.learn import checkpoint, interrupt
from stages.learn.training_terms import Terms
from stages.parallel import checkout, side_by_side
from stages.parallel.local_processes import LocalProcesses
from stages.parallel.training_process import Order
from stages.params.schema import Params

WRITING = timedelta(hours=6)  # more than the outputs of finished trainings take


@dataclass(frozen=True)
class Landed:
    """name and commit: of the experiment; "" of the workspace. scores: metrics.json of oof-ensemble. shortened: by --until."""

    name: str
    commit: str
    scores: dict[str, Any]
    shortened: bool


def land(staged: Staged, params: Params, until: datetime | None, talk: Talk) -> Landed:
    """Have DVC write what the checkpoints hold, and an experiment stand in the project beside all others.

    Raises UserError where a stage fails; the checkpoints stay, and the same command lands them.
    """
    with chdir(staged.folder):
        shortened = until is not None and _was_shortened()
    if shortened:
        _take_as_trained(staged, params, talk)
    if staged.experiment is None:
        cluster_dvc.run(["repro"], staged.folder, talk.say)
    else:
        _run_experiment(staged, talk.say)
    scores = read_json(staged.folder / paths.OOF_METRICS, "oof-ensemble", "macro_f1")
    commit = _bring(staged, staged.experiment) if staged.experiment else ""
    return Landed(staged.name, commit, scores, shortened)


def _was_shortened() -> bool:
    run = checkout.record().run
    return any(header.run == run and header.limit for header in checkpoint.headers())


def _take_as_trained(staged: Staged, params: Params, talk: Talk) -> None:
    """Write the outputs of trainings that the time limit has shortened, and have DVC take them as they are: without the limit it
    would train them again."""
    until = datetime.now().astimezone() + WRITING  # a later moment keeps what an earlier one finished
    terms = Terms(until=until)
    orders = [Order(staged.folder, params, fold, None, terms, interrupt.heeded()) for fold in params.folds]
    side_by_side.report(side_by_side.run_on(LocalProcesses(), orders, talk, jobs=1))
    cluster_dvc.run(["commit", "--force", "train"], staged.folder, talk.say)


def _run_experiment(staged: Staged, say: Say) -> None:
    clone = ["git", "-C", str(staged.folder)]
    for ref in programs.run([*clone, "for-each-ref", "--format=%(refname)", "refs/exps"], staged.folder).split():
        programs.run([*clone, "update-ref", "-d", ref], staged.folder)  # of an earlier try that did not get this far
    programs.run([*clone, "add", "--all"], staged.folder)  # DVC wants no file to differ from git's index and from HEAD
    cluster_dvc.run(["exp", "run", "-n", staged.name], staged.folder, say)


def _bring(staged: Staged, experiment: Experiment) -> str:
    """Take the experiment's commit from its clone into the project, and its entry out of DVC's queue; the clone goes, with its
    checkpoints. Returns the commit."""
    ref = ref_of(experiment)
    git.ask("fetch", "-q", "--no-tags", "--no-write-fetch-head", str(programs.git_top(staged.folder)), f"+{ref}:{ref}")
    commit = git.ask("rev-parse", ref).decode().strip()
    if experiment.queued:
        programs.run([*programs.DVC, "queue", "remove", experiment.name], Path.cwd())
    cluster_staging.remove(experiment)
    return commit


def ref_of(experiment: Experiment) -> str:
    """What git calls an experiment, as DVC has it: by the commit that it starts from, and its name."""
    return f"refs/exps/{experiment.base[:2]}/{experiment.base[2:]}/{experiment.name}"
