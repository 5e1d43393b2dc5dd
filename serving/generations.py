"""Keeps each browser session to one reply at a time. Knows sessions by name, no model and no page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Generations:
    """Who is being written to right now. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, threading.Event] = {}

    @contextmanager
    def running(self, session: str) -> Iterator[threading.Event]:
        """Holds the session for one reply and yields its stop flag. Raises RuntimeError when one is running."""
        stop = threading.Event()
        with self._lock:
            if session in self._running:
                raise RuntimeError("a reply is already being written in this session")
            self._running[session] = stop
        try:
            yield stop
        finally:
            with self._lock:
                self._running.pop(session, None)

    def stop(self, session: str) -> None:
        """Asks the session's reply to end; does nothing when none is running."""
        with self._lock:
            flag = self._running.get(session)
        if flag is not None:
            flag.set()

    def idle(self, session: str, patience: float = 2.0) -> bool:
        """Whether the session has no reply running. Waits up to `patience` seconds for one that was told to stop."""
        deadline = time.monotonic() + patience
        while True:
            with self._lock:
                flag = self._running.get(session)
            if flag is None:
                return True
            if not flag.is_set() or time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
