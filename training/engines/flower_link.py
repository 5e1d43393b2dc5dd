"""A coordinator's end of the line: Flower's Fleet service in this process, behind TLS, and the messages that lie in it.

Of Flower's server only what members call is there, and of that only the paths below; no Control, no Runtime, no
subprocess. Members are known by the keys that the federation's roster names. Everything is in memory, and gone once it
was heard or withdrawn. Knows no step of a round.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, NodeStatus
from flwr.supercore.dependencies.version import VersionDependency
from flwr.supercore.error import http_error_translator
from flwr.supercore.inflatable.inflatable_object import no_object_id_recompute
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, public_key_to_bytes
from flwr.supercore.protobuf.translation import ProtobufTranslationMiddleware
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware
from flwr.superlink.routers.fleet.router import router as fleet_router
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chatfed.types import ClientId, InvalidValue

from .flower import LinkError, prepare_flower
from .flower_payload import Refusal, packed, unpacked
from .flower_state import Box

PATHS = frozenset(
    f"/v1/fleet/{name}"
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "pull-object",
        "confirm-message-received",
        "push-messages",
        "push-object",
    )
)  # what a member's node calls; others, registering a key among them, are not there
MOST_BYTES = 8 << 20  # of a request: a piece of an array is 5 MiB at most
FEW_BYTES = 4096  # of one from whom nobody knows
MOST_CONNECTIONS = 4096
STARTS_WITHIN = 30.0  # seconds
ENDS_WITHIN = 5.0
HOLD = 2.0  # seconds that a node's call for a message is kept waiting for one
_KEY = FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode()
_POINT = bytes.fromhex("3046301006072a8648ce3d020106052b81040022033200")  # DER before a compressed P-384 point


class Link:
    """Listens for the members of one federation, and holds the messages on their way."""

    def __init__(self, host: str, port: int, certificate: Path, key: Path) -> None:
        """Where to listen (port 0: one that is free), and the PEM files that prove who listens."""
        prepare_flower()
        self.host, self.port = host, port
        self._certificate, self._key = certificate, key
        self._state = Box()
        self._bell = _Bell(self._state)
        self._gate = _Gate(_fleet(self._state, self._bell))
        self._nodes: dict[ClientId, int] = {}

    def __enter__(self) -> Self:
        """Listens. Raises LinkError."""
        context, listener = _tls(self._certificate, self._key), _listener(self.host, self.port)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._gate,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
            ssl_context_factory=lambda config, default: context,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="flower-link", daemon=True)
        self._thread.start()
        until = time.monotonic() + STARTS_WITHIN
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                self.__exit__(None, None, None)
                raise LinkError(f"Nothing can be served at {self.host}:{self.port}: try another host or port.")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(ENDS_WITHIN)
        self._server.force_exit = True
        self._thread.join(ENDS_WITHIN)

    def admit(self, members: Mapping[ClientId, bytes]) -> None:
        """Has exactly these members, by their transport keys (bytes[49]: compressed points of P-384), from now on.

        Who is no longer among them, or has another key, is cut off. Raises InvalidValue, and nothing has changed.
        """
        keys = {member: _public_key(member, point) for member, point in members.items()}
        owners = {key: member for member, key in keys.items()}
        for member, key in keys.items():
            if owners[key] != member:
                raise InvalidValue(f"{member} and {owners[key]} have the same transport key: each needs its own.")
        nodes = self._state.register(set(owners))
        self._nodes = {member: nodes[key] for member, key in keys.items()}
        self._gate.known = frozenset(map(base64.b64encode, owners))

    def online(self) -> frozenset[ClientId]:
        """Members that are connected, as far as their heartbeats tell."""
        online = {node.node_id for node in self._state.get_node_info(statuses=[NodeStatus.ONLINE])}
        return frozenset(member for member, node in self._nodes.items() if node in online)

    def push(self, messages: Mapping[ClientId, bytes], ttl: float) -> dict[ClientId, str]:
        """Lays them out for `ttl` seconds -> a name for each whose member has been there."""
        contents = {id(message): packed(message) for message in messages.values()}  # what goes to all is one copy
        with no_object_id_recompute(), self._state.lock:  # all at once, or the first has its objects removed too soon
            names = {
                member: self._state.lay_out(self._nodes[member], contents[id(message)], ttl)
                for member, message in messages.items()
                if member in self._nodes
            }
        self._bell.ring()
        return {member: name for member, name in names.items() if name}

    def answer(self, name: str) -> bytes | Refusal | None:
        """What the message of that name is answered with, once it is all there; then both are forgotten.

        Raises Gone where no answer will come, NoMessage where what came is none.
        """
        found = self._state.reply(name)
        if found is None:
            return None
        self._state.forget(name)
        return unpacked(*found)

    def withdraw(self) -> None:
        """Forgets every message and answer: who has one in hand is not heard with it."""
        self._state.forget_all()


class _Gate:
    """Lets through what a member's node calls, spelled as it spells it; closed until members are known."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.known: frozenset[bytes] | None = None  # keys, as a request's head has them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope)
        if refused is None:
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse("", refused, {"connection": "close"})(scope, receive, send)

    def _refused(self, scope: Scope) -> int | None:
        path, headers = scope["path"], dict(scope["headers"])
        if path not in PATHS or scope["raw_path"] != path.encode() or scope["query_string"]:
            return 404
        if scope["method"] != "POST":
            return 405
        if self.known is None:
            return 503
        size = headers.get(b"content-length", b"")
        if not size.isdigit():
            return 411
        if headers.get(_KEY) not in self.known and int(size) > FEW_BYTES:  # Flower looks at it when it has read all
            return 401
        return 413 if int(size) > MOST_BYTES else None


class _Bell:
    """Has a node that asks for a message wait for one a while: it is there at once, and few ask in vain."""

    def __init__(self, state: Box) -> None:
        self.state = state
        self.newest: dict[int, object] = {}  # call of each node
        self.loop: asyncio.AbstractEventLoop | None = None
        self.bell = asyncio.Event()

    async def __call__(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        asked = getattr(request.state, "protobuf_request", None)
        if isinstance(asked, PullMessagesRequest):
            await self._hold(asked.node.node_id)
        return await call_next(request)

    async def _hold(self, node: int) -> None:
        self.loop, call = asyncio.get_running_loop(), object()
        self.newest[node] = call
        until = self.loop.time() + HOLD
        while not self.state.has_for(node) and (left := until - self.loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.bell.wait(), left)
        if self.newest.get(node) is not call:  # a node makes one at a time: it has given this one up
            raise HTTPException(503)
        del self.newest[node]

    def ring(self) -> None:
        """Something was laid out. From any thread."""
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the service has ended
                self.loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        self.bell.set()
        self.bell = asyncio.Event()


def _fleet(state: Box, bell: _Bell) -> FastAPI:
    """Flower's Fleet service and nothing else of its server, in the order of layers that its server has."""
    layers = [
        Middleware(BaseHTTPMiddleware, dispatch=http_error_translator),
        Middleware(ProtobufTranslationMiddleware),
        Middleware(NodeAuthMiddleware),
        Middleware(BaseHTTPMiddleware, dispatch=bell),
    ]
    same = VersionDependency(component_name="SuperLink", connection_name="member and coordinator")
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, middleware=layers)
    app.state.linkstate_factory = state
    app.state.enable_supernode_auth = True
    app.include_router(fleet_router, dependencies=[Depends(same)])
    return app


def _public_key(member: ClientId, point: bytes) -> bytes:
    """A compressed point of P-384 (bytes[49]) as Flower has it: PEM, not compressed. Raises InvalidValue."""
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(_POINT + point) + b"-----END PUBLIC KEY-----\n"
    try:
        return bytes(public_key_to_bytes(bytes_to_public_key(pem)))
    except ValueError as error:
        raise InvalidValue(f"The transport key of {member} is no point of P-384: ask for its line anew.") from error


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise LinkError(f"{certificate} and {key} cannot be used as a certificate and its key: {error}") from error
    return context


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise LinkError(f"Cannot listen at {host}:{port}: {error}. Give another host or port.") from error
