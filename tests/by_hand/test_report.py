from pathlib import Path

import numpy as np
import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.by_hand import compare, report
from tests.conftest import small
from tests.report.made import FOLDERS, MANY


def test_a_report_before_any_run_says_what_to_run(project: Path) -> None:
    with pytest.raises(UserError, match=r"out/oof-ensemble/oof.npz: not in the workspace; run `dvc repro` first"):
        report.run(small(), SILENT, ["workspace"])
    assert not paths.REPORT.exists()


def test_a_revision_beside_itself_is_refused() -> None:
    with pytest.raises(UserError, match="workspace stands twice"):
        report.run(small(), SILENT, ["workspace", "workspace"])


def test_runs_of_two_tasks_are_not_put_side_by_side() -> None:
    one, other = (
        compare.Run(name, task, *[np.zeros(0)] * 6, "last", 0) for name, task in (("a", FOLDERS), ("b", MANY))
    )
    with pytest.raises(UserError) as found:
        report._check_tasks([one, other])
    assert str(found.value) == (
        "report: a and b: not the same task (label with 10 levels: digit 0, digit 1, digit 2, digit 3, ...; label with 1000 "
        "levels: species 000, species 001, species 002, species 003, ...); write a report of each alone"
    )
    report._check_tasks([one, one])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a CSV table"),
        (b"lr,loss\n1,2\n", "has no column `smoothed`"),
        (b"lr,loss,smoothed\n", "has no rows"),
        (b"\xff\xfe\x00", "is not a CSV table"),
    ],
)
def test_a_damaged_table_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    paths.LR_CURVE.parent.mkdir(parents=True)
    paths.LR_CURVE.write_bytes(content)
    with pytest.raises(UserError, match=f"workspace: out/lr-find/curve.csv: {message}; run `dvc repro`"):
        report._table("workspace", paths.LR_CURVE, ["lr", "loss", "smoothed"])
