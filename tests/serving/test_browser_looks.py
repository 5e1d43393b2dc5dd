"""How the page looks in a real browser: names and focus, right to left, narrow and wide, light and dark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.serving.browsing import QUESTION, ask, close_page, field, open_page
from tests.serving.conftest import SECRET, Served

pytestmark = pytest.mark.browser
CUT_OFF = """() => { const edge = document.querySelector('#conversation').getBoundingClientRect().right;
  return [...document.querySelectorAll('#conversation button')].filter(
    b => b.checkVisibility() && b.getBoundingClientRect().right > edge).map(b => b.innerText); }"""
ARABIC = "مرحبا بالعالم my laptop الجديد"
FIRST_AND_LAST = """place => { const text = document.querySelector(place), walker = document.createTreeWalker(text, 4);
  const words = [];
  while (walker.nextNode()) for (const found of walker.currentNode.data.matchAll(/\\S+/g)) {
    const range = document.createRange();
    range.setStart(walker.currentNode, found.index); range.setEnd(walker.currentNode, found.index + found[0].length);
    words.push([found[0], range.getBoundingClientRect().left, range.getBoundingClientRect().right]); }
  return [words, text.getBoundingClientRect().right]; }"""


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


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        (1280, "light"),
        pytest.param(390, "light", marks=pytest.mark.long),
        pytest.param(1280, "dark", marks=pytest.mark.long),
    ],
)
def test_the_page_fits_and_follows_the_system(
    browser: Any, served: Served, shots: Path, width: int, scheme: str
) -> None:
    page = open_page(browser, served, width, scheme)
    wide = []

    def shoot(name: str) -> None:
        page.screenshot(path=shots / f"{name}-{width}-{scheme}.png", full_page=True)

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
    hidden = page.locator("#probe-table table").evaluate("it => it.scrollWidth - it.parentElement.clientWidth")
    assert hidden <= 1 or width < 1280, "the last column is cut off"
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
