"""A conversation of an export, and the dialogues in it: whose words are the assistant's, and where one ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from chatfed.data.messages import How, Said, Seen, is_me, turns_of
from chatfed.data.values import DataError
from chatfed.types import Turn


@dataclass(frozen=True)
class Thread:
    """Messages that stand together: a chat, a channel, a ticket, a tree's path."""

    said: tuple[Said, ...]
    name: str = ""  # of the chat, where it has one
    columns: Mapping[str, object] = field(default_factory=dict)  # of the record, for clients and labels
    what: str = "chat"  # what the export is, in words


def dialogues_of(
    thread: Thread, how: How, gap_hours: float, source: str, seen: Seen
) -> Iterator[tuple[tuple[Turn, ...], str | None]]:
    """Each dialogue of a chat and its client. Raises DataError when nobody said which author is the assistant.

    Where the export knows roles, the whole conversation is one dialogue and nobody's in particular. Where it knows
    authors, a silence of more than `gap_hours` ends a dialogue (0: none does), and the client is the one author
    beside --me, or the chat itself where there are several.
    """
    if not thread.said:
        return
    if all(each.role for each in thread.said) and not any(is_me(each.author, how) for each in thread.said):
        yield turns_of(_in_order(thread.said)), None
        return
    others = list(dict.fromkeys(each.author for each in thread.said if not is_me(each.author, how) and each.author))
    if not how.me:
        raise DataError(_asks_for_me(thread, source), param="data.me")
    seen.groups += len(others) > 1
    client = others[0] if len(others) == 1 else thread.name or (others[0] if others else "nobody")
    pieces = list(_pieces(_in_order(thread.said), gap_hours * 3600))
    seen.pieces += len(pieces) if len(pieces) > 1 else 0
    for piece in pieces:
        yield turns_of([_with_role(each, how) for each in piece]), client


def _with_role(said: Said, how: How) -> Said:
    if is_me(said.author, how):
        return said._replace(role="assistant")
    return said if said.role else said._replace(role="user")


def _asks_for_me(thread: Thread, source: str) -> str:
    counted = Counter(each.author for each in thread.said if not each.role)
    names = ", ".join(f"{name!r} ({count})" for name, count in counted.most_common(8))
    more = f" and {len(counted) - 8} more" if len(counted) > 8 else ""
    alone = ", or, if each row is a text by itself, leave that column out with --ignore-columns"
    return (
        f"{source} is a {thread.what} of {names}{more}: say whose messages the model learns to give with --me NAME "
        f"(data.me); all others' are the user's"
        f"{alone if 'column' in thread.what else ''}"
    )


def _in_order(said: Sequence[Said]) -> Sequence[Said]:
    """By time, where all have one: some exports begin with the newest."""
    times = [each.time for each in said]
    return said if None in times else sorted(said, key=lambda each: each.time or 0.0)


def _pieces(said: Sequence[Said], gap: float) -> Iterator[Sequence[Said]]:
    """The messages between silences of more than `gap` seconds; 0: all of them."""
    start = 0
    for place, (one, two) in enumerate(pairwise(said), start=1):
        if gap and one.time is not None and two.time is not None and two.time - one.time > gap:
            yield said[start:place]
            start = place
    yield said[start:]
