import threading
from pathlib import Path

import pytest

from stages.base.errors import UserError
from stages.report.tensorboard import Board, tag
from tests.test_bad_input import files_up_to


def test_a_full_disk_is_named_and_closing_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda failure: None)  # as cli.main does
    message = r"board: cannot be written \(File too large\); free disk space or check permissions, then rerun"

    def write_much() -> None:
        with Board(tmp_path / "board") as board:
            for epoch in range(1, 50):
                board.epoch({"epoch": epoch, "train_loss": 1.0, "val_loss": 1.0, "lr": 0.1})

    with files_up_to(200), pytest.raises(UserError, match=message):
        write_much()


def test_parts_of_the_objective_and_errors_of_any_axis_have_their_tags() -> None:
    tags = {
        "train_loss": "loss/train",
        "train_class_loss": "loss/train_class",
        "train_size_loss": "loss/train_size",
        "val_size_mae": "size_mae/val",
        "val_nll": "nll/val",
        "drawn_3": None,
        "epoch": None,
    }
    assert {column: tag(column) for column in tags} == tags
