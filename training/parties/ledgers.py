"""A client's ledger among its records, the rounds that are over, and what all clients' ledgers hold together.

What is gone must not read as a fresh start: a ledger that is missing, or knows less than its client has given, is
refused. A simulation may read them all; over a network clients say it themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice

from chatfed.privacy.accounting import EXACT
from chatfed.privacy.ledger import Budget, Charge, Entry, Ledger, LedgerError, Written, charge_of
from chatfed.secagg import primitives
from chatfed.types import ChatfedError, ClientId

from ..durable import DiskError, from_json, to_json
from ..plan.agreement import Agreement
from ..plan.claims import Spent, accountant_of
from ..plan.terms import ClientTerms
from ..plan.upload import NoisyUpload
from .homes import Homes
from .session import Session, release_key, rotation_seed
from .store import ClientStore

LEDGER = "ledger"
FINISHED = "finished"
TOGETHER = 256  # clients whose ledgers are read at once
REMEMBERED = 4096  # ledgers that a store keeps in memory as they were read
OF_ROUNDS = ("charge 0", FINISHED, "update", "round", "answered", "begun", "epoch")
"""Records that only a client has that took part in a round; its ledger, where it keeps one, was there before them."""


class LedgerSetBack(LedgerError):
    """A ledger that knows less than its client has given, by the server's books; nothing was charged."""

    code = "ledger_set_back"
    mend = "bring back the newest copy of the member's folder; where there is none, leave the run"


@dataclass(frozen=True)
class LedgerRecords:
    """A ledger among a client's records: one that says how many charges there are, and one for each charge.

    Each charge is bound to all before it, so that one that is gone, or of an older copy, does not fit. What is written
    is on the disk with the store's next commit.
    """

    records: ClientStore

    @property
    def name(self) -> str:
        """Where it lies, and whose it is."""
        return f"{self.records.store.path}, {self.records.client}"

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Nobody else writes a client's records (`Store`)."""
        return contextlib.nullcontext()

    def read(self) -> Written | None:
        """None where there is none. Raises LedgerError for one that is damaged."""
        try:
            head = self.records.read(LEDGER)
            return None if head is None else self._known(head).written
        except DiskError:
            raise
        except (ChatfedError, ValueError, KeyError, TypeError) as error:
            raise LedgerError(
                f"{self.name}: the privacy ledger is damaged, so what was spent is unknown: restore it from a backup"
            ) from error

    def _known(self, head: tuple[str, bytes]) -> _Known:
        """What `head` stands for: of what was read before only what is new is read."""
        remembered: dict[ClientId, _Known] = self.records.store.remembered
        before = remembered.get(self.records.client)
        if before is None or before.head != head:
            owner, about = head[0], from_json(head[1])
            entries, chain = self._extended(before, about["charges"])
            if before and chain.hex() != about["chain"]:  # what was remembered is not what was there
                entries, chain = self._extended(None, about["charges"])
            if chain.hex() != about["chain"]:
                raise ValueError("a charge is not the one that was made")
            before = _Known(head, Written(ClientId(owner), Budget(**about["budget"]), entries), chain)
            if len(remembered) >= REMEMBERED:
                remembered.clear()
            remembered[self.records.client] = before
        return before

    def _extended(self, before: _Known | None, charges: int) -> tuple[tuple[Entry, ...], bytes]:
        entries, chain = (before.written.entries, before.chain) if before else ((), bytes(32))
        new = [self.records.read(_place(at)) or ("", b"") for at in range(len(entries), charges)]
        return (*entries, *(Entry(key, _charge(body)) for key, body in new)), _chained(chain, new)

    def write(self, written: Written) -> None:
        """Adds what is new to what is there."""
        head = self.records.read(LEDGER)
        before = self._known(head) if head else None
        there, chain = (before.written.entries, before.chain) if before else ((), bytes(32))
        if written.entries[: len(there)] != there:
            raise LedgerError(f"{self.name}: a charge that was made is not taken back")
        new = [(each.key, to_json(asdict(each.mechanism)).encode()) for each in written.entries[len(there) :]]
        for at, (key, body) in enumerate(new, len(there)):
            self.records.write(_place(at), key, body)
        about = {
            "charges": len(written.entries),
            "chain": _chained(chain, new).hex(),
            "budget": asdict(written.budget),
        }
        self.records.write(LEDGER, written.owner, to_json(about).encode())


@dataclass(frozen=True)
class _Known:
    """A ledger as it was read."""

    head: tuple[str, bytes]
    written: Written
    chain: bytes


@lru_cache(maxsize=64)
def _charge(body: bytes) -> Charge:
    """One object for all ledgers that have the same charge: where tuples of them are compared, that is seen at once."""
    return charge_of(from_json(body))


def _place(at: int) -> str:
    return f"charge {at}"


def _chained(chain: bytes, charges: Iterable[tuple[str, bytes]]) -> bytes:
    """Over what is stored, not over what it says to this build: a later one may know more of a charge."""
    for key, body in charges:
        chain = primitives.digest(b"charge", chain, key.encode(), body)
    return chain


def finished(records: ClientStore) -> list[str]:
    """Keys of the releases that will not be made again. Raises DamagedState."""
    return (records.read(FINISHED) or ("", b""))[1].decode().split()


def remember_as_finished(records: ClientStore, key: str) -> None:
    """On the disk with the next commit."""
    if key not in (known := finished(records)):
        records.write(FINISHED, "", "\n".join([*known, key]).encode())


def took_part(records: ClientStore) -> bool:
    """Whether a client with noise has anything to account for here."""
    return not records.names().isdisjoint((LEDGER, *OF_ROUNDS))


def ledger_of(records: ClientStore, budget: Budget) -> Ledger:
    """The client's ledger; a new one where nothing says that it ever took part. Raises LedgerError."""
    owner, where = records.client, records.store.path
    there = records.names()
    past = [name for name in OF_ROUNDS if name in there]
    if past and LEDGER not in there:
        raise LedgerError(
            f"{where} has no ledger of {owner}, which took part in rounds before ({past[0]} is there), so what it "
            "spent is unknown: restore it from a backup, or begin anew in an empty folder, on data that was never used"
        )
    ledger = Ledger.open(LedgerRecords(records), owner, budget)
    charged = {entry.key for entry in ledger.entries}
    if missing := [key for key in finished(records) if key not in charged]:
        raise LedgerError(
            f"{where}: the ledger of {owner} lacks the charge of {len(missing)} of the rounds that it has finished "
            f"(round {missing[0].split('/')[1]} among them), as an older copy would: restore the newest from a backup"
        )
    return ledger


def refuse_set_back(records: ClientStore, ledger: Ledger, run: bytes, given: int) -> None:
    """Raises LedgerSetBack where a ledger has charges of fewer rounds of a run than its client gave to.

    given: as the server has it. One that says too much keeps the client out, and learns nothing by it.
    """
    known = len({entry.key.split("/")[1] for entry in ledger.entries if entry.key.startswith(f"{run.hex()}/")})
    if known < given:
        raise LedgerSetBack(
            f"{records.store.path}: the privacy ledger of {records.client} has charges of {known} rounds of this run, "
            f"and the server has sums of {given} that this client gave to: an older copy was brought back, and what it "
            "lacks would be spent twice. Bring back the newest copy of the folder; where there is none, leave this run"
        )


def spent(homes: Homes, clients: Iterable[ClientId], terms: ClientTerms) -> Spent:
    """Reads the ledger of each of `clients` that took part.

    Raises LedgerError for one that is damaged, gone or too old: a claim without it would be unearned.
    """
    epsilons: dict[ClientId, float] = {}
    counts: dict[ClientId, int] = {}
    most, costliest = 0.0, list[Charge]()
    for some in _batches(clients) if terms.mechanism is not None else ():
        with homes.remembering(some, (LEDGER, FINISHED)):
            for client in some:
                if not homes.there(client) or not took_part(records := homes.of(client)):
                    continue
                ledger = ledger_of(records, terms.budget)
                if entries := ledger.entries:
                    epsilons[client], counts[client] = ledger.cost(entries), len(entries)
                    if epsilons[client] >= most:
                        most, costliest = epsilons[client], [entry.mechanism for entry in entries]
    bound = accountant_of(costliest, terms.budget.delta) if costliest else EXACT
    return Spent(epsilons, counts, bound, tuple(costliest))


def _batches(clients: Iterable[ClientId]) -> Iterator[list[ClientId]]:
    """Clients whose ledgers are read together."""
    left = iter(clients)
    while some := list(islice(left, TOGETHER)):
        yield some


def charge_invited(homes: Homes, session: Session, ctx: bytes, agreement: Agreement, terms: ClientTerms) -> None:
    """Charges whoever is invited, in ledgers of the server's own, with the most that the session may cost it.

    Where clients keep their ledgers on machines of their own, these bound what the session had them charge. On the disk
    when this returns. Raises LedgerError, BudgetExceeded.
    """
    if terms.mechanism is None:
        return
    homes.admit(session.cohort)
    size = agreement.size(len(session.cohort), len(session.weights))
    for client, lag in zip(session.cohort, session.since, strict=True):
        code = agreement.sums.codec.upload(*size, rotation_seed(ctx), session.clip_norm, lag)
        cost = code.mechanism if isinstance(code, NoisyUpload) else terms.mechanism
        ledger_of(homes.of(client), terms.budget).charge(release_key(session, ctx, agreement.schedule.bands, lag), cost)
    homes.commit()


def check_ledgers(recorded: Mapping[ClientId, int], cost: Spent) -> None:
    """Raises LedgerError when any ledger holds less than the run has recorded: a claim from it would be too small."""
    short = [client for client, count in recorded.items() if cost.participations.get(client, 0) < count]
    if short:
        raise LedgerError(
            f"The ledger of {short[0]} holds {cost.participations.get(short[0], 0)} charges, but {recorded[short[0]]} "
            f"were made ({len(short)} ledgers hold too few): restore them; without them nothing can be claimed."
        )
