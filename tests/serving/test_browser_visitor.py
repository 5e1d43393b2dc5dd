"""What a visitor, who is no operator, sees in a real browser; and that a system prompt reaches the model."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from chatfed import Generation, Turn, load_chat
from serving.application import guarded
from serving.page import build_page
from serving.run_folder import RunFolder
from tests.serving.browsing import REPLY as REPLIES
from tests.serving.browsing import ask, close_page, send, watched
from tests.serving.calibrations import a_calibration
from tests.serving.page_server import hosted
from tests.serving.test_browser_axe import examined

pytestmark = pytest.mark.browser
REPLY, RULES = "please check the cable", "Be kind."


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path) -> RunFolder:
    """A run whose probe has a calibration: its operator has a slider."""
    for name in ("model", "reference"):
        shutil.copytree(tiny_base, tmp_path / name)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "words.npz").write_bytes(a_calibration(tmp_path).to_bytes())
    return RunFolder(tmp_path / "model", tmp_path / "reference", privacy=None, summary=None, metrics=())


def test_a_visitor_gives_the_model_a_system_prompt_and_sees_verdicts_and_no_figure(
    browser: Any, run: RunFolder, shots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[Turn]] = []

    def stream(turns: Sequence[Turn], _: Generation) -> Iterator[str]:
        asked.append(list(turns))
        yield REPLY

    assert run.reference is not None
    chat, reference = load_chat(run.model), load_chat(run.reference)
    monkeypatch.setattr(chat, "stream", stream)
    with hosted(guarded(build_page(chat, reference, run, operator=False))) as port:
        page = watched(browser.new_context(viewport={"width": 1280, "height": 844}))
        page.goto(f"http://127.0.0.1:{port}")
        page.locator("#suggestions button").first.wait_for()
        _prompts_the_model(page, asked)
        assert page.locator("#alternatives").count() == page.locator("#alternatives-open").count() == 0
        page.get_by_role("button", name="Word by word").click()
        page.locator("#alternatives-none").get_by_text("is not shown on this page").wait_for()
        assert not any("%" in label for label in page.locator("#suggestions button").all_inner_texts())

        page.get_by_role("button", name="Probe last reply").click()
        words = page.locator("#probe-words .cf-word")
        words.first.wait_for()
        assert page.locator("#probe-words .cf-word b").all_inner_texts() == REPLY.split()
        assert all(word.get_attribute("data-finding") for word in words.all())
        assert page.get_by_role("slider").locator("visible=true").count() == page.locator("#probe-allowed").count() == 0
        assert page.locator("#probe-table tr").count() == 0
        told = page.locator("#probe-words").inner_html()
        assert not re.search(r"data-shift|\bbits\b|twins", told), told
        page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
        assert examined(page, "axe-visitor-probe", shots) == []
        close_page(page)


def _prompts_the_model(page: Any, asked: list[Sequence[Turn]]) -> None:
    question = Turn("user", "my laptop")
    assert ask(page, question.content) == REPLY
    assert asked == [[question]], "nothing but the conversation"
    page.get_by_role("button", name="Generation settings").click()
    page.get_by_label("System prompt").fill(RULES)
    send(page, "and now?")
    page.locator(REPLIES).nth(1).get_by_text(REPLY).wait_for(timeout=20_000)  # a refusal would leave it out
    assert asked[1:] == [[Turn("system", RULES), question, Turn("assistant", REPLY), Turn("user", "and now?")]]
