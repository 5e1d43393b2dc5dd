"""The page in a real Chromium as a person uses it: opened, watched for what it asks for, typed into."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from tests.serving.conftest import Served

REPLY = "#conversation [data-testid=bot]"
QUESTION = "#conversation [data-testid=user]"
LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
WATCH = """() => { window.lengths = []; setInterval(() => {
  const replies = document.querySelectorAll('#conversation [data-testid=bot]');
  window.lengths.push(replies.length ? replies[replies.length - 1].innerText.length : 0); }, 15); }"""


def open_page(browser: Any, served: Served, width: int = 1280, scheme: str = "light") -> Any:
    """The page, loaded.

    What it asked for is kept in `page.asked`, and in `page.errors` what scripts and the console complained of and what
    was refused: every feature that a test drives must pass the guard.
    """
    page = watched(browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme))
    page.goto(served.url)
    page.locator("#suggestions button").first.wait_for()
    return page


def watched(context: Any) -> Any:
    """A new page of the context that keeps what it asks for, and what fails."""
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.asked, page.errors = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("websocket", lambda socket: page.asked.append(socket.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda said: said.type == "error" and page.errors.append(f"{said.text} {said.location['url']}"))
    page.on("response", lambda reply: reply.status >= 400 and page.errors.append(f"{reply.status} {reply.url}"))
    return page


def close_page(page: Any) -> None:
    asked, errors = page.asked, page.errors
    page.context.close()
    away = [url for url in asked if not url.startswith(("data:", "blob:")) and urlsplit(url).hostname not in LOOPBACK]
    assert asked and not away, f"the page asked other hosts: {away}"
    assert not errors, f"something failed on the page, or was refused to it: {errors}"


def field(page: Any) -> Any:
    return page.locator("#message textarea")


def send(page: Any, text: str) -> None:
    field(page).fill(text)
    page.get_by_role("button", name="Send").click()


def settled(page: Any) -> None:
    """Waits until no reply is being written."""
    page.get_by_role("button", name="Send").wait_for()


def ask(page: Any, text: str) -> str:
    count = page.locator(REPLY).count()
    send(page, text)
    page.locator(REPLY).nth(count).wait_for()
    settled(page)
    return str(page.locator(REPLY).nth(count).inner_text())


def lengthen(page: Any, tokens: int) -> None:
    page.get_by_role("button", name="Generation settings").click()
    box = page.get_by_label(re.compile("^number input for Longest reply")).locator("visible=true")
    box.fill(str(tokens))
    box.press("Tab")
