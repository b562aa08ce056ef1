"""Writes the figures of the demo set that README.md and docs/ quote, all from docs/figures.json.

python docs/write_figures.py            the pages again from docs/figures.json, and from bench/results.json
python docs/write_figures.py PROJECT    measures first: PROJECT is a clone in which `make demo` has ended. In a copy of it
                                        two experiments are run (four minutes on two free cores); PROJECT stays as it is

A page holds a figure between `<!-- figures: NAME -->` and `<!-- /figures -->`, which is written here, or between
`<!-- set-up: HOW IT WAS MADE -->` and `<!-- /set-up -->`, which is not: a measurement of its own. A test finds figures that
stand anywhere else.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs/figures.json"
PAGES = ("README.md", "docs/ensembling.md", "docs/screening.md", "docs/statistics.md")
BLOCK = re.compile(r"(<!-- figures: ([a-z-]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
EXPERIMENTS = {
    "focal": ("loss=focal",),
    "mixed": ("loss=balanced_softmax", "targets=factored"),
    "seed": ("seed=1",),
}
SAMPLES = 2000  # bootstrap samples of people
Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, nargs="?", help="a clone in which `make demo` has ended")
    project: Path | None = parser.parse_args().project
    if project is not None:
        FIGURES.write_text(json.dumps(measure(project.resolve()), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    for name in PAGES:
        path = ROOT / name
        path.write_text(written(path.read_text(encoding="utf-8"), figures), encoding="utf-8")


def written(page: str, figures: Figures) -> str:
    """The page with the content of every block made again."""
    return BLOCK.sub(lambda found: found[1] + BLOCKS[found[2]](figures) + found[3], page)


# Measuring


def measure(project: Path) -> Figures:
    """All of figures.json, from a copy of a project whose default run has ended."""
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".venv", "checkpoints"), symlinks=True)
        with contextlib.chdir(copy):
            return _measure()


def _measure() -> Figures:
    summary = _run("maskcli", "summary")  # as `make demo` ends with it: nothing is committed yet
    _run("git", "add", "-A")
    _run("git", "commit", "-qm", "ce", "--allow-empty")
    found: Figures = {
        "metrics": _read("out/oof-ensemble/metrics.json"),
        "decision": _read("out/oof-ensemble/decision.json"),
        "threads": list(_read("out/lr-find/lr.json")["threads"].values()),
        "summary": summary,
        "decided": _said("maskcli", "oof-ensemble"),
        "tta_shown": _run("maskcli", "tta-search", "--view", "hflip", "--view", "shift_down"),
        "tta": json.loads(_run("maskcli", "tta-search", "--json")),
        "eval": _on_eval(),
        "offsets_fitted": _offsets_where_fitted(),
    }
    for name, changes in EXPERIMENTS.items():
        _run("dvc", "exp", "run", "-q", "-n", name, *(word for change in changes for word in ("-S", change)))
        _run("git", "checkout", "-q", ".")
        _run("dvc", "checkout", "-q")
    found["blend_shown"] = _run("maskcli", "blend", "HEAD", "focal")
    found["blend"] = json.loads(_run("maskcli", "blend", "HEAD", "focal", "--json"))
    found["blend_mixed"] = json.loads(_run("maskcli", "blend", "HEAD", "focal", "mixed", "--json"))
    found["compare"] = {name: _compared(name) for name in EXPERIMENTS}
    found["compare_shown"] = {
        " ".join(names): _run("maskcli", "compare", "HEAD", *names)
        for names in (("focal",), ("seed",), ("focal", "mixed"))
    }
    return found


def _on_eval() -> dict[str, Any]:
    """Differences of macro F1 on the eval photos, whose truth and people the demo set's drawing tells."""
    sys.path.insert(0, str(ROOT / "bench"))
    from grouping import LARGEST, drawn_people

    from stages.base import paths
    from stages.base.talk import SILENT
    from stages.data import task_and_classes as tasks
    from stages.data.pixel_cache import open_cache
    from stages.judge import bootstrap, paired_difference, votes
    from stages.judge.paired_difference import Asked
    from stages.judge.training_noise import Training
    from stages.params.load import load
    from stages.records import run_record
    from stages.submission import decision_rule
    from stages.submission.eval_predictions import answer, predict_views

    params = load()
    task = tasks.read(params)
    truth = pd.read_csv("data/eval_truth.csv", dtype={"ImageID": str}).set_index("ImageID")["ans"]
    images = pd.read_csv(paths.EVAL, dtype={"ImageID": str})["ImageID"]
    known = drawn_people(0, len(images) // LARGEST)
    person, labels = images.map(known).to_numpy(str), truth.loc[images].to_numpy()
    pixels = open_cache(paths.EVAL_PIXELS, len(images), params)
    voters = predict_views(params, task, pixels, SILENT)  # folds x views
    of_fold = voters.reshape(len(params.folds), -1, *voters.shape[1:])
    run = run_record.joined(params, SILENT, "figures").run
    adjusted = decision_rule.settle(params.model_copy(update={"decision": "adjusted"}), task, SILENT, run).offsets
    offsets = np.array(_read("out/oof-ensemble/decision.json")["offsets"]) if adjusted is None else adjusted
    soft = votes.soft(voters)

    def against(base: np.ndarray, other: np.ndarray) -> dict[str, float]:
        runs = (bootstrap.of_run(person, labels, answers, classes=task.classes) for answers in (base, other))
        a, b = ([Training(bootstrap.pick(one, ("macro_f1",)))] for one in runs)
        return _plain(paired_difference.compare(a, b, Asked(SAMPLES, 0, same_models=True))[0])

    answers = soft.argmax(1)
    return {
        "folds": against(votes.soft(of_fold[0]).argmax(1), answers),
        "hflip": against(votes.soft(of_fold[:, 0]).argmax(1), answers),
        "decision": against(answers, answer(soft, offsets)),
        **{name: against(answers, vote(voters).argmax(1)) for name, vote in votes.VOTES.items() if name != "soft"},
        "people": len(set(known.values())),
    }


def _offsets_where_fitted() -> float:
    """Gain of free offsets on the very people they are fitted on."""
    from stages.judge import class_offsets, metrics

    with np.load("out/oof-ensemble/oof.npz", allow_pickle=False) as arrays:
        logits, labels = arrays["selected"].astype(np.float64).mean(0), arrays["label"]
    offsets = class_offsets.RULES["offsets"](logits, labels)
    adjusted, plain = class_offsets.adjusted(logits, offsets).argmax(1), logits.argmax(1)
    return metrics.macro_f1(labels, adjusted, len(offsets)) - metrics.macro_f1(labels, plain, len(offsets))


def _compared(name: str) -> dict[str, Any]:
    found = json.loads(_run("maskcli", "compare", "HEAD", name, "--json"))
    return next(row for row in _rows(found) if row.get("metric") == "macro_f1")


def _rows(found: Any) -> list[dict[str, Any]]:
    """The rows of differences in `compare --json`, wherever they stand."""
    if isinstance(found, dict):
        return ([found] if "difference" in found else []) + [row for value in found.values() for row in _rows(value)]
    return [row for value in found for row in _rows(value)] if isinstance(found, list) else []


def _plain(row: Any) -> dict[str, float]:
    return {name: float(getattr(row, name)) for name in ("a", "b", "difference", "low", "high")}


def _read(name: str) -> Any:
    return json.loads(Path(name).read_text(encoding="utf-8"))


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "COLUMNS": "80",
        "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done


def _run(*words: str) -> str:
    """A command's result, as a terminal of 80 columns shows it."""
    return _command(*words).stdout


def _said(*words: str) -> str:
    """What a command says beside its result, but for its progress."""
    own, kept = False, []
    for line in _command(*words).stderr.splitlines(True):
        own = line.startswith(f"{words[1]}:") or (own and line.startswith("  "))  # a paragraph goes on indented
        kept += [line] * own
    return "".join(kept)


# Writing


def _shown(command: str, output: str) -> str:
    lines = [f"$ {command}", *output.rstrip().splitlines()]
    return "\n" + "".join(f"    {line}".rstrip() + "\n" for line in lines) + "\n"


def _row(what: str, on: str, row: dict[str, Any], shown: str | None = None) -> str:
    helped = "yes" if row["low"] > 0 else "no: it harms" if row["high"] < 0 else "no"
    interval = f"{row['low']:+.3f} to {row['high']:+.3f}"
    return f"| {what} | {on} | {row['difference']:+.3f} | {interval} | {shown or helped} |\n"


def demo_end(figures: Figures) -> str:
    return "\n" + "".join(f"    {line}".rstrip() + "\n" for line in figures["summary"].rstrip().splitlines()) + "\n"


def gains(figures: Figures) -> str:
    """The table of what each choice brought."""
    on, tta, decided, blend = figures["eval"], figures["tta"], figures["decision"], figures["blend"]
    single = {row["views"]: row for row in tta["views"] if row["views"].count(" ") == 1}
    best, worst = (choose(single.values(), key=lambda row: row["difference"]) for choose in (max, min))
    every = max(tta["views"], key=lambda row: row["views"].count(" "))
    of = {row["weights"]: row for row in blend["nested"]}
    greedy = min((row for name, row in of.items() if name != "blend"), key=lambda row: row["p_value"])
    votes = ("geometric", "hard", "rank")
    by_vote = {row["vote"]: row for row in tta["votes"]}
    offsets = decided["rules"]["offsets"] - decided["macro_f1_argmax"]
    rule = decided["rule"].replace("_", " ")
    return (
        "| what | judged on | difference | 95 % interval | shown to help |\n|---|---|---|---|---|\n"
        + _row("five folds joined (soft) instead of fold 0 alone", "eval", on["folds"])
        + "".join(_row(f"vote {name} instead of soft, over folds and views", "eval", on[name]) for name in votes)
        + "".join(_row(f"vote {name} instead of soft, over views", "OOF", by_vote[name]) for name in votes)
        + _row("view hflip with identity", "OOF", single["identity hflip"])
        + _row("the same", "eval, five folds", on["hflip"])
        + _row(f"best of {len(single)} views ({best['views'].split()[1]})", "OOF", best)
        + _row(f"worst of them ({worst['views'].split()[1]})", "OOF", worst)
        + _row(f"all {len(single)} views with identity", "OOF", every)
        + _row("blend of ce and focal, weights chosen among three", "OOF, nested", of["blend"])
        + _row(
            f"the same, {greedy['weights']} weights (the best of the three by p)",
            "OOF, nested",
            greedy,
            f"p {greedy['p_value']:.3f} for all three together",
        )
        + _row("the same blend against the run that looks best on all people", "OOF", blend["against_best_on_all"])
        + _row("blend of ce, focal and mixed, likewise", "OOF, nested", figures["blend_mixed"]["nested"][0])
        + _row(f"decision rule ({rule})", "OOF, nested", decided, None if decided["offered"] else "no: not offered")
        + _row("the same, had it been used", "eval", on["decision"])
        + f"| free offsets for 18 classes | OOF, nested | {offsets:+.3f} | | |\n"
        + f"| the same, where they were fitted | OOF | {figures['offsets_fitted']:+.3f} | | flatters |\n"
    )


def base(figures: Figures) -> str:
    """What run the table is of."""
    found, threads = figures["metrics"], ", ".join(map(str, figures["threads"]))
    return (
        f"The base is the run of `make demo`: OOF macro F1 {found['macro_f1']:.4f}, folds with {threads} CPU threads.\n"
        "`python docs/write_figures.py PROJECT` measures all of it again.\n"
    )


def best_single(figures: Figures) -> str:
    blend = figures["blend"]
    nested, best = blend["nested"][0]["best_single"], blend["against_best_on_all"]["best"]
    return (
        f"The best single run chosen nested scores {nested:.4f}, the one that looks best on all people {best:.4f}; a blend's "
        "gain\nis given against both.\n"
    )


def tta_output(figures: Figures) -> str:
    return _shown("maskcli tta-search --view hflip --view shift_down", figures["tta_shown"])


def blend_output(figures: Figures) -> str:
    return _shown("dvc exp run -n focal -S loss=focal\n    $ maskcli blend HEAD focal", figures["blend_shown"])


def decision_output(figures: Figures) -> str:
    return _shown("maskcli oof-ensemble", figures["decided"])


def compare_output(figures: Figures) -> str:
    """What compare prints, command after command."""
    return "".join(_shown(f"maskcli compare HEAD {names}", said) for names, said in figures["compare_shown"].items())


def compared(figures: Figures) -> str:
    """The table of experiments against the base."""
    names = {
        "focal": "focal loss", "mixed": "balanced softmax, factored targets", "seed": "cross entropy, another seed",
    }  # fmt: skip
    rows = ((names[name], row) for name, row in figures["compare"].items())
    return "| candidate | macro F1 | difference, 95 % interval | verdict |\n|---|---|---|---|\n" + "".join(
        f"| {name} | {row['a']:.4f} to {row['b']:.4f} | {row['difference']:+.4f}, {row['low']:+.4f} to {row['high']:+.4f} | "
        f"{row['verdict']} |\n"
        for name, row in rows
    )


def screen_notes(figures: Figures) -> str:
    """What bench/screen.py --rank found when it was last run."""
    found = json.loads((ROOT / "bench/screen_ranks.json").read_text(encoding="utf-8"))
    return "\n" + "".join(f"- {note}\n" for note in found["notes"]) + "\n"


BLOCKS: dict[str, Callable[[Figures], str]] = {
    "demo-end": demo_end,
    "base": base,
    "gains": gains,
    "best-single": best_single,
    "tta-search": tta_output,
    "blend": blend_output,
    "decision": decision_output,
    "compare": compared,
    "compare-shown": compare_output,
    "screen": screen_notes,
}


if __name__ == "__main__":
    main()
