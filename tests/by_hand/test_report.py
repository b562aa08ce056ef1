from pathlib import Path

import pytest

from stages.base import paths
from stages.base.errors import UserError
from stages.base.talk import SILENT
from stages.by_hand import report
from tests.conftest import small


def test_a_report_before_any_run_says_what_to_run(project: Path) -> None:
    with pytest.raises(UserError, match=r"out/oof-ensemble/oof.npz: not in the workspace; run `dvc repro` first"):
        report.run(small(), SILENT, ["workspace"])
    assert not paths.REPORT.exists()


def test_a_revision_beside_itself_is_refused() -> None:
    with pytest.raises(UserError, match="workspace stands twice"):
        report.run(small(), SILENT, ["workspace", "workspace"])


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
