"""review: a local web page that shows suspects one by one, and writes what a person decides into corrections.csv."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.base import cores, extras, garbage, git, paths
from stages.base.errors import UserError, nearest
from stages.data import corrections
from stages.data import task_and_classes as tasks
from stages.data.csv_rows import normal
from stages.data.task_and_classes import Task
from stages.params.schema import Params

if TYPE_CHECKING:
    from stages.review.numbered_photos import Numbered
    from stages.review.questions import Question

PATIENCE = 5.0  # seconds that a request may take to arrive, and to be answered when it ends
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Asked:
    """Where to listen, who decides, and which suspects are asked about."""

    host: str
    port: int
    who: str  # empty: git's user.name
    first: int  # suspects at most; 0: all
    axis: str  # empty: all


@dataclass(frozen=True)
class Began:
    """What the page can be opened by, and what it will ask."""

    url: str
    questions: int
    decided: int
    photos: int
    who: str
    said: str  # the questions in words


def run(params: Params, asked: Asked, began: Callable[[Began], None], say: Callable[[str], None]) -> None:
    """Show the page until SIGTERM or Ctrl-C. began: told when it can be opened. say: told what is odd. Raises UserError."""
    extras.check("review", extras.HTTP)
    from stages.base import http_server
    from stages.review import app, questions
    from stages.review.decisions import Decisions
    from stages.review.guard import Access
    from stages.review.page_data import View
    from stages.review.pictures import Pictures

    task = tasks.read(params)
    _check_axis(asked.axis, task)
    who = asked.who.strip() or named()
    photos, listed = read(params, task, asked)
    decisions = Decisions(photos, listed)
    place, url = http_server.listening(asked.host, asked.port)
    port = place.getsockname()[1]
    notes = _notes()
    for line in [*corrections.look()[2], *notes, *_of_the_network(asked, port)]:
        say(line)
    access = Access(port, asked.host)
    decoders = max(2, cores.available())
    application = app.application(
        View(decisions), Pictures(photos, params.data.max_pixels), access, who, notes, decoders
    )
    garbage.collect_as_usual()
    done = int(decisions.done.sum())
    began(Began(f"{url}/?token={access.token}", len(listed), done, photos.listed, who, questions.told(listed)))
    http_server.run(http_server.made(application, PATIENCE), place, PATIENCE)


def read(params: Params, task: Task, asked: Asked) -> "tuple[Numbered, list[Question]]":
    """All photos, and what is asked about them. Raises UserError where prepare has not run or a table is damaged."""
    from stages.review import numbered_photos, questions

    tables = questions.read()
    photos = numbered_photos.read(params, task, questions.unreadable(tables))
    changed = {normal(row.id) for row in corrections.read()}
    listed = questions.asked(tables, photos, changed)
    suspects = [one for one in listed if one.kind == "suspect" and asked.axis in ("", one.axis)]
    others = [one for one in listed if one.kind != "suspect" and not asked.axis]
    return photos, suspects[: asked.first or None] + others


def named() -> str:
    """Who works here. Raises UserError where nobody says."""
    if not (found := git.user()):
        raise UserError("--who: git has no user.name, and this user no name; give one: --who ann")
    return found


def _check_axis(name: str, task: Task) -> None:
    names = [axis.name for axis in task.axes]
    if name and name not in names:
        raise UserError(f"--axis {name}: is no axis{nearest(name, names)}; there are {', '.join(names)}")


def _notes() -> tuple[str, ...]:
    """What is missing, and how to come by it."""
    notes = []
    if not paths.SUSPECTS.is_file():
        notes.append(f"{paths.SUSPECTS}: not found, so there are no suspects; `maskcli audit` looks for some")
    if not paths.EDA_DUPLICATES.is_file():
        notes.append(
            f"{paths.EDA}: not found; `maskcli eda` looks for near-duplicates and for photos that cannot be read."
        )
    return tuple(notes)


def _of_the_network(asked: Asked, port: int) -> list[str]:
    """What to say of where it listens."""
    found = []
    if asked.port not in (0, port):
        found.append(f"--port {asked.port}: another program listens there; taken instead: {port}, the next free one")
    if asked.host not in LOOPBACK:
        found.append(
            f"warning: --host {asked.host}: who has the URL below may see the photos and decide, and nothing is encrypted"
        )
    return found
