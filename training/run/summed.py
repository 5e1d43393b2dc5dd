"""A secure sum of a run: what it told and how long it took, or the run stops where it can be gone on with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chatfed.secagg.messages import ProtocolError
from chatfed.types import ClientId

from ..durable import Stopped
from ..engines.carrier import Carrier, said_by
from ..parties.epochs import WITHOUT
from ..parties.rounds import NAMED, Exchange, Outcome, Standing, TooFewLeft, run_round, silent_since
from ..parties.session import Session, Step
from ..plan.agreement import Agreement
from .prepared import Prepared


@dataclass
class Took:
    """Seconds of a sum."""

    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0  # of all of it
    steps: dict[str, float] = field(default_factory=dict)  # from a step's messages to its last answer

    def timed(self, exchange: Exchange) -> Exchange:
        """The exchange, with its seconds on record."""

        def passed_on(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
            began, step = time.monotonic(), Step(next(iter(messages.values()))[0]) if messages else None
            yield from exchange(messages)
            if step:
                name = step.name.lower()
                self.steps[name] = self.steps.get(name, 0.0) + time.monotonic() - began

        return passed_on

    def over(self) -> Took:
        """It is."""
        self.seconds = time.monotonic() - self.began
        return self


def told(outcome: Outcome, refusals: Mapping[ClientId, str], apart: bool) -> list[str]:
    """What went wrong in a sum that there is, line by line: faults, who fell silent and when, who refused and why.

    apart: clients are on machines of their own.
    """
    lines = [f"  left out: {fault}" for fault in outcome.faults]
    mend = " (only slow? Begin with a longer --patience)" if apart else ""
    lines += [f"  missing: {line}{mend}" for line in silent_since(outcome.dropped, refusals)]
    return lines + [f"  refused: {line}" for line in said_by(refusals)[:NAMED]]


def summed(
    prepared: Prepared,
    agreement: Agreement,
    session: Session,
    clients: Carrier,
    digest: bytes,
    number: int,
    name: str,
    standing: Standing | None = None,
) -> tuple[Outcome, Took]:
    """What the sum of `session` tells, and what it took. Raises Stopped where there is none.

    digest: of the model that it starts from. number: under which its survivors are settled in the run's folder. name:
    of what ends without a sum, for a person. standing: keys of the rounds before.
    """
    folder, took = prepared.folder, Took()
    try:
        outcome = run_round(
            session,
            agreement,
            digest,
            took.timed(clients),
            folder.settled(number, agreement.digest),
            lambda survivors: _settle(prepared, agreement, session, number, survivors),
            roster=prepared.roster,
            standing=standing,
        )
    except ProtocolError as error:
        again = "the same chatfed coordinate" if prepared.apart else f"chatfed resume {folder.path}"
        raise Stopped(f"{name} ended without a sum: {error}.{_why(error, clients)} Go on with {again}") from None
    finally:
        if standing and any(words in reason for reason in clients.refusals.values() for words in WITHOUT):
            standing.epoch = None  # or whoever has none would be out until all slots are used
    return outcome, took.over()


def _settle(
    prepared: Prepared, agreement: Agreement, session: Session, number: int, survivors: Sequence[ClientId]
) -> None:
    """Whose sum it is, on the disk before anybody is asked to unmask it; and over a network, that these have paid."""
    prepared.folder.settle(number, agreement.digest, survivors)
    if prepared.apart:
        prepared.folder.keep_given(session.run, session.round, survivors)


def _why(error: ProtocolError, clients: Carrier) -> str:
    """Who fell silent and when, and what one said who refused; sentences."""
    silent = silent_since(error.dropped, clients.refusals) if isinstance(error, TooFewLeft) else []
    said = said_by(clients.refusals)
    who = f" No answer from {'; '.join(silent)}." if silent else ""
    return who + (f" {_many(said)} said: {said[0]}" if said else "")


def _many(said: Sequence[str]) -> str:
    return "One client" if len(said) == 1 else f"One of {len(said):,} clients that refused"
