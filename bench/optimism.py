"""How much an OOF score flatters when each epoch is chosen on the very photos that are scored, by rule of choice.

python bench/optimism.py train FOLDER --seeds 0 1 2     (a demo data set, five folds and a large eval set for each seed)
python bench/optimism.py table FOLDER                   (prints the table as JSON)

For every seed a new demo data set is drawn and cross-validated. After every epoch each fold's model also predicts eval
photos of people in no fold. A rule names one epoch a fold; its OOF score is the macro F1 of the joined OOF predictions,
its true score that of the same models on the eval photos, each photo answered by one model in turn (so that both are
scores of single models). Both have the same number of photos a model, drawn from eval at random, because macro F1 over
few photos is lower than over many. optimism = OOF score - true score.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from stages import kfold, lr_find, prepare
from stages.base import paths
from stages.base.files import read_json, write_npz
from stages.base.talk import SILENT
from stages.data import demo_faces
from stages.data.fold_data import open_fold
from stages.data.pixel_cache import open_cache
from stages.data.task_and_classes import CONTEST
from stages.judge import epoch_rules, metrics
from stages.params.load import load

EVAL_PEOPLE = 264  # twice the training people
DRAWS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(12)))
    options = parser.parse_args()
    if options.what == "table":
        print(json.dumps(table(sorted(options.folder.glob("seed*.npz"))), indent=2))
        return
    params_file = paths.PARAMS.resolve()
    results = options.folder.resolve()
    for seed in options.seeds:
        if not (results / f"seed{seed}.npz").exists():
            train(results, seed, params_file)


def train(results: Path, seed: int, params_file: Path) -> None:
    """Cross-validate one demo data set; write labels and the predicted class of every photo after every epoch."""
    from stages.learn import fit, loader, predict
    from stages.learn.around_training import Around
    from stages.learn.learner import Learner, start
    from stages.learn.progress import Progress

    folder = results / f"project{seed}"
    folder.mkdir(parents=True)
    os.chdir(folder)
    params = load(params_file).model_copy(update={"seed": seed})
    demo_faces.write(folder / "data", seed, eval_people=EVAL_PEOPLE)
    prepare.run(params, SILENT)
    kfold.run(params, SILENT)
    lr_find.run(params, SILENT, 0)
    lr = float(read_json(paths.LR_CHOSEN, "lr-find")["lr"])
    truth = np.genfromtxt("data/eval_truth.csv", delimiter=",", skip_header=1, usecols=[1], dtype=np.int64)
    pixels = open_cache(paths.EVAL_PIXELS, len(truth), params)
    arrays: dict[str, Any] = {"eval_labels": truth}
    for fold in params.folds:
        data = open_fold(params, fold)
        learner = start(params, data, fold, lr, predict.accelerator(params), SILENT)
        val: list[Any] = []
        eval_answers: list[np.ndarray] = []

        def look(progress: Progress, learner: Learner = learner, val: list = val, out: list = eval_answers) -> None:
            learner.model.eval()
            photos = loader.evaluation(pixels, np.arange(len(pixels)), params.image.margin, 256)
            raw, _ = predict.raw_outputs(learner.model, photos, learner.mean, learner.std, learner.accelerator)
            out.append(raw.argmax(1).astype(np.uint16))
            val.append(progress.last_logits.argmax(1).astype(np.uint16))

        progress = fit.fit(learner, Around(on_epoch=look))
        arrays[f"val{fold}"] = np.stack(val)
        arrays[f"eval{fold}"] = np.stack(eval_answers)
        arrays[f"labels{fold}"] = data.labels[data.val]
        arrays[f"f1{fold}"] = np.array([row["val_f1"] for row in progress.history])
        arrays[f"nll{fold}"] = np.array([row["val_nll"] for row in progress.history])
    write_npz(results / f"seed{seed}.npz", **arrays)


def table(files: list[Path]) -> dict[str, Any]:
    """Mean OOF score, true score and optimism of each rule over the seeds, with standard errors."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for file in files:
        with np.load(file) as arrays:
            folds = range(sum(name.startswith("val") for name in arrays))
            f1, nll = (np.stack([arrays[f"{name}{fold}"] for fold in folds]) for name in ("f1", "nll"))
            for rule, chosen in epoch_rules.rules(f1, nll).items():
                labels = np.concatenate([arrays[f"labels{fold}"] for fold in folds])
                oof = np.concatenate([arrays[f"val{fold}"][chosen[fold]] for fold in folds])
                sizes = [len(arrays[f"labels{fold}"]) for fold in folds]
                answers = [arrays[f"eval{fold}"][chosen[fold]] for fold in folds]
                score = metrics.macro_f1(labels, oof, CONTEST.classes)
                found.setdefault(rule, []).append(
                    (score, _true(arrays["eval_labels"], answers, sizes), np.mean(chosen) + 1)
                )
    rows = {}
    for rule, values in found.items():
        oof, true, epoch = np.array(values).T
        rows[rule] = {
            "oof": float(oof.mean()),
            "true": float(true.mean()),
            "optimism": float((oof - true).mean()),
            "optimism_standard_error": float((oof - true).std(ddof=1) / np.sqrt(len(oof))),
            "mean_epoch": float(epoch.mean()),
        }
    last = np.array(found["last"])
    for rule, values in found.items():
        extra = (np.array(values)[:, 0] - np.array(values)[:, 1]) - (last[:, 0] - last[:, 1])
        rows[rule]["optimism_over_last"] = float(extra.mean())
        rows[rule]["optimism_over_last_standard_error"] = float(extra.std(ddof=1) / np.sqrt(len(extra)))
    return {"seeds": len(files), "rules": rows}


def _true(labels: np.ndarray, answers: list[np.ndarray], sizes: list[int]) -> float:
    """Mean macro F1 over draws of as many eval photos as the folds hold, each part answered by its own model."""
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(DRAWS):
        which = np.array_split(rng.permutation(len(labels))[: sum(sizes)], np.cumsum(sizes)[:-1])
        joined = np.concatenate([answer[part] for answer, part in zip(answers, which, strict=True)])
        scores.append(metrics.macro_f1(labels[np.concatenate(which)], joined, CONTEST.classes))
    return float(np.mean(scores))


if __name__ == "__main__":
    main()
