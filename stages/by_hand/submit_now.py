"""submit-now: a valid submission from whatever folds and epochs exist at this moment, also while training runs elsewhere.

A fold that has finished gives its model, one that is under way the model of its best checkpoint. Where there is no
model at all, every answer is the most common class: a poor submission, and a valid one.
"""

import contextlib
import itertools
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_json, write_json
from stages.base.talk import Talk
from stages.data import photos, pixel_cache
from stages.data import task_and_classes as tasks
from stages.data.task_and_classes import Task
from stages.judge import votes
from stages.learn import checkpoint, model, plugins, predict
from stages.learn.checkpoint import DamagedCheckpoint
from stages.learn.device_memory import out_of_memory
from stages.learn.model import Classifier
from stages.params.schema import Params
from stages.records import run_record
from stages.records.run_record import Record
from stages.submission import decision_rule, write
from stages.submission.eval_predictions import answer

LEAST = 0.8  # of the finished models' median val_f1: an unfinished model below it would spoil the vote
SMALL_BATCH = 32  # photos, on the CPU after the GPU had no room


@dataclass(frozen=True)
class Source:
    """One model that may join."""

    fold: int
    repeat: int
    state: str  # `finished`, or how far it has come
    file: str
    val_f1: float | None  # None: finished, its metrics not written yet
    used: bool = True
    reason: str = ""  # why it is left out
    run: str = ""  # the run key, as the file carries it


@dataclass
class Predictor:
    """Predicts eval photos, one model after the other."""

    params: Params
    task: Task
    images: list[str]
    folder: Path  # for photos decoded again
    talk: Talk
    on_cpu: bool = False  # since the GPU had no room for it
    pixels: dict[str, pixel_cache.Pixels] = field(default_factory=dict)


def run(params: Params, talk: Talk) -> dict[str, Any]:
    """Write out/submit-now/submission.csv and made_of.json; return what the latter says.

    A model that cannot be used for whatever reason is left out, with the reason. DVC's own submission in out/tta-predict is
    left alone. Raises UserError only if there is no eval photo, or if no model can answer and an earlier submission stands there
    that models made.
    """
    task, images = _eval_set(params)
    joined, left_out, probabilities = _predicted(params, task, images, talk)
    if joined:
        _tell_run(params, joined[0].run, talk)
        voted = votes.VOTES[params.ensemble.vote](np.stack(probabilities))
        run = run_record.joint({source.run for source in joined})
        answers = answer(voted, _offsets(params, task, run, talk))
    else:
        _keep_earlier(task, images, left_out)
        answers = np.full(len(images), _most_common_class(params, task))
    write.write(paths.NOW_SUBMISSION, task, np.array(images), answers)
    made = {
        "submission": str(paths.NOW_SUBMISSION),
        "answers": len(images),
        "models": [asdict(source) for source in joined],
        "left_out": [asdict(source) for source in left_out],
        "folds_missing": sorted(set(params.folds) - {source.fold for source in joined}),
        "views": list(params.tta.views),
        "vote": params.ensemble.vote,
    }
    write_json(paths.NOW_SOURCES, made)
    _tell_other_eval_set(params, images, talk)
    return made


def _keep_earlier(task: Task, images: list[str], left_out: list[Source]) -> None:
    """Raise UserError where a submission of these photos stands there that models made: the most common class is worse."""
    try:
        models = read_json(paths.NOW_SOURCES, "submit-now")["models"]
        answered = write.read(paths.NOW_SUBMISSION, task).index.tolist()
    except (UserError, OSError, KeyError, TypeError):  # none is there, or it is of another task
        return
    if models and answered == images:
        why = f" ({left_out[0].reason})" if left_out else ""
        told = f"submit-now: no model can answer now{why}; {paths.NOW_SUBMISSION} stays, by {len(models)} model(s) that could"
        raise UserError(f"{told}; mend that, or remove the file")


def _tell_other_eval_set(params: Params, images: list[str], talk: Talk) -> None:
    """Say where the data has other eval photos by now, or in another order, than prepare has seen. (A photo that is not there any
    more is none: its pixels are.)
    """
    try:
        found = photos.find(params)
    except UserError:
        return
    listed = found.eval["ImageID"].astype(str).tolist()
    if listed == images or (found.eval_faults and set(listed) <= set(images)):
        return
    talk.say(
        f"warning: submit-now: these are answers to the {len(images)} eval photos that prepare saw, in that order; now the data "
        f"lists {len(listed)}, others or in another order: run `maskcli prepare`, then `maskcli submit-now` again"
    )


def _predicted(
    params: Params, task: Task, images: list[str], talk: Talk
) -> tuple[list[Source], list[Source], list[np.ndarray]]:
    """The models that answer, those left out, and the former's probabilities [N, C] under each view."""
    everything = sources(params)
    places = [list(group) for _, group in itertools.groupby(everything, lambda source: (source.fold, source.repeat))]
    probabilities: list[np.ndarray] = []
    joined: list[Source] = []
    left_out: list[Source] = []
    # On Windows a file cannot be removed while it is mapped.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        predictor = Predictor(_with_importable(params, talk), task, images, Path(folder), talk)
        for candidates in talk.track(places, len(places), "predict eval photos"):
            for source in candidates:
                if not source.used:  # nor are those after it, which are weaker
                    left_out.append(source)
                    break
                predicted, reason = _try(predictor, source)
                if predicted:
                    probabilities += predicted
                    joined.append(source)
                    break
                left_out.append(replace(source, used=False, reason=reason))
            # A finished model that does not answer is told also where another one does in its place.
            left_out += [one for one in candidates if one.state == "finished" and not one.used and one not in left_out]
        predictor.pixels.clear()
    return joined, left_out, probabilities


def sources(params: Params) -> list[Source]:
    """The models of params.folds that there are, by fold and repeat; of one fold and repeat the one to try first comes first.

    First the finished model, then the checkpoints of all runs, that of the highest val_f1 first: the newest run may have
    only just begun. Checkpoints of repeats that params no longer ask for are not looked at. Models of one training are
    used, that which has most folds: two methods would be one submission that no OOF score is of.
    """
    finished = [
        Source(
            *(int(path.parts[-3]), int(path.stem), "finished", str(path), _finished_f1(int(path.parts[-3]))),
            run=run_record.mark_of(path) or run_record.mark_of(paths.train_run(int(path.parts[-3]))) or "",
        )
        for path in sorted(paths.TRAIN.glob("*/models/[0-9]*.safetensors"))
        if path.parts[-3].isdigit() and int(path.parts[-3]) in params.folds and path.stem.isdigit()
    ]
    known = [header for header in checkpoint.headers() if header.fold in params.folds]  # newest first
    running = [
        Source(
            header.fold,
            header.repeat,
            f"epoch {header.epoch} of {header.epochs}"
            + ("" if header.run == known[0].run else ", of another run than the newest"),
            str(paths.checkpoint(header.fold, header.repeat, header.run)),
            header.val_f1,
            run=header.run,
        )
        for header in sorted(known, key=lambda header: -header.val_f1)
        if header.epoch and header.repeat < params.train.repeats
    ]
    best = {(source.fold, source.repeat): source.val_f1 or 0.0 for source in reversed(running)}
    scores = [source.val_f1 for source in finished if source.val_f1 is not None]
    whose = "finished models'" if scores else "unfinished models'"
    usual = float(np.median(scores or list(best.values()) or [0.0]))
    weak = f"below {LEAST} of the {whose} median val_f1 {usual:.4f}: it would spoil the vote"
    running = [
        source if (source.val_f1 or 0.0) >= LEAST * usual else replace(source, used=False, reason=weak)
        for source in running
    ]
    return _of_one_training(params, finished + running)


def _of_one_training(params: Params, found: list[Source]) -> list[Source]:
    """The sources with those left out that are of another training than most; these come last in their fold and repeat."""
    records = _records(params)

    def training(run: str) -> str:
        """Runs that differ in code or libraries alone are one; of a run without a record nothing is known but its key."""
        alike = [key for key, record in records.items() if not run_record.differing(record, records.get(run, record))]
        return min(alike) if run in records else run

    def worth(name: str) -> tuple[int, bool, int, float]:
        own = [source for source in found if source.used and training(source.run) == name]
        asked = name in records and not run_record.not_asked(params, records[name])
        scores = [source.val_f1 or 0.0 for source in own]
        places = len({(source.fold, source.repeat) for source in own})
        return places, asked, sum(source.state == "finished" for source in own), float(np.median(scores or [0.0]))

    chosen = max({training(source.run) for source in found}, key=worth, default="")
    kept = [
        source
        if not source.used or training(source.run) == chosen
        else replace(source, used=False, reason=_other_training(records, source.run, chosen))
        for source in found
    ]
    return sorted(kept, key=lambda source: (source.fold, source.repeat, training(source.run) != chosen))


def _records(params: Params) -> dict[str, Record]:
    """The records of the runs that folds were last begun with, by run key."""
    found = {}
    for fold in params.folds:
        with contextlib.suppress(UserError):  # not begun, of an earlier version, or damaged
            record = run_record.of_fold(fold, outputs=False)
            found[record.run] = record
    return found


def _other_training(records: dict[str, Record], run: str, chosen: str) -> str:
    if run in records and chosen in records:
        told = run_record.in_words(run_record.differing(records[run], records[chosen]), "the others")
    else:
        told = f"run {run or 'unknown'} (the others: {chosen or 'unknown'})"
    return f"was trained with {told}: one submission would mix two methods"


def _tell_run(params: Params, run: str, talk: Talk) -> None:
    """Say where params.yaml asks for another training than that of the models that answer."""
    record = _records(params).get(run)
    found = {} if record is None else run_record.not_asked(params, record)
    if found:
        talk.say(f"submit-now: the models were trained with {run_record.in_words(found, 'params.yaml now')}")


def _finished_f1(fold: int) -> float | None:
    try:
        return float(read_json(paths.train_metrics(fold), "train")["val_f1"])
    except (UserError, KeyError, ValueError, TypeError):
        return None  # not written yet


def _try(predictor: Predictor, source: Source) -> tuple[list[np.ndarray], str]:
    """Its probabilities under each view; none, and why, where it cannot be used."""
    try:
        return _predict(predictor, source), ""
    except (UserError, DamagedCheckpoint) as error:  # its stage may have begun anew meanwhile
        return [], str(error)
    except Exception as error:  # a checkpoint of older code, say: whatever it is, the other models are still there
        return [], f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _predict(predictor: Predictor, source: Source) -> list[np.ndarray]:
    """Where the device has no room (the training beside may fill it), on the CPU, and all models after it too.

    Batches are no larger than training's, so that they take no memory that the training needs.
    """
    if not predictor.on_cpu:
        try:
            return _of_views(predictor, source, _batch(predictor.params), None)
        except RuntimeError as error:
            # Besides torch's own error: the GPU may have no room for the libraries, or even for the process's context.
            if not (out_of_memory(error) or any(word in str(error) for word in ("CUDA", "CUDNN", "out of memory"))):
                raise
            predictor.talk.say(f"submit-now: goes on on the CPU: {' '.join(str(error).split())[:120]}")
            predictor.on_cpu = True
        # Outside the handler, so that the traceback no longer holds the tensors of the failed try.
        _give_back_memory()
    batch = min(SMALL_BATCH, predictor.params.train.batch_size)
    return _of_views(predictor, source, batch, torch.device("cpu"))


def _batch(params: Params) -> int:
    return min(predict.batch_size(params, predict.accelerator(params).device), params.train.batch_size)


def _of_views(predictor: Predictor, source: Source, batch: int, device: torch.device | None) -> list[np.ndarray]:
    net = _load(source, predictor.params)
    fitting = _fitting(predictor.params, net)
    pixels = _pixels(predictor, fitting)
    positions, views = np.arange(len(predictor.images)), predictor.params.tta.views
    asked = predict.Asked(predictor.task, pixels, positions, views)
    return list(predict.of_views(net, asked, fitting, batch, device))


def _give_back_memory() -> None:
    try:
        torch.cuda.empty_cache()
    except RuntimeError:  # the GPU may be in no state to answer
        return


def _load(source: Source, params: Params) -> Classifier:
    path = Path(source.file)
    if source.state == "finished":
        return model.load(path, params.plugins)
    plugins.load(params.plugins)
    return checkpoint.model_of(path)


def _with_importable(params: Params, talk: Talk) -> Params:
    """The params with those plugins that can be imported. Models answer without any loss, and most without a file of one's own:
    one that somebody is at work on must not cost them all.
    """
    own = params.plugins
    try:
        plugins.load(own)
        return params
    except UserError as error:
        talk.say(f"submit-now: goes on without it: {error}")
    own = own.model_copy(update={"losses": plugins.NO_PLUGINS.losses})
    try:
        plugins.load(own)
    except UserError:
        own = plugins.NO_PLUGINS
    return params.model_copy(update={"plugins": own})


def _offsets(params: Params, task: Task, run: str, talk: Talk) -> np.ndarray | None:
    """Those of the decision rule where params.yaml asks for it and oof-ensemble has judged it."""
    try:
        return decision_rule.settle(params, task, talk, run).offsets
    except UserError as error:
        talk.say(f"submit-now: answers are the most probable classes: {error}")
        return None


def _eval_set(params: Params) -> tuple[Task, list[str]]:
    """The task, and all eval photos in eval.csv's order, also where prepare has not run or has found faults."""
    try:
        task, table = tasks.read(params), photos.read_eval()
    except UserError:  # not there yet, or damaged
        found = photos.find(params)
        if found.eval.empty and found.eval_faults:
            raise UserError(str(found.eval_faults[0])) from None
        task, table = found.task, found.eval
    if table.empty:
        raise photos.no_eval_set("submit-now")
    return task, table["ImageID"].astype(str).tolist()


def _fitting(params: Params, net: Classifier) -> Params:
    """The params with the photo size and crop that this model was trained at."""
    image = params.image.model_copy(update=model.image_of(net.architecture))
    return params.model_copy(update={"image": image})


def _pixels(predictor: Predictor, fitting: Params) -> pixel_cache.Pixels:
    """Eval photos at the size and crop of `fitting`: prepare's cache where it holds just these, else decoded once."""
    image = fitting.image
    size = f"{image.height}-{image.width}-{image.margin}-{image.face:g}"
    if size not in predictor.pixels:
        predictor.pixels[size] = _open_or_decode(predictor, fitting, predictor.folder / f"{size}.npy")
    return predictor.pixels[size]


def _open_or_decode(predictor: Predictor, fitting: Params, path: Path) -> pixel_cache.Pixels:
    images = predictor.images
    try:
        return pixel_cache.open_cache(paths.EVAL_PIXELS, len(images), fitting)
    except UserError as error:
        predictor.talk.say(f"submit-now: decodes the eval photos again: {error}")
    files = photos.eval_files(predictor.params, images)
    built = pixel_cache.build(
        path, files, fitting, predictor.talk, "decode eval photos", pixel_cache.fits(len(images), fitting)
    )
    if built.faults:
        first = files[built.faults[0][0]]
        predictor.talk.say(
            f"submit-now: {len(built.faults)} eval photos cannot be read, first {first}; they count as black"
        )
    pixel_cache.record(path, built, fitting)
    return pixel_cache.open_cache(path, len(images), fitting, replace(files, contents=built.contents))


def _most_common_class(params: Params, task: Task) -> int:
    """The class of most training photos; 0 where none can be found."""
    try:
        labels = photos.read(task)["label"].to_numpy()
    except UserError:  # not there yet, or damaged
        table = photos.find(params).photos
        labels = task.labels(table) if len(table) else np.zeros(1, int)
    return int(np.bincount(labels).argmax())
