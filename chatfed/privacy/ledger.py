"""A client's own book of what its data has cost: durable, and closed once the budget is spent. Knows no server.

In a file every charge is on disk before it is answered; on other paper as that says. So a killed process has either
charged in full or not at all. Charges have a key (for instance "run/round"): the same charge again costs nothing, so a
resumed round is not counted twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from chatfed.privacy.accounting import Mechanism, PrivacyError, compose
from chatfed.privacy.distributed import DistributedGaussian, distributed_epsilon
from chatfed.privacy.guarantee import Protected, condition
from chatfed.types import ChatfedError, ClientId

_FORMAT = "chatfed privacy ledger 1"

Charge = Mechanism | DistributedGaussian
"""Noise of the client's own, or a share of a sum's."""


class LedgerError(ChatfedError):
    """A ledger that cannot be believed or is not the caller's; nothing was charged."""

    code = "bad_ledger"
    mend = "restore the ledger from a backup, or have its owner begin another"


class BudgetExceeded(LedgerError):
    """The work would cost more than the client's budget; nothing was charged."""

    code = "budget_exceeded"
    mend = "ask for less, or have the client's owner raise the budget"


@dataclass(frozen=True)
class Budget:
    """The most that a client lets its data cost, all work together."""

    epsilon: float
    delta: float
    unit: Protected  # whose protection is charged for: charges for different units do not add up

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            raise PrivacyError(f"budget epsilon {self.epsilon}: must be a finite number, 0 or more", param="epsilon")
        if not 0.0 < self.delta < 1.0:
            raise PrivacyError(f"budget delta {self.delta}: must lie strictly between 0 and 1", param="delta")
        object.__setattr__(self, "unit", condition(Protected, self.unit))  # a file's word

    def __str__(self) -> str:
        return f"epsilon {self.epsilon:g}, delta {self.delta:g}"


@dataclass(frozen=True)
class Entry:
    """One charge: what was run under which key."""

    key: str
    mechanism: Charge


@dataclass(frozen=True)
class Written:
    """What a ledger says: whose it is, the budget on record, and all charges in the order in which they were made."""

    owner: ClientId
    budget: Budget
    entries: tuple[Entry, ...]


class Paper(Protocol):
    """What a ledger is written on."""

    @property
    def name(self) -> str:
        """What it is called in errors."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Held while a ledger is read and written: nobody else writes meanwhile."""

    def read(self) -> Written | None:
        """What is written there; None on an empty one. Raises LedgerError for what cannot be believed."""

    def write(self, written: Written) -> None:
        """Takes the place of what was there, and keeps its entries. Raises ChatfedError with nothing changed."""


class Ledger:
    """One client's ledger. Safe between processes as its paper is; `entries` and `epsilon` are read anew each time."""

    def __init__(self, paper: Paper, owner: ClientId, budget: Budget) -> None:
        self.paper, self.owner, self.budget = paper, owner, budget

    @classmethod
    def open(cls, where: str | Path | Paper, owner: ClientId, budget: Budget, *, change_budget: bool = False) -> Ledger:
        """The ledger in a file (mode 0600) or on any other paper; an empty one is begun, written before this returns.

        Raises LedgerError when the ledger is damaged, belongs to another client, or records another budget (pass
        change_budget=True to set a new one: what was spent stays spent).
        """
        ledger = cls(LedgerFile(Path(where)) if isinstance(where, str | Path) else where, owner, budget)
        with ledger.paper.locked():
            written = ledger.paper.read()
            if written is None:
                ledger._write(())
                return ledger
            entries, recorded = ledger._own(written)
            if recorded != budget:
                if recorded.unit != budget.unit:
                    raise LedgerError(
                        f"{ledger.paper.name}: charges there are for one {recorded.unit}, not for one {budget.unit}: "
                        "keep a ledger of its own for each"
                    )
                if not change_budget:
                    raise LedgerError(
                        f"{ledger.paper.name}: the budget on record is {recorded}, not {budget}: keep it or pass "
                        "change_budget=True"
                    )
                ledger._write(entries)
        return ledger

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All charges, in the order in which they were made."""
        return self._read()[0]

    @property
    def epsilon(self) -> float:
        """What all charges cost together at the budget's delta."""
        return self.cost(self.entries)

    def affords(self, mechanism: Charge) -> bool:
        """Whether `charge` under a new key would be accepted now."""
        try:
            return self.cost((*self.entries, Entry("", mechanism))) <= self.budget.epsilon
        except PrivacyError:  # no bound can be shown
            return False

    def charge(self, key: str, mechanism: Charge) -> float:
        """Records `mechanism` under `key` and returns epsilon after it; call this before the work, not after.

        The same key and mechanism again changes nothing. Raises BudgetExceeded when the total would pass the budget and
        LedgerError when the key stands for another mechanism; in both cases nothing is written.
        """
        with self.paper.locked():
            entries, _ = self._read()
            for entry in entries:
                if entry.key == key:
                    if entry.mechanism != mechanism:
                        raise LedgerError(f"{self.paper.name}: {key!r} stands for {entry.mechanism}, not {mechanism}")
                    return self.cost(entries)
            after = (*entries, Entry(key, mechanism))
            try:
                cost = self.cost(after)
            except PrivacyError as error:  # no budget is so large that a bound nobody can show lies within it
                raise BudgetExceeded(
                    f"client {self.owner}: {key!r} is over any budget ({error}): leave this client out or add noise"
                ) from None
            if cost > self.budget.epsilon:
                raise BudgetExceeded(
                    f"client {self.owner}: {key!r} would bring epsilon to {cost:.3f}, over its budget of "
                    f"{self.budget.epsilon:g} at delta {self.budget.delta:g}: leave this client out or add noise"
                )
            self._write(after)
            return cost

    def cost(self, entries: tuple[Entry, ...]) -> float:
        """What some charges cost together at the budget's delta. Raises PrivacyError where no bound can be shown."""
        charges = [entry.mechanism for entry in entries]
        shares = tuple(charge for charge in charges if isinstance(charge, DistributedGaussian))
        if not shares:
            return compose((charge for charge in charges if isinstance(charge, Mechanism)), delta=self.budget.delta)
        if len(shares) < len(charges):
            raise LedgerError(
                f"{self.paper.name}: charges for noise of one's own and for shares of a sum's cannot be added up: "
                "keep a ledger of its own for each"
            )
        return _cost_of_shares(shares, self.budget.delta)

    def _read(self) -> tuple[tuple[Entry, ...], Budget]:
        written = self.paper.read()
        if written is None:
            raise LedgerError(f"{self.paper.name}: the privacy ledger is gone: restore it from a backup")
        return self._own(written)

    def _own(self, written: Written) -> tuple[tuple[Entry, ...], Budget]:
        if written.owner != self.owner:
            raise LedgerError(
                f"{self.paper.name}: the privacy ledger is of client {written.owner!r}, not of {self.owner!r}"
            )
        return written.entries, written.budget

    def _write(self, entries: tuple[Entry, ...]) -> None:
        self.paper.write(Written(self.owner, self.budget, entries))


@dataclass(frozen=True)
class LedgerFile:
    """A ledger's own file, JSON with a checksum. Safe between processes; on disk when `write` returns."""

    path: Path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock file beside the ledger (the ledger itself is replaced, so it cannot carry the lock)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)  # closing lets go of the lock, as the end of a killed process does

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    def read(self) -> Written | None:
        """None where no file is. Raises LedgerError for one that is damaged."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _unreadable(self.path, error) from error
        try:
            raw = json.loads(text)
            body = raw["body"]
            if raw["format"] != _FORMAT or raw["sha256"] != _digest(body):
                raise ValueError("checksum")
            entries = tuple(Entry(e["key"], charge_of(e["mechanism"])) for e in body["entries"])
            return Written(body["owner"], Budget(**body["budget"]), entries)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise _unreadable(self.path, error) from error

    def write(self, written: Written) -> None:
        """Whole or not at all. Raises LedgerError with nothing charged."""
        body = {
            "owner": written.owner,
            "budget": asdict(written.budget),
            "entries": [{"key": e.key, "mechanism": asdict(e.mechanism)} for e in written.entries],
        }
        text = json.dumps({"format": _FORMAT, "sha256": _digest(body), "body": body}, indent=1, allow_nan=False) + "\n"
        _replace(self.path, self._beside(".tmp"), text.encode())


def _unreadable(path: Path, error: Exception) -> LedgerError:
    if isinstance(error, OSError):
        return LedgerError(f"{path}: the privacy ledger cannot be read ({error.strerror})")
    return LedgerError(f"{path}: the privacy ledger is damaged, so what was spent is unknown: restore it from a backup")


@lru_cache(maxsize=256)
def _cost_of_shares(shares: tuple[DistributedGaussian, ...], delta: float) -> float:
    """Cached: hundreds of equal ledgers ask once."""
    return distributed_epsilon(shares, delta=delta)


def charge_of(stored: dict[str, Any]) -> Charge:
    """A charge from its fields by name. Raises TypeError or ChatfedError for others."""
    return DistributedGaussian(**stored) if "shares" in stored else Mechanism(**stored)


def _digest(body: dict[str, Any]) -> str:
    """Guards against damage, not against the owner, who may delete the file anyway."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


_ON_DISK: set[Path] = set()  # folders whose names this process has put there


def _replace(path: Path, temporary: Path, content: bytes) -> None:
    """Writes the file whole or not at all, mode 0600; on disk, name and content, when this returns."""
    known = path.parent in _ON_DISK and path.exists()  # else its folders may be as new as it is, whoever made them
    folders = [path.parent] if known else path.resolve().parents
    try:
        temporary.unlink(missing_ok=True)  # left by a killed process; the lock is ours
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        for folder in folders:
            _sync(folder)
            if os.path.ismount(folder):
                break
        _ON_DISK.add(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise LedgerError(f"{path}: ledger cannot be written ({error.strerror}): nothing was charged") from error


def _sync(folder: Path) -> None:
    """Puts the names in a folder on the disk, but for one that may not be read: nothing of ours is new there."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
