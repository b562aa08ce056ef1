"""What `lr: auto` loses against the best of a grid of learning rates, from trainings that bench/trials.py has kept.

python bench/regret.py FOLDER [FOLDER ...]         the table, 80 columns wide
python bench/regret.py FOLDER --write              also into docs/learning_rate.md
python bench/regret.py FOLDER --measure            first run lr-find's range test on what the trainings were trained on

A cell is a setting (NAME~LR~SEED without LR and SEED), with macro F1 of the judged people, both views averaged, mean over the
seeds that every rate has. Auto's rate comes from auto.json in the first FOLDER ({"PROJECT GROUPS SEED EPOCHS": rate}, which
--measure writes); its score is interpolated over log lr between the two rates beside it. regret: the best rate's score minus
auto's; the best of several noisy scores flatters the grid, so `honest` takes the best rate of one half of the people and scores
it on the other, mean over SPLITS halvings. A rate beyond the grid is scored as the grid's nearest and marked *.
"""

import argparse
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trials

from stages import lr_find
from stages.base.talk import SILENT
from stages.judge.metrics import macro_f1
from stages.learn import lr_range_test, predict
from stages.learn.learner import start
from stages.records import lr_json

SPLITS = 100
PAGE = Path(__file__).resolve().parents[1] / "docs/learning_rate.md"
TABLE = re.compile(r"(?<=<!-- set-up: python bench/regret.py FOLDER --write -->\n).*?(?=<!-- /set-up -->)", re.DOTALL)
GOAL = (0.01, 0.025)  # mean and worst regret


@dataclass(frozen=True)
class Trial:
    """One training: the entry of its plan, and what it answers for the judged photos."""

    entry: dict[str, Any]
    labels: np.ndarray  # [n]
    answers: np.ndarray  # [n]
    groups: np.ndarray  # [n]
    classes: int


@dataclass(frozen=True)
class Row:
    """One cell of the table; rates in the order of `lrs`."""

    name: str
    seeds: int
    lrs: list[float]
    scores: list[float]
    auto_lr: float
    auto: float
    regret: float
    honest: float
    outside: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", help="settings whose name this pattern finds")
    options = parser.parse_args()
    found = [trial for folder in options.folders for trial in read(folder) if re.search(options.only, name_of(trial))]
    file = options.folders[0].resolve() / "auto.json"
    rates: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    if options.measure:
        measure([trial.entry for trial in found], rates, file)
    text = table(rows(found, rates))
    print(text)
    if options.write:
        PAGE.write_text(
            TABLE.sub(lambda _: f"\n{indented(text)}\n\n", PAGE.read_text(encoding="utf-8")), encoding="utf-8"
        )


def read(folder: Path) -> list[Trial]:
    """All trainings of a folder that are whole."""
    found = []
    for path in sorted(folder.glob("*~*.json")):
        with np.load(path.with_suffix(".npz")) as arrays:
            votes = arrays["probabilities"].mean(0)
            entry = json.loads(path.read_text())["entry"]
            found.append(Trial(entry, arrays["labels"], votes.argmax(1), arrays["groups"], votes.shape[1]))
    return found


def name_of(trial: Trial) -> str:
    return str(trial.entry["name"])


def measure(entries: list[dict[str, Any]], rates: dict[str, float], file: Path) -> None:
    """Run the range test on each training side that auto.json does not have yet."""
    for entry in entries:
        if (key := key_of(entry)) in rates:
            continue
        params, _, data = trials.side(entry)
        learner = start(lr_find.plain(params), data, 0, params.lr_find.end, predict.accelerator(params), SILENT)
        reading = lr_range_test.read(*lr_find.range_test(learner, SILENT))
        if reading is None:
            raise SystemExit(f"{key}: the loss does not fall")
        rates[key] = reading.suggestion
        file.write_text(json.dumps(rates, indent=1) + "\n")


def key_of(entry: dict[str, Any]) -> str:
    """What the range test of an entry depends on, of all that plans vary: with the epochs its steps."""
    epochs = entry["changes"].get("train.epochs", "")
    return f"{Path(entry['project']).name} {entry['groups']} {entry['seed']} {epochs}"


def share(entry: dict[str, Any]) -> float:
    """Of the range test's rate, as lr_json.share."""
    alone = entry["changes"].get("loss") == "f1" and not entry["changes"].get("losses.f1.ce_mix")
    return lr_json.F1_SHARE if alone else 1.0


def rows(found: list[Trial], rates: dict[str, float]) -> list[Row]:
    """A row for each setting that was trained with three rates or more."""
    cells: dict[str, list[Trial]] = defaultdict(list)
    for trial in found:
        cells[name_of(trial)].append(trial)
    made = []
    for name, cell in sorted(cells.items()):
        lrs = sorted({trial.entry["lr"] for trial in cell})
        at = {(trial.entry["lr"], trial.entry["seed"]): trial for trial in cell}
        seeds = sorted(seed for seed in {seed for _, seed in at} if all((lr, seed) in at for lr in lrs))
        if len(lrs) >= 3 and seeds:
            auto = share(cell[0].entry) * float(
                np.exp(np.mean([np.log(rates[key_of(at[lrs[0], seed].entry)]) for seed in seeds]))
            )
            made.append(judged(name, lrs, [[at[lr, seed] for seed in seeds] for lr in lrs], auto))
    return made


def judged(name: str, lrs: list[float], grid: list[list[Trial]], auto: float) -> Row:
    """Regret of the rate `auto` over a grid: trainings of each rate, one a seed."""
    groups = grid[0][0].groups
    names, rng = np.unique(groups), np.random.default_rng(0)
    scores = scored(grid, np.ones(len(groups), bool))
    honest = []
    for _ in range(SPLITS):
        half = np.isin(groups, rng.permutation(names)[: len(names) // 2])
        first, second = scored(grid, half), scored(grid, ~half)
        for chosen, on in ((first, second), (second, first)):
            honest.append(on[int(np.argmax(chosen))] - at_rate(auto, lrs, on))
    own = at_rate(auto, lrs, scores)
    outside = not lrs[0] <= auto <= lrs[-1]
    return Row(name, len(grid[0]), lrs, scores, auto, own, max(scores) - own, float(np.mean(honest)), outside)


def scored(grid: list[list[Trial]], which: np.ndarray) -> list[float]:
    """Macro F1 of each rate on those photos, mean over its seeds."""
    return [
        float(np.mean([macro_f1(one.labels[which], one.answers[which], one.classes) for one in of_rate]))
        for of_rate in grid
    ]


def at_rate(lr: float, lrs: list[float], scores: list[float]) -> float:
    return float(np.interp(np.log(lr), np.log(lrs), scores))


def table(made: list[Row]) -> str:
    """Answer first; then the cells, and their mean and worst."""
    if not made:
        return "no setting was trained with three rates"
    regrets, honest = np.array([row.regret for row in made]), np.array([row.honest for row in made])
    met = "met" if regrets.mean() <= GOAL[0] and regrets.max() <= GOAL[1] else "not met"
    lines = [
        f"regret of lr: auto over {len(made)} settings: mean {regrets.mean():.3f}, worst {regrets.max():.3f}",
        f"  (goal {GOAL[0]} and {GOAL[1]}: {met}); honest: mean {honest.mean():+.3f}, worst {honest.max():+.3f}",
        f"{'setting':<18}{'grid':<15}{'best':>6}{'at':>8}{'auto':>7}{'at':>9}{'regret':>8}{'honest':>8}",
    ]
    for row in made:
        best = int(np.argmax(row.scores))
        grid = f"{row.lrs[0]:g}..{row.lrs[-1]:g}"
        lines.append(
            f"{row.name:<18}{grid:<15}{row.scores[best]:>6.3f}{row.lrs[best]:>8g}{row.auto:>7.3f}"
            f"{row.auto_lr:>8.2g}{'*' if row.outside else ' '}{row.regret:>8.3f}{row.honest:>+8.3f}"
        )
    return "\n".join(lines)


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


if __name__ == "__main__":
    main()
