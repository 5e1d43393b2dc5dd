"""Dialogues of a plain text file: blocks that blank lines separate, or a chat's export. Knows no other kind of file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import PurePath

from chatfed.data.columns import spoken_in
from chatfed.data.exports import whatsapp
from chatfed.data.exports.thread import Thread
from chatfed.data.messages import How, Seen, turns_of
from chatfed.data.reading import Content, Record
from chatfed.data.values import BadRecord, DataError, content_of
from chatfed.types import Turn

_LOOKED_AT = 20  # lines in which a chat's export shows itself

Line = tuple[int, str]


def text_records(name: str, lines: Iterator[Line], how: How, seen: Seen) -> Iterator[Record]:
    """Dialogues, each with the number of the line where it begins.

    Raises DataError where blank lines stand inside dialogues: nobody knows then where one ends.
    """
    head = list(islice(lines, _LOOKED_AT))
    lines = chain(head, lines)
    if sum(whatsapp.begins_a_message(line) for _, line in head) >= min(2, sum(bool(line.strip()) for _, line in head)):
        if head:
            yield head[0][0], whatsapp.thread_of(lines, PurePath(name).stem, seen)
        return
    _refuse_times(name, [line for _, line in head if line.strip()])
    before: Content = ()
    was_marked = False
    for number, block, blanks in text_blocks(lines):
        record, marked = _content(block, how, seen)
        if blanks == 1 and _broken(before, was_marked, record, marked):
            raise DataError(
                f"{name}, line {number}: a blank line seems to stand inside a dialogue, so that nobody knows where one "
                f"ends: leave blank lines out of dialogues, or put two between them",
                param=name,
            )
        yield number, record
        before, was_marked = record, marked


_TIME = re.compile(
    r"^\W*(?:\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{1,4}\b|\d{1,2}[:.]\d{2}\b).*\w"  # 12.03.24 09:41 Anna: hi
    r"|^.{1,60}\[\d{1,4}[./-]\d{1,2}[./-]\d{1,4},? \d{1,2}:\d{2}(?::\d{2})?\]$"  # Anna, [12.03.24 09:41]
)
_STAMP = re.compile(  # a line that is a time and at most a name: Jan 02, 2024 9:41:03 AM; Anna at 2024-01-02 09:41
    r"^(?:.{1,40}\s)?(?:[A-Z][a-z]{2,8}\.? \d{1,2},? \d{4}|\d{1,2}\.? [A-Z][a-z]{2,8}\.? \d{4}|\d{4}-\d{2}-\d{2}),?"
    r"(?: at)?[ \tT]+\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AP]M)?$|^\d{4}[\u5e74\ub144].{0,30}\d{1,2}:\d{2}"
)
_MAIL = re.compile(r"^From(?: \S+@\S+ |: .*\S@\S)")
_SUBTITLE = re.compile(r"^(?:\d+:)?\d{2}:\d{2}[.,]\d{3} --> ")


def _refuse_times(name: str, lines: list[str]) -> None:
    """Raises DataError for text whose lines begin with times: a chat's export that nobody here knows."""
    timed = [line for line in lines if _TIME.match(line)]
    if sum(map(bool, map(_MAIL.match, lines))) and len(lines) > 2:
        raise DataError(
            f"{name} holds mail, which is not read: give it as a table of messages (.csv: from, text, thread)",
            param=name,
        )
    timed = timed if sum(map(bool, map(_STAMP.match, lines))) < 2 else lines
    if (len(timed) >= 2 and 2 * len(timed) >= len(lines)) or any(map(_SUBTITLE.match, lines)):
        raise DataError(
            f"{name}: lines begin with a date or a time, as in a chat's export of a kind that is not known; give it "
            f"as a table of messages (.csv with the columns timestamp, author, text)",
            param=name,
        )


def text_blocks(lines: Iterable[Line]) -> Iterator[tuple[int, list[str], int]]:
    """Blocks of lines, each with the number of its first line and how many blank lines stand before it."""
    start, blanks, block = 0, 0, list[str]()
    gap = 0
    for number, line in lines:
        if line.strip():
            if not block:
                start, blanks, gap = number, gap, 0
            block.append(line.rstrip("\r\n"))
        else:
            if block:
                yield start, block, blanks
                block = []
            gap += 1
    if block:
        yield start, block, blanks


def _content(block: list[str], how: How, seen: Seen) -> tuple[Content, bool]:
    """A block's turns, its chat, or why it is neither; and whether its lines have speakers."""
    text = "\n".join(block)
    try:
        said = spoken_in(text, "text", how)
        if said is None:
            seen.plain_texts += 1
            return (Turn("user", content_of(text, "text")),), False
        return (turns_of(said) if all(each.role for each in said) else Thread(tuple(said), what="chat")), True
    except BadRecord as bad:
        return bad, True


def _broken(before: Content, was_marked: bool, record: Content, marked: bool) -> bool:
    """Whether the one blank line between two blocks parts a question and its answer, or a dialogue and its words."""
    if not was_marked:
        return False
    if isinstance(before, tuple) and isinstance(record, tuple):
        return not marked or (record[0].role == "assistant" and before[-1].role == "user")
    return isinstance(before, tuple) and isinstance(record, BadRecord)
