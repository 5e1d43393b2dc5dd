"""What is held back, in a real browser: shown before it is said, and never read by the model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.texts import read_texts
from tests.serving.browsing import QUESTION, REPLY, close_page, field, watched
from tests.serving.page_server import NOTHING, Parrot, hosted

pytestmark = pytest.mark.browser
SAID = "my name is Monika Casteldahl, ring 0555 451 9283"
HELD = "#held .cf-held"


@pytest.fixture(scope="module")
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture(scope="module")
def port(parrot: Parrot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    from serving.application import guarded
    from serving.page import build_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        page = build_page(parrot, None, NOTHING, texts=read_texts())  # type: ignore[arg-type]
        with hosted(guarded({"en": page})) as port:
            yield port


def opened(browser: Any, port: int, width: int) -> Any:
    page = watched(browser.new_context(viewport={"width": width, "height": 900}))
    page.goto(f"http://127.0.0.1:{port}")
    field(page).wait_for()
    return page


def pictured(page: Any, name: str) -> None:
    """A picture for whoever asks for it by CHATFED_SCREENSHOTS."""
    if folder := os.environ.get("CHATFED_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_person_sees_what_leaves_and_what_does_not(browser: Any, port: int, parrot: Parrot, width: int) -> None:
    page = opened(browser, port, width)
    field(page).fill(SAID)
    page.locator(HELD).wait_for()
    assert "This names: 1 name, 1 phone. The model will read it." in page.locator(HELD).inner_text()
    pictured(page, f"mark-{width}")
    page.get_by_label("Hold it back").check()
    page.get_by_text("my name is [NAME-1], ring [PHONE-1]").wait_for()
    assert "Monika" not in page.locator(HELD).inner_text(), "what is held back is folded away"
    page.get_by_text("Show what was found").click()
    assert "Monika Casteldahl" in page.locator(HELD).inner_text()
    pictured(page, f"mask-{width}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "something is wider than the page"
    before = len(parrot.asked)
    page.get_by_role("button", name="Send").click()
    page.locator(REPLY).wait_for()
    page.get_by_text("It read:").wait_for()
    assert page.locator(QUESTION).inner_text().strip() == SAID
    asked = [[turn.content for turn in turns] for turns in parrot.asked[before:]]  # for the reply, and for next words
    assert ["my name is [NAME-1], ring [PHONE-1]"] in [turns[-1:] for turns in asked]
    assert not any("Monika" in text or "9283" in text for turns in asked for text in turns)
    pictured(page, f"sent-{width}")
    close_page(page)


def test_what_is_not_to_be_sent_stays_in_the_field(browser: Any, port: int, parrot: Parrot) -> None:
    page, before = opened(browser, port, 1280), len(parrot.asked)
    page.get_by_label("Do not send").check()
    field(page).fill(SAID)
    page.get_by_text("It will not be sent.").wait_for()
    page.get_by_role("button", name="Send").click()
    page.get_by_text("names what you chose not to say").wait_for()
    assert field(page).input_value() == SAID and page.locator(QUESTION).count() == 0
    assert not any(parrot.asked[before:]), "next words for the empty field have no message before them; a reply has"
    close_page(page)
