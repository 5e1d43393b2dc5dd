"""Servers as processes of their own: begun, waited for, ended, and the processor time that they use.

Knows what our servers print and no request.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from training.workers import start, stopped_after

T = TypeVar("T")


def begun(words: Sequence[str], said: Path, folder: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
    """As `start`, but into an empty file: what a server before it said there is not taken for its own."""
    said.unlink(missing_ok=True)
    return start(words, said, folder, **environment)


@contextmanager
def served(
    words: Sequence[str], said: Path, ready: Callable[[str], T | None], folder: Path | None = None, **environment: str
) -> Iterator[tuple[int, T]]:
    """A server from its start to its end: its process's number, and what `ready` found. As `start` and `awaited`."""
    process = begun(words, said, folder, **environment)
    with stopped_after([process]):
        yield process.pid, awaited(process, said, ready)


def awaited(
    process: subprocess.Popen[bytes], said: Path, ready: Callable[[str], T | None], seconds: float = 300.0
) -> T:
    """What `ready` makes of all that a server has said, as soon as that is something; an OSError of it is: not yet.

    Raises SystemExit with what the server said, where it has ended or so many seconds have gone.
    """
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError):
            if (found := ready(said.read_text(encoding="utf-8"))) is not None:
                return found
        time.sleep(0.1)
    raise SystemExit(f"The server did not start:\n{said.read_text(encoding='utf-8')[-2000:]}")


def port_in(said: str) -> int | None:
    """Where one of our servers listens, once it has said so."""
    found = re.search(r"127\.0\.0\.1:(\d+)\s", said)
    return int(found[1]) if found else None


def processor_seconds(pid: int) -> float:
    """Of a process, user and system, all threads, so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
