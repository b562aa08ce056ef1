"""refit: train on all the training photos, several seeds, and write a submission beside the fold ensemble's."""

from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json, write_npz
from stages.base.talk import SILENT, Talk, rate
from stages.by_hand import epochs, folds
from stages.data import photos, pseudo_labelled_photos
from stages.data.fold_data import FoldData, open_all
from stages.data.pixel_cache import Pixels, open_cache
from stages.data.task_and_classes import Task
from stages.judge import votes
from stages.learn import (
    checkpoint,
    cpu_threads,
    fit,
    inner_models,
    interrupt,
    learner,
    loader,
    model,
    objective,
    predict,
    run_key,
    starting_weights,
)
from stages.learn.around_training import Around
from stages.learn.checkpoint import Keeper
from stages.learn.inner_models import Search
from stages.learn.progress import Progress
from stages.learn.training_terms import Terms
from stages.parallel import side_by_side
from stages.parallel.side_by_side import Plan
from stages.parallel.training_process import Work
from stages.params.schema import Params
from stages.records import lr_json, run_record
from stages.submission import decision_rule, write
from stages.submission.decision_rule import Settled
from stages.submission.eval_predictions import answer, predict_views

VALIDATION = ("val_loss", "val_nll", "val_f1", "val_acc")  # columns of a fold's history that a refit cannot have


def run(params: Params, talk: Talk, fresh: bool = False) -> dict[str, Any]:
    """Write models/<seed>.safetensors, history.csv, summary.json and, where there is an eval set, submission.csv and
    probabilities.npz below out/refit; return what summary.json holds.

    Epochs, not steps, are those of the folds: warm-up, frozen epochs, drw and the schedule all count in epochs, so every
    photo is seen as often as in the folds while an epoch has k/(k-1) as many steps. Both are defensible (Goodfellow, Bengio
    & Courville 2016, Deep Learning, section 7.8); refit.epochs takes a number where one wants the other. The last epoch
    is kept, since nothing is left to choose one by: for the same reason there is no score. label_noise looks for wrong labels
    among all photos, once for all seeds. fresh: begin anew where there are checkpoints.
    """
    learner.check(params)
    check(params)
    passes = epochs.for_refit(params, talk) if params.refit.epochs == "auto" else params.refit.epochs
    own = params.model_copy(
        update={"train": params.train.model_copy(update={"epochs": passes, "patience": 0, "select": "last"})}
    )
    data = pseudo_labelled_photos.join(params, open_all(params), pseudo_labelled_photos.ALL, talk)
    objective.check(params, data.task)
    lr = lr_json.read(params).lr
    images = photos.read_eval()["ImageID"].to_numpy(str)
    # As tta-predict decides; without offsets the folds' run does not matter.
    of_folds = run_record.joined(params, talk, "refit").run if params.decision == "adjusted" else ""
    decided = decision_rule.settle(params, data.task, talk, of_folds)
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params) if len(images) else None
    data = _train(own, data, lr, talk, fresh)
    if not predict.accelerator(params).is_main_process:
        return {}
    summary = {
        "epochs": passes,
        "steps": passes * len(loader.training_split(data.train, params, predict.accelerator(params).num_processes)),
        "seeds": params.refit.seeds,
        "train_photos": len(data.train),
        "lr": lr,
        "eval_photos": len(images),
        "decision": decided.decision,
        "equal_answers": None if pixels is None else _answer(params, data.task, (images, pixels), decided, talk),
    }
    write_json(paths.REFIT_SUMMARY, summary)
    return summary


def _answer(
    params: Params, task: Task, eval_set: tuple[np.ndarray, Pixels], decided: Settled, talk: Talk
) -> float | None:
    """Predict the eval photos (names [N] and pixels), write their answers, and say what share tta-predict answers alike."""
    images, pixels = eval_set
    weights = [paths.refit_weights(seed) for seed in range(params.refit.seeds)]
    probabilities = votes.VOTES[params.ensemble.vote](predict_views(params, task, pixels, talk, weights))
    answers = answer(probabilities, decided.offsets)
    write_npz(paths.REFIT_PROBABILITIES, image=images, probabilities=probabilities.astype(np.float32))
    write.write(paths.REFIT_SUBMISSION, task, images, answers)
    return equal_answers(task, images, answers, paths.SUBMISSION)


def check(params: Params) -> None:
    """Raise UserError for what needs a validation side."""
    if params.schedule.name == "plateau":
        raise UserError(
            "params.yaml: schedule.name: plateau lowers the learning rate by val_nll, and a refit has no validation side; "
            "use cosine, onecycle or constant"
        )


def equal_answers(task: Task, images: np.ndarray, answers: np.ndarray, other: Path) -> float | None:
    """Share of the photos that another submission answers alike; None if it is not there, or has other photos."""
    if not other.exists():
        return None
    with suppress(UserError):  # damaged, or of another task
        theirs = write.read(other, task)["answer"]
        if list(theirs.index) == list(images):
            return float((theirs.to_numpy() == answers).mean())
    return None


def _train(params: Params, data: FoldData, lr: float, talk: Talk, fresh: bool) -> FoldData:
    """Train the seeds and write their weights, once all are trained; draws differ from every fold's, as a fold of its own would.
    Returns what was learnt from.

    Seeds train side by side into checkpoints, from which they are written here, and from which a refit that was cut off
    goes on. Where there is room for one only, and under `accelerate launch`, they train here, one after another.
    """
    accelerator = predict.accelerator(params)
    main = accelerator.is_main_process
    chosen = lr_json.read(params)
    record = run_key.record(params, lr, accelerator.num_processes, chosen.threads)
    run = record.run
    tables: list[pd.DataFrame] = []
    with ExitStack() as stack:
        stack.enter_context(cpu_threads.taken(lr_json.refit_threads(chosen, params)))
        here = stack.enter_context(interrupt.noted())
        asked = interrupt.agreed(here)
        stack.enter_context(checkpoint.alone("refit", run, talk, here) if main else nullcontext())
        if fresh and main:
            _forget_checkpoints(params, run)
        run_key.check_alike(record)
        search = _search(params, run, Around(talk if main else SILENT, interrupt=asked), fresh)
        data, _ = inner_models.borne(params, data, search)
        learnt = starting_weights.learnt(params, record, data)
        told = accelerator.num_processes == 1 and _side_by_side(params, chosen, talk)
        for seed in range(params.refit.seeds):
            around = Around(talk if main and not told else SILENT, interrupt=asked)
            progress = _fit_seed(params, data, seed, run, around)
            if not main:
                continue
            if not seed:
                _forget()
            shape = model.architecture(params, data.task)
            model.save(paths.refit_weights(seed), shape, progress.selected_state, record, learnt)
            tables.append(pd.DataFrame(progress.history).drop(columns=list(VALIDATION)).assign(seed=seed))
            write_csv(paths.REFIT_HISTORY, pd.concat(tables, ignore_index=True))
        if main:
            checkpoint.prune(len(params.folds), run, params.refit.seeds)
            checkpoint.prune(-1 - len(params.folds), run, params.label_noise.folds)
            inner_models.forget(params, search)
    return data


def _search(params: Params, run: str, around: Around, fresh: bool = False) -> Search:
    """For wrong labels among all photos."""
    fold, every = len(params.folds), params.checkpoint.minutes * 60
    main = predict.accelerator(params).is_main_process
    keeper = Keeper(run, fold, 0, params.train.epochs, every, writes=main, title="refit", command="maskcli refit")
    return Search(fold, lr_json.read(params).lr, keeper, around.talk, around.interrupt, fresh=fresh)


def _side_by_side(params: Params, chosen: lr_json.Settled, talk: Talk) -> bool:
    """Train all seeds into their checkpoints, as many at a time as folds; False, and nothing done, where that is one."""
    seeds = list(range(params.refit.seeds))
    jobs = min(folds.number_of_jobs(params), len(seeds))
    grows = folds.grows(params)
    if jobs == 1 and not grows:
        return False
    threads = dict.fromkeys(seeds, lr_json.refit_threads(chosen, params))
    work = Work(train_seed, {seed: _name(seed) for seed in seeds}, "refit seeds", "refit")
    side_by_side.run(params, talk, Plan(seeds, jobs, threads, work=work, gpus=folds.gpus_here(params), grows=grows))
    return True


def train_seed(params: Params, talk: Talk, seed: int, terms: Terms) -> None:
    """Train one seed, on from its checkpoint, and leave it there: what a process of its own does for `run`."""
    chosen = lr_json.read(params)
    torch.set_num_threads(lr_json.refit_threads(chosen, params))
    lr_json.check_device(chosen, predict.accelerator(params).device.type)
    run = run_key.record(params, chosen.lr, 1, chosen.threads).run
    with checkpoint.alone(_name(seed), run, talk, terms.stop):
        data = pseudo_labelled_photos.join(params, open_all(params), pseudo_labelled_photos.ALL, SILENT)
        data, _ = inner_models.borne(params, data, _search(params, run, Around(interrupt=terms.stop)))
        _fit_seed(params, data, seed, run, Around(talk, interrupt=terms.stop))


def _fit_seed(params: Params, data: FoldData, seed: int, run: str, around: Around) -> Progress:
    """Train a seed from its checkpoint, if it has one, to its end."""
    accelerator = predict.accelerator(params)  # a new one: the last one's model and gradients would stay in memory
    fold, lr, name, talk = len(params.folds), lr_json.read(params).lr, _name(seed), around.talk
    named = replace(talk, say=lambda line: talk.say(f"{name}: {line}"))
    made = learner.start(learner.of_repeat(params, seed), data, fold, lr, accelerator, named)
    every, main = params.checkpoint.minutes * 60, accelerator.is_main_process
    keeper = Keeper(run, fold, seed, params.train.epochs, every, writes=main, title=name, command="maskcli refit")
    of_seed = replace(around, keeper=keeper, on_epoch=lambda progress: named.say(_line(progress)))
    progress = of_seed.resume(made)
    if not progress.finished:
        progress = fit.fit(made, of_seed, progress)
    accelerator.free_memory()
    return progress


def _name(seed: int) -> str:
    return f"refit seed {seed}"


def _forget_checkpoints(params: Params, run: str) -> None:
    for seed in range(params.refit.seeds):
        paths.checkpoint(len(params.folds), seed, run).unlink(missing_ok=True)


def _forget() -> None:
    """Remove an earlier refit's files, once there is something to put in their place: no two refits are mixed."""
    earlier = [paths.REFIT_SUBMISSION, paths.REFIT_PROBABILITIES, paths.REFIT_SUMMARY]
    for path in [*earlier, *paths.REFIT_MODELS.glob("[!.]*.safetensors")]:
        path.unlink(missing_ok=True)


def _line(progress: Progress) -> str:
    row = progress.history[-1]
    return (
        f"epoch {row['epoch']:>2}  train_loss {row['train_loss']:.4f}  lr {row['lr']:.2e}  "
        f"{rate(row['photos_per_second'], 'photos')}"
    )
