"""The default corpus: employees of an invented organisation ask its help desk. All of it is generated here."""

from chatfed.data.helpdesk.corpus import Figures, HelpdeskCorpus, PrivateFact, figures, generate, write

__all__ = ["Figures", "HelpdeskCorpus", "PrivateFact", "figures", "generate", "write"]
