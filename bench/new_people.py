"""Which set of trained models is better on new people? Drawn faces of people whom none of them has seen.

python bench/new_people.py PROJECT NAME=GLOB NAME=GLOB ... [--people 400] [--seed 1000]

e.g.  python bench/new_people.py . "folds=out/train/*/models/*.safetensors" "refit=out/refit/models/*.safetensors"

Each set votes as params.yaml of PROJECT says (tta.views, ensemble.vote). The others are compared with the first, paired
over people (stages.judge.paired_difference). Globs are relative to the working folder.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from people import draw

from stages import prepare
from stages.base import paths
from stages.base.talk import SILENT
from stages.data import task_and_classes
from stages.data.pixel_cache import open_cache
from stages.judge import bootstrap, paired_difference, votes
from stages.judge.paired_difference import Asked
from stages.judge.training_noise import Training
from stages.params.load import load
from stages.params.schema import Params
from stages.submission.eval_predictions import predict_views

SCORES = ("macro_f1", "f1_60plus", "accuracy", "nll")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("sets", nargs="+", metavar="NAME=GLOB")
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    params = load(options.project / paths.PARAMS)
    sets = {}
    for item in options.sets:
        name, pattern = item.split("=", 1)
        sets[name] = sorted(path.resolve() for path in Path().glob(pattern))
        if not sets[name]:
            parser.error(f"{pattern}: no such file")
    print(json.dumps(measure(params, sets, options.people, options.seed), indent=2))


def measure(params: Params, sets: dict[str, list[Path]], people: int, seed: int) -> list[dict[str, Any]]:
    """One row a score and set but the first: both scores, their difference and its 95 % interval, share of equal answers."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        known = draw(Path("data"), seed, people)
        prepare.run(params, SILENT)
        truth = pd.read_csv("data/eval_truth.csv").set_index("ImageID")["ans"]
        images = pd.read_csv(paths.EVAL, dtype={"ImageID": str})["ImageID"]
        pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
        vote = votes.VOTES[params.ensemble.vote]
        answers = {
            name: vote(predict_views(params, task_and_classes.read(params), pixels, SILENT, weights))
            for name, weights in sets.items()
        }
        os.chdir("/")
    person, labels = images.map(known).to_numpy(str), truth.loc[images].to_numpy()
    return [row for name in list(sets)[1:] for row in _rows(person, labels, answers, next(iter(sets)), name)]


def _rows(
    person: np.ndarray, labels: np.ndarray, answers: dict[str, np.ndarray], base: str, other: str
) -> list[dict[str, Any]]:
    runs = [_scores(person, labels, answers[name]) for name in (base, other)]
    equal = float((answers[base].argmax(1) == answers[other].argmax(1)).mean())
    return [
        {"a": base, "b": other, "score": row.metric, "of_a": row.a, "of_b": row.b, "difference": row.difference}
        | {"low": row.low, "high": row.high, "verdict": row.verdict, "equal_answers": equal}
        for row in paired_difference.compare(
            [Training(runs[0])], [Training(runs[1])], Asked(10_000, 0, same_models=True)
        )
    ]


def _scores(person: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> bootstrap.Scores:
    losses = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12))
    known: dict[str, Any] = {"classes": task_and_classes.CONTEST.classes, "subsets": task_and_classes.CONTEST.subsets}
    return bootstrap.pick(bootstrap.of_run(person, labels, probabilities.argmax(1), losses, **known), SCORES)


if __name__ == "__main__":
    main()
