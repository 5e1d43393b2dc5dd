"""What all clients' ledgers hold together. A simulation may read them; over a network clients say it themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from chatfed.privacy.accounting import EXACT
from chatfed.privacy.ledger import Charge, LedgerError
from chatfed.types import ClientId

from ..plan.claims import Spent, accountant_of
from ..plan.terms import ClientTerms
from .homes import home_of, ledger_of, took_part


def spent(homes: Path, clients: Iterable[ClientId], terms: ClientTerms) -> Spent:
    """Reads the ledger of each of `clients` that took part.

    Raises LedgerError for one that is damaged, gone or too old: a claim without it would be unearned.
    """
    epsilons: dict[ClientId, float] = {}
    counts: dict[ClientId, int] = {}
    most, costliest = 0.0, list[Charge]()
    for client in clients:
        home = home_of(homes, client)
        if terms.mechanism is not None and took_part(home):
            ledger = ledger_of(home, client, terms.budget)
            if entries := ledger.entries:
                epsilons[client], counts[client] = ledger.epsilon, len(entries)
                if epsilons[client] >= most:
                    most, costliest = epsilons[client], [entry.mechanism for entry in entries]
    bound = accountant_of(costliest, terms.budget.delta) if costliest else EXACT
    return Spent(epsilons, counts, bound, tuple(costliest))


def check_ledgers(recorded: Mapping[ClientId, int], cost: Spent) -> None:
    """Raises LedgerError when any ledger holds less than the run has recorded: a claim from it would be too small."""
    short = [client for client, count in recorded.items() if cost.participations.get(client, 0) < count]
    if short:
        raise LedgerError(
            f"The ledger of {short[0]} holds {cost.participations.get(short[0], 0)} charges, but {recorded[short[0]]} "
            f"were made ({len(short)} ledgers hold too few): restore them; without them nothing can be claimed."
        )
