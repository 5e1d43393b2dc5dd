"""The house's own ids and lists, learned from examples: what a ticket number looks like, which rooms there are.

From values of a kind a form is made when few patterns of letters and digits cover them, and a list when few values
come again and again. Knows no corpus: whoever has examples gives them.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from chatfed.types import Span

from .entities import KINDS, Entity
from .errors import UnreadableExamples

_RUN = re.compile(r"\d+|[^\W\d_]+|[\W_]")
FEWEST = 8  # examples of a kind, to learn from
MOST_PATTERNS, COVERED = 4, 0.98  # patterns of a form, and the share of examples that they must cover
MOST_WORDS = 8  # letters' runs that a pattern spells out
MOST_LISTED, REPEATED = 300, 2.0  # values of a list, and how often each must come on average


@dataclass(frozen=True)
class HouseForms:
    """Regular expressions and lists by kind. `ordinary`: words of the house that name no person by themselves."""

    patterns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ordinary: frozenset[str] = frozenset()  # lower case

    @classmethod
    def learn(cls, examples: Iterable[tuple[str, str]], ordinary: Iterable[str] = ()) -> HouseForms:
        """From (kind, value) pairs. A kind of which neither a form nor a list can be made is left to the tagger."""
        values: dict[str, list[str]] = defaultdict(list)
        for kind, value in examples:
            values[kind].append(value)
        patterns = {kind: made for kind in sorted(values) if (made := patterns_of(values[kind]))}
        lists = {kind: made for kind in sorted(values) if kind not in patterns and (made := _list_of(values[kind]))}
        return cls(patterns, lists, frozenset(word.lower() for word in ordinary))

    def and_also(self, other: HouseForms) -> HouseForms:
        """Both; where both have a kind, what either has of it."""

        def joined(mine: Mapping[str, Sequence[str]], others: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
            return {kind: [*mine.get(kind, ()), *others.get(kind, ())] for kind in {**mine, **others}}

        ordinary = self.ordinary | other.ordinary
        return HouseForms(joined(self.patterns, other.patterns), joined(self.lists, other.lists), ordinary)

    @cached_property
    def _expressions(self) -> list[tuple[str, str, re.Pattern[str]]]:
        edges = r"(?<![\w-])(?:{})(?![\w-])"
        made = [(kind, "form", edges.format("|".join(of))) for kind, of in self.patterns.items()]
        made += [
            (kind, "list", edges.format("|".join(map(re.escape, sorted(of, key=len, reverse=True)))))
            for kind, of in self.lists.items()
        ]
        return [(kind, by, re.compile(expression, re.IGNORECASE)) for kind, by, expression in made]

    def entities(self, text: str, kinds: Iterable[str] = KINDS) -> Iterator[Entity]:
        """Where the text has one of these kinds."""
        wanted = set(kinds)
        for kind, by, expression in self._expressions:
            if kind in wanted:
                yield from (Entity(Span(*match.span()), kind, by) for match in expression.finditer(text))

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {"patterns": self.patterns, "lists": self.lists, "ordinary": sorted(self.ordinary)}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> HouseForms:
        """What `to_json` gave."""
        return cls(given["patterns"], given["lists"], frozenset(given["ordinary"]))


def patterns_of(values: Sequence[str]) -> list[str]:
    r"""Regular expressions of the patterns that cover the values, or none.

    >>> print(*patterns_of([f"LN-{number}" for number in range(1000, 1010)]))
    LN\-\d{4}
    """
    if len(values) < FEWEST:
        return []
    shapes: dict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    for value in values:
        runs = _RUN.findall(value)
        shapes[tuple(_shape(run) for run in runs)].append(runs)
    common = sorted(shapes.items(), key=lambda item: (-len(item[1]), item[0]))[:MOST_PATTERNS]
    if sum(len(of) for _, of in common) < COVERED * len(values) or not all(
        "0" in "".join(shape) for shape, _ in common
    ):
        return []
    return [pattern for shape, of in common if (pattern := _pattern(shape, of))]


def _shape(run: str) -> str:
    return "0" * len(run) if run.isdigit() else "a" if run.isalpha() else run


def _pattern(shape: tuple[str, ...], examples: Sequence[Sequence[str]]) -> str:
    """Digits stay as many as they are; letters are spelt out where they are few, one capital where each is one."""
    parts = []
    for at, kind in enumerate(shape):
        words = Counter(runs[at] for runs in examples)
        if kind[0] == "0":
            parts.append(rf"\d{{{len(kind)}}}")
        elif kind != "a":
            parts.append(re.escape(kind))
        elif len(words) <= MOST_WORDS and len(words) < len(examples):
            parts.append(
                "|".join(map(re.escape, sorted(words))) if len(words) == 1 else f"(?:{'|'.join(sorted(words))})"
            )
        elif all(len(word) == 1 for word in words):
            parts.append("[A-Z]")
        else:
            return ""  # letters that say nothing of the form: a password, a mail address
    return "".join(parts)


def _list_of(values: Sequence[str]) -> list[str]:
    distinct = sorted(set(values))
    usable = len(distinct) <= MOST_LISTED and len(values) >= REPEATED * len(distinct) and all(map(str.strip, distinct))
    return distinct if usable else []


def read_examples(path: Path) -> HouseForms:
    """Learns from JSON Lines of `{"kind", "value"}`.

    Raises UnreadableExamples that names the line, or each kind of which neither a form nor a list can be made, and why.
    """
    pairs = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableExamples(path, 0, getattr(error, "strerror", None) or "it is not UTF-8") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            pairs.append(_example(path, number, line))
    learned = HouseForms.learn(pairs)
    if why := "; ".join(_unlearned(learned, pairs)) or ("" if pairs else "it has no example"):
        raise UnreadableExamples(path, 0, why)
    return learned


def _unlearned(learned: HouseForms, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Why nothing was made of a kind, for each such kind; without its values."""
    for kind in sorted({kind for kind, _ in pairs} - {*learned.patterns, *learned.lists}):
        values = [value for of, value in pairs if of == kind]
        distinct = len(set(values))
        form = (
            f"a form takes {FEWEST} examples or more"
            if len(values) < FEWEST
            else f"no {MOST_PATTERNS} patterns with digits and few letters cover {COVERED:.0%} of them"
        )
        yield (
            f"of {kind} it has {len(values):,} ({distinct:,} different), and {form}, a list each value "
            f"{REPEATED:.0f} times on average and {MOST_LISTED} different ones at most"
        )


def _example(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        given = json.loads(line)
        kind, value = given["kind"], given["value"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnreadableExamples(path, number, "it is no object with kind and value") from None
    if kind not in KINDS:
        raise UnreadableExamples(path, number, f"its kind is none of {', '.join(KINDS)}")
    if not isinstance(value, str) or not value.strip():
        raise UnreadableExamples(path, number, "its value is no text")
    return kind, value.strip()
