"""Charts that follow the reader's choice of light or dark: each colour of an SVG becomes a CSS variable with two values."""

import re
from collections.abc import Sequence

from stages.report.colours import DARK, DARK_SHADES, SHADES

PAINT = re.compile(r"(fill|stroke): (#[0-9a-f]{6})\b")
LIKE = 2  # of 255: a shade's channels are rounded


def adapted(svg: str) -> str:
    """The same SVG, with other colours where the page is shown in the dark."""
    colours = sorted({colour for _, colour in PAINT.findall(svg)})
    names = {colour: f"--c{number}" for number, colour in enumerate(colours)}
    light = ";".join(f"{names[colour]}:{colour}" for colour in colours)
    dark = ";".join(f"{names[colour]}:{in_the_dark(colour)}" for colour in colours)
    # An embedded picture is one of white and dots on it.
    style = f"<style>svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}image{{filter:invert(1)}}}}</style>"
    start = svg.index(">", svg.index("<svg")) + 1
    return svg[:start] + style + PAINT.sub(lambda found: f"{found[1]}: var({names[found[2]]})", svg[start:])


def in_the_dark(colour: str) -> str:
    """What a colour becomes; itself where nothing is said of it."""
    if colour in DARK:
        return DARK[colour]
    (first, last), own = map(_channels, SHADES), _channels(colour)
    share = (first[0] - own[0]) / (first[0] - last[0])
    if not 0 <= share <= 1 or any(abs(a - b) > LIKE for a, b in zip(_between(first, last, share), own, strict=True)):
        return colour
    low, high = map(_channels, DARK_SHADES)
    return "#" + "".join(f"{round(channel):02x}" for channel in _between(low, high, share))


def _between(first: Sequence[float], last: Sequence[float], share: float) -> list[float]:
    return [a + share * (b - a) for a, b in zip(first, last, strict=True)]


def _channels(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
