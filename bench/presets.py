"""A preset from photos to answers, against a plain loop (bench/peers/plain.py) at equal epochs and at equal time.

python bench/presets.py presets/laptop.yaml DATA TRUTH FOLDER [--weights FILE] [--set train.epochs=5 ...]

DATA: photos in the contest's layout; TRUTH: a submission's form with a column person. The preset's stages run in
FOLDER/ours, lr-find to tta-predict; the plain loop begins with the same weights, sees the photos in the same size with the
same crops, flips and changes of colour, and answers from the photo and its mirror image. It is trained on fold 0's training
side, once with the preset's epochs, and once with as many as take the time of all that ours took. Time is that of all cores
together, so that another program beside it does not count. A stage that has run in FOLDER is not run again. Differences in
macro F1 on the eval photos have 95 % intervals over people: of these trained models, since each is trained once.
"""

import argparse
import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scratch import BIN, ROOT, run, say

from stages.base import paths
from stages.base.talk import SILENT
from stages.data import photos
from stages.data import task_and_classes as tasks
from stages.data.pixel_cache import open_cache
from stages.judge import bootstrap, paired_difference, votes
from stages.judge.paired_difference import Asked
from stages.judge.training_noise import Training
from stages.params.keys import flat, nested
from stages.params.load import load
from stages.submission.eval_predictions import predict_views

STAGES = (
    "prepare",
    "kfold",
    "lr-find",
    "train",
    "oof-ensemble",
    "tta-predict",
)  # train: as `folds`, whose time is not seen
TIMED = STAGES[2:]  # the plain loop has its photos and its folds from the others
PLAIN_LR, PLAIN_BATCH = 1e-3, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("preset", "data", "truth", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    folder = options.folder.resolve()
    ours = folder / "ours"
    lay_out(ours, options)
    seconds = sum(timed(ours, folder / "seconds.json", stage, "maskcli", stage) for stage in TIMED)
    answers = our_answers(ours)
    params = load(ours / paths.PARAMS)
    epochs = params.train.epochs
    equal = plain(ours, folder, epochs, options.weights)
    longer = max(epochs, round(epochs * seconds / equal[1]))
    answers |= {f"plain, {epochs} epochs, {equal[1]:.0f} core s": equal[0]}
    answers |= {f"plain, {longer} epochs (equal time)": plain(ours, folder, longer, options.weights)[0]}
    print(f"ours: {seconds:.0f} core s, lr {json.loads((ours / paths.LR_CHOSEN).read_text())['lr']:.3g}")
    judged(answers, pd.read_csv(options.truth).set_index("ImageID"), ours)


def lay_out(ours: Path, options: argparse.Namespace) -> None:
    """The project folder with its prepared photos and folds."""
    if (ours / paths.FOLDS).exists():
        return
    ours.mkdir(parents=True, exist_ok=True)
    changes: dict[str, Any] = {"model.pretrained": options.weights is None}
    changes |= {"model.weights": str(options.weights.resolve())} if options.weights else {}
    changes |= {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in options.set)}
    preset = flat(yaml.safe_load((ROOT / options.preset).read_text()))
    (ours / "params.yaml").write_text(yaml.safe_dump(nested(preset | changes), sort_keys=False))
    (ours / "data").symlink_to(options.data.resolve())
    for stage in STAGES[:2]:
        run(ours, "maskcli", stage)


def timed(folder: Path, known: Path, name: str, *words: object) -> float:
    """Core seconds of a program, which are kept: a second call takes them from there."""
    seconds = json.loads(known.read_text()) if known.exists() else {}
    if name not in seconds:
        say(" ".join(str(word) for word in words))
        before = core_seconds()
        run(folder, *words)
        known.write_text(json.dumps(seconds | {name: core_seconds() - before}))
    return float(json.loads(known.read_text())[name])


def core_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def our_answers(ours: Path) -> dict[str, "pd.Series[int]"]:
    """Class by eval photo: of the submission, of the vote without the decision rule, and of each fold's model alone."""
    os.chdir(ours)
    params = load()
    task = tasks.read(params)
    images = photos.read_eval()["ImageID"].to_numpy(str)
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
    submission = pd.read_csv(paths.SUBMISSION).set_index("ImageID")["ans"]
    with np.load(paths.PROBABILITIES) as arrays:
        voted = pd.Series(arrays["probabilities"].argmax(1), index=arrays["image"])
    found = {"ours, as submitted": submission, "ours, highest probability": voted}
    for fold in params.folds:
        own = votes.soft(predict_views(params.model_copy(update={"folds": (fold,)}), task, pixels, SILENT))
        found[f"ours, fold {fold} alone"] = pd.Series(own.argmax(1), index=images)
    return found


def plain(ours: Path, folder: Path, epochs: int, weights: Path | None) -> tuple["pd.Series[int]", float]:
    """Class by eval photo of the plain loop after so many epochs, and the core seconds that it took, prediction included."""
    params = load(ours / paths.PARAMS)
    to = folder / f"plain{epochs}"
    image = params.image
    common: tuple[object, ...] = (BIN / "python", ROOT / "bench/peers/plain.py")
    asked: tuple[object, ...] = (
        "--project",
        ours,
        "--to",
        to,
        "--folds",
        1,
        "--epochs",
        epochs,
        "--model",
        params.model.name,
    )
    asked += ("--height", image.height, "--width", image.width, "--margin", image.margin)
    asked += ("--batch-size", PLAIN_BATCH, "--lr", PLAIN_LR, "--channels-last")
    asked += ("--weights", weights.resolve()) if weights else ()
    known = folder / "seconds.json"
    seconds = timed(ours, known, f"plain fit {epochs}", *common, "fit", *asked, "--fold", 0)
    seconds += timed(ours, known, f"plain predict {epochs}", *common, "predict", *asked)
    return pd.read_csv(to / "eval.csv").set_index("ImageID")["ans"], seconds


def judged(answers: dict[str, "pd.Series[int]"], truth: pd.DataFrame, ours: Path) -> None:
    """Print each one's macro F1, and how much ours as submitted and ours of one fold are above the plain loop's."""
    task = tasks.read(load(ours / paths.PARAMS))
    labels, group = truth["ans"].to_numpy(), bootstrap.numbered(truth["person"].to_numpy())

    def training(name: str) -> Training:
        own = answers[name].loc[truth.index].to_numpy()
        unlikely = np.zeros(len(labels))  # nothing is said of probabilities
        scores = bootstrap.of_run(group, labels, own, unlikely, classes=task.classes, subsets=task.subsets)
        return Training(bootstrap.pick(scores, ("macro_f1",)))

    runs = {name: training(name) for name in answers}
    for name, one in runs.items():
        print(f"{name:40s} macro F1 {float(bootstrap.estimate(one.over_groups)[0]):.4f}")
    alone = [one for name, one in runs.items() if name.endswith("alone")]
    kinds = {"as submitted": [runs["ours, as submitted"]], "without decision rule": [runs["ours, highest probability"]]}
    for name, sides in (kinds | {"one fold's model (mean of all)": alone}).items():
        for other in (key for key in runs if key.startswith("plain")):
            asked = Asked(2000, 0, same_models=True)
            found = paired_difference.compare([runs[other]], sides, asked)[0]
            print(f"{name} - {other}: {found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]")


if __name__ == "__main__":
    main()
