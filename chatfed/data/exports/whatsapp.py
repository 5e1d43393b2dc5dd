"""WhatsApp's text exports, of Android and iOS, in any date format: `12/03/2024, 09:41 - Anna B: the door sticks`.

A message goes on over all lines that do not begin with a date. Lines without an author (joins, changed numbers) and
messages without text (media, deleted ones) are left out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from chatfed.data.exports.thread import Thread
from chatfed.data.messages import Said, Seen
from chatfed.data.values import text_of

_MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_HEAD = re.compile(
    rf"^[{_MARKS}]*(?P<open>\[)?[{_MARKS}]*(?P<date>\d{{1,4}}[./-]\s?\d{{1,2}}[./-]\s?\d{{1,4}}\.?),?\s+"
    r"(?:(?:klo|kl\.?|um|at|às|à|a las)\s+)?"
    r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2}))?(?:\s?(?P<half>[ap])\.?\s?m\.?)?(?:\s?Uhr)?"
    rf"(?(open)\]\s|\s[-\u2013]\s)[{_MARKS}]*(?P<rest>.*)$",
    re.IGNORECASE,
)
_SAID = re.compile(r"^(?P<author>[^:\n]{1,100}?): ?(?P<text>.*)$", re.DOTALL)
_MEDIA = re.compile(
    r"^(<[^<>\n]{3,60}>|(image|video|audio|sticker|gif|document|contact card) omitted|null"
    r"|.{1,200}\.\w{2,5} \((file attached|datei angehängt|fichier joint|archivo adjunto)\)"
    r"|this message was deleted\.?|you deleted this message\.?|(missed|silenced) (voice|video) call.*)$",
    re.IGNORECASE,
)
_EDITED = re.compile(rf"\s*[{_MARKS}]*<this message was edited>$", re.IGNORECASE)


def begins_a_message(line: str) -> bool:
    """Whether a line begins as WhatsApp's do."""
    return _HEAD.match(line) is not None


def thread_of(lines: Iterable[tuple[int, str]], name: str, seen: Seen) -> Thread:
    """The chat that lines make."""
    read = list(_messages(lines))
    times = _times([found for found, _ in read])
    said = []
    for (found, more), time in zip(read, times, strict=True):
        spoken = _SAID.match("\n".join([found["rest"], *more]).strip())
        if spoken is None:
            seen.leave_out("lines that nobody said")
            continue
        text = _EDITED.sub("", spoken["text"]).strip()
        bare = text.strip(_MARKS + " \n")
        if not bare or text.startswith("\u200e") or _MEDIA.match(bare):
            seen.leave_out("messages without text (media, deleted ones, the program's own)")
            continue
        author = spoken["author"].strip(_MARKS + " ~\u202f\u00a0")
        said.append(Said(None, text_of(bare, "a message"), author, True, time))
    return Thread(tuple(said), name, what="WhatsApp chat")


def _messages(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[re.Match[str], list[str]]]:
    """The head of each message and the lines that go on with it."""
    found: re.Match[str] | None = None
    more: list[str] = []
    for _, line in lines:
        line = line.rstrip("\r\n")
        if head := _HEAD.match(line):
            if found:
                yield found, more
            found, more = head, []
        elif found:
            more.append(line)
    if found:
        yield found, more


def _times(heads: Sequence[re.Match[str]]) -> list[float | None]:
    """When each message was sent, by the order of day, month and year that makes a calendar and never runs back."""
    best: list[float | None] = [None] * len(heads)
    for order in ("dmy", "mdy", "ymd"):
        times = [_time(head, order) for head in heads]
        if None in times:
            continue
        if all(one <= two for one, two in pairwise(times) if one is not None and two is not None):
            return times
        best = best if best and best[0] is not None else times
    return best


def _time(head: re.Match[str], order: str) -> float | None:
    part = dict(zip(order, (int(number) for number in re.findall(r"\d+", head["date"])), strict=True))
    hour, half = int(head["hour"]), (head["half"] or "").lower()
    hour = hour % 12 + 12 * (half == "p") if half else hour
    year = part["y"] + 2000 * (part["y"] < 100)
    try:
        return datetime(
            year, part["m"], part["d"], hour, int(head["minute"]), int(head["second"] or 0), tzinfo=UTC
        ).timestamp()
    except ValueError:
        return None
