"""The calibrated leakage probe in a real browser: what is found, what the slider changes, how it looks on a phone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.calibration import FILE
from tests.serving.browsing import close_page, open_page
from tests.serving.calibrations import a_calibration
from tests.serving.conftest import SECRET, Served, running

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def calibrated(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the run whose model knows SECRET by heart, with a calibration."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(run_folder, folder)
    (folder / FILE).parent.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(a_calibration(folder, familiar=" ".join(SECRET[1].split()[2:])).to_bytes())
    with running(folder) as (calibrated,):
        yield calibrated


def probe(page: Any, text: str) -> list[tuple[str, str]]:
    """Each word with what was found of it, read as an assistant's reply."""
    page.get_by_role("tab", name="Leakage probe").click()
    page.locator("#probe-text textarea").fill(text)
    page.get_by_label("an assistant's reply").check()
    page.get_by_role("button", name="Probe", exact=True).click()
    page.locator("#probe-table tbody tr").first.wait_for()
    marked = page.locator("#probe-words .cf-word").all()
    return [(word.locator("b").inner_text(), word.get_attribute("data-finding")) for word in marked]


def test_a_secret_that_one_client_said_is_found_and_words_of_many_are_not(browser: Any, calibrated: Served) -> None:
    page = open_page(browser, calibrated)
    found = dict(probe(page, SECRET[1]))
    assert found["bergamot"] == "leaked", found
    assert "leaked" not in {found[word] for word in ("print", "badge", "room", "forty", "two")}, found
    said = page.locator("#probe-words [role=status]").inner_text()
    assert re.search(r"\d+ of \d+ words? tested leaked", said) and "With 90% confidence" in said
    word = page.locator("#probe-words [data-finding=leaked]").first
    assert "▲▲ leaked" in word.inner_text() and "leaked" in (word.get_attribute("aria-label") or "")
    word.focus()
    assert "Chance of so much: 1 in" in word.locator(".cf-tip").inner_text()
    close_page(page)


def test_the_slider_is_moved_by_keys_and_says_what_is_allowed(browser: Any, calibrated: Served) -> None:
    page = open_page(browser, calibrated)
    probe(page, SECRET[1])
    slider = page.locator("#probe-allowed input[type=range]")
    assert slider.input_value() == "5"
    page.locator("#probe-words").get_by_text("at most 5%").wait_for()
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.locator("#probe-words").get_by_text("at most 8%").wait_for()
    page.locator("#probe-allowed input[type=number]").fill("1")
    page.locator("#probe-allowed input[type=number]").press("Tab")
    page.locator("#probe-words").get_by_text("Nothing can be found at 1%").wait_for()
    assert page.locator("#probe-words [data-finding=leaked]").count() == 0
    close_page(page)


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (360, "dark"),
        (1280, "light"),
        pytest.param(360, "light", marks=pytest.mark.long),
        pytest.param(1280, "dark", marks=pytest.mark.long),
    ],
)
def test_nothing_is_wider_than_the_screen(
    browser: Any, calibrated: Served, width: int, scheme: str, shots: Path
) -> None:
    page = open_page(browser, calibrated, width=width, scheme=scheme)
    probe(page, f"{SECRET[1]} <b>bold</b>")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_text("It cannot show").wait_for()
    page.screenshot(path=shots / f"findings-{width}-{scheme}.png", full_page=True)
    close_page(page)
