"""Where what simulated clients keep lies in a run's folder: a few stores for all, and a folder of each for its key."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from chatfed.types import ClientId

from ..durable import lock_within
from .store import ClientStore, Store, number_of

AT_WORK = "at-work"  # a file that is locked as long as anybody is
STORES = 4  # of all clients together: each commit of one holds up only those who write there too


def home_of(homes: Path, client: ClientId) -> Path:
    """A client's own folder; its name is a digest, since a client's id may be any text."""
    return homes / number_of(client).hex()


def stores_of(homes: Path) -> list[Path]:
    """Where the stores lie, all of them."""
    return [homes / f"{at}.db" for at in range(STORES)]


def store_of(homes: Path, client: ClientId) -> Path:
    """The store that holds a client's records: always the same one, whoever serves it."""
    return homes / f"{_number(client)}.db"


def _number(client: ClientId) -> int:
    return number_of(client)[0] % STORES


class Homes:
    """The stores below a folder, opened as they are asked for. For one thread; other processes serve other clients.

    It is at work there from its beginning until it is closed, or its process ends. Raises DiskError and DamagedState as
    a store does.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stores: dict[int, Store] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._at_work: int | None = os.open(folder / AT_WORK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._at_work, fcntl.LOCK_SH)

    def of(self, client: ClientId) -> ClientStore:
        """A client's records."""
        return self._store(_number(client)).of(client)

    def _store(self, number: int) -> Store:
        """Opened where it was not."""
        if number not in self._stores:
            self._stores[number] = Store(self.folder / f"{number}.db", shared=True)
        return self._stores[number]

    def there(self, client: ClientId) -> bool:
        """Whether a store is there that might hold records of the client."""
        return _number(client) in self._stores or store_of(self.folder, client).exists()

    def commit(self) -> None:
        """What was written is on the disk when this returns."""
        for store in self._stores.values():
            store.commit()

    @contextlib.contextmanager
    def remembering(self, clients: Iterable[ClientId] = (), names: Sequence[str] = ()) -> Iterator[None]:
        """As of a store: of all that are open, and of those of `clients` that are there."""
        of_store = self._by_store(client for client in clients if self.there(client))
        with contextlib.ExitStack() as all_of_them:
            for number in of_store.keys() | self._stores.keys():
                all_of_them.enter_context(self._store(number).remembering(of_store.get(number, ()), names))
            yield

    def discard(self) -> None:
        """Forgets what was written since the last commit."""
        for store in self._stores.values():
            store.discard()

    def admit(self, clients: Iterable[ClientId]) -> None:
        """Gives each a place in its store, those of one store together. Raises DiskError."""
        for number, some in self._by_store(clients).items():
            self._store(number).admit(some)

    def _by_store(self, clients: Iterable[ClientId]) -> dict[int, list[ClientId]]:
        """The clients of each store, by its number."""
        found: dict[int, list[ClientId]] = {}
        for client in clients:
            found.setdefault(_number(client), []).append(client)
        return found

    def close(self) -> None:
        """Lets go of all files."""
        while self._stores:
            self._stores.popitem()[1].close()
        if self._at_work is not None:
            os.close(self._at_work)
            self._at_work = None


def await_sole_use(folder: Path, seconds: float = 10.0) -> None:
    """Waits until no process is at work there, as workers are for a moment whose parent was killed. Raises Busy."""
    if not (folder / AT_WORK).exists():
        return
    with open(folder / AT_WORK, "rb") as file:
        busy = f"Another process is at work in {folder}: wait for it, or stop it."
        lock_within(file.fileno(), seconds, busy, every=0.05)
