"""What a client keeps on its disk: files with a checksum and a release's key, the rounds that are over, its ledger.

A file that is gone must not read as a fresh start: a ledger that is missing, or knows less than its client has given,
is refused. Knows no message and no model.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from chatfed.privacy.ledger import Budget, Ledger, LedgerError
from chatfed.secagg import primitives, states
from chatfed.types import ClientId

from ..durable import read_if_there, write_atomically

LEDGER = "ledger.json"
OF_ROUNDS = ("finished", "update.bin", "round.bin", "answered.bin", "begun.bin", "state.key")
"""Files that only a client has that took part in a round; its ledger, where it keeps one, was there before them."""


def home_of(homes: Path, client: ClientId) -> Path:
    """A client's own folder; its name is a digest, since a client's id may be any text."""
    return homes / hashlib.sha256(client.encode()).hexdigest()[:32]


def tagged(key: str, body: bytes) -> bytes:
    """With a checksum: a bit that flips on the disk must not pass for another key, set or update."""
    name = key.encode()
    content = len(name).to_bytes(2, "little") + name + body
    return content + primitives.digest(b"file", content)


def read_tagged(path: Path) -> tuple[str, bytes] | None:
    """The key and the body that are stored in `path`, or None when nothing is. Raises DamagedState."""
    raw = read_if_there(path)
    if raw is None:
        return None
    content, end = raw[:-32], 2 + int.from_bytes(raw[:2], "little")
    if primitives.digest(b"file", content) != raw[-32:]:
        raise damaged(path)
    return content[2:end].decode(), content[end:]


def damaged(path: Path) -> states.DamagedState:
    """The error for a file of a client's that is not as it was written."""
    return states.DamagedState(f"{path} is damaged; leave the round")


def finished(home: Path) -> list[str]:
    """Keys of the releases that will not be made again. Raises DamagedState."""
    return (read_tagged(home / "finished") or ("", b""))[1].decode().split()


def remember_as_finished(home: Path, key: str) -> None:
    """On disk when this returns."""
    if key not in (known := finished(home)):
        write_atomically(home / "finished", tagged("", "\n".join([*known, key]).encode()))


def took_part(home: Path) -> bool:
    """Whether a client with noise has anything to account for here."""
    return any((home / name).exists() for name in (LEDGER, *OF_ROUNDS))


def ledger_of(home: Path, owner: ClientId, budget: Budget) -> Ledger:
    """The client's ledger; a new one where nothing says that it ever took part. Raises LedgerError."""
    path = home / LEDGER
    past = [name for name in OF_ROUNDS if (home / name).exists()]
    if past and not path.exists():
        raise LedgerError(
            f"{path} is gone, but {owner} took part in rounds before ({past[0]} is there), so what it spent is "
            "unknown: restore the ledger from a backup, or begin anew in an empty folder, on data that was never used"
        )
    ledger = Ledger.open(path, owner, budget)
    charged = {entry.key for entry in ledger.entries}
    if missing := [key for key in finished(home) if key not in charged]:
        raise LedgerError(
            f"{path} lacks the charge of {len(missing)} of the rounds that {owner} has finished (round "
            f"{missing[0].split('/')[1]} among them), as an older copy would: restore the newest one from a backup"
        )
    return ledger
