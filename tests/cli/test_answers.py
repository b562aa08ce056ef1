"""Everything that is printed for people, with made-up results that are long, at three widths."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from cli import console
from cli.lines import Lines
from cli.tables import audit as audit_table
from cli.tables import blend as blend_table
from cli.tables import check as check_table
from cli.tables import cluster as cluster_table
from cli.tables import compare as compare_table
from cli.tables import eda as eda_table
from cli.tables import epochs as epochs_table
from cli.tables import judged_rows
from cli.tables import predict as predict_table
from cli.tables import pseudo_label as pseudo_label_table
from cli.tables import refit as refit_table
from cli.tables import score as score_table
from cli.tables import screen as screen_table
from cli.tables import screen_frozen as screen_frozen_table
from cli.tables import submit_now as submit_now_table
from cli.tables import summary as summary_table
from cli.tables import tta_search as tta_search_table
from stages.by_hand import blend
from stages.by_hand.check import Finding, Report
from stages.by_hand.check_estimates import Estimate
from stages.by_hand.cluster import Found
from stages.by_hand.cluster_landing import Landed
from stages.by_hand.compare import of_classes
from stages.data.task_and_classes import CONTEST, Task
from stages.judge.paired_difference import (
    BETTER,
    MODEL_BETTER,
    MODEL_WORSE,
    TOO_FEW,
    UNDECIDED,
    WORSE,
    Comparison,
    Difference,
)
from tests.differences import made as made_difference
from tests.report.made import CELLS, MANY

WIDTHS = (60, 80, 120)
LONG = "an_experiment_whose_name_has_40_letters_"
KOREAN = "마스크를_쓴_사람의_실험"
PATH = "out/tta-predict/submission.csv"
Make = Callable[[int], Lines]


def difference(metric: str, verdict: str = UNDECIDED, seed_sd: float | None = 0.0123) -> Difference:
    return replace(made_difference(metric, -0.0120, 0.0318, verdict, seed_sd), units="people")


def compared(a: str = LONG, b: str = KOREAN, task: Task = CONTEST) -> Comparison:
    names = ["macro_f1", *(f"f1_{name}" for name in task.subsets), *(f"f1_{number}" for number in range(task.classes))]
    rows = [difference(name) for name in [*names, "accuracy", "nll"]]
    rows += [difference(f"f1_{axis.name}") for axis in task.axes if len(task.axes) > 1]
    rows[1] = difference(names[1], TOO_FEW)
    notes = [f"the folds differ ({a}): the luck of the split is counted", of_classes(task)]
    rates = ("0.0132 (lr-find: range test)", "0.003 (params.yaml)")
    return Comparison(a, b, rows, notes, task, groups=132, rates=rates)


def corrected() -> Comparison:
    """Two runs between which corrections.csv changed labels."""
    found = compared("HEAD", "workspace")
    return replace(found, untouched=replace(compared("HEAD", "workspace"), groups=123, notes=[]))


def judged(**own: Any) -> dict[str, Any]:
    numbers = {"macro_f1": 0.4687, "difference": -0.0120, "low": -0.0458, "high": 0.0178, "p_value": 0.1234}
    return numbers | {"verdict": UNDECIDED, "detectable": 0.0445} | own


def screened(**own: Any) -> dict[str, Any]:
    changes = ("losses.ldam.max_margin=0.3,loss=ldam,model.head=mlp", "", "loss=class_balanced", "lr=0.0066")
    at: dict[str, Any] = {
        "epochs": 20,
        "folds": 3,
        "rung": 2,
        "val_nll": 1.2345,
        "val_nll_difference": 0.1,
        "fault": "",
    }
    rows = [judged(change=change, **at) for change in changes]
    rows[0] |= {"difference": 0.0312, "low": -0.0101, "high": 0.0725}
    rows[1]["verdict"] = "base"
    fault = "train: the class loss is NaN or infinite at epoch 1, step 3, learning rate 1; lower lr, set optimizer.clip_grad: 1"
    rows.append({"change": "lr=1", "verdict": "failed", "epochs": 5, "folds": 2, "rung": 1, "fault": fault})
    rung = {"candidates": 15, "share": 0.25, "folds": 2, "trainings": 32, "core_seconds": 12345.6}
    return {
        "rows": [{"rank": number, **row} for number, row in enumerate(rows, 1)],
        "people": 4500,
        "tried": 4,
        "lr": 0.0022,
        "folds": 5,
        "epochs": 20,
        "rungs": [rung, rung | {"candidates": 3, "share": 1.0, "folds": 3}],
        "whole": True,
        "next": {
            "change": changes[0],
            "name": "ldam-mlp",
            "switches": "-S loss=ldam -S model.head=mlp",
            "seconds": 3600.0,
            "base_is_committed": True,
        },
        "seconds": 2345.6,
    } | own


def heads(heads: tuple[str, ...] = ("linear", "mlp")) -> dict[str, Any]:
    rows = [
        judged(loss="balanced_softmax", sampler="class_uniform", head=head, f1_60plus=0.4024, val_nll=12.3456)
        for head in heads * 10
    ]
    rows[3]["verdict"] = "base"
    return {
        "rows": [{"rank": number, **row} for number, row in enumerate(rows, 1)],
        "base": "balanced_softmax class_uniform linear",
        "folds": 5,
        "repeats": 3,
        "people": 4500,
        "titles": {"f1_60plus": "60+ F1"},
        "backbone": f"test_resnet, {PATH}",
        "notes": ["can tell: which losses, samplers and heads suit these features; let `maskcli compare` decide"],
        "seconds": {"features": 12345.0, "heads": 678.9, "judge": 10.1},
    }


def searched() -> dict[str, Any]:
    names = ("identity hflip", "identity crop_bottom_right", "identity " + " ".join(f"shift_{n}" for n in range(15)))
    return {
        "recommended": ["identity", "hflip", "crop_bottom_right"],
        "current": ["identity"],
        "line": "tta: {views: [identity, hflip, crop_bottom_right]}",
        "identity_macro_f1": 0.4687,
        "people": 4500,
        "gain_nested": 0.0123,
        "gain_nested_low": -0.0123,
        "gain_nested_high": 0.0456,
        "gain_on_all": 0.0234,
        "views": [judged(views=name) for name in names],
        "votes": [judged(vote=name) for name in ("geometric", "hard", "rank")],
        "notes": ["folds vote on eval photos only (no two of them may predict the same OOF photo)"],
    }


def blended() -> dict[str, Any]:
    weights = {LONG: 0.123, KOREAN: 0.877}
    rows = [judged(weights=name, best_single=0.4687) for name in ("blend", "equal", "greedy", "convex")]
    return {
        "verdict": f"the blend is not shown to be better than the best single run; without evidence {LONG} is as good",
        "runs": dict.fromkeys(weights, 0.4687),
        "all_weights": dict.fromkeys(("equal", "greedy", "convex"), weights),
        "nested": [rows[0], *(row | {"macro_f1_fitted": 0.4699} for row in rows[1:])],
        "eval_photos": 12_345,
        "against_best_on_all": {"best": 0.4687, "difference": -0.0123, "low": -0.0456, "high": 0.0123},
        "best_single": LONG,
        "notes": [f"{KOREAN}: epochs were chosen on the scored photos, so this run looks better than it is"],
        "method": "convex",
        "people": 4500,
    }


def advised() -> dict[str, Any]:
    names = ("epoch", "val_f1", "val_f1_error", "val_f1_lost", "val_nll", "val_nll_error")
    return {
        "advice": "refit.epochs: 1000 for a refit; epoch 711 is the earliest within one standard error of the best",
        "runs": ["0.0", "10.2"],
        "best_f1": [711, 1000],
        "best_nll": [5, 6],
        "onset": [None, 711],
        "best_epoch_sd": 123.4,
        "curve": [dict(zip(names, (1000, 0.4687, 0.0123, 0.0012, 12.3456, 0.1234), strict=True))],
    }


def explored() -> dict[str, Any]:
    return {
        "people": 123_456,
        "photos": 864_192,
        "eval_photos": 12_345,
        "near_duplicates": 1234,
        "near_duplicates_with_eval": 123,
        "near_duplicates_complete": False,
        "blank_photos": 12,
        "faults": 1234,
        "unreadable_photos": 123,
        "classes": [{"class": LONG, "people": 123_456, "photos": 864_192}, {"class": KOREAN, "people": 1, "photos": 7}],
        "gender_people": {"male": 60_000, "female": 63_456},
        "age_people": {"60 and over": 123_456},
        "common_sizes": [{"width": 4000, "height": 3000, "photos": 864_192, "eval_photos": 12_345}],
        "sizes": 99,
    }


def ungrouped(classes: int = 3) -> dict[str, Any]:
    """What eda finds where no groups are known, and one axis."""
    found = explored()
    for name in ("people", "gender_people", "age_people"):
        del found[name]
    rows = [{"class": f"{LONG}{number}", "photos": number % 700} for number in range(classes)]
    return found | {"classes": rows}


def checked(state: str = "warning") -> Report:
    findings = [
        Finding("data set", "ok", "123456 people, 864192 photos, 12345 eval photos"),
        Finding("submission batch", state, f"{PATH}: the loss is NaN at epoch 1; set `train.mixed_precision: none`"),
    ]
    stages = [
        Estimate("train, 5 folds x 3, 10 at a time", "12345 photos/s, epoch 123.4 s", 123_456),
        Estimate("kfold", "", 3),
    ]
    return Report(findings, stages)


def summed(**own: Any) -> dict[str, Any]:
    names = (
        "macro_f1",
        "macro_f1_low",
        "macro_f1_high",
        "macro_f1_last",
        "macro_f1_other_folds",
        "macro_f1_best_epochs",
    )
    return {
        **dict.fromkeys(names, 0.4687),
        "people": 123_456,
        "photos": 864_192,
        "files": {"submission": PATH},
        "missing": {"LR curve": "out/lr-find/curve.png", "OOF": "out/oof-ensemble/oof.csv"},
        "get": "dvc pull",
        "why": "commit these results: others are compared with a commit's",
        "next": ["git add -A && git commit -m class_balanced", "maskcli screen"],
    } | own


def scored(**own: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"people": 40, "photos": 280, "interval_over": "photos"}
    for name in ("macro_f1", "f1_60plus", "accuracy", "f1_mask"):
        found |= {name: 0.5079, f"{name}_low": 0.3855, f"{name}_high": 0.68}
    return found | own


def audited(*suspects: dict[str, Any], **own: Any) -> dict[str, Any]:
    axis = {"of": "photos", "labels": 31_500, "likely_wrong": 209, "expected_wrong": 251.4, "ambiguous": 12}
    noise = {
        "axis": "age",
        "given": "30-59",
        "likely": "60+",
        "share": 0.0113,
        "share_low": 0.0071,
        "share_high": 0.0161,
    }
    noise |= {"units": 2101, "told_apart": 1}
    first = {"suspects": 50, "precision_estimated": 0.94, "decided": 20, "corrected": 17}
    return {
        "people": 4500,
        "photos": 31_500,
        "labels": 40_500,
        "likely_wrong": 209,
        "expected_wrong": 251.4,
        "listed": 431,
        "axes": {"mask": axis, "age": axis | {"of": "people", "labels": 4500, "likely_wrong": 0}},
        "first": [first, first | {"suspects": 100, "precision_estimated": 0.81}],
        "decided": 20,
        "corrected": 17,
        "suspects": list(suspects),
        "noise": [noise, noise | {"share_low": float("nan"), "share_high": float("nan"), "units": 3}, noise],
    } | own


def suspect(**own: Any) -> dict[str, Any]:
    file = f"000123_female_Asian_59/{LONG}.jpg"
    said = {"id": file, "axis": "mask", "given": "incorrect", "suggested": "none", "score": 0.9713, "ambiguous": 0}
    why = "looks none (0.97), and normal.jpg of the same group incorrect (0.95): swapped?"
    return said | {"value": "", "group": "000123", "photos": f"{file}|b.jpg", "why": why, "decided": ""} | own


def test_a_share_of_two_levels_that_the_models_hardly_tell_apart_is_marked() -> None:
    noise = audited()["noise"][0]
    for apart, marks in ((1, 0), (0, 2)):
        lines = [line for line, _ in audit_table.audit(audited(noise=[noise | {"told_apart": apart}]), 10, 80)]
        assert sum("1.1%?" in line or line.startswith("?: the models hardly tell") for line in lines) == marks


def test_where_no_label_is_likely_wrong_the_audit_says_how_many_may_be_wrong() -> None:
    axes = {name: axis | {"likely_wrong": 0} for name, axis in audited()["axes"].items()}
    assert first(audit_table.audit(audited(likely_wrong=0, axes=axes), 10, 500)).startswith(
        "no label is likely wrong (4500 people, 31500 photos); about 251 of all 40500 labels may be wrong"
    )


def test_a_suspect_of_one_axis_is_named_without_saying_its_label_twice() -> None:
    one = suspect(id="female normal/p000134_normal.jpg", axis="label", given="female normal", suggested="female mask")
    one |= {"group": one["id"], "photos": one["id"]}
    found = audited(one)
    found |= {"axes": {"label": found["axes"]["mask"]}, "noise": []}
    lines = [line for line, _ in audit_table.audit(found, 10, 80)]
    assert any(line.startswith("p000134_normal.jpg  female normal > female mask   0.97") for line in lines)


def submitted() -> dict[str, Any]:
    source = {"fold": 10, "repeat": 2, "state": "epoch 711 of 1000, of another run than the newest", "val_f1": 0.4687}
    return {
        "submission": "out/submit-now/submission.csv",
        "answers": 12_345,
        "vote": "geometric",
        "views": ["identity", "hflip", "crop_bottom_right"],
        "models": [source, source | {"val_f1": None}],
        "left_out": [
            source | {"reason": "below 0.8 of the finished models' median val_f1 0.4687: it would spoil the vote"}
        ],
        "folds_missing": [1, 2, 3],
    }


def labels(**own: Any) -> dict[str, Any]:
    return {
        "labels": "pseudo/labels.csv",
        "eval_photos": 12_345,
        **{f"fold_{number}": 360 for number in range(10)},
        "fold_all": 360,
        "classes_without_any": ", ".join(["incorrect female 60+"] * 12),
    } | own


def answered(*rows: dict[str, Any], **own: Any) -> dict[str, Any]:
    """What predict says of photos, with all that it may be asked for."""
    share = {"held": 0.9724, "held_low": 0.9331, "held_high": 0.9893, "level": 0.95, "fewest": 19, "own_threshold": 12}
    rare = [f"{mask} {gender} 60+" for mask in ("wear", "incorrect", "none") for gender in ("male", "female")]
    known = {"coverage": 0.2273, "accuracy": 0.7286, "accuracy_of_all": 0.5682, "least": 0.7, "photos": 210}
    ends = {f"{name}_{end}": value for name, value in known.items() for end in ("low", "high")}
    return {
        "photos": 12_345,
        "already_answered": 6789,
        "answered": 10_001,
        "abstained": 2340,
        "unreadable": 4,
        "classes_in_a_set": 4.604,
        "photos_per_second": 234.5,
        "passed_over": 17,
        "out": None if rows else "out/answers.csv",
        "abstain": known | ends,
        "set": share | {"units": "people", "shared_threshold": rare, "threshold_of_all": rare[:2]},
        **({"rows": list(rows)} if rows else {}),
    } | own


def photo(name: str = f"photos/{LONG}.jpg", **own: Any) -> dict[str, Any]:
    axes = {axis.name: {"label": axis.levels[0], "probability": 0.9876} for axis in CONTEST.axes}
    top = [{"label": name, "probability": 0.4321} for name in CONTEST.class_names[:3]]
    said = {"file": name, "class": 7, "label": "incorrect male 30-59", "probability": 0.6543, "abstained": False}
    return said | {"axes": axes, "top": top, "set": list(CONTEST.class_names[:7])} | own


BROKEN = {"file": f"photos/{KOREAN}.jpg", "error": "is cut off before its end; replace it by the original"}
REFIT = {"seeds": 3, "epochs": 1000, "train_photos": 864_192, "eval_photos": 12_345, "equal_answers": 0.918} | {
    "decision": "adjusted"
}
NO_EVAL: dict[str, Any] = {"eval_photos": 0, "equal_answers": None}
SCORES = {"macro_f1": 0.4683, "macro_f1_low": 0.4069, "macro_f1_high": 0.5568}
LANDED = [Landed(LONG, "0" * 40, SCORES, True), Landed(KOREAN, "1" * 40, SCORES | {"macro_f1": 0.4711}, False)]
CLAIMED = {"loss=focal": "is claimed by ann on gpu1 since 27 Nov 09:45, 3 h ago"}
ANSWERS: dict[str, Make] = {
    "cluster run": lambda width: cluster_table.cluster(Found(LANDED, {"bad": "it broke"}, CLAIMED), width),
    "cluster run, the workspace": lambda width: cluster_table.cluster(Found([replace(LANDED[0], name="")]), width),
    "cluster run, nothing left": lambda width: cluster_table.cluster(Found([], {}, CLAIMED), width),
    "compare": lambda width: compare_table.comparison([compared(), compared(b="b")], True, width),
    "compare, short names": lambda width: compare_table.comparison([compared("HEAD", "focal")], False, width),
    "score": lambda width: score_table.score(scored(), CONTEST, width),
    "score --than": lambda width: score_table.score(scored(), CONTEST, width, compared(f"{LONG}.csv", f"{KOREAN}.csv")),
    "screen": lambda width: screen_table.screen(screened(), 15, width),
    "screen, cut off": lambda width: screen_table.screen(screened(whole=False, next=None), 15, width),
    "screen --frozen": lambda width: screen_frozen_table.heads(heads(), 15, width),
    "screen --frozen, one head": lambda width: screen_frozen_table.heads(heads(("linear",)), 15, width),
    "tta-search": lambda width: tta_search_table.views(searched(), width),
    "blend": lambda width: blend_table.blend(blended(), width),
    "epochs": lambda width: epochs_table.epochs(advised(), width),
    "eda": lambda width: eda_table.eda(explored(), width),
    "eda, no groups": lambda width: eda_table.eda(ungrouped(), width),
    "eda, many classes": lambda width: eda_table.eda(ungrouped(1000), width),
    "compare, corrected labels": lambda width: compare_table.comparison([corrected()], False, width),
    "compare, many classes": lambda width: compare_table.comparison([compared("HEAD", "b", MANY)], True, width),
    "compare, groups": lambda width: compare_table.comparison([compared("HEAD", "b", CELLS)], True, width),
    "check": lambda width: check_table.check(checked(), width),
    "check, failed": lambda width: check_table.check(checked("failed"), width),
    "summary": lambda width: summary_table.summary(summed(), width),
    "refit": lambda width: refit_table.refit(REFIT, width),
    "refit, no eval set": lambda width: refit_table.refit(REFIT | NO_EVAL, width),
    "blend, no eval set": lambda width: blend_table.blend(blended() | NO_EVAL, width),
    "pseudo-label": lambda width: pseudo_label_table.pseudo_label(labels(), width),
    "predict": lambda width: predict_table.predict(answered(photo(), photo("b.jpg", label=None), BROKEN), width),
    "predict, one photo": lambda width: predict_table.predict(answered(photo("b.jpg"), photos=1), width),
    "predict, into a file": lambda width: predict_table.predict(answered(), width),
    "audit": lambda width: audit_table.audit(
        audited(suspect(), suspect(id=KOREAN, axis="age", value="59", ambiguous=1, decided="kept")), 10, width
    ),
    "audit, nothing found": lambda width: audit_table.audit(
        audited(axes={}, noise=[], first=[], decided=0, likely_wrong=0), 10, width
    ),
    "submit-now": lambda width: submit_now_table.submit_now(submitted(), width),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_fits_and_none_of_its_numbers_is_cut(name: str, width: int) -> None:
    lines = [line for line, _ in ANSWERS[name](width)]
    assert max(map(cell_len, lines)) <= width
    everywhere = [word for word, _ in ANSWERS[name](10_000)]
    numbers = {
        word for line in everywhere for word in line.split() if word.strip("+-.,;()%").replace(".", "").isdigit()
    }
    shown = " ".join(lines).split()
    assert numbers <= set(shown)
    assert not any("…" in line or "..." in line for line in lines)
    assert cell_len(lines[0]) > 20, "the first line is the answer in a sentence"


def test_without_an_eval_set_no_submission_is_named() -> None:
    for found in (refit_table.refit(REFIT | NO_EVAL, 200), blend_table.blend(blended() | NO_EVAL, 200)):
        text = " ".join(line for line, _ in found)
        assert "there is no eval set" in text
        assert "submission.csv" not in text


def first(lines: Lines) -> str:
    return " ".join(line.strip() for line, _ in lines).split("  ")[0]


def one(verdict: str, repeats: tuple[int, int] = (1, 1)) -> str:
    found = Comparison("ce", "focal", [difference("macro_f1", verdict)], [], CONTEST, groups=132, trainings=repeats)
    return compare_table.comparison([found], False, 500)[0][0]


def test_compare_begins_with_the_answer_in_one_sentence() -> None:
    gain = "(macro F1 -0.012, -0.044 to +0.020)"
    assert one(WORSE) == f"focal is worse than ce {gain}, with 132 people and one training each"
    assert one(TOO_FEW) == "focal against ce: too few people to tell (macro F1 -0.012)"
    assert one(UNDECIDED, (3, 3)) == (
        f"focal against ce: no evidence either way {gain}; with 132 people and 3 trainings each only differences of 0.045 or "
        "more show"
    )
    assert one(MODEL_WORSE) == (
        "focal against ce: this trained model scores lower (macro F1 -0.012, -0.028 to +0.004 over people), but another seed "
        "could have made it so; train.repeats: 2 in both would tell more of the method (with 132 people and one training each "
        "only differences of 0.045 or more show)"
    )
    assert "train.repeats: 4 in both would tell" in one(MODEL_WORSE, (1, 3))
    assert "with 132 people and 1 and 3 trainings" in one(MODEL_WORSE, (1, 3))


def test_a_score_that_is_the_same_in_every_sample_has_no_interval_and_no_least_difference() -> None:
    row = replace(difference("macro_f1"), a=0.0, b=0.0, difference=0.0, low=0.0, high=0.0, detectable=None)
    found = Comparison("ce", "focal", [row], [], CONTEST, groups=132)
    answer, *table = [line for line, _ in compare_table.comparison([found], False, 200)]
    assert (
        answer == "focal against ce: no evidence either way, for both have the same macro F1 in every sample of people"
    )
    assert table[1].split() == ["macro", "F1", "0.000", "0.000", "+0.000", "no", "evidence"]


def test_a_difference_that_is_the_same_in_every_sample_is_told_without_brackets() -> None:
    same = {"difference": 0.0, "low": 0.0, "high": 0.0}
    found = screened(next=None)
    found["rows"] = [found["rows"][2] | same]
    assert screen_table.why(found) == "nearest stands loss=class_balanced: +0.000 after 20 epochs on 3 folds"
    frozen = heads()
    frozen["rows"][0] |= same
    assert first(screen_frozen_table.heads(frozen, 3, 500)).endswith("linear, 0.4687, +0.0000")
    mixed = blended()
    mixed["against_best_on_all"] |= same
    (line,) = [line for line, _ in blend_table.blend(mixed, 500) if "against it" in line]
    assert line.endswith("the blend against it: +0.0000")
    views = searched() | {"gain_nested": 0.0, "gain_nested_low": 0.0, "gain_nested_high": 0.0}
    assert any("other people; +0.0234" in line for line, _ in tta_search_table.views(views, 500))
    assert blend.in_words(judged(**same), "ce", "people").endswith(
        ": +0.0000 macro F1 against the best single run, both chosen on other people; without evidence ce alone is as good"
    )


def test_where_labels_were_corrected_both_answers_are_given() -> None:
    lines = [line for line, _ in compare_table.comparison([corrected()], False, 500)]
    first, second = (line for line in lines if "no evidence either way" in line)
    assert first == lines[0]
    assert "with 132 people" in first
    assert second.startswith("On people with the same labels in both runs: workspace against HEAD")
    assert "with 123 people" in second


def test_after_the_answer_one_candidate_takes_at_most_twelve_lines_of_80_columns() -> None:
    found = compared("HEAD", "focal")
    lines = [line for line, _ in compare_table.comparison([replace(found, notes=found.notes[1:])], False, 80)]
    answer = sum(len(line) > 0 for line in lines[: next(place for place, line in enumerate(lines) if "change" in line)])
    assert len(lines) - answer <= 12
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "learning rate: HEAD 0.0132 (lr-find: range test), focal 0.003 (params.yaml)"


def test_several_candidates_are_ranked_first_with_the_base_among_them() -> None:
    found = [compared("HEAD", "focal"), compared("HEAD", "ldam")]
    found[1].rows[0] = difference("macro_f1", BETTER)
    found[1].rows[0] = replace(found[1].rows[0], b=0.6, difference=0.1, low=0.05, high=0.15, detectable=0.07)
    lines = [line for line, _ in compare_table.comparison(found, False, 80)]
    assert lines[0].startswith("better than HEAD: ldam, of 2 candidates (over 132 people, 2 comparisons sharing")
    ranking = [line.split()[0] for line in lines if line.split()[0] in ("HEAD", "focal", "ldam")]
    assert ranking == ["ldam", "HEAD", "focal"]
    assert any("+0.100  +0.050 to +0.150      0.070*  better" in line for line in lines), "above what would show"
    assert not any("60+" in line for line in lines)
    whole = [line for line, _ in compare_table.comparison(found, True, 80)]
    assert sum(line.startswith("60+ F1") for line in whole) == 2


def test_the_same_models_under_two_names_are_told_as_such_once() -> None:
    same = "focal holds the same trained models as HEAD: there is no difference to find"
    lines = [
        line
        for line, _ in compare_table.comparison(
            [replace(compared("HEAD", "focal"), same=True, notes=[same])], False, 80
        )
    ]
    assert lines[0] == same
    assert sum("the same trained models" in line for line in lines) == 1
    # In a ranking, whose rows do not tell, it is a note.
    two = [replace(compared("HEAD", "focal"), same=True, notes=[same]), compared("HEAD", "ldam")]
    ranked = " ".join(line.strip() for line, _ in compare_table.comparison(two, False, 80))
    assert ranked.count(f"note: {same}") == 1


def test_compare_shows_classes_and_their_note_only_when_asked() -> None:
    short, whole = (
        [line for line, _ in compare_table.comparison([compared("HEAD", "focal")], classes, 80)]
        for classes in (False, True)
    )
    assert len(short) < 20
    assert not any("wear male" in line or "one in twenty" in line for line in short)
    assert sum("wear " in line or "incorrect " in line or "none " in line for line in whole) >= 18
    assert any("one by one" in line for line in whole)
    assert [line.split("  ")[0] for line in short if " 0.500 " in line] == (
        ["macro F1", "60+ F1", "accuracy", "val_nll", "mask F1", "gender F1", "age F1"]
    )


def test_of_many_classes_those_that_differ_most_are_shown_and_the_others_told_of() -> None:
    found = compared("HEAD", "focal", MANY)
    place = next(place for place, row in enumerate(found.rows) if row.metric == "f1_711")
    found.rows[place] = replace(found.rows[place], difference=0.0001, verdict="better")
    lines = [line for line, _ in compare_table.comparison([found], True, 80)]
    rows = [line for line in lines if " species " in line]
    assert len(rows) == 20
    assert rows[0].startswith("711 species 711"), "evidence before size"
    assert any(line.startswith("The 20 of 1000 classes that differ most; all are in --json") for line in lines)


def test_eda_speaks_of_what_there_is_and_of_many_classes_names_both_ends() -> None:
    few = "\n".join(line for line, _ in eda_table.eda(ungrouped(), 500))
    assert few.startswith("864192 training photos, 12345 eval photos\nnear-duplicates: at least 1234 pairs (123 of")
    assert not any(word in few for word in ("people", "People", "group "))
    many = [line for line, _ in eda_table.eda(ungrouped(1000), 500)]
    (heading,) = [line for line in many if line.startswith("Classes")]
    assert heading == (
        "Classes: the 10 commonest and the 10 rarest of 1000 (2 have no photo); all are in out/eda/class_counts.csv"
    )
    shown = [line.split()[1] for line in many if line.startswith(LONG)]
    assert shown == [*map(str, range(699, 689, -1)), "5", "5", "4", "4", "3", "3", "2", "2", "1", "1"]


def test_a_result_without_groups_counts_photos() -> None:
    found = {key: value for key, value in searched().items() if key != "people"} | {"photos": 924}
    lines = " ".join(line for line, _ in tta_search_table.views(found, 500))
    assert "on 924 photos" in lines
    assert "people" not in lines
    told = {key: value for key, value in summed().items() if key != "people"}
    assert "(864192 photos)" in " ".join(line for line, _ in summary_table.summary(told, 200))


def test_screens_heads_have_a_column_for_each_subset_of_the_task() -> None:
    found = heads()
    found["titles"] = {"f1_large": "10+ F1", "f1_odd": "odd F1"}
    found["rows"] = [{**row, "f1_large": 0.1234, "f1_odd": 0.5678} for row in found["rows"]]
    lines = [line for line, _ in screen_frozen_table.heads(found, 3, 500)]
    (heading,) = [line for line in lines if "macro F1" in line and "shows from" in line]
    assert "10+ F1  odd F1" in heading
    assert "60+" not in heading
    assert sum("0.1234" in line and "0.5678" in line for line in lines) >= 3


def test_screens_heads_say_first_whether_anything_is_better() -> None:
    found = heads()
    told = first(screen_frozen_table.heads(found, 3, 500))
    assert told.startswith("none of 19 others is shown to be better than balanced")
    found["rows"][0]["verdict"] = "better"
    told = first(screen_frozen_table.heads(found, 3, 500))
    assert told.startswith("better than balanced_softmax class_uniform linear")


def test_screen_says_first_what_to_train_next_how_sure_that_is_and_last_how_to_confirm_it() -> None:
    found = screened()
    lines = [line for line, _ in screen_table.screen(found, 15, 500)]
    assert lines[:2] == [
        "train losses.ldam.max_margin=0.3,loss=ldam,model.head=mlp next: macro F1 +0.031 (95 % interval -0.010 to +0.072) over "
        "params.yaml",
        "the best of 4 changes, after 20 epochs on 3 folds; with these people that is no evidence yet, only the best bet",
    ]
    assert lines[-3:] == [
        "next         all 5 folds at full length, about 60 min, to confirm it:",
        "  dvc exp run -n ldam-mlp -S loss=ldam -S model.head=mlp",
        "  maskcli compare HEAD ldam-mlp",
    ]
    found["next"]["base_is_committed"] = False
    assert [line for line, _ in screen_table.screen(found, 15, 500)][-4:-2] == [
        "  dvc repro",
        "  git add -A && git commit -m base",
    ]
    for verdict, told in (("better", "that shows"), (MODEL_BETTER, "these models are better, but another seed")):
        found["rows"][0]["verdict"] = verdict
        assert told in screen_table.screen(found, 15, 500)[1][0]
    assert first(screen_table.screen(found | {"whole": False}, 15, 500)).startswith("so far: train losses.ldam")


def test_screen_says_so_where_nothing_stands_above_params_and_where_nothing_is_known() -> None:
    found = screened(next=None)
    found["rows"] = [row for row in found["rows"] if row["rank"] > 1]
    lines = [line for line, _ in screen_table.screen(found, 15, 500)]
    assert lines[:2] == [
        "train params.yaml as it is: none of 4 changes stood above it",
        "nearest stands loss=class_balanced: -0.012 (95 % interval -0.046 to +0.018) after 20 epochs on 3 folds",
    ]
    assert first(screen_table.screen(found | {"rows": []}, 15, 500)).startswith("nothing is known yet")


def test_tta_search_says_first_what_to_set() -> None:
    found = searched()
    assert first(tta_search_table.views(found, 500)).startswith(
        "hflip, crop_bottom_right help; set tta: {views: [identity, hflip, crop_bottom_right]}"
    )
    found |= {"recommended": ["identity"], "line": "tta: {views: [identity]}"}
    assert first(tta_search_table.views(found, 500)).startswith("no view is shown to help; keep tta:")


def test_check_says_first_what_fails_or_how_long_all_takes() -> None:
    assert check_table.check(checked("failed"), 500)[0][0].startswith(f"submission batch fails: {PATH}")
    assert check_table.check(checked(), 500)[0][0] == "all works, with 1 to look at: `dvc repro` will take about 34.3 h"


def test_folds_without_pseudo_labels_are_named() -> None:
    lines = "\n".join(line for line, _ in pseudo_label_table.pseudo_label(labels(fold_3=0), 80))
    assert "0 to 360 for each fold" in lines
    assert "fold 3: nothing changes" in lines


def test_a_score_without_people_says_what_its_interval_is_over() -> None:
    over_photos = "\n".join(line for line, _ in score_table.score(scored(), CONTEST, 500))
    assert "intervals are over photos" in over_photos
    assert "over photos" not in "\n".join(
        line for line, _ in score_table.score(scored(interval_over="people"), CONTEST, 500)
    )
    absent = [line for line, _ in score_table.score(scored(f1_60plus=float("nan")), CONTEST, 80)]
    assert any(line.split() == ["60+", "F1", "none"] for line in absent)


def test_epochs_by_other_rules_stand_beside_one_repeat_as_they_are_scored() -> None:
    once, several = (
        " ".join(" ".join(line for line, _ in summary_table.summary(summed(**own), 80)).split())
        for own in ({}, {"repeats": 3, "macro_f1_seed_mean": 0.4321})
    )
    assert "last 0.4687; of a repeat alone, on average: 0.4321; fixed from the other folds" in several
    assert "repeat" not in once


def test_a_score_of_too_few_people_shows_no_interval_as_their_differences_show_none() -> None:
    ends = {"macro_f1_low": 0.0, "macro_f1_high": 1.0}
    few, enough = (
        "\n".join(
            line for line, _ in score_table.score(scored(people=people, interval_over="people", **ends), CONTEST, 80)
        )
        for people in (4, 5)
    )
    assert "macro F1 0.5079, too few people for an interval (4 people, 280 photos)" in few
    assert " to " not in few
    assert "macro F1 0.5079, 95 % interval 0.0000 to 1.0000 (5 people, 280 photos)" in enough


@pytest.mark.parametrize("width", WIDTHS)
def test_talk_fits_too(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    stream = io.StringIO()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stderr", stream)
    talk = console.talk()
    talk.say(
        f"fold 0: goes on from {PATH} (epoch 1 of 6, step 4 of the next); `maskcli train --fresh` would begin anew"
    )
    talk.table(
        "Faults", ["where", "problem", "mend", "person"], [[PATH, "is empty (zero bytes)", "replace it", "000001"]]
    )
    lines = stream.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert lines[0].startswith("fold 0: goes on from")
    for whole in (PATH, "`maskcli train --fresh`", "is empty (zero bytes)", "000001"):
        assert whole in stream.getvalue()


def test_predict_begins_with_the_answer() -> None:
    plain = {"file": "a.jpg", "class": 0, "label": "cat", "probability": 0.9312}
    bare = {"abstained": 0, "unreadable": 0, "already_answered": 0, "passed_over": 0, "photos": 1, "answered": 1}

    def lines(*rows: dict[str, Any], **own: Any) -> list[str]:
        found = answered(*rows, **bare | own)
        return [
            line
            for line, _ in predict_table.predict({k: v for k, v in found.items() if k not in ("abstain", "set")}, 80)
        ]

    assert lines(plain) == ["a.jpg: cat, probability 0.931"]
    assert lines(plain | {"label": None}) == ["a.jpg: no answer, not sure enough, probability 0.931"]
    assert lines({"file": "a.jpg", "error": "is empty (zero bytes); replace it"}) == [
        "a.jpg: is empty (zero bytes); replace it"
    ]
    assert lines(plain, plain, photos=2, answered=1, abstained=1)[0] == (
        "2 photos: 1 answered, 1 left open as not sure enough"
    )
    assert lines(photos=1, answered=1)[0] == "1 photo: 1 answered; all rows in out/answers.csv"
    assert lines(photos=9, answered=8, unreadable=1) == [
        "9 photos: 8 answered, 1 not readable; all rows in out/answers.csv"
    ]


@pytest.mark.parametrize("seen", [0.01, -0.05])
def test_the_mark_of_a_difference_as_large_as_one_that_would_show_is_explained_below_its_table(seen: float) -> None:
    row = judged(views=["hflip"], difference=seen)
    lines = [text for text, _ in judged_rows.judged("title", "view", "view", [row | {"view": "hflip"}], 80)]
    marked = abs(seen) > row["detectable"]
    assert ("0.044*" in " ".join(lines)) == marked
    assert (lines[-1] == "*: as large a difference as this was seen") == marked
