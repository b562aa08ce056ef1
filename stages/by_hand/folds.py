"""folds: train several folds side by side, each in a process of its own, under one progress display.

A fold comes out as if it had been trained alone: everything random follows from (seed, fold, epoch, step), and its number
of threads, which rounding follows, is that of lr-find whatever runs beside it. A fold that fails leaves the others running.
"""

import datetime
from collections.abc import Sequence

from stages.base import cores
from stages.base.errors import UserError
from stages.base.talk import Talk
from stages.parallel import gpus, side_by_side
from stages.parallel.side_by_side import Plan
from stages.params.schema import Params
from stages.records import lr_json


def run(
    params: Params,
    talk: Talk,
    jobs: int | None = None,
    only: Sequence[int] | None = None,
    fresh: bool = False,
    until: datetime.datetime | None = None,
) -> None:
    """Train the folds `only` (None: all), `jobs` at a time (None: as parallel.jobs says); a finished one costs nothing.

    Raises UserError, once all others are done, if a fold failed. Ctrl-C leaves a checkpoint of each running fold.
    """
    wanted = list(params.folds) if only is None else list(dict.fromkeys(only))
    unknown = sorted(set(wanted) - set(params.folds))
    if unknown:
        raise UserError(f"--only {unknown[0]}: params.yaml has folds {list(params.folds)}; name some of them")
    # Under a time limit the first fold, which would reckon with none beside it, would get the least.
    more = not _limited(params, until) and jobs is None and grows(params)
    of_each, here = threads(params), gpus_here(params)
    plan = Plan(wanted, jobs or number_of_jobs(params), of_each, fresh=fresh, until=until, gpus=here, grows=more)
    side_by_side.run(params, talk, plan)


def ahead(params: Params, talk: Talk, fold: int, fresh: bool, until: datetime.datetime | None) -> bool:
    """Train one fold, and on the cores that it leaves free the others, as far as they come, into out/checkpoints.

    With a time limit the others are trained to their end, so that all share the time as in `run`, and the processes that
    take them from their checkpoints have it ready; so they are, too, where they take turns on a GPU, whose process is ready for
    the next as no new one would be. False, and nothing done, where there is no room for more than one fold,
    and where this one has been trained so.
    """
    jobs, turns = number_of_jobs(params), in_turn(params)
    if (jobs == 1 and not turns) or fold not in params.folds:
        return False
    if turns and not fresh and _trained(params, fold, until):
        return False
    start = params.folds.index(fold)
    others = (*params.folds[start + 1 :], *params.folds[:start])
    jobs, of_each, here = min(jobs, len(others) + 1), threads(params), gpus_here(params)
    plan = Plan([fold], jobs, of_each, others, fresh=fresh, until=until, gpus=here, to_the_end=turns)
    side_by_side.run(params, talk, plan)
    return True


def number_of_jobs(params: Params) -> int:
    """parallel.jobs; for auto, on a CPU as many folds as have cores, on GPUs one each (see `grows`)."""
    if params.parallel.jobs != "auto":
        return params.parallel.jobs
    return (
        max(1, len(gpus_here(params))) if on_gpu(params) else max(1, cores.available() // min(threads(params).values()))
    )


def grows(params: Params) -> bool:
    """Whether a GPU takes further trainings, as far as its memory goes."""
    return on_gpu(params) and params.parallel.jobs == "auto" and not in_turn(params)


def in_turn(params: Params) -> bool:
    """Whether trainings take turns on a GPU: one whose steps are captured as CUDA graphs fills it by itself."""
    if lr_json.read(params).device != "cuda":
        return False
    from stages.learn import captured_step  # imports torch

    return captured_step.wanted(params)


def _trained(params: Params, fold: int, until: datetime.datetime | None) -> bool:
    """Whether the fold's checkpoints have finished, so that only its outputs are to be written."""
    from stages.learn import checkpoint, run_key, time_limit

    limit = time_limit.asked(params, until)
    finished = {
        (header.repeat, header.run)
        for header in checkpoint.headers()
        if header.fold == fold and header.finished and checkpoint.same_limit(header.limit or limit, True, limit)
    }
    if len(finished) < params.train.repeats:
        return False
    chosen = lr_json.read(params)
    run = run_key.record(params, chosen.lr, 1, chosen.threads).run
    return all((repeat, run) in finished for repeat in range(params.train.repeats))


def _limited(params: Params, until: datetime.datetime | None) -> bool:
    return until is not None or params.budget.minutes > 0


def threads(params: Params) -> dict[int, int]:
    """Threads of each fold."""
    found = lr_json.read(params)
    return {fold: lr_json.threads(found, fold, params) for fold in params.folds}


def gpus_here(params: Params) -> tuple[str, ...]:
    """The GPUs to deal folds out to; empty on a CPU."""
    return gpus.listed() if on_gpu(params) else ()


def on_gpu(params: Params) -> bool:
    """As lr-find found it; each training sees whether that holds here (`settled.check_device`)."""
    return lr_json.read(params).device not in ("", "cpu")
