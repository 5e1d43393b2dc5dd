"""A small tagger for what has no form: names, illnesses, passwords and addresses, in lower-case chat too.

A linear model over hashed features of a word and its neighbours, decoded by Viterbi (Collins 2002, "Discriminative
Training Methods for Hidden Markov Models"): numpy and a file of some hundred KiB, no network and no other library.
Knows how tags are read; how the weights are learned is in tagger_learning.py.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chatfed.types import Span

from .entities import Entity

TAGGED = ("name", "address", "password", "health")
TAGS = ("O", *(f"{place}-{kind}" for kind in TAGGED for place in "BI"))
BUCKETS = 1 << 16
PIECE = 300  # words that are decoded at once: what bounds the memory of a long message

Words = NDArray[np.int32]  # int32[words, features]: buckets

LEARNED = Path(__file__).parent / "learned"

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]")
_DIGITS = re.compile(r"\d+")
_YEAR = re.compile(r"\d{2,4}(?:er|ern|s)?")
_HOUSE = re.compile(
    r"(?<![\d.,:])(?!(?:1[5-9]|20)\d\d\b)(?:\d{1,4}[a-z]?|\d{5})(?![.,:]?\d)"
)  # no year, no sum of money
_ARTICLES = frozenset("an the my ein eine einer einem eines einen".split())
_SPOKEN_OF = re.compile(r"pass|kennwort|\bp(?:in|w|wd)\b|code|log ?in|anmeld|typ|tipp|enter|eingegeben", re.IGNORECASE)


def words_of(text: str) -> list[tuple[int, int]]:
    """Where words and marks of a text begin and end."""
    return [match.span() for match in _WORD.finditer(text)]


@lru_cache(maxsize=1 << 15)
def _plainly(word: str) -> str:
    return _DIGITS.sub("0", word[:40].lower())


def _form(word: str) -> str:
    """How a word is written: X capitals, x small letters, 0 digits, others as they are; runs as one."""
    if word.islower() and word.isalpha():
        return "x"
    if word.istitle() and word.isalpha():
        return "Xx"
    letters = ("X" if each.isupper() else "x" if each.isalpha() else "0" if each.isdigit() else each for each in word)
    made = ""
    for letter in letters:
        if letter != made[-1:]:
            made += letter
        if len(made) > 8:
            break
    return made


@lru_cache(maxsize=1 << 17)
def _bucket(feature: str) -> int:
    return zlib.crc32(feature.encode("utf-8", "surrogatepass")) % BUCKETS


@dataclass(frozen=True)
class Vocabulary:
    """Words that the tagger has seen: `common` are told apart by themselves, others by their form and neighbours."""

    common: frozenset[str]
    first_names: frozenset[str]

    def features(self, words: Sequence[str]) -> Words:
        """int32[words, features]: what is seen of each word."""
        plain = [_plainly(word) for word in words]
        known = [word if word in self.common or not word[0].isalnum() else "?" for word in plain]
        kinds = [self._kind(word) for word in plain]
        forms = [_form(word) for word in words]
        ends = ["<", "<", *known, ">", ">"]
        names = ["", "", *kinds, "", ""]
        shapes = ["", *forms, ""]
        rows = []
        for at, word in enumerate(plain):
            two, one, this, next_, after = ends[at : at + 5]
            before, own, behind = names[at + 1 : at + 4]
            shape = shapes[at + 1]
            rows.append([
                _bucket(feature) for feature in (
                    "b", f"w{this}", f"k{own}", f"s{shape}", f"e{word[-3:]}{this == '?'}", f"p{word[:3]}{this == '?'}",
                    f"1{one}", f"2{two}", f"3{next_}", f"4{after}", f"12{two} {one}", f"34{next_} {after}",
                    f"13{one} {next_}", f"1k{one} {own}", f"3k{own} {next_}", f"12k{two} {one} {own}",
                    f"kk{before} {own}", f"kn{own} {behind}", f"sk{shape} {own}", f"s1{shapes[at]} {shape}",
                    f"s3{shape} {shapes[at + 2]}", f"1s{one} {shape}",
                    f"3s{next_} {shape}", f"2s{two} {shape}", f"2k{two} {own}",
                    f"N{shape}{own} {shapes[at + 2]}{behind}", f"P{shapes[at]}{before} {shape}{own}",
                    f"E{word[-5:]}{this == '?'}", f"l{min(len(word), 14)}{this == '?'} {shape}",
                    f"12s{two} {one} {shape}", f"1s3{one} {shape} {next_}",
                )
            ])  # fmt: skip
        return np.array(rows, np.int32)

    def _kind(self, word: str) -> str:
        if word in self.first_names:
            return "first"
        return "seen" if word in self.common else "mark" if not word[0].isalnum() else "new"


_AFTER = np.array([
    [not tag.startswith("I-") or (before[2:] == tag[2:] and before != "O") for tag in TAGS] for before in TAGS
])  # fmt: skip


def viterbi(emissions: NDArray[np.float32], transitions: NDArray[np.float32]) -> list[int]:
    """The tags of the highest sum. emissions: float32[words, tags]; transitions: float32[tags, tags], from and to."""
    allowed = np.where(_AFTER, transitions, -np.inf)
    best = np.where([tag.startswith("I-") for tag in TAGS], -np.inf, emissions[0])
    back = np.empty(emissions.shape, np.int64)
    for at in range(1, len(emissions)):
        sums = best[:, None] + allowed
        back[at] = sums.argmax(0)
        best = sums.max(0) + emissions[at]
    tags = [int(best.argmax())]
    for at in range(len(emissions) - 1, 0, -1):
        tags.append(int(back[at, tags[-1]]))
    return tags[::-1]


@dataclass(frozen=True)
class Tagger:
    """Weights by bucket and tag, and from tag to tag. Of one language."""

    vocabulary: Vocabulary
    weights: NDArray[np.float32] = field(repr=False)  # float32[BUCKETS, tags]
    transitions: NDArray[np.float32] = field(repr=False)  # float32[tags, tags]

    def entities(self, text: str) -> Iterator[Entity]:
        """What the tagger takes for a name, an address, a password or an illness."""
        places = words_of(text)
        for first in range(0, len(places), PIECE):
            yield from self._piece(text, places[first : first + PIECE])

    def _piece(self, text: str, places: Sequence[tuple[int, int]]) -> Iterator[Entity]:
        rows = self.vocabulary.features([text[start:end] for start, end in places])
        tags = viterbi(self.weights[rows].sum(1), self.transitions)
        for kind, first, last in spans_of(tags):
            start, end = places[first][0], places[last][1]
            if self._looks_like(kind, text, start, end):
                yield Entity(Span(start, end), kind, "tagger")

    def _looks_like(self, kind: str, text: str, start: int, end: int) -> bool:
        """A password has no blank, and a digit or mark unless one was spoken of; an address a number and a new word."""
        said = text[start:end]
        if kind == "password":
            odd = any(not letter.isalpha() and letter not in "-/'" for letter in said[:-1])
            odd = odd and not _YEAR.fullmatch(said)
            return not any(map(str.isspace, said)) and (odd or bool(_SPOKEN_OF.search(text, max(0, start - 60), start)))
        words = {word.lower() for word in re.findall(r"[^\W\d_]{2,}", said)}
        if kind == "address":
            return bool(_HOUSE.search(said)) and not words <= self.vocabulary.common
        return bool(words - _ARTICLES) if kind == "health" else any(map(str.isalpha, said))

    @classmethod
    def load(cls, path: Path) -> Tagger:
        """What `save` wrote; made by us, so read without pickles."""
        with np.load(path, allow_pickle=False) as stored:
            scale = np.float32(stored["scale"])
            common, first = (frozenset(str(stored[name]).split()) for name in ("common", "first_names"))
            return cls(Vocabulary(common, first), stored["weights"] * scale, stored["transitions"] * scale)


def spans_of(tags: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """(kind, first word, last word) of each run of tags.

    >>> list(spans_of([0, 1, 2, 0, 1]))
    [('name', 1, 2), ('name', 4, 4)]
    """
    first: int | None = None
    for at, tag in enumerate([*tags, 0]):
        if first is not None and not TAGS[tag].startswith("I-"):
            yield TAGS[tags[first]][2:], first, at - 1
            first = None
        if TAGS[tag].startswith("B-"):
            first = at
