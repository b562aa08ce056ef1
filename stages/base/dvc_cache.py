"""Where DVC keeps the project's data: with cache.type symlink, photos are links to there."""

import locale
import os
from collections.abc import Mapping
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

from stages.base import files
from stages.base.errors import UserError

LINKS = "reflink,hardlink,symlink,copy"  # what takes no room first
# As the DVC that maskcli runs reads its configuration: stages/base/programs.py sets that, which Windows does not heed.
ENCODING = locale.getpreferredencoding(False) if os.name == "nt" else "utf-8"


def folder() -> Path | None:
    """DVC's cache as its configuration names it (project, local, user's and system's); None where it is no local folder.

    Inside an experiment's folder below .dvc/tmp/exps that is the project's own cache: DVC writes it into config.local there.
    DVC's configuration takes a tenth of a second to import: call this only where a link has been met.
    """
    from dvc.config import Config, ConfigError

    dvc = settings(Path.cwd())
    if dvc is None:
        return None
    try:
        named = Config(str(dvc), validate=False).get("cache", {}).get("dir")
    except ConfigError:  # what is wrong with it, every dvc command says
        named = None
    if named and "://" in named:
        return None
    return Path(named or dvc / "cache").resolve()


def settings(project: Path) -> Path | None:
    """The folder .dvc that a project belongs to: its own, or one above it."""
    here = project.resolve()
    return next((place / ".dvc" for place in (here, *here.parents) if (place / ".dvc").is_dir()), None)


def use(project: Path, cache: Path, like: Path | None = None, links: str = LINKS) -> None:
    """Have a project take a cache that others share, by config.local, which git does not have; what it holds is linked to.

    like: the project whose other settings of that file it takes too, as a remote's address. links: the kinds to try. Raises
    UserError.
    """
    from dvc.config import Config, ConfigError

    dvc, other = settings(project), like and settings(like)
    if dvc is None:
        raise UserError(
            f"{project}: there is no folder .dvc here or above; run `dvc init` where the project is, and commit it"
        )
    files.make_folder(cache)
    try:
        theirs = Config(str(other), validate=False).load_one("local") if other else {}
        own = Config(str(dvc), validate=False).load_one("local")
    except ConfigError as error:
        raise UserError(f".dvc/config: {error}; mend it") from None
    own |= {name: values for name, values in theirs.items() if values}
    own["cache"] = own["cache"] | {"dir": str(cache.resolve()), "type": links}
    path = dvc / Config.CONFIG_LOCAL
    before = [path, *([other / path.name] if other else [])]
    modes = [one.stat().st_mode & 0o777 for one in before if one.is_file()]
    _write(path, own)
    if modes:  # it may hold passwords
        path.chmod(reduce(and_, modes))


def _write(path: Path, config: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a configuration as DVC reads it, sections like `remote` by name: DVC itself writes ASCII alone, so no path with ü."""
    from configobj import ConfigObj

    sections: dict[str, Any] = {}
    for section, values in config.items():
        named = {name: own for name, own in values.items() if isinstance(own, dict)}
        sections |= {f'{section} "{name}"': own for name, own in named.items()}
        if plain := {name: value for name, value in values.items() if name not in named}:
            sections[section] = plain
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        try:
            ConfigObj(sections, encoding=ENCODING).write(file)
        except UnicodeEncodeError as error:
            letter = error.object[error.start]
            raise UserError(
                f"{path}: {letter!r} cannot be written so that DVC reads it here; have no such letter in paths"
            ) from None
