"""What a person should know of how a source was read, a sentence each. Counts, never words of a dialogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from chatfed.data.reading import Reading

_MOST = 30  # names in a sentence


def notes_of(reading: Reading) -> Iterator[str]:
    """Notes on a source whose last record was read."""
    seen = reading.seen
    if reading.unread:
        yield f"Columns that nobody read: {_counted(reading.unread, 'record')}."
    if reading.ignored:
        yield f"Left out because ignore_columns says so: {_counted(reading.ignored, 'record')}."
    if seen.left_out:
        yield "Left out: " + "; ".join(f"{what}: {count}" for what, count in seen.left_out.items()) + "."
    if seen.plain_texts:
        texts = _number(seen.plain_texts, "text")
        yield f"{texts} without roles: each is one user message."
    if seen.plain_texts and reading.options.me and not reading.authors:
        yield "Nobody here is named, so that --me (data.me) changed nothing."
    if reading.unlearned:
        messages = _number(reading.unlearned, "message")
        yield f"{messages} marked as not to be learned (weight 0 and its like): context only."
    if seen.groups:
        yield (
            f"{_number(seen.groups, 'chat')} with several people beside --me: there the client is the chat, and not a "
            f"person."
        )
    if seen.pieces:
        hours = f"{reading.options.gap_hours:g} hours"
        yield (
            f"A silence of more than {hours} ends a dialogue (data.gap_hours): longer chats gave {seen.pieces} "
            f"dialogues. What is protected as one dialogue is such a piece, and not the chat."
        )


def _counted(names: Mapping[str, int], what: str) -> str:
    listed = Counter(names).most_common(_MOST)
    more = [f"and {len(names) - _MOST} more"] if len(names) > _MOST else []
    return ", ".join([*(f"{name} ({_number(count, what)})" for name, count in listed), *more])


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
