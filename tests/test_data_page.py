"""docs/data.md: every example is made as it stands, read by prepare and kfold, and gives the tables that the page shows.

A fenced block names its file behind the language; `photos` lists photos to be made, and what begins with out/ is to come out.
"""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, maskcli

BLOCK = re.compile(r"^```\w+ (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    name: str
    files: dict[str, str]


def examples() -> list[Example]:
    """Blocks from one list of photos to the next, under the name of their section."""
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    found: list[Example] = []
    for section, body in zip(*[iter(SECTION.split(text)[1:])] * 2, strict=True):
        for name, content in BLOCK.findall(body):
            if name == "photos":
                found.append(Example(section, {}))
            found[-1].files[name] = content
    return found


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def lay_out(folder: Path, example: Example) -> None:
    for number, name in enumerate(example.files["photos"].split()):
        noise = np.random.default_rng(number).integers(0, 255, (40, 30, 3), np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(folder / name)
    for name, content in example.files.items():
        if name != "photos" and not name.startswith("out/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_of_the_page_gives_the_tables_that_stand_there(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path, example)
    for stage in ("prepare", "kfold"):
        code, _, err = maskcli(monkeypatch, capsys, stage)
        assert code == 0, err
    shown = {name: content for name, content in example.files.items() if name.startswith("out/")}
    assert shown
    for name, content in shown.items():
        wanted, found = rows(content), rows((tmp_path / name).read_text(encoding="utf-8"))
        assert [{column: row[column] for column in wanted[0]} for row in found] == wanted
        assert ("label" in found[0]) == ("label" in wanted[0])


def test_the_page_has_every_layout() -> None:
    layouts = {match for one in examples() for match in re.findall(r"layout: (\w+)", one.files["params.yaml"])}
    assert layouts == {"folder", "table", "contest"}
