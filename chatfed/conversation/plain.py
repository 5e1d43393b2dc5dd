"""A text as recognisers read it: without invisible characters, digits and letters in their plain form.

A name with a zero-width space in it looks like the name, and must be found like it. Every character of the plain text
keeps its place in the given one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from chatfed.types import Span

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]"
)
_WIDE = re.compile(  # the last: digits of other scripts
    "[\u212a\uff01-\uff5e\u00a0\u2000-\u200a\u202f\u205f\u3000\u2010-\u2015\u2212\U0001d400-\U0001d7ff]|(?![0-9])\\d"
)
_DASHES = re.compile("[\u2010-\u2015\u2212]")


@dataclass(frozen=True)
class Plain:
    """`text[i]` stands at `places[i]` of the given text; None: at i."""

    text: str
    places: Sequence[int] | None = None

    def given(self, span: Span) -> Span:
        """The same place in the given text, from its first character to behind its last."""
        if self.places is None or span.end <= span.start:
            return span
        return Span(self.places[span.start], self.places[span.end - 1] + 1)


def plain(text: str) -> Plain:
    """The text as recognisers read it; in time linear in its length."""
    if text.isascii() and text.isprintable():
        return Plain(text)
    if _WIDE.search(text):
        text = _WIDE.sub(lambda match: _narrow(match[0]), text)  # one character for one
    if not _INVISIBLE.search(text):
        return Plain(text)
    places = [at for at, letter in enumerate(text) if not _INVISIBLE.match(letter)]
    return Plain("".join(text[at] for at in places), places)


def _narrow(letter: str) -> str:
    if _DASHES.match(letter):
        return "-"
    if letter.isdecimal():
        return str(unicodedata.decimal(letter))
    narrow = unicodedata.normalize("NFKC", letter)
    return narrow if len(narrow) == 1 else letter
