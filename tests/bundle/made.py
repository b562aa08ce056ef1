"""Trained projects that cost no training: the folds' outputs drawn, and joined by oof-ensemble itself."""

from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch

from stages import oof_ensemble
from stages.base import environment, paths
from stages.base.files import write_csv, write_json, write_npz
from stages.base.talk import SILENT
from stages.data import photos
from stages.data import task_and_classes as tasks
from stages.learn import model
from stages.learn.timm_import import load_timm
from stages.params.schema import Params
from stages.records import learnt_photos, run_record
from tests.conftest import record_folds
from tests.learn.test_merged_batch_norm import with_statistics


def draw_folds(params: Params, seed: int = 0) -> None:
    """In a prepared project: weights, OOF predictions and records of all folds and repeats, as `dvc repro` leaves them."""
    task = tasks.read(params)
    table = photos.read(task)
    unit = photos.unit_column(task)
    fold_of = table["group"].map(pd.read_csv(paths.FOLDS, dtype={unit: str}).set_index(unit)["fold"]).to_numpy()
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "source": "params.yaml"})
    record, rng = record_folds(params), np.random.default_rng(seed)
    repeats, epochs = params.train.repeats, params.train.epochs
    for fold in params.folds:
        which = np.flatnonzero(fold_of == fold)
        # Nearer to the truth than chance, so that there is something to score.
        votes = 1 + 9 * np.eye(task.classes)[table["label"].to_numpy()[which]]
        logits = np.log([[rng.dirichlet(row) for row in votes] for _ in range(repeats)]).astype(np.float32)
        arrays: dict[str, Any] = {"run": np.array(record.run), "photo": which, "selected": logits, "last": logits}
        write_npz(paths.oof_logits(fold), **arrays, predicted=np.repeat(logits.argmax(-1)[:, None], epochs, axis=1))
        names = ("train_loss", "val_loss", "val_nll", "val_f1")
        rows = pd.DataFrame({"epoch": range(1, epochs + 1), **dict.fromkeys(names, 0.5)})
        write_csv(paths.history(fold), pd.concat([rows.assign(repeat=repeat) for repeat in range(repeats)]))
        write_json(paths.train_environment(fold), environment.describe())
        write_json(paths.train_metrics(fold), {})
        for repeat in range(repeats):
            net = with_statistics(model.build(model.architecture(params, task)), 100 * fold + repeat)
            learnt = learnt_photos.of_training(record, photos.content_of(table)[fold_of != fold], ())
            model.save(paths.weights(fold, repeat), net.architecture, net.state_dict(), record, learnt)
    oof_ensemble.run(params, SILENT)


def draw_refit(params: Params, lr: float = 0.003, **data: str) -> None:
    """Beside the folds' outputs: weights and summary of a refit at this learning rate; `data`: digests of what it learnt."""
    task, record = tasks.read(params), run_record.made(params, lr, {})
    record = record.model_copy(update={"data": record.data | data})
    for seed in range(params.refit.seeds):
        net = with_statistics(model.build(model.architecture(params, task)), 1000 + seed)
        model.save(paths.refit_weights(seed), net.architecture, net.state_dict(), record)
    write_json(paths.REFIT_SUMMARY, {"lr": lr, "seeds": params.refit.seeds})


def another_architecture() -> bytes:
    """Weights of a model that no test trains."""
    content: bytes = safetensors.torch.save(load_timm().create_model("test_efficientnet", num_classes=18).state_dict())
    return content
