"""An audit's page in a real Chromium: it fits a phone, asks nobody, and says the bad as loudly as the good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatfed.audit.audit_page import render
from tests.audit.audits import PARTS, audit_of
from tests.serving.browsing import watched
from tests.training.processes import wait_for

pytestmark = pytest.mark.browser

WIDE = """() => [...document.querySelectorAll('main *')].filter(each => !each.closest('.scroll') && !each.closest('svg')
  && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 200))"""
SIZES = """place => [...document.querySelectorAll(place)].map(each => parseFloat(getComputedStyle(each).fontSize))"""
CONTRAST = """() => { const line = value => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
  const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(value => line(value / 255)).reduce(
    (sum, value, at) => sum + [.2126, .7152, .0722][at] * value, 0);
  const style = each => getComputedStyle(each || document.body);
  const behind = each => { while (each && style(each).backgroundColor.endsWith(', 0)')) each = each.parentElement;
    return style(each).backgroundColor; };
  const says = each => [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  const shown = [...document.querySelectorAll('main *')].filter(each => !each.closest('svg') && each.checkVisibility());
  return Math.min(...shown.filter(says).map(each => { const pair = [style(each).color, behind(each)].map(light);
    return (Math.max(...pair) + .05) / (Math.min(...pair) + .05); })); }"""
"""The least contrast of any text with what it stands on, as WCAG 2 has it."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "audit.html"
    path.write_text(render(audit_of(PARTS), PARTS), encoding="utf-8")
    return path


def opened(browser: Any, path: Path, width: int, scheme: str = "light") -> Any:
    page = watched(browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme))
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_asks_nobody_and_can_be_read(
    browser: Any, written: Path, shots: Path, width: int, scheme: str
) -> None:
    page = opened(browser, written, width, scheme)
    page.screenshot(path=shots / f"audit-first-{width}-{scheme}.png")
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.screenshot(path=shots / f"audit-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width and page.evaluate(WIDE) == []
    assert page.evaluate(CONTRAST) >= 4.5, "WCAG 2, 1.4.3"
    assert page.asked == [written.as_uri()] and page.errors == []
    page.context.close()


def test_what_is_not_protected_is_as_large_as_what_is_and_in_the_first_screen_of_a_desk(
    browser: Any, written: Path
) -> None:
    page = opened(browser, written, 1280)
    proven, open_to_all = (f".first section:nth-child({at})" for at in (1, 2))
    assert page.evaluate(SIZES, f"{open_to_all} li")[0] == page.evaluate(SIZES, f"{proven} p")[0]
    boxes = [page.locator(each).bounding_box() for each in (proven, open_to_all)]
    assert boxes[0]["y"] == boxes[1]["y"] < 844 and boxes[0]["width"] == boxes[1]["width"]
    page.context.close()


def test_a_part_is_reached_from_the_first_screen_and_a_wide_table_by_keys(browser: Any, written: Path) -> None:
    page = opened(browser, written, 390)
    page.get_by_role("link", name="server: fault").click()
    assert page.locator("#server").bounding_box()["y"] < 844
    table = page.get_by_role("region", name="Attack by recipe")
    table.focus()
    page.keyboard.press("ArrowRight")
    assert wait_for(lambda: bool(page.evaluate("document.activeElement.scrollLeft > 0")), 5, every=0.05)
    page.context.close()
