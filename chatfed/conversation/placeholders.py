"""Placeholders such as [NAME-1] in place of what is held back, and the way back. The words stay with whoever holds it.

In one conversation the same words get the same placeholder; words that differ in capitals, spaces or invisible marks
alone share its number, [NAME-1] and [NAME-1.2], so that a model sees that they are one and what comes back is exact. A
text that looks like a placeholder when it comes in, whoever typed it, is held back itself ([TYPED-1]): nobody gets
another's words by typing their placeholder, and `restore(mask(text))` is the text, always.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chatfed.types import Span

from .entities import LABELS, Entity
from .plain import plain
from .said_again import HeldWords

TYPED = "TYPED"
LONGEST = 32  # characters of a placeholder, however it is spelt
_KIND = {label: kind for kind, label in LABELS.items()}
_LABELS = sorted({*LABELS.values(), TYPED}, key=lambda label: (-len(label), label))
_HELD = re.compile(
    rf"\[ ?({'|'.join(_LABELS)})[ _-]?([1-9][0-9]{{0,8}})(?:\.([1-9][0-9]{{0,4}}))? ?\]", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True)
class Masked:
    """A text with placeholders, and where each stands: (place in the masked text, place in the given text, label)."""

    text: str
    places: tuple[tuple[Span, Span, str], ...]


@dataclass
class Placeholders:
    """Those of one conversation: what each stands for. Not to be logged, and not to be sent."""

    _words: dict[str, str] = field(default_factory=dict, repr=False)  # placeholder: words
    _of: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)  # (label, words): placeholder
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)  # (label, plain words): number
    _counts: dict[str, int] = field(default_factory=dict, repr=False)  # label: how many
    _spellings: dict[tuple[str, int], int] = field(default_factory=dict, repr=False)
    _held: HeldWords = field(default_factory=HeldWords, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self._words)

    def mask(self, text: str, entities: Sequence[Entity]) -> Masked:
        """The text with placeholders. entities: in order, without overlap."""
        pieces, places, at, length = [], [], 0, 0
        for span, label in _with_typed(text, entities):
            held = self._placeholder(label, text[span.start : span.end])
            before = text[at : span.start]
            length += len(before)
            places.append((Span(length, length + len(held)), span, label))
            pieces += [before, held]
            at, length = span.end, length + len(held)
        return Masked("".join([*pieces, text[at:]]), tuple(places))

    def said_again(self, text: str) -> list[Entity]:
        """Where the text has words that are held already, in whatever capitals whatever blanks between them."""
        return list(self._held.find(text))

    def restore(self, text: str) -> str:
        """The text with the words again. What looks like a placeholder and is none of these stays as it is.

        A placeholder is known in small letters, with a space for the hyphen and with spaces inside the brackets, as
        models spell them; without its brackets it is not.
        """
        return _HELD.sub(lambda match: self._words.get(_spelt(match), match[0]), text)

    def to_json(self) -> dict[str, str]:
        """What each placeholder stands for, for a file that its owner keeps."""
        return dict(self._words)

    def _placeholder(self, label: str, words: str) -> str:
        if (label, words) not in self._of:
            alike = label, words if label == TYPED else " ".join(plain(words).text.casefold().split())
            if alike not in self._numbers:
                self._counts[label] = self._numbers[alike] = self._counts.get(label, 0) + 1
            number = self._numbers[alike]
            spelling = self._spellings[label, number] = self._spellings.get((label, number), 0) + 1
            held = f"[{label}-{number}]" if spelling == 1 else f"[{label}-{number}.{spelling}]"
            self._of[label, words], self._words[held] = held, words
            if label != TYPED:
                self._held.add(words, _KIND[label])
        return self._of[label, words]


def _spelt(match: re.Match[str]) -> str:
    label, number, spelling = match.groups()
    return f"[{label.upper()}-{number}.{spelling}]" if spelling else f"[{label.upper()}-{number}]"


def _with_typed(text: str, entities: Sequence[Entity]) -> Iterator[tuple[Span, str]]:
    """Entities, and what looks like a placeholder, in order and without overlap."""
    spans = [(entity.span, LABELS[entity.kind]) for entity in entities]
    spans += [(Span(*match.span()), TYPED) for match in _HELD.finditer(text)]
    last: tuple[Span, str] | None = None
    for span, label in sorted(spans, key=lambda item: (item[0].start, -item[0].end)):
        if last is None:
            last = span, label
        elif span.start < last[0].end:  # one that reaches into the other: both are held back, as the first
            last = Span(last[0].start, max(last[0].end, span.end)), last[1]
        else:
            yield last
            last = span, label
    if last is not None:
        yield last


class Restorer:
    """Restores a reply that comes in pieces: what may be the beginning of a placeholder waits for its end."""

    def __init__(self, placeholders: Placeholders) -> None:
        self._placeholders, self._waiting = placeholders, ""

    def add(self, piece: str) -> str:
        """What of the reply is certain now."""
        if not len(self._placeholders):
            return piece
        text = self._waiting + piece
        opened = text.rfind("[", max(0, len(text) - LONGEST))
        cut = opened if opened >= 0 and "]" not in text[opened:] else len(text)
        self._waiting = text[cut:]
        return self._placeholders.restore(text[:cut])

    def end(self) -> str:
        """What still waited."""
        waited, self._waiting = self._waiting, ""
        return self._placeholders.restore(waited)
