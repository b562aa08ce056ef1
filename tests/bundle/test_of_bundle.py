"""A bundle answers as the project it comes from, wherever it lies and however it is packed; what is none is one line."""

import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from accelerate.state import AcceleratorState

from stages import oof_ensemble, tta_predict
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import read_json, write_csv, write_json, write_npz
from stages.base.talk import SILENT, Talk
from stages.bundle import of_bundle, of_project, out_of_fold, predictor
from stages.bundle.out_of_fold import OutOfFold
from stages.bundle.predictor import Predictor
from stages.by_hand import bundle
from stages.data import photos
from stages.judge import bootstrap, class_offsets, nested_folds
from stages.judge.metrics import log_softmax
from stages.learn import starting_weights
from stages.params.schema import Params
from stages.records.learnt_photos import Known
from tests.bundle import refusals
from tests.bundle.made import draw_folds, draw_refit
from tests.conftest import small
from tests.test_bad_input import documented, files_up_to, listing, maskcli, refused

BUNDLE, ZIP = refusals.BUNDLE, refusals.ZIP


@pytest.fixture
def any_precision() -> Iterator[None]:
    """accelerate keeps one precision for the whole process, whose other tests have theirs."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


def asked_for(opened: Predictor) -> np.ndarray:
    """Probabilities of all eval photos, asked some at a time."""
    pixels = np.load(paths.EVAL_PIXELS)
    return np.concatenate([predictor.probabilities(opened, pixels[start : start + 17]) for start in range(0, 42, 17)])


CHANGES: list[Any] = [
    {"train": {"repeats": 2}, "ensemble": {"vote": "geometric"}, "decision": "adjusted"},
    {"targets": "factored", "regression": {"weight": 0.1}, "model": {"head": "mlp", "hidden": 8, "dropout": 0.1}},
    {
        "loss": "ldam",
        "ensemble": {"vote": "hard"},
        "train": {"mixed_precision": "bf16"},
        "tta": {"views": ["rotate_5"]},
    },
    pytest.param({"model": {"name": "test_efficientnet", "options": {"pad_type": "same"}}}, marks=pytest.mark.slow),
    pytest.param({"train": {"mixed_precision": "bf16"}}, marks=pytest.mark.slow),
    pytest.param({"model": {"name": "test_vit", "options": {"img_size": [32, 32]}}}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.usefixtures("any_precision")
def test_project_folder_and_zip_answer_as_tta_predict(project: Path, changes: dict[str, Any]) -> None:
    params = small(**changes)
    draw_folds(params)
    if params.decision == "adjusted":
        found = read_json(paths.DECISION, "oof-ensemble")
        write_json(paths.DECISION, found | {"offered": True, "offsets": np.linspace(-2, 2, 18).tolist()})
    tta_predict.run(params, SILENT)
    bundle.run(params, BUNDLE, bundle.Asked(), SILENT)
    with np.load(paths.PROBABILITIES) as arrays:
        wanted = arrays["probabilities"]
    answers = pd.read_csv(paths.SUBMISSION)["ans"].to_numpy()
    for opened in (of_project.open_project(params), of_bundle.open_bundle(BUNDLE), of_bundle.open_bundle(ZIP)):
        found = asked_for(opened)
        assert found == pytest.approx(wanted, abs=1e-6)
        assert (predictor.answers(opened, found) == answers).all()
        assert predictor.calibrated(opened, found).sum(1) == pytest.approx(1)


def blur(params: Params) -> None:
    """Some classes get too much, and no photo is clear: offsets change answers, those of each part of the people others."""
    rng = np.random.default_rng(0)
    for fold in params.folds:
        with np.load(paths.oof_logits(fold)) as arrays:
            found = dict(arrays)
        drawn = log_softmax(rng.normal(size=found["selected"].shape) + np.linspace(0, 2, 18))
        write_npz(paths.oof_logits(fold), **found | {"selected": drawn.astype(np.float32)})
    oof_ensemble.run(params, SILENT)


def fitted_again(params: Params) -> OutOfFold:
    """What oof.npz says, the rule of each part of the people fitted on the others as decision.json names it."""
    told, scores = (read_json(path, "oof-ensemble") for path in (paths.DECISION, paths.OOF_METRICS))
    with np.load(paths.OOF_ARRAYS) as arrays:
        selected, labels, group = arrays["selected"], arrays["label"], bootstrap.numbered(arrays["person"])
    logs = np.log(np.exp(selected.astype(np.float64)).mean(0)) if len(selected) > 1 else selected[0]
    part, answers = nested_folds.parts(group, labels, seed=params.seed), np.full(len(labels), -1)
    for number, rule in enumerate(told["rule_of_each_group"]):
        others, own = part != number, part == number
        offsets = class_offsets.RULES[rule](logs[others], labels[others])
        answers[own] = class_offsets.adjusted(logs[own], offsets).argmax(1)
    assert (answers != logs.argmax(1)).any()
    assert (answers != (logs + told["offsets"]).argmax(1)).any()
    return out_of_fold.of(logs, labels, group, scores["temperature"], answers)


@pytest.mark.parametrize("repeats", [1, 2])
def test_answers_by_offsets_that_other_people_fitted_are_read_and_not_fitted_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, repeats: int
) -> None:
    params = small(decision="adjusted", train={"repeats": repeats})
    draw_folds(params)
    blur(params)
    refusals.offered()
    wanted = out_of_fold.to_bytes(fitted_again(params))
    monkeypatch.setattr(class_offsets, "RULES", dict.fromkeys(class_offsets.RULES, lambda *_: pytest.fail("fitted")))
    assert out_of_fold.to_bytes(of_project.open_project(params).oof) == wanted
    bundle.run(params, BUNDLE, bundle.Asked(), SILENT)
    assert (BUNDLE / out_of_fold.NAME).read_bytes() == wanted


def test_answers_that_were_not_kept_or_are_others_are_refused_where_offsets_answer(bundled: Path) -> None:
    refusals.offered()
    refusals.kept(adjusted=None)
    of_project.open_project(small())  # argmax needs none
    params = small(decision="adjusted")
    with pytest.raises(UserError, match=r"oof.npz: is of an earlier version, .*; run `maskcli oof-ensemble` again$"):
        of_project.open_project(params)
    oof_ensemble.run(params, SILENT)
    refusals.offered()
    of_project.open_project(params)
    for wrong in (np.zeros(168, np.uint16), np.zeros(167, np.uint16), np.full(168, 18, np.uint16)):
        refusals.kept(adjusted=wrong)
        with pytest.raises(UserError, match=r"oof-ensemble: is of another run than the folds that answer"):
            of_project.open_project(params)


def test_a_bundle_needs_nothing_of_its_project(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = of_project.open_project(small())
    wanted = asked_for(ours)
    monkeypatch.chdir(tmp_path)
    for name in ("bundle", "bundle.zip"):
        (bundled / "out" / name).rename(name)
    np.save("pixels.npy", np.load(bundled / paths.EVAL_PIXELS))
    shutil.rmtree(bundled)
    before = listing(Path())
    for name in ("bundle", "bundle.zip"):
        opened = of_bundle.open_bundle(Path(name), Talk(pytest.fail))
        assert predictor.probabilities(opened, np.load("pixels.npy")) == pytest.approx(wanted, abs=1e-6)
        assert opened.contents.own_task.class_names == ours.task.class_names
        for field in ("label", "group", "answer", "confidence", "true", "above"):
            assert (getattr(opened.oof, field) == getattr(ours.oof, field)).all()
    assert listing(Path()) == before  # nothing is unpacked


def test_a_zip_that_somebody_packed_anew_is_read_too(bundled: Path) -> None:
    shutil.copytree(BUNDLE, "masks/masks")
    archive = shutil.make_archive("again", "zip", "masks", "masks")
    with zipfile.ZipFile(archive, "a") as added:
        added.writestr("../../evil.txt", "not read, and not written")
    opened = of_bundle.open_bundle(Path(archive))
    assert asked_for(opened) == pytest.approx(asked_for(of_bundle.open_bundle(ZIP)), abs=1e-7)
    assert not (bundled.parent.parent / "evil.txt").exists()


def test_oof_numbers_are_those_of_the_oof_predictions(bundled: Path) -> None:
    opened = of_project.open_project(small())
    with np.load(paths.OOF_ARRAYS) as arrays:
        logs, label = arrays["selected"][0].astype(float), arrays["label"]
    probabilities = predictor.calibrated(opened, np.exp(logs))
    rows = np.arange(len(label))
    assert opened.oof.true == pytest.approx(probabilities[rows, label], abs=1e-6)
    assert (opened.oof.answer == logs.argmax(1)).all()
    assert opened.oof.confidence == pytest.approx(probabilities.max(1), abs=1e-6)
    first = probabilities[0]
    assert opened.oof.above[0] == pytest.approx(first[first > first[label[0]]].sum(), abs=1e-6)
    assert len(np.unique(opened.oof.group)) == 24


@pytest.mark.parametrize("case", refusals.OPEN)
def test_what_cannot_be_opened_is_one_line(bundled: Path, case: str) -> None:
    path, damage = refusals.OPEN[case]
    damage()
    with pytest.raises(UserError) as refusal:
        of_bundle.open_bundle(path)
    assert str(refusal.value) == documented()[case]


@pytest.mark.parametrize("case", refusals.WRITE)
def test_what_cannot_be_bundled_is_one_line(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    words, damage = refusals.WRITE[case]
    damage()
    refused(monkeypatch, capsys, words, case)


@pytest.mark.parametrize("case", refusals.FULL)
def test_a_disk_that_fills_up_leaves_the_bundle_before(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    with files_up_to(refusals.FULL[case]):
        refused(monkeypatch, capsys, ("bundle", "--force"), case)
    of_bundle.open_bundle(BUNDLE)


def test_a_disk_without_room_for_weights_is_one_line(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(Path())
    with files_up_to(100_000):  # safetensors' own words differ by version
        code, _, err = maskcli(monkeypatch, capsys, "bundle", "other")
    assert (code, listing(Path())) == (2, before)
    assert re.fullmatch(r"maskcli: other: cannot be written \(.*File too large.*\); free disk space .*", err[-1])
    assert not Path("other").exists()


def test_a_refit_is_bundled_with_the_folds_scores_and_temperature(bundled: Path) -> None:
    params = small(refit={"seeds": 2})
    draw_refit(params)
    bundle.run(params, Path("refitted"), bundle.Asked(refit=True), SILENT)
    opened, folds = of_bundle.open_bundle(Path("refitted.zip")), of_bundle.open_bundle(BUNDLE)
    assert [one.trained_as for one in opened.contents.networks] == ["refit seed 0", "refit seed 1"]
    assert opened.contents.scores == folds.contents.scores
    assert opened.contents.temperature == folds.contents.temperature
    assert asked_for(opened) == pytest.approx(asked_for(of_project.open_project(params, refit=True)), abs=1e-6)
    assert not np.allclose(asked_for(opened), asked_for(folds), atol=1e-3)


def test_the_same_models_give_the_same_bytes_under_any_name(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = maskcli(monkeypatch, capsys, "bundle", "elsewhere/masks.zip")
    assert (code, out.splitlines()[1]) == (0, "zip          elsewhere/masks.zip")
    assert Path("elsewhere/masks.zip").read_bytes() == ZIP.read_bytes()
    Path("new").touch()
    for path in BUNDLE.rglob("*"):
        assert path.is_dir() or path.stat().st_mode == Path("new").stat().st_mode  # safetensors' own: the writer alone
        same = Path("elsewhere/masks") / path.relative_to(BUNDLE)
        assert path.is_dir() or same.read_bytes() == path.read_bytes()


def test_force_replaces_a_bundle_and_no_zip_of_an_earlier_one_stays(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, _ = maskcli(monkeypatch, capsys, "bundle", "--fold", "1", "--no-zip", "--force", "--licence", "cc-by-4.0")
    assert code == 0
    assert not ZIP.exists()
    opened = of_bundle.open_bundle(BUNDLE)
    assert [one.trained_as for one in opened.contents.networks] == ["fold 1"]
    assert (opened.contents.kind, opened.contents.licence) == ("fold", "cc-by-4.0")
    assert (BUNDLE / "README.md").read_text().startswith('---\nlicense: "cc-by-4.0"\n')
    assert sorted(path.name for path in Path("out").iterdir() if path.name.startswith((".bundle", "bundle"))) == [
        "bundle"
    ]


@pytest.mark.slow
def test_a_byte_changed_anywhere_is_refused_or_changes_nothing(bundled: Path) -> None:
    rng, wanted = np.random.default_rng(0), asked_for(of_bundle.open_bundle(BUNDLE))
    places = [path for path in BUNDLE.rglob("*") if path.is_file()]
    for path in [*places, *[refusals.TOLD] * 60, *[ZIP] * 20]:
        content = path.read_bytes()
        place = int(rng.integers(len(content)))
        path.write_bytes(content[:place] + bytes([content[place] ^ int(rng.integers(1, 256))]) + content[place + 1 :])
        found = None
        with suppress(UserError):
            found = asked_for(of_bundle.open_bundle(ZIP if path == ZIP else BUNDLE))
        if found is not None:  # a letter of a score or a name, or what a .zip tells of its files besides
            assert path in (refusals.TOLD, ZIP)
            assert path == refusals.TOLD or found == pytest.approx(wanted, abs=1e-6)
        path.write_bytes(content)


def test_its_networks_start_no_training_on_the_photos_that_they_know(bundled: Path) -> None:
    shutil.move("out/bundle", "mine")
    path = next(Path("mine").glob("*/model.safetensors"))
    params = small(model={"weights": str(path)})
    with pytest.raises(UserError, match=r"model.safetensors was trained on these photos, which each fold is scored on"):
        starting_weights.check(params)
    table = pd.read_csv(paths.PHOTOS, dtype=str)
    write_csv(paths.PHOTOS, table[1:])
    with pytest.raises(
        UserError, match=r"model.safetensors was trained on 8\d of these 167 photos \(.*\), which each fold"
    ):
        starting_weights.check(params)
    # Also copied without the bundle that it comes from.
    with pytest.raises(UserError, match=r"best.safetensors was trained on 8\d of these 167 photos"):
        starting_weights.check(small(model={"weights": shutil.copy(path, "best.safetensors")}))
    write_csv(paths.PHOTOS, table.assign(content="0123456789abcdef"))  # other photos
    starting_weights.check(params)


def test_one_of_before_its_networks_said_what_they_know_is_known_by_its_table_alone(bundled: Path) -> None:
    shutil.move("out/bundle", "mine")
    path = next(Path("mine").glob("*/model.safetensors"))
    safetensors.torch.save_file(safetensors.torch.load(path.read_bytes()), path)
    params = small(model={"weights": str(path)})
    with pytest.raises(UserError, match=r"model.safetensors was trained on these photos, which each fold is scored on"):
        starting_weights.check(params)
    write_csv(paths.PHOTOS, pd.read_csv(paths.PHOTOS, dtype=str)[7:])
    starting_weights.check(params)
    assert len(starting_weights.warnings(path, "people")) == 1
    Path("mine/maskcli.json").write_text("{")
    assert starting_weights.warnings(path, "people") == []


def test_it_knows_what_its_networks_have_learnt_as_the_project_does(bundled: Path) -> None:
    for opened in (of_bundle.open_bundle(BUNDLE), of_bundle.open_bundle(ZIP), of_project.open_project(small())):
        assert len(opened.learnt) == 2
        contents = photos.content_of(photos.read(opened.task))
        assert Known(opened.learnt).standing_for(contents).tolist() == [1.0] * len(contents)
        assert not Known(opened.learnt).standing_for(photos.content_of(photos.read_eval())).any()


def test_one_of_format_1_which_has_no_digest_answers_and_what_reads_format_1_alone_is_told_to_be_older(
    bundled: Path,
) -> None:
    """That takes no key that it does not know: it would call a bundle with a digest damaged."""
    wanted = asked_for(of_bundle.open_bundle(BUNDLE))
    value = read_json(refusals.TOLD, "bundle")
    assert (value["format"], "digest" in value) == (2, True)
    del value["digest"]
    write_json(refusals.TOLD, value | {"format": 1})
    assert np.array_equal(asked_for(of_bundle.open_bundle(BUNDLE)), wanted)
