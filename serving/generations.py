"""Keeps each browser session to one reply at a time. Knows sessions by name, no model and no page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Generations:
    """Who is waiting for a reply or being written to right now. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flags: dict[str, threading.Event] = {}  # of every busy session
        self._written: set[str] = set()  # those of them whose reply is being written

    def claim(self, session: str, patience: float = 2.0) -> bool:
        """Makes the session busy for the reply to come; False when it is. Waits as `idle` does."""
        return self._free(session, patience, claim=True)

    def release(self, session: str) -> None:
        """Gives up a claim whose reply will not be written."""
        with self._lock:
            if session not in self._written:
                self._flags.pop(session, None)

    @contextmanager
    def running(self, session: str) -> Iterator[threading.Event]:
        """Holds the session, claimed or not, for one reply and yields its stop flag.

        Raises RuntimeError when one is running.
        """
        with self._lock:
            if session in self._written:
                raise RuntimeError("a reply is already being written in this session")
            self._written.add(session)
            stop = self._flags.setdefault(session, threading.Event())
        try:
            yield stop
        finally:
            with self._lock:
                self._written.discard(session)
                self._flags.pop(session, None)

    def stop(self, session: str) -> None:
        """Asks the session's reply to end, even before its first word; does nothing when none is to come."""
        with self._lock:
            flag = self._flags.get(session)
        if flag is not None:
            flag.set()

    def idle(self, session: str, patience: float = 2.0) -> bool:
        """Whether no reply is running or to come. Waits up to `patience` seconds for one that was told to stop."""
        return self._free(session, patience, claim=False)

    def _free(self, session: str, patience: float, claim: bool) -> bool:
        deadline = time.monotonic() + patience
        while True:
            with self._lock:
                flag = self._flags.get(session)
                if flag is None:
                    if claim:
                        self._flags[session] = threading.Event()
                    return True
            if not flag.is_set() or time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
