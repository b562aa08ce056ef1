"""train: fit one fold, and predict its validation photos with the selected epoch and with the last one.

A training that was cut off goes on from its checkpoint (stages/learn/checkpoint.py). stages/by_hand/folds.py runs
several of these side by side.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch

from stages.base import environment, files, paths
from stages.base.errors import UserError
from stages.base.files import write_csv, write_json, write_npz
from stages.base.talk import SILENT, Talk
from stages.data import photos, pseudo_labelled_photos
from stages.data.fold_data import FoldData, open_fold
from stages.learn import (
    checkpoint,
    epoch_lines,
    fit,
    inner_models,
    interrupt,
    learner,
    model,
    predict,
    processes,
    run_key,
    short_training,
    starting_weights,
    time_limit,
)
from stages.learn.around_training import Around
from stages.learn.inner_models import Search
from stages.learn.interrupt import Interrupt
from stages.learn.losses import CORRECTING
from stages.learn.noise_robust import Found
from stages.learn.progress import Progress
from stages.learn.time_limit import Clock, Timing
from stages.learn.training_terms import BY_ITSELF, Terms
from stages.params.schema import Params
from stages.records import lr_json, run_record
from stages.records.learnt_photos import Learnt
from stages.records.run_record import Record
from stages.report.tensorboard import Board

SUSPECTS = ("file", "given", "suggested", "score", "action")


def run(params: Params, talk: Talk, fold: int | None, terms: Terms = BY_ITSELF) -> None:
    """Train a fold (None: all, one after the other) train.repeats times, each time with another seed.

    First run.json is written, which says what is run. history.csv is written after every epoch, TensorBoard events beside
    it; then the weights, one file a repeat, oof_logits.npz (run, photo [n], selected and last [repeats, n, C], predicted
    [repeats, epochs, n]), suspects.csv (what label_noise takes for wrong) and metrics.json.
    """
    learner.check(params)
    predict.accelerator(params)  # joins the processes of torchrun
    main = processes.place()[0] == 0
    talk = talk if main else SILENT
    _say_first(params, talk, several=fold is None)
    began = time_limit.process_began() if terms.taken_up is None else terms.taken_up
    startup = time.monotonic() - began + terms.imported
    timing = Timing(terms, began, startup, together=fold is None or terms.jobs > 1 or terms.taken_up is not None)
    with interrupt.noted() as noted:

        def here() -> bool:
            return noted() or terms.stop()

        process = Process(talk, timing, main, here, interrupt.agreed(here))
        for one in params.folds if fold is None else [fold]:
            _fold(params, one, process)
            if any(processes.of_all(here())):  # it came while the fold was being finished, which is written by now
                raise KeyboardInterrupt(f"fold {one} is done")


@dataclass(frozen=True)
class Process:
    """This process: what was asked of it, and whether it is the one that speaks and writes.

    Under `accelerate launch` every process trains its share of each batch; one of them is the main one.
    """

    talk: Talk  # silent in the others
    timing: Timing
    main: bool
    here: Interrupt  # whether this process was asked to stop
    asked: Interrupt  # whether any of those that share the batches was

    @property
    def speaks(self) -> bool:
        return self.main and self.timing.terms.outputs

    @property
    def writes(self) -> bool:
        return self.speaks and self.timing.terms.repeat is None


@dataclass(frozen=True)
class Fold:
    """A fold that is trained, and what its repeats have come to."""

    number: int
    params: Params
    data: FoldData
    lr: float
    record: Record
    suspects: Found | None = None  # photos of its training side that label_noise takes for wrong
    learnt: tuple[Learnt, ...] = ()  # what its weights say of the photos that they know
    done: list[Progress] = field(default_factory=list)


def _say_first(params: Params, talk: Talk, several: bool) -> None:
    if params.loss in CORRECTING and params.sampler != "none":
        talk.say(
            f"warning: loss {params.loss} and sampler {params.sampler} both correct for imbalance: rare classes count twice"
        )
    if several:
        listed = ", ".join(map(str, params.folds))
        talk.say(
            f"train: folds {listed}, one after the other; `maskcli folds` trains them side by side, to the same results"
        )


def _fold(params: Params, number: int, process: Process) -> None:
    """Train all repeats of one fold and write its outputs, unless another process has done so while this one waited for it."""
    data = pseudo_labelled_photos.join(params, open_fold(params, number), str(number), process.talk)
    chosen = lr_json.read(params)
    torch.set_num_threads(lr_json.threads(chosen, number, params))
    accelerator = predict.accelerator(params)
    lr_json.check_device(chosen, accelerator.device.type)
    record = run_key.record(params, chosen.lr, accelerator.num_processes, chosen.threads)
    fold = Fold(number, params, data, chosen.lr, record)
    with _alone(fold, process) as waited:
        run_key.check_alike(record)
        if processes.of_main(lambda: waited and process.writes and _written_meanwhile(fold)):
            folder = paths.TRAIN / str(number)
            process.talk.say(f"fold {number}: is done, its outputs in {folder} stand as that process wrote them")
            return
        only = process.timing.terms.repeat
        if process.main and only is None:
            checkpoint.prune(number, fold.record.run, params.train.repeats)
            checkpoint.prune(-1 - number, fold.record.run, params.label_noise.folds)
        processes.wait()
        timing = process.timing
        if not timing.together:  # all that comes before the first step comes again with every fold
            timing = replace(timing, startup=time.monotonic() - timing.began)
        process = replace(process, timing=timing)
        search = _search(fold, process)
        data, suspects = inner_models.borne(params, data, search)
        learnt = starting_weights.learnt(params, record, data)
        fold = replace(fold, data=data, suspects=suspects, learnt=learnt)
        for repeat in range(params.train.repeats) if only is None else [only]:
            _repeat(fold, repeat, process)
        if process.writes:
            with _taken_away(number):
                _write(fold)
        if process.main:
            inner_models.forget(params, search)


def _search(fold: Fold, process: Process) -> Search:
    """For wrong labels on the fold's training side, under the time limit that the fold has, once for all repeats."""
    params, timing = fold.params, process.timing
    keeper = timing.keeper(params, fold.record.run, fold.number, 0, checkpoint.headers())
    keeper.writes = process.main
    cost, folds = short_training.inner_cost(params), params.label_noise.folds

    def clock(number: int, validated: int) -> Clock | None:
        found = timing.clock(params, keeper, fold.data, checkpoint.headers(), folds - number)
        return found and replace(found, trainings=found.trainings / cost, validated_photos=validated)

    talk = process.talk if process.main else SILENT
    return Search(fold.number, fold.lr, keeper, talk, process.asked, clock, timing.terms.fresh)


def _repeat(fold: Fold, repeat: int, process: Process) -> None:
    """Train one repeat, on from its checkpoint where it has one, and write what it comes to.

    Without outputs only the checkpoint is left, from which `train` takes them later: then no model is built.
    """
    params = learner.of_repeat(fold.params, repeat)
    around = _around(fold, repeat, process)
    fresh = process.timing.terms.fresh
    finished = None if fresh else around.finished(params, len(fold.data.train))
    limit = fold.suspects.limit if fold.suspects else ""  # what it learns was shaped by that time limit, whatever comes
    if finished is not None:
        finished.limit = finished.limit or limit
        if process.writes:
            _begin_outputs(fold, repeat)
            with _taken_away(fold.number):
                _fit_and_write(fold, repeat, around, finished, lambda: finished)
        return
    accelerator = predict.accelerator(params)  # a new one: the last one's model and gradients would stay in memory
    made = learner.start(params, fold.data, fold.number, fold.lr, accelerator, process.talk)
    if process.writes:  # nothing of an earlier run is touched before this one can begin
        _begin_outputs(fold, repeat)
    progress = Progress() if fresh else around.resume(made)
    progress.limit = progress.limit or limit
    if process.writes:
        with _taken_away(fold.number):
            _fit_and_write(fold, repeat, around, progress, lambda: fit.fit(made, around, progress))
    else:
        name = f"{fold.number}.{repeat}"
        around.on_epoch = lambda now: around.talk.say(
            epoch_lines.epoch_line(name, now.history[-1], params.train.epochs)
        )
        fit.fit(made, around, progress)
    accelerator.free_memory()


def _around(fold: Fold, repeat: int, process: Process) -> Around:
    """What goes on around a repeat: its checkpoint, the time it may take, who may interrupt it, and who hears of it."""
    known = checkpoint.headers()
    keeper = process.timing.keeper(fold.params, fold.record.run, fold.number, repeat, known)
    keeper.writes = process.main
    clock = process.timing.clock(fold.params, keeper, fold.data, known)
    return Around(process.talk if process.speaks else SILENT, keeper, clock, process.asked)


def _fit_and_write(
    fold: Fold, repeat: int, around: Around, progress: Progress, trained: Callable[[], Progress]
) -> None:
    """Train one repeat, telling history.csv and TensorBoard of every epoch; write its weights, and add it to fold.done."""
    data, params = fold.data, learner.of_repeat(fold.params, repeat)
    with Board(paths.tensorboard(fold.number) / str(repeat)) as board:
        for row in progress.history:
            board.epoch(row)
        around.on_epoch = lambda now: _write_epoch(fold, now, board, around.talk)
        progress = trained()
        # Once, not every epoch: drawing it takes as long as a fifth of a small model's epoch.
        predicted = progress.selected_logits.argmax(1)
        board.confusion(data.labels[data.val], predicted, data.task.classes, progress.selected_epoch)
        board.hyperparameters(
            fold.record.params | {"lr": fold.lr, "seed": params.seed},
            progress.history[progress.selected_epoch - 1],
        )
    fold.done.append(progress)
    shape = model.architecture(params, data.task)
    model.save(paths.weights(fold.number, repeat), shape, progress.selected_state, fold.record, fold.learnt)
    around.talk.say(epoch_lines.closing_line(fold.number, progress))


@contextmanager
def _alone(fold: Fold, process: Process) -> Iterator[bool]:
    """See that no other program trains the fold in this folder; yields whether one was waited for."""
    if not process.main:
        yield False
        return
    only = process.timing.terms.repeat
    name = f"fold {fold.number}" + ("" if only is None else f" repeat {only}")
    lock = checkpoint.alone(name, fold.record.run, process.talk, process.here, wait=process.speaks)
    with lock as waited:
        yield waited


@contextmanager
def _taken_away(fold: int) -> Iterator[None]:
    """Say so where outputs that were begun cannot be written because somebody has removed what this training wrote.

    `dvc repro` does that before each stage that it runs, whoever is at work in the folder; then its own training of the fold
    waits for this one, and goes on from its checkpoint.
    """
    try:
        yield
    except UserError as error:
        if paths.train_run(fold).exists():
            raise
        raise UserError(
            f"{paths.TRAIN / str(fold)}: was removed while fold {fold} was trained, as `dvc repro` does before it trains a fold "
            "itself; this training stops here, and the same command goes on from its checkpoint"
        ) from error


def _written_meanwhile(fold: Fold) -> bool:
    """Whether the process that was waited for has written all of the fold's outputs: DVC may be reading them just now."""
    one = fold.number
    marked = [paths.train_run(one), paths.oof_logits(one)]
    marked += [paths.weights(one, repeat) for repeat in range(fold.params.train.repeats)]
    others = [paths.history(one), paths.suspects(one), paths.train_environment(one), paths.train_metrics(one)]
    others.append(paths.tensorboard(one))
    return all(run_record.mark_of(path) == fold.record.run for path in marked) and all(path.exists() for path in others)


def _begin_outputs(fold: Fold, repeat: int) -> None:
    """Before the first repeat, say whose outputs these will be. Weights and logits carry their run, so that those of an earlier
    one are told apart until they are replaced; what carries none is removed. metrics.json always is: it says that the fold is
    trained to its end (stages/by_hand/epochs.py), which it is not while the same run is trained again.
    """
    if repeat:
        return
    one, record = fold.number, fold.record
    shutil.rmtree(paths.tensorboard(one), ignore_errors=True)
    paths.train_metrics(one).unlink(missing_ok=True)
    if run_record.mark_of(paths.train_run(one)) != record.run:
        for path in (paths.history(one), paths.suspects(one), paths.train_environment(one)):
            path.unlink(missing_ok=True)
    run_record.write(paths.train_run(one), record)


def _write_epoch(fold: Fold, progress: Progress, board: Board, talk: Talk) -> None:
    """Write all repeats' history so far and the newest epoch's TensorBoard events, and say how it went."""
    row, repeat, params = progress.history[-1], len(fold.done), fold.params
    files.require(paths.train_run(fold.number), "train")  # else somebody has removed what this training wrote
    _write_history(fold, [*fold.done, progress])
    board.epoch(row)
    name = f"{fold.number}.{repeat}" if params.train.repeats > 1 else str(fold.number)
    talk.say(epoch_lines.epoch_line(name, row, params.train.epochs))


def _write_history(fold: Fold, repeats: list[Progress]) -> None:
    """All repeats' epochs. What was minimised stands beside its losses, which say nothing without it: of a loss of one's own its
    code too.
    """
    code = fold.record.data.get("losses")
    objective = f"{fold.params.objective}, code {code}" if code else fold.params.objective
    tables = [pd.DataFrame(known.history).assign(repeat=repeat) for repeat, known in enumerate(repeats)]
    table = pd.concat(tables, ignore_index=True).assign(objective=objective)
    write_csv(paths.history(fold.number), table)


def _write(fold: Fold) -> None:
    """The fold's predictions, metrics and environment. The history again: no epoch may have been left to train."""
    one, done, train = fold.number, fold.done, fold.params.train
    files.require(paths.train_run(one), "train")
    _remove_other_models(one, train.repeats)
    _write_history(fold, done)
    write_npz(
        paths.oof_logits(one),
        run=np.array(fold.record.run),
        photo=fold.data.val,
        selected=np.stack([progress.selected_logits for progress in done]),
        last=np.stack([progress.last_logits for progress in done]),
        predicted=np.stack([_padded(progress.predicted, train.epochs) for progress in done]),
    )
    write_json(paths.train_environment(one), environment.describe())
    write_csv(paths.suspects(one), _suspects(fold))
    write_json(paths.train_metrics(one), _metrics(done, len(fold.data.train), len(fold.data.val)) | _counts(fold))


def _remove_other_models(fold: int, repeats: int) -> None:
    """Weights left by an earlier run with more repeats would be taken for this run's."""
    kept = {paths.weights(fold, repeat) for repeat in range(repeats)}
    for path in paths.models(fold).glob("[!.]*.safetensors"):
        if path not in kept:
            path.unlink()


def _padded(predicted: list[np.ndarray], epochs: int) -> np.ndarray:
    """[epochs, n]: where training stopped early, its last epoch stands for those not run."""
    return np.stack(predicted + [predicted[-1]] * (epochs - len(predicted)))


def _suspects(fold: Fold) -> pd.DataFrame:
    """Photos that label_noise takes for wrong, the surest first: file, given and suggested class as training learns them
    (train_bins), score, and what was done. No rows without."""
    found, names = fold.suspects, np.array(fold.data.task.class_names, object)
    if found is None:
        return pd.DataFrame(columns=list(SUSPECTS))
    files_of = photos.read(fold.data.task)["file"].to_numpy(str)[found.which]
    given, suggested = names[fold.data.train_labels[found.which]], names[found.suggested]
    columns = (files_of, given, suggested, found.score, fold.params.label_noise.action)
    table = pd.DataFrame(dict(zip(SUSPECTS, columns, strict=True)))
    return table.sort_values("score", ascending=False, kind="stable")


def _counts(fold: Fold) -> dict[str, float]:
    """How many suspects there are, and what share of the training side is estimated to be wrong; nothing without label_noise."""
    found = fold.suspects
    if found is None:
        return {}
    return {"suspects": len(found.which), "estimated_wrong": found.estimated / max(1, found.looked)}


def _metrics(done: list[Progress], train: int, val: int) -> dict[str, float]:
    """Means over the repeats, of the selected and of the last epochs."""
    selected = pd.DataFrame([progress.history[progress.selected_epoch - 1] for progress in done]).mean()
    last = pd.DataFrame([progress.history[-1] for progress in done]).mean()
    names = ["val_f1", "val_nll", "val_loss", "val_acc", *(name for name in selected.index if name.endswith("_mae"))]
    return {
        "epoch": selected["epoch"],
        "epochs": last["epoch"],
        **{name: selected[name] for name in names},
        **{f"{name}_last": last[name] for name in names},
        "train_photos": train,
        "val_photos": val,
    }
