"""maskcli screen --frozen: whose features, kept how, and what comes out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from cli.main import app
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_npz
from stages.base.talk import SILENT
from stages.by_hand import screen_frozen
from stages.by_hand.screen_frozen import Choice
from stages.data.fold_data import open_fold
from stages.data.task_and_classes import CONTEST, Axis, Task
from stages.learn import frozen_features, heads_on_features, model
from stages.learn.heads_on_features import Plan
from stages.params.schema import Params
from stages.records import run_record
from tests.conftest import record_folds, small

FEW = Choice(losses=("ce", "focal"), samplers=("none", "weighted", "imbalanced"), epochs=2, repeats=2)


def write_models(params: Params, seed: int = 0) -> None:
    """What training leaves of each fold that screen reads; untrained weights do for that."""
    record = record_folds(params)
    for fold in params.folds:
        torch.manual_seed(seed + fold)
        net = model.build(model.architecture(params, CONTEST))
        model.save(paths.weights(fold), net.architecture, net.state_dict(), record)
        write_npz(paths.oof_logits(fold), photo=open_fold(params, fold).val, run=np.array(record.run))


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The views that were extracted, one entry a backbone and view."""
    calls: list[str] = []
    real = frozen_features._extract

    def spy(nets: list[model.Classifier], pixels: np.ndarray, names: tuple[str, ...], *rest: object) -> np.ndarray:
        calls.extend(name for _ in nets for name in names)
        return real(nets, pixels, names, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(frozen_features, "_extract", spy)
    return calls


def test_the_ranking_its_file_and_its_features(project: Path, extracted: list[str]) -> None:
    params = small()
    write_models(params)
    found = screen_frozen.run(params, FEW, SILENT)
    json.dumps(found, allow_nan=False)
    rows = found["rows"]
    assert len(rows) == 6
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["macro_f1"] for row in rows] == sorted((row["macro_f1"] for row in rows), reverse=True)
    assert [f"{row['loss']} {row['sampler']} {row['head']}" for row in rows if row["verdict"] == "base"] == [
        found["base"]
    ]
    for row in rows:
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["difference"] == pytest.approx(
            row["macro_f1"] - next(one["macro_f1"] for one in rows if one["verdict"] == "base"), abs=1e-6
        )
        assert set(row["lrs"].split()) <= {f"{lr:g}" for lr in screen_frozen.LRS}
    assert found["luck_sd"] > 0
    table = pd.read_csv(paths.SCREEN_HEADS)
    assert list(table.columns) == list(rows[0])
    assert list(table["loss"]) == [row["loss"] for row in rows]

    assert extracted == ["identity", "hflip"] * 2
    assert screen_frozen.run(params, FEW, SILENT)["rows"] == rows  # the same command, the same numbers
    assert len(extracted) == 4  # kept
    write_models(params, seed=7)
    other = screen_frozen.run(params, FEW, SILENT)["rows"]
    assert len(extracted) == 8  # other weights
    assert other != rows
    paths.SCREEN_FEATURES.write_bytes(b"cut off")
    screen_frozen.run(params, Choice(losses=("ce",), samplers=("none",), epochs=1, repeats=1, replicates=100), SILENT)
    assert len(extracted) == 12  # damaged


def test_the_combination_of_params_is_trained_also_where_not_asked_for(project: Path) -> None:
    params = small(sampler="sqrt")
    write_models(params)
    choice = Choice(losses=("bce",), samplers=("none",), heads=("mlp",), epochs=1, repeats=1)
    found = screen_frozen.run(params, choice, SILENT)
    assert {(row["loss"], row["sampler"], row["head"]) for row in found["rows"]} == {
        ("bce", "none", "mlp"),
        ("ce", "sqrt", "linear"),
    }
    assert found["luck_sd"] is None


def test_weights_that_have_seen_these_people_are_refused(project: Path) -> None:
    params = small()
    write_models(params)
    Path("elsewhere.safetensors").symlink_to(paths.weights(0))
    for name in (str(paths.weights(0)), "elsewhere.safetensors", "./out/../out/train/0/models/0.safetensors"):
        with pytest.raises(UserError, match="was trained on these photos"):
            screen_frozen.run(params, Choice(backbone=name), SILENT)
    with pytest.raises(UserError, match="was trained on these photos"):
        screen_frozen.run(small(model={"weights": str(paths.weights(1))}), Choice(), SILENT)
    paths.weights(1).rename("in_dvc_cache")  # with `dvc config cache.type symlink`
    paths.weights(1).symlink_to(Path("in_dvc_cache").resolve())
    with pytest.raises(UserError, match="was trained on these photos"):
        screen_frozen.run(params, Choice(backbone=str(paths.weights(1))), SILENT)
    # Models of another split: what fold 0 left out is not what it would be scored on.
    run = np.array(run_record.of_fold(0).run)
    write_npz(paths.oof_logits(0), photo=open_fold(params, 1).val, run=run)
    with pytest.raises(UserError, match="was not trained with the folds of"):
        screen_frozen.run(params, FEW, SILENT)


def test_random_features_are_refused_with_what_to_do(project: Path) -> None:
    for choice in (Choice(), Choice(backbone="params")):
        with pytest.raises(UserError, match="random features tell nothing"):
            screen_frozen.run(small(), choice, SILENT)
    with pytest.raises(UserError, match=r"--backbone mine.pth: no such file"):
        screen_frozen.run(small(), Choice(backbone="mine.pth"), SILENT)
    with pytest.raises(UserError, match="--losses: `fokal` is not known; did you mean `focal`"):
        screen_frozen.run(small(), Choice(losses=("fokal",)), SILENT)


def test_a_folds_learning_rate_is_chosen_by_the_other_folds() -> None:
    labels, fold_of = np.arange(18).repeat(2), np.tile([0, 1], 18)
    # The first learning rate is right on fold 0 alone, the second on fold 1 alone.
    classes = np.stack([np.where(fold_of == fold, labels, (labels + 1) % 18) for fold in (0, 1)]).astype(np.uint16)
    nll = np.ones(classes.shape, np.float32)
    assert list(screen_frozen.chosen(classes[None], nll[None], labels, fold_of)) == [1, 0]
    # Of equal macro F1 the lower loss decides.
    nll[1, fold_of == 1] = 0.5
    assert list(screen_frozen.chosen(np.stack([labels, labels])[None], nll[None], labels, fold_of)) == [1, 0]


def test_heads_that_would_take_too_much_memory_together_are_trained_a_few_samplers_at_a_time() -> None:
    """A fold's head on 2,048 features of 1,000 classes has 2 million weights, and AdamW holds four of each."""
    many = Task("folder", (Axis("label", tuple(f"{number:03d}" for number in range(1000))),), "photo")
    plan = Plan(model.architecture(small(), many), ("none", "weighted", "sqrt"), screen_frozen.LRS, 1)
    weights, outputs = 16 * 2048 * 1000, 32 * 64 * 1000
    assert heads_on_features.memory(plan, 2048, 5, 64) == (weights + outputs) * 5 * 3 * len(screen_frozen.LRS)

    def parts(folds: int, batch: int = 64) -> list[tuple[str, ...]]:
        return [part.samplers for part in screen_frozen.at_once(plan, 2048, folds, batch)]

    assert parts(5) == [plan.samplers]
    assert parts(15) == [("none", "weighted"), ("sqrt",)]
    assert parts(50) == parts(5, 4096) == [("none",), ("weighted",), ("sqrt",)]
    assert screen_frozen.at_once(replace(plan, samplers=()), 2048, 5, 64) == []


def test_the_command_shows_a_table_and_gives_json(project: Path) -> None:
    params = small()
    torch.manual_seed(0)
    net = model.build(model.architecture(params, CONTEST))
    torch.save(net.backbone.state_dict(), "weights.pth")
    words = [
        "screen",
        "--frozen",
        "--backbone",
        "weights.pth",
        "--losses",
        "ce,focal",
        "--samplers",
        "none",
        "--epochs",
        "1",
    ]
    done = CliRunner().invoke(app, [*words, "--repeats", "1", "--top", "1"])
    assert done.exit_code == 0, done.output
    for part in ("macro F1", "base", "can tell", "cannot tell", "noise", "out/screen/heads.csv"):
        assert part in done.stdout
    done = CliRunner().invoke(app, [*words, "--repeats", "1", "--json"])
    found = json.loads(done.stdout)
    assert [row["loss"] for row in found["rows"]] in (["ce", "focal"], ["focal", "ce"])
    assert found["backbone"] == "test_resnet, weights.pth"


def test_many_photos_get_fewer_epochs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = small()
    folds = [open_fold(params, fold) for fold in params.folds]
    steps, _ = heads_on_features.batches(folds, params.train.batch_size)
    assert screen_frozen.default_epochs(params, folds) == 20
    for limit, epochs in ((5 * steps + 1, 5), (steps, 3)):
        monkeypatch.setattr(screen_frozen, "STEPS", limit)
        assert screen_frozen.default_epochs(params, folds) == epochs
