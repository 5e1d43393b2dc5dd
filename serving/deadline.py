"""A bound on a whole exchange over a socket. Knows no protocol.

A socket's timeout is for each read: whoever sends a byte now and then holds it for ever.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Deadline:
    """Shuts a socket down once `seconds` have passed, so that whoever reads or writes it goes on at once.

    `with` it around what must be done by then; `passed` says whether it was not.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.passed, self._met = False, False
        self._connection, self._seconds, self._lock = connection, seconds, threading.Lock()
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.met()

    def met(self) -> None:
        """Ends it: once this returns, the socket is left alone."""
        with self._lock:
            self._met = True
        self._timer.cancel()

    def error(self) -> TimeoutError:
        """That it has passed, in words."""
        return TimeoutError(f"not all of it was there within {self._seconds:g} s")

    def _pass(self) -> None:
        with self._lock:
            if not self._met:
                self.passed = True
                with suppress(OSError):  # it may be closed already
                    self._connection.shutdown(socket.SHUT_RDWR)
