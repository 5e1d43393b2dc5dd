"""What the entity filter takes out of dialogues before anything learns from them, and how much that was.

Forms and the tagger alone, without presidio: the same dialogues then come out the same wherever they are read. It comes
beside the guarantee and carries none of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import overload

from chatfed.conversation.entities import PERSONAL
from chatfed.conversation.filter import Filter, FilterSettings, Mode
from chatfed.conversation.placeholders import Placeholders
from chatfed.data.dialogue import Dialogue, DialogueTable


class RedactedTable(DialogueTable):
    """The dialogues of a table with placeholders in them, in memory; each dialogue has placeholders of its own."""

    def __init__(self, table: DialogueTable, language: str) -> None:
        self.__dict__.update(table.__dict__)  # rows, source and notes: where a dialogue stands is asked of them
        self.counts: Counter[str] = Counter()
        self.redacted = 0  # dialogues in which something was found
        found = Filter(FilterSettings(Mode.MASK, language, PERSONAL, presidio=False))
        self._dialogues = [self._masked(dialogue, found) for dialogue in table]

    def _masked(self, dialogue: Dialogue, found: Filter) -> Dialogue:
        made = found.apply_all([turn.content for turn in dialogue.messages], Placeholders())
        counts = sum((each.counts for each in made), Counter[str]())
        self.counts += counts
        self.redacted += bool(counts)
        turns = zip(dialogue.messages, made, strict=True)
        return replace(dialogue, messages=tuple(replace(turn, content=each.said) for turn, each in turns))

    @overload
    def __getitem__(self, index: int) -> Dialogue: ...
    @overload
    def __getitem__(self, index: slice) -> list[Dialogue]: ...
    def __getitem__(self, index: int | slice) -> Dialogue | list[Dialogue]:
        return self._dialogues[index]

    def __iter__(self) -> Iterator[Dialogue]:
        return iter(self._dialogues)

    def note(self, whose: str) -> str:
        """How much was replaced, in a sentence; kinds and counts, no words."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.counts.items())) or "nothing"
        return (
            f"data.redact: in {self.redacted:,} of {len(self):,} {whose} placeholders stand for what the filter found "
            f"({kinds}). What it missed is learned like any word; epsilon is the same with and without."
        )


def redacted(table: DialogueTable, language: str, whose: str, notes: list[str]) -> DialogueTable:
    """The table with placeholders; says in the notes how many of what kind."""
    made = RedactedTable(table, language)
    notes.append(made.note(whose))
    return made
