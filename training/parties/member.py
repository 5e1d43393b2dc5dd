"""A member of a federation: a client for each kind of sum that it agreed to, and which of them a message is for.

Only an invitation says what it is for; what follows is for whoever was invited last, also over a restart. Knows no
network, no model and no data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chatfed.privacy.ledger import BudgetExceeded, LedgerError
from chatfed.privacy.noise import system_random
from chatfed.secagg.messages import MalformedMessage
from chatfed.types import ChatfedError, Entropy

from ..durable import read_if_there, write_atomically
from .answering import Refused
from .client import Client
from .ledgers import LedgerSetBack
from .session import NotFinite, OtherVersion, Step, invited_to, read_committed, round_index

TOLD = (Refused, NotFinite, OtherVersion)  # whose words hold nothing but names and rounds
NOT_SENT = "has not been sent the model that rounds begin with"


_CHARGED = {
    True: ", for its answer came too late or never, and it was charged all the same",
    False: ", and nothing was charged",
    None: "",
}
"""What it cost a member that nothing of it is in the sum, by whether its ledger has the round, if that is fit."""


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
    last: str  # the kind of sum whose last one ends all
    take_up: Callable[[bytes], Mapping[str, Client]] | None  # weights that rounds begin with -> what begins from them
    later: bytes = b""  # digest of rounds that begin with weights which have not come yet
    sent: int = field(default=0, init=False)  # bytes of answers since the last invitation of any kind
    over: bool = field(default=False, init=False)  # nobody will ask for anything more

    def answer(self, message: bytes, entropy: Entropy = system_random) -> bytes:
        """The answer, once it is on the disk. Raises TakesNoPart."""
        step = message[0] if message else 0
        try:
            if step == Step.START:
                return self._begin_with(message[1:])
            kind = self._kind(step, message)
            if not kind:
                return message[:1]
            if step == Step.SESSION:
                self.say(f"Invited: {kind}.")
                self.sent = 0
            client = self.clients[kind]
            account: tuple[bool | None, str] = (None, "")
            if step == Step.COMMITTED:
                account = self._account(client, read_committed(message[1:])[0])
            answer = client.handle(message, entropy)
            self.sent += len(answer)
        except ChatfedError as error:
            self.say(f"Takes no part: {error}")
            raise TakesNoPart(_as_told(error)) from error
        if step == Step.COMMITTED:
            self._close(kind, message, account)
        return answer

    def _begin_with(self, body: bytes) -> bytes:
        """Keeps the weights that rounds begin with; that they are everybody's, each round's context says."""
        if self.take_up is None or body[:16] not in self.runs.values():
            raise MalformedMessage(0, "start", "run")
        self.clients = {**self.clients, **self.take_up(body[16:])}
        self.say("The model has learned what was counted; rounds begin with it.")
        return bytes([Step.START])

    def _kind(self, step: int, message: bytes) -> str:
        """What a message is for; empty for the end of what this member took no part in.

        Raises Refused where it has not agreed to it, or MalformedMessage.
        """
        if step == Step.SESSION:
            run, recipe = invited_to(message)
            for kind, client in self.clients.items():
                if (client.agreement.digest, self.runs[kind]) == (recipe, run):
                    write_atomically(self.invited, kind.encode(), 0o600)
                    return kind
            if recipe == self.later:
                raise Refused(NOT_SENT)
            raise Refused(
                f"the coordinator runs the federation by another file than the one that this member has agreed to "
                f"({self.agreed_to}): get the newest FEDERATION.toml, and begin chatfed join anew"
            )
        if step == Step.COMMITTED:  # which says itself whose round is over
            return next((kind for kind in self.clients if self.runs[kind] == message[1:17]), "")
        kind = (read_if_there(self.invited) or b"").decode()
        if kind not in self.clients:
            raise MalformedMessage(0, "step", "number")
        return kind

    def _account(self, client: Client, name: bytes) -> tuple[bool | None, str]:
        """Whether a round was charged for, and what all have cost so far in words; nothing of an unfit ledger."""
        try:
            charged = client.charged(name)
            if not client.spends:
                return charged, ""
            ledger = client.ledger()
            return charged, f" Epsilon {ledger.epsilon:.2f} of {ledger.budget.epsilon:g} is spent so far."
        except LedgerError:
            return None, ""

    def _close(self, kind: str, message: bytes, account: tuple[bool | None, str]) -> None:
        """Says what is over, and what became of this member's part. The last of the last kind of sum ends all."""
        name, within = read_committed(message[1:])
        number, of = round_index(name) + 1, self.clients[kind].agreement.schedule.rounds
        charged, spent = account
        became = ""
        if within is not None:
            left_out = f": nothing of this member is in the sum{_CHARGED[charged]}"
            became = ": this member's part is in the sum" if within else left_out
        self.say(f"Over: {kind}, {number} of {of}{became}.{spent} Answers of {self.sent:,} bytes were sent for it.")
        self.sent = 0
        self.over = self.over or (kind == self.last and number == of)


def _as_told(error: ChatfedError) -> str:
    """What leaves this machine of an error."""
    if isinstance(error, TOLD):
        return str(error)
    if isinstance(error, LedgerSetBack):  # the coordinator has said so itself
        return "its ledger is older than what it gave to this run: the newest copy of its folder has to be brought back"
    if isinstance(error, BudgetExceeded):
        return "another round would pass this member's budget"
    return "the member's own machine says why"  # which error it is may follow from its dialogues
