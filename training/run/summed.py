"""A secure sum of a run: what it told and how long it took, or the run stops where it can be gone on with."""

from __future__ import annotations

import time

from chatfed.secagg.messages import ProtocolError

from ..durable import Stopped
from ..engines.simulation import Simulation
from ..parties.rounds import Outcome, Standing, run_round
from ..parties.session import Session
from ..plan.agreement import Agreement
from .prepared import Prepared


def summed(
    prepared: Prepared,
    agreement: Agreement,
    session: Session,
    clients: Simulation,
    digest: bytes,
    number: int,
    name: str,
    standing: Standing | None = None,
) -> tuple[Outcome, float]:
    """What the sum of `session` tells, and the seconds that it took. Raises Stopped where there is none.

    digest: of the model that it starts from. number: under which its survivors are settled in the run's folder. name:
    of what ends without a sum, for a person. standing: keys of the rounds before.
    """
    folder, started = prepared.folder, time.monotonic()
    try:
        outcome = run_round(
            session,
            agreement,
            digest,
            clients,
            folder.settled(number),
            lambda survivors: folder.settle(number, survivors),
            roster=prepared.roster,
            standing=standing,
        )
    except ProtocolError as error:
        why = f" One client said: {next(iter(clients.refusals.values()))}" if clients.refusals else ""
        raise Stopped(f"{name} ended without a sum: {error}.{why} Go on with chatfed resume {folder.path}") from None
    return outcome, time.monotonic() - started
