"""The leakage probe and the privacy tab in a real browser: what is probed, how it is coloured, what is claimed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.serving.browsing import REPLY, ask, close_page, field, open_page
from tests.serving.conftest import SECRET, Servers

pytestmark = pytest.mark.browser


def test_a_reply_is_probed_word_by_word(page: Any) -> None:
    reply = ask(page, SECRET[0])
    page.get_by_role("button", name="Probe last reply").click()
    page.locator("#probe-table tbody tr").first.wait_for()
    words = page.locator("#probe-words .cf-word b").all_inner_texts()
    assert words == reply.split() == page.locator("#probe-table tbody th").all_inner_texts()
    assert page.locator("#probe-text textarea").input_value() == reply
    assert page.get_by_label("an assistant's reply").is_checked()
    page.get_by_text("Read as an assistant's reply, after 1 message of the conversation.").wait_for()
    marked = page.locator("#probe-words .cf-word").all()
    shifts = [float(word.get_attribute("data-shift")) for word in marked]
    assert max(shifts) > 4, "the secret that only the served model learned does not stand out"
    told = page.locator("#probe-table tbody tr").all_inner_texts()
    assert any("more than all twins" in row or "more than 19 in 20 twins" in row for row in told), told
    assert page.get_by_label("Read it after the conversation").is_checked()
    assert re.search(r"\b1\s*→\s*1\b|→ 1\b", told[0]), "a greedy reply's first word is the likeliest after its question"
    colours = {word.evaluate("e => getComputedStyle(e).backgroundColor") for word in marked}
    assert len(colours) >= 2
    tip = page.locator("#probe-words .cf-word .cf-tip").first
    assert not tip.is_visible()
    page.locator("#probe-words .cf-word").first.focus()
    tip.wait_for()
    assert "twins" in tip.inner_text() and "bits" in tip.inner_text()
    before = page.locator("#probe-words ol").inner_html()
    page.get_by_role("button", name="Probe", exact=True).click()
    page.wait_for_timeout(300)
    page.locator("#probe-table tbody tr").first.wait_for()
    assert page.locator("#probe-words ol").inner_html() == before, "the same text has other colours the second time"


def test_typed_text_is_probed_and_never_becomes_markup(page: Any) -> None:
    page.get_by_role("tab", name="Leakage probe").click()
    page.locator("#probe-text textarea").fill("<b>b</b> {{v}} ${1}\nmy laptop")
    page.get_by_role("button", name="Probe", exact=True).click()
    page.locator("#probe-table tbody tr").first.wait_for(timeout=90_000)  # odd words of many tokens: many twins to read
    words = ["<b>b</b>", "{{v}}", "${1}", "my", "laptop"]
    assert page.locator("#probe-table tbody th").all_inner_texts() == words
    page.get_by_text("Read as a user's message.", exact=True).wait_for()
    page.get_by_text("It cannot show").wait_for()


def test_the_draft_is_probed_as_a_users_message(page: Any) -> None:
    page.get_by_role("button", name="Probe last reply").click()
    page.get_by_text("There is no reply yet").wait_for()
    field(page).fill("my badge is lost")
    page.get_by_role("button", name="Probe my text").click()
    page.locator("#probe-table tbody tr").nth(3).wait_for()
    assert page.get_by_label("a user's message").is_checked()


def test_epsilon_is_read_on_the_privacy_tab(page: Any) -> None:
    assert page.locator("#epsilon-badge").inner_text() == "ε = 4.81 per dialogue"
    page.get_by_role("tab", name="Privacy").click()
    page.locator("#epsilon-value").wait_for()
    assert page.locator("#epsilon-value").inner_text() == "4.81"
    rows = page.locator("#guarantee tr").all_inner_texts()
    for said in ("PRV", "add or remove one dialogue", "timing of messages", "120", "everyone"):
        assert any(said in row for row in rows), said
    assert page.locator("#privacy-plot svg").is_visible()
    assert page.locator("#learning tbody tr").count() == 3
    assert "2,443,584" in page.locator("#facts").inner_text()


@pytest.mark.parametrize("place", ["#message", "#probe-text"])
def test_a_text_that_is_too_long_is_refused_with_a_sentence_and_kept_whole(page: Any, place: str) -> None:
    if place == "#probe-text":
        page.get_by_role("tab", name="Leakage probe").click()
    written = page.locator(f"{place} textarea")
    for length in (4_001, 70_000):
        written.fill("x" * length)
        page.get_by_role("button", name="Send" if place == "#message" else "Probe", exact=True).click()
        page.get_by_text(f"{length:,} characters").first.wait_for()
        assert len(written.input_value()) == length
    page.errors.clear()  # the guard's own refusal of the longest
    written.fill("my laptop")
    page.get_by_role("button", name="Send" if place == "#message" else "Probe", exact=True).click()
    page.locator(REPLY if place == "#message" else "#probe-table tbody tr").first.wait_for()


def test_a_bare_model_folder_is_served_without_claim_or_reference(browser: Any, servers: Servers) -> None:
    page = open_page(browser, servers.bare)
    assert page.locator("#epsilon-badge").inner_text() == "no privacy claim"
    field(page).fill("hold the power button")
    page.get_by_role("button", name="Probe my text").click()
    page.locator("#probe-table tbody tr").nth(3).wait_for()
    assert "without its public reference" in page.locator("#probe-words").inner_text()
    page.get_by_role("tab", name="Privacy").click()
    page.get_by_role("heading", name="No claim").wait_for()
    close_page(page)
