"""One part of an audit: what an attack or a check found, for a person and for programs. Knows no attack and no page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a part comes to."""

    HOLDS = "holds"  # the attack or check found nothing beyond what is proven
    FAULT = "fault"  # it found more than the claim allows, or the check failed
    OPEN = "open"  # it succeeds, and nothing in the claim says that it would not
    UNJUDGED = "cannot judge"  # too little data, or data that differ without the model


@dataclass(frozen=True)
class Table:
    """Rows under heads; cells are text, or numbers that the page formats."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str | int | float | None]]


@dataclass(frozen=True)
class Part:
    """What one attack or check found."""

    name: str  # its key in audit.json: letters and underscores
    title: str  # its heading
    verdict: Verdict
    sentence: str  # the finding as a person who knows nothing of the field may repeat it
    figures: Mapping[str, Any]  # what programs read: JSON values, units in the names
    tables: Sequence[Table] = ()
    plots: Sequence[str] = ()  # inline SVG
    not_protected: Sequence[str] = ()  # sentences that stand as large as what is protected
    notes: Sequence[str] = field(default=())  # method, sources, what the figures do not say

    def to_json(self) -> dict[str, Any]:
        """What audit.json holds of it: all but the plots."""
        return {
            "title": self.title,
            "verdict": str(self.verdict),
            "sentence": self.sentence,
            **self.figures,
            "tables": [
                {"caption": each.caption, "heads": list(each.heads), "rows": [list(row) for row in each.rows]}
                for each in self.tables
            ],
            "not_protected": list(self.not_protected),
            "notes": list(self.notes),
        }
