"""The entity filter: what names people and things in a message is found, marked, masked or refused before it is said.

Forms (recognisers.py, forms.py), cues (cues.py), a small tagger (tagger.py) and, where it is installed, presidio
(presidio.py) look for it; what any of them finds is held back. What none finds is said as it is: docs/conversation.md
has how much that was, measured.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.util import find_spec

from chatfed.types import InvalidValue

from . import presidio as by_presidio
from .cues import Cues, with_dates
from .entities import KINDS, PERSONAL, Entity, disjoint
from .errors import HeldBack, TooLongToFilter
from .forms import HouseForms
from .placeholders import Masked, Placeholders
from .plain import plain
from .recognisers import GENERAL
from .tagger import LEARNED, Tagger

LANGUAGES = ("en", "de")
LONGEST = 4_000_000  # characters of a text


class Mode(StrEnum):
    """What becomes of what is found."""

    OFF = "off"  # nothing is looked for
    MARK = "mark"  # it is shown, and said all the same
    MASK = "mask"  # placeholders are said in its place
    REFUSE = "refuse"  # the message is not said


@dataclass(frozen=True)
class FilterSettings:
    """What is looked for, and what becomes of it. presidio: None for where it is installed."""

    mode: Mode = Mode.MASK
    language: str = "en"
    kinds: tuple[str, ...] = PERSONAL
    presidio: bool | None = None

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise InvalidValue(f"The filter knows {' and '.join(LANGUAGES)}, not {self.language!r}.", param="language")
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise InvalidValue(f"{unknown[0]!r} is no kind; give some of {', '.join(KINDS)}.", param="kinds")
        if not self.kinds:
            raise InvalidValue(f"Give one kind or more of {', '.join(KINDS)}, or the mode off.", param="kinds")


@dataclass(frozen=True)
class Filtered:
    """A message as it is said, and what in the given one was found."""

    said: str = field(repr=False)
    found: tuple[Entity, ...]
    masked: Masked | None = field(default=None, repr=False)

    @property
    def counts(self) -> Counter[str]:
        """How many of each kind."""
        return Counter(entity.kind for entity in self.found)


def presidio_installed() -> bool:
    """Whether the extra `redact` is there; imports none of it."""
    return all(find_spec(name) is not None for name in ("presidio_analyzer", "spacy", by_presidio.MODEL))


class Filter:
    """Finds what names people and things. Holds no conversation, so that one serves all."""

    def __init__(self, settings: FilterSettings | None = None, house: HouseForms | None = None) -> None:
        """house: forms and lists besides those that came with the filter. Raises PresidioMissing."""
        self.settings = settings or FilterSettings()
        self.house = default_forms() if house is None else default_forms().and_also(house)
        self._tagger = tagger_of(self.settings.language)
        self._cues = Cues(self._tagger.vocabulary, nouns_have_capitals=self.settings.language == "de")
        asked = self.settings.presidio
        self.presidio = self.settings.language == "en" and (presidio_installed() if asked is None else asked)
        self._kinds = frozenset(self.settings.kinds)

    def start(self) -> Filter:
        """Loads what takes seconds, so that the first message does not wait. Raises PresidioMissing."""
        if self.presidio:
            by_presidio.engine()
        return self

    def parts(self) -> str:
        """Which parts look for names, for whoever reads a figure."""
        spoken = {"en": "English", "de": "German"}[self.settings.language]
        if self.presidio:
            return f"forms, the {spoken} tagger and presidio"
        why = "presidio knows no German here" if self.settings.language == "de" else "without presidio"
        return f"forms and the {spoken} tagger alone ({why})"

    def find(self, text: str) -> list[Entity]:
        """What names people and things, in order and without overlap, in time linear in the text's length.

        Raises TooLongToFilter above LONGEST characters.
        """
        if len(text) > LONGEST:
            raise TooLongToFilter(
                f"A text of {len(text):,} characters is more than the filter reads at once ({LONGEST:,}): filter it in "
                "pieces.", param="text")  # fmt: skip
        read = plain(text)
        found = [each for form in GENERAL if form.kind in self._kinds for each in form.entities(read.text)]
        found += self.house.entities(read.text, self._kinds)
        guessed = (*self._cues.entities(read.text), *self._tagger.entities(read.text))
        found += (each for each in guessed if each.kind in self._kinds)
        if self.presidio:
            found += (each for each in by_presidio.entities(read.text) if each.kind in self._kinds)
        kept = (with_dates(read.text, each) for each in found if self._may_name(read.text, each))
        return [Entity(read.given(each.span), each.kind, each.by) for each in disjoint(kept)]

    def _may_name(self, text: str, entity: Entity) -> bool:
        """No word of the house's products names a person; and of presidio a person has a capital and no digit."""
        words = text[entity.span.start : entity.span.end]
        if entity.kind != "name" or entity.by in ("form", "list"):
            return True
        if all(word.lower() in self.house.ordinary for word in words.replace("-", " ").split()):
            return False
        return entity.by != "presidio" or (not any(map(str.isdigit, words)) and words[:1].isupper())

    def apply(self, text: str, placeholders: Placeholders) -> Filtered:
        """The message as the mode has it said. Raises HeldBack in the mode refuse where anything is found.

        What was held back before in the same conversation is held back again, also where it would not be found here:
        the whole of it, from said_again.SHORTEST characters on.
        """
        return self.apply_all([text], placeholders)[0]

    def apply_all(self, texts: Sequence[str], placeholders: Placeholders) -> list[Filtered]:
        """Each message of a conversation, in order: what is found in one of them is held back in all."""
        mode = self.settings.mode
        if mode is Mode.OFF:
            return [Filtered(text, ()) for text in texts]
        found = [self.find(text) for text in texts]
        if mode is Mode.REFUSE and any(found):
            raise HeldBack(Counter(entity.kind for each in found for entity in each))
        if mode is not Mode.MASK:
            return [Filtered(text, tuple(each)) for text, each in zip(texts, found, strict=True)]
        for text, each in zip(texts, found, strict=True):
            self._masked(text, each, placeholders)  # so that numbers follow the order in which things are first said
        return [self._masked(text, each, placeholders) for text, each in zip(texts, found, strict=True)]

    def _masked(self, text: str, found: Sequence[Entity], placeholders: Placeholders) -> Filtered:
        every = disjoint([*found, *placeholders.said_again(text)])
        masked = placeholders.mask(text, every)
        return Filtered(masked.text, tuple(every), masked)


@cache
def tagger_of(language: str) -> Tagger:
    """The tagger that came with the filter; docs/conversation.md says what it was learned from."""
    return Tagger.load(LEARNED / f"{language}.npz")


@cache
def default_forms() -> HouseForms:
    """Forms and lists that came with the filter: those of the generated help desk."""
    return HouseForms.from_json(json.loads((LEARNED / "forms.json").read_text(encoding="utf-8")))


def words_held(texts: Iterable[str], find: Callable[[str], Iterable[Entity]]) -> tuple[int, int]:
    """(words held back, words) of some texts; a word is what blanks separate."""
    held = total = 0
    for text in texts:
        spans = [entity.span for entity in find(text)]
        for start, end in _words(text):
            total += 1
            held += any(span.start < end and start < span.end for span in spans)
    return held, total


def _words(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S+", text)]
