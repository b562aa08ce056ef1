"""Wall time of five folds, their ensemble and the submission: maskcli against peers that do the same work.

python bench/cross_validation.py [--rounds 3] [--peers plain,lightning,fastai,timm] [--timm-train PATH/train.py]

maskcli: prepare, kfold, lr-find, all folds, oof-ensemble, tta-predict; `dvc repro` from nothing stands beside it. A peer:
five separate runs, one a fold, and one for inference (bench/peers/work.py says what each does). All take the same JPEGs,
folds, model, size, epochs, batch size and learning rate. Before the rounds each peer's settings are tried on two epochs of
one fold (workers 0, 1, 2; then beside the best channels_last, one thread, and both), and the fastest are taken. Every peer
runs once; the further rounds are maskcli's and the fastest peer's in turn. Peers that are not installed are left out and
named. The OOF macro F1 stands beside each time: who learns nothing has not done the work.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

import scratch
import work
from scratch import Failed, say

PEERS = {"plain": "plain.py", "lightning": "lightning_fit.py", "fastai": "fastai_fit.py", "timm": "timm_fit.py"}
FOLDS = range(5)
TRIED_EPOCHS = 2
Setting = dict[str, int]  # workers, threads (0: torch's own choice), channels_last


@dataclass
class Times:
    """One round of one program, seconds, and how well its models did."""

    steps: dict[str, float] = field(default_factory=dict)
    oof_f1: float = float("nan")
    eval_f1: float = float("nan")

    @property
    def whole(self) -> float:
        return sum(self.steps.values())

    @property
    def training(self) -> float:
        return self.steps["train"]


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-cv-") as name:
        folder = Path(name)
        project = folder / "project"
        image = {"height": options.height, "width": options.width, "margin": options.margin}
        changes = {"image": image, "model": {"name": options.model}, "train": {"epochs": options.epochs}}
        scratch.make(project, options.people, options.eval_people, changes)
        rounds: dict[str, list[Times]] = {"maskcli": [ours(project)]}  # the peers read its tables of photos and folds
        settings, notes = tuned(options, project, folder)
        for peer in settings:
            try:
                rounds[peer] = [theirs(peer, options, project, folder / peer, settings[peer])]
            except Failed as error:
                notes.append(f"{peer} is left out: {error}")
        peers = [peer for peer in rounds if peer != "maskcli"]
        fastest = min(peers, key=lambda peer: rounds[peer][0].whole, default="")
        for _ in range(options.rounds - 1 if fastest else 0):
            rounds["maskcli"].append(ours(project))
            try:
                rounds[fastest].append(theirs(fastest, options, project, folder / fastest, settings[fastest]))
            except Failed as error:
                notes.append(f"{fastest} failed in a further round: {error}")
                break
        dvc = None if options.no_dvc else repro(folder / "dvc", options, changes)
    report(rounds, settings, dvc, notes, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument(
        "--timm-train", default=os.environ.get("TIMM_TRAIN", ""), help="timm's train.py (or $TIMM_TRAIN)"
    )
    parser.add_argument("--model", default="test_resnet")
    for name, default in (("epochs", 20), ("height", 64), ("width", 48), ("margin", 4), ("people", 132)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--eval-people", type=int, default=40)
    parser.add_argument("--no-dvc", action="store_true", help="leave out `dvc repro` from nothing")
    return parser.parse_args()


def ours(project: Path) -> Times:
    """maskcli's commands one after the other, everything from before removed."""
    shutil.rmtree(project / "out", ignore_errors=True)
    found = Times()
    for step, words in (
        ("prepare", ("prepare",)),
        ("kfold", ("kfold",)),
        ("lr-find", ("lr-find",)),
        ("train", ("folds", "--jobs", "auto")),
        ("oof-ensemble", ("oof-ensemble",)),
        ("tta-predict", ("tta-predict",)),
    ):
        found.steps[step] = scratch.timed(project, "maskcli", *words)
        say(f"maskcli {' '.join(words)}: {found.steps[step]:.1f} s")
    found.oof_f1 = json.loads((project / "out/oof-ensemble/metrics.json").read_text())["macro_f1"]
    found.eval_f1 = eval_f1(project, project / "out/tta-predict/submission.csv")
    return found


def repro(folder: Path, options: argparse.Namespace, changes: dict[str, Any]) -> float:
    """Seconds of `dvc repro` where nothing was run before."""
    scratch.make(folder, options.people, options.eval_people, changes, dvc=True)
    seconds = scratch.timed(folder, "dvc", "repro", "--quiet")
    say(f"dvc repro: {seconds:.1f} s")
    return seconds


def tuned(options: argparse.Namespace, project: Path, folder: Path) -> tuple[dict[str, Setting], list[str]]:
    """Each peer's fastest setting; and why peers are missing."""
    settings: dict[str, Setting] = {}
    notes: list[str] = []
    for peer in options.peers.split(","):
        reason = missing(peer, options)
        tried = [] if reason else trials(peer, options, project, folder / f"{peer}-tried", notes)
        if tried:
            settings[peer] = min(tried, key=lambda one: one[0])[1]
            say(f"{peer}: takes {in_words(settings[peer])}")
        else:
            notes.append(f"{peer} is left out: {reason or 'no setting runs'}")
    return settings, notes


def trials(
    peer: str, options: argparse.Namespace, project: Path, to: Path, notes: list[str]
) -> list[tuple[float, Setting]]:
    """Seconds an epoch of each setting that runs: workers 0, 1, 2; then channels_last, one thread and both beside the best."""
    tried: list[tuple[float, Setting]] = []

    def attempt(setting: Setting) -> None:
        try:
            seconds = fit(peer, options, project, to, 0, setting, TRIED_EPOCHS)["seconds_per_epoch"]
        except Failed as failure:
            notes.append(f"{peer} does not run with {in_words(setting)}: {failure}")
            return
        say(f"{peer}: {in_words(setting)}: {seconds:.2f} s an epoch")
        tried.append((seconds, setting))

    for workers in (0, 1, 2):
        attempt({"workers": workers, "threads": 0, "channels_last": 0})
    if tried:
        best = min(tried, key=lambda one: one[0])[1]
        attempt(best | {"channels_last": 1})
        attempt(best | {"threads": 1})
        attempt(best | {"channels_last": 1, "threads": 1})
    return tried


def missing(peer: str, options: argparse.Namespace) -> str:
    """Why a peer cannot run here; empty where it can."""
    if peer not in PEERS:
        return f"there is no such peer; name some of {', '.join(PEERS)}"
    if peer == "timm" and not Path(options.timm_train).is_file():
        return "pip's timm has no train.py; name one of a checkout by --timm-train or $TIMM_TRAIN"
    if peer in ("lightning", "fastai") and find_spec(peer) is None:
        return "not installed beside this Python"
    return ""


def in_words(setting: Setting) -> str:
    threads = f"{setting['threads']} thread" if setting["threads"] else "torch's own threads"
    return f"{setting['workers']} workers, {threads}{', channels_last' if setting['channels_last'] else ''}"


def call(
    peer: str, action: str, options: argparse.Namespace, project: Path, to: Path, setting: Setting, **more: int
) -> dict[str, Any]:
    """Run a peer's program; what it reports."""
    words: list[object] = [sys.executable, Path(__file__).parent / "peers" / PEERS[peer], action]
    words += ["--project", project, "--to", to, "--model", options.model]
    words += ["--lr", json.loads((project / "out/lr-find/lr.json").read_text())["lr"]]
    for name in ("height", "width", "margin"):
        words += [f"--{name}", getattr(options, name)]
    for name in ("workers", "threads"):
        words += [f"--{name}", setting[name]]
    for name, value in more.items():
        words += [f"--{name}", value]
    words += ["--channels-last"] if setting["channels_last"] else []
    words += ["--timm-train", options.timm_train] if peer == "timm" else []
    return json.loads(scratch.run(project, *words).strip().splitlines()[-1])


def fit(
    peer: str, options: argparse.Namespace, project: Path, to: Path, fold: int, setting: Setting, epochs: int
) -> dict[str, Any]:
    return call(peer, "fit", options, project, to, setting, fold=fold, epochs=epochs)


def theirs(peer: str, options: argparse.Namespace, project: Path, to: Path, setting: Setting) -> Times:
    """Five runs and inference, each a process of its own."""
    shutil.rmtree(to, ignore_errors=True)
    found = Times({"train": 0.0})
    for fold in FOLDS:
        began = time.perf_counter()
        fit(peer, options, project, to, fold, setting, options.epochs)
        seconds = time.perf_counter() - began
        found.steps["train"] += seconds
        say(f"{peer} fold {fold}: {seconds:.1f} s")
    began = time.perf_counter()
    call(peer, "predict", options, project, to, setting)
    found.steps["inference"] = time.perf_counter() - began
    say(f"{peer} inference: {found.steps['inference']:.1f} s")
    if peer == "timm":  # train.py keeps no predictions; this is for the check below, not for the time
        for fold in FOLDS:
            call(peer, "score", options, project, to, setting, fold=fold)
    found.oof_f1 = oof_f1(project, to)
    found.eval_f1 = eval_f1(project, to / "eval.csv")
    return found


def oof_f1(project: Path, to: Path) -> float:
    """Macro F1 of all folds' validation predictions."""
    labels = work.of_fold(project, 0)[1]
    answers = np.full(len(labels), -1)
    for fold in FOLDS:
        with np.load(to / f"{fold}.npz") as arrays:
            answers[arrays["photo"]] = arrays["probabilities"].argmax(1)
    return work.macro_f1(labels, answers)


def eval_f1(project: Path, submission: Path) -> float:
    """Macro F1 of a submission against the demo data's eval truth."""
    answers = []
    for path in (project / "data/eval_truth.csv", submission):
        with path.open(newline="") as file:
            answers.append({row["ImageID"]: int(row["ans"]) for row in csv.DictReader(file)})
    return work.macro_f1(*(np.array([one[name] for name in sorted(answers[0])]) for one in answers))


def report(
    rounds: dict[str, list[Times]],
    settings: dict[str, Setting],
    dvc: float | None,
    notes: list[str],
    options: argparse.Namespace,
) -> None:
    """Goals, tables and notes of all rounds."""
    peers = [peer for peer in rounds if peer != "maskcli"]
    ratios = {  # of the rounds that a peer has
        peer: [our.whole / their.whole for our, their in zip(rounds["maskcli"], rounds[peer], strict=False)]
        for peer in peers
    }
    goals = {f"cv_ratio_to_{peer}": statistics.median(ratios[peer]) for peer in peers}
    if peers:
        fastest = max(peers, key=lambda peer: goals[f"cv_ratio_to_{peer}"])
        goals["cv_ratio_to_fastest_peer"] = goals[f"cv_ratio_to_{fastest}"]
        pairs = zip(rounds["maskcli"], rounds[fastest], strict=False)
        goals["cv_training_ratio_to_fastest_peer"] = statistics.median(
            our.training / their.training for our, their in pairs
        )
        notes.append(f"The fastest peer is {fastest}.")
        if dvc is not None:
            ratio = dvc / statistics.median(one.whole for one in rounds[fastest])
            goals["cv_dvc_repro_ratio_to_fastest_peer"] = ratio
            notes.append(f"dvc repro, eda included, over {fastest}: {ratio:.3f}.")
    notes += [f"{peer}: fastest of the settings tried: {in_words(setting)}." for peer, setting in settings.items()]
    notes.append(
        f"{options.model} from random weights at {options.height}x{options.width}, {options.epochs} epochs, batch 32, AdamW, "
        f"one epoch of warming up and a cosine, {options.people} people x 7 photos, {options.eval_people} x 7 eval photos, "
        "identity and mirrored. Peers decode the JPEGs at full size in every epoch, as torchvision's, timm's and fastai's "
        "loaders do; maskcli reads them once, at a reduced size, which its time contains. Only maskcli looks for a "
        "learning rate (the peers are given it), draws intervals and keeps checkpoints and curves."
    )
    scratch.report(goals, tables(rounds, ratios, dvc), notes)


def tables(rounds: dict[str, list[Times]], ratios: dict[str, list[float]], dvc: float | None) -> list[dict[str, Any]]:
    def middle(found: list[Times], of: Callable[[Times], float], digits: int) -> float:
        return round(statistics.median(map(of, found)), digits)

    whole = [
        [
            name,
            len(found),
            middle(found, lambda times: times.whole, 1),
            middle(found, lambda times: times.training, 1),
            *([round(value, 3) for value in spread(ratios[name])] if name in ratios else [None] * 3),
            middle(found, lambda times: times.oof_f1, 4),
            middle(found, lambda times: times.eval_f1, 4),
        ]
        for name, found in rounds.items()
    ]
    if dvc is not None:
        whole.append(["maskcli through dvc repro, with eda", 1, round(dvc, 1), *([None] * 6)])
    columns = [
        "program",
        "rounds",
        "all, s",
        "training, s",
        "maskcli / it",
        "lowest",
        "highest",
        "OOF macro F1",
        "eval macro F1",
    ]
    ours = rounds["maskcli"]
    steps = [[step, round(statistics.median(one.steps[step] for one in ours), 1)] for step in ours[0].steps]
    return [
        scratch.table("Five folds and the submission", columns, whole),
        scratch.table("maskcli, command by command", ["command", "s"], steps),
    ]


def spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


if __name__ == "__main__":
    main()
