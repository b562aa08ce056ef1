"""What people read on stdout of export."""

from typing import Any

from cli.lines import Lines, described


def export(found: dict[str, Any], width: int) -> Lines:
    """What was written and how it was checked."""
    views, size = len(found["views"]), f"{found['height']}, {found['width']}, 3]"
    kind = "uint8 [n, " + size if found["input"] == "uint8" else "float32 in 0..1 [n, " + size
    texts = [
        ("exported", f"{found['file']} ({found['bytes'] / 1e6:.1f} MB): {found['networks']} networks x {views} views"),
        ("takes", f"photos, {kind}"),
        (
            "gives",
            f"probabilities [n, {found['classes']}], {found['vote']} vote, temperature {found['temperature']:.3g}; answers [n] "
            f"by {found['decision']}",
        ),
        (
            "checked",
            f"on {found['checked_on']}, against torch, in batches of 1, 2, 7 and all: probabilities differ by at most "
            f"{found['difference']:.0e}; all answers equal{_ties(found['ties'])}",
        ),
    ]
    return described([*texts, *(int8(found["int8"]) if "int8" in found else ())], width)


def _ties(count: int) -> str:
    return f" but for {count} that torch itself leaves undecided" if count else ""


def int8(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What 8 bits cost; the file that was checked against torch is the same graph before."""
    low, high = found["macro_f1_low"], found["macro_f1_high"]
    return [
        (
            "int8",
            f"macro F1 {found['macro_f1_difference']:+.4f} [{low:+.4f}, {high:+.4f}] against the same graph in float32 "
            f"({found['macro_f1_verdict']}): on {found['photos']} OOF photos, each by its own fold alone, paired over "
            f"{found['units']}; {found['answers_equal']:.1%} answered alike",
        ),
        (
            "",
            f"the check above is of the float32 graph; in int8 its probabilities differ by up to "
            f"{found['probabilities_differ']:.2g}, and {found['answers_differ']} of its answers. Speed here: "
            f"{found['speed']:.2f} times float32's",
        ),
    ]
