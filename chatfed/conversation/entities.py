"""What is held back, by kind, and where it stands in a text. Knows no library and finds nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chatfed.types import Span

LABELS: Mapping[str, str] = {  # kind: what stands in its placeholder
    "name": "NAME",
    "phone": "PHONE",
    "mail": "MAIL",
    "address": "ADDRESS",
    "bank": "ACCOUNT",
    "card": "CARD",
    "password": "PASSWORD",
    "health": "HEALTH",
    "born": "BORN",
    "employee": "STAFF",
    "identity": "IDENTITY",
    "ticket": "TICKET",
    "asset": "ASSET",
    "network": "NETWORK",
    "room": "ROOM",
    "product": "PRODUCT",
}
KINDS = tuple(LABELS)
HOUSE_KINDS = ("room", "product")
PERSONAL = tuple(kind for kind in KINDS if kind not in HOUSE_KINDS)
"""What is held back unless told otherwise: a help desk that may not know the product cannot help."""

_FIRST = {"password": 0, "mail": 1, "bank": 2, "card": 3}  # of two that overlap, before what is longer


@dataclass(frozen=True)
class Entity:
    """Something that names a person or a thing. Holds the place alone, never the words."""

    span: Span
    kind: str  # one of KINDS
    by: str  # "form", "list", "cue", "tagger" or "presidio": which part found it; "again": it was held back before


def disjoint(found: Iterable[Entity]) -> list[Entity]:
    """In the order of the text, without overlap: of two that overlap one wins, and takes in what the other covers.

    A name inside an address belongs to the address; nothing that anything found is given up.
    """
    merged: list[Entity] = []
    for entity in sorted(found, key=lambda each: (each.span.start, -each.span.end)):
        if merged and entity.span.start < merged[-1].span.end:
            last = merged[-1]
            winner = min((last, entity), key=_rank)
            end = max(last.span.end, entity.span.end)
            merged[-1] = Entity(Span(last.span.start, end), winner.kind, winner.by)
        elif entity.span.end > entity.span.start:
            merged.append(entity)
    return merged


def _rank(entity: Entity) -> tuple[int, int, int]:
    """What has a form before what is guessed, then what is worse to tell, then what is longer."""
    guessed = int(entity.by in ("cue", "tagger", "presidio"))
    return guessed, _FIRST.get(entity.kind, len(_FIRST)), entity.span.start - entity.span.end
