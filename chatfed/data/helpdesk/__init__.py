"""The default corpus: employees of an invented organisation ask its help desk. All of it is generated here."""

from chatfed.data.helpdesk.corpus import (
    CLIENTS,
    Figures,
    HelpdeskCorpus,
    PrivateFact,
    figures,
    generate,
    generate_for,
    read,
    write,
)

__all__ = [
    "CLIENTS",
    "Figures",
    "HelpdeskCorpus",
    "PrivateFact",
    "figures",
    "generate",
    "generate_for",
    "read",
    "write",
]
