"""Word by word in a real browser: by mouse and by keyboard, and a reply that goes on from another word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.browsing import QUESTION, REPLY, ask, close_page, field, open_page, settled
from tests.serving.conftest import SECRET, Served

pytestmark = pytest.mark.browser
PANEL = "#alternatives .cf-alternatives"
CHOSEN = f"{PANEL} .cf-token[aria-pressed=true]"
PLACE_OF = """([message, word]) => { const walker = document.createTreeWalker(document.querySelector(message), 4);
  while (walker.nextNode()) { const at = walker.currentNode.data.indexOf(word); if (at < 0) continue;
    const range = document.createRange(); range.setStart(walker.currentNode, at);
    range.setEnd(walker.currentNode, at + word.length); const box = range.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2]; } }"""


@pytest.fixture
def phone(browser: Any, served: Served) -> Iterator[Any]:
    opened = open_page(browser, served, width=390, scheme="dark")
    yield opened
    close_page(opened)


def click_word(page: Any, word: str) -> None:
    page.mouse.click(*page.evaluate(PLACE_OF, [REPLY, word]))
    page.locator(PANEL).wait_for()


def test_a_click_on_a_word_shows_what_else_was_likely_there(page: Any, shots: Path) -> None:
    ask(page, SECRET[0])
    click_word(page, "badge")
    assert "badge".startswith(page.locator(CHOSEN).inner_text().strip())
    assert "".join(page.locator(f"{PANEL} .cf-token:not(.cf-end)").all_inner_texts()).strip() == SECRET[1]
    assert page.locator(f"{PANEL} .cf-choices li").count() == 5
    figures = page.locator(f"{PANEL} .cf-choices li").all_inner_texts()
    assert all(figure.endswith("%") for figure in figures)
    likeliest = page.locator(f"{PANEL} .cf-choices li").first.get_by_role("button")
    assert likeliest.get_attribute("aria-label").endswith("as it was said")  # the model knows the sentence by heart
    assert "was said with" in page.locator(f"{PANEL} [role=status]").inner_text()
    page.screenshot(path=shots / "alternatives-1280.png", full_page=True)
    page.get_by_role("button", name="Close word by word").click()
    page.wait_for_function(f"!document.querySelector('{PANEL}')")


def test_a_reply_goes_on_from_the_word_that_was_chosen(page: Any) -> None:
    ask(page, SECRET[0])
    click_word(page, "print")
    buttons = page.locator(f"{PANEL} .cf-choices button").all()
    other = next(each for each in buttons if "as it was said" not in each.get_attribute("aria-label"))
    word = other.locator("span").first.inner_text().removeprefix("…")
    other.click()
    page.wait_for_function(f"document.querySelector('{REPLY}')?.innerText.startsWith('dr bergamot will {word}')")
    settled(page)
    page.locator(CHOSEN).wait_for()
    assert page.locator(REPLY).count() == 1 and page.locator(QUESTION).all_inner_texts() == [SECRET[0]]
    shown = "".join(page.locator(f"{PANEL} .cf-token:not(.cf-end)").all_inner_texts()).strip()
    assert shown == page.locator(REPLY).inner_text().strip(), "the panel is about another reply"


def test_the_panel_goes_with_its_conversation(page: Any) -> None:
    ask(page, SECRET[0])
    click_word(page, "room")
    page.get_by_role("button", name="New conversation").click()
    page.wait_for_function(f"!document.querySelector('{PANEL}')")
    page.get_by_role("button", name="Word by word", exact=True).click()
    page.get_by_text("There is no reply yet").wait_for()


def test_the_keyboard_alone_walks_from_a_question_to_another_reply(phone: Any, shots: Path) -> None:
    """Asks, opens word by word, walks to a word, and goes on from another: no mouse."""
    page = phone
    field(page).focus()
    page.keyboard.type(SECRET[0])
    page.keyboard.press("Enter")
    page.locator(REPLY).get_by_text("forty two").wait_for()
    settled(page)
    page.wait_for_function("document.activeElement.closest('#message') !== null")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "alternatives-open":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.classList.contains('cf-token')")
    first = page.evaluate("document.activeElement.innerText")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.innerText") == "(end of the reply)"
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.innerText") == first
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.at") == "1"
    page.screenshot(path=shots / "alternatives-390-dark.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.choice !== undefined")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.classList.contains('cf-token')")
    assert not page.locator(REPLY).get_by_text(SECRET[1], exact=True).count()
