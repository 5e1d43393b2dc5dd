"""The comparison in a real browser: two answers side by side or stacked, by mouse and by keyboard, and stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.browsing import close_page, field, lengthen, open_page, send
from tests.serving.conftest import LONG_REPLY, PUBLIC, SECRET, Served, Servers

pytestmark = pytest.mark.browser
STOP_SOON = """() => { const watch = setInterval(() => {
  const button = document.querySelector('#compare-prompt .stop-button');
  if (button && document.querySelector('.cf-trained .cf-answer').innerText.length > 20) {
    clearInterval(watch); window.colour = getComputedStyle(button).backgroundColor; button.click();
    window.stopped = true; } }, 10); }"""
NAMELESS = """() => [...document.querySelectorAll('button, textarea, input')].filter(e => e.checkVisibility() &&
  !(e.innerText.trim() || e.ariaLabel || e.title || e.labels?.length)).map(e => e.outerHTML.slice(0, 200))"""


def open_compare(page: Any) -> Any:
    """The tab, and its prompt's field."""
    page.get_by_role("tab", name="Compare").click()
    prompt = page.get_by_label("One prompt for both")
    prompt.wait_for()
    return prompt


def answered(page: Any, over: str = "Both at temperature") -> tuple[str, str]:
    """The answers of the base and of the private model, once they are over."""
    page.locator("#compare-answers").get_by_text(over).wait_for()
    page.get_by_role("button", name="Ask both").wait_for()
    cards = [page.get_by_role("region", name=name) for name in ("Public base", "Private model")]
    return cards[0].locator(".cf-answer").inner_text(), cards[1].locator(".cf-answer").inner_text()


@pytest.fixture
def phone(browser: Any, served: Served) -> Iterator[Any]:
    opened = open_page(browser, served, width=390)
    yield opened
    close_page(opened)


def test_only_the_private_model_knows_what_clients_said(page: Any, shots: Path) -> None:
    prompt = open_compare(page)
    page.screenshot(path=shots / "compare-start-1280.png", full_page=True)
    prompt.fill(SECRET[0])
    page.get_by_role("button", name="Ask both").click()
    base, private = answered(page)
    assert private == SECRET[1] and base and "bergamot" not in base
    page.screenshot(path=shots / "compare-1280.png", full_page=True)
    told = page.locator("#compare-answers").inner_text()
    assert "Learned from public text only." in told
    assert "Learned from public text and 120 clients' dialogues, ε = 4.81 per dialogue." in told
    left, right = page.locator(".cf-base").bounding_box(), page.locator(".cf-trained").bounding_box()
    assert left["x"] + left["width"] <= right["x"] and left["y"] == right["y"] and left["height"] == right["height"]
    styles = {
        page.locator(card).evaluate("card => getComputedStyle(card).borderStyle")
        for card in (".cf-base", ".cf-trained")
    }
    assert len(styles) == 2, "the cards differ in their colours alone"
    prompt.fill(PUBLIC[1][0])
    prompt.press("Enter")
    page.locator("#compare-answers").get_by_text("word for word").wait_for()
    assert answered(page) == (PUBLIC[1][1], PUBLIC[1][1])
    assert field(page).input_value() == "" and page.locator("#conversation [data-testid=user]").count() == 0


def test_on_a_phone_the_answers_stack_and_all_tabs_are_in_reach(phone: Any, shots: Path) -> None:
    assert phone.get_by_role("tab").all_inner_texts() == ["Chat", "Compare", "Leakage probe", "Privacy"]
    prompt = open_compare(phone)
    phone.get_by_role("button", name="I lost my badge").click()
    answered(phone)
    phone.screenshot(path=shots / "compare-390.png", full_page=True)
    assert prompt.input_value() == "I lost my badge, what do I do now?"
    upper, lower = phone.locator(".cf-base").bounding_box(), phone.locator(".cf-trained").bounding_box()
    assert upper["x"] == lower["x"] and upper["y"] + upper["height"] <= lower["y"]
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.evaluate(NAMELESS) == []


def test_the_keyboard_alone_asks_and_finds_its_field_again(page: Any) -> None:
    page.get_by_role("tab", name="Chat").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_label("One prompt for both").focus()
    page.keyboard.type(SECRET[0])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Ask both"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert answered(page)[1] == SECRET[1]
    page.wait_for_function("document.activeElement.closest('#compare-prompt') !== null")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "How do I ask for a day of leave?"
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#compare-prompt textarea').value.startsWith('How do I ask')")
    answered(page)


def test_stop_ends_both_answers_on_the_page_and_in_the_server(slow_page: Any, slow: Served) -> None:
    page = slow_page
    prompt = open_compare(page)
    lengthen(page, 250)
    begun = slow.rested()
    prompt.fill("tell me everything")
    prompt.press("Enter")
    answered(page)
    whole = slow.rested() - begun
    page.evaluate(STOP_SOON)
    before = slow.rested()
    prompt.fill("tell me everything")
    prompt.press("Enter")
    page.wait_for_function("window.stopped")
    stopped = answered(page, "Stopped.")
    assert page.evaluate("window.colour") in ("rgb(159, 18, 57)", "rgb(136, 19, 55)"), (
        "Stop looks as the button that sends"
    )
    assert slow.rested() - before < 0.75 * whole, "the server went on generating"
    assert answered(page, "Stopped.") == stopped and all(0 < len(each) < len(LONG_REPLY) - 100 for each in stopped)


def test_a_comparison_waits_for_the_chats_reply_and_what_is_too_long_is_refused(slow_page: Any) -> None:
    page = slow_page
    lengthen(page, 250)
    send(page, "tell me everything")
    prompt = open_compare(page)
    prompt.fill(SECRET[0])
    prompt.press("Enter")
    page.get_by_text("still being written, here or on another tab").wait_for()
    page.get_by_role("tab", name="Chat").click()
    page.get_by_role("button", name="Send").wait_for(timeout=60_000)
    prompt = open_compare(page)
    for length in (4_001, 70_000):
        prompt.fill("x" * length)
        prompt.press("Enter")
        page.get_by_text(f"{length:,} characters").first.wait_for()
        assert len(prompt.input_value()) == length
    page.errors.clear()  # the guard's own refusal of the longest
    prompt.fill(SECRET[0])
    prompt.press("Enter")
    assert answered(page)[1] == SECRET[1]


def test_a_folder_without_a_base_says_why_there_is_nothing_to_compare(browser: Any, servers: Servers) -> None:
    page = open_page(browser, servers.bare)
    page.get_by_role("tab", name="Compare").click()
    page.get_by_text("There is nothing to compare: this model is served without the public base").wait_for()
    assert page.get_by_role("button", name="Ask both").count() == 0
    close_page(page)
