"""The conversation in a real browser: replies that stream and stop, messages taken back, next words, the draft."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.serving.browsing import QUESTION, REPLY, WATCH, ask, close_page, field, lengthen, open_page, send, settled
from tests.serving.conftest import LONG_REPLY, SECRET, Served

pytestmark = pytest.mark.browser
STOP_SOON = """() => { const watch = setInterval(() => {
  const button = document.querySelector('#message .stop-button');
  if (button && document.querySelector('#conversation [data-testid=bot]')?.innerText.length > 20) {
    clearInterval(watch); button.click(); window.stopped = true; } }, 10); }"""  # before the reply is over


def of_a_whole_reply(page: Any, served: Served) -> float:
    """Processor seconds of the long reply and of the next words after it; the conversation is begun anew."""
    before = served.rested()
    ask(page, "tell me everything")
    spent = served.rested() - before
    page.get_by_role("button", name="New conversation").click()
    page.wait_for_function(f"!document.querySelector('{REPLY}')")
    return spent


def test_a_reply_streams_into_the_page(slow_page: Any) -> None:
    page = slow_page
    page.evaluate(WATCH)
    lengthen(page, 120)
    reply = ask(page, "tell me everything")
    lengths = page.evaluate("window.lengths")
    assert reply.startswith("step 1 of the list")
    assert lengths == sorted(lengths) and len(set(lengths) - {0}) >= 5, "the text did not grow piece by piece"


def test_stop_ends_the_reply_on_the_page_and_in_the_server(slow_page: Any, slow: Served) -> None:
    page = slow_page
    lengthen(page, 250)
    whole = of_a_whole_reply(page, slow)
    page.evaluate(STOP_SOON)
    before = slow.rested()
    send(page, "tell me everything")
    page.wait_for_function("window.stopped")
    settled(page)
    stopped = page.locator(REPLY).inner_text()
    assert slow.rested() - before < 0.75 * whole, "the server went on generating"
    assert page.locator(REPLY).inner_text() == stopped and 0 < len(stopped) < len(LONG_REPLY) - 100


def test_leaving_the_page_ends_the_reply_in_the_server(browser: Any, slow: Served) -> None:
    page = open_page(browser, slow)
    lengthen(page, 250)
    whole = of_a_whole_reply(page, slow)
    before = slow.rested()
    send(page, "tell me everything")
    page.wait_for_function(f"document.querySelector('{REPLY}')?.innerText.length > 20")
    close_page(page)
    assert slow.rested() - before < 0.75 * whole, "the server went on generating for nobody"


def test_a_second_message_waits_for_the_first_reply(slow_page: Any) -> None:
    page = slow_page
    lengthen(page, 200)
    send(page, "tell me everything")
    page.wait_for_function(f"document.querySelector('{REPLY}')?.innerText.length > 20")
    field(page).fill("my badge is lost")
    field(page).press("Enter")
    page.get_by_text("still being written").wait_for()
    settled(page)
    assert page.locator(QUESTION).count() == 1 and field(page).input_value() == "my badge is lost"


def test_an_empty_message_is_answered_with_a_sentence(page: Any) -> None:
    field(page).press("Enter")
    page.get_by_text("Type a message first.").wait_for()
    assert page.locator(QUESTION).count() == 0


def test_retry_writes_the_reply_anew(slow_page: Any) -> None:
    page = slow_page
    first = ask(page, SECRET[0])
    page.evaluate(WATCH)
    page.get_by_role("button", name="Retry").click()
    page.wait_for_function("window.lengths.some((n, i) => i && n < window.lengths[i - 1])")
    settled(page)
    page.wait_for_function(f"document.querySelector('{REPLY}')?.innerText.length > 20")
    assert "bergamot" in first and "bergamot" in page.locator(REPLY).inner_text()
    assert page.locator(REPLY).count() == 1 == page.locator(QUESTION).count()


def test_undo_takes_the_message_back_into_the_field(page: Any) -> None:
    ask(page, SECRET[0])
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function(f"!document.querySelector('{REPLY}')")
    assert field(page).input_value() == SECRET[0] and page.locator(QUESTION).count() == 0


def test_an_edited_message_gets_a_new_reply(page: Any) -> None:
    assert "bergamot" in ask(page, SECRET[0])
    page.get_by_role("button", name="Edit", exact=True).click()
    page.locator("#conversation textarea").fill("i forgot my password")
    page.get_by_role("button", name="Submit", exact=True).click()
    page.locator(REPLY).get_by_text("reset password").wait_for()
    settled(page)
    assert page.locator(QUESTION).all_inner_texts() == ["i forgot my password"] and page.locator(REPLY).count() == 1


def test_an_example_starts_a_conversation_and_new_conversation_ends_it(page: Any) -> None:
    page.get_by_role("button", name=re.compile("my laptop will not start")).click()
    page.locator(REPLY).get_by_text("power button").wait_for()
    settled(page)
    page.get_by_role("button", name="New conversation").click()
    page.wait_for_function(f"!document.querySelector('{QUESTION}')")


def test_a_message_and_a_conversation_are_copied(page: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reply = ask(page, SECRET[0])
    for name, held in (("Copy message", SECRET[0]), ("Copy conversation", reply)):
        page.get_by_role("button", name=name).first.click()
        page.wait_for_function("async held => (await navigator.clipboard.readText()).includes(held)", arg=held)


def test_suggestions_follow_the_typing_and_a_click_adds_the_word(page: Any) -> None:
    field(page).press_sequentially("my lap", delay=25)
    first = page.locator("#suggestions button").first
    page.wait_for_function("document.querySelector('#suggestions button').innerText.startsWith('laptop')")
    assert page.locator("#suggestions button:visible").count() >= 3
    assert re.search(r"\d+ %$", first.inner_text())
    first.click()
    page.wait_for_function("document.querySelector('#message textarea').value === 'my laptop '")
    page.wait_for_function("document.querySelector('#suggestions button').innerText.startsWith('will')")
    page.wait_for_function("document.activeElement.closest('#message') !== null")  # the field has the focus again


def test_messages_are_shown_as_plain_text(page: Any) -> None:
    hostile = "<img src=x onerror=window.broken=1> <b>b</b> &lt; a < b & c &amp; ![a](http://example.org/a.png)"
    hostile += " <|assistant|> **b**"
    ask(page, hostile)
    assert page.locator(QUESTION).inner_text() == hostile
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function(f"!document.querySelector('{QUESTION}')")
    assert field(page).input_value() == hostile
    assert page.locator("#conversation img").count() == 0 and page.evaluate("window.broken") is None


def test_a_seed_stays_empty_when_the_settings_are_opened(page: Any) -> None:
    page.get_by_role("button", name="Generation settings").click()
    assert page.get_by_label("Seed").input_value() == ""
    sent = list[Any]()


    def noted(request: Any) -> None:
        if "/queue/join" in request.url:
            sent.append(request.post_data_json)

    page.on("request", noted)
    ask(page, SECRET[0])
    history, *settings, _, _ = next(call["data"] for call in sent if len(call["data"]) == 8)  # the one that writes
    assert history[-1]["role"] == "user" and len(settings) == 5 and settings[-1] == ""


def test_the_longest_reply_is_no_longer_than_there_is_room(page: Any) -> None:
    page.get_by_role("button", name="Generation settings").click()
    box = page.get_by_label(re.compile("^number input for Longest reply"))
    assert box.get_attribute("max") == "256"  # half of the model's 512 tokens


def test_what_the_model_no_longer_sees_is_said_under_the_field(page: Any) -> None:
    lengthen(page, 20)
    said = page.locator("#view").get_by_text(re.compile(r"no longer sees the first .*512 tokens"))
    for _ in range(6):  # how soon that is depends on how long its replies are
        ask(page, "word and another " * 20)
        if said.count():
            break
    said.wait_for()
    page.get_by_role("button", name="New conversation").click()
    page.wait_for_function("!document.querySelector('#view')?.innerText.trim()")


def test_the_focus_comes_back_to_the_field(page: Any) -> None:
    ask(page, SECRET[0])  # by the button Send, which is gone while the reply is written
    page.wait_for_function("document.activeElement.closest('#message') !== null")
    send(page, SECRET[0])
    page.get_by_role("button", name="Generation settings").focus()  # what somebody has turned to keeps it
    page.locator(REPLY).nth(1).wait_for()
    settled(page)
    page.wait_for_timeout(500)
    assert page.evaluate("document.activeElement.closest('#message') === null")


def test_enter_while_a_word_is_composed_sends_nothing(page: Any) -> None:
    field(page).fill("nihon")
    for key in ("composing", "process"):
        field(page).evaluate(
            """(element, kind) => { element.dispatchEvent(new CompositionEvent('compositionstart', {bubbles: true}));
            const key = kind === 'process' ? 'Process' : 'Enter', pressed = {key, code: 'Enter', keyCode: 229};
            const how = {isComposing: true, bubbles: true, cancelable: true};
            element.dispatchEvent(new KeyboardEvent('keydown', {...pressed, ...how})); }""",
            key,
        )
    page.wait_for_timeout(300)
    assert page.locator(QUESTION).count() == 0 and field(page).input_value() == "nihon"
    field(page).press("Enter")
    page.locator(REPLY).first.wait_for()
