"""A new project's files are put in place whole, or not at all, and nothing that is there is replaced unasked."""

from pathlib import Path

import pytest

from stages.base.errors import UserError
from stages.new_project import write_files
from stages.new_project.write_files import settle
from tests.conftest import command

HERE = Path()


def test_a_folder_becomes_a_git_repository_and_a_dvc_project() -> None:
    write_files.put(Path("new"), {"params.yaml": "seed: 0\n", ".dvc/plots/a.json": "{}\n"})
    assert Path("new/params.yaml").read_text() == "seed: 0\n"
    assert Path("new/.dvc/plots/a.json").is_file()
    assert command(Path("new"), "git", "rev-parse", "--show-prefix").stdout == "\n"
    assert command(Path("new"), "dvc", "root").stdout == ".\n"


def test_in_a_repository_it_becomes_a_dvc_project_of_its_own(tmp_path: Path) -> None:
    command(tmp_path, "git", "init", "-q")
    write_files.put(Path("below"), {"params.yaml": ""})
    assert not Path("below/.git").exists()
    assert command(Path("below"), "dvc", "root").stdout == ".\n"


def test_where_something_fails_nothing_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path, *words: str) -> None:
        raise UserError("dvc: broken")

    monkeypatch.setattr(write_files, "dvc", broken)
    with pytest.raises(UserError):
        write_files.put(Path("new"), {"a": ""})
    with pytest.raises(UserError):
        write_files.put(HERE, {"a": ""})
    assert list(HERE.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_files, "_make_repositories", lambda folder: None)
    Path("taken").write_text("a file where a folder is wanted")
    with pytest.raises(UserError):
        write_files.put(HERE, {"a": "1", "taken/b": "2"})
    assert [path.name for path in HERE.iterdir()] == ["taken"]


def test_other_files_in_the_way_are_refused_and_replaced_when_told() -> None:
    Path("params.yaml").write_text("mine\n")
    Path("dvc.yaml").write_text("same\n")
    files = {"params.yaml": "new\n", "dvc.yaml": "same\n", "more": "new\n"}
    with pytest.raises(UserError, match=r"^\.: holds params\.yaml already, with other content; name an empty folder"):
        settle(HERE, files)
    assert settle(HERE, files, overwrite=True) == {"params.yaml": "new\n", "more": "new\n"}


def test_a_requirement_of_another_version_is_in_the_way() -> None:
    Path("requirements.txt").write_text("maskcli==0.0.1\n")
    with pytest.raises(UserError, match=r"holds requirements\.txt already"):
        settle(HERE, {"requirements.txt": "maskcli==9\n"})


def test_what_dvc_refuses_to_keep_leaves_no_project() -> None:
    with pytest.raises(UserError, match=r"^dvc add: "):
        write_files.put(Path("new"), {"params.yaml": ""}, ["gone"])
    assert not Path("new").exists()


def test_what_dvc_says_is_told_whatever_the_code_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    with pytest.raises(UserError, match=r"^dvc add: .*'é\.jpg'"):
        write_files.put(Path("new"), {"params.yaml": ""}, ["é.jpg"])


def test_a_persons_readme_stays_and_lines_join_what_is_there() -> None:
    Path("README.md").write_text("mine\n")
    Path(".gitignore").write_text("secret\n/out/*")
    Path("requirements.txt").write_text("pandas\n")
    files = {"README.md": "new\n", ".gitignore": "/out/*\n!/out/*/\n", "requirements.txt": "maskcli==1\n"}
    assert settle(HERE, files) == {
        ".gitignore": "secret\n/out/*\n!/out/*/\n",
        "requirements.txt": "pandas\nmaskcli==1\n",
    }
