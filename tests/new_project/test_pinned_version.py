"""A project says for which version of maskcli it was made, and no other works in it."""

from pathlib import Path

import pytest

from stages.base.errors import UserError
from stages.new_project import pinned_version


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned_version, "version", lambda package: "2.0")


@pytest.mark.parametrize("text", [None, "pandas\n", "maskcli==2.0\n", "maskcli == 2.0  # ours\n", "maskcli-more==1\n"])
def test_the_version_that_is_named_and_a_project_that_names_none_pass(text: str | None) -> None:
    if text is not None:
        Path("requirements.txt").write_text(text)
    pinned_version.check()


def test_another_is_refused_with_both_ways_to_mend_it() -> None:
    Path("requirements.txt").write_text("# ours\nmaskcli==1.9\n")
    with pytest.raises(UserError) as told:
        pinned_version.check()
    assert str(told.value) == (
        "requirements.txt: names maskcli 1.9, and 2.0 is installed; go back with `pip install -r requirements.txt`, or go on "
        "with `maskcli init --update`, after which `dvc repro` runs again what it changes"
    )
    Path("requirements.txt").write_text(pinned_version.renewed(Path("requirements.txt").read_text()))
    assert Path("requirements.txt").read_text() == "# ours\nmaskcli==2.0\n"
    pinned_version.check()
