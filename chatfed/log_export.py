"""A log as a file that anybody can read, filtered before it is written where that is asked for.

In placeholders' company no name is left to the fields beside the words: conversations and who spoke are numbered, since
either may be called by a person's name. Times and the numbers of messages stay.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from chatfed.conversation.filter import Filter, Filtered, FilterSettings, Mode
from chatfed.conversation.placeholders import Placeholders
from chatfed.conversation.tally import Tally, filtered
from chatfed.turns import ROLES

if TYPE_CHECKING:
    from chatfed.conversation.log_messages import Kept

EVERY = 5.0  # seconds between two lines of progress


def filter_of(mode: str, language: str, presidio: bool | None) -> Filter | None:
    """The filter that is asked for, loaded; None for the mode off. Raises InvalidValue, PresidioMissing."""
    if mode == Mode.OFF:
        return None
    return Filter(FilterSettings(Mode(mode), language, presidio=presidio)).start()


def records(messages: Sequence[Kept], chosen: Filter | None) -> tuple[list[str], Tally]:
    """(lines of JSON in the log's order, what was found). chosen: None for all as it is.

    Each conversation has placeholders of its own, and a message of none is one for itself.
    """
    tally, lines, said = Tally("conversations"), dict[int, str](), time.monotonic()
    if chosen is None:
        return [_line(each, each.message.conversation, each.message.role) for each in messages], tally
    masked = chosen.settings.mode is Mode.MASK
    names, speakers = _Numbered("conversation", masked), _Numbered("speaker", masked)
    for each in _conversations(messages):
        made = filtered([kept.message.text for kept in each], chosen, Placeholders())
        tally.add(made)
        for kept, one in zip(each, made, strict=True):
            role = kept.message.role if kept.message.role in ROLES else speakers.of(kept.message.role)
            lines[kept.number] = _line(kept, names.of(kept.message.conversation), role, one)
        if time.monotonic() - said >= EVERY:
            said = time.monotonic()
            print(f"{len(lines):,} of {len(messages):,} messages filtered", file=sys.stderr, flush=True)
    return [lines[each.number] for each in messages], tally


class _Numbered:
    """Numbers in place of names, in order of appearance; nothing stays nothing."""

    def __init__(self, what: str, numbered: bool) -> None:
        self._what, self._numbered = what, numbered
        self._of: dict[str, int] = {}

    def of(self, name: str) -> str:
        """What stands for it in what is written."""
        return f"{self._what}-{self._of.setdefault(name, len(self._of) + 1)}" if name and self._numbered else name


def _conversations(messages: Iterable[Kept]) -> list[list[Kept]]:
    """In order of their first messages."""
    made: dict[str | int, list[Kept]] = {}
    for each in messages:
        made.setdefault(each.message.conversation or each.number, []).append(each)
    return list(made.values())


def _line(kept: Kept, conversation: str, role: str, made: Filtered | None = None) -> str:
    said = kept.message
    fields: dict[str, object] = {"number": kept.number, "time": said.time, "conversation": conversation, "role": role}
    fields["content"] = made.said if made else said.text
    if made and made.masked is None:  # what is only marked has all words still
        fields["held"] = [{"start": each.span.start, "end": each.span.end, "kind": each.kind} for each in made.found]
    return json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n"
