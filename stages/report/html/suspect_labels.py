"""The labels that `maskcli audit` doubts most, each with its group's photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST = 24  # labels shown


@dataclass(frozen=True)
class Suspects:
    """The first rows of suspects.csv, and in a sentence what the audit found; empty where there is no audit of this run."""

    told: str = ""
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def photos(self) -> list[str]:
        return [photo for row in self.rows for photo in _photos(row)]


def cards(suspects: Suspects, sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """What stands on each label's card. sources: pictures as data: URIs, by the photo's name; none where it cannot be had."""
    return [
        {
            **{name: row[name] for name in ("id", "axis", "given", "suggested", "why", "value", "decided")},
            "ambiguous": bool(row["ambiguous"]),
            "score": f"{100 * row['score']:.0f}\u00a0%",
            "of_photo": row["id"] == _photos(row)[0] and len(_photos(row)) > 1,
            "photos": [(photo, sources.get(photo, "")) for photo in _photos(row)],
        }
        for row in suspects.rows
    ]


def _photos(row: Mapping[str, Any]) -> list[str]:
    return str(row["photos"]).split("|")
