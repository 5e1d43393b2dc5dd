from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from chatfed import Chat
from serving.api.beside import Beside
from serving.api.options import ApiOptions
from serving.api.routes import api
from serving.guard import PublicAddress
from tests.serving.api.running import Running, running

NOTES = "https://notes.example"
CHAT = "/v1/chat/completions"
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


@pytest.fixture(scope="module")
def both(wide_chat: Chat) -> Iterator[Running]:
    """A page that says what it was asked for, and the API beside it, which visitors find at chat.example/talk."""
    page = FastAPI(openapi_url=None)
    page.add_api_route("/{path:path}", lambda path: PlainTextResponse(f"page {path}"), response_model=None)
    programs = api(wide_chat, None, ApiOptions("tiny", origins=[NOTES]))
    public = PublicAddress.parse("https://chat.example/talk")
    page.add_middleware(Beside, api=programs, public=public, hosts=["box.example"], origins=[NOTES])
    with running(page) as server:
        yield server


def test_each_path_goes_to_whom_it_is_of(both: Running) -> None:
    for path in ("/", "/theme.css", "/v1x", "/x/../v1/models", "/gradio_api/queue/data"):
        assert both.ask(path)[2].startswith("page "), path
    for path in ("/v1/models", "/talk/v1/models", "/healthz"):
        assert both.ask(path, key=None)[1]["content-type"] == "application/json", path
        assert "page" not in both.ask(path, key=None)[2]


def test_a_name_that_is_not_this_servers_is_refused(both: Running) -> None:
    for host in ("127.0.0.1:5", "localhost", "[::1]:80", "box.example", "chat.example"):
        assert both.ask("/v1/models", key=None, host=host)[0] == 200, host
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[::1"):
        status, _, text = both.ask("/v1/models", key=None, host=host)
        assert status == 403 and json.loads(text)["error"]["code"] == "host_not_allowed", host


def test_a_page_elsewhere_is_refused_unless_it_was_allowed(both: Running) -> None:
    own = f"http://127.0.0.1:{both.port}"
    for origin in (own, NOTES, "https://chat.example"):
        assert both.ask(CHAT, ASKED, key=None, origin=origin)[0] == 200, origin
    for origin in ("https://evil.example", "null", "http://notes.example", NOTES + ".evil.example"):
        status, headers, _ = both.ask(CHAT, ASKED, key=None, origin=origin)
        assert status == 403 and "access-control-allow-origin" not in headers, origin


def test_a_browser_may_ask_before_it_asks(both: Running) -> None:
    asks = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,content-type"}
    status, headers, _ = both.ask(CHAT, method="OPTIONS", key=None, origin=NOTES, **asks)
    assert status == 200 and headers["access-control-allow-origin"] == NOTES
    assert "authorization" in headers["access-control-allow-headers"]
    assert both.ask(CHAT, ASKED, key=None, origin=NOTES)[1]["access-control-allow-origin"] == NOTES


def test_a_form_of_a_page_elsewhere_is_no_request(both: Running) -> None:
    status, _, text = both.ask(CHAT, json.dumps(ASKED), key=None, content_type="text/plain")
    assert status == 415, text
