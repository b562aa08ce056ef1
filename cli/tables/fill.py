"""What people read on stdout of fill."""

from typing import Any

from cli.lines import Lines, plain


def fill(made: dict[str, Any], width: int) -> Lines:
    """The file in a sentence, and what is not in it."""
    left = f"; eval photos that are not in the sample: {made['left_out']}" if made["left_out"] else ""
    return plain([f"{made['file']}: {made['rows']} rows, {made['holds']}, by {made['submission']}{left}"], width)
