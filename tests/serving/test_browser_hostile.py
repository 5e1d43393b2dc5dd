"""A model that says markup and script, and a visitor who types them: nothing runs, and nothing leaves the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatfed.generation import TokenScore
from chatfed.types import InvalidValue, Turn
from serving.run_folder import Bare
from tests.serving.browsing import QUESTION, REPLY, ask, close_page, watched
from tests.serving.page_server import NOTHING, Parrot, hosted
from tests.serving.test_comparison import CLAIM, Talker, claimed

pytestmark = pytest.mark.browser
AWAY = "https://evil.example/a.png"
MARKUP = (
    "<script>window.broken=1</script><img src=x onerror='window.broken=1'><svg onload='window.broken=1'></svg>"
    f"<img src='{AWAY}'><iframe src='{AWAY}'></iframe><a href='javascript:window.broken=1'>go</a>"
    f"<style>body{{background:url({AWAY})}}</style>![x]({AWAY}) [x]({AWAY}) $x$ <b>b</b> &lt;i&gt;"
    "${window.broken=1}{{constructor.constructor('window.broken=1')()}} </p></section>\" onclick=\"window.broken=1"
)
INSIDE = """() => [...document.querySelectorAll(
  '#conversation [data-testid], #alternatives, #compare-answers')].flatMap(
  part => [...part.querySelectorAll('script, img, iframe, a, b, i, style, [onclick], svg[onload]')])
  .map(element => element.outerHTML)"""


class Hostile(Talker):
    """A chat that says markup in one piece after another, and whose tokens are markup."""

    context = 4096

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(*(MARKUP[at : at + 7] for at in range(0, len(MARKUP), 7)))
        self.tokenizer = tokenizer

    def score_ids(self, ids: Sequence[int], top: int = 0) -> list[tuple[TokenScore | None, tuple[TokenScore, ...]]]:
        said = TokenScore(99, MARKUP, MARKUP.encode(), -1.0)
        return [(None, ()), *((said, (said,) * top) for _ in ids[1:])]


@pytest.fixture
def page(browser: Any, tiny_tokenizer: Any) -> Iterator[Any]:
    from serving.application import guarded
    from serving.page import build_page

    models: list[Any] = [Hostile(tiny_tokenizer) for _ in range(3)]
    run = replace(claimed(CLAIM), bare=Bare(Path("bare"), "without-noise"))
    application = guarded(build_page(models[0], models[1], run, examples=[MARKUP], operator=True, bare=models[2]))
    with hosted(application) as port:
        opened = watched(browser.new_context(viewport={"width": 390, "height": 844}))
        opened.goto(f"http://127.0.0.1:{port}")
        opened.locator("#suggestions button").first.wait_for()
        yield opened
        close_page(opened)  # says so when it asked another host


def test_markup_stays_text_everywhere_and_three_models_stack_on_a_phone(page: Any, shots: Path) -> None:
    assert ask(page, MARKUP) == MARKUP and page.locator(QUESTION).inner_text() == MARKUP
    page.get_by_role("button", name="Word by word", exact=True).click()
    page.locator("#alternatives .cf-choices li").nth(4).wait_for()
    assert page.locator("#alternatives .cf-token").first.inner_text() == MARKUP
    assert page.locator("#alternatives .cf-choices button").first.inner_text().startswith("<script>window.broken=1")
    page.screenshot(path=shots / "hostile-chat-390.png", full_page=True)
    assert (found := page.evaluate(INSIDE)) == [], found
    page.get_by_role("tab", name="Compare").click()
    prompt = page.get_by_label("One prompt for all three")
    prompt.fill(MARKUP)
    page.get_by_role("button", name="Ask all three").click()
    page.locator("#compare-answers").get_by_text("word for word").wait_for()
    names = ("Public base", "Private model", "Without any guarantee")
    cards = [page.get_by_role("region", name=name) for name in names]
    assert [card.locator(".cf-answer").inner_text() for card in cards] == [MARKUP] * 3
    assert "may repeat what a person said" in cards[2].inner_text()
    tops = [card.bounding_box()["y"] for card in cards]
    assert tops == sorted(set(tops)) and page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=shots / "hostile-compare-390.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 844})
    assert len({card.bounding_box()["y"] for card in cards}) == 1, "three answers do not stand side by side"
    page.screenshot(path=shots / "hostile-compare-1280.png", full_page=True)
    assert (found := page.evaluate(INSIDE)) == [] and page.evaluate("window.broken") is None, found
    assert page.locator(REPLY).count() == 1


def test_an_error_that_quotes_markup_is_plain_text_in_its_toast(browser: Any) -> None:
    from serving.application import guarded
    from serving.page import build_page

    class Refusing(Parrot):
        def stream(self, turns: Sequence[Turn], settings: Any) -> Iterator[str]:
            raise InvalidValue(MARKUP)

    with hosted(guarded(build_page(Refusing(), None, NOTHING))) as port:  # type: ignore[arg-type]
        page = watched(browser.new_context())
        page.goto(f"http://127.0.0.1:{port}")
        page.locator("#suggestions button").first.wait_for()
        page.locator("#message textarea").fill("hello")
        page.get_by_role("button", name="Send").click()
        toast = page.get_by_test_id("toast-text").first
        toast.wait_for()
        assert toast.inner_text() == MARKUP and toast.locator("*").count() == 0
        assert page.evaluate("window.broken") is None
        close_page(page)  # says so when it asked another host
