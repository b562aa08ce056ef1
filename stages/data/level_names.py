"""Names of levels as data have them: their order, and names that are one name written in two ways."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from decimal import Decimal

import numpy as np
import pandas as pd

from stages.data.csv_rows import normal, shown

NUMBER = re.compile(r"[+-]?[0-9]+([.][0-9]+)?")
# What programs write for a missing value. Elsewhere than in a column's declared levels it is no class; `NA` and `none` are.
MISSING = ("nan", "<na>", "#n/a", "nat")


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Different names in sorted order: by number where all are numbers, else as text."""
    different = set(names)
    if different and all(_number(name) is not None for name in different):
        return tuple(sorted(different, key=lambda name: (_number(name), name)))
    return tuple(sorted(different))


def clash(names: Iterable[str]) -> str:
    """What is wrong with names of which two differ only in case, blanks, form of Unicode or way of writing a number, or in
    several of these; else empty."""
    kinds: dict[str, Callable[[str], str | Decimal]] = {
        "in the form of Unicode": lambda name: unicodedata.normalize("NFKC", name),
        "in blanks or invisible characters": _visible,
        "in case": lambda name: unicodedata.normalize("NFKC", name).casefold(),
        "in how the number is written": _as_number,
        "in case, blanks or how they are written": _coarsest,
    }
    # One pass over a million groups, in place of one a kind: names that differ here differ in every kind.
    first: dict[str | Decimal, str] = {}
    alike: set[str] = set()
    for name in set(names):
        other = first.setdefault(_coarsest(name), name)
        if other != name:
            alike |= {other, name}
    for kind, form in kinds.items():
        seen: dict[str | Decimal, str] = {}
        for name in sorted(alike):
            other = seen.setdefault(form(name), name)
            if other != name:
                return f"{shown(other)} and {shown(name)} differ only {kind}"
    return ""


def _visible(name: str) -> str:
    """A name without what cannot be seen: blanks at its ends, a second blank in a row, zero-width characters. Letters that
    only Python does not know (of private fonts, of names that are not UTF-8) stay."""
    normal = unicodedata.normalize("NFKC", name)
    if normal.isprintable():
        return " ".join(normal.split())
    seen = (letter for letter in normal if letter.isspace() or unicodedata.category(letter) not in ("Cc", "Cf"))
    return " ".join("".join(seen).split())


def _coarsest(name: str) -> str | Decimal:
    """Equal for all names that `clash` takes for one."""
    return _as_number(_visible(name).casefold())


def _as_number(name: str) -> str | Decimal:
    number = _number(name)
    return name if number is None else number


def mixed(names: Iterable[str]) -> str:
    """Where some names are numbers and others are not: a number and a name; else empty."""
    listed = sorted(set(names))
    numbers = [name for name in listed if _number(name) is not None]
    if not numbers or len(numbers) == len(listed):
        return ""
    return f"numbers, as {shown(numbers[0])}, beside names, as {shown(next(n for n in listed if n not in numbers))}"


def codes(names: Iterable[str], levels: tuple[str, ...]) -> np.ndarray:
    """Code of each name, int [N]; -1 where it is no level."""
    return pd.Index(levels, dtype=object).get_indexer(pd.Index(names, dtype=object))


def normal_form(names: "pd.Series[str]") -> "pd.Series[str]":
    """Names in the normal form that names are compared in."""
    different = names.unique()
    return names.map({name: normal(name) for name in different}) if any(not n.isascii() for n in different) else names


def _number(name: str) -> Decimal | None:
    """Exactly, which a float is not: of ids above 2**53 two would be one."""
    return Decimal(name) if NUMBER.fullmatch(name) else None
