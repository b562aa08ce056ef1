"""Decision rule, test-time views and blending, as stages on files; the commands themselves run in test_pipeline.py."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import oof_ensemble, train, tta_predict
from stages.base import paths, revisions
from stages.base.errors import UserError
from stages.base.files import read_json, write_csv, write_json, write_npz
from stages.base.talk import SILENT, Talk
from stages.by_hand import blend, compare, submit_now, tta_search
from stages.data.task_and_classes import CONTEST, to_json
from stages.judge import class_offsets, ensemble_weights, nested_folds, votes
from stages.judge.metrics import log_softmax
from stages.submission import decision_rule
from tests.conftest import small
from tests.tasks import task_of

PEOPLE = 30
PERSON = np.repeat([f"{number:02d}" for number in range(PEOPLE)], 7)
LABELS = np.random.default_rng(0).integers(0, 18, len(PERSON))
IMAGES = np.array([f"{number}.jpg" for number in range(12)])


def probabilities(seed: int, photos: int = len(PERSON), right: float = 1.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(photos, 18))
    logits[np.arange(photos), LABELS[:photos]] += right
    return np.exp(log_softmax(logits))


def write_run(
    folder: Path, seed: int, photos: int = len(PERSON), eval_images: np.ndarray = IMAGES, vote: str = "soft"
) -> None:
    """The files of a revision that blend reads."""
    log_probabilities = np.log(probabilities(seed, photos))[None].astype(np.float32)
    write_npz(
        folder / paths.OOF_ARRAYS,
        photo=np.array([f"{person}/{place % 7}.jpg" for place, person in enumerate(PERSON[:photos])]),
        person=PERSON[:photos],
        label=LABELS[:photos],
        fold=np.arange(photos) // 7 % 5,
        selected=log_probabilities,
        last=log_probabilities,
        select=np.array("last"),
        seed=np.array(0),
    )
    write_npz(
        folder / paths.PROBABILITIES,
        image=eval_images,
        probabilities=probabilities(seed + 100, len(eval_images)).astype(np.float32),
    )
    (folder / "params.yaml").write_text(f"ensemble: {{vote: {vote}}}\n")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders that stand for revisions, and an empty working folder."""
    monkeypatch.setattr(revisions, "opened", lambda name, path: (tmp_path / "runs" / name / path).open("rb"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for seed, name in enumerate(("a", "b", "c")):
        write_run(tmp_path / "runs" / name, seed)
    return tmp_path / "runs"


def test_blend_writes_the_weighted_eval_predictions(runs: Path) -> None:
    # The second run lists its eval photos in another order: they are matched by name.
    order = np.random.default_rng(5).permutation(len(IMAGES))
    with np.load(runs / "b" / paths.PROBABILITIES) as arrays:
        write_npz(runs / "b" / paths.PROBABILITIES, image=IMAGES[order], probabilities=arrays["probabilities"][order])
    found = blend.run(["a", "b"], "convex", 100, 0, SILENT)
    weights = list(found["weights"].values())
    assert sum(weights) == pytest.approx(1)
    expected = weights[0] * probabilities(100, 12) + weights[1] * probabilities(101, 12)
    submission = pd.read_csv(paths.BLEND_SUBMISSION)
    assert submission["ImageID"].tolist() == IMAGES.tolist()
    assert submission["ans"].tolist() == expected.argmax(1).tolist()
    written = read_json(paths.BLEND_WEIGHTS, "blend")
    assert written["method"] == "convex"
    assert written["weights"] == pytest.approx(found["weights"])
    rows = {row["weights"]: row for row in written["nested"]}
    assert rows["blend"]["macro_f1"] == rows["convex"]["macro_f1"]
    for row in written["nested"]:
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["macro_f1"] - row["best_single"] == pytest.approx(row["difference"], abs=1e-6)


def test_without_an_eval_set_blend_weighs_and_answers_nothing(runs: Path) -> None:
    blend.run(["a", "b"], "equal", 100, 0, SILENT)
    assert paths.BLEND_SUBMISSION.exists()
    write_csv(paths.EVAL, pd.DataFrame(columns=["ImageID", "content"]))
    for name in ("a", "b"):
        (runs / name / paths.PROBABILITIES).unlink()
    found = blend.run(["a", "b"], "equal", 100, 0, SILENT)
    assert (found["eval_photos"], found["weights"]) == (0, {"a": 0.5, "b": 0.5})
    assert not paths.BLEND_SUBMISSION.exists()
    assert not paths.BLEND_PROBABILITIES.exists()


def test_runs_of_a_task_without_groups_are_blended_into_its_own_submission(runs: Path) -> None:
    task = task_of(18)
    for name in ("a", "b"):
        with np.load(runs / name / paths.OOF_ARRAYS) as arrays:
            kept = {key: value for key, value in arrays.items() if key != "person"}
        told = np.array(json.dumps(to_json(task)))
        write_npz(runs / name / paths.OOF_ARRAYS, **kept, group=kept["photo"], task=told)
    found = blend.run(["a", "b"], "auto", 100, 0, SILENT)
    assert "both chosen on other photos" in found["verdict"]
    submission = pd.read_csv(paths.BLEND_SUBMISSION)
    assert list(submission.columns) == ["file", "label"]
    assert set(submission["label"]) <= set(task.class_names)


def test_too_few_people_to_judge_weights_are_refused(runs: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        write_run(runs / name, seed, photos=14)
    with pytest.raises(
        UserError, match="blend: fewer than 3 people: weights cannot be fitted on some people and judged on"
    ):
        blend.run(["a", "b"], "auto", 100, 0, SILENT)


def test_tta_predict_says_that_there_is_no_eval_set(project: Path) -> None:
    pd.read_csv(paths.EVAL)[:0].to_csv(paths.EVAL, index=False)
    with pytest.raises(UserError, match="tta-predict: there is no eval set; to add one, name it in data"):
        tta_predict.run(small(), SILENT)
    with pytest.raises(UserError, match="submit-now: there is no eval set"):
        submit_now.run(small(), SILENT)


def test_blend_says_plainly_when_it_is_not_shown_to_be_better(runs: Path) -> None:
    for name in ("a", "b", "c"):  # three times the same predictions: there is nothing to gain
        write_run(runs / name, 0)
    found = blend.run(["a", "b", "c"], "auto", 100, 0, SILENT)
    assert found["nested"][0]["difference"] == 0
    assert found["verdict"].startswith("the blend is not shown to be better than the best single run: +0.0000")
    assert found["verdict"].endswith("without evidence a alone is as good")
    assert paths.BLEND_SUBMISSION.exists()


def test_blending_independent_runs_is_shown_to_be_better(runs: Path) -> None:
    found = blend.run(["a", "b", "c"], "auto", 500, 0, SILENT)
    assert found["nested"][0]["low"] > 0
    assert found["verdict"].startswith("the blend is better: +")


def test_blend_refuses_runs_that_do_not_fit_and_warns_of_votes_that_are_no_probabilities(runs: Path) -> None:
    write_run(runs / "other", 3, eval_images=np.append(IMAGES[1:], "new.jpg"))
    with pytest.raises(
        UserError, match=r"a and other: not the same eval photos \(2 only in one of them, first 0.jpg\)"
    ):
        blend.run(["a", "other"], "auto", 100, 0, SILENT)
    for names, message in ((["a"], "needs two runs or more"), (["a", "a"], "the same run stands twice")):
        with pytest.raises(UserError, match=message):
            blend.run(names, "auto", 100, 0, SILENT)
    assert not paths.BLEND_SUBMISSION.exists()
    write_run(runs / "rank", 3, vote="rank")
    assert any(
        note.startswith("rank (rank): votes") for note in blend.run(["a", "rank"], "equal", 100, 0, SILENT)["notes"]
    )


def test_blend_tells_of_a_run_whose_own_submission_adds_offsets_which_the_blend_does_not(runs: Path) -> None:
    told = {"run": "", "decision": "adjusted", "reason": "offsets help by 0.05"}
    write_json(runs / "b" / paths.SUBMISSION_SUMMARY, told)
    write_json(runs / "a" / paths.SUBMISSION_SUMMARY, told | {"decision": "argmax"})
    write_json(runs / "c" / paths.SUBMISSION_SUMMARY, told | {"run": "of an earlier submission"})
    notes = blend.run(["a", "b", "c"], "equal", 100, 0, SILENT)["notes"]
    assert [note for note in notes if "offsets" in note] == [
        "b: its own submission adds offsets (offsets help by 0.05); the blend's does not, and all scores here are of the most "
        "probable class"
    ]


def test_blend_tells_of_photos_and_people_that_not_all_runs_saw(runs: Path) -> None:
    write_run(runs / "fewer", 3, photos=len(PERSON) - 7)
    found = blend.run(["a", "fewer"], "equal", 100, 0, SILENT)
    assert found["notes"][0].startswith("a and fewer saw other photos or labels: 7 only in a, first 29/0.jpg")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"content": np.arange(2, 14, dtype=np.uint64)}, r"a and b: 12 eval photos differ in content, first 0.jpg"),
        (
            {"run": np.array("other")},
            r"b: out/tta-predict/probabilities.npz are of other folds than its OOF predictions",
        ),
    ],
)
def test_blend_refuses_eval_predictions_of_other_photos_or_folds(
    runs: Path, extra: dict[str, np.ndarray], message: str
) -> None:
    for name, more in (("a", {"content": np.arange(1, 13, dtype=np.uint64)}), ("b", extra)):
        with np.load(runs / name / paths.PROBABILITIES) as arrays:
            write_npz(runs / name / paths.PROBABILITIES, **(dict(arrays) | more))
    with pytest.raises(UserError, match=message):
        blend.run(["a", "b"], "equal", 100, 0, SILENT)


def watch(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[tuple[set[str], set[str]]]:
    """Note, for every use of fitted parameters, the people that they were fitted on and the people of the use.

    Photos are known by their first value; fitted parameters by their last value.
    """
    uses: list[tuple[set[str], set[str]]] = []
    original: Callable[..., np.ndarray] = getattr(module, name)
    fitted_on: list[set[str]] = []
    watch.fit = lambda people: fitted_on.append(people) or len(fitted_on) - 1  # type: ignore[attr-defined]

    def spy(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        photos, fitted = (one, other) if one.ndim > other.ndim else (other, one)
        uses.append((fitted_on[round(fitted[-1] * 1e6) % 1000], people_of(photos)))
        return original(one, other)

    monkeypatch.setattr(module, name, spy)
    return uses


OOF = np.stack([probabilities(seed) for seed in range(2)])


def people_of(photos: np.ndarray) -> set[str]:
    first = photos.reshape(-1, *photos.shape[-2:])[0]
    known = {
        row.tobytes(): person for source in (OOF[0], np.log(OOF[0])) for row, person in zip(source, PERSON, strict=True)
    }
    return {known[row.tobytes()] for row in first}


@pytest.mark.parametrize("kind", ["decision", "blend"])
def test_offsets_and_weights_are_never_used_on_people_they_were_fitted_on(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = watch(monkeypatch, *((class_offsets, "adjusted") if kind == "decision" else (ensemble_weights, "mix")))

    def fit(photos: np.ndarray, labels: np.ndarray) -> np.ndarray:
        number = watch.fit(people_of(photos)) * 1e-6  # type: ignore[attr-defined]
        return np.array([0.0] * 17 + [number]) if kind == "decision" else np.array([1.0, number])

    if kind == "decision":
        monkeypatch.setattr(class_offsets, "RULES", {"one": fit, "two": fit})
        decision_rule.judge(np.log(OOF[0]), LABELS, PERSON, CONTEST, small())
    else:
        monkeypatch.setattr(ensemble_weights, "WEIGHTINGS", {"one": fit, "two": fit})
        monkeypatch.setattr(ensemble_weights, "best_single", fit)
        nothing = np.zeros(0)
        base = compare.Run("a", CONTEST, nothing, PERSON, LABELS, nothing, nothing, nothing, "last", 0)
        blend.fit(blend.Judged(base, 100, 0), OOF, SILENT)
    nested_uses = [(fitted, used) for fitted, used in uses if len(fitted) < PEOPLE]
    assert (
        len(nested_uses) >= 2 * nested_folds.PARTS**2
    )  # two methods: 5 outer fits, and 4 inner ones for each of 5 parts
    assert all(fitted and used and not fitted & used for fitted, used in nested_uses)


@pytest.fixture
def trained(project: Path) -> Path:
    """Two folds trained, two repeats each, one epoch."""
    write_json(paths.LR_CHOSEN, {"lr": 0.003})
    params = small(train={"epochs": 1, "repeats": 2})
    for fold in params.folds:
        train.run(params, SILENT, fold)
    oof_ensemble.run(params, SILENT)
    return project


def test_stages_after_training_with_two_repeats(trained: Path) -> None:
    params = small(train={"epochs": 1, "repeats": 2}, tta={"views": ["identity", "hflip", "shift_left_1", "rotate_5"]})
    scores = read_json(paths.OOF_METRICS, "oof-ensemble")
    found = read_json(paths.DECISION, "oof-ensemble")
    assert scores["macro_f1_adjusted"] == pytest.approx(found["macro_f1_nested"])
    assert found["macro_f1_argmax"] == pytest.approx(scores["macro_f1"], abs=1e-6)
    assert scores["macro_f1_vote_soft"] == pytest.approx(scores["macro_f1"])
    assert {f"macro_f1_vote_{name}" for name in votes.VOTES} <= set(scores)

    # OOF photos under identity are predicted exactly as training left them in oof.npz.
    searched = tta_search.predict_oof(params, ("identity", "hflip"), SILENT)
    with np.load(paths.OOF_ARRAYS) as arrays:
        assert searched.of_view["identity"] == pytest.approx(np.exp(arrays["selected"]), abs=1e-4)
        assert (searched.fold == arrays["fold"]).all()
        assert (searched.label == arrays["label"]).all()
    assert not np.allclose(searched.of_view["identity"], searched.of_view["hflip"], atol=1e-3)

    result = tta_search.run(params, ["hflip", "scale_1.1"], 100, SILENT)
    tried = [row["views"] for row in result["views"]]
    assert tried == [
        "identity hflip",
        "identity scale_1.1",
        "identity hflip scale_1.1",
        "identity hflip shift_left_1 rotate_5",
    ]
    assert pd.read_csv(paths.TTA_VIEWS)["views"].tolist() == tried
    assert pd.read_csv(paths.TTA_VOTES)["vote"].tolist() == ["geometric", "hard", "rank"]
    assert result["recommended"][0] == "identity"
    assert result["line"] == f"tta: {{views: [{', '.join(result['recommended'])}]}}"

    tta_predict.run(params, SILENT)
    summary = read_json(paths.SUBMISSION_SUMMARY, "tta-predict")
    assert summary["views"] == list(params.tta.views)
    assert (summary["decision"], summary["answers_changed"]) == ("argmax", 0)

    # Asked to adjust: with evidence the offsets change the answers; without it argmax stays, and says so.
    offsets = np.eye(18)[4] * 50.0
    for offered, answers in ((True, {4}), (False, set(pd.read_csv(paths.SUBMISSION)["ans"]))):
        write_json(paths.DECISION, found | {"offered": offered, "offsets": offsets.tolist()})
        said: list[str] = []
        tta_predict.run(params.model_copy(update={"decision": "adjusted"}), Talk(said.append))
        assert set(pd.read_csv(paths.SUBMISSION)["ans"]) == answers
        summary = read_json(paths.SUBMISSION_SUMMARY, "tta-predict")
        assert summary["decision_asked"] == "adjusted"
        assert summary["decision"] == ("adjusted" if offered else "argmax")
        warned = [line for line in said if line.startswith("warning: decision: adjusted")]
        assert [line.endswith("argmax is kept") for line in warned] == ([] if offered else [True])
    with np.load(paths.PROBABILITIES) as arrays:  # stay as voted
        assert (arrays["probabilities"].argmax(1) == pd.read_csv(paths.SUBMISSION)["ans"]).all()

    paths.DECISION.write_text('{"offered": true, "offsets": [1]}')
    adjusted = params.model_copy(update={"decision": "adjusted"})
    with pytest.raises(UserError, match=r"decision.json: is damaged; run `maskcli oof-ensemble` again"):
        tta_predict.run(adjusted, SILENT)
    paths.DECISION.unlink()
    with pytest.raises(UserError, match=r"decision.json: not found; run `maskcli oof-ensemble`"):
        tta_predict.run(adjusted, SILENT)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (["hflp"], "tta-search: --view `hflp` is not known; did you mean `hflip`?"),
        (["shift_left_3"], "tta-search: --view shift_left_3: needs image.margin: 3 or more, it is 2"),
        (["identity"], "every view is compared with identity; name another one"),
    ],
)
def test_tta_search_refuses_views_it_cannot_try(views: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        tta_search.run(small(), views, 100, SILENT)


def test_only_views_with_evidence_are_recommended() -> None:
    """Identity sees the right class in 60 of 100 photos; `good` in nearly all, `noise` in none."""
    rng = np.random.default_rng(0)
    people = 120
    labels, person = rng.integers(0, 18, people * 7), np.repeat(np.arange(people), 7)

    def seen(right: float) -> np.ndarray:
        logits = rng.normal(size=(1, people * 7, 18))
        logits[0, np.arange(people * 7), labels] += right
        return np.exp(log_softmax(logits)).astype(np.float32)

    of_view = {"identity": seen(2.0), "good": seen(4.0), "noise": seen(0.0)}
    found = tta_search.Predicted(CONTEST, of_view, labels, person, np.arange(people * 7) // 7 % 5)
    tried = [("identity", "good"), ("identity", "noise"), ("identity", "good", "noise")]
    joined = tta_search.joiner(found, "soft")
    rows = tta_search.judge(found, joined, tried, np.arange(people * 7), 200, 0)
    assert [row["verdict"] for row in rows][:2] == ["better", "worse"]
    assert tta_search.recommended(rows, tried) == ("identity", "good")
    nothing = [row | {"verdict": "no evidence either way"} for row in rows]
    assert tta_search.recommended(nothing, tried) == ("identity",)
    only_all = [*nothing[:2], rows[2] | {"verdict": "better"}]
    assert tta_search.recommended(only_all, tried) == ("identity", "good", "noise")


def test_a_verdict_that_does_not_survive_the_correction_for_several_views_is_no_evidence() -> None:
    rng, people = np.random.default_rng(0), 60
    labels, person = rng.integers(0, 18, people * 7), np.repeat(np.arange(people), 7)
    base = rng.normal(size=(1, people * 7, 18))
    base[0, np.arange(people * 7), labels] += 2
    helps = base.copy()
    helps[0, np.arange(people * 7), labels] += 0.2
    of_view = {name: np.exp(log_softmax(one)) for name, one in (("identity", base), ("hflip", helps))}
    found = tta_search.Predicted(CONTEST, of_view, labels, person, np.arange(people * 7) // 7 % 5)
    one = ("identity", "hflip")
    alone, *shared = (
        tta_search.judge(found, tta_search.joiner(found, "soft"), [one] * count, np.arange(people * 7), 500, 0)[0]
        for count in (1, 2, 2000)
    )
    assert alone["verdict"] == "better"
    assert [row["p_value"] for row in shared] == pytest.approx(
        [min(1, count * alone["p_value"]) for count in (2, 2000)]
    )
    assert alone["low"] > 0 > shared[1]["low"]
    assert shared[1]["verdict"] == "no evidence either way"


def test_views_of_no_worth_are_rarely_recommended() -> None:
    """A/A: every view is identity with as much noise as the next, so none helps more than another."""
    people, times = 40, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels, person = rng.integers(0, 18, people * 7), np.repeat(np.arange(people), 7)
        logits = rng.normal(size=(people * 7, 18)) * 2
        logits[np.arange(people * 7), labels] += 2
        base = np.exp(log_softmax(logits))
        names = [f"v{number}" for number in range(4)]
        shaken = {name: np.exp(log_softmax(np.log(base) + rng.normal(size=base.shape) * 0.3))[None] for name in names}
        found = tta_search.Predicted(
            CONTEST, {"identity": base[None], **shaken}, labels, person, np.zeros(len(labels), int)
        )
        tried = [("identity", name) for name in names]
        rows = tta_search.judge(found, tta_search.joiner(found, "soft"), tried, np.arange(len(labels)), 200, seed)
        times += tta_search.recommended(rows, tried) != ("identity",)
    assert times <= 3
