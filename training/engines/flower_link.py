"""A coordinator's end of the line: Flower's Fleet service in this process, behind TLS, and the messages that lie in it.

Of Flower's server only what members call is there, behind a gate; no Control, no Runtime, no subprocess. Members are
known by the keys that the federation's roster names. Everything is in memory, and gone once it was heard or withdrawn.
Knows no step of a round.
"""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import Depends, FastAPI
from flwr.supercore.constant import NodeStatus
from flwr.supercore.dependencies.version import VersionDependency
from flwr.supercore.error import http_error_translator
from flwr.supercore.inflatable.inflatable_object import no_object_id_recompute
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, public_key_to_bytes
from flwr.supercore.protobuf.translation import ProtobufTranslationMiddleware
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware
from flwr.superlink.routers.fleet.router import router as fleet_router
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from chatfed.types import ClientId, InvalidValue

from .flower import LinkError, prepare_flower
from .flower_door import Door
from .flower_gate import Bell, Gate
from .flower_payload import Refusal, packed, unpacked
from .flower_state import Box

MOST_CONNECTIONS = 4096
STARTS_WITHIN = 30.0  # seconds
ENDS_WITHIN = 5.0
_POINT = bytes.fromhex("3046301006072a8648ce3d020106052b81040022033200")  # DER before a compressed P-384 point


class Link:
    """Listens for the members of one federation, and holds the messages on their way."""

    def __init__(
        self,
        host: str,
        port: int,
        certificate: Path,
        key: Path,
        most: int,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Where to listen (port 0: one that is free), and the PEM files that prove who listens.

        most: bytes of one answer. say: takes a line for a person about each who is turned away, from another thread.
        """
        prepare_flower()
        self.host, self.port = host, port
        self._certificate, self._key = certificate, key
        self._state = Box(most)
        self._bell = Bell(self._state)
        self._door = Door(say)
        self._gate = Gate(_fleet(self._state, self._bell), self._door)
        self._nodes: dict[ClientId, int] = {}

    def __enter__(self) -> Self:
        """Listens. Raises LinkError."""
        context, listener = _tls(self._certificate, self._key, self._door), _listener(self.host, self.port)
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
        self._gate.admit(owners)

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

        Raises Gone where no answer will come, NoMessage where what came is none, TooMuch where it is too large.
        """
        found = self._state.reply(name)
        if found is None:
            return None
        self._state.forget(name)
        return unpacked(*found, self._state.most)

    def withdraw(self) -> None:
        """Forgets every message and answer: who has one in hand is not heard with it."""
        self._state.forget_all()


def _fleet(state: Box, bell: Bell) -> FastAPI:
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


def _tls(certificate: Path, key: Path, door: Door) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = door.seen_at_tls()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise LinkError(f"{certificate} and {key} cannot be used as a certificate and its key: {error}") from error
    return context


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=512, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        raise LinkError(f"Cannot listen at {host}:{port}: {error}. Give another host or port.") from error
