"""Names of test-time views, as params.yaml has them: a kind, and for some kinds an amount after the last underscore.

No torch here, so that params.yaml is checked before anything heavy is imported; the views are in stages/learn/tta_views.py.
"""

import re

from stages.base.errors import nearest

# Kinds with an amount: its lowest and highest value, its unit, and an example.
SHIFTS = ("shift_left", "shift_right", "shift_up", "shift_down")
CROPS = ("crop_top_left", "crop_top_right", "crop_bottom_left", "crop_bottom_right")
AMOUNTS: dict[str, tuple[float, float, str]] = {
    **dict.fromkeys(SHIFTS, (1, 128, "px")),
    "scale": (0.5, 2.0, "times"),
    "rotate": (-45.0, 45.0, "degrees"),
    "brightness": (0.25, 4.0, "times"),
}
PLAIN = ("identity", "hflip", *CROPS)
EXAMPLES = (*PLAIN, *SHIFTS, "shift_left_2", "scale_0.9", "scale_1.1", "rotate_-5", "rotate_5", "brightness_0.9")
LISTED = (
    "identity, hflip, shift_left (right, up, down; shift_left_2 for 2 px), crop_top_left, scale_1.1, rotate_-5, "
    "brightness_0.9"
)


def split(name: str) -> tuple[str, float | None]:
    """The kind and the amount of a view, `scale_1.1` to ("scale", 1.1); None where a shift takes the whole margin.

    Raises ValueError with the reason, starting with the name.
    """
    if name in PLAIN or name in SHIFTS:
        return name, None
    kind, _, text = name.rpartition("_")
    if kind not in AMOUNTS:
        close = nearest(name, (*EXAMPLES, *AMOUNTS))
        raise ValueError(f"`{name}` is not known{close}; valid: {LISTED} and their like")
    low, high, unit = AMOUNTS[kind]
    if not re.fullmatch(r"-?\d+" if kind in SHIFTS else r"-?\d+(\.\d+)?", text) or not low <= float(text) <= high:
        raise ValueError(
            f"`{name}`: {kind}_ wants a {'whole ' if kind in SHIFTS else ''}number from {low:g} to {high:g} ({unit})"
        )
    return kind, float(text)


def margin_needed(name: str) -> int:
    """Pixels of the cached margin that a view needs, px."""
    kind, amount = split(name)
    return 1 if kind in CROPS or (kind in SHIFTS and amount is None) else int(amount or 0) if kind in SHIFTS else 0


def check(names: tuple[str, ...]) -> None:
    """Raise ValueError for the first name that is not a view or stands twice, starting with its place."""
    for place, name in enumerate(names):
        try:
            split(name)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if name in names[:place]:
            raise ValueError(f"{place}: `{name}` stands twice and would count twice; name each view once")
