"""A member's calls to its coordinator: over TLS, signed, tried on where they fail, and never answered without bound.

What no waiting mends is an error, and a spell of trouble is told once. Knows no message.
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
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from flwr.proto.message_pb2 import PullObjectRequest, PushObjectRequest
from flwr.supercore import date
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from chatfed.types import ChatfedError

from .flower import AddressError, CertificateRefused, ClockOff, CoordinatorGone, NotRegistered, OtherFlower
from .flower_payload import one_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

TIMEOUT = httpx.Timeout(10.0)  # of a call, in seconds; the coordinator keeps one waiting for two
LONG = httpx.Timeout(60.0, connect=10.0)  # with a piece of an array: 5 MiB at 1 Mbit/s take 42
WAITS = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between tries; the last one from then on
MOST_BYTES = 8 << 20  # of what a call is answered with: a piece of an array is 5 MiB at most
_TWICE = "another process answers with this member's key: end one of them"


class Stopped(Exception):
    """Whoever called is told to end."""


class Unknown(Exception):
    """The coordinator does not know this node any more: it has begun anew, or the member's key was taken out."""


class TooLate(Exception):
    """Tried for as long as anybody waits for it."""


def client_of(address: str, authority: Path, key: EllipticCurvePrivateKey) -> FleetHttpClient:
    """Flower's, that takes no one else for the coordinator and goes nowhere else. Raises AddressError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16 or "/" in host:
        raise AddressError(f"The coordinator's address is {address!r}: give it as HOST:PORT.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(authority)
    except OSError as error:  # ssl.SSLError is one
        raise AddressError(f"{authority} cannot be read as an authority's certificate in PEM: {error}") from error
    last = _Bounded()
    layers = [_Head(), NodeAuthHttpInterceptor(key, key.public_key()), last]
    client = FleetHttpClient(f"https://{address}", interceptors=layers, verify=context, timeout=TIMEOUT)
    last.http = client._client
    last.http.follow_redirects = False  # a member calls its coordinator and nobody else
    return client


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


class _Bounded:
    """The call itself, in the place of Flower's, which reads however much comes, and unpacks it."""

    http: httpx.Client

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Raises ValueError where more comes than MOST_BYTES."""
        context.request.headers["accept-encoding"] = "identity"
        response = self.http.send(context.request, stream=True)
        content = bytearray()
        with contextlib.closing(response):
            for piece in response.iter_raw(1 << 16):
                content += piece
                if len(content) > MOST_BYTES:
                    raise ValueError
        date = {name: response.headers[name] for name in ("date",) if name in response.headers}
        return httpx.Response(response.status_code, headers=date, content=bytes(content), request=context.request)


@dataclass
class Trouble:
    """A spell of it is told when it begins and when it is over, once each."""

    address: str
    say: Callable[[str], None]
    give_up: float = math.inf  # seconds of one spell
    tries: int = 0
    since: float = 0.0  # Unix time

    def failed(self, what: str) -> float:
        """Another try has -> seconds to wait. One alone is none: a connection that was left open may be closed.

        Raises CoordinatorGone where the spell is longer than `give_up`.
        """
        self.since = self.since or time.time()
        self.tries += 1
        if time.time() - self.since > self.give_up:
            hours = f"{self.give_up / 3600:g} h"
            raise CoordinatorGone(f"The coordinator at {self.address} has not answered for {hours} ({what}).")
        if self.tries == 2:
            when = datetime.fromtimestamp(self.since, UTC).strftime("%H:%M:%S UTC")
            self.say(
                f"The coordinator at {self.address} has not answered since {when} ({what}). Trying on until it does; "
                "if it should be there, see whether this machine reaches that address and port."
            )
        return WAITS[min(self.tries, len(WAITS)) - 1]

    def passed_over(self, fault: ChatfedError) -> None:
        """Of one message, and no trouble of the line."""
        self.say(f"What the coordinator at {self.address} asked is passed over: {fault}")

    def too_late(self) -> None:
        """Of an answer, and no trouble of the line."""
        self.say(
            f"This answer came too late: the coordinator at {self.address} waits for it no longer. What it cost this "
            "member stays charged; ask for a longer --patience there."
        )

    def over(self) -> None:
        """A call has succeeded."""
        if self.tries > 1:
            self.say(f"The coordinator at {self.address} answers again.")
        self.tries, self.since = 0, 0.0


@dataclass
class Line:
    """Calls that are tried until they succeed."""

    client: FleetHttpClient
    trouble: Trouble
    stop: threading.Event
    until: float = field(default=math.inf)  # monotonic time: no try after that

    def call(self, method: str, request: Any, read: Callable[[Any], Any] = lambda found: found) -> Any:
        """What `read` makes of what Flower's client gives; it may raise ValueError.

        Raises Stopped, TooLate, Unknown, CertificateRefused or OtherFlower.
        """
        while True:
            try:
                found = read(getattr(self.client, method)(request))
            except httpx.HTTPStatusError as error:
                _judge(self.trouble.address, error.response)
                what = (
                    _TWICE
                    if error.response.status_code == httpx.codes.CONFLICT
                    else f"HTTP {error.response.status_code}"
                )
            except httpx.RequestError as error:
                _check_certificate(self.trouble.address, error)
                what = str(error) or type(error).__name__
            except ValueError:
                what = "its answers are not Flower's"
            else:
                self.trouble.over()
                return found
            if time.monotonic() > self.until:
                raise TooLate
            if self.stop.wait(self.trouble.failed(what)):
                raise Stopped

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Tries for so long only; what then has not succeeded is given up."""
        before, self.until = self.until, min(self.until, time.monotonic() + seconds)
        try:
            with contextlib.suppress(TooLate):
                yield
        finally:
            self.until = before


def _judge(address: str, response: httpx.Response) -> None:
    """Returns where trying again may help."""
    fault = _fault(response)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        _check_clock(address, response)
        raise Unknown
    if fault is not None and fault.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
        raise NotRegistered(
            f"The coordinator at {address} does not know this member's transport key, or not any more: send it this "
            "member's line of the roster, and join again once it is in."
        )
    if fault is not None and fault.code == ApiErrorCode.RUNTIME_VERSION_INCOMPATIBLE:
        raise OtherFlower(
            f"The coordinator at {address} does not take this member's Flower: {one_line(str(fault.public_details))}"
        )


def _fault(response: httpx.Response) -> FlowerError | None:
    try:
        return FlowerError.from_json(response.text)
    except Exception:  # whatever its reader meets in text that another machine made up
        return None


def _check_clock(address: str, response: httpx.Response) -> None:
    """Raises ClockOff where the time in the answer's head says so."""
    try:
        ahead = (date.now() - parsedate_to_datetime(response.headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError, OverflowError):
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
