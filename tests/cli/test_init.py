"""What init prints: the data in a sentence first, all within the width; of many classes the largest and smallest."""

from dataclasses import replace
from pathlib import Path

import pytest

from cli.tables.init import demo, ending, plan
from stages.base.talk import SILENT
from stages.by_hand import init
from stages.by_hand.init import Plan
from stages.new_project.declare_task import Said
from tests.new_project import made


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A folder of 20 classes, two of which differ in a hyphen alone."""
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(
            made,
            "COLOURS",
            {f"kind {number:02}": (10 * number, 99, 99) for number in range(19)} | {"kind-07": (1, 2, 3)},
        )
        made.folder(Path("photos"), {name: 1 + place // 4 for place, name in enumerate(made.COLOURS)})
        said = Said(scratch=True)
        return init.plan(init.declared(Path("photos"), Path("project"), said), Path("project"), said, SILENT)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_and_says_the_data_in_its_first_line(planned: Plan, width: int) -> None:
    lines = [line for line, _ in [*plan(planned, width), *ending(planned, True, width)]]
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("photos: 60 photos in 20 classes, no eval set")


def test_of_many_classes_the_largest_and_the_smallest_stand_there(planned: Plan) -> None:
    lines = [line for line, _ in plan(planned, 120)]
    rows = [line for line in lines if line.endswith("%")]
    assert len(rows) == 12
    assert [row.split("  ")[0] for row in rows[:2]] == ["kind 16", "kind 17"]
    assert "and 8 classes between them" in lines


@pytest.mark.parametrize(
    ("classes", "said"), [(12, ""), (13, "and 1 class between them"), (14, "and 2 classes between them")]
)
def test_how_many_classes_are_left_out_is_said(planned: Plan, classes: int, said: str) -> None:
    few = replace(planned.found)
    few.__dict__["classes"] = planned.found.classes.head(classes)
    lines = [line for line, _ in plan(replace(planned, found=few), 120)]
    assert [line for line in lines if line.endswith("between them")] == ([said] if said else [])


def test_what_is_suspicious_and_why_values_were_chosen_stands_there(planned: Plan) -> None:
    text = "\n".join(line for line, _ in plan(planned, 200))
    assert "`kind 07` and `kind-07` differ in case, blanks or Unicode form alone" in text
    assert "most photos are 40x48 px" in text
    assert "begins from nothing, as asked" in text


def test_of_photos_that_lie_there_the_demo_does_not_say_that_they_are_drawn_faces() -> None:
    made_of = {"folder": ".", "data": "data", "files": [], "dry_run": False}
    assert demo(made_of | {"drawn": False}, 80)[0][0] == "data: photos are there already, none is drawn"
    assert demo(made_of | {"drawn": True}, 80)[0][0] == "data: demo faces, drawn"
    assert demo(made_of | {"drawn": True, "dry_run": True}, 80)[0][0] == "data: demo faces, would be drawn"
