"""Who was turned away at a coordinator's end of the line, and why: one line for each and each reason, and not too many.

Knows no message. Of what others send nothing is repeated but their address.
"""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from flwr.supercore.date import now
from flwr.supercore.error import ApiErrorCode, FlowerError
from starlette.types import Message, Scope, Send

from chatfed.types import ClientId

MOST_LINES = 100  # of one process
KNOCKS = "/v1/fleet/activate-node"  # what a member's node calls first
READ = 4 << 10  # bytes of an answer, at most
REFUSES_US = ("UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED")
"""Alerts of TLS with which a member says that this is not who it looks for."""

KEY = FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode()
_SIGNED_AT = TIMESTAMP_HEADER.lower().encode()


class Door:
    """Says who was turned away, once each."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._told, self._lock = say, set[tuple[str, str]](), threading.Lock()
        self.names: Mapping[bytes, ClientId] = {}  # members, by how a request's head has their key

    def admit(self, members: Mapping[bytes, ClientId]) -> None:
        """Exactly these, by key (PEM). Whoever was turned away before is told of anew."""
        self.names = {base64.b64encode(key): name for key, name in members.items()}
        with self._lock:
            self._told = {each for each in self._told if each[0] == ""}

    def refused(self, who: str, why: str) -> None:
        """Tells it, unless it was told, or too much was."""
        with self._lock:
            known, full = (who, why) in self._told, len(self._told) >= MOST_LINES
            if not full:
                self._told.add((who, why))
        if not known and not full:
            self._say(f"Turned away: {who or 'somebody'} {why}")

    def watched(self, scope: Scope, headers: Mapping[bytes, bytes], send: Send) -> Send:
        """What passes an answer on, and tells of one that turns a member's node away."""
        if scope["path"] != KNOCKS:
            return send
        status, body = 0, b""

        async def passed_on(message: Message) -> None:
            nonlocal status, body
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status >= 400:
                body += message.get("body", b"")[: READ - len(body)]
                if not message.get("more_body"):
                    self._judge(scope, headers, status, body)
            await send(message)

        return passed_on

    def _judge(self, scope: Scope, headers: Mapping[bytes, bytes], status: int, body: bytes) -> None:
        address = (scope.get("client") or ("an unknown address",))[0]
        name = self.names.get(headers.get(KEY, b""))
        who = f"{name} ({address})" if name else str(address)
        if _is(body, ApiErrorCode.RUNTIME_VERSION_INCOMPATIBLE):
            self.refused(who, "has another Flower than this coordinator: the same flwr is needed at both.")
        elif not name:
            self.refused(who, "has a key that is no member's: is its line in the federation's file?")
        elif status == 401 and (off := _off(headers)) is not None:
            which = "ahead" if off > 0 else "behind"
            self.refused(who, f"has a clock that is {which} of this one by more than is taken: see to NTP at both.")
        elif status == 401:
            self.refused(who, "has not signed its call as the owner of its key would.")

    def alert(self, error: ssl.SSLError) -> None:
        """Tells of whoever takes this coordinator for another."""
        if any(alert in str(error.reason) for alert in REFUSES_US):
            self.refused(
                "",
                "does not take this coordinator's certificate: a member with an older FEDERATION.toml or another "
                "address, or TLS is ended between here and there.",
            )

    def seen_at_tls(self) -> type[ssl.SSLObject]:
        """What speaks TLS, and tells of whoever takes this coordinator for another; no address is known there."""
        door = self

        class Seen(ssl.SSLObject):
            def do_handshake(self) -> None:
                try:
                    super().do_handshake()
                except ssl.SSLError as error:
                    door.alert(error)
                    raise

            def read(self, *given: Any, **named: Any) -> Any:
                try:
                    return super().read(*given, **named)
                except ssl.SSLError as error:
                    door.alert(error)
                    raise

        return Seen


def _is(body: bytes, code: int) -> bool:
    try:
        return bool(FlowerError.from_json(body.decode()).code == code)
    except Exception:  # an answer of another kind
        return False


def _off(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds that a clock is off by, where they are too many; more than 0: ahead."""
    try:
        age = (now() - datetime.fromisoformat(headers[_SIGNED_AT].decode("ascii"))).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
    return None if -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE else -age
