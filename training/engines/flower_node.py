"""A member's end of the line: one lasting process that asks its coordinator for messages and answers them.

It opens connections and accepts none, and tries on where they fail. What comes is bytes for `answer`; nothing of it is
ever run, and no app is fetched. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import contextlib
import math
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore import date
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.inflatable.inflatable_object import no_object_id_recompute
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from chatfed.types import ChatfedError

from .flower import AddressError, CertificateRefused, ClockOff, NoMessage, NotRegistered, OtherFlower, prepare_flower
from .flower_payload import Refusal, names_in, objects_of, packed, unpacked

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

HEARTBEAT = 10.0  # seconds, the least that Flower takes; who is not heard of for two of them counts as gone
BEAT = 6.0  # seconds between two
PULL = 0.2  # seconds between a look for a message that found none and the next
TIMEOUT = httpx.Timeout(10.0)  # of a call, in seconds; the coordinator keeps one waiting for two
LONG = httpx.Timeout(60.0, connect=10.0)  # with a piece of an array: 5 MiB at 1 Mbit/s take 42
WAITS = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between tries; the last one from then on
UPLOADS = 3  # times that an answer is offered: what is stored already is not asked for again
PARTING = 5.0  # seconds for the last word of a process that ends


class _Stopped(Exception):
    """Whoever called is told to end."""


class _Unknown(Exception):
    """The coordinator does not know this node any more: it has begun anew, or the member's key was taken out."""


class _TooLate(Exception):
    """Tried for as long as anybody waits for it."""


def serve(
    address: str,
    authority: Path,
    key: EllipticCurvePrivateKey,
    answer: Callable[[bytes], bytes],
    say: Callable[[str], None],
    stop: threading.Event,
    patience: float,
) -> None:
    """Answers the coordinator at `address` (HOST:PORT) until `stop`, whatever happens to the network between.

    authority: PEM file of who signs the coordinator's certificate. key: of P-384, this member's. answer: may raise a
    ChatfedError, whose line is told as a refusal; anything else is raised here. say: takes sentences for a person.
    patience: seconds that an answer is tried to be sent.

    Raises NotRegistered, CertificateRefused, ClockOff, OtherFlower, AddressError: what no waiting mends.
    """
    prepare_flower()
    trouble = _Trouble(address, say)
    with _client(address, authority, key) as client, contextlib.suppress(_Stopped):
        line = _Line(client, trouble, stop)
        while True:
            node = _activate(line, address, key)
            try:
                with _heartbeats(client, node), contextlib.suppress(_Unknown):
                    _attend(line, node, answer, patience)
            finally:
                if not trouble.tries:
                    _part(client, node)


def _client(address: str, authority: Path, key: EllipticCurvePrivateKey) -> FleetHttpClient:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16 or "/" in host:
        raise AddressError(f"The coordinator's address is {address!r}: give it as HOST:PORT.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(authority)
    except OSError as error:  # ssl.SSLError is one
        raise AddressError(f"{authority} cannot be read as an authority's certificate in PEM: {error}") from error
    layers = [_Head(), NodeAuthHttpInterceptor(key, key.public_key())]
    return FleetHttpClient(f"https://{address}", interceptors=layers, verify=context, timeout=TIMEOUT)


class _Head:
    """What each request says of its sender: which Flower this is. Flower's own layer ends the process on a refusal."""

    def __init__(self) -> None:
        self._headers = dict(RuntimeVersionMetadata.from_local_component("SuperNode").as_metadata())

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        add_headers(context.request, self._headers)
        if isinstance(context.message, PullObjectRequest | PushObjectRequest):
            context.request.extensions["timeout"] = LONG.as_dict()
        response: httpx.Response = call_next(context)
        return response


@dataclass
class _Trouble:
    """A spell of it is told when it begins and when it is over, once each."""

    address: str
    say: Callable[[str], None]
    tries: int = 0
    since: float = 0.0  # Unix time

    def failed(self, what: str) -> float:
        """Another try has -> seconds to wait. One alone is none: a connection that was left open may be closed."""
        self.since = self.since or time.time()
        self.tries += 1
        if self.tries == 2:
            when = datetime.fromtimestamp(self.since, UTC).strftime("%H:%M:%S UTC")
            self.say(
                f"The coordinator at {self.address} has not answered since {when} ({what}). Trying on until it does; "
                "if it should be there, see whether this machine reaches that address and port."
            )
        return WAITS[min(self.tries, len(WAITS)) - 1]

    def over(self) -> None:
        if self.tries > 1:
            self.say(f"The coordinator at {self.address} answers again.")
        self.tries, self.since = 0, 0.0


@dataclass
class _Line:
    """Calls that are tried until they succeed."""

    client: FleetHttpClient
    trouble: _Trouble
    stop: threading.Event
    until: float = field(default=math.inf)  # monotonic time: no try after that

    def call(self, method: str, request: Any) -> Any:
        """What Flower's client gives. Raises _Stopped, _TooLate, _Unknown, CertificateRefused or OtherFlower."""
        while True:
            try:
                found = getattr(self.client, method)(request)
            except httpx.HTTPStatusError as error:
                _judge(self.trouble.address, error.response)
                what = f"HTTP status {error.response.status_code}"
            except httpx.RequestError as error:
                _check_certificate(self.trouble.address, error)
                what = str(error) or type(error).__name__
            except ValueError:
                what = "its answers are not Flower's"
            else:
                self.trouble.over()
                return found
            if time.monotonic() > self.until:
                raise _TooLate
            if self.stop.wait(self.trouble.failed(what)):
                raise _Stopped

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Tries for so long only; what then has not succeeded is given up."""
        before, self.until = self.until, min(self.until, time.monotonic() + seconds)
        try:
            with contextlib.suppress(_TooLate):
                yield
        finally:
            self.until = before


def _judge(address: str, response: httpx.Response) -> None:
    """Returns where trying again may help."""
    fault = FlowerError.from_json(response.text)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        _check_clock(address, response)
        raise _Unknown
    if fault is not None and fault.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
        raise NotRegistered(
            f"The coordinator at {address} does not know this member's transport key, or not any more: send it this "
            "member's line of the roster, and join again once it is in."
        )
    if fault is not None and fault.code == ApiErrorCode.RUNTIME_VERSION_INCOMPATIBLE:
        raise OtherFlower(f"The coordinator at {address} does not take this member's Flower: {fault.public_details}")


def _check_clock(address: str, response: httpx.Response) -> None:
    """Raises ClockOff where the time in the answer's head says so."""
    try:
        ahead = (date.now() - parsedate_to_datetime(response.headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return
    behind = TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE
    if not -behind + 2 < ahead < SYSTEM_TIME_TOLERANCE - 1:  # the head tells whole seconds, of a moment later
        raise ClockOff(
            f"This machine's clock is {abs(ahead):,.0f} seconds {'ahead of' if ahead > 0 else 'behind'} that of the "
            f"coordinator at {address}, which takes {SYSTEM_TIME_TOLERANCE} ahead and {behind} behind: set the clock "
            "that is wrong (timedatectl set-ntp true), then join again."
        )


def _check_certificate(address: str, error: BaseException) -> None:
    """Raises CertificateRefused where TLS did not find who it should."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise CertificateRefused(
                f"What answers at {address} does not prove to be the coordinator ({cause.verify_message}): ask the "
                "coordinator for its address and its authority's certificate, and send it nothing before they fit."
            ) from error
        cause = cause.__cause__ or cause.__context__


def _activate(line: _Line, address: str, key: EllipticCurvePrivateKey) -> Node:
    request = ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=HEARTBEAT)
    while True:
        try:
            return Node(node_id=line.call("ActivateNode", request).node_id)
        except _Unknown:  # with its own key and a clock that seems right: the two clocks lie at the edge
            if line.stop.wait(line.trouble.failed("it does not take this member's signature")):
                raise _Stopped from None


@contextlib.contextmanager
def _heartbeats(client: FleetHttpClient, node: Node) -> Iterator[None]:
    """Says that this process lives, also while it learns. Whether anybody hears it, other calls find out."""
    done = threading.Event()

    def beat() -> None:
        pause = BEAT
        while not done.wait(pause):
            try:
                client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=node, heartbeat_interval=HEARTBEAT))
                pause = BEAT
            except (httpx.HTTPError, ValueError):
                pause = 1.0

    thread = threading.Thread(target=beat, name="flower-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(2 * PARTING)


def _part(client: FleetHttpClient, node: Node) -> None:
    """So that nobody waits for this node. Best effort."""
    with contextlib.suppress(httpx.HTTPError, ValueError):
        client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))


def _attend(line: _Line, node: Node, answer: Callable[[bytes], bytes], patience: float) -> None:
    """Answers message after message; one that is in hand when it is told to end, still."""
    while not line.stop.is_set():
        found = line.call("PullMessages", PullMessagesRequest(node=node))
        for head, tree in zip(found.messages_list, found.message_object_trees, strict=True):
            asked = message_from_proto(head)
            try:
                content = _fetch(line, node, asked, tree, patience)
                if content is None:
                    continue
                reply: bytes | Refusal = answer(content)
            except ChatfedError as refusal:
                reply = Refusal(str(refusal))
            except Exception:
                with contextlib.suppress(_Stopped, _Unknown, ChatfedError):
                    _send(line, node, asked, Refusal("this member met an error of its own, and ends"), PARTING)
                raise
            _send(line, node, asked, reply, patience)
        if not found.messages_list:
            line.stop.wait(PULL)
    raise _Stopped


def _fetch(line: _Line, node: Node, asked: Message, tree: ObjectTree, patience: float) -> bytes | None:
    """The bytes of a message; None where it was withdrawn. Raises NoMessage."""
    run, root, objects = asked.metadata.run_id, tree.object_id, dict[str, bytes]()
    with line.within(patience):
        for name in names_in(tree):
            found = line.call("PullObject", PullObjectRequest(node=node, run_id=run, object_id=name))
            if not found.object_available:
                return None
            objects[name] = found.object_content
        line.call(
            "ConfirmMessageReceived", ConfirmMessageReceivedRequest(node=node, run_id=run, message_object_id=root)
        )
        content = unpacked(root, objects)
        if isinstance(content, Refusal):
            raise NoMessage
        return content
    return None


def _send(line: _Line, node: Node, asked: Message, content: bytes | Refusal, patience: float) -> None:
    """Uploads what the coordinator asks for; nothing, where nobody waits for it any more."""
    reply = Message(packed(content), reply_to=asked)
    with no_object_id_recompute():
        tree, objects = objects_of(reply)
    head = message_to_proto(remove_content_from_message(reply))
    request = PushMessagesRequest(node=node, messages_list=[head], message_object_trees=[tree])
    with line.within(patience):
        for _ in range(UPLOADS):
            wanted = line.call("PushMessages", request)
            pieces = (_piece(node, asked, name, objects, wanted.session_id) for name in wanted.objects_to_push)
            if all(line.call("PushObject", piece).stored for piece in pieces):
                return  # all there, or nothing was asked for


def _piece(node: Node, asked: Message, name: str, objects: dict[str, Any], session: str) -> PushObjectRequest:
    content = objects[name].deflate()
    run = asked.metadata.run_id
    return PushObjectRequest(node=node, run_id=run, object_id=name, object_content=content, session_id=session)
