"""Real trainings of many settings, each kept in a file of its own, for tables of what a setting brings.

python bench/trials.py PLAN FOLDER                 as many at once as one likes: each takes the next that nobody has taken

PLAN is a JSON list, read again after each training, so that it may grow: {"project": folder where `maskcli kfold` has run,
"name": of the setting, "changes": {"model.head": "mlp", ...} of params.yaml, "lr": 0.001, "seed": 0, "groups": 300}, and
"average": 3 where the weights of the last three epochs are averaged. Fold 0's
validation side is judged and never looked at while training; the first so many groups of the rest are trained on. FOLDER gets
NAME~LR~SEED.npz (probabilities [views, n, C] of identity and hflip, labels [n], groups [n], photos [n]) and .json beside it
(the entry, photos, steps, core seconds, train_loss of the last epoch). One that stands there is not trained again. Each
training has one CPU thread, so the numbers do not depend on how many run.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from stages.base.talk import SILENT
from stages.data import photos
from stages.data.fold_data import FoldData, open_fold
from stages.learn import fit, predict
from stages.learn.around_training import Around
from stages.learn.learner import start
from stages.params.keys import flat, nested
from stages.params.load import load, parse
from stages.params.schema import Params

VIEWS = ("identity", "hflip")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    plan, folder = options.plan.resolve(), options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    while entry := taken(json.loads(plan.read_text()), folder):
        began = time.process_time()
        found, told = trained(entry)
        told |= {"entry": entry, "core_seconds": time.process_time() - began}
        keep(folder / named(entry), found, told)
        print(named(entry), f"{told['core_seconds']:.0f} s", file=sys.stderr, flush=True)


def taken(plan: list[dict[str, Any]], folder: Path) -> dict[str, Any] | None:
    """The plan's first entry that is neither trained nor in another process's hands; it is in this one's then."""
    for entry in plan:
        name = named(entry)
        if (folder / f"{name}.json").exists():
            continue
        lock = folder / f"{name}.lock"
        if lock.exists() and psutil.pid_exists(int(lock.read_text() or 0)):
            continue
        lock.write_text(str(os.getpid()))
        return entry
    return None


def named(entry: dict[str, Any]) -> str:
    return f"{entry['name']}~{entry['lr']:g}~{entry['seed']}"


def keep(path: Path, arrays: dict[str, Any], told: dict[str, Any]) -> None:
    """The arrays, then what says that they are whole; the lock is not needed any more."""
    np.savez(path.with_name(path.name + ".npz"), **arrays)
    path.with_name(path.name + ".json").write_text(json.dumps(told))
    path.with_name(path.name + ".lock").unlink(missing_ok=True)


def trained(entry: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Train an entry of the plan; what it says of the judged photos, and how the training went."""
    params, whole, data = side(entry)
    groups = photos.read(whole.task)["group"].to_numpy(str)
    learner = start(params, data, 0, entry["lr"], predict.accelerator(params), SILENT)
    states: list[dict[str, Tensor]] = []
    around = Around(on_epoch=lambda _: states.append({k: v.clone() for k, v in learner.validated.state_dict().items()}))
    progress = fit.fit(learner, around)
    asked = predict.Asked(whole.task, whole.pixels, whole.val, VIEWS)
    learner.bare.load_state_dict(mean(states[-entry.get("average", 1) :]))
    learner.bare.eval()
    arrays = {
        "probabilities": predict.of_views(learner.bare, asked, params),
        "labels": whole.labels[whole.val],
        "groups": groups[whole.val],
    }
    told = {"photos": len(data.train), "steps": learner.updates, "train_loss": progress.history[-1]["train_loss"]}
    return arrays, told


def side(entry: dict[str, Any]) -> tuple[Params, FoldData, FoldData]:
    """An entry's params, fold 0 of its project, whose folder it goes into, and the side of it that is trained on."""
    os.chdir(entry["project"])
    params = load()
    params = parse(nested(flat(params.model_dump(mode="json")) | entry["changes"] | {"seed": entry["seed"]}))
    whole = open_fold(params, 0)
    groups = photos.read(whole.task)["group"].to_numpy(str)
    some = np.random.default_rng(0).permutation(np.unique(groups[whole.train]))[: entry["groups"]]
    return params, whole, replace(whole, train=whole.train[np.isin(groups[whole.train], some)], val=whole.val[:0])


def mean(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of several epochs' weights, batch norm's statistics among them; counters are the last one's."""
    last = states[-1]
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if last[name].is_floating_point() else last[name]
        for name in last
    }


if __name__ == "__main__":
    main()
