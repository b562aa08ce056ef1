"""Where DVC keeps the project's data: with cache.type symlink, photos are links to there."""

from pathlib import Path


def folder() -> Path | None:
    """DVC's cache as its configuration names it (project, local, user's and system's); None where it is no local folder.

    Inside an experiment's folder below .dvc/tmp/exps that is the project's own cache: DVC writes it into config.local there.
    DVC's configuration takes a tenth of a second to import: call this only where a link has been met.
    """
    from dvc.config import Config, ConfigError

    here = Path.cwd()
    dvc = next((place / ".dvc" for place in (here, *here.parents) if (place / ".dvc").is_dir()), None)
    if dvc is None:
        return None
    try:
        named = Config(str(dvc), validate=False).get("cache", {}).get("dir")
    except ConfigError:  # what is wrong with it, every dvc command says
        named = None
    if named and "://" in named:
        return None
    return Path(named or dvc / "cache").resolve()
