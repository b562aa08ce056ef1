"""Processes that share the batches of a fold: what they come to is what one alone would, and none is left waiting."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages import train
from stages.base.errors import UserError
from stages.base.files import write_json
from stages.base.talk import SILENT, Talk
from stages.data.fold_data import FoldData, open_fold
from stages.data.task_and_classes import CONTEST
from stages.learn import checkpoint, cpu_threads, fit, loader, objective, predict, processes, run_key
from stages.learn.around_training import Around
from stages.learn.checkpoint import Keeper
from stages.learn.learner import Learner, start
from stages.learn.loader import Batch
from stages.learn.progress import Progress
from stages.learn.step import step
from stages.learn.validation import Validation, validate
from stages.params.schema import Params
from stages.records.run_record import Record
from tests.conftest import small
from tests.learn.test_checkpoint import same
from tests.learn.together import together

SHARED: dict[str, Any] = {"train": {"batch_size": 8, "epochs": 2, "ema_decay": 0.9}, "regression": {"weight": 0.1}}
PHOTOS = (83, 10)  # to validate: of more batches than processes, and of fewer


def learner(params: Params, data: FoldData | None = None) -> Learner:
    return start(params, data or open_fold(params, 0), 0, 0.003, predict.accelerator(params), SILENT)


def looks(params: Params) -> list[tuple[Validation, int]]:
    """The validation of PHOTOS, and how many of them this process predicted. Its model is another than process 0's."""
    data, found = open_fold(params, 0), []
    for photos in PHOTOS:
        made, seen = learner(params, replace(data, val=data.val[:photos])), [0]

        def count(_: nn.Module, words: tuple[Tensor], seen: list[int] = seen) -> None:
            seen[0] += len(words[0])

        made.validated.register_forward_pre_hook(count)
        with torch.no_grad():
            for value in made.validated.state_dict().values():
                value += processes.place()[0]
        found.append((validate(made, objective.make(params, CONTEST, np.ones(18))), seen[0]))
    return found


@pytest.mark.parametrize("number", [2, 3])
def test_validation_is_dealt_out_each_photo_once_and_finds_what_one_process_finds(project: Path, number: int) -> None:
    params = small(**SHARED)
    with cpu_threads.taken(1):  # as they have: rounding follows the threads
        alone = looks(params)
    shared = together(number, looks, params)
    for place, photos in enumerate(PHOTOS):
        expected, _ = alone[place]
        counts = [found[place][1] for found in shared]
        assert sum(counts) == photos
        assert max(counts) < photos or photos == PHOTOS[1]
        for found, _ in (found[place] for found in shared):
            assert np.array_equal(found.logits, expected.logits)
            assert vars(found) | {"logits": None} == vars(expected) | {"logits": None}


@pytest.mark.gpu
def test_two_processes_on_one_gpu_find_what_one_finds(project: Path) -> None:
    """Over gloo, which lets two processes have the same card."""
    params = small(**SHARED)
    alone, shared = looks(params), together(2, looks, params, cpu=False)
    for found in shared:
        assert isinstance(found, list), found
        for (one, _), (other, _) in zip(alone, found, strict=True):
            assert np.allclose(one.logits, other.logits, atol=1e-4)
            assert other.val_loss == pytest.approx(one.val_loss, rel=1e-4)
    (one, _, said), (two, _, _) = together(2, trained_twice, small(**deterministic()), cpu=False)
    assert (one, two) == (True, True), said


def deterministic() -> dict[str, Any]:
    return SHARED | {"train": SHARED["train"] | {"deterministic": True}}


def trained_twice(params: Params) -> tuple[bool, bool, list[str]]:
    """Train to the end, then again, cut off within the second epoch and taken up: whether both came to the same, and whether
    this process's folder has a checkpoint, and what it said.
    """
    said: list[str] = []
    whole = fit.fit(learner(params))
    steps = iter(range(10**6))
    cut = (
        len(whole.history) and len(loader.training_split(open_fold(params, 0).train, params, processes.place()[1])) + 2
    )

    def around(interrupt: Any) -> Around:
        return Around(keeper=Keeper("run", 0, 0, 2, every=0.0, writes=processes.place()[0] == 0), interrupt=interrupt)

    with suppress(KeyboardInterrupt):
        fit.fit(learner(params), around(lambda: next(steps) == cut))
    again, taken_up = learner(params), around(lambda: False)
    taken_up.talk = Talk(said.append)
    progress = taken_up.resume(again)
    assert progress.seen
    return same(fit.fit(again, taken_up, progress), whole), bool(list(Path().glob("out/checkpoints/*.ckpt"))), said


def masks(params: Params) -> list[np.ndarray]:
    """What dropout leaves of the first photo's features, in each step of an epoch."""
    found: list[np.ndarray] = []

    class Dropout(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            mask = torch.nn.functional.dropout(torch.ones_like(features), 0.5, self.training)
            if self.training:
                found.append(mask[0].numpy())
            return features * mask

    made = learner(params)
    made.bare.body = Dropout()
    fit.fit(made)
    return found


def test_each_process_drops_features_of_its_own(project: Path) -> None:
    """Else each mask would come as often as there are processes, as in no training of one."""
    params = small(train={"batch_size": 8, "epochs": 1})
    first, second = together(2, masks, params)
    assert len(first) == len(second) > 1
    assert not any(np.array_equal(one, other) for one in first for other in second)
    assert np.array_equal(masks(params), first)


def test_training_goes_on_from_the_first_processs_checkpoint_where_they_have_no_disk_in_common(
    project: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(project, other)
    first, second = together(2, trained_twice, small(**SHARED), folders=[project, other])
    assert isinstance(second, tuple), (first, second)
    assert first[:2] == (True, True)
    assert second[:2] == (True, False)
    assert [line.split(" (")[0] for line in first[2]] == ["fold 0: goes on from out/checkpoints/0-0-run.ckpt"]


def loses_one() -> str:
    processes.wait()
    if processes.place()[0]:
        return ""
    try:
        processes.of_all(0)
        processes.of_all(1)
    except UserError as error:
        return str(error)
    return "nothing"


def words() -> dict[str, Any]:
    """What processes tell each other, one after the other."""
    index = processes.place()[0]
    found: dict[str, Any] = {"of_all": processes.of_all(index), "of_main": processes.of_main(lambda: f"by {index}")}

    def fails() -> None:
        raise UserError(f"params.yaml: said by {index}")

    found["refused"] = line_of(lambda: processes.of_main(fails))
    setting = {"torch": "2", "cores": index * 3}
    record = Record(run=f"run {index}", params={"loss": ("ce", "focal")[index]}, setting=setting)
    found["another"] = line_of(lambda: run_key.check_alike(record))
    run_key.check_alike(Record(run="the same"))
    # Of five photos three are the first process's, of four two.
    drawn = [np.arange(5), np.arange(4)]
    found["mean"] = fit._mean(torch.tensor([[1.0, 3.0], [2.0, 5.0]][index]), drawn)
    found["saved"] = saves_slowly(index)
    found["patience"] = processes._group()._get_backend(torch.device("cpu")).options._timeout
    found["gradient"] = gradient(index).numpy()  # a tensor would lie with this process, which ends
    return found


def line_of(act: Any) -> str:
    try:
        act()
    except UserError as error:
        return str(error)
    return "nothing"


def saves_slowly(index: int) -> tuple[float, float]:
    """When the checkpoint was written, and when this process went on."""

    class Slow(Keeper):
        def save(self, learner: Learner, progress: Progress) -> None:
            if self.writes:
                time.sleep(0.3)
                self.used = time.time()

    keeper = Slow("run", 0, 0, 2, every=0.0, writes=index == 0)
    Around(keeper=keeper)._save(None, Progress())  # type: ignore[arg-type]
    went_on = time.time()
    return processes.of_main(lambda: keeper.used), went_on


def one_layer(params: Params) -> Learner:
    """Without batch norm, so that a batch in parts has the gradient of the whole."""
    made = learner(params)
    torch.manual_seed(0)
    head = nn.Linear(3, 18)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, photos: Tensor) -> tuple[Tensor, None]:
            return self.head(photos.mean((2, 3))), None

    made.model = made.accelerator.prepare(Net())
    made.optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    made.bare = head  # type: ignore[assignment]
    return made


def gradient(index: int, number: int = 2) -> Tensor:
    """Weights after a step on a batch of five photos, of which each process has its share."""
    made = one_layer(small())
    photos = torch.arange(5 * 8 * 8 * 3, dtype=torch.float32).view(5, 8, 8, 3).remainder(251).to(torch.uint8)
    own = np.arange(5)[index::number]
    batch = Batch(photos[own], torch.arange(5)[own], torch.full((5,), torch.nan)[own], own, len(own) * number / 5)
    step(made, objective.make(made.params, CONTEST, np.ones(18)), batch, 0.1, 1)
    return made.bare.weight.detach()


def test_what_processes_tell_each_other(project: Path) -> None:
    first, second = together(2, words)
    for found in (first, second):
        assert found["of_all"] == [0, 1]
        assert found["of_main"] == "by 0"
        assert found["refused"] == "params.yaml: said by 0"
        assert found["another"].startswith(
            "train: process 1 was given another training than process 0 (params.loss, setting.cores); give its machine"
        )
        assert found["mean"] == pytest.approx((3 * 1 + 2 * 3 + 2 * 2 + 2 * 5) / 9)
        written, went_on = found["saved"]
        assert went_on >= written  # else its next step would wait for the disk as long as NCCL lets it
        assert found["patience"] == processes.PATIENCE
        assert np.allclose(found["gradient"], gradient(0, 1), atol=1e-6)


def test_one_that_ends_leaves_the_others_a_line(project: Path) -> None:
    line, _ = together(2, loses_one)
    assert line == "train: another of the processes that train together has ended; its own line says why"


def finds_it_written(params: Params) -> str:
    """Train a fold which, while the first process waited for the lock, another program has trained."""
    said: list[str] = []

    @contextmanager
    def waited(*_: Any, **__: Any) -> Iterator[bool]:
        yield True

    checkpoint.alone = waited  # type: ignore[assignment]
    train._written_meanwhile = lambda fold: True  # type: ignore[assignment]
    train.run(params, Talk(said.append), 0)
    return "\n".join(said)


def test_no_process_waits_for_one_that_finds_the_fold_trained(project: Path) -> None:
    write_json(Path("out/lr-find/lr.json"), {"lr": 0.003})
    first, second = together(2, finds_it_written, small())
    assert "fold 0: is done" in first
    assert second == ""
