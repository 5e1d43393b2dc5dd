"""A log of one's own on the page, in a real browser: kept by a button, found by words, and what a server saw of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatfed.conversation.log_owner import new_log, open_log
from serving.texts import read_texts
from tests.serving.browsing import ask, close_page, watched
from tests.serving.page_server import NOTHING, Parrot, hosted

pytestmark = pytest.mark.browser
HOSTILE = "the <img src=x onerror=window.broken=1> printer & co"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "log"
    new_log(folder)
    return folder


@pytest.fixture(scope="module")
def port(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    from serving.application import guarded
    from serving.page import build_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        pages = {
            each: build_page(Parrot(), None, NOTHING, texts=read_texts(each), log=folder)  # type: ignore[arg-type]
            for each in ("en", "de")
        }
        with hosted(guarded(pages)) as port:
            yield port


@pytest.mark.parametrize(("width", "locale", "scheme"), [(1280, "en-GB", "light"), (390, "de-AT", "dark")])
def test_a_conversation_is_kept_by_a_button_and_found(
    browser: Any, port: int, folder: Path, shots: Path, width: int, locale: str, scheme: str
) -> None:
    texts = read_texts(locale[:2])
    with open_log(folder) as log:
        before = len(log)
    page = watched(browser.new_context(viewport={"width": width, "height": 844}, locale=locale, color_scheme=scheme))
    page.goto(f"http://127.0.0.1:{port}")
    page.locator("#suggestions button").first.wait_for()
    page.locator("#message textarea").fill(HOSTILE)
    page.get_by_role("button", name=texts("chat.send")).click()
    page.locator("#conversation [data-testid=bot]").first.wait_for()
    page.get_by_role("button", name=texts("chat.send")).wait_for()
    if page.get_by_role("tab", name=texts("tabs.log")).is_visible():
        page.get_by_role("tab", name=texts("tabs.log")).click()
    else:
        page.locator(".overflow-menu button").first.click()
        page.get_by_role("button", name=texts("tabs.log")).click()
    page.get_by_text(texts("log.where")).wait_for()
    with open_log(folder) as log:
        assert len(log) == before, "kept without being asked"
    page.locator("#log-keep").click()
    page.get_by_text(texts.counted("log.kept", 2, all=before + 2)).wait_for()
    page.locator("#log-keep").click()
    page.get_by_text(texts.counted("log.kept", 0, all=before + 2)).wait_for()
    page.locator("#log-words textarea, #log-words input").fill("PRINTER")
    page.get_by_role("button", name=texts("log.go")).click()
    page.get_by_text(texts.counted("log.found", 1 + before // 2)).wait_for()
    assert HOSTILE in page.locator("#log-found").inner_text() and page.evaluate("window.broken") is None
    page.locator("#log-words textarea, #log-words input").fill("?!")
    page.get_by_role("button", name=texts("log.go")).click()
    page.locator("#log-found").get_by_text("There is no word").wait_for()
    page.locator("#log-words textarea, #log-words input").fill("there")
    page.get_by_role("button", name=texts("log.go")).click()
    page.locator("#log-found .cf-card").first.wait_for()
    page.screenshot(path=shots / f"log-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    close_page(page)


def test_a_page_without_a_log_has_no_such_tab(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.application import guarded
    from serving.page import build_page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with hosted(guarded(build_page(Parrot(), None, NOTHING))) as port:  # type: ignore[arg-type]
        page = watched(browser.new_context())
        page.goto(f"http://127.0.0.1:{port}")
        page.locator("#suggestions button").first.wait_for()
        assert page.get_by_role("tab", name=read_texts()("tabs.log")).count() == 0
        assert "hi there" in ask(page, "hello")
        close_page(page)


def test_a_page_that_others_reach_has_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    from chatfed import cli

    for more in (["--host", "0.0.0.0"], ["--public-url", "https://chat.example"], ["--allow-host", "chat.example"]):  # noqa: S104
        assert cli.main(["serve", "--log", "my-log", *more]) == 2
        assert "--log would show its messages" in capsys.readouterr().err
