"""What is refused before the page sees it: foreign pages, foreign names, all that the page itself never asks for."""

from __future__ import annotations

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serving.calls import MOST_BYTES, READERS, Asked, Calls
from serving.guard import COOKIE, Guard
from serving.sessions import Sessions
from tests.serving.page_server import hosted

OWN = "127.0.0.1:7860"
VISITOR, OTHER = "a" * 43, "b" * 43
JOIN, DATA, HEART = "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/heartbeat/"
CALLS = Calls({0: Asked((READERS["Textbox"],), event=False)})
CALL = {"fn_index": 0, "trigger_id": 1, "session_hash": "abcdef01234", "data": ["hi"], "event_data": None}


class Visit:
    """A guard around a page that says yes, and what each request made of it."""

    def __init__(self, only_loopback: bool = True) -> None:
        self.seen: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

        async def forget(session: str) -> bool:
            return True

        self.guard = Guard(self._page, CALLS, Sessions(forget), only_loopback)

    async def _page(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope)
        if scope["method"] == "POST":
            self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200})

    async def ask(
        self, headers: dict[str, str], path: str = "/", method: str = "GET", query: str = "", **more: Any
    ) -> list[Any]:
        """One request: the messages that are sent back."""
        sent: list[Any] = []
        bodies = list(more.pop("bodies", ()))

        async def receive() -> Any:
            return bodies.pop(0)

        async def keep(message: Any) -> None:
            sent.append(message)

        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": pairs}
        await self.guard(scope | {"query_string": query.encode(), "scheme": "http"} | more, receive, keep)
        return sent

    async def status(self, *args: Any, **more: Any) -> int:
        return int((await self.ask(*args, **more))[0]["status"])


def run(coroutine: Any) -> Any:
    """Its result, from a thread of its own: the browser tests have an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def status(headers: dict[str, str], path: str = "/", only_loopback: bool = True, **more: Any) -> int:
    return int(run(Visit(only_loopback).status(headers, path, **more)))


def test_a_refusal_speaks_the_browsers_language_where_there_is_a_page_in_it() -> None:
    visit = Visit()
    for spoken, language, begins in (
        (("en", "de"), "de-AT", "So etwas fragt die Seite nicht."),
        (("en", "de"), "fr", "The page does not"),
        (("en",), "de", "The page does not"),
        (("de",), "en", "So etwas"),
    ):
        visit.guard.spoken = spoken
        _, body = run(visit.ask({"host": "127.0.0.1", "accept-language": language}, "/elsewhere"))
        told = json.loads(body["body"])
        assert told["detail"].startswith(begins) and told["error"]["message"] == "The page does not ask such a thing."


def post(body: Any, *, visit: Visit | None = None, chunks: int = 1, **headers: str) -> list[Any]:
    """The messages that a call gets."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = max(1, -(-len(text) // chunks))
    parts = [text[at : at + size] for at in range(0, len(text), size)] or [b""]
    bodies = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]
    named = {"host": OWN, "content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    asking = (visit or Visit()).ask({k: v for k, v in named.items() if v}, JOIN, "POST", bodies=bodies)
    return run(asking)  # type: ignore[no-any-return]


@pytest.mark.parametrize("host", [OWN, "localhost:7860", "[::1]:7860", "LOCALHOST", "127.0.0.1"])
def test_the_page_itself_is_answered(host: str) -> None:
    assert status({"host": host.lower()}) == 200
    assert status({"host": host.lower(), "origin": f"http://{host}"}) == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://127.0.0.1:7861", "http://127.0.0.1", "http://localhost:7860", "null",
     f"http://{OWN}.evil.example", f"http://evil.example/{OWN}", "http://"],
)  # fmt: skip
@pytest.mark.parametrize("only_loopback", [True, False])
def test_a_request_from_a_page_elsewhere_is_refused(origin: str, only_loopback: bool) -> None:
    assert status({"host": OWN, "origin": origin}, only_loopback=only_loopback) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_the_browser_says_comes_from_elsewhere_is_refused_but_for_a_link_to_the_page(site: str) -> None:
    assert status({"host": OWN, "sec-fetch-site": site}) == 200
    for path in ("/theme.css", HEART + "abcdef01234"):
        assert status({"host": OWN, "sec-fetch-site": site}, path) == 403
        assert status({"host": OWN, "sec-fetch-site": "same-origin"}, path) == 200


def test_a_served_name_is_its_own_origin() -> None:
    headers = {"host": "chat.example", "origin": "https://chat.example"}
    assert status(headers, only_loopback=False) == 200 and status(headers) == 403


def test_no_socket_is_opened() -> None:
    (refusal,) = run(Visit().ask({"host": OWN}, type="websocket"))
    assert refusal["type"] == "websocket.close"


USED = ["/", "/theme.css", "/favicon.ico", "/assets/index-Ab_1.js", "/static/img/logo.svg", HEART + "abcdef01234"]
OTHERS = [
    "/config", "/login", "/login_check", "/user", "/token", "/app_id", "/svelte/a.js", "/monitoring", "/robots.txt",
    "/manifest.json", "/pwa_icon", "/openapi.json", "/docs", "/static/fonts/a.woff2", "/static/ffmpeg/a.js",
    "/static/a.js", "/assets/", "/assets", "/static/js/", "/chat", "/gradio_api",
    "/gradio_api/info", "/gradio_api/deep_link", "/gradio_api/theme.css", "/gradio_api/upload", "/gradio_api/runs",
    "/gradio_api/upload_progress", "/gradio_api/process_recording", "/gradio_api/component_server",
    "/gradio_api/run/suggest", "/gradio_api/api/suggest", "/gradio_api/call/suggest", "/gradio_api/call/v2/suggest",
    "/gradio_api/call/suggest/1", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/startup-events",
    "/gradio_api/stream/1", "/gradio_api/dev/reload", "/gradio_api/vibe-edit", "/gradio_api/profiling/traces",
    "/gradio_api/run-history/records", "/gradio_api/custom_component/1/client/a/b.js", "/gradio_api/file=a.txt",
    "/gradio_api/file/a.txt", "/gradio_api/proxy=a", "/gradio_api/queue/status", "/gradio_api/heartbeat",
]  # fmt: skip


@pytest.mark.parametrize("path", USED)
def test_what_the_page_asks_for_is_answered_to_reading_alone(path: str) -> None:
    assert status({"host": OWN}, path) == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert status({"host": OWN}, path, method=method) == 403


@pytest.mark.parametrize("path", OTHERS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_nothing_else_is_answered(path: str, method: str) -> None:
    visit = Visit()
    assert run(visit.status({"host": OWN}, path, method)) == 403 and not visit.seen
    assert run(visit.status({"host": OWN}, path + "/", method)) == 403 and not visit.seen


@pytest.mark.parametrize("path", [*USED[1:], JOIN, DATA])
@pytest.mark.parametrize(
    "spell",
    [
        lambda path: "/" + path, lambda path: path + "/", lambda path: path.upper(), lambda path: "/chat" + path,
        lambda path: path.replace("/", "//", 2), lambda path: "/." + path, lambda path: "/a/.." + path,
        lambda path: path + "/../config", lambda path: path + "%2f", lambda path: path + ";a", lambda path: path + "\\",
        lambda path: path + "\n", lambda path: path + "\x00", lambda path: path.lstrip("/"),
        lambda path: path + "\u0131",
    ],
)  # fmt: skip
def test_a_route_is_spelt_in_one_way_only(path: str, spell: Any) -> None:
    visit = Visit()
    for method in ("GET", "POST"):
        raw = {"raw_path": spell(path).encode()}
        assert run(visit.status({"host": OWN}, spell(path), method, "session_hash=abcdef01234", **raw)) == 403
    assert not visit.seen


@pytest.mark.parametrize("encoded", ["/theme%2ecss", "/%74heme.css", "/assets%2fa.js", "/gradio_api%2fqueue%2fjoin"])
def test_an_encoded_path_is_no_route(encoded: str) -> None:
    from urllib.parse import unquote

    assert status({"host": OWN}, unquote(encoded), raw_path=encoded.encode()) == 403


@pytest.mark.parametrize("query", ["deep_link=abc", "page=x", "session_hash=abcdef01234", "a=b&c=d"])
def test_queries_and_other_headers_go_no_further(query: str) -> None:
    visit = Visit()
    more = {"x-forwarded-host": "evil.example", "x-gradio-server": "http://evil.example", "cookie": "access-token=1",
            "authorization": "Bearer 1", "accept": "*/*", "range": "bytes=0-1"}  # fmt: skip
    assert run(visit.status({"host": OWN} | more, "/", query=query)) == 200
    (seen,) = visit.seen
    assert seen["query_string"] == b"" and {name for name, _ in seen["headers"]} == {b"host", b"accept"}


@pytest.mark.parametrize(
    "query", ["", "session_hash=", "session_hash=a/b", "session_hash=abcdef01234&session_hash=other", "other=1",
              "session_hash=abcdef01234&more=1", "session_hash=abcdef%2e1234", "session_hash=" + "a" * 33]
)  # fmt: skip
def test_a_stream_is_asked_for_by_one_session(query: str) -> None:
    assert status({"host": OWN}, DATA, query="session_hash=abcdef01234") == 200
    assert status({"host": OWN}, DATA, query=query) == 403


def test_answers_carry_what_keeps_the_browser_here_and_streams_come_in_pieces() -> None:
    page = dict(run(Visit().ask({"host": OWN}))[0]["headers"])
    stream = dict(run(Visit().ask({"host": OWN}, HEART + "abcdef01234"))[0]["headers"])
    refused = dict(run(Visit().ask({"host": OWN}, "/config"))[0]["headers"])
    for headers in (page, stream, refused):
        assert (
            headers[b"x-content-type-options"] == b"nosniff" and b"default-src" in headers[b"content-security-policy"]
        )
    assert stream[b"x-accel-buffering"] == b"no" and stream[b"cache-control"] == b"no-store"


def test_a_call_is_handed_on_as_it_was_read() -> None:
    visit = Visit()
    assert post(CALL | {"simple_format": True, "oauth_token": "x"}, visit=visit)[0]["status"] == 200
    assert json.loads(visit.bodies[0]) == CALL


def test_a_large_body_is_refused_unread() -> None:
    start, body = post(b"", content_length=str(MOST_BYTES + 1))
    said = json.loads(body["body"])
    assert start["status"] == 413 and "too long" in said["detail"]
    assert said["error"] == {"code": "request_refused", "message": said["detail"], "param": None}
    for length in ("9" * 400, "-1", "1e3", "x"):
        assert post(b"", content_length=length)[0]["status"] == 413
    big = json.dumps(CALL | {"data": ["x" * MOST_BYTES]}).encode()
    assert post(big, chunks=20)[0]["status"] == 413  # without a length, as it comes


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_a_call_is_json(kind: str) -> None:
    assert post(CALL, content_type=kind)[0]["status"] == 415
    assert post(CALL, content_type="application/json; charset=utf-8")[0]["status"] == 200


def test_a_session_is_its_visitors_alone() -> None:
    async def visits() -> None:
        visit, session = Visit(), {"query": "session_hash=abcdef01234"}
        mine, others = ({"host": OWN, "cookie": f"x=1; {COOKIE}={who}"} for who in (VISITOR, OTHER))
        assert await visit.status(mine, HEART + "abcdef01234") == 200
        assert await visit.status(mine, DATA, **session) == 200
        for stranger in (others, {"host": OWN}, {"host": OWN, "cookie": f"{COOKIE}={VISITOR}x"}):
            assert await visit.status(stranger, DATA, **session) == 403
            assert await visit.status(stranger, HEART + "abcdef01234") == 403

    run(visits())


@pytest.mark.parametrize(
    "beside", ['theme={"a":1}; %s', "%s; odd=\x01", 'a="b; %s', "=x; ; b; %s;", f"{COOKIE}=; %s", f"{COOKIE}=short; %s"]
)
def test_a_visitor_is_known_beside_any_cookie_of_another_program(beside: str) -> None:
    async def visits() -> None:
        visit, path = Visit(), HEART + "abcdef01234"
        assert await visit.status({"host": OWN, "cookie": f"{COOKIE}={VISITOR}"}, path) == 200
        assert await visit.status({"host": OWN, "cookie": beside % f"{COOKIE}={VISITOR}"}, path) == 200
        assert await visit.status({"host": OWN, "cookie": beside % f"{COOKIE}={OTHER}"}, path) == 403

    run(visits())


def test_a_new_visitor_gets_a_cookie_that_scripts_and_other_pages_do_not_see() -> None:
    given = dict(run(Visit().ask({"host": OWN}))[0]["headers"])[b"set-cookie"].decode()
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(given.split("; ")) and "Secure" not in given
    assert "Secure" in dict(run(Visit().ask({"host": OWN}, scheme="https"))[0]["headers"])[b"set-cookie"].decode()
    known = {"host": OWN, "cookie": given.partition(";")[0]}
    assert b"set-cookie" not in dict(run(Visit().ask(known))[0]["headers"])
    assert b"set-cookie" not in dict(run(Visit().ask({"host": OWN}, "/theme.css"))[0]["headers"])


def test_a_body_that_does_not_come_ends_with_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.guard.BODY_SECONDS", 0.3)
    head = f"POST {JOIN} HTTP/1.1\r\nHost: {OWN}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    with hosted(Visit().guard) as port, socket.create_connection(("127.0.0.1", port), 10) as slow:
        slow.sendall(head.encode() + b'{"fn_index"')
        answer = b"".join(iter(lambda: slow.recv(4096), b""))  # to its end: the server closes
    assert answer.startswith(b"HTTP/1.1 408 ") and b"longer than 0.3 s" in answer
