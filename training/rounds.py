"""One round of a federation, as the server runs it: bytes out through an exchange, the clients' mean update back.

Composes the secure sum with the session around it. Knows no socket, no model and no single client's update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from chatfed.secagg import server as secagg
from chatfed.secagg.messages import MalformedMessage
from chatfed.types import ClientId, FloatVector
from training.client import codec, sum_parameters
from training.recipe import Recipe
from training.session import Session, Step, round_context

Exchange = Callable[[Mapping[ClientId, bytes]], Iterable[tuple[ClientId, bytes]]]
"""Sends each client its message and gives back their answers as they arrive; a client that is missing dropped out.

Answers are consumed one by one, so that the server holds one masked input at a time, whatever the size of the cohort.
"""


@dataclass(frozen=True)
class Outcome:
    """What the server learned from a round."""

    mean: FloatVector = field(repr=False)  # float32[d]
    weight: float  # sum of the survivors' weights
    survivors: tuple[ClientId, ...]
    dropped: Mapping[Step, tuple[ClientId, ...]]  # who fell silent, by step
    faults: tuple[str, ...]  # what was wrong with messages that were left out
    bytes_up: int  # of all clients together


def run_round(session: Session, recipe: Recipe, base_digest: bytes, exchange: Exchange) -> Outcome:
    """Sessions out, weighted mean of the survivors' updates back. Raises BelowThreshold with nothing unmasked, "
    "or BadShares."""
    line = _Line(session.cohort, exchange)
    parameters = sum_parameters(recipe, len(session.cohort), len(session.weights))
    opened = secagg.open_round(parameters, round_context(session, base_digest))

    invitation = session.to_bytes()
    everyone = dict.fromkeys(range(1, len(session.cohort) + 1), invitation)
    (sharing, adverts), faults = secagg.leaving_out(secagg.relay_adverts, opened, line.ask(Step.SESSION, everyone))
    line.faults += faults
    (collecting, envelopes), faults = secagg.leaving_out(secagg.relay_shares, sharing, line.ask(Step.ADVERTS, adverts))
    line.faults += faults
    for sender, message in line.stream(Step.SHARES, envelopes):
        try:
            collecting = secagg.accept(collecting, sender, message)
        except MalformedMessage as fault:
            line.faults.append(fault)
    unmasking, survivor_sets = secagg.close_inputs(collecting)
    total, faults = secagg.leaving_out(secagg.finish, unmasking, line.ask(Step.SURVIVORS, survivor_sets))
    line.faults += faults
    mean, weight = codec(recipe, parameters.participants).decode(total.vector)
    return Outcome(
        mean,
        weight,
        tuple(session.cohort[i - 1] for i in total.survivors),
        line.dropped,
        tuple(str(fault) for fault in line.faults) + tuple(_dispute(*pair) for pair in total.disputes),
        line.bytes_up,
    )


def commit(session: Session, exchange: Exchange) -> None:
    """Tells the cohort that the round is in the server's checkpoint, so that nobody will ask for its update again."""
    for _ in exchange(dict.fromkeys(session.cohort, bytes([Step.COMMITTED]) + session.name)):
        pass


class _Line:
    """The exchange by participants' numbers, with a count of what came and who fell silent."""

    def __init__(self, cohort: tuple[ClientId, ...], exchange: Exchange) -> None:
        self.cohort, self.exchange = cohort, exchange
        self.number = {client: i for i, client in enumerate(cohort, 1)}
        self.dropped: dict[Step, tuple[ClientId, ...]] = {}
        self.faults: list[MalformedMessage] = []
        self.bytes_up = 0

    def ask(self, step: Step, messages: Mapping[int, bytes]) -> dict[int, bytes]:
        return dict(self.stream(step, messages))

    def stream(self, step: Step, messages: Mapping[int, bytes]) -> Iterable[tuple[int, bytes]]:
        framed = {id(message): bytes([step]) + message for message in {id(m): m for m in messages.values()}.values()}
        asked = {
            self.cohort[i - 1]: framed[id(message)] for i, message in messages.items()
        }  # what goes to all is one copy
        missing = set(asked)
        for client, answer in self.exchange(asked):
            self.bytes_up += len(answer)
            if client not in missing or answer[:1] != bytes([step]):
                self.faults.append(MalformedMessage(self.number.get(client, 0), step.name.lower(), "step"))
                continue
            missing.discard(client)
            yield self.number[client], answer[1:]
        if missing:
            self.dropped[step] = tuple(sorted(missing))


def _dispute(holder: int, owner: int) -> str:
    return (
        f"participant {holder} gave a share of participant {owner}'s secret that does not fit; one of the two cheated"
    )
