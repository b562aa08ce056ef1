import itertools
import json
import re
from typing import Any

import numpy as np
import pytest

from stages.report import colours
from stages.report.html.dark import in_the_dark
from tests.conftest import ROOT

TEMPLATES = sorted((ROOT / ".dvc/plots").glob("*.json"))
GROUPS = {
    "revisions": dict(enumerate(colours.REVISIONS)),
    "levels": dict(enumerate(colours.LEVELS)),
    "verdicts": colours.VERDICTS,
}
# Machado, Oliveira & Fernandes 2009, table 1, severity 1.0: what linear RGB becomes.
SIGHT = {
    "all cones": np.eye(3),
    "no red": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "no green": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "no blue": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


def linear(colour: str) -> np.ndarray:
    share = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB under D65."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    scaled = matrix @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(colour: str, ground: str = "#ffffff") -> float:
    """WCAG 2's contrast ratio."""
    low, high = sorted(float(linear(one) @ [0.2126, 0.7152, 0.0722]) for one in (colour, ground))
    return (high + 0.05) / (low + 0.05)


def inside(value: Any) -> list[dict[str, Any]]:
    """Every object in a template, at any depth."""
    if isinstance(value, list):
        return [found for one in value for found in inside(one)]
    if not isinstance(value, dict):
        return []
    return [value, *inside(list(value.values()))]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("sight", SIGHT)
def test_colours_of_one_group_are_told_apart_with_any_sight(group: str, sight: str) -> None:
    for (one, first), (other, second) in itertools.combinations(GROUPS[group].items(), 2):
        seen = [lab(SIGHT[sight] @ linear(colour)) for colour in (first, second)]
        assert np.linalg.norm(seen[0] - seen[1]) > 20, f"{one} and {other}"


def test_no_colour_means_two_things() -> None:
    meanings = [(group, name, colour) for group, members in GROUPS.items() for name, colour in members.items()]
    for (group, one, first), (other_group, other, second) in itertools.combinations(meanings, 2):
        if group != other_group:
            assert np.linalg.norm(lab(linear(first)) - lab(linear(second))) > 20, f"{one} and {other}"


def test_what_is_drawn_and_written_stands_out_from_its_ground() -> None:
    faint = [*colours.REVISIONS, *colours.LEVELS, *colours.VERDICTS.values(), colours.NEUTRAL, colours.INK]
    faint.remove(colours.VERDICTS["too few to tell"])  # a cross without an interval is meant to stand back
    assert min(map(contrast, faint)) >= 3  # WCAG 2.1, 1.4.11: graphical objects
    for share in np.linspace(0, 1, 101):
        shade = between(*colours.SHADES, share)
        written = colours.SHADES[0] if share > colours.WRITTEN_LIGHT else colours.INK
        assert contrast(written, shade) > 3.5, share


def between(first: str, last: str, share: float) -> str:
    ends = [np.array([int(shade[place : place + 2], 16) for place in (1, 3, 5)]) for shade in (first, last)]
    return "#" + "".join(f"{round(one):02x}" for one in (1 - share) * ends[0] + share * ends[1])


def test_what_is_read_on_the_page_can_be_read_in_the_light_and_in_the_dark() -> None:
    """WCAG 2.1, 1.4.3 (text: 4.5) and 1.4.11 (graphical objects: 3), level AA."""
    for turned in (str, in_the_dark):
        box, ground = turned("#ffffff"), turned(colours.GROUND)
        for text in (colours.INK, colours.SOFT, colours.VERDICTS["worse"], "#595959"):
            assert min(contrast(turned(text), box), contrast(turned(text), ground)) >= 4.5, text
        for mark in (*colours.REVISIONS[:2], colours.VERDICTS["worse"], "#808080"):
            assert contrast(turned(mark), box) >= 3, mark
        for share in np.linspace(0, 1, 101):
            number = colours.NUMBERS[int(share > colours.NUMBERS_LIGHT)]
            assert contrast(turned(number), turned(between(*colours.SHADES, share))) >= 4.5, (turned, share)


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_told_apart_in_the_dark_too(sight: str) -> None:
    one, other = (lab(SIGHT[sight] @ linear(in_the_dark(colour))) for colour in colours.REVISIONS[:2])
    assert np.linalg.norm(one - other) > 20


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_templates_which_cannot_import_them_have_the_same_colours(template: Any) -> None:
    text = template.read_text()
    ours = {*colours.REVISIONS, *colours.LEVELS, *colours.SHADES, colours.INK, colours.NEUTRAL}
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", text)) <= {*ours, "#ebebeb"}, (
        "the last is the grid of the confusion matrix"
    )
    encodings = [found["color"] for found in inside(json.loads(text)) if isinstance(found.get("color"), dict)]
    wanted = {
        "rev": {"range": list(colours.REVISIONS)},
        "gender": {"domain": ["male", "female"], "range": list(colours.LEVELS[:2])},  # the contest's levels, in order
        "share": {"domain": [0, 1], "range": list(colours.SHADES), "interpolate": "rgb"},
    }
    assert encodings, "every picture has colours of its own: the drawing library's would mean something else elsewhere"
    for encoding in encodings:
        if "field" in encoding:
            assert encoding["scale"] == wanted[encoding["field"]]
        elif encoding != {"value": colours.NEUTRAL}:
            assert encoding == {
                "condition": {"test": f"datum.share > {colours.WRITTEN_LIGHT}", "value": colours.SHADES[0]},
                "value": colours.INK,
            }


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_title_of_a_legend_is_cut_off(template: Any) -> None:
    """Vega draws 180 px of one: of bold letters about 26."""
    for found in inside(json.loads(template.read_text())):
        if isinstance(found.get("legend"), dict) and len(found.get("title", "")) > 26:
            assert found["legend"].get("titleLimit", 180) >= 8 * len(found["title"])


def test_no_other_file_has_colours_of_its_own() -> None:
    for path in [*(ROOT / "stages").rglob("*.py"), *(ROOT / "stages").rglob("*.jinja")]:
        for colour in re.findall(r"#[0-9a-fA-F]{6}\b", path.read_text(encoding="utf-8")):
            channels = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
            grey = max(channels) - min(channels) < 32
            assert grey or path.name == "colours.py", f"{path}: {colour}"
