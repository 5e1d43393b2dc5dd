"""Another key for a log: every message is sealed anew, index and counters are made anew, and the old ones go.

The key's file says which files the log is in, by the log's id; so putting the new one in its place is the whole step
from the old log to the new one, and a process that is killed leaves one of the two. What it leaves of the other is
removed by the next rotation: a note, on the disk before the new files are, says which two logs these are, and nothing
else is ever removed. It is the mend of a damaged index or counters, too: it reads messages and nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chatfed.types import Entropy

from .log import LogKey, key_file, new_key, read_key
from .log_counters import Counters
from .log_errors import DamagedLog, LogError, told
from .log_files import alone, read_file, write_file
from .log_messages import Kept, open_message
from .log_owner import KEY, Log, make_sides, open_server, place
from .log_server import Server

EVERY = 4096  # messages of a batch: all are here, so it may hide among more
_AT_ONCE = 1024  # of an append
_NOTE = "rotating-"  # and the new log's id: a file that holds the old one's
_ID = re.compile(r"[0-9a-f]{32}")


def rotate(
    folder: Path,
    key: Path | None = None,
    passphrase: str | None = None,
    new_passphrase: str | None = None,
    leave_damaged: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
    entropy: Entropy = os.urandom,
) -> tuple[int, int]:
    """Seals the log in a folder under a new key; (messages that it has, messages that were left out).

    Messages keep their numbers. leave_damaged: goes on without messages that cannot be opened or are gone, those among
    them of which the owner's part alone knows. Without it raises DamagedLog, and everything stays as it was; so it does
    where LogDiskError is raised.
    """
    file = key or folder / KEY
    old = read_key(file, passphrase)
    with alone(folder):
        server = open_server(folder, old)
        try:
            _sweep(folder, old)
            known = _known(folder, old)
            gone = _gone(server, known)
            made = new_key(entropy)
            write_file(folder / (_NOTE + made.log.hex()), old.log.hex().encode())
            lost, whole = _fill(folder, server, old, made, gone, progress)
            missing = len(lost) + (0 if known is None else len(gone.numbers - known.deleted))
            if missing and not leave_damaged:
                said = f"{missing} messages are damaged or gone: restore the server's part, or give --leave-damaged."
                _sweep(folder, old)
                raise DamagedLog(said, param="messages")
        finally:
            server.close()
        write_file(file, key_file(made, new_passphrase, entropy))  # from here on it is the new log
        _sweep(folder, made)
    return whole, missing


@dataclass(frozen=True)
class _Known:
    """What the owner's part says of the messages."""

    deleted: set[int]
    last: int  # there were messages up to this number


@dataclass(frozen=True)
class _Gone:
    """Messages that are not to be in the new log."""

    numbers: set[int]
    last: int  # the highest number that a message is known to have had


def _fill(
    folder: Path, server: Server, old: LogKey, made: LogKey, gone: _Gone, progress: Callable[[int, int], None]
) -> tuple[set[int], int]:
    """Writes the new log; (the numbers that could not be opened, how many messages it has)."""
    make_sides(folder, made)
    lost: set[int] = set()
    log, whole = Log(folder, made, EVERY), 0
    try:
        for part in _parts(server, old, gone.numbers, lost):
            log.append_as(part)
            whole += len(part)
            progress(part[-1].number, server.last())
        log.leave_out(gone.numbers | lost, gone.last)
        if whole > EVERY:
            log.flush()
    finally:
        log.close()
    return lost, whole


def _parts(server: Server, old: LogKey, gone: set[int], lost: set[int]) -> Iterator[list[Kept]]:
    """The messages that can be opened; those that are gone and still there, as a refused erasure leaves them, not."""
    part: list[Kept] = []
    for number, sealed in server.every():
        if number in gone:
            continue
        try:
            part.append(open_message(old, number, sealed))
        except DamagedLog:
            lost.add(number)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _known(folder: Path, key: LogKey) -> _Known | None:
    """What the owner's part knows; None where it cannot be read."""
    try:
        counters = Counters(place(folder, "owner", key.log), key)
    except LogError:
        return None
    try:
        return _Known(set(counters.deleted), max(counters.state.indexed, *counters.deleted, 0))
    finally:
        counters.close()


def _gone(server: Server, known: _Known | None) -> _Gone:
    """The numbers that no message has (any more), also above those of a server's part from an old backup."""
    there = {number for number, _ in server.every()}
    last = max(server.last(), known.last if known else 0)
    deleted = known.deleted if known else set()
    return _Gone({number for number in range(1, last + 1) if number not in there or number in deleted}, last)


def _sweep(folder: Path, key: LogKey) -> None:
    """Removes the other log of each rotation that this key's log had part in: one that was killed, or is done."""
    own = key.log.hex()
    for note in sorted(folder.glob(_NOTE + "*")):
        both = {note.name[len(_NOTE) :], read_file(note).decode(errors="replace")}
        if own not in both or not all(_ID.fullmatch(each) for each in both):
            continue
        with told(folder):
            for path in (path for each in both - {own} for path in folder.glob(f"*/{each}.db*")):
                if path.parent.name in ("server", "owner"):
                    path.unlink(missing_ok=True)
            note.unlink()
