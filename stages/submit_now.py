"""submit-now: a valid submission from whatever folds and epochs exist at this moment, also while training runs elsewhere.

A fold that has finished gives its model, one that is under way the model of its newest checkpoint. Where there is no
model at all, every answer is the most common class: a poor submission, and a valid one.
"""

import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages import decide, paths, tta_predict
from stages.data import cache, layout
from stages.errors import UserError
from stages.files import read_csv, read_json, write_csv, write_json
from stages.judge import votes
from stages.learn import checkpoint, model, predict
from stages.learn.checkpoint import DamagedCheckpoint
from stages.learn.model import Classifier
from stages.params import Params
from stages.talk import Talk

LEAST = 0.8  # of the finished models' median val_f1: an unfinished model below it would spoil the vote


@dataclass(frozen=True)
class Source:
    """One model that may join."""

    fold: int
    repeat: int
    state: str  # `finished`, or how far it has come
    file: str
    val_f1: float
    used: bool = True


def run(params: Params, talk: Talk) -> dict[str, Any]:
    """Write out/submit-now/submission.csv and made_of.json; return what the latter says.

    DVC's own submission in out/tta-predict is left alone. Raises UserError only if info.csv names no photo.
    """
    images = _eval_images()
    found = sources(params.folds)
    probabilities, joined = [], []
    with tempfile.TemporaryDirectory() as folder:
        for source in talk.track(found, len(found), "predict eval photos"):
            if not source.used:
                continue
            try:
                net = _load(source)
            except (UserError, DamagedCheckpoint) as error:  # its stage may have begun anew meanwhile
                talk.say(f"submit-now: left out: {error}")
                continue
            fitting = _fitting(params, net)
            pixels = _pixels(fitting, images, Path(folder), talk)
            probabilities += list(predict.of_views(net, pixels, np.arange(len(images)), params.tta.views, fitting))
            joined.append(source)
    if joined:
        voted = votes.VOTES[params.ensemble.vote](np.stack(probabilities))
        answers = tta_predict.answer(voted, _offsets(params, talk))
    else:
        answers = np.full(len(images), _most_common_class(params))
    write_csv(paths.NOW_SUBMISSION, pd.DataFrame({"ImageID": images, "ans": answers}))
    made = {
        "submission": str(paths.NOW_SUBMISSION),
        "answers": len(images),
        "models": [asdict(source) for source in joined],
        "left_out": [asdict(source) for source in found if source not in joined],
        "folds_missing": sorted(set(params.folds) - {source.fold for source in joined}),
        "views": list(params.tta.views),
        "vote": params.ensemble.vote,
    }
    write_json(paths.NOW_SOURCES, made)
    return made


def sources(folds: Collection[int]) -> list[Source]:
    """The models of these folds that there are: finished ones, and else the newest checkpoint of the newest run."""
    finished = [
        Source(int(path.parts[-3]), int(path.stem), "finished", str(path), _finished_f1(int(path.parts[-3])))
        for path in sorted(paths.TRAIN.glob("*/models/[0-9]*.safetensors"))
        if path.parts[-3].isdigit() and int(path.parts[-3]) in folds and path.stem.isdigit()
    ]
    have = {(source.fold, source.repeat) for source in finished}
    known = [header for header in checkpoint.headers() if header.epoch and header.fold in folds]
    running = [
        Source(
            header.fold,
            header.repeat,
            f"epoch {header.epoch} of {header.epochs}",
            str(paths.checkpoint(header.fold, header.repeat, header.run)),
            header.val_f1,
        )
        for header in known
        if header.run == known[0].run and (header.fold, header.repeat) not in have
    ]
    everything = sorted(finished + running, key=lambda source: (source.fold, source.repeat))
    usual = float(np.median([source.val_f1 for source in finished or running] or [0.0]))
    return [replace(source, used=source.state == "finished" or source.val_f1 >= LEAST * usual) for source in everything]


def _finished_f1(fold: int) -> float:
    try:
        return float(read_json(paths.train_metrics(fold), "train")["val_f1"])
    except (UserError, KeyError, ValueError, TypeError):
        return 0.0  # its metrics are not written yet


def _load(source: Source) -> Classifier:
    path = Path(source.file)
    return model.load(path) if source.state == "finished" else checkpoint.model_of(path)


def _offsets(params: Params, talk: Talk) -> np.ndarray | None:
    """Those of the decision rule where params.yaml asks for it and oof-ensemble has judged it."""
    try:
        return decide.settle(params, talk).offsets
    except UserError as error:
        talk.say(f"submit-now: answers are the most probable classes: {error}")
        return None


def _eval_images() -> list[str]:
    """ImageIDs in info.csv's order, every row of it, also where prepare has not run or has found faults."""
    if paths.EVAL.exists():
        return [str(image) for image in read_csv(paths.EVAL, "prepare", {"ImageID": str})["ImageID"]]
    ids, faults = layout.read_eval(paths.EVAL_CSV, paths.EVAL_IMAGES)
    if not ids:
        raise UserError(str(faults[0]) if faults else f"{paths.EVAL_CSV}: has no rows; put the data set under data/")
    return ids


def _fitting(params: Params, net: Classifier) -> Params:
    """The params with the photo size that this model was trained at."""
    shape = net.architecture
    image = params.image.model_copy(update={"height": shape.height, "width": shape.width, "margin": shape.margin})
    return params.model_copy(update={"image": image})


def _pixels(fitting: Params, images: list[str], folder: Path, talk: Talk) -> np.ndarray:
    """Eval photos at the size of `fitting`: prepare's cache where it has that, else decoded into `folder`."""
    try:
        return cache.open_cache(paths.EVAL_PIXELS, len(images), fitting)
    except UserError:
        path = folder / f"{fitting.image.height}-{fitting.image.width}-{fitting.image.margin}.npy"
    if not path.exists():
        files = [paths.EVAL_IMAGES / name for name in images]
        bad = cache.build(path, files, fitting, talk, "decode eval photos")
        if bad:
            talk.say(
                f"submit-now: {len(bad)} eval photos cannot be read, first {files[bad[0][0]]}; they count as black"
            )
    return cache.open_cache(path, len(images), fitting)


def _most_common_class(params: Params) -> int:
    """The class of most training photos: five of a person's seven show the mask worn."""
    people, _ = layout.read_people(paths.TRAIN_CSV)
    if people.empty:
        return 0
    gender, age = people["gender"].to_numpy(int), people["age"].to_numpy(int)
    masked = layout.label(np.zeros(len(people), int), gender, layout.age_bin(age, params.data.age_bins))
    return int(np.bincount(masked).argmax())
