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


def names_another(text: str) -> bool:
    """Whether the text of a requirements.txt names another version of maskcli than the one that runs."""
    named = _named(text)
    return named is not None and named != version(PACKAGE)


def check() -> None:
    """Raise UserError where requirements.txt of the working folder names another version than the one that runs."""
    try:
        text = paths.REQUIREMENTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if names_another(text):
        raise UserError(
            f"{paths.REQUIREMENTS}: names {PACKAGE} {_named(text)}, and {version(PACKAGE)} is installed; go back with `pip "
            f"install -r {paths.REQUIREMENTS}`, or go on with `maskcli init --update`, after which `dvc repro` runs again what "
            "it changes"
        )


def renewed(text: str) -> str:
    """The text of a requirements.txt with the version that runs."""
    new, count = re.subn(rf"^{PACKAGE}\s*==.*$", line(), text, flags=re.MULTILINE)
    return new if count else f"{text.rstrip()}\n{line()}\n".lstrip()


def _named(text: str) -> str | None:
    found = re.search(rf"^{PACKAGE}\s*==\s*([^\s;#]+)", text, re.MULTILINE)
    return found[1] if found else None
