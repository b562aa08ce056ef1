"""Which files of DVC's another machine is told to get; tests/parallel/test_checkout.py has what it makes of them."""

from pathlib import Path

import yaml

from stages.by_hand import cluster_sending
from tests.conftest import command


def test_files_of_dvc_are_named_as_they_are_also_beyond_ascii(tmp_path: Path) -> None:
    """git puts such names in quotes by itself, their bytes as numbers."""
    Path("params.yaml").write_text(yaml.safe_dump({"data": {"layout": "folder", "root": "사진/안"}}), encoding="utf-8")
    for name in ("사진.dvc", "weights/é.pth.dvc"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    command(tmp_path, "git", "init", "-q")
    command(tmp_path, "git", "add", "-A")
    assert cluster_sending.tracked() == (("사진.dvc",), ("weights/é.pth.dvc",))
