"""What DVC does not keep, git does: a file that neither keeps stays behind as another run's at the next `git checkout`."""

import shutil
from pathlib import Path

import yaml

from stages.base import paths
from stages.new_project.write_files import settle
from tests.conftest import ROOT, command

# Too large for both. Beside each stands what it was made of, and no command reads one of another
# run (stages/data/pixel_cache_record.py).
CHECKED = {path.with_suffix(suffix) for path in (paths.PIXELS, paths.EVAL_PIXELS) for suffix in (".npy", ".json")}


def test_every_output_that_dvc_does_not_keep_is_in_git_but_for_the_pixel_caches(tmp_path: Path) -> None:
    command(tmp_path, "git", "init", "-q")
    shutil.copy(ROOT / ".gitignore", tmp_path)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = [out for stage in stages.values() for out in [*stage.get("outs", []), *stage.get("metrics", [])]]
    kept_by_none = {
        Path(path)
        for out in outs
        if isinstance(out, dict)
        for path, options in out.items()
        if options.get("cache") is False and ignored(tmp_path, path.replace("${item.fold}", "0"))
    }
    assert kept_by_none == CHECKED


def ignored(folder: Path, path: str) -> bool:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).touch()
    return path not in command(folder, "git", "status", "--porcelain", "-uall", "--", path).stdout


def test_a_checkout_by_git_for_windows_changes_no_byte_that_dvc_compares(tmp_path: Path) -> None:
    """Its installer sets core.autocrlf; a requirements.txt of other line ends has every stage run again."""
    command(tmp_path, "git", "init", "-q")
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    compared = (paths.REQUIREMENTS, paths.CORRECTIONS, paths.NO_WEIGHTS, paths.OOF_METRICS, Path("plugins/own.py"))
    for path in (*compared, paths.DVC_LOCK):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"a\nb\n")
    (tmp_path / "photos.csv").write_bytes(b"file,label\r\n")
    command(tmp_path, "git", "add", "-A")
    command(tmp_path, "git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "a")
    there = tmp_path / "windows"
    command(tmp_path, "git", "clone", "-q", "-c", "core.autocrlf=true", ".", str(there))
    assert {(there / path).read_bytes() for path in compared} == {b"a\nb\n"}
    assert (there / "photos.csv").read_bytes() == b"file,label\r\n"
    assert (there / paths.DVC_LOCK).read_bytes() == b"a\r\nb\r\n"  # DVC writes it so there


def test_git_leaves_the_bytes_of_all_that_the_stages_compare(tmp_path: Path) -> None:
    command(tmp_path, "git", "init", "-q")
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    told = [one for stage in stages.values() for kind in ("deps", "outs") for one in stage.get(kind, [])]
    names = [one if isinstance(one, str) else next(iter(one)) for one in told]
    compared = {name.replace("${item.fold}", "0") for name in names if not name.startswith("${")}
    code = {name for name in compared if name.startswith("stages/") and (ROOT / name).is_dir()}
    own = {"requirements.txt", "table.csv", "more/plugin.py", "plugins/own/plugin.json", "weights/none"}  # for ${...}
    files = sorted(
        (compared - code)
        | {path.relative_to(ROOT).as_posix() for name in code for path in (ROOT / name).glob("*.py")}
        | own
    )
    found = command(tmp_path, "git", "check-attr", "text", "--", *files).stdout.splitlines()
    assert [line for line in found if not line.endswith(": unset")] == ["corrections.csv: text: set"]  # with eol=lf


def test_a_person_s_own_attributes_stand_in_a_repository_that_becomes_a_project(tmp_path: Path) -> None:
    """git told a file as changed that nobody had changed, and with the next commit changed it for all."""
    command(tmp_path, "git", "init", "-q")
    (tmp_path / ".gitattributes").write_text("* text=auto\n*.bat text eol=crlf\n")
    (tmp_path / "run.bat").write_bytes(b"echo\r\n")
    (tmp_path / "notes.txt").write_bytes(b"a\r\n")
    command(tmp_path, "git", "add", "-A")
    joined = settle(tmp_path, {".gitattributes": (ROOT / ".gitattributes").read_text()})[".gitattributes"]
    (tmp_path / ".gitattributes").write_text(joined)
    command(tmp_path, "git", "add", "--renormalize", ".")
    assert [line.split()[:2] for line in command(tmp_path, "git", "ls-files", "--eol").stdout.splitlines()] == [
        ["i/lf", "w/lf"],
        ["i/lf", "w/crlf"],
        ["i/lf", "w/crlf"],
    ]
