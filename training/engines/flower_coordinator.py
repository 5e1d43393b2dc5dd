"""Carries a round's messages to members over a link and their answers back: an `Exchange`, as the simulation is one.

Whoever does not answer in time, is not connected or refuses is missing. Knows when to stop waiting, nothing of what the
bytes mean, and no socket.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from chatfed.types import ClientId

from ..parties.session import Step
from .carrier import OnReply
from .flower import NoMessage, TooMuch
from .flower_link import Link
from .flower_payload import Refusal
from .flower_state import Gone

LOOK = 0.05  # seconds between two looks for answers
CLOSES_WITHIN = 10.0  # seconds at most for the word that a round is over
SLACK = 10.0  # seconds that a message outlives the wait for it: clocks differ


@dataclass
class FlowerExchange:
    """Asks the members that are connected, each at most once a step."""

    link: Link
    patience: float  # seconds a step
    on_reply: OnReply = lambda step, done, of: None
    refusals: dict[ClientId, str] = field(default_factory=dict)  # why a member that answered nothing did so
    late: set[ClientId] = field(default_factory=set)  # who let a step of this sum pass: it may be at work still

    def watch(self, on_reply: OnReply) -> None:
        """Has every answer told from now on."""
        self.on_reply = on_reply

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        """Answers as they come. Afterwards nothing that was asked can be answered any more."""
        step = Step(next(iter(messages.values()))[0]) if messages else Step.SESSION
        if step == Step.SESSION:
            self.refusals.clear()
            self.late.clear()
        closing = step == Step.COMMITTED  # what nobody's answer is needed for: who misses it finds out by the next sum
        patience = min(self.patience, CLOSES_WITHIN) if closing else self.patience
        done, until = 0, time.monotonic() + patience
        try:
            waiting = self.link.push(messages, patience + SLACK)
            while waiting and not (closing and self.late.issuperset(waiting)):
                last = time.monotonic() >= until  # a look after that: whoever takes the answers may have been slow
                for member, content in self._heard(waiting):
                    done += 1
                    self.on_reply(step, done, len(messages))
                    if isinstance(content, Refusal):
                        self.refusals.setdefault(member, content.reason)  # a later one follows from the first
                    else:
                        yield member, content
                if last:
                    self.late |= waiting.keys()
                    break
                time.sleep(LOOK)
        finally:
            self.link.withdraw()

    def _heard(self, waiting: dict[ClientId, str]) -> Iterator[tuple[ClientId, bytes | Refusal]]:
        """Who has answered, one at a time; they, and those of whom nothing will come, are waited for no more."""
        online = self.link.online()  # before the answers: who said good-bye after its answer is heard
        for member, name in list(waiting.items()):
            content: bytes | Refusal | None = None
            try:
                content = self.link.answer(name)
                if content is None and member in online:
                    continue
            except (NoMessage, TooMuch) as fault:
                content = Refusal(str(fault))
            except Gone:
                pass
            del waiting[member]
            if content is not None:
                yield member, content
