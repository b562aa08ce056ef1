"""The error a person can act on."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class UserError(Exception):
    """One line that names the file, row or key, what is wrong and how to mend it.

    The command line prints it without a traceback and exits with code 2.
    """


class Unwritten(UserError):
    """Files that go with an answer could not be written: whoever shows answers shows `found`, and then this error."""

    def __init__(self, error: UserError, found: Any) -> None:
        super().__init__(str(error))
        self.found = found


@contextmanager
def beside(found: Any) -> Iterator[None]:
    """In the block files are written that go with the answer `found`, which may have taken long. Raises Unwritten."""
    try:
        yield
    except UserError as error:
        raise Unwritten(error, found) from error


def nearest(word: str, known: Iterable[object], most: int = 1, otherwise: str = "") -> str:
    """The end of a line about a word that is not known: `most` names that are like it, in whatever case; else `otherwise`."""
    names = {str(name).lower(): str(name) for name in known}
    close = [names[match] for match in difflib.get_close_matches(word.lower(), names, n=most, cutoff=0.5)]
    return f"; did you mean {', '.join(f'`{name}`' for name in close)}?" if close else otherwise and f"; {otherwise}"
