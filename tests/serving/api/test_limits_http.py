"""What the entrance does on a real socket: sizes, slow clients, clients that leave, answers that take too long."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from serving.api.entrance import Entrance
from serving.api.errors import ApiError, response
from serving.api.keys import Keys, role_of
from serving.api.limits import Allowed, Limits
from serving.api.metrics import Metrics, count_refusal
from serving.api.working import in_thread
from tests.serving.api.hosting import asking, connected, patient, read_to_end, until
from tests.serving.api.running import OPERATOR_KEY, Running

SHORT = Allowed(
    requests_a_minute=1000, body_bytes=1000, operator_body_bytes=2000, body_seconds=0.3, seconds=0.4, places=1,
    waiting=1, wait_seconds=0.2,
)  # fmt: skip
OPEN = b'data: {"n": 0}\n\n'


@dataclass
class Server:
    """A server of routes that do what they are told, and what became of them."""

    running: Running
    limits: Limits
    metrics: Metrics
    ended: list[str] = field(default_factory=list)
    held_at_the_end: int | None = None  # places, when the thread was over


@pytest.fixture
def server() -> Iterator[Server]:
    with served(SHORT) as made:
        yield made


@pytest.fixture
def long_server() -> Iterator[Server]:
    """One that lets an answer take as long as it likes."""
    with served(replace(SHORT, seconds=60.0)) as made:
        yield made


@contextmanager
def served(allowed: Allowed) -> Iterator[Server]:
    limits = Limits(allowed)
    made = Server(Running(0), limits, Metrics(limits))
    entrance = Entrance(routes(made), Keys(operators=[OPERATOR_KEY]), limits, made.metrics)
    with patient(entrance, header_seconds=0.4, taking_seconds=0.4) as running:
        made.running = running
        yield made


def routes(server: Server) -> FastAPI:
    app, limits = FastAPI(), server.limits

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        count_refusal(request, error)
        return response(error)

    @app.post("/echo")
    async def echo(request: Request) -> JSONResponse:
        return JSONResponse({"role": role_of(request), "bytes": len(await request.body())})

    @app.post("/wait")
    async def wait(request: Request) -> JSONResponse:
        await limits.enter(request)
        try:
            await asyncio.sleep(60)
        finally:
            server.ended.append("wait")
        return JSONResponse({})

    @app.post("/stream", dependencies=[Depends(role_of)])
    async def stream(request: Request, size: int = 0) -> StreamingResponse:
        await limits.enter(request)
        return StreamingResponse(pieces(size), media_type="text/event-stream")

    @app.post("/named", dependencies=[Depends(role_of)])
    async def named(request: Request) -> StreamingResponse:
        await limits.enter(request)
        return StreamingResponse(pieces(0, b"event: a\n"), media_type="text/event-stream")

    async def pieces(size: int, name: bytes = b"") -> AsyncIterator[bytes]:
        try:
            for _ in range(10_000):
                yield name + OPEN + b"x" * size
                await asyncio.sleep(0 if size else 0.01)
        finally:
            server.ended.append("stream")

    @app.post("/thread")
    async def thread(request: Request) -> JSONResponse:
        await limits.enter(request)
        await in_thread(until_it_is_stopped)
        return JSONResponse({})

    def until_it_is_stopped(stop: threading.Event) -> None:
        stop.wait(60)
        server.held_at_the_end = limits.held
        server.ended.append("thread")

    return app


def test_a_body_is_read_as_far_as_its_role_may_send(server: Server) -> None:
    for size, key, status in (
        (1000, None, 200),
        (1001, None, 413),
        (1500, OPERATOR_KEY, 200),
        (2001, OPERATOR_KEY, 413),
    ):
        answer = server.running.ask("/echo", b'"' + b"x" * (size - 2) + b'"', key)
        assert answer[0] == status, answer
    assert answer[1]["connection"] == "close"


def test_who_sends_far_too_much_is_told_so_and_none_of_it_is_kept(server: Server) -> None:
    status, _, text = server.running.ask("/echo", b"x" * (8 << 20), None)
    assert status == 413 and json.loads(text)["error"]["code"] == "request_too_large"
    assert server.running.ask("/echo", b"{}", None)[0] == 200


def test_a_body_without_a_length_is_counted_as_it_comes(server: Server) -> None:
    with connected(server.running.port) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       b"Transfer-Encoding: chunked\r\n\r\n" + b"200\r\n" + b"x" * 512 + b"\r\n" + b"200\r\n"
                       + b"x" * 512 + b"\r\n0\r\n\r\n")  # fmt: skip
        assert b" 413 " in read_to_end(client).partition(b"\r\n")[0]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_page_elsewhere_may_send_unasked_is_not_read(server: Server, kind: str) -> None:
    status, _, text = server.running.ask("/echo", b"{}", None, content_type=kind)
    assert status == 415 and json.loads(text)["error"]["code"] == "unsupported_media_type"


def test_a_body_that_trickles_in_is_not_waited_for(server: Server) -> None:
    with connected(server.running.port) as client:
        client.sendall(asking("/echo", b"{", length=500))
        said = read_to_end(client)
    assert b" 408 " in said.partition(b"\r\n")[0] and b"slow_request" in said and server.limits.held == 0


def test_headers_that_never_end_are_not_waited_for(server: Server) -> None:
    begun = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
    for before, sent in ((b"", b""), (b"", begun), (asking("/echo", b"{}"), begun)):
        with connected(server.running.port) as client:
            client.sendall(before)
            if before:
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
            client.sendall(sent)
            began = time.monotonic()
            read_to_end(client)  # or the test ends with a timeout
            assert time.monotonic() - began >= 0.2, "a client was given no time"


def test_a_client_that_leaves_ends_what_it_asked_for_and_frees_its_place(long_server: Server) -> None:
    for path in ("/wait", "/stream", "/thread"):
        client = connected(long_server.running.port)
        client.sendall(asking(path))
        until(lambda: long_server.limits.held == 1)
        client.close()
        until(lambda: long_server.limits.held == 0, 5)
        until(lambda path=path: long_server.ended[-1:] == [path[1:]], 5)  # type: ignore[misc]
    assert b"chatfed_clients_gone_total 3.0" in long_server.metrics.text()


def test_a_thread_keeps_its_place_until_it_has_ended(long_server: Server) -> None:
    client = connected(long_server.running.port)
    client.sendall(asking("/thread"))
    until(lambda: long_server.limits.held == 1)
    client.close()
    until(lambda: long_server.ended)
    assert long_server.held_at_the_end == 1


def test_an_answer_that_takes_too_long_is_ended_and_said(server: Server) -> None:
    status, error = server.running.refusal("/wait", {})
    assert status == 400 and error["code"] == "took_too_long" and server.ended == ["wait"]
    status, _, text = server.running.ask("/stream", {})
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert status == 200 and events[-1] == "[DONE]" and json.loads(events[-2])["error"]["code"] == "took_too_long"
    assert server.ended == ["wait", "stream"]
    named = server.running.ask("/named", {})[2]
    assert "took_too_long" in named.split("\n\n")[-2] and "[DONE]" not in named
    until(lambda: server.limits.held == 0)


def test_overload_is_said_with_a_time_to_come_again_and_nobody_hangs(long_server: Server) -> None:
    clients = [connected(long_server.running.port) for _ in range(2)]
    clients[0].sendall(asking("/stream"))
    until(lambda: long_server.limits.held == 1)
    clients[1].sendall(asking("/wait"))
    until(lambda: long_server.limits.waiting == 1)
    status, headers, text = long_server.running.ask("/wait", {})
    assert status == 429 and int(headers["retry-after"]) >= 1 and json.loads(text)["error"]["code"] == "busy"
    assert b" 429 " in clients[1].recv(65536)  # after wait_seconds in the line
    for client in clients:
        client.close()


def test_who_takes_nothing_of_an_answer_holds_no_place(long_server: Server) -> None:
    client = connected(long_server.running.port)
    client.sendall(asking("/stream?size=1000000"))
    until(lambda: long_server.limits.held == 1)
    until(lambda: long_server.limits.held == 0, 10)
    client.close()


def test_a_wrong_key_counts_for_the_address_that_it_comes_from() -> None:
    limits = Limits(Allowed(requests_a_minute=2))
    app: Any = Entrance(FastAPI(), Keys(visitors=["k" * 20]), limits, Metrics(limits))
    with patient(app) as running:
        assert [running.refusal("/echo", {}, "wrong")[0] for _ in range(3)] == [401, 401, 429]
        assert running.ask("/echo", {}, "k" * 20)[0] == 404
