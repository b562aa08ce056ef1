"""The layout `folder`, beside what tests/layouts.py tries through prepare."""

import os
from pathlib import Path

import pytest

from stages.data import folder_layout
from stages.data.folder_layout import Walk
from stages.data.photo_files import Places


@pytest.mark.parametrize("base", [Path(), Path("pets")])
def test_names_below_the_base_have_slashes_on_windows_too(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos are sorted by them, and folds, corrections and colleagues' tables go by them."""
    walk = Walk(base, Places(Path()))
    monkeypatch.setattr(os, "sep", "\\")
    monkeypatch.setattr(os.path, "relpath", lambda path, start: path)
    below = "\\".join(["cat", "more", "1.png"])
    assert folder_layout._below(f"pets\\{below}" if base.name else below, walk) == "cat/more/1.png"
