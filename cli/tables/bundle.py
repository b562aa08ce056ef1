"""What people read on stdout of bundle."""

from typing import Any

from cli.lines import Lines, described

TIMM = {
    "model": 'each network\'s folder loads with timm.create_model("local-dir:...")',
    "backbone": "each network's folder loads with timm as its backbone alone: timm has no such head",
}


def bundle(found: dict[str, Any], width: int) -> Lines:
    """Where the bundle is, what it holds, and how good that is."""
    names = found["networks"]
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    score = f"OOF macro F1 {found['macro_f1']:.4f}, 95 % interval {found['macro_f1_low']:.4f} to {found['macro_f1_high']:.4f}"
    texts = [
        ("bundle", f"{found['bundle']} ({found['bytes'] / 1e6:.1f} MB: {listed})"),
        *([("zip", found["zip"])] if found["zip"] else []),
        ("score", score if found["kind"] != "refit" else f"none of its own; the folds' {score}"),
        ("licence", found["licence"] or "not stated; `--licence` puts it into the model card"),
        ("timm", TIMM[found["timm"]]),
        ("next", f"maskcli predict {found['zip'] or found['bundle']} PHOTO"),
    ]
    return described(texts, width)
