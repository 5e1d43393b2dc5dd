"""A secure sum of a run: what it told and how long it took, or the run stops where it can be gone on with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from chatfed.secagg.messages import ProtocolError
from chatfed.types import ClientId

from ..durable import Stopped
from ..engines.carrier import Carrier, said_by
from ..parties.rounds import Exchange, Outcome, Standing, run_round
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
            lambda survivors: folder.settle(number, agreement.digest, survivors),
            roster=prepared.roster,
            standing=standing,
        )
    except ProtocolError as error:
        why = f" One client said: {said_by(clients.refusals)[0]}" if clients.refusals else ""
        again = "the same chatfed coordinate" if prepared.apart else f"chatfed resume {folder.path}"
        raise Stopped(f"{name} ended without a sum: {error}.{why} Go on with {again}") from None
    return outcome, took.over()
