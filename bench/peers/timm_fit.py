"""Peer: timm's own train.py and inference.py, from a checkout of its repository (pip's timm has neither).

python bench/peers/timm_fit.py fit --timm-train PATH/train.py --project DIR --fold 0 --to FOLDER     (or $TIMM_TRAIN)

The photos of a fold are laid out as links in folders of their class. inference.py knows no mirrored view and joins no
models, so mirrored photos are written beside the links, it runs once per model, and the driver joins what it wrote.
`score` predicts a fold's validation photos, which train.py does not keep. See work.py for what a peer does.
"""

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import work

LAUNCH = Path(__file__).with_name("timm_launch.py")


def main() -> None:
    parser = work.parser(__doc__, ("fit", "score", "predict"))
    parser.add_argument("--timm-train", type=Path, default=os.environ.get("TIMM_TRAIN"))
    found = vars(parser.parse_args())
    script = found.pop("timm_train")
    if not script or not Path(script).is_file():
        sys.exit("timm_fit.py: name timm's train.py by --timm-train or $TIMM_TRAIN")
    asked, script = work.Options(**found), Path(script).resolve()
    asked.to.mkdir(parents=True, exist_ok=True)
    {"fit": fit, "score": score, "predict": predict}[asked.action](asked, script)


def fit(asked: work.Options, script: Path) -> None:
    """Train and validate one fold. Its recipe is train.py's where it has one: random resized crop, colour jitter."""
    photos = asked.to / f"photos{asked.fold}"
    lay_out(asked, photos)
    began = time.perf_counter()
    size = [asked.height, asked.width]
    run(
        asked,
        script,
        *("--data-dir", photos, "--val-split", "val", "--class-map", photos / "classes.txt"),
        *("--num-classes", work.CLASSES, "--input-size", 3, *size, *shared(asked)),
        *("--batch-size", asked.batch_size, "--validation-batch-size", 2 * asked.batch_size),
        *("--epochs", asked.epochs, "--warmup-epochs", 1, "--sched", "cosine", "--sched-on-updates"),
        *("--opt", "adamw", "--weight-decay", work.WEIGHT_DECAY, "--lr", asked.lr, "--smoothing", 0),
        *("--scale", share(asked), 1, "--ratio", asked.width / asked.height, asked.width / asked.height),
        *("--hflip", work.FLIP, "--color-jitter", work.JITTER),
        *("--color-jitter-prob", work.JITTER_SHARE, "--train-interpolation", "bilinear"),
        *("--checkpoint-hist", 1, "--log-interval", 1000, "--output", asked.to, "--experiment", str(asked.fold)),
    )
    seconds = time.perf_counter() - began
    shutil.copy(asked.to / str(asked.fold) / "last.pth.tar", asked.to / f"{asked.fold}.pt")
    work.say(timm=version(script), seconds_per_epoch=seconds / asked.epochs)


def share(asked: work.Options) -> float:
    """The share of a photo's area that a crop with margins shows."""
    (height, width), (outer_height, outer_width) = asked.size, asked.with_margin
    return height * width / (outer_height * outer_width)


def shared(asked: work.Options) -> list[object]:
    """Arguments that train.py and inference.py both take."""
    crop = asked.height / asked.with_margin[0]
    words: list[object] = ["--model", asked.model, "--device", "cpu", "--workers", asked.workers]
    words += ["--crop-pct", crop, "--interpolation", "bilinear"]
    return [*words, "--channels-last"] if asked.channels_last else words


def lay_out(asked: work.Options, to: Path) -> None:
    """Links to the fold's photos: train/<class>/<position>.jpg and val/<class>/<position>.jpg."""
    shutil.rmtree(to, ignore_errors=True)
    files, labels, train, val = work.of_fold(asked.project, asked.fold)
    for side, name in ((train, "train"), (val, "val")):
        for label in range(work.CLASSES):
            (to / name / f"{label:02d}").mkdir(parents=True)
        for place in side:
            link = to / name / f"{labels[place]:02d}" / f"{place:07d}{files[place].suffix.lower()}"
            link.symlink_to(files[place].resolve())
    (to / "classes.txt").write_text("".join(f"{label:02d}\n" for label in range(work.CLASSES)))


def score(asked: work.Options, script: Path) -> None:
    """Write <fold>.npz, the validation photos' probabilities, in the order of their positions."""
    names, found = infer(asked, script, asked.to / f"photos{asked.fold}" / "val", asked.fold)
    photo = np.array([int(Path(name).stem) for name in names])
    order = np.argsort(photo)
    np.savez(asked.to / f"{asked.fold}.npz", photo=photo[order], probabilities=found[order])
    work.say(timm=version(script))


def predict(asked: work.Options, script: Path) -> None:
    """Write eval.csv from all models and both views, identity and mirrored, which stand beside each other in one folder."""
    from PIL import Image, ImageOps

    files = work.eval_photos(asked.project)
    views = asked.to / "views"
    shutil.rmtree(views, ignore_errors=True)
    views.mkdir()
    for place, file in enumerate(files):
        (views / f"{place:07d}_0{file.suffix.lower()}").symlink_to(file.resolve())
        with Image.open(file) as photo:
            ImageOps.mirror(photo).save(views / f"{place:07d}_1.png", compress_level=1)
    total = np.zeros((len(files), work.CLASSES))
    for fold in range(asked.folds):
        names, found = infer(asked, script, views, fold)
        np.add.at(total, [int(name[:7]) for name in names], found)
    work.write_eval(asked.to, files, total.argmax(1))
    work.say(timm=version(script))


def infer(asked: work.Options, script: Path, folder: Path, fold: int) -> tuple[list[str], np.ndarray]:
    """File names and probabilities [n, 18] from inference.py."""
    run(
        asked,
        script.with_name("inference.py"),
        *("--data-dir", folder, "--num-classes", work.CLASSES, "--input-size", 3, asked.height, asked.width),
        *("--checkpoint", asked.to / f"{fold}.pt", "--batch-size", 2 * asked.batch_size, *shared(asked)),
        *("--topk", 0, "--results-separate-col", "--no-console-results", "--log-freq", 1000),
        *("--results-dir", asked.to, "--results-file", "found"),
    )
    with (asked.to / "found.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], np.float32)


def run(asked: work.Options, *words: object) -> None:
    """Run one of timm's scripts; its talk goes to stderr."""
    environment = os.environ | {"OMP_NUM_THREADS": str(asked.threads)} if asked.threads else None
    done = subprocess.run([sys.executable, str(LAUNCH), *map(str, words)], stdout=sys.stderr, env=environment)
    if done.returncode:
        sys.exit(done.returncode)  # the script has said why


def version(script: Path) -> str:
    text = (script.parent / "timm/version.py").read_text()
    return text.split("'")[1]


if __name__ == "__main__":
    main()
