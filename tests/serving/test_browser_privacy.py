"""The Privacy tab in a real browser: the sentence comes first, and the files can be taken home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import Served

pytestmark = pytest.mark.browser


def test_one_sentence_comes_first_and_the_guarantee_is_taken_home_whole(page: Any, served: Served, shots: Path) -> None:
    page.get_by_role("tab", name="Privacy").click()
    sentence = page.locator("#one-sentence")
    sentence.wait_for()
    assert "a coin in 50 %" in sentence.inner_text()
    top = sentence.bounding_box()["y"]
    assert top < page.locator("#guarantee").bounding_box()["y"] < page.locator("#budgets").bounding_box()["y"]
    page.locator("#privacy-plot details summary").click()
    assert page.locator("#rounds tbody tr").count() == 6
    assert "Nobody has attacked this model" in page.locator("#privacy-audit").inner_text()
    page.screenshot(path=shots / "privacy-open.png", full_page=True)
    with page.expect_download() as taken:
        page.locator("#downloads a", has_text="privacy.json").click()
    assert taken.value.suggested_filename == "privacy.json"
    assert json.loads(Path(taken.value.path()).read_text()) == json.loads((served.run / "privacy.json").read_text())
