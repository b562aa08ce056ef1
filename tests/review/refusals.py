"""What `maskcli review` cannot begin with, and what it says and goes on, by the names of docs/bad_input.md."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.base import http_server, paths
from stages.by_hand import review
from tests import ports
from tests.ports import without_libraries
from tests.review import made

Patch = pytest.MonkeyPatch
Words = tuple[str, ...]
EXTRA_MISSING = "review without its libraries"


def altered(old: str, new: str) -> Callable[[Patch], object]:
    """Suspects with one text in place of another."""

    def lay_out(patch: Patch) -> None:
        made.suspects()
        paths.SUSPECTS.write_text(paths.SUSPECTS.read_text().replace(old, new, 1))

    return lay_out


def cut_off(patch: Patch) -> None:
    made.suspects()
    paths.SUSPECTS.write_text(paths.SUSPECTS.read_text()[:-5])


def all_taken(patch: Patch) -> None:
    def taken(host: str, port: int) -> socket.socket:
        raise http_server.Taken("taken")

    patch.setattr(http_server, "bound", taken)


def others(patch: Patch) -> None:
    """Suspects of a level that was another one when the audit looked."""
    made.suspects()
    first = made.table().iloc[0]
    other = {"male": "female", "female": "male"}
    text = paths.SUSPECTS.read_text()
    paths.SUSPECTS.write_text(text.replace(f"gender,{first['gender']},", f"gender,{other[first['gender']]},", 1))


CASES: dict[str, tuple[Words, Callable[[Patch], object]]] = {
    "review before prepare": ((), lambda patch: paths.TASK.unlink()),
    "review of suspects of other people": ((), altered("000001", "900001")),
    "review of suspects of an axis that is not there": ((), altered(",gender,", ",nose,")),
    "review of suspects of a level that is not there": ((), altered(",mask,wear,", ",mask,worn,")),
    "review of suspects whose labels are others by now": ((), others),
    "review of suspects that are cut off": ((), cut_off),
    "review of suspects without scores": ((), altered(",score,", ",scores,")),
    "review of a broken table of near-duplicates": (
        (),
        lambda patch: (made.near_duplicates((0, 7)), paths.EDA_DUPLICATES.write_text("a,b\n1,2\n")),
    ),
    "review of a broken corrections.csv": ((), lambda patch: paths.CORRECTIONS.write_text("id,axis\n")),
    "review of an axis that is not there": (("--axis", "gendre"), lambda patch: None),
    "review at an address of another machine": (("--host", "192.0.2.1"), lambda patch: None),
    "review where the next ports are taken too": ((), all_taken),
    EXTRA_MISSING: ((), without_libraries),
}


def port_taken(patch: Patch) -> None:
    ports.take(patch, 8010, review)


def half_a_row(patch: Patch) -> None:
    paths.CORRECTIONS.write_text("id,axis,old,new,who,when,why\n000001,gend")


SAID: dict[str, tuple[Words, Callable[[Patch], object]]] = {
    "review at a port that is taken": ((), port_taken),
    "review for all networks": (("--host", "0.0.0.0", "--port", "0"), lambda patch: None),
    "review without an audit": (("--port", "0"), lambda patch: None),
    "review after a crash in the middle of a row": (("--port", "0"), half_a_row),
}

Browser = made.Browser
BODY = {"id": "900001", "axis": "gender", "new": "male", "seen": 0, "question": None}


def named(name: str) -> None:
    """The first photo of photos.csv under another name."""
    (made.IMAGES / "out.jpg").symlink_to(Path("../secret.jpg").resolve())
    paths.PHOTOS.write_text(paths.PHOTOS.read_text().replace(made.table()["file"][0], name, 1))


def few_pixels() -> None:
    paths.PARAMS.write_text(paths.PARAMS.read_text() + "data: {max_pixels: 1000}\n")


def without_first() -> None:
    (made.IMAGES / made.table()["file"][0]).unlink()


# What a browser gets: what is done before the page begins, and what is asked then.
ANSWERS: dict[str, tuple[Callable[[], object], Callable[[Browser], tuple[int, bytes, object]]]] = {
    "a URL without the token, or with another one": (lambda: None, lambda own: Browser(own.port).ask("/?token=x")),
    "a decision sent from another site": (
        lambda: None,
        lambda own: own.ask("/decide", BODY, Origin="http://evil.example"),
    ),
    "a name that another site points here (DNS rebinding)": (
        lambda: None,
        lambda own: own.ask("/", Host="evil.example"),
    ),
    "a photo that is deleted while the page is open": (without_first, lambda own: own.ask("/photo/0/large.jpg")),
    "a photo whose name in photos.csv leads out of the data": (
        lambda: named("../../secret.jpg"),
        lambda own: own.ask("/photo/0/large.jpg"),
    ),
    "a photo behind a link that leads out of the data": (
        lambda: named("out.jpg"),
        lambda own: own.ask("/photo/0/large.jpg"),
    ),
    "a photo of too many pixels, on the page": (few_pixels, lambda own: own.ask("/photo/0/large.jpg")),
    "a decision on somebody who is not there": (lambda: None, lambda own: own.ask("/decide", BODY)),
}
