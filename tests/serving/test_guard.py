"""What is refused before the page sees it: foreign pages, foreign names, files."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import pytest

from serving.app import Guard
from tests.serving.conftest import Served

OWN = "127.0.0.1:7860"


def answered(headers: dict[str, str], path: str = "/", kind: str = "http", only_loopback: bool = True) -> list[Any]:
    """What the guard around a page that says yes sends: its messages."""
    sent: list[Any] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start" if kind == "http" else "websocket.accept", "status": 200})

    async def keep(message: Any) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": path, "headers": pairs}
    asking: Any = Guard(page, only_loopback)(scope, None, keep)  # type: ignore[arg-type]
    with pytest.raises(StopIteration):  # it waits for nothing, and the browser tests have an event loop in this thread
        asking.send(None)
    return sent


def status(*args: Any, **more: Any) -> int:
    return answered(*args, **more)[0]["status"]


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
    headers = {"host": OWN, "origin": origin}
    assert status(headers, only_loopback=only_loopback) == 403
    (refusal,) = answered(headers, kind="websocket", only_loopback=only_loopback)
    assert refusal["type"] == "websocket.close"


def test_a_served_name_is_its_own_origin() -> None:
    headers = {"host": "chat.example", "origin": "https://chat.example"}
    assert status(headers, only_loopback=False) == 200 and status(headers) == 403
    assert answered({"host": OWN, "origin": f"http://{OWN}"}, kind="websocket")[0]["type"] == "websocket.accept"
    assert answered({"host": "evil.example"}, kind="websocket")[0]["type"] == "websocket.close"


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/upload/", "/gradio_api/process_recording"])
def test_no_file_is_taken(path: str) -> None:
    assert status({"host": OWN}, path) == 403
    assert dict(answered({"host": OWN}, path)[0]["headers"])[b"x-content-type-options"] == b"nosniff"


def post_file(served: Served, **headers: str) -> int:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\n' + b"a" * 5000
    request = urllib.request.Request(f"{served.url.rstrip('/')}/gradio_api/upload", body + b"\r\n--x--\r\n")
    request.add_header("Content-Type", "multipart/form-data; boundary=x")
    for name, value in headers.items():
        request.add_header(name, value)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.browser  # needs its server, not Chromium
def test_the_running_server_takes_no_file(served: Served) -> None:
    assert post_file(served) == 403
    assert post_file(served, Origin="https://evil.example") == 403
    assert post_file(served, Origin=served.url.rstrip("/")) == 403
