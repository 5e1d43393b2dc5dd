"""What a coordinator's end of the line lets through: calls as a member's node makes them, and large ones only signed.

What is too large or not signed is refused before any of it is read; of a member's large calls few are at work at once.
Knows no message.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import HTTPException
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chatfed.types import ClientId

from .flower_door import Door
from .flower_state import Box

FEW_BYTES = 4 << 10  # of a call that says little: Flower looks at its signature when it has read all of it
LARGE = {
    "/v1/fleet/pull-object": FEW_BYTES,  # what it is answered with is large
    "/v1/fleet/push-messages": 64 << 10,  # names of objects
    "/v1/fleet/push-object": 8 << 20,  # a piece of an array is 5 MiB at most
}
PATHS = LARGE | {
    f"/v1/fleet/{name}": FEW_BYTES
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "confirm-message-received",
    )
}  # what a member's node calls, and the most bytes of it; others, registering a key among them, are not there
AT_ONCE = 4  # large calls of one member: a node makes one, and another may hang in a connection that was cut
HOLD = 2.0  # seconds that a node's call for a message is kept waiting for one
_KEY, _SIGNATURE, _SIGNED_AT = (
    name.lower().encode() for name in (FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER, TIMESTAMP_HEADER)
)


class Gate:
    """Lets through what a member's node calls, spelled as it spells it; closed until members are known."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door
        self.known: Mapping[bytes, Any] | None = None  # public keys, by how a request's head has them
        self.at_work = Counter[bytes]()  # large calls, by key

    def admit(self, keys: Mapping[bytes, ClientId]) -> None:
        """Exactly these (PEM) are members' from now on."""
        self.door.admit(keys)
        self.known = {base64.b64encode(key): bytes_to_public_key(key) for key in keys}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        headers = dict(reversed(scope["headers"]))  # of two with one name the first, as Flower takes it
        refused = self._refused(scope, headers)
        if refused is not None:
            await PlainTextResponse("", refused, {"connection": "close"})(scope, receive, send)
        elif scope["path"] in LARGE:
            await self._counted(headers[_KEY], scope, receive, send)
        else:
            await self.app(scope, receive, self.door.watched(scope, headers, send))

    async def _counted(self, key: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        self.at_work[key] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.at_work[key] -= 1
            self.at_work += Counter()  # forgets who has none

    def _refused(self, scope: Scope, headers: dict[bytes, bytes]) -> int | None:
        path = scope["path"]
        if path not in PATHS or scope["raw_path"] != path.encode() or scope["query_string"]:
            return 404
        if scope["method"] != "POST":
            return 405
        if self.known is None:
            return 503
        size = headers.get(b"content-length", b"")
        if not size.isdigit() or b"transfer-encoding" in headers:
            return 411
        if int(size) > PATHS[path]:
            return 413
        if path not in LARGE:
            return None
        if not self._signed(headers):
            return 401
        return 429 if self.at_work[headers[_KEY]] >= AT_ONCE else None

    def _signed(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a member signed this head, as Flower asks for it, and lately."""
        try:
            key, signed_at = (self.known or {})[headers[_KEY]], headers[_SIGNED_AT]
            signature = base64.b64decode(headers[_SIGNATURE], validate=True)
            age = (now() - datetime.fromisoformat(signed_at.decode("ascii"))).total_seconds()
        except (KeyError, ValueError, TypeError):
            return False
        in_time = -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE
        return in_time and bool(verify_signature(key, signed_at, signature))


class Bell:
    """Has a node that asks for a message wait for one a while: it is there at once, and few ask in vain.

    And has a node speak for itself only. Both stand behind Flower's look at who calls.
    """

    def __init__(self, state: Box) -> None:
        self.state = state
        self.newest: dict[int, object] = {}  # call of each node
        self.loop: asyncio.AbstractEventLoop | None = None
        self.bell = asyncio.Event()

    async def __call__(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Before a call is answered."""
        asked = getattr(request.state, "protobuf_request", None)
        if isinstance(asked, PullMessagesRequest):
            await self._hold(asked.node.node_id)
        if isinstance(asked, PushMessagesRequest) and not _of_its_own(asked):
            raise HTTPException(403)
        return await call_next(request)

    async def _hold(self, node: int) -> None:
        self.loop, call = asyncio.get_running_loop(), object()
        self.newest[node] = call
        until = self.loop.time() + HOLD
        while not self.state.has_for(node) and (left := until - self.loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.bell.wait(), left)
        if self.newest.get(node) is not call:  # a node makes one at a time: it has given this one up, or is there twice
            raise HTTPException(409)
        del self.newest[node]

    def ring(self) -> None:
        """Something was laid out. From any thread."""
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the service has ended
                self.loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        self.bell.set()
        self.bell = asyncio.Event()


def _of_its_own(asked: PushMessagesRequest) -> bool:
    """Whether a node offers one answer, in its own name."""
    if len(asked.messages_list) != 1 or len(asked.message_object_trees) != 1:
        return False
    head = asked.messages_list[0].metadata
    return bool(head.src_node_id == asked.node.node_id and head.reply_to_message_id)
