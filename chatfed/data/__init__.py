"""Conversations from files, exports and the hub as dialogues, and dealt to clients. Knows no tokens and no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Dialogue",
    "DialogueTable",
    "Refusal",
    "Sketch",
    "Sketcher",
    "by_client",
    "deal_dirichlet",
    "deal_iid",
    "helpdesk",
    "read_dialogues",
]

if TYPE_CHECKING:
    from chatfed.data import helpdesk
    from chatfed.data.dialogue import Dialogue, DialogueTable, read_dialogues
    from chatfed.data.overlap import Sketch, Sketcher
    from chatfed.data.partition import by_client, deal_dirichlet, deal_iid
    from chatfed.data.reading import Refusal
else:
    from chatfed.lazy import loading

    __getattr__, __dir__ = loading(
        __name__,
        {
            "dialogue": "Dialogue DialogueTable read_dialogues",
            "helpdesk": "",
            "overlap": "Sketch Sketcher",
            "partition": "by_client deal_dirichlet deal_iid",
            "reading": "Refusal",
        },
    )
