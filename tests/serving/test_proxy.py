"""The page behind a real nginx, under a path and with TLS: it loads, it answers, and replies come in pieces."""

from __future__ import annotations

import asyncio
import datetime
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chatfed import Chat, Generation, Turn, cli
from chatfed.generation import Event
from serving.api.beside import Beside
from serving.api.options import ApiOptions
from serving.application import guarded
from serving.guard import PublicAddress
from tests.conftest import build_tiny
from tests.serving.browsing import REPLY, WATCH, ask, close_page, watched
from tests.serving.page_server import NOTHING, Parrot, hosted
from training.workers import free_ports

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORDS = [f"word{n} " for n in range(12)]
CONFIG = """
daemon off; pid {home}/pid; error_log {home}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u;
  scgi_temp_path {home}/s;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {home}/certificate.pem; ssl_certificate_key {home}/key.pem;
    location /chat/ {{ {lines} }}
    location = /favicon.ico {{ return 204; }}  # a browser asks for it at the top, wherever the page is
  }}
}}
"""
STRIPPED = "proxy_pass http://127.0.0.1:{page}/;"  # the path is taken off, and Host is nginx's own
KEPT = "proxy_pass http://127.0.0.1:{page}; proxy_set_header Host $http_host;"
TOLD = f"{STRIPPED} proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;"


class SlowParrot(Parrot):
    """A chat that takes a moment for each word."""

    def stream(self, turns: Sequence[Turn], settings: Generation) -> Iterator[str]:
        for word in WORDS:
            time.sleep(0.15)
            yield word


class Held(Chat):
    """A chat that says the next word when it is let."""

    let: threading.Semaphore

    async def aevents(self, *given: Any, **more: Any) -> AsyncGenerator[Event, None]:
        for word in WORDS:
            assert await asyncio.to_thread(self.let.acquire, timeout=60), "a piece was held back on its way"
            yield Event(word, None, (), "length" if word == WORDS[-1] else None)


def certify(home: Path) -> None:
    """A key and a certificate for localhost that it signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=2099)
    )
    pem = serialization.Encoding.PEM
    (home / "certificate.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (home / "key.pem").write_bytes(key.private_bytes(pem, *plain))


@contextmanager
def proxied(home: Path, port: int, lines: str) -> Iterator[None]:
    """A running nginx with `lines` for /chat/."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        pytest.fail("No nginx here: install it (Debian: apt-get install nginx-light).")
    certify(home)
    (home / "nginx.conf").write_text(CONFIG.format(home=home, port=port, lines=lines))
    running = subprocess.Popen([found, "-p", str(home), "-e", str(home / "error.log"), "-c", str(home / "nginx.conf")])
    try:
        deadline = time.monotonic() + 10
        while running.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        assert running.poll() is None, (home / "error.log").read_text()
        yield
    finally:
        running.terminate()
        running.wait(10)


def status(port: int, origin: str = "", host: str = "localhost") -> int:
    """Of a request for the page's style through the proxy."""
    headers = {"Host": f"{host}:{port}"} | ({"Origin": origin} if origin else {})
    return asked(port, "/chat/theme.css", **headers)[0]


def asked(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of what is asked through the proxy."""
    with answering(port, path, None, headers) as answer:
        return answer.status, answer.read().decode()


@contextmanager
def answering(port: int, path: str, body: Any, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
    """The answer through the proxy while it comes; a body is sent as JSON."""
    untrusting = ssl._create_unverified_context()  # noqa: S323, the certificate signs itself
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=untrusting)
    try:
        sent = headers if body is None else headers | {"Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), sent)
        yield connection.getresponse()
    finally:
        connection.close()


behind_nginx = pytest.mark.parametrize(
    ("lines", "only_path"),
    [(STRIPPED, False), (KEPT, False), (TOLD, True)],
    ids=["path taken off, nginx's Host", "path kept, the browser's Host", "--root-path and --allow-host"],
)


@pytest.mark.browser
@behind_nginx
def test_the_page_works_behind_nginx_under_a_path_and_streams(
    browser: Any, tmp_path: Path, lines: str, only_path: bool
) -> None:
    from serving.page import build_page

    (outside,) = free_ports(1)
    url = f"https://localhost:{outside}/chat"
    public, hosts = told(outside, only_path)
    blocks = build_page(SlowParrot(), None, NOTHING)  # type: ignore[arg-type]
    application = guarded(blocks, not only_path, public=public, hosts=hosts)
    with hosted(application) as inside, proxied(tmp_path, outside, lines.format(page=inside)):
        page = watched(browser.new_context(ignore_https_errors=True))
        page.goto(f"{url}/")
        page.locator("#suggestions button").first.wait_for()
        page.evaluate(WATCH)
        assert ask(page, "hello").split() == [word.strip() for word in WORDS]
        lengths = page.evaluate("window.lengths")
        assert lengths == sorted(lengths) and len(set(lengths) - {0}) >= 5, "the reply came in lumps"
        assert page.locator(REPLY).count() == 1
        (cookie,) = page.context.cookies()
        assert cookie["path"] == "/chat" and cookie["secure"] and cookie["httpOnly"]
        assert status(outside) == status(outside, f"https://localhost:{outside}") == 200
        assert status(outside, "https://evil.example") == 403
        assert lines == STRIPPED or status(outside, host="evil.example") == 403, "any name was answered"
        close_page(page)


@behind_nginx
def test_the_api_streams_piece_by_piece_behind_nginx_under_a_path(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, lines: str, only_path: bool
) -> None:
    """The model says a word only when the one before has been read here: whoever held one back would hold all."""
    from fastapi import FastAPI

    from serving.api.routes import api

    (outside,), model = free_ports(1), Held(build_tiny(tiny_tokenizer, 256), tiny_tokenizer)
    model.let = threading.Semaphore(0)
    public, hosts = told(outside, only_path)
    programs = api(model, None, ApiOptions("tiny", on_loopback=False))
    application = FastAPI(openapi_url=None)
    application.add_middleware(Beside, api=programs, public=public, hosts=hosts)
    body = {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    path, headers = "/chat/v1/chat/completions", {"Host": f"localhost:{outside}"}
    with hosted(application) as inside, proxied(tmp_path, outside, lines.format(page=inside)):
        with answering(outside, path, body, headers) as answer:
            assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
            for word in WORDS:
                model.let.release()
                assert next(each for each in contents(answer) if each) == word
            assert [*contents(answer)] == [""], "the last object says why it ended, and [DONE] follows"
        with answering(outside, path, body, headers | {"Origin": "https://evil.example"}) as answer:
            assert answer.status == 403


def contents(answer: http.client.HTTPResponse) -> Iterator[str]:
    """The texts of the objects of a stream, to its [DONE]."""
    while line := answer.readline():
        if line.startswith(b"data: [DONE]"):
            return
        if line.startswith(b"data: "):
            yield json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    raise AssertionError("the stream ended without [DONE]")


def told(outside: int, only_path: bool) -> tuple[PublicAddress, tuple[str, ...]]:
    """What the server is told of the proxy: the page's whole address, or its path and its host's name."""
    if only_path:
        return PublicAddress.under("/chat"), ("localhost",)
    return PublicAddress.parse(f"https://localhost:{outside}/chat/"), ()


@pytest.mark.parametrize(
    ("text", "origin", "path"),
    [
        ("https://chat.example", "https://chat.example", ""),
        ("https://Chat.Example/", "https://chat.example", ""),
        ("https://chat.example:443/talk/", "https://chat.example", "/talk"),
        ("http://chat.example:8080/a/b", "http://chat.example:8080", "/a/b"),
        ("http://[::1]:80/a", "http://[::1]", "/a"),
    ],
)
def test_a_public_address_is_read(text: str, origin: str, path: str) -> None:
    read = PublicAddress.parse(text)
    assert (read.origin, read.path, str(read)) == (origin, path, origin + path)


@pytest.mark.parametrize(
    "text",
    ["", "chat.example", "/talk", "ftp://chat.example", "https://", "https://me@chat.example", "https://chat.example/?a=1",
     "https://chat.example/#a", "https://chat.example/a b", "https://chat.example/../a", "https://chat.example:x/",
     "https://chat.example:99999", "https://chat.example//a", "https://chat.example/%61"],
)  # fmt: skip
def test_what_is_no_public_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, its words are `chatfed serve`'s
        PublicAddress.parse(text)


def test_a_public_address_that_is_none_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--public-url", "chat.example/talk"]) == 2
    assert "'chat.example/talk' is no address of a page; give one such as https://" in capsys.readouterr().err


def test_behind_a_proxy_the_public_name_is_known_and_no_other() -> None:
    from tests.serving.test_guard import Visit, run

    visit = Visit()
    visit.guard.public = PublicAddress.parse("https://chat.example/talk")
    known = ({"host": "chat.example"}, {"host": "127.0.0.1:7860"})
    for headers in known:
        for origin in ("https://chat.example", "http://" + headers["host"]):
            for path in ("/theme.css", "/talk/theme.css", "/talk/", "/"):
                assert run(visit.status(headers | {"origin": origin}, path)) == 200, (headers, origin, path)
        assert run(visit.status(headers | {"origin": "https://evil.example"})) == 403
        assert run(visit.status(headers | {"origin": "http://chat.example:8080"})) == 403
        for path in (
            "/talk/config",
            "/talk//theme.css",
            "/talk/talk/theme.css",
            "/talktheme.css",
            "/TALK/theme.css",
            "/talk",
        ):
            assert run(visit.status(headers, path)) == 403
    assert run(visit.status({"host": "evil.example"})) == 403
    assert {scope["path"] for scope in visit.seen} == {"/theme.css", "/"}
