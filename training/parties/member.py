"""A member of a federation: a client for each kind of sum that it agreed to, and which of them a message is for.

Only an invitation says what it is for; what follows is for whoever was invited last, also over a restart. Knows no
network, no model and no data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chatfed.privacy.ledger import BudgetExceeded
from chatfed.secagg.messages import MalformedMessage
from chatfed.types import ChatfedError

from ..durable import read_if_there, write_atomically
from .answering import Refused
from .client import Client
from .session import NotFinite, Step, invited_to

TOLD = (Refused, BudgetExceeded, NotFinite)  # whose words hold nothing but names, rounds and budgets


class TakesNoPart(ChatfedError):
    """A member that does not answer a message. What is told of it names no file and no figure of the member's own."""

    code = "member_refused"
    mend = "read on the member's own machine why"


@dataclass
class Member:
    """Answers the coordinator's messages, one at a time."""

    clients: Mapping[str, Client]  # by what their sums are for, in words
    runs: Mapping[str, bytes]  # what their sums call the run: of another one nothing is given
    invited: Path  # a file: what the last invitation was for
    say: Callable[[str], None]  # to the person at this machine
    agreed_to: str  # fingerprint
    last: str  # the kind of sum whose last round ends all
    take_up: Callable[[bytes], Mapping[str, Client]]  # weights that rounds begin with -> what begins from them
    later: bytes = b""  # digest of rounds that begin with weights which have not come yet
    over: bool = field(default=False, init=False)  # nobody will ask for anything more

    def answer(self, message: bytes) -> bytes:
        """The answer, once it is on the disk. Raises TakesNoPart."""
        try:
            if message[:1] == bytes([Step.START]):
                return self._begin_with(message[1:])
            kind = self._kind(message)
            if message[0] == Step.SESSION:
                self.say(f"Invited: {kind}.")
            answer = self.clients[kind].handle(message)
        except ChatfedError as error:
            self.say(f"Takes no part: {error}")
            raise TakesNoPart(_as_told(error)) from error
        if message[0] == Step.COMMITTED:
            self._close(kind, message)
        return answer

    def _begin_with(self, body: bytes) -> bytes:
        """Keeps the weights that rounds begin with; that they are everybody's, each round's context says."""
        if body[:16] not in self.runs.values():
            raise MalformedMessage(0, "start", "run")
        self.clients = {**self.clients, **self.take_up(body[16:])}
        self.say("The model has learned what was counted; rounds begin with it.")
        return bytes([Step.START])

    def _kind(self, message: bytes) -> str:
        """What a message is for. Raises Refused where this member has not agreed to it."""
        if message[:1] == bytes([Step.SESSION]):
            run, recipe = invited_to(message)
            for kind, client in self.clients.items():
                if (client.agreement.digest, self.runs[kind]) == (recipe, run):
                    write_atomically(self.invited, kind.encode(), 0o600)
                    return kind
            if recipe == self.later:
                raise Refused("has not been sent the model that rounds begin with")
            raise Refused(
                f"the coordinator runs the federation by another file than the one that this member has agreed to "
                f"({self.agreed_to}): get the newest FEDERATION.toml, and begin chatfed join anew"
            )
        kind = (read_if_there(self.invited) or b"").decode()
        if kind not in self.clients:
            raise MalformedMessage(0, "step", "number")
        return kind

    def _close(self, kind: str, message: bytes) -> None:
        """Says what is over. The last of the last kind of sum ends all."""
        schedule, number = self.clients[kind].agreement.schedule, int.from_bytes(message[17:21], "little") + 1
        self.say(f"Over: {kind}, {number} of {schedule.rounds}.")
        self.over = self.over or (kind == self.last and number == schedule.rounds)


def _as_told(error: ChatfedError) -> str:
    """What leaves this machine of an error."""
    return str(error) if isinstance(error, TOLD) else f"{error.code}: the member's own machine says why"
