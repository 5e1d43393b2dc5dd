"""What a visitor reads, apart from code: a file of texts for each language, and how a text is taken from it.

Knows no page. A language is a file beside this one and the files in the folder of its name, with the keys and the
placeholders that those of English have. A tab brings its texts in a file of its own there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from chatfed.types import ChatfedError

FOLDER = Path(__file__).parent
FIRST = "en"  # where a visitor's languages are none of ours
_PLACE = re.compile(r"\{([a-z_]+)\}")


class TextsError(ChatfedError):
    """There are no texts of that language, or no such text."""

    code = "no_texts"
    mend = "give one of the languages that the sentence names"


@dataclass(frozen=True)
class Texts:
    """The texts of one language. `texts("chat.send")` is one; values take their places in it."""

    language: str  # as in the attribute lang
    sentences: Mapping[str, str] = field(repr=False)

    def __call__(self, key: str, /, **values: object) -> str:
        """The text with `values` in its places; numbers as the language writes them. Raises TextsError."""
        try:
            found = self.sentences[key]
        except KeyError:
            raise TextsError(f"There is no text {key!r} in {self.language}.toml.", param=key) from None
        return _PLACE.sub(lambda place: self.said(values[place[1]]) if place[1] in values else place[0], found)

    def counted(self, key: str, count: int, /, **values: object) -> str:
        """The text `key.one` or `key.other`, with {count} in it."""
        return self(f"{key}.{'one' if count == 1 else 'other'}", count=count, **values)

    def said(self, value: object) -> str:
        """A value as it stands in a text: 4000 is 4,000 or 4.000, and 0.7 is 0.7 or 0,7."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return str(value)
        return self.figures(f"{value:,}" if isinstance(value, int) else f"{value:g}")

    def share(self, value: float, digits: int = 0) -> str:
        """A share in hundredths: 0.05 is 5% or 5 %."""
        return self.figures(f"{100 * value:.{digits}f}") + self.sentences["language.percent"]

    def figures(self, written: str) -> str:
        """A number written the English way, with this language's separators."""
        swap = {",": self.sentences["language.thousands"], ".": self.sentences["language.decimal"]}
        return "".join(swap.get(sign, sign) for sign in written)

    def named(self, kind: str, word: str) -> str:
        """The text `kind.word`, or the word itself where a file brought one that nobody translated."""
        return self.sentences.get(f"{kind}.{word}", word)

    def section(self, name: str) -> dict[str, str]:
        """The texts below `name`, by what follows it: for a script of the page."""
        start = name + "."
        return {key.removeprefix(start): text for key, text in self.sentences.items() if key.startswith(start)}


def languages() -> tuple[str, ...]:
    """The languages that there are texts of, the first one first."""
    found = sorted(path.stem for path in FOLDER.glob("*.toml"))
    return (FIRST, *(each for each in found if each != FIRST))


@cache
def read_texts(language: str = FIRST) -> Texts:
    """The texts of a language. Raises TextsError, which names those there are."""
    if language not in languages():
        raise TextsError(f"There are no texts in {language!r}; give one of {', '.join(languages())}.", param="language")
    sentences: dict[str, str] = {}
    for path in (FOLDER / f"{language}.toml", *sorted((FOLDER / language).glob("*.toml"))):
        more = dict(_flat(tomllib.loads(path.read_text(encoding="utf-8"))))
        if twice := sorted(more.keys() & sentences.keys()):
            raise TextsError(f"{path.name} has {twice[0]!r}, as another file of {language} has.", param=twice[0])
        sentences |= more
    return Texts(language, sentences)


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value)


def places(text: str) -> list[str]:
    """The names of a text's places, in alphabetical order."""
    return sorted(_PLACE.findall(text))
