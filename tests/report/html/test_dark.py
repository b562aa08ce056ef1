import re

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex

from stages.report import colours
from stages.report.html import charts
from stages.report.html.dark import adapted, in_the_dark


def test_every_colour_of_a_chart_has_two_values_and_the_picture_takes_the_readers() -> None:
    svg = adapted(
        '<svg width="1"><g style="fill: #1c2430; stroke: #00786c"/><path id="#1c2430" style="fill: #123456"/></svg>'
    )
    assert svg == (
        '<svg width="1"><style>svg{--c0:#00786c;--c1:#123456;--c2:#1c2430}@media(prefers-color-scheme:dark){svg{--c0:#2fb5a5;'
        '--c1:#123456;--c2:#e6eaf0}image{filter:invert(1)}}</style><g style="fill: var(--c2); stroke: var(--c0)"/>'
        '<path id="#1c2430" style="fill: var(--c1)"/></svg>'
    )


def test_a_chart_has_no_colour_that_stays_as_it_is_in_the_dark() -> None:
    svg = charts.confusion(np.array([[9, 1, 0], [3, 8, 2], [0, 4, 4]]), ["a", "b", "c"], normalised=True)
    assert not re.findall(r"(?:fill|stroke): #", svg)
    light, dark = (dict(re.findall(r"(--c\d+):(#[0-9a-f]{6})", part)) for part in svg.split("@media")[:2])
    assert len(light) > 6
    assert light.keys() == dark.keys()
    assert not [colour for name, colour in light.items() if dark[name] == colour]


def test_no_shade_of_a_matrix_is_taken_for_a_number_on_it() -> None:
    shading = LinearSegmentedColormap.from_list("shares", colours.SHADES)
    assert not {to_hex(shading(step)) for step in range(shading.N)} & set(colours.NUMBERS)
    turned = [int(in_the_dark(to_hex(shading(step)))[1:3], 16) for step in range(shading.N)]
    assert sorted(turned) == turned


def test_shades_keep_their_order_between_those_of_the_dark() -> None:
    assert in_the_dark(colours.SHADES[0]) == colours.DARK_SHADES[0]
    assert in_the_dark(colours.SHADES[1]) == colours.DARK_SHADES[1]
    assert in_the_dark("#9aa0a6") == "#5a5c5e"  # halfway
    assert in_the_dark("#a05030") == "#a05030"
