"""What axe-core finds on each tab: phone and desktop, light and dark. Nothing serious, nothing critical.

axe-core comes from the package axe-playwright-python; it is run in the page, asks nobody, and sees contrast, names,
roles and order as WCAG 2.2 AA has them. What it cannot see (focus, keyboard) other tests of the page look at.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.serving.browsing import ask, close_page, field, open_page
from tests.serving.conftest import SECRET, Served

pytestmark = pytest.mark.browser
RUN = """async only => { const found = await axe.run(document, only ? {runOnly: only} : {});
  return found.violations.filter(each => ['serious', 'critical'].includes(each.impact)).flatMap(each =>
    each.nodes.map(node => `${each.id}: ${node.html.slice(0, 160)} ${node.any[0]?.message ?? ''}`)); }"""
DARK = "dark => document.body.classList.toggle('dark', dark)"


def examined(page: Any, name: str, shots: Path) -> list[str]:
    """What is serious or worse on the page as it stands, light and dark."""
    found = []
    for dark in (False, True):
        page.evaluate(DARK, dark)
        page.wait_for_timeout(300)  # colours that change slowly are over
        width = page.viewport_size["width"]
        page.screenshot(path=shots / f"{name}-{width}-{'dark' if dark else 'light'}.png", full_page=True)
        found += [f"{name}, {width} wide, dark {dark}: {each}" for each in page.evaluate(RUN, None)]
    page.evaluate(DARK, False)
    return found


def chat(page: Any) -> None:
    ask(page, SECRET[0])
    page.get_by_role("button", name="Word by word", exact=True).click()
    page.locator("#alternatives .cf-choices li").first.wait_for()
    page.get_by_role("button", name="Generation settings").click()
    page.get_by_label("System prompt").wait_for()
    field(page).fill("my lap")


def compare(page: Any) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="I lost my badge").click()
    page.locator("#compare-answers").get_by_text("at temperature 0").wait_for()


def probe(page: Any) -> None:
    page.get_by_role("tab", name="Leakage probe").click()
    page.locator("#probe-text textarea").fill(SECRET[1])
    page.get_by_role("button", name="Probe", exact=True).click()
    page.locator("#probe-table tbody tr").first.wait_for()


def privacy(page: Any) -> None:
    page.get_by_role("tab", name="Privacy").click()
    page.locator("#epsilon-value").wait_for()


TABS: tuple[Callable[[Any], None], ...] = (chat, compare, probe, privacy)


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious_on_any_tab(browser: Any, served: Served, shots: Path, width: int) -> None:
    page = open_page(browser, served, width)
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = examined(page, "axe-start", shots)
    for tab in TABS:
        tab(page)
        found += examined(page, f"axe-{tab.__name__}", shots)
    assert not found, "\n".join(found)
    close_page(page)
