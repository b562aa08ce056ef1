"""A link into DVC's cache is the project's photo, wherever DVC's configuration puts that cache; no other way out of data/ is."""

import sys
from pathlib import Path

import pytest
from dvc.config import Config

from stages.base import dvc_cache
from stages.base.errors import UserError
from stages.data import contest_layout
from tests.conftest import command

ROW = "id,gender,race,age,path\n1,female,Asian,30,one\n"


@pytest.fixture
def linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose photos are links into tmp_path/shared, as `cache.type symlink` makes them; no one's own settings count."""
    for variable in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    project, kept = tmp_path / "project", tmp_path / "shared/files/md5/0c"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc/config").touch()
    kept.mkdir(parents=True)
    folder = project / "data/train/images/one"
    folder.mkdir(parents=True)
    for stem in contest_layout.PHOTO_MASKS:
        (kept / stem).write_bytes(b"x")
        (folder / f"{stem}.jpg").symlink_to(kept / stem)
    (project / "data/train/train.csv").write_text(ROW)
    (project / "data/eval/images").mkdir(parents=True)
    (project / "data/eval/images/a.jpg").symlink_to(kept / "normal")
    (project / "data/eval/info.csv").write_text("ImageID,ans\na.jpg,0\n")
    monkeypatch.chdir(project)
    return project


def problems() -> set[str]:
    people, _ = contest_layout.read_people(Path("data/train/train.csv"))
    faults = contest_layout.find_photos(people, Path("data/train/images"))[1]
    faults += contest_layout.read_eval(Path("data/eval/info.csv"), Path("data/eval/images"))[1]
    return {fault.problem for fault in faults}


@pytest.mark.parametrize(
    ("config", "place"),
    [
        (".dvc/config", "../../shared"),
        (".dvc/config", "SHARED"),
        (".dvc/config.local", "../../shared"),
        ("../DVC_GLOBAL_CONFIG_DIR/config", "SHARED"),
        ("../DVC_SYSTEM_CONFIG_DIR/config", "SHARED"),
    ],
)
def test_links_into_the_configured_cache_are_photos(linked: Path, config: str, place: str) -> None:
    assert problems() == {"is a link that leads out of data/"}
    path = Path(config)
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"[cache]\n    type = symlink\n    dir = {place.replace('SHARED', str(linked.parent / 'shared'))}\n"
    )
    assert dvc_cache.folder() == linked.parent / "shared"
    assert problems() == set()


def test_the_local_setting_counts_before_the_projects(linked: Path) -> None:
    Path(".dvc/config").write_text("[cache]\n    dir = ../../shared\n")
    Path(".dvc/config.local").write_text("[cache]\n    dir = ../../other\n")
    assert problems() == {"is a link that leads out of data/"}


def test_without_a_setting_it_is_the_projects_own_also_from_a_folder_below_it(
    linked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("below").mkdir()
    for folder in (linked, linked / "below"):
        monkeypatch.chdir(folder)
        assert dvc_cache.folder() == linked / ".dvc/cache"


def test_a_folder_that_is_no_dvc_project_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert dvc_cache.folder() is None


@pytest.mark.parametrize("content", ["[cache\n", "[cache]\n    dir = s3://bucket/cache\n"])
def test_where_the_cache_is_not_to_be_told_links_out_of_data_stay_refused(linked: Path, content: str) -> None:
    Path(".dvc/config").write_text(content)
    assert problems() == {"is a link that leads out of data/"}


def test_a_link_elsewhere_stays_refused_beside_links_into_the_cache(linked: Path) -> None:
    Path(".dvc/config").write_text("[cache]\n    dir = ../../shared\n")
    photo = Path("data/train/images/one/mask2.jpg")
    (linked.parent / "elsewhere.jpg").write_bytes(b"x")
    photo.unlink()
    photo.symlink_to(linked.parent / "elsewhere.jpg")
    assert problems() == {"is a link that leads out of data/"}


@pytest.mark.slow
def test_dvc_itself_links_photos_to_where_it_is_told(linked: Path) -> None:
    """As a team sets it up: one cache for all, outside every project; also inside an experiment's own folder."""
    for path in (linked / "data/train/images/one").iterdir():
        path.write_bytes(path.name.encode()) if path.is_symlink() else None
    command(linked, "git", "init", "-q")
    command(linked, "dvc", "init", "-q", "-f")
    command(linked, "dvc", "config", "cache.dir", str(linked.parent / "team"))
    command(linked, "dvc", "config", "cache.type", "symlink")
    assert problems() == {"is a link that leads out of data/"}
    for path in [*Path("data").rglob("*.jpg")]:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    command(linked, "dvc", "add", "-q", "data")
    assert Path("data/eval/images/a.jpg").resolve().is_relative_to(linked.parent / "team")
    assert problems() == set()


def test_a_shared_cache_and_remotes_may_lie_in_folders_of_any_name(
    linked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, cache = linked.parent / "José/other", linked.parent / "마스크/cache"
    (other / ".dvc").mkdir(parents=True)
    (other / ".dvc/config.local").write_text(
        f'[remote "near"]\n    url = {linked.parent / "José/remote"}\n    jobs = 3\n[core]\n    autostage = true\n',
        encoding="utf-8",
    )
    dvc_cache.use(linked, cache, like=other)
    assert dvc_cache.folder() == cache
    listed = command(linked, sys.executable, "-m", "dvc", "config", "--list").stdout.splitlines()
    assert {f"remote.near.url={linked.parent / 'José/remote'}", "remote.near.jobs=3", "core.autostage=true"} <= set(
        listed
    )
    assert f"cache.type={dvc_cache.LINKS}" in listed


def test_what_a_password_may_hold_is_kept_and_who_may_read_it(linked: Path) -> None:
    other = linked.parent / "other/.dvc"
    other.mkdir(parents=True)
    told = other / "config.local"
    told.write_text('[remote "a b"]\n    password = "p,a#s\'s %"\n[cache]\n    shared = group\n    type = copy\n')
    told.chmod(0o600)
    dvc_cache.use(linked, linked.parent / "cache", like=other.parent)
    dvc_cache.use(linked, linked.parent / "cache")
    local = linked / ".dvc/config.local"
    read = Config(str(local.parent), validate=False).load_one("local")
    assert read["remote"] == {"a b": {"password": "p,a#s's %"}}
    assert read["cache"] == {"shared": "group", "type": dvc_cache.LINKS, "dir": str(linked.parent / "cache")}
    assert local.stat().st_mode & 0o777 == 0o600


def test_it_is_written_in_the_code_page_in_which_dvc_reads_it(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC on Windows reads its configuration so: in UTF-8 é would name another folder, which it would make."""
    monkeypatch.setattr(dvc_cache, "ENCODING", "cp1252")
    dvc_cache.use(linked, linked.parent / "José")
    assert "José" in (linked / ".dvc/config.local").read_text(encoding="cp1252")
    (linked / ".dvc/config.local").unlink()
    with pytest.raises(UserError, match=r"config\.local: '마' cannot be written so that DVC reads it here"):
        dvc_cache.use(linked, linked.parent / "마스크")
    assert not (linked / ".dvc/config.local").exists()
