"""Logs as tests make them, and what of one lies on the disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from chatfed.conversation.log_messages import Message
from chatfed.conversation.log_owner import Log, new_log, open_log

EVERY = 8  # messages of a batch: small, so that the index is used


def filled(folder: Path, texts: Iterable[str], every: int = EVERY) -> Path:
    """A log of these messages, one append each."""
    new_log(folder)
    with open_log(folder, every=every) as log:
        for text in texts:
            log.append([Message("user", text)])
    return folder


def numbers(log: Log, words: str) -> list[int]:
    """What a search finds, oldest first."""
    return sorted(each.number for each in log.search(words).messages)


def side(folder: Path, name: str) -> Path:
    """The file of one side."""
    (found,) = (folder / name).glob("*.db")
    return found


def raw(folder: Path) -> bytes:
    """Everything that lies in a folder, logs of SQLite's among it."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
