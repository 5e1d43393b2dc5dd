"""The German page holds no English: what is read on each tab is compared with the English page's, text by text.

Both pages stand around the same tiny models and the same run, so whatever reads the same on both is a name, a figure,
or a text that nobody translated. What is quoted out of files is marked as English, and left out here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from serving.run_folder import Bare, read_run_folder
from serving.texts import Texts, languages, read_texts
from tests.serving.browsing import REPLY, close_page, watched
from tests.serving.page_server import hosted
from tests.serving.publishing.conftest import write_audit, write_run
from tests.serving.test_browser_axe import RUN

pytestmark = pytest.mark.browser
# What is the same in both languages: names, formats, and words that German has as well.
NAMES = frozenset(
    "chatfed Chat Budgets Parameter Parameters Token Top-p audit.html audit.json audit.sig privacy.json".split()
)
# Every text that is shown or named, but for what models and visitors say, and for what is marked as quoted.
READ = """() => {
  const apart = 'span[lang="en"], script, style, #conversation [data-testid], .cf-answer, .cf-word > b, .cf-token, '
    + '.cf-choices, #probe-table th[scope=row], #compare-examples, #suggestions, .examples, '
    + 'textarea, .cf-kept-name, .cf-mark b';
  const found = [], ours = node => !node.closest(apart);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (text && parent.checkVisibility() && ours(parent)) found.push(text);
  }
  for (const node of document.querySelectorAll('[aria-label], [title], [placeholder], [alt]'))
    if (node.checkVisibility() && (ours(node) || node.matches('textarea')))
      found.push(...[node.ariaLabel, node.title, node.placeholder, node.alt].filter(Boolean));
  return found.map(text => text.replace(/\\s+/g, ' ')); }"""


@pytest.fixture(scope="module")
def port(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    from chatfed import load_chat
    from serving.application import guarded
    from serving.downloads import downloads
    from serving.page import build_page

    folder = write_run(tmp_path_factory.mktemp("run"), tiny_base)
    write_audit(folder)
    chat = load_chat(tiny_base)
    run = replace(read_run_folder(folder), bare=Bare(tiny_base, "ceiling"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        pages = {
            each: build_page(chat, chat, run, operator=True, bare=chat, texts=read_texts(each)) for each in languages()
        }
        with hosted(guarded(pages, exact=True, files=downloads(run))) as port:
            yield port


def chatted(page: Any, texts: Texts) -> None:
    page.get_by_role("button", name=texts("settings.title")).click()
    longest = page.get_by_label(texts("slider.number", label=texts("settings.longest"))).locator("visible=true")
    longest.fill("8")  # the untrained model says odd bytes, which read back as more tokens: they must fit its window
    longest.press("Tab")
    page.locator("#message textarea").fill("my laptop")
    page.get_by_role("button", name=texts("chat.send")).click()
    page.locator(REPLY).first.wait_for()
    page.get_by_role("button", name=texts("chat.send")).wait_for()
    until = time.monotonic() + 60
    while not page.locator("#alternatives").is_visible():  # a click may come before the last piece of the reply
        assert time.monotonic() < until, "no alternatives are shown"
        page.get_by_role("button", name=texts("alternatives.title"), exact=True).click()
        page.wait_for_timeout(3_000)
    page.get_by_label(texts("system.label")).wait_for()
    page.get_by_role("button", name=texts("keeping.keep"), exact=True).click()
    page.locator("#keeping-toggle").click()
    page.locator("#keeping-list li").first.wait_for()


def compared(page: Any, texts: Texts) -> None:
    page.get_by_role("tab", name=texts("tabs.compare")).click()
    page.locator("#compare-prompt textarea").fill("my laptop")
    page.get_by_role("button", name=texts("compare.ask.three")).click()
    page.get_by_text(texts("compare.greedy.three")).wait_for()
    page.get_by_role("button", name=texts("settings.title")).locator("visible=true").click()


def probed(page: Any, texts: Texts) -> None:
    page.get_by_role("tab", name=texts("tabs.probe")).click()
    page.locator("#probe-text textarea").fill("my badge is E-482913")
    page.get_by_role("button", name=texts("probe.go"), exact=True).click()
    page.locator("#probe-table tbody tr").first.wait_for()
    page.locator("#probe-words .cf-word").first.hover()


def private(page: Any, texts: Texts) -> None:
    page.get_by_role("tab", name=texts("tabs.privacy")).click()
    page.locator("#epsilon-value").wait_for()
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")


def read(browser: Any, port: int, language: str, shots: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Of each tab its name, what is read on it, and what axe-core finds."""
    page = watched(browser.new_context(locale=language, viewport={"width": 1280, "height": 844}))
    page.goto(f"http://127.0.0.1:{port}")
    page.locator("#suggestions button").first.wait_for()
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    for tab in (chatted, compared, probed, private):
        tab(page, read_texts(language))
        page.screenshot(path=shots / f"{language}-{tab.__name__}.png", full_page=True)
        yield tab.__name__, page.evaluate(READ), page.evaluate(RUN, None)
    close_page(page)


def test_what_reads_the_same_in_german_is_a_name_or_a_figure(browser: Any, port: int, shots: Path) -> None:
    for (tab, english, _), (_, german, found) in zip(
        read(browser, port, "en", shots), read(browser, port, "de", shots), strict=True
    ):
        same = (text for text in set(english) & set(german) if not re.fullmatch(r"[0-9a-f]{8,}…?", text))  # digests
        left = {text for text in same if re.search(r"[A-Za-z]{2}", text)} - NAMES
        assert not left, f"English on the German page, tab {tab}: {sorted(left)}"
        assert len(set(german) - set(english)) > 10, f"nothing was read on {tab}"
        assert not found, "\n".join(found)
