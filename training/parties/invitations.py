"""What a client looks for in an invitation, whoever sends it, before anything is charged or learned."""

from __future__ import annotations

from chatfed.types import ClientId

from ..plan.agreement import Agreement
from .answering import Refused
from .session import Session


def place_of(name: ClientId, session: Session, agreement: Agreement, weights: int) -> int:
    """The number, from 1, of the client `name` in the round that it is invited to. Raises Refused.

    weights: how many numbers of the model the client trains; 0: it looks at none of them.
    """
    if session.recipe != agreement.digest:
        raise Refused(f"{name}: the server runs another recipe than this client agreed to.")
    if weights and len(session.weights) != weights:
        raise Refused(f"{name}: the server sent {len(session.weights)} weights, and this client trains {weights}.")
    schedule = agreement.schedule
    if len(session.cohort) != schedule.participants(session.round):  # the threshold follows from it
        raise Refused(f"{name}: the server invites {len(session.cohort)} clients, not the recipe's cohort.")
    if max(session.lags, default=0) >= schedule.bands:
        raise Refused(f"{name}: the server asks for an update again after more rounds than the recipe has bands.")
    if bool(session.clip_norm) != agreement.moving_clip_norm:
        raise Refused(f"{name}: the invitation's clip norm is not of the recipe's kind, fixed or moving.")
    if name not in session.cohort:
        raise Refused(f"{name}: the server's invitation names other clients only.")
    return session.cohort.index(name) + 1
