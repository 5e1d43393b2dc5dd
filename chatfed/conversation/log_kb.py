"""A help desk's answers on a server that cannot read them: an encrypted question finds encrypted entries.

A knowledge base is a log whose messages are its entries, question and answer. Whoever asks has its key: the server sees
which entries of the index a question asks for (padded), and that it then fetches so many messages as ever. Which entry
fits is worked out by whoever asks: words in common, each the more worth the fewer entries have it. No meaning is
compared: a question finds what shares its words.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chatfed.types import InvalidValue

from .log_index import live
from .log_messages import Kept, Message
from .log_owner import Log
from .log_words import asked_words

ENTRY = "entry"
FETCHED = 4  # entries of every question, whatever fits; fewer where there are fewer
MOST_WORDS = 8  # of a question, the rarest
_COMMON = 0.25  # of all entries: a word of more tells nothing, unless the question has no other
_AT_ONCE = 256


@dataclass(frozen=True)
class Answer:
    """An entry that shares words with a question."""

    question: str = field(repr=False)
    answer: str = field(repr=False)
    score: float  # share of the question's words that the entry has, by their worth; in (0, 1]


def entries_from(pairs: Iterable[tuple[str, str]]) -> list[Message]:
    """(question, answer) pairs as messages. Raises BadMessage where one of them is not what a log takes."""
    entries = [Message(ENTRY, f"{' '.join(question.split())}\n{answer}") for question, answer in pairs]
    for each in entries:
        each.check()
    return entries


def fill(log: Log, pairs: Iterable[tuple[str, str]]) -> int:
    """Puts (question, answer) pairs into a log, in a secret order; how many. Raises BadMessage before any is kept.

    The order hides from a server that has seen the file which of its lines are fetched.
    """
    entries = entries_from(pairs)
    secrets.SystemRandom().shuffle(entries)
    for first in range(0, len(entries), _AT_ONCE):
        log.append(entries[first : first + _AT_ONCE])
    log.flush()
    return len(entries)


def ask(log: Log, question: str, k: int = 1) -> list[Answer]:
    """The k entries that fit best, of FETCHED that the server is asked for; none where no word is shared.

    Raises BadMessage, DamagedLog, InvalidValue.
    """
    if not 1 <= k <= FETCHED:
        raise InvalidValue(f"k is {k}; give 1 to {FETCHED}.", param="k")
    asked = asked_words(question)
    words = chosen({word: log.entries_with(word) for word in asked}, len(log))
    log.prepare(words)
    found = {word: set(live(log.entries_of(word))) for word in words}
    best = ranked(found, len(log))[:FETCHED]
    bodies = log.fetch(_filled([number for number, _ in best], asked, log))
    whole = sum(worth(log.entries_with(word), len(log)) for word in asked)
    return [_answer(bodies[number], score / whole) for number, score in best if number in bodies][:k]


def chosen(entries: Mapping[str, int], of: int) -> list[str]:
    """The words of a question that the server is asked for: rarest first, those that too many entries have left out."""
    there = sorted((count, word) for word, count in entries.items() if count)
    rare = [word for count, word in there if count <= _COMMON * of] or [word for _, word in there]
    return rare[:MOST_WORDS]


def ranked(found: Mapping[str, set[int]], of: int) -> list[tuple[int, float]]:
    """(number, score) of each entry that has one of the words, best first, older first where they are alike."""
    scores: dict[int, float] = {}
    for numbers in found.values():
        for number in numbers:
            scores[number] = scores.get(number, 0.0) + worth(len(numbers), of)
    return sorted(scores.items(), key=lambda each: (-round(each[1], 9), each[0]))


def worth(entries: int, of: int) -> float:
    """Of a word that so many of all entries have: log(1 + of / entries); one that none has counts as if one had."""
    return math.log1p(of / max(1, entries))


def _filled(numbers: Sequence[int], asked: Sequence[str], log: Log) -> list[int]:
    """So many numbers as every question fetches: some that do not fit, where fewer do, the same for the same words."""
    return [*numbers, *log.others(numbers, FETCHED - len(numbers), "" if numbers else " ".join(asked))]


def _answer(kept: Kept, score: float) -> Answer:
    question, _, answer = kept.message.text.partition("\n")
    return Answer(question, answer, min(1.0, score))
