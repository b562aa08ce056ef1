"""claim: the experiments of a team divided by name, and DVC's queue by what its experiments change."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli.tables import claim as tables
from stages.base import claims
from stages.base.errors import UserError
from stages.by_hand import claim
from tests import histories
from tests.by_hand.unclaimable import SAID, at_noon, push_claim, two_clones
from tests.conftest import command


@pytest.fixture
def ann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = two_clones(tmp_path) / "ann/photos"
    monkeypatch.chdir(folder)
    return folder


def test_a_script_goes_on_only_with_what_it_has_claimed(ann: Path) -> None:
    assert command(ann, "maskcli", "claim", "focal", "ldam").stdout.splitlines() == [
        "focal: yours on origin, until `maskcli claim --release focal`",
        "ldam: yours on origin, until `maskcli claim --release ldam`",
    ]
    bob = ann.parent.parent / "bob/photos"
    refused = command(bob, "maskcli", "claim", "focal", "smooth", code=2)
    assert "focal: claimed on origin by ann on " in refused.stderr
    shown = json.loads(command(bob, "maskcli", "claim", "--json").stdout)
    assert [(one["name"], one["holder"]["who"]) for one in shown] == [
        ("focal", "ann"),
        ("ldam", "ann"),
        ("smooth", "bob"),  # claimed, though the other one was not
    ]


def test_the_list_fits_80_columns_and_asks_about_old_claims(ann: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_noon(monkeypatch)
    push_claim("loss=focal+train.epochs=30", json.dumps(SAID | {"who": "Bob de Bruijn", "host": "gpu1.example.org"}))
    push_claim("old", json.dumps(SAID | {"when": "2026-02-20T09:45:00+00:00"}))
    shown = [line for line, _ in tables.listed(claim.listed("origin"), "origin", 80)]
    assert max(map(len, shown)) <= 80
    assert shown[0] == "2 claims on origin"
    text = "\n".join(shown)
    assert "20 Feb 09:45, 9 days ago" in text
    assert "01 Mar 09:45, 3 h ago" in text
    assert "maskcli claim --release old" in text
    assert "--release loss" not in text
    assert tables.listed([], "origin", 80) == [("no claims on origin", "")]


def test_a_name_is_released_where_it_starts_from_head_else_wherever_it_stands(ann: Path) -> None:
    claim.run("origin", ["focal"])
    (ann / "params.yaml").write_text("folds: [0, 1, 2]\n")
    histories.commit(ann, "more folds")
    claim.run("origin", ["focal"])
    assert [one.start for one in claim.release("origin", ["focal"])] == [claims.start("HEAD")]
    assert [one.start for one in claim.release("origin", ["focal"])] == [claims.start("HEAD~1")]
    with pytest.raises(UserError, match=r"^focal: nobody claims it on origin; there are no claims$"):
        claim.release("origin", ["focal"])


@dataclass
class Entry:
    """What DVC keeps of an experiment in its queue."""

    stash_rev: str
    baseline_rev: str
    name: str | None


@dataclass
class Queue:
    """DVC's queue, as far as it is asked."""

    entries: list[Entry] = field(default_factory=list)
    workers: dict[str, Any] = field(default_factory=dict)

    def iter_queued(self) -> Iterator[Entry]:
        yield from list(self.entries)

    def worker_status(self) -> dict[str, Any]:
        return self.workers

    def remove(self, revisions: list[str]) -> None:
        self.entries = [one for one in self.entries if one.stash_rev not in revisions]


def queue(folder: Path, *params: str) -> Queue:
    """A queue of experiments with these params, called q0, q1, ..."""
    base = histories.git(folder, "rev-parse", "HEAD")
    made = Queue()
    for number, text in enumerate(params):
        (folder / "params.yaml").write_text(text)
        made.entries.append(Entry(histories.commit(folder, "queued"), base, f"q{number}"))
        histories.git(folder, "reset", "-q", "--hard", base)
    return made


def divided(queue: Queue, most: int | None = None) -> claim.Divided:
    class Repo:
        class experiments:
            celery_queue = queue

    return claim._divided(Repo, "origin", most)  # type: ignore[arg-type]


def test_two_queues_of_one_grid_hold_no_experiment_twice(ann: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = [f"folds: [0, 1]\nloss: {loss}\n" for loss in ("focal", "ldam", "f1")]
    of_ann = queue(ann, *grid)
    found = divided(of_ann, most=2)
    assert [(one.name, one.queued_as) for one in found.ours] == [("loss=focal", "q0"), ("loss=ldam", "q1")]
    assert [one.name for one in found.left] == ["loss=f1"]
    assert [one.name for one in of_ann.entries] == ["q0", "q1"]
    monkeypatch.chdir(ann.parent.parent / "bob/photos")
    # The same grid in another order, written in another way, one of it with a default that stands there in full.
    of_bob = queue(Path(), "loss: f1\nfolds: [0, 1]\nseed: 0\n", *grid[1::-1])
    found = divided(of_bob)
    assert [one.name for one in found.ours] == ["loss=f1"]
    assert {one.name: one.holder.who for one in found.held if one.holder} == {"loss=focal": "ann", "loss=ldam": "ann"}
    assert [one.name for one in of_bob.entries] == ["q0"]
    shown = [line for line, _ in tables.divided(found, "origin", 80)]
    assert shown[0] == "1 of 3 queued experiments are yours on origin; the others have left the queue"
    assert shown[-1].strip() == "dvc queue start"
    assert max(map(len, shown)) <= 80
    again = divided(of_bob)  # as typed twice
    assert ([one.name for one in again.ours], again.held, again.left) == (["loss=f1"], [], [])
    as_json = claim.as_json(found)
    assert as_json["held"][0]["holder"]["who"] == "ann"


def test_an_experiment_on_labels_that_are_not_committed_is_not_that_on_the_committed_ones(
    ann: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = histories.git(ann, "rev-parse", "HEAD")
    (ann / "corrections.csv").write_text("id,axis,old,new,who,when,why\n")
    (ann / "params.yaml").write_text("folds: [0, 1]\nloss: focal\n")
    made = histories.commit(ann, "queued")  # as DVC keeps it: the workspace as it was, with the change
    histories.git(ann, "reset", "-q", "--hard", base)
    assert [one.name for one in divided(Queue([Entry(made, base, "q0")])).ours] == ["loss=focal"]
    monkeypatch.chdir(ann.parent.parent / "bob/photos")
    of_bob = queue(Path(), "folds: [0, 1]\nloss: focal\n")
    assert [one.name for one in divided(of_bob).ours] == ["loss=focal"]
    starts = {one.holder.who: one.start for one in claim.listed("origin")}
    assert starts["bob"] == claims.start("HEAD")
    assert starts["ann"] != starts["bob"]
    monkeypatch.chdir(ann)
    assert [one.holder.who for one in claim.release("origin", ["loss=focal"])] == ["ann"]


def test_a_queue_that_a_worker_empties_is_not_divided(ann: Path) -> None:
    busy = queue(ann, "loss: focal\n")
    busy.workers = {"worker": []}
    with pytest.raises(UserError, match=r"^claim: a worker of `dvc queue start` takes from the queue already"):
        divided(busy)
    assert claims.listed("origin") == []


def test_an_empty_queue_says_how_it_is_filled(ann: Path) -> None:
    (line, _), *_ = tables.divided(divided(Queue()), "origin", 80)
    assert line.startswith("DVC's queue is empty; `dvc exp run --queue")
