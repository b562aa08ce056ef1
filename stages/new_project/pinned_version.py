"""The version of maskcli that a project is made for: requirements.txt of a project that `maskcli init` made names it.

Its stages depend on that file, so that DVC runs again what another version may change. This program's own repository has
none: its stages depend on the files of code.
"""

import re
from importlib.metadata import version

from stages.base import paths
from stages.base.errors import UserError

PACKAGE = "maskcli"


def line() -> str:
    """What pip installs this version by."""
    return f"{PACKAGE}=={version(PACKAGE)}"


def check() -> None:
    """Raise UserError where requirements.txt of the working folder names another version than the one that runs."""
    try:
        text = paths.REQUIREMENTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    named = re.search(rf"^{PACKAGE}\s*==\s*([^\s;#]+)", text, re.MULTILINE)
    here = version(PACKAGE)
    if named and named[1] != here:
        raise UserError(
            f"{paths.REQUIREMENTS}: names {PACKAGE} {named[1]}, and {here} is installed; go back to it with `pip install -r "
            f"{paths.REQUIREMENTS}`, or write {line()} there: then `dvc repro` runs again what depends on the version"
        )
