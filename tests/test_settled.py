"""What lr-find settled is taken only where it was settled for this run."""

from typing import Any

import pytest

from stages import lr_find, paths, settled, train
from stages.errors import UserError
from stages.files import write_json
from stages.settled import Settled
from stages.talk import SILENT
from tests.conftest import small


def test_what_lr_find_writes_is_taken_and_refused_for_another_loss(project: object) -> None:
    lr_find.run(small(lr="auto"), SILENT)
    assert settled.read(small(lr="auto")).threads == {0: 1, 1: 1}
    with pytest.raises(UserError, match=r"lr\.json: was made with loss: ce, .*; run `maskcli lr-find` again"):
        train.run(small(lr="auto", loss="focal"), SILENT, 0)


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
        settled.read(small(**changes))


def test_another_kind_of_device_is_refused(project: object) -> None:
    write_json(paths.LR_CHOSEN, {"lr": 0.003, "threads": {}, "device": "cuda"})
    with pytest.raises(UserError, match=r"was measured on cuda, and training runs on cpu here; run `maskcli lr-find`"):
        train.run(small(), SILENT, 0)


def test_a_fold_gets_the_threads_of_lr_json_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer would round otherwise, and lr.json, which git keeps, would not tell."""
    monkeypatch.setattr(settled.cores, "available", lambda: 2)
    found = Settled(lr=0.003, threads={0: 16, 1: 1})
    assert [settled.threads(found, fold, small()) for fold in (1, 2)] == [1, 2]
    with pytest.raises(
        UserError, match=r"lr\.json: gives fold 0 16 CPU threads, more than .*; run `maskcli lr-find` again"
    ):
        settled.threads(found, 0, small())
    assert settled.threads(found, 0, small(parallel={"threads": 16})) == 16  # asked for
    assert settled.threads(found.model_copy(update={"device": "cuda"}), 0, small()) == 2  # they round nothing there
