"""What would be learned from a source, and from whom, in lines to print. Knows no run and no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from chatfed.data.dialogue import Dialogue, DialogueTable
from chatfed.types import Turn

EXAMPLES = 3
_MOST_MESSAGES = 8  # of an example
_MOST_CHARACTERS = 300  # of a message in an example
_MOST_BAD = 5


@dataclass
class Tally:
    """Sums over dialogues; of clients only how many dialogues each has."""

    clients: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)  # by role, of messages that are learned
    unlearned: int = 0  # messages that are context only
    unanswered: int = 0  # dialogues without a message of the assistant that is learned
    longest: int = 0  # messages

    def add(self, dialogue: Dialogue) -> None:
        """Counts a dialogue."""
        if dialogue.client_id is not None:
            self.clients[dialogue.client_id] += 1
        for turn in dialogue.messages:
            self.roles[turn.role] += 1
            self.unlearned += not turn.learn
            if turn.learn:
                self.words[turn.role] += len(turn.content.split())
        self.unanswered += not any(turn.role == "assistant" and turn.learn for turn in dialogue.messages)
        self.longest = max(self.longest, len(dialogue.messages))


def look(table: DialogueTable, source: str) -> Iterator[str]:
    """Lines that say what a source holds: counts, clients, roles, notes, bad lines and three examples."""
    tally = Tally()
    for dialogue in table:
        tally.add(dialogue)
    yield f"{source}: {_count(len(table), 'dialogue')}{_clients(tally)}"
    roles = ", ".join(f"{tally.roles[role]:,} {role}" for role in ("system", "user", "assistant") if tally.roles[role])
    yield f"Messages: {roles}; the longest dialogue has {tally.longest:,}."
    yield f"Learned: {sum(tally.words.values()):,} words, {tally.words['assistant']:,} of them the assistant's."
    if tally.unanswered:
        yield (
            f"Without an assistant's message to learn: {_count(tally.unanswered, 'dialogue')}; with data.train_on = "
            f'"assistant" nothing is learned from them.'
        )
    yield from table.notes
    yield from _bad_lines(table, source)
    yield from _examples(table)


def _clients(tally: Tally) -> str:
    if not tally.clients:
        return ", of no client: no column says whose they are (--client-column)."
    sizes = tally.clients.values()
    of = f" of {_count(len(tally.clients), 'client')}"
    return f"{of}; a client has {min(sizes):,} to {max(sizes):,} (median {median(sizes):g})."


def _bad_lines(table: DialogueTable, source: str) -> Iterator[str]:
    if table.skipped:
        yield f"Bad lines, left out: {len(table.skipped):,}."
    for bad in table.skipped[:_MOST_BAD]:
        yield f"  {bad.where(source)}: {shown(bad.reason)}"


def _examples(table: DialogueTable) -> Iterator[str]:
    """The first dialogue, one of the middle, and the last."""
    places = sorted({0, len(table) // 2, len(table) - 1})[:EXAMPLES]
    for place in places:
        dialogue = table[place]
        whose = f" of client {shown(dialogue.client_id)}" if dialogue.client_id else ""
        yield f"Example, dialogue {place + 1}{whose}:"
        yield from (f"  {_line(turn)}" for turn in dialogue.messages[:_MOST_MESSAGES])
        if len(dialogue.messages) > _MOST_MESSAGES:
            yield f"  ... and {_count(len(dialogue.messages) - _MOST_MESSAGES, 'message')} more"


def _line(turn: Turn) -> str:
    cut = shown(turn.content[:_MOST_CHARACTERS])
    more = f" ... ({len(turn.content):,} characters)" if len(turn.content) > _MOST_CHARACTERS else ""
    return f"{turn.role}{'' if turn.learn else ' (context only)'}: {cut}{more}"


def shown(text: str) -> str:
    """Text on one line, with what moves a terminal's cursor spelt out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
