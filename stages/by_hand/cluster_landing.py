"""Where an experiment is trained: its results written by DVC from the checkpoints that have come, and brought to the project.

Only here, on the head, DVC writes. `dvc repro` finds every training finished in out/checkpoints and makes the outputs of it.
"""

from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from stages.base import git, paths, programs
from stages.base.files import read_json
from stages.base.talk import Talk
from stages.by_hand import cluster_dvc
from stages.by_hand.cluster_staging import Staged
from stages.learn import checkpoint, interrupt
from stages.learn.training_terms import Terms
from stages.parallel import side_by_side
from stages.parallel.local_processes import LocalProcesses
from stages.parallel.training_process import Order
from stages.params.schema import Params

Say = Callable[[str], None]


@dataclass(frozen=True)
class Landed:
    """name: of the experiment, "" of the workspace. commit: of the experiment. shortened: by the time limit."""

    name: str
    commit: str
    scores: dict[str, Any]
    shortened: bool


def land(staged: Staged, params: Params, until: datetime | None, talk: Talk) -> Landed:
    """Have DVC write what the checkpoints hold; the experiment then stands in the project beside all others.

    Raises UserError where DVC refuses; the checkpoints stay, and the same command lands them.
    """
    talk = replace(talk, say=lambda line: talk_of(staged, talk)(line))
    shortened = until is not None and _shortened(staged, params)
    if shortened:
        _write_by_hand(staged, params, until, talk)
    commit = ""
    if staged.experiment is None:
        if not shortened:
            cluster_dvc.run(["repro"], staged.folder, talk.say)
    else:
        commit = _experiment(staged, shortened, talk.say)
    scores = read_json(staged.folder / paths.OOF_METRICS, "oof-ensemble", "macro_f1")
    return Landed(staged.name, commit, scores, shortened)
