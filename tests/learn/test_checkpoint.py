"""A checkpoint is the whole state: training goes on from it as if it had never stopped, and from no other run's."""

import dataclasses
import io
import itertools
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from stages import train
from stages.base import host, paths
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.data.fold_data import open_fold
from stages.learn import checkpoint, fit, loader
from stages.learn.around_training import Around
from stages.learn.checkpoint import MAGIC, Keeper
from stages.learn.learner import start
from stages.learn.progress import Progress
from stages.learn.training_terms import Terms
from stages.params.schema import Params
from tests.conftest import ROOT, small

LR = 0.003
TIMES = ("seconds", "photos_per_second")  # columns of history that no two runs share

# Everything that has a state or draws at random.
RICH = {
    "sampler": "weighted",
    "augment": {"pipeline": "medium", "mixup": 0.2, "cutmix": 1.0},
    "model": {"dropout": 0.2},
    "train": {"epochs": 3, "batch_size": 16, "ema_decay": 0.9, "select": "best_nll"},
    "schedule": {"name": "plateau", "plateau_patience": 0, "warmup_epochs": 0.5},
    "regression": {"weight": 0.1},
}


def keeper(params: Params, every: float = 0.0) -> Keeper:
    return Keeper("run", 0, 0, params.train.epochs, every)


def trained(params: Params, keep: Keeper | None = None, stop_after: int | None = None) -> Progress:
    """Train fold 0, from its checkpoint if there is one, interrupted after so many steps."""
    learner = start(params, open_fold(params, 0), 0, LR, Accelerator(), SILENT)
    progress = keep.load(learner, SILENT) if keep else Progress()
    steps = iter(range(10**6))

    def asked() -> bool:
        return stop_after is not None and next(steps) + 1 >= stop_after

    return fit.fit(learner, Around(keeper=keep, interrupt=asked), progress)


def same(one: Progress, other: Progress) -> bool:
    """Whether two trainings came to the same weights, predictions and history, bit by bit."""
    rows = [[{k: v for k, v in row.items() if k not in TIMES} for row in each.history] for each in (one, other)]
    return (
        rows[0] == rows[1]
        and one.selected_epoch == other.selected_epoch
        and all(torch.equal(value, other.selected_state[key]) for key, value in one.selected_state.items())
        and np.array_equal(one.last_logits, other.last_logits)
        and np.array_equal(one.predicted, other.predicted)
    )


def test_training_cut_off_at_any_step_ends_bit_identical(project: Path) -> None:
    params = small(**RICH)
    whole = trained(params)
    steps = len(open_fold(params, 0).train) // 16 + 1
    assert steps >= 4
    for cut in (1, steps, 2 * steps + 2):  # within an epoch, and at its edge
        with pytest.raises(KeyboardInterrupt):
            trained(params, keeper(params), stop_after=cut)
        assert same(trained(params, keeper(params)), whole), cut
        keeper(params).path.unlink()


def test_training_cut_off_while_the_backbone_is_frozen_or_warms_up_ends_bit_identical(project: Path) -> None:
    params = small(
        model={"freeze_epochs": 1, "dropout": 0.2},
        train={"epochs": 3, "batch_size": 16},
        schedule={"warmup_epochs": 0.7},
        optimizer={"layer_decay": 0.7},
    )
    whole = trained(params)
    assert 0 == whole.history[0]["lr_backbone"] < whole.history[1]["lr_backbone"] == whole.history[1]["lr"]
    steps = len(loader.split(open_fold(params, 0).train, 16))
    for cut in (2, steps, steps + 1, steps + 3):  # frozen; between the two; its warm-up's first step, and within it
        with pytest.raises(KeyboardInterrupt):
            trained(params, keeper(params), stop_after=cut)
        assert same(trained(params, keeper(params)), whole), cut
        keeper(params).path.unlink()


def test_the_learning_rate_in_the_history_is_that_of_the_last_step_also_where_only_validation_was_left(
    project: Path,
) -> None:
    params = small(train={"epochs": 2, "batch_size": 32})
    steps = len(loader.split(open_fold(params, 0).train, 32))
    with pytest.raises(KeyboardInterrupt):
        trained(params, keeper(params), stop_after=steps)
    assert same(trained(params, keeper(params)), trained(params))


def test_training_cut_off_again_and_again_ends_bit_identical(project: Path) -> None:
    params = small(**RICH)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            trained(params, keeper(params), stop_after=3)
    assert same(trained(params, keeper(params)), trained(params))


def noting(keep: Keeper, notes: dict[tuple[int, int], Any], late: float = 0.0) -> Keeper:
    """Notes what a training's checkpoints hold, by (epoch, step), each written so many seconds late."""
    write = keep._replace

    def noted(header: checkpoint.Header, content: dict[str, Any]) -> None:
        time.sleep(late)
        write(header, content)
        notes[header.epoch, header.step] = checkpoint.read(keep.path)[1]

    keep._replace = noted  # type: ignore[method-assign]
    return keep


def test_checkpoints_written_while_training_goes_on_hold_what_those_hold_that_it_waits_for(project: Path) -> None:
    params = small(**RICH)
    waited: dict[tuple[int, int], Any] = {}
    beside: dict[tuple[int, int], Any] = {}
    with pytest.raises(KeyboardInterrupt):
        trained(params, noting(keeper(params), waited), stop_after=7)
    keep = keeper(params)
    keep.path.unlink()
    keep.beside = True
    with pytest.raises(KeyboardInterrupt, match=f"is kept at .* in {keep.path}"):
        trained(params, noting(keep, beside, late=0.05), stop_after=7)
    assert keep.writing is None  # the last one is there before training ends
    assert waited.keys() == beside.keys()
    assert len(waited) > 6
    for place, content in waited.items():
        for part in (content["progress"], beside[place]["progress"]):  # what it took to train is no two trainings' own
            part["epoch_seconds"] = 0.0
            rows = json.loads(part["history"])
            part["history"] = [{name: row[name] for name in row if name not in TIMES} for row in rows]
        assert_equal(content, beside[place])
    assert same(trained(params, keep), trained(params))


def test_a_checkpoint_that_cannot_be_written_beside_training_ends_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, header: checkpoint.Header, content: dict[str, Any]) -> None:
        raise UserError(f"{path}: No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    params = small(train={"epochs": 3})
    keep = keeper(params)
    keep.beside = True
    with pytest.raises(UserError, match="No space left"):
        trained(params, keep)
    assert keep.kept == 0


def test_a_training_that_fails_while_its_checkpoint_is_written_waits_for_that(project: Path) -> None:
    params = small(optimizer={"name": "sgd"}, train={"epochs": 4})
    steps = len(open_fold(params, 0).train) // 32 + 1
    keep = keeper(params, every=1e9)
    keep.beside = True
    learner = start(params, open_fold(params, 0), 0, LR, Accelerator(), SILENT)

    def no_number(step: int) -> None:
        if step == steps:  # the last of the first epoch
            learner.lr = 1e30

    notes: dict[tuple[int, int], Any] = {}
    taken = itertools.count(1)
    around = Around(keeper=noting(keep, notes, late=1.0), interrupt=lambda: no_number(next(taken)) or False)
    with pytest.raises(UserError, match=r"NaN or infinite at epoch 2, .*epoch 1 is kept in .*ckpt for"):
        fit.fit(learner, around)
    assert keep.writing is None
    assert keep.path.exists()


def assert_equal(one: Any, other: Any) -> None:
    """Containers of tensors and plain values, bit by bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other


def test_a_finished_training_is_taken_from_its_checkpoint_and_not_trained_again(project: Path) -> None:
    params = small()
    first = trained(params, keeper(params))
    finished_size = keeper(params).path.stat().st_size
    said: list[str] = []
    learner = start(params, open_fold(params, 0), 0, LR, Accelerator(), SILENT)
    progress = keeper(params).load(learner, Talk(said.append))
    assert progress.finished
    assert "finished" in said[0]
    around = Around(keeper=keeper(params), on_epoch=lambda now: pytest.fail("an epoch was trained"))
    again = fit.fit(learner, around, progress)
    assert same(first, again)
    with pytest.raises(KeyboardInterrupt):
        trained(params, dataclasses.replace(keeper(params), run="other"), stop_after=4)
    assert finished_size < paths.checkpoint(0, 0, "other").stat().st_size  # no optimizer state is kept


@pytest.mark.parametrize("damage", ["flip", "cut", "text", "empty", "older"])
def test_a_damaged_checkpoint_is_found_out_and_training_begins_anew(project: Path, damage: str) -> None:
    params = small()
    with pytest.raises(KeyboardInterrupt):
        trained(params, keeper(params), stop_after=2)
    path = keeper(params).path
    content = bytearray(path.read_bytes())
    older = bytes(content).replace(MAGIC, b"maskcli checkpoint 1\n", 1)  # of before there were tasks
    content[len(content) // 2] ^= 1
    path.write_bytes(
        {"flip": bytes(content), "cut": bytes(content[:-9]), "text": b"hello\n", "empty": b"", "older": older}[damage]
    )
    said: list[str] = []
    learner = start(params, open_fold(params, 0), 0, LR, Accelerator(), SILENT)
    progress = keeper(params).load(learner, Talk(said.append))
    assert not progress.history
    assert not progress.seen
    assert str(path) in said[0]
    assert "training begins anew" in said[0]


def test_a_loss_that_is_not_finite_leaves_the_last_good_epoch_in_place(project: Path) -> None:
    params = small(optimizer={"name": "sgd"}, train={"epochs": 4})
    steps = len(open_fold(params, 0).train) // 32 + 1
    with pytest.raises(KeyboardInterrupt):
        trained(params, keeper(params), stop_after=steps + 1)
    learner = start(params, open_fold(params, 0), 0, 1e30, Accelerator(), SILENT)
    keep = keeper(params)
    progress = keep.load(learner, SILENT)
    with pytest.raises(
        UserError, match=r"class loss is NaN or infinite at epoch 2, step \d.*epoch 1 is kept in .*ckpt for"
    ):
        fit.fit(learner, Around(keeper=keep), progress)
    kept = checkpoint.model_of(keep.path)
    assert all(torch.isfinite(value).all() for value in kept.state_dict().values())


def test_a_write_that_fails_lets_go_of_what_it_would_have_written(tmp_path: Path) -> None:
    """Python 3.12.0 and 3.12.1 end with a segmentation fault where the garbage collector finds a view of a BytesIO, as in the
    frames of this exception (gh-111049 of CPython).
    """
    header = checkpoint.Header("run", 0, 0, 0, 1, 0, False, "", 0.0, "", 0.0, 0.0, 0.0)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot make this folder") as told:
        checkpoint._write(tmp_path / "file/0.ckpt", header, {"tensor": torch.ones(9)})
    [buffer] = [frame.f_locals["buffer"] for frame, _ in traceback.walk_tb(told.tb) if "buffer" in frame.f_locals]
    buffer.close()  # BufferError while there is a view of it


def test_code_hidden_in_a_checkpoint_is_not_run(project: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    buffer = io.BytesIO()
    torch.save({"learner": Trap(), "progress": {}}, buffer)
    header = checkpoint.Header("run", 0, 0, 1, 2, 0, False, "", 0.5, "", 1.0, 0.0, 1.0)
    path = paths.checkpoint(0, 0, "run")
    path.parent.mkdir(parents=True)
    import hashlib

    line = json.dumps(dataclasses.asdict(header)).encode() + b"\n"
    path.write_bytes(MAGIC + line + hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    with pytest.raises(checkpoint.DamagedCheckpoint, match="is damaged"):
        checkpoint.read(path)
    assert not (tmp_path / "sprung").exists()


def test_old_checkpoints_are_pruned_and_two_other_runs_kept(project: Path) -> None:
    paths.CHECKPOINTS.mkdir(parents=True)
    for age, run in enumerate(("now", "a", "b", "c", "d")):
        for repeat in (0, 1):
            path = paths.checkpoint(0, repeat, run)
            path.write_bytes(b"")
            os.utime(path, (1e9 - age, 1e9 - age))
    other_fold = paths.checkpoint(1, 0, "d")
    half_written = paths.CHECKPOINTS / f".0-0-now.{host.place()}.{2**22 + 1}.0123abcd.tmp.ckpt"
    being_written = paths.CHECKPOINTS / ".0-0-now.gpu2-0a1b2c3d.17.0123abcd.tmp.ckpt"  # on another host
    for path in (other_fold, half_written, being_written):
        path.write_bytes(b"")
    checkpoint.prune(0, "now", repeats=1)
    names = sorted(path.name for path in paths.CHECKPOINTS.iterdir())
    kept = [f"0-{repeat}-{run}.ckpt" for repeat in (0, 1) for run in ("a", "b")]
    assert names == sorted([*kept, "0-0-now.ckpt", "1-0-d.ckpt", being_written.name])


HOLD = """
import sys
from stages.learn import checkpoint
from stages.base.talk import SILENT
with checkpoint.alone("fold 0", sys.argv[1], SILENT):
    print("held", flush=True)
    sys.stdin.read()  # until its other end is closed
"""


def test_a_second_process_waits_for_the_same_run_and_refuses_another(project: Path) -> None:
    def holder(run: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-c", HOLD, run]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(words, env=environment, text=True, **pipes)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    said: list[str] = []
    process = holder("same")

    def say(line: str) -> None:
        said.append(line)
        assert process.stdin is not None
        process.stdin.close()  # it ends once it is waited for

    with checkpoint.alone("fold 0", "same", Talk(say)):
        assert process.wait() == 0
    assert f"process {process.pid} (maskcli same) is training it already; waiting" in said[0]
    process = holder("other")
    try:
        with (
            pytest.raises(
                UserError, match=rf"process {process.pid} \(maskcli other\) trains fold 0 with other params or data"
            ),
            checkpoint.alone("fold 0", "same", SILENT),
        ):
            pass
    finally:
        process.kill()
        process.wait()
    with checkpoint.alone("fold 0", "same", SILENT):  # a killed process holds nothing
        pass


def test_train_begins_anew_on_request_and_goes_on_otherwise(project: Path) -> None:
    write_json(paths.LR_CHOSEN, {"lr": LR})
    said: list[str] = []
    train.run(small(), SILENT, 0)
    weights = paths.weights(0).read_bytes()
    train.run(small(), Talk(said.append), 0)
    assert not any("epoch  1/2" in line for line in said)
    train.run(small(), Talk(said.append), 0, Terms(fresh=True))
    assert any("epoch  1/2" in line for line in said)
    assert paths.weights(0).read_bytes() == weights
