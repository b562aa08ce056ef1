"""Would it help to find the photos of one person among the eval photos, and to average gender and age over them?

python bench/grouping.py PROJECT [--seed 0] [--weights backbone.safetensors --model NAME] [--truth FILE]

PROJECT is a project after `dvc repro`; without a truth only its OOF photos are measured. For OOF photos the person is
known; for eval photos it comes from the column `person` of the truth, or from drawing the demo data set of `--seed`
again. Everything is compared with the photos' own predictions, paired over people (stages.judge.paired_difference). Rows:

- known people: gender and age averaged over each person's true photos: what a perfect grouping would give;
- an embedding: groups found by it. Embeddings: the pooled features of the fold models (OOF: of the one model that never
  saw the person; eval: of all models side by side), a given backbone's features, and small raw pixels. `learned`: the
  same after a linear discriminant analysis that tells the training people apart (Fisher 1936; for faces Belhumeur et
  al. 1997), fitted without the people whose photos it groups.

Groups are connected mutual nearest neighbours: two photos are joined if each is among the other's 6 nearest by cosine
and their distance is below a threshold; a group of more than 7 is left alone. The threshold is the one of lowest nll on
the *other* folds' people for OOF rows, and on all OOF people for eval rows, so nothing is chosen where it is scored.
Precision and recall are over pairs of photos; nearest_is_own is the share of photos whose nearest is the same person's.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from people import draw
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from stages.base import paths
from stages.data import task_and_classes
from stages.data.pixel_cache import open_cache
from stages.judge import bootstrap, metrics, paired_difference
from stages.judge.paired_difference import Asked
from stages.judge.training_noise import Training
from stages.learn import loader, model, predict
from stages.params.load import load
from stages.params.schema import Params

LARGEST = 7  # photos a person has
SHARES = np.linspace(0.05, 0.95, 19)  # thresholds, as quantiles of the nearest neighbour's distance
SCORES = ("macro_f1", "accuracy", "nll")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the demo data set, where the truth has no person")
    parser.add_argument("--truth", type=Path, default=None, help="default: PROJECT/data/eval_truth.csv")
    parser.add_argument("--model", default=None)
    parser.add_argument("--weights", type=Path, default=None)
    options = parser.parse_args()
    truth_file = options.truth.resolve() if options.truth else Path("data/eval_truth.csv")
    weights = options.weights.resolve() if options.weights else None
    os.chdir(options.project)
    print(json.dumps(measure(load(), truth_file, options.seed, options.model, weights), indent=2))


def measure(params: Params, truth_file: Path, seed: int, name: str | None, weights: Path | None) -> dict[str, Any]:
    """Rows for OOF photos, and for eval photos where the truth is at hand."""
    with np.load(paths.OOF_ARRAYS) as arrays:
        person, labels, fold = arrays["person"], arrays["label"], arrays["fold"]
        oof = np.exp(arrays["selected"]).mean(0)
    with np.load(paths.PROBABILITIES) as arrays:
        probabilities = arrays["probabilities"].astype(np.float64)
    pixels = open_cache(paths.PIXELS, len(labels), params)
    eval_pixels = open_cache(paths.EVAL_PIXELS, len(probabilities), params)
    truth = eval_truth(truth_file, seed)
    found: dict[str, Any] = {"oof": [], "eval": []}
    for joint in ("soft", "geometric"):
        known = {"embedding": "known people", "average": joint}
        found["oof"].append(known | row(person, labels, oof, averaged(oof, codes(person), joint)))
        if truth:
            perfect = averaged(probabilities, codes(truth[0]), joint)
            found["eval"].append(known | row(*truth, probabilities, perfect))
    for title, (own, other) in embeddings(params, pixels, eval_pixels, fold, person, name, weights).items():
        shown = {"embedding": title, "average": "soft"}
        apart = [distances(own[fold == number]) for number in params.folds]
        gains = np.array(
            [
                [gain(labels[fold == number], oof[fold == number], cut(each, share), each) for share in SHARES]
                for number, each in zip(params.folds, apart, strict=True)
            ]
        )
        groups = np.arange(len(labels))
        for number, each in zip(params.folds, apart, strict=True):
            share = SHARES[np.delete(gains, number, 0).mean(0).argmax()]
            groups[fold == number] = grouped(each, cut(each, share)) + len(labels) * (number + 1)
        after = averaged(oof, codes(groups), "soft")
        found["oof"].append(shown | pairs(groups, person, own, fold) | row(person, labels, oof, after))
        if truth:
            between = distances(other)
            groups = grouped(between, cut(between, SHARES[gains.mean(0).argmax()]))
            quality = pairs(groups, truth[0], other, np.zeros(len(groups)))
            found["eval"].append(shown | quality | row(*truth, probabilities, averaged(probabilities, groups, "soft")))
    return found


def eval_truth(file: Path, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Person and class of each eval photo, in the order of the predictions; None without a truth."""
    if not file.is_file():
        return None
    truth = pd.read_csv(file, dtype={"ImageID": str}).set_index("ImageID")
    images = pd.read_csv(paths.EVAL, dtype={"ImageID": str})["ImageID"]
    if "person" not in truth:
        truth["person"] = pd.Series(drawn_people(seed, len(images) // LARGEST))
    truth = truth.loc[images]
    if truth["person"].isna().any():
        raise SystemExit(f"{file}: has no column person, and is not the demo truth of --seed {seed}")
    return truth["person"].to_numpy(str), truth["ans"].to_numpy()


def averaged(probabilities: np.ndarray, groups: np.ndarray, joint: str) -> np.ndarray:
    """Each photo's own mask, and its group's mean gender and age: [N, 18] from [N, 18] and group numbers [N]."""
    cells = np.maximum(probabilities, 1e-12).reshape(-1, 3, 6)
    mask, rest = cells.sum(2), cells.sum(1)
    values = np.log(rest) if joint == "geometric" else rest
    sums = np.zeros((groups.max() + 1, 6))
    np.add.at(sums, groups, values)
    mean = (sums / np.maximum(np.bincount(groups), 1)[:, None])[groups]
    if joint == "geometric":
        mean = np.exp(mean)
    mean /= mean.sum(1, keepdims=True)
    changed = (mask[:, :, None] * mean[:, None, :]).reshape(-1, 18)
    alone = np.bincount(groups)[groups] == 1
    changed[alone] = probabilities[alone]  # gender and age are not quite independent of the mask
    return changed / changed.sum(1, keepdims=True)


def row(person: np.ndarray, labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Scores of predictions b against a, paired over people."""
    known: dict[str, Any] = {"classes": task_and_classes.CONTEST.classes, "subsets": task_and_classes.CONTEST.subsets}
    own = np.arange(len(labels))
    scored = (bootstrap.of_run(person, labels, p.argmax(1), -np.log(p[own, labels]), **known) for p in (a, b))
    runs = [bootstrap.pick(one, SCORES) for one in scored]
    return {
        one.metric: {key: round(getattr(one, key), 4) for key in ("a", "b", "difference", "low", "high")}
        for one in paired_difference.compare(
            [Training(runs[0])], [Training(runs[1])], Asked(10_000, 0, same_models=True)
        )
    } | {"people": len(np.unique(person))}


def gain(labels: np.ndarray, oof: np.ndarray, threshold: float, apart: np.ndarray) -> float:
    """Nats a photo gained on one fold's people by groups below a threshold."""
    after = averaged(oof, grouped(apart, threshold), "soft")
    return metrics.nll(np.log(oof), labels) - metrics.nll(np.log(after), labels)


def distances(features: np.ndarray) -> np.ndarray:
    """Cosine distances [N, N] of centred, scaled features; a photo is far from itself."""
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-6)
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    apart = 1 - unit @ unit.T
    np.fill_diagonal(apart, 9)
    return apart


def cut(apart: np.ndarray, share: float) -> float:
    return float(np.quantile(apart.min(1), share))


def grouped(apart: np.ndarray, threshold: float) -> np.ndarray:
    """Group numbers [N]: connected mutual neighbours nearer than `threshold`; groups larger than a person are dissolved."""
    near = np.argsort(apart, axis=1)[:, : LARGEST - 1]
    listed = np.zeros(apart.shape, bool)
    np.put_along_axis(listed, near, True, axis=1)
    joined = listed & listed.T & (apart < threshold)
    _, groups = connected_components(coo_matrix(joined), directed=False)
    large = np.bincount(groups)[groups] > LARGEST
    groups[large] = groups.max() + 1 + np.arange(large.sum())
    return codes(groups)


def pairs(groups: np.ndarray, person: np.ndarray, features: np.ndarray, among: np.ndarray) -> dict[str, float]:
    """How well groups find people: over pairs of photos, and by each photo's nearest other one among its fold's."""
    together, same = groups[:, None] == groups, (person[:, None] == person) & (among[:, None] == among)
    np.fill_diagonal(together, False)
    np.fill_diagonal(same, False)
    right, nearest = (together & same).sum(), 0
    for number in np.unique(among):
        own = among == number
        nearest += (person[own][distances(features[own]).argmin(1)] == person[own]).sum()
    return {
        "precision": round(float(right / max(1, together.sum())), 4),
        "recall": round(float(right / same.sum()), 4),
        "photos_grouped": round(float(together.any(1).mean()), 4),
        "nearest_is_own": round(float(nearest / len(person)), 4),
    }


def codes(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]


def embeddings(
    params: Params,
    pixels: Any,
    eval_pixels: Any,
    fold: np.ndarray,
    person: np.ndarray,
    name: str | None,
    weights: Path | None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features of OOF photos [N, F] and of eval photos [M, G] by each embedding."""
    every, every_eval = np.arange(len(pixels)), np.arange(len(eval_pixels))
    plain, learned = [], []
    for number in params.folds:
        net = model.load(paths.weights(number))
        train, other = features(net, pixels, every, params), features(net, eval_pixels, every_eval, params)
        plain.append((train, other))
        learned.append(discriminant(train[fold != number], person[fold != number], train, other))
    found = {"fold models": joined(plain, fold, params), "fold models, learned": joined(learned, fold, params)}
    fixed = {title: (part(pixels), part(eval_pixels)) for title, part in PIXELS.items()}
    if name and weights:
        own = params.model_copy(update={"model": params.model.model_copy(update={"name": name})})
        net = model.build(model.architecture(own, task_and_classes.read(params)))
        model.load_backbone(net, weights)
        net.eval()
        fixed[name] = (features(net, pixels, every, params), features(net, eval_pixels, every_eval, params))
    for title, (train, other) in fixed.items():
        found[title] = (train, other)
        by_fold = [discriminant(train[fold != each], person[fold != each], train, other) for each in params.folds]
        found[f"{title}, learned"] = joined(by_fold, fold, params)
    return found


def joined(
    by_fold: list[tuple[np.ndarray, np.ndarray]], fold: np.ndarray, params: Params
) -> tuple[np.ndarray, np.ndarray]:
    """OOF features: each photo's from its own fold. Eval features: those of all folds side by side."""
    own = np.zeros_like(by_fold[0][0])
    for number in params.folds:
        own[fold == number] = by_fold[number][0][fold == number]
    return own, np.concatenate([other for _, other in by_fold], axis=1)


def discriminant(
    train: np.ndarray, person: np.ndarray, every: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`every` and `other` [n, F] in the coordinates [n, <= 30] that best tell the people of `train` apart."""
    scale = StandardScaler().fit(train)
    few = PCA(min(100, *train.shape), random_state=0).fit(scale.transform(train))
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=min(30, few.n_components_ - 1))
    lda.fit(few.transform(scale.transform(train)), person)
    a, b = (lda.transform(few.transform(scale.transform(photos))) for photos in (every, other))
    return a, b


@torch.inference_mode()
def features(net: Any, pixels: Any, which: np.ndarray, params: Params) -> np.ndarray:
    """Pooled features [n, F] of the backbone, in eval mode."""
    mean, std = model.normalisation(net)
    batches = loader.evaluation(pixels, which, params.image.margin, 128)
    return np.concatenate([model.to_numpy(net.backbone(predict.normalise(b, mean, std))) for b in batches])


def thumbnails(pixels: Any, height: int = 16, width: int = 12) -> np.ndarray:
    """Small photos, their brightness and contrast evened out, [N, height * width * 3]."""
    small = np.stack([cv2.resize(np.asarray(one), (width, height), interpolation=cv2.INTER_AREA) for one in pixels])
    flat = small.astype(np.float64)
    return ((flat - flat.mean((1, 2), keepdims=True)) / (flat.std((1, 2), keepdims=True) + 1e-6)).reshape(len(flat), -1)


def upper_face(pixels: Any) -> np.ndarray:
    """Colours of what no mask covers: the middle half of the upper half, [N, ...], relative to the photo's mean."""
    small = np.stack([cv2.resize(np.asarray(one), (12, 16), interpolation=cv2.INTER_AREA) for one in pixels])
    part = small[:, 1:9, 2:10].astype(np.float64)
    return (part / (part.mean((1, 2), keepdims=True) + 1)).reshape(len(part), -1)


PIXELS = {"pixels 16x12": thumbnails, "pixels, upper face": upper_face}


def drawn_people(seed: int, people: int) -> dict[str, str]:
    """The person of every eval photo of the demo data set of `seed`, by drawing it again."""
    with tempfile.TemporaryDirectory() as folder:
        return draw(Path(folder) / "data", seed, people)


if __name__ == "__main__":
    main()
