"""What the API counts, in the form that Prometheus reads: requests, durations, tokens, refusals, places.

No text, no key and no address is among it: a label is a route as the server itself names it, a role, a status or a
reason. Knows no model.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .errors import ApiError
from .limits import Limits

if TYPE_CHECKING:
    from starlette.requests import Request

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120)  # a list of models, up to the longest answer
NO_ROUTE = "none"
_METRICS = "chatfed.metrics"


class Metrics:
    """All counts of one server."""

    def __init__(self, limits: Limits) -> None:
        self._registry = mine = CollectorRegistry()
        self._requests = Counter(
            "chatfed_requests", "Requests that were answered.", ("route", "role", "status"), registry=mine
        )
        self._seconds = Histogram(
            "chatfed_request_seconds", "Until the last byte.", ("route",), buckets=SECONDS, registry=mine
        )
        self._tokens = Counter("chatfed_tokens", "Tokens that were read and written.", ("kind",), registry=mine)
        self._refusals = Counter("chatfed_refusals", "Requests that were refused.", ("reason",), registry=mine)
        self._left = Counter("chatfed_clients_gone", "Requests whose client left before the end.", registry=mine)
        Gauge("chatfed_places_held", "Places that are taken.", registry=mine).set_function(lambda: limits.held)
        Gauge("chatfed_waiting", "Requests that wait for a place.", registry=mine).set_function(lambda: limits.waiting)
        Gauge("chatfed_places", "Places that there are.", registry=mine).set(limits.allowed.places)

    def answered(self, scope: MutableMapping[str, Any], role: str, status: int, seconds: float) -> None:
        """Counts a request. status: of HTTP, 0 where nothing was sent."""
        route = getattr(scope.get("route"), "path", NO_ROUTE)  # as it was declared, never as it was sent
        self._requests.labels(route, role, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, error: ApiError) -> None:
        """Counts a refusal by its reason."""
        self._refusals.labels(error.reason or str(error.status)).inc()

    def left(self) -> None:
        """Counts a client that went before its answer was whole."""
        self._left.inc()

    def tokens(self, prompt: int, completion: int) -> None:
        """Counts tokens."""
        self._tokens.labels("prompt").inc(prompt)
        self._tokens.labels("completion").inc(completion)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


def mark(scope: MutableMapping[str, Any], metrics: Metrics) -> None:
    """Keeps with a request where it is counted."""
    scope[_METRICS] = metrics


def count_tokens(request: Request, prompt: int, completion: int) -> None:
    """Counts what a request read and wrote; a stream counts at its end, or in parts."""
    metrics: Metrics = request.scope[_METRICS]
    metrics.tokens(prompt, completion)


def count_refusal(request: Request, error: ApiError) -> None:
    """Counts a refusal that a route raised: for the application's handler of ApiError."""
    metrics: Metrics = request.scope[_METRICS]
    metrics.refused(error)
