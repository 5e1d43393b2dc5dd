"""What stands more than once in a run's data, and what that leaves of a claim: numbers and words. Looks at no text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chatfed.audit.figures import above
from chatfed.audit.tiers import MOST_EPSILON
from chatfed.privacy.guarantee import Unit
from chatfed.privacy.ledger import Charge

from .groups import group_epsilon


@dataclass(frozen=True)
class Repeats:
    """Counts over the clients' dialogues that a run learns from, after what was dropped."""

    dialogues: int
    groups: int = 0  # of dialogues with the same or nearly the same words, of two or more
    grouped: int = 0  # dialogues in them
    largest: int = 1  # dialogues of a group, at most
    clients: int = 1  # that a group is spread over, at most
    public: int | None = 0  # that stand in public text, word for word; None: the base was given, its text unknown
    public_nearly: int = 0
    public_messages: int = 0  # with a long message that stands there, or two that are long together
    held_out: int = 0  # held-out dialogues that are also clients'
    held_out_nearly: int = 0
    held_out_public: int = 0  # held-out dialogues that stand in public text, nearly or word for word
    dropped: Mapping[str, int] = field(default_factory=dict)  # copies left out, by the part they were left out of

    def to_json(self) -> dict[str, Any]:
        """The counts by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Repeats:
        """The counts that `to_json` gave."""
        return cls(**stored)

    def together(self, unit: Unit) -> int:
        """Units in the largest group."""
        return self.clients if unit is Unit.CLIENT else self.largest

    def assumption(self, unit: Unit) -> str:
        """In place of "a dialogue is held by one client, once": what was looked for, and what was not."""
        found = "none was found" if self.together(unit) == 1 else "but for the groups below none was found"
        where = "two clients" if unit is Unit.CLIENT else "two places of the clients' dialogues"
        return (
            f"no text stands at {where}: {found}, word for word or nearly (docs/privacy.md); what says the same in "
            "other words is not looked for"
        )

    def excluded(self, unit: Unit, charges: Sequence[Charge], delta: float) -> Iterator[str]:
        """What the claim does not cover, for a run that was charged `charges` at one client."""
        if self.together(unit) > 1:
            yield self._group(unit, charges, delta)
        yield from self._public()
        for part, count in self.dropped.items():
            yield f"that {count:,} of {part} {'was' if count == 1 else 'were'} left out as copies of other dialogues"

    def _group(self, unit: Unit, charges: Sequence[Charge], delta: float) -> str:
        copies = f"{self.grouped:,} dialogues are in {_many(self.groups, 'group')} of the same or nearly the same words"
        k = self.together(unit)
        cost = copies_epsilon(charges, k, self.clients, delta)
        holds = "no useful epsilon holds" if cost is None else f"epsilon is {above(cost)}"
        return (
            f"a text that stands more than once, as one of its copies: {copies}, which are protected together as a "
            f"group of up to {k} {unit.protected}s, for which {holds} at the same delta"
        )

    def _public(self) -> Iterator[str]:
        if self.public is None:
            yield "what the base model that was given had been trained on: taken to hold none of the clients' dialogues"
            return
        counts = {
            "word for word": self.public,
            "nearly": self.public_nearly,
            "by a message, or two in a row, of 8 words or more": self.public_messages,
        }
        if any(counts.values()):
            listed = ", ".join(f"{_many(count, 'dialogue')} {how}" for how, count in counts.items() if count)
            yield f"text of the clients' that also stands in public text ({listed}): it was learned there without noise"

    def warnings(self) -> Iterator[str]:
        """What a person should know before anything runs."""
        if self.dropped:
            listed = ", ".join(f"{count:,} of {part}" for part, count in self.dropped.items())
            yield f"Left out as copies of other dialogues: {listed}."
        if self.largest > 1:
            yield (
                f"{self.grouped:,} of the clients' {self.dialogues:,} dialogues are in {_many(self.groups, 'group')} "
                f"of the same or nearly the same words, of up to {self.largest} dialogues at up to "
                f"{_many(self.clients, 'client')}: such a group is protected together, with a larger epsilon."
            )
        for said in self._public():
            if self.public is not None:
                yield f"Not protected: {said}."
        held = {"a client's too": self.held_out, "nearly a client's": self.held_out_nearly}
        held["in public text, or nearly"] = self.held_out_public
        for how, count in held.items():
            if count:
                are = "is" if count == 1 else "are"
                yield f"Of the held-out dialogues {count:,} {are} {how}: what is measured on them flatters."


def copies_epsilon(charges: Sequence[Charge], k: int, clients: int, delta: float) -> float | None:
    """What holds for k copies together; None where nothing useful does.

    Copies at several clients are counted as one client's that gains nothing from sampling: what k Gaussians tell, each
    moved by its own copies, is at most what one tells that is moved by all.
    """
    known = charges if clients == 1 else [replace(charge, sampling_rate=1.0) for charge in charges]
    cost = group_epsilon(known, k, delta)
    return cost if cost <= MOST_EPSILON else None


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
