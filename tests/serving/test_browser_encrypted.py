"""The tab that asks a server which cannot read the text: a real Chromium, and a real `chatfed he serve` beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.servers import port_in
from benchmarks.servers import served as server
from chatfed.cli import app
from chatfed.command_line import run_typer
from chatfed.encrypted.network import BadHalf
from chatfed.types import InvalidValue
from serving.encrypted_tab import Asking
from serving.texts import languages, read_texts
from tests.serving.browsing import close_page, watched
from tests.serving.conftest import ROOT
from tests.serving.halves import in_clear, write_halves
from tests.serving.page_server import NOTHING, Parrot, hosted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEXT = "my unmistakable zebra"
ROWS = "#encrypted-wire tbody tr"


@pytest.fixture(scope="module")
def run(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_halves(tmp_path_factory.mktemp("run"), tiny_tokenizer)


@contextmanager
def serving(run: Path, port: int = 0) -> Iterator[tuple[int, Path]]:
    """`chatfed he serve` in a process of its own: its port and its output."""
    log = run / "serve.log"
    command = [sys.executable, "-m", "chatfed", "he", "serve", str(run), "--port", str(port)]
    log.unlink(missing_ok=True)
    with server(command, log, port_in, ROOT, OMP_NUM_THREADS="1") as (_, found):
        yield found, log


@pytest.fixture(scope="module")
def served(run: Path) -> Iterator[tuple[int, Path]]:
    with serving(run) as found:
        yield found


@contextmanager
def page_asking(run: Path, port: int) -> Iterator[int]:
    """The page in both languages, whose tab asks there."""
    from serving.application import guarded
    from serving.page import build_page

    asking = Asking.to(f"127.0.0.1:{port}", run)
    pages = {
        each: build_page(Parrot(), None, NOTHING, texts=read_texts(each), encrypted=asking)  # type: ignore[arg-type]
        for each in languages()
    }
    with hosted(guarded(pages)) as found:
        yield found


@pytest.fixture(scope="module")
def port(run: Path, served: tuple[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        with page_asking(run, served[0]) as found:
            yield found


def opened(browser: Any, port: int, locale: str = "en", width: int = 1280) -> Any:
    page = watched(browser.new_context(locale=locale, viewport={"width": width, "height": 844}))
    page.goto(f"http://127.0.0.1:{port}")
    page.locator("#suggestions button").first.wait_for()  # the tabs know their widths by then
    texts = read_texts(locale)
    tab = page.get_by_role("tab", name=texts("tabs.encrypted"))
    if not tab.is_visible():  # on a phone the last tabs are in a menu
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button", has_text=texts("tabs.encrypted"))
    tab.click()
    page.locator("#encrypted-text textarea").wait_for()
    return page


def asked(page: Any, text: str, locale: str = "en") -> list[list[str]]:
    """The rows of what crossed the wire, once all words are there."""
    texts = read_texts(locale)
    page.evaluate("document.querySelector('#encrypted-found [role=status]')?.setAttribute('data-old', '')")
    page.locator("#encrypted-text textarea").fill(text)
    page.get_by_role("button", name=texts("encrypted.ask"), exact=True).click()
    done = texts("encrypted.done").partition("}")[2][:20]
    page.locator("#encrypted-found [role=status]:not([data-old])", has_text=done).wait_for(timeout=90_000)
    return [row.locator("th, td").all_inner_texts() for row in page.locator(ROWS).all()]


@pytest.mark.browser
@pytest.mark.parametrize(("locale", "width"), [("en", 1280), ("de", 390)])
def test_the_words_are_those_in_clear_and_the_page_shows_what_crossed_the_wire(
    browser: Any, run: Path, served: tuple[int, Path], port: int, shots: Path, locale: str, width: int
) -> None:
    page, texts = opened(browser, port, locale, width), read_texts(locale)
    before = served[1].read_text().count("question ")
    rows = asked(page, TEXT, locale)
    assert page.locator("#encrypted-words b").all_inner_texts() == in_clear(run, TEXT, 3)
    questions = [row for row in rows if row[0] == texts("encrypted.question")]
    answers = [row for row in rows if row[0] == texts("encrypted.answer")]
    sizes = {int(row[1].replace(",", "").replace(".", "")) for row in questions}
    assert len(questions) == len(answers) and all(175_000 < size < 190_000 for size in sizes)
    assert all(row[3].startswith("43 46 48 45 01 02") and not row[2] for row in questions)
    assert all(float(row[2].replace(",", ".")) > 0 for row in answers)
    assert len({row[3] for row in questions}) == len(questions), "each question is another ciphertext"
    said = served[1].read_text()
    assert said.count("question ") > before and "unmistakable" not in said and f"127.0.0.1:{served[0]}" in said
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    page.screenshot(path=shots / f"encrypted-{locale}-{width}.png", full_page=True)
    close_page(page)


@pytest.mark.browser
def test_keys_cross_once_and_one_text_asked_twice_is_another_ciphertext(browser: Any, port: int) -> None:
    page = opened(browser, port)
    first, second = asked(page, TEXT), asked(page, TEXT)
    assert [row for row in second if "keys" in row[0]] == []
    assert {row[3] for row in first} & {row[3] for row in second} == set()
    page.get_by_role("button", name="Ask", exact=True).wait_for()
    page.locator("#encrypted-text textarea").fill("")
    page.locator("#encrypted-text textarea").press("Enter")
    page.get_by_text(read_texts()("chat.type_first")).wait_for()
    close_page(page)


@pytest.mark.browser
def test_a_server_that_goes_is_said_and_one_that_comes_back_is_asked_again(
    browser: Any, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with serving(run) as (at, _):
        pass
    with page_asking(run, at) as port:
        page = opened(browser, port)
        page.locator("#encrypted-text textarea").fill(TEXT)
        page.get_by_role("button", name="Ask", exact=True).click()
        page.locator("#encrypted-found [role=status]", has_text="is chatfed he serve up?").wait_for()
        with serving(run, at):
            page.get_by_role("button", name="Ask", exact=True).wait_for()
            asked(page, TEXT)
        close_page(page)


def test_without_a_server_named_there_is_no_such_tab() -> None:
    from serving.page import build_page

    page: Any = build_page(Parrot(), None, NOTHING)  # type: ignore[arg-type]
    assert "encrypted" not in {getattr(block, "id", None) for block in page.blocks.values()}


def test_what_cannot_be_asked_is_said_before_a_page_is_served(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="HOST:PORT"):
        Asking.to("nowhere", run)
    with pytest.raises(BadHalf, match="asker's half"):
        Asking.to("127.0.0.1:7870", tmp_path)


@pytest.mark.parametrize("more", [["--host", "192.0.2.1"], ["--allow-host", "chat.example"], ["--root-path", "/talk"]])
def test_a_page_that_others_reach_has_no_such_tab(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_typer(app, "chatfed", ["serve", "--encrypted-to", "127.0.0.1:7870", *more]) == 2
    assert "this machine alone reaches" in " ".join(capsys.readouterr().err.split())
