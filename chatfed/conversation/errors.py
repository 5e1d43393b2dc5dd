"""What can be wrong with a filter, or with what it is given. Knows no library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chatfed.types import ChatfedError


class PresidioMissing(ChatfedError):
    """The library that finds names in prose, or its language model, is not installed here."""

    code = "presidio_missing"
    mend = "pip install 'chatfed[redact]', or go on without it: presidio = false, --no-presidio"


class HeldBack(ChatfedError):
    """A message names people or things, and the filter's mode is refuse. The error tells kinds and counts only."""

    code = "held_back"
    mend = "say it without them, or choose the mode mask"

    def __init__(self, counts: Mapping[str, int], param: str = "message") -> None:
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        super().__init__(
            f"This names {said}, which is not to be said; say it without, or choose the mode mask.", param=param
        )
        self.counts = dict(counts)


class TooLongToFilter(ChatfedError):
    """A text is longer than the filter reads."""

    code = "too_long_to_filter"
    mend = "filter it in pieces"


class UnreadableExamples(ChatfedError):
    """A file of examples from which a house's forms are to be learned cannot be used."""

    code = "unreadable_examples"
    mend = 'give JSON Lines of {"kind": "ticket", "value": "LN-1234567"}'

    def __init__(self, path: Path, line: int, why: str) -> None:
        where = f"{path}, line {line}" if line else str(path)
        super().__init__(f"{where} cannot be learned from: {why}.", param=str(path))
