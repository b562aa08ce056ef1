"""A project with something to review, its page on a free port in a thread of the test's process, and a small browser."""

import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd

from stages.base import http_server, paths
from stages.by_hand import review
from stages.data import photos as photo_tables
from stages.data import task_and_classes as tasks
from stages.params.load import load
from stages.review import app
from stages.review.decisions import Decisions
from stages.review.guard import Access
from stages.review.page_data import View
from stages.review.pictures import Pictures

ASKED = review.Asked("127.0.0.1", 0, "ann", 0, "")
SUSPECTS = [
    "rank",
    "id",
    "axis",
    "given",
    "suggested",
    "score",
    "ambiguous",
    "value",
    "group",
    "photos",
    "why",
    "likely_wrong",
    "decided",
]
IMAGES = Path("data/train/images")


def table() -> pd.DataFrame:
    """photos.csv of the working folder, its levels as names: mask, gender; person called group."""
    task = tasks.read(load())
    found = photo_tables.read(task)
    for name in ("mask", "gender"):
        found[name] = [task.axis(name).levels[code] for code in found[name]]
    return found


def suspects(count: int = 6) -> list[tuple[str, str]]:
    """Write suspects: of each person in turn the gender, the mask state of the first photo, or the age. Returns ids and axes."""
    people = table().groupby("group", sort=False)
    rows: list[list[Any]] = []
    for place, (person, own) in enumerate(people):
        first = own.iloc[0]
        gender = {"male": "female", "female": "male"}
        age = "<30" if first["age"] < 30 else "60+" if first["age"] >= 60 else "30-59"
        kind = [
            [person, "gender", first["gender"], gender[first["gender"]], ""],
            [first["file"], "mask", "wear", "none", ""],
            [person, "age", age, "30-59" if age != "30-59" else "60+", first["age"]],
        ][place % 3]
        *told, value = kind
        said = [value, person, "|".join(own["file"]), "7 of 7 look so", 1 - place % 2, ""]
        rows.append([place + 1, *told, 0.9 - place / 100, place % 2, *said])
    paths.SUSPECTS.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows[:count], columns=SUSPECTS).to_csv(paths.SUSPECTS, index=False)
    return [(row[1], row[2]) for row in rows[:count]]


def near_duplicates(*pairs: tuple[int, int]) -> None:
    """Write pairs of photos, by their rows in photos.csv, as eda finds them."""
    own = table()
    rows = [
        {f"{what}_{side}": value for side, place in zip("ab", pair, strict=True)
         for what, value in (("photo", IMAGES / own["file"][place]), ("person", own["group"][place]))}
        for pair in pairs
    ]  # fmt: skip
    paths.EDA.mkdir(parents=True, exist_ok=True)
    columns = ["photo_a", "person_a", "photo_b", "person_b"]
    pd.DataFrame(rows, columns=columns).assign(distance=1, correlation=0.99).to_csv(paths.EDA_DUPLICATES, index=False)


def unreadable(*files: str) -> None:
    paths.EDA.mkdir(parents=True, exist_ok=True)
    rows = [[file, "is cut off before its end", "replace it by the original"] for file in files]
    pd.DataFrame(rows, columns=["where", "problem", "mend"]).to_csv(paths.EDA_UNREADABLE, index=False)


def copied(prepared: Path, folder: Path) -> Path:
    shutil.copytree(prepared, folder)
    return folder


@dataclass
class Browser:
    """Keeps the cookie, and says of writes where they come from, as browsers do."""

    port: int
    token: str = ""
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, what the JSON says (or the bytes), and headers. `Content_Type` is the header Content-Type."""
        own = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie, **self.headers}
        if body is not None:
            own |= {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{self.port}"}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
            sent = {name: value for name, value in own.items() if value}
            connection.request(method or ("GET" if body is None else "POST"), path, content, sent)
            answer = connection.getresponse()
            said: Any = answer.read()
            known = {name.lower(): value for name, value in answer.getheaders()}
            if known.get("content-type", "").startswith("application/json"):
                said = json.loads(said)
            return answer.status, said, known
        finally:
            connection.close()

    def enter(self) -> "Browser":
        status, _, headers = self.ask(f"/?token={self.token}", Sec_Fetch_Site="none")
        assert (status, headers["location"]) == (303, "/")
        self.cookie = headers["set-cookie"].partition(";")[0]
        return self

    def get(self, path: str) -> Any:
        status, said, _ = self.ask(path)
        assert status == 200, said
        return said

    def question(self, way: str = "next", at: int = -1, **wanted: Any) -> Any:
        return self.get(f"/question?{urlencode({'way': way, 'from': at, **wanted})}")

    def decide(self, question: Any, key: str, **changes: Any) -> Any:
        """Press the key of a question as it was shown."""
        action = next(one for one in question["actions"] if one["key"] == key)
        body = {name: action[name] for name in ("id", "axis", "new")} | {"seen": question["seen"]}
        status, said, _ = self.ask("/decide", body | {"question": question["number"], "who": ""} | changes)
        assert status == 200, said
        return said

    def undo(self, row: Any, who: str = "") -> Any:
        status, said, _ = self.ask("/undo", {"row": row, "who": who})
        assert status == 200, said
        return said


@contextmanager
def reviewing(asked: review.Asked = ASKED) -> Iterator[Browser]:
    """The page of the working folder, and a browser that is let in."""
    params = load()
    numbered, questions = review.read(params, tasks.read(params), asked)
    place, _ = http_server.listening(asked.host, asked.port)
    access = Access(place.getsockname()[1], asked.host)
    pictures = Pictures(numbered, params.data.max_pixels)
    made = http_server.made(
        app.application(View(Decisions(numbered, questions)), pictures, access, asked.who, (), 2), 5.0
    )
    thread = threading.Thread(target=http_server.run, args=(made, place, 5.0))
    thread.start()
    try:
        yield Browser(access.port, access.token).enter()
    finally:
        made.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
