"""One small project with drawn folds and a bundle of them; tests work in copies of it."""

import shutil
from pathlib import Path

import pytest

from stages.base.talk import SILENT
from stages.by_hand import bundle
from tests.bundle.made import draw_folds
from tests.conftest import small


@pytest.fixture(scope="session")
def with_bundle(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared project with its folds' outputs, out/bundle and out/bundle.zip; never written to."""
    folder = tmp_path_factory.mktemp("bundle") / "project"
    shutil.copytree(prepared, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        draw_folds(small())
        bundle.run(small(), Path("out/bundle"), bundle.Asked(), SILENT)
    return folder


@pytest.fixture
def bundled(with_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working folder."""
    folder = tmp_path / "bundled"
    shutil.copytree(with_bundle, folder)
    monkeypatch.chdir(folder)
    return folder
