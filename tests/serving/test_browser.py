"""The page in a real browser, as a person uses it; and that it never asks any other host for anything."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.serving.conftest import LONG_REPLY, SECRET, Served, Servers

pytestmark = pytest.mark.browser
REPLY = "#conversation [data-testid=bot]"
QUESTION = "#conversation [data-testid=user]"
LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
WATCH = """() => { window.lengths = []; setInterval(() => {
  const replies = document.querySelectorAll('#conversation [data-testid=bot]');
  window.lengths.push(replies.length ? replies[replies.length - 1].innerText.length : 0); }, 15); }"""
CUT_OFF = """() => { const edge = document.querySelector('#conversation').getBoundingClientRect().right;
  return [...document.querySelectorAll('#conversation button')].filter(
    b => b.checkVisibility() && b.getBoundingClientRect().right > edge).map(b => b.innerText); }"""
STOP_SOON = """() => { const watch = setInterval(() => {
  const button = document.querySelector('#message .stop-button');
  if (button && document.querySelector('#conversation [data-testid=bot]')?.innerText.length > 20) {
    clearInterval(watch); button.click(); window.stopped = true; } }, 10); }"""  # before the reply is over


def open_page(browser: Any, served: Served, width: int = 1280, scheme: str = "light") -> Any:
    """The page, loaded; what it asked for is kept in `page.asked`, and in `page.errors` what scripts and the console
    complained of and what was refused: every feature that a test drives must pass the guard.
    """
    page = watched(browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme))
    page.goto(served.url)
    page.locator("#suggestions button").first.wait_for()
    return page


def watched(context: Any) -> Any:
    """A new page of the context that keeps what it asks for, and what fails."""
    context.set_default_timeout(20_000)
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


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    opened = open_page(browser, served)
    yield opened
    close_page(opened)


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
    return page.locator(REPLY).nth(count).inner_text()


def lengthen(page: Any, tokens: int) -> None:
    page.get_by_role("button", name="Generation settings").click()
    box = page.get_by_label(re.compile("^number input for Longest reply"))
    box.fill(str(tokens))
    box.press("Tab")


def test_a_reply_streams_into_the_page(page: Any) -> None:
    page.evaluate(WATCH)
    lengthen(page, 120)
    reply = ask(page, "tell me everything")
    lengths = page.evaluate("window.lengths")
    assert reply.startswith("step 1 of the list")
    assert lengths == sorted(lengths) and len(set(lengths) - {0}) >= 5, "the text did not grow piece by piece"


def test_stop_ends_the_reply_on_the_page_and_in_the_server(page: Any, served: Served) -> None:
    lengthen(page, 250)
    page.evaluate(STOP_SOON)
    send(page, "tell me everything")
    page.wait_for_function("window.stopped")
    settled(page)
    stopped = page.locator(REPLY).inner_text()
    page.wait_for_timeout(300)
    before = served.cpu_seconds()
    page.wait_for_timeout(800)
    assert served.cpu_seconds() - before < 0.4, "the server went on generating"
    assert page.locator(REPLY).inner_text() == stopped and 0 < len(stopped) < len(LONG_REPLY) - 100


def test_leaving_the_page_ends_the_reply_in_the_server(browser: Any, served: Served) -> None:
    page = open_page(browser, served)
    lengthen(page, 250)
    send(page, "tell me everything")
    page.wait_for_function(f"document.querySelector('{REPLY}')?.innerText.length > 20")
    close_page(page)
    time.sleep(0.5)
    before = served.cpu_seconds()
    time.sleep(0.8)
    assert served.cpu_seconds() - before < 0.4, "the server went on generating for nobody"


def test_a_second_message_waits_for_the_first_reply(page: Any) -> None:
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


def test_retry_writes_the_reply_anew(page: Any) -> None:
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
    assert page.evaluate("document.activeElement.closest('#message') !== null"), "the field lost the focus"


def test_messages_are_shown_as_plain_text(page: Any) -> None:
    hostile = "<img src=x onerror=window.broken=1> <b>b</b> &lt; a < b & c &amp; ![a](http://example.org/a.png)"
    hostile += " <|assistant|> **b**"
    ask(page, hostile)
    assert page.locator(QUESTION).inner_text() == hostile
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function(f"!document.querySelector('{QUESTION}')")
    assert field(page).input_value() == hostile
    assert page.locator("#conversation img").count() == 0 and page.evaluate("window.broken") is None


def test_a_reply_is_probed_word_by_word(page: Any) -> None:
    reply = ask(page, SECRET[0])
    page.get_by_role("button", name="Probe last reply").click()
    page.locator("#probe-table tbody tr").first.wait_for()
    words = page.locator("#probe-words .cf-word b").all_inner_texts()
    assert words == reply.split() == page.locator("#probe-table tbody th").all_inner_texts()
    assert page.locator("#probe-text textarea").input_value() == reply
    assert page.get_by_label("an assistant's reply").is_checked()
    marked = page.locator("#probe-words .cf-word").all()
    shifts = [float(word.get_attribute("data-shift")) for word in marked]
    assert max(shifts) > 4, "the secret that only the served model learned does not stand out"
    told = page.locator("#probe-table tbody tr").all_inner_texts()
    assert any("more than all twins" in row or "more than nearly all twins" in row for row in told), told
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
    page.locator("#probe-text textarea").fill("<b>bold</b> {{value}} ${1+1} &amp;\nmy laptop")
    page.get_by_role("button", name="Probe", exact=True).click()
    page.locator("#probe-table tbody tr").first.wait_for()
    words = ["<b>bold</b>", "{{value}}", "${1+1}", "&amp;", "my", "laptop"]
    assert page.locator("#probe-table tbody th").all_inner_texts() == words
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


def test_every_button_has_a_name_and_focus_is_seen(page: Any) -> None:
    ask(page, SECRET[0])
    nameless = page.evaluate(
        "() => [...document.querySelectorAll('button')].filter(b => b.checkVisibility() && "
        "!(b.innerText.trim() || b.ariaLabel || b.title)).map(b => b.outerHTML.slice(0, 200))"
    )
    assert nameless == []
    for _ in range(3):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_seed_stays_empty_when_the_settings_are_opened(page: Any) -> None:
    page.get_by_role("button", name="Generation settings").click()
    assert page.get_by_label("Seed").input_value() == ""
    with page.expect_request(
        lambda request: request.method == "POST" and '"fn_index":1,' in request.post_data
    ) as asked:
        ask(page, SECRET[0])
    assert asked.value.post_data_json["data"][-1] == ""


def test_the_longest_reply_is_no_longer_than_there_is_room(page: Any) -> None:
    page.get_by_role("button", name="Generation settings").click()
    box = page.get_by_label(re.compile("^number input for Longest reply"))
    assert box.get_attribute("max") == "256"  # half of the model's 512 tokens


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


def test_what_the_model_no_longer_sees_is_said_under_the_field(page: Any) -> None:
    lengthen(page, 20)
    for _ in range(3):
        ask(page, "word and another " * 20)
    page.locator("#view").get_by_text(re.compile(r"no longer sees the first .*512 tokens")).wait_for()
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


ARABIC = "مرحبا بالعالم my laptop الجديد"
FIRST_AND_LAST = """place => { const text = document.querySelector(place), walker = document.createTreeWalker(text, 4);
  const words = [];
  while (walker.nextNode()) for (const found of walker.currentNode.data.matchAll(/\\S+/g)) {
    const range = document.createRange();
    range.setStart(walker.currentNode, found.index); range.setEnd(walker.currentNode, found.index + found[0].length);
    words.push([found[0], range.getBoundingClientRect().left, range.getBoundingClientRect().right]); }
  return [words, text.getBoundingClientRect().right]; }"""


def test_a_text_from_right_to_left_stands_so_in_the_conversation_and_in_the_probe(page: Any, shots: Path) -> None:
    ask(page, ARABIC)
    page.screenshot(path=shots / "right-to-left-chat.png", full_page=True)
    words, _ = page.evaluate(FIRST_AND_LAST, QUESTION)
    lefts = [left for _, left, _ in words]
    assert [word for word, *_ in words] == ARABIC.split()
    assert lefts[0] > lefts[1] > lefts[3] > lefts[4] and lefts[2] < lefts[3], "the sentence does not run right to left"
    field(page).fill(ARABIC)
    assert field(page).evaluate("element => getComputedStyle(element).unicodeBidi") == "plaintext"
    page.get_by_role("button", name="Probe my text").click()
    page.locator("#probe-table tbody tr").nth(4).wait_for()
    page.screenshot(path=shots / "right-to-left-probe.png", full_page=True)
    page.locator("#probe-words .cf-word").first.hover()
    tip = page.locator("#probe-words .cf-tip").first.bounding_box()
    edge = page.locator("#probe-words").evaluate("words => words.getBoundingClientRect().right")
    assert tip["x"] + tip["width"] <= edge + 1, "the tip stands out to the right"
    boxes = [word.bounding_box() for word in page.locator("#probe-words .cf-word").all()]
    assert boxes[0]["x"] == max(box["x"] for box in boxes) and boxes[0]["x"] > boxes[1]["x"]
    assert page.locator("#probe-words ol").evaluate("list => getComputedStyle(list).direction") == "rtl"
    page.locator("#probe-text textarea").fill("my laptop will not start")
    page.get_by_role("button", name="Probe", exact=True).click()
    page.wait_for_function("document.querySelector('#probe-words ol:dir(ltr)') !== null")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_follows_the_system(
    browser: Any, served: Served, shots: Path, width: int, scheme: str
) -> None:
    page = open_page(browser, served, width, scheme)
    shoot = lambda name: page.screenshot(path=shots / f"{name}-{width}-{scheme}.png", full_page=True)  # noqa: E731
    wide = []
    shoot("start")
    assert page.evaluate(CUT_OFF) == []
    ask(page, SECRET[0])
    field(page).press_sequentially("my lap", delay=20)
    page.wait_for_function("document.querySelector('#suggestions button').innerText.startsWith('laptop')")
    shoot("chat")
    wide.append(page.evaluate("document.documentElement.scrollWidth"))
    page.get_by_role("button", name="Probe last reply").click()
    page.locator("#probe-table tbody tr").first.wait_for()
    page.locator("#probe-words .cf-word").nth(1).hover()
    shoot("probe")
    wide.append(page.evaluate("document.documentElement.scrollWidth"))
    page.get_by_role("tab", name="Privacy").click()
    page.locator("#epsilon-value").wait_for()
    shoot("privacy")
    wide.append(page.evaluate("document.documentElement.scrollWidth"))
    assert max(wide) <= width, "the page scrolls sideways"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(n) for n in re.findall(r"\d+", background)[:3]) / 3
    assert (brightness < 80) == (scheme == "dark"), background
    close_page(page)


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
