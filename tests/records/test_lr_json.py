"""What lr-find settled is taken only where it was settled for this run."""

from pathlib import Path
from typing import Any

import pytest

from stages import lr_find, train
from stages.base import paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT
from stages.records import lr_json
from stages.records.lr_json import Settled
from tests.conftest import small


def test_what_lr_find_writes_is_taken_and_refused_for_another_batch(project: object) -> None:
    lr_find.run(small(lr="auto", lr_find={"steps": 30}), SILENT)
    assert lr_json.read(small(lr="auto")).threads == {0: 1, 1: 1}
    with pytest.raises(
        UserError, match=r"lr\.json: was made with train\.batch_size: 32, .*; run `maskcli lr-find` again"
    ):
        train.run(small(lr="auto", train={"batch_size": 16}), SILENT, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"name": "test_vit"}},
        {"model": {"pretrained": True}},
        {"model": {"weights": "start.pth"}},
        {"image": {"height": 48}},
        {"image": {"width": 48}},
        {"optimizer": {"layer_decay": 0.8}},
        {"optimizer": {"weight_decay": 0.1}},
        {"train": {"mixed_precision": "bf16"}},
        {"augment": {"pipeline": "medium"}},
    ],
)
def test_all_that_decides_a_learning_rate_is_compared(project: Path, changes: dict[str, Any]) -> None:
    Path("start.pth").write_bytes(b"one")
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "measured_with": lr_json.measured_with(small(lr="auto"))})
    with pytest.raises(UserError, match=r"lr\.json: was made with .*, which params.yaml no longer says"):
        lr_json.read(small(lr="auto", **changes))


# Whatever of these two experiments differ in, they are compared at one rate.
SHARED: tuple[dict[str, Any], ...] = (
    {"loss": "focal", "losses": {"focal": {"gamma": 5.0}}},
    {"targets": "factored", "regression": {"weight": 0.5}},
    {"sampler": "weighted"},
    {"model": {"head": "mlp", "hidden": 8, "freeze_epochs": 1}},
    {"augment": {"mixup": 0.4, "cutmix": 0.4}},
    {"train": {"ema_decay": 0.9}},
)


@pytest.mark.parametrize("changes", [*SHARED, {"train": {"epochs": 9}, "schedule": {"name": "constant"}}])
def test_what_the_range_test_does_not_look_at_shares_its_rate(project: Path, changes: dict[str, Any]) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "measured_with": lr_json.measured_with(small(lr="auto"))})
    assert lr_json.read(small(lr="auto", **changes)).lr == 0.003


def test_the_range_test_gives_the_same_rate_to_all_that_share_it(project: Path) -> None:
    def settled(**changes: Any) -> Settled:
        params = small(lr="auto", lr_find={"steps": 30}, **changes)
        lr_find.run(params, SILENT)
        return lr_json.read(params)

    expected = settled()
    assert expected.source == "range test"
    assert 1e-5 < expected.lr < 1.0
    assert settled(**{key: value for changes in SHARED for key, value in changes.items()}) == expected
    assert settled(optimizer={"layer_decay": 0.5}).lr != expected.lr


def test_f1_alone_takes_a_quarter_of_the_rate(project: Path) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.004, "measured_with": lr_json.measured_with(small(lr="auto"))})
    assert lr_json.read(small(lr="auto", loss="f1")).lr == 0.001
    assert lr_json.read(small(lr="auto", loss="f1", losses={"f1": {"ce_mix": 0.3}})).lr == 0.004
    assert lr_json.read(small(lr=0.004, loss="f1")).lr == 0.004


def test_what_an_earlier_version_recorded_and_no_rate_depends_on_refuses_nothing(project: Path) -> None:
    recorded = lr_json.measured_with(small(lr="auto")) | {
        "loss": "focal",
        "losses.focal.gamma": 2.0,
        "model.head": "mlp",
    }
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "measured_with": recorded})
    assert lr_json.read(small(lr="auto")).lr == 0.003


def test_other_starting_weights_in_the_same_file_are_seen(project: Path) -> None:
    Path("start.pth").write_bytes(b"one")
    params = small(lr="auto", model={"weights": "start.pth"})
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "measured_with": lr_json.measured_with(params)})
    assert lr_json.read(params).lr == 0.003
    Path("start.pth").write_bytes(b"two")
    with pytest.raises(UserError, match=r"was made with content of model\.weights"):
        lr_json.read(params)


@pytest.mark.parametrize(
    ("found", "changes", "message"),
    [
        ({"lr": 0.003}, {"lr": 0.01}, "was made with lr: 0.003"),
        ({"lr": 0.003, "threads": {"0": 1, "1": 2}}, {"parallel": {"threads": 1}}, "was made with parallel.threads: 2"),
        ({"lr": 0.003, "threads": 2}, {}, "is not what this version of lr-find writes"),
    ],
)
def test_other_params_and_versions_are_refused(
    project: object, found: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    write_json(paths.LR_CHOSEN, found)
    with pytest.raises(UserError, match=rf"lr\.json: {message}.*; run `maskcli lr-find` again"):
        lr_json.read(small(**changes))


def test_another_kind_of_device_is_refused(project: object) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {}, "device": "cuda"})
    with pytest.raises(UserError, match=r"was measured on cuda, and training runs on cpu here; run `maskcli lr-find`"):
        train.run(small(), SILENT, 0)


def test_a_fold_gets_the_threads_of_lr_json_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer would round otherwise, and lr.json, which git keeps, would not tell."""
    monkeypatch.setattr(lr_json.cores, "available", lambda: 2)
    found = Settled(lr=0.003, threads={0: 16, 1: 1})
    assert [lr_json.threads(found, fold, small()) for fold in (1, 2)] == [1, 2]
    with pytest.raises(
        UserError, match=r"lr\.json: gives fold 0 16 CPU threads, more than .*; run `maskcli lr-find` again"
    ):
        lr_json.threads(found, 0, small())
    assert lr_json.threads(found, 0, small(parallel={"threads": 16})) == 16  # asked for
    assert lr_json.threads(found.model_copy(update={"device": "cuda"}), 0, small()) == 2  # they round nothing there
