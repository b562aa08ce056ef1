"""Names of classes as pictures can draw them.

matplotlib's own font has no Korean, Chinese or Japanese letters and draws a box for each. Fonts of the machine that have them are
taken where there are any; else a class goes by its number.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import matplotlib
from matplotlib import font_manager

from stages.report.class_lists import LONGEST, unlike

OWN = "DejaVu Sans"
# Of Linux, Windows and macOS, in the order in which they are tried.
OTHERS = (
    *("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo", "AppleGothic"),
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Microsoft YaHei", "Yu Gothic", "PingFang SC"),
    *("Hiragino Sans", "Noto Sans", "Arial Unicode MS"),
)


@contextmanager
def fonts() -> Iterator[None]:
    """Text that is made within it may be of any of the fonts, letter by letter."""
    with matplotlib.rc_context({"font.family": list(families())}):
        yield


@cache
def families() -> tuple[str, ...]:
    """matplotlib's own font, then those of OTHERS that are installed."""
    installed = set(font_manager.get_font_names())
    return OWN, *(name for name in OTHERS if name in installed)


def legible(names: Sequence[str], numbers: Iterable[int], longest: int = LONGEST) -> list[str]:
    """Names of the classes of these numbers as a picture shows them: cut where they are long, and `class 3` where no font has
    their letters."""
    numbers = list(numbers)
    return [
        plain(name) if drawable(name) else f"class {number}"
        for name, number in zip(unlike(names, numbers, longest), numbers, strict=True)
    ]


def plain(text: str) -> str:
    """Text as matplotlib draws it letter by letter: between two dollar signs it would read a formula, or fail to."""
    return text.replace("$", r"\$")


def in_legend(text: str) -> str:
    """The same for a legend, which leaves out what begins with an underscore."""
    return plain(f" {text}" if text.startswith("_") else text)


def drawable(text: str) -> bool:
    """Whether every letter is in one of the fonts."""
    return text.isascii() or set(map(ord, text)) <= _letters()


@cache
def _letters() -> frozenset[int]:
    """Code points that the fonts can draw."""
    faces = [font_manager.get_font(font_manager.findfont(name)) for name in families()]
    return frozenset().union(*(face.get_charmap() for face in faces))
