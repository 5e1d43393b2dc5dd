"""The page in German, in a real browser: by what the browser asks for, and by --language."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.texts import languages, read_texts
from tests.serving.browsing import REPLY, close_page, watched
from tests.serving.page_server import NOTHING, Parrot, hosted

pytestmark = pytest.mark.browser
MOVED = ("badge.", "chat.", "keeping.", "page.claim", "settings.", "system.", "tabs.")
SHOWN = """() => document.body.innerText + [...document.querySelectorAll('[aria-label], [title], [placeholder]')]
  .filter(e => e.checkVisibility()).map(e => [e.ariaLabel, e.title, e.placeholder].join('\\n')).join('\\n')"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from serving.page import build_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield {each: build_page(Parrot(), None, NOTHING, texts=read_texts(each)) for each in languages()}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def port(pages: Any) -> Iterator[int]:
    from serving.application import guarded

    with hosted(guarded(pages)) as port:
        yield port


def opened(browser: Any, port: int, locale: str, **more: Any) -> Any:
    page = watched(browser.new_context(locale=locale, **more))
    page.goto(f"http://127.0.0.1:{port}")
    page.locator("#suggestions button").first.wait_for()
    return page


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_german_browser_gets_a_german_page(browser: Any, port: int, shots: Path, width: int, scheme: str) -> None:
    page = opened(browser, port, "de-AT", viewport={"width": width, "height": 844}, color_scheme=scheme)
    german, english = read_texts("de"), read_texts()
    page.locator("#message textarea").fill("guten Tag")
    page.get_by_role("button", name=german("chat.send")).click()
    page.locator(REPLY).first.wait_for()
    page.get_by_role("button", name=german("chat.send")).wait_for()
    page.get_by_role("button", name=german("keeping.keep"), exact=True).click()
    page.get_by_text(german("keeping.said_kept")).wait_for()
    page.locator("#keeping-toggle").click()
    page.get_by_text(german("keeping.where")).wait_for()
    page.screenshot(path=shots / f"german-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.lang") == "de"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    shown = page.evaluate(SHOWN)
    left = [key for key, text in english.sentences.items() if key.startswith(MOVED)
            and text != german.sentences[key] and len(text) > 8 and text in shown]  # fmt: skip
    assert page.locator("#conversation button[aria-label='Chat leeren']:visible").count() == 0, (
        "New conversation does that"
    )
    assert left == [] and "Nachricht kopieren" in shown and "Wiederholen" in shown
    page.locator("#message textarea").fill("")
    page.locator("#message textarea").press("Enter")
    page.get_by_text(german("chat.type_first")).wait_for()
    close_page(page)


def test_other_languages_get_english_and_gradios_parts_speak_it_too(browser: Any, port: int) -> None:
    page = opened(browser, port, "fr-FR")
    page.locator("#message textarea").fill("bonjour")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Retry").wait_for()
    assert page.evaluate("[document.documentElement.lang, navigator.language]") == ["en", "en"]
    close_page(page)
