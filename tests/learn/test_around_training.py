"""What goes on around a training: who writes, in which order, and that training needs none of it."""

from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator

from stages.base import paths
from stages.base.talk import SILENT
from stages.data.fold_data import open_fold
from stages.learn import fit
from stages.learn.around_training import Around
from stages.learn.checkpoint import Keeper, headers
from stages.learn.learner import Learner, start
from stages.learn.progress import Progress, note
from stages.params.schema import Params
from tests.conftest import small


@pytest.fixture
def params(project: Path) -> Params:
    return small(train={"epochs": 2, "batch_size": 16})


def learner(params: Params) -> Learner:
    return start(params, open_fold(params, 0), 0, 0.003, Accelerator(), SILENT)


def keeper(writes: bool = True) -> Keeper:
    return Keeper("run", 0, 0, 2, every=0.0, writes=writes)


def test_training_needs_nothing_around_it_and_leaves_no_trace_then(params: Params, project: Path) -> None:
    before = sorted(project.rglob("*"))
    assert fit.fit(learner(params)).finished
    assert sorted(project.rglob("*")) == before


def test_an_epoch_is_told_of_once_its_checkpoint_is_written(params: Params) -> None:
    told: list[tuple[int, int]] = []

    def tell(progress: Progress) -> None:
        told.append((len(progress.history), headers()[0].epoch))

    fit.fit(learner(params), Around(keeper=keeper(), on_epoch=tell))
    assert told == [(1, 1), (2, 2)]


def test_a_process_that_does_not_write_stops_at_the_same_step_and_leaves_the_telling_to_the_one_that_does(
    params: Params,
) -> None:
    ends = []
    for writes in (True, False):
        steps = iter(range(1, 100))
        around = Around(keeper=keeper(writes), interrupt=lambda steps=steps: next(steps) == 3)  # type: ignore[misc]
        progress = Progress()
        with pytest.raises(KeyboardInterrupt) as ended:
            fit.fit(learner(params), around, progress)
        ends.append((len(progress.seen), str(ended.value), paths.checkpoint(0, 0, "run").exists()))
        paths.checkpoint(0, 0, "run").unlink(missing_ok=True)
    line = f"fold 0 is kept at epoch 0 of 2, step 3 of the next, in {paths.checkpoint(0, 0, 'run')}"
    assert ends == [(3, line, True), (3, "", False)]


def test_an_interrupt_after_the_last_epoch_leaves_a_training_that_is_finished(params: Params) -> None:
    """Its outputs can be written then: train obeys once they are."""
    finished = [False]
    around = Around(on_epoch=lambda progress: finished.append(progress.finished), interrupt=lambda: finished[-1])
    try:
        assert fit.fit(learner(params), around).finished
    except KeyboardInterrupt:
        pytest.fail("it was obeyed")


def test_class_numbers_above_255_stay_what_they_are() -> None:
    progress = Progress()
    logits = np.eye(300, dtype=np.float32)[[299, 256, 3]]
    note(progress, "last", {"val_f1": 0.0, "val_nll": 1.0}, logits, {})
    assert progress.predicted[0].tolist() == [299, 256, 3]
