"""Conversations kept in a real browser: temporary until kept, there after a reload, in a file and back, in two tabs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.browsing import QUESTION, REPLY, ask, close_page, watched
from tests.serving.page_server import NOTHING, Parrot, hosted

pytestmark = pytest.mark.browser
MARK, NOTE, LIST = "#keeping-mark", "#keeping .cf-said", "#keeping-list .cf-kept-name"
HOSTILE = "<img src=x onerror=window.broken=1> AT&T &lt; <b>b</b> مرحبا"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    from serving.application import guarded
    from serving.page import build_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        with hosted(guarded(build_page(Parrot(), None, NOTHING))) as port:  # type: ignore[arg-type]
            yield port


def opened(context: Any, port: int) -> Any:
    page = watched(context)
    page.sent = []
    page.on("request", lambda request: request.method == "POST" and page.sent.append(request.post_data))
    page.goto(f"http://127.0.0.1:{port}")
    page.locator("#suggestions button").first.wait_for()
    return page


@pytest.fixture
def page(browser: Any, port: int) -> Iterator[Any]:
    page = opened(browser.new_context(), port)
    yield page
    assert page.evaluate("window.broken") is None
    close_page(page)


def keep(page: Any, question: str) -> None:
    ask(page, question)
    page.get_by_role("button", name="Keep it").click()
    page.locator(NOTE).get_by_text("Kept.").wait_for()


def begin_anew(page: Any) -> None:
    page.get_by_role("button", name="New conversation").click()
    page.wait_for_function(f"!document.querySelector('{QUESTION}')")
    page.locator(MARK).get_by_text("Temporary").wait_for()


def listed(page: Any) -> list[str]:
    if page.locator("#keeping-toggle").get_attribute("aria-expanded") == "false":
        page.locator("#keeping-toggle").click()
    page.locator("#keeping-list li").first.wait_for()
    return list(page.locator(LIST).all_inner_texts())


def reload(page: Any) -> None:
    page.reload()
    page.locator("#suggestions button").first.wait_for()
    page.errors.clear()  # of streams that the reload cut


def test_a_conversation_is_temporary_until_it_is_kept_and_is_open_again_after_a_reload(page: Any) -> None:
    assert "Temporary" in page.locator(MARK).inner_text()
    ask(page, "never kept")
    reload(page)
    assert page.locator(QUESTION).count() == 0
    keep(page, HOSTILE)
    ask(page, "and then")
    page.wait_for_function("async () => (await indexedDB.databases()).length === 1")
    page.get_by_text(f"Kept in this browser: {HOSTILE}").wait_for()
    assert listed(page) == [HOSTILE]
    page.locator("#keeping-list").get_by_text("4 messages").wait_for()
    reload(page)
    page.locator(REPLY).nth(1).wait_for()
    assert page.locator(QUESTION).all_inner_texts() == [HOSTILE, "and then"]
    assert HOSTILE in page.locator(MARK).inner_text()
    ask(page, "goes on")
    assert page.locator(QUESTION).count() == 3 and page.evaluate("localStorage.length") == 0


def test_the_server_is_sent_the_open_conversation_and_no_other(page: Any) -> None:
    keep(page, "the first one is about bergamot")
    begin_anew(page)
    page.sent.clear()
    keep(page, "the second one")
    assert sorted(listed(page)) == ["the first one is about bergamot", "the second one"]
    assert page.sent and "bergamot" not in "".join(page.sent)
    page.sent.clear()
    page.get_by_role("button", name="Open: the first").click()
    page.locator(QUESTION).get_by_text("bergamot").wait_for()
    ask(page, "more")
    assert "bergamot" in "".join(page.sent) and "the second one" not in "".join(page.sent)


def test_a_kept_conversation_gets_a_name_and_is_deleted(page: Any) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    keep(page, "one")
    begin_anew(page)
    keep(page, "two")
    assert sorted(listed(page)) == ["one", "two"]
    page.get_by_role("button", name="Rename: one").click()
    page.get_by_label("Name of the conversation").fill("  a   better name ")
    page.keyboard.press("Enter")
    page.locator(NOTE).get_by_text("Renamed.").wait_for()
    page.wait_for_function("document.activeElement.ariaLabel === 'Rename: a better name'")
    page.get_by_role("button", name="Delete: two").click()
    page.locator(NOTE).get_by_text("Deleted. What stands").wait_for()
    assert "Temporary" in page.locator(MARK).inner_text() and listed(page) == ["a better name"]
    page.get_by_role("button", name="Delete all").click()
    page.get_by_text("You keep no conversation in this browser.").wait_for()
    page.keyboard.press("Escape")
    assert page.locator(LIST).count() == 0


def take_in(page: Any, content: bytes) -> str:
    page.evaluate(f"document.querySelector('{NOTE}').textContent = ''")
    file = {"name": "a.json", "mimeType": "application/json", "buffer": content}
    page.locator("#keeping-list input[type=file]").set_input_files(file)
    page.wait_for_function(f"document.querySelector('{NOTE}').textContent")
    return str(page.locator(NOTE).inner_text())


def test_all_go_into_a_file_and_come_back_from_it_and_a_bad_file_changes_nothing(page: Any, tmp_path: Path) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    keep(page, HOSTILE)
    listed(page)
    with page.expect_download() as waited:
        page.get_by_role("button", name="Export all").click()
    waited.value.save_as(tmp_path / "all.json")
    content = (tmp_path / "all.json").read_bytes()
    file = json.loads(content)
    assert (file["format"], file["version"]) == ("chatfed-conversations", 1)
    assert file["conversations"][0]["messages"][0] == {"role": "user", "content": HOSTILE}
    assert "0 conversations were taken from the file. 1 was there already." in take_in(page, content)
    bad = {
        content[:50]: "cut off",
        b'{"a": 1}': "no conversations of this page",
        json.dumps(file | {"version": 2}).encode(): "version 2",
        json.dumps(file | {"conversations": [*file["conversations"], {"id": "x", "name": "x", "messages": [
            {"role": "system", "content": "x"}]}]}).encode(): "Conversation 2 of the file cannot be read: message 1",
        content.replace(file["conversations"][0]["id"].encode(), b"a'] *"): "Conversation 1 of the file cannot be read",
    }  # fmt: skip
    for wrong, why in bad.items():
        assert why in take_in(page, wrong) and listed(page) == [HOSTILE]
    page.get_by_role("button", name="Delete all").click()
    page.get_by_text("You keep no conversation").wait_for()
    assert "1 conversation was taken" in take_in(page, content)
    page.get_by_role("button", name="Open: ").click()
    page.locator(MARK).get_by_text("AT&T").wait_for()
    assert page.locator(QUESTION).first.inner_text() == HOSTILE


def number(page: Any, name: str) -> Any:
    return page.get_by_label(f"number input for {name}")


def test_settings_go_into_the_same_file_and_are_set_again_from_it(page: Any, tmp_path: Path) -> None:
    page.get_by_role("button", name="Generation settings").click()
    number(page, "Temperature").fill("0.7")
    number(page, "Temperature").press("Tab")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("System prompt").fill("Be kind.")
    page.locator("#keeping-toggle").click()
    with page.expect_download() as waited:  # nothing is kept: the file has the settings alone
        page.get_by_role("button", name="Export all").click()
    waited.value.save_as(tmp_path / "all.json")
    content = (tmp_path / "all.json").read_bytes()
    file = json.loads(content)
    told = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1, "longest_reply": 32}
    assert file["conversations"] == [] and file["settings"] == told | {"seed": "7", "system_prompt": "Be kind."}
    number(page, "Temperature").fill("0.2")
    number(page, "Temperature").press("Tab")
    page.get_by_label("Seed").fill("")
    for odd in ({"temperature": 9}, {"seed": "x"}, {"longest_reply": None}, {"system_prompt": "x" * 2001}):
        wrong = json.dumps(file | {"settings": file["settings"] | odd}).encode()
        assert f"The file's setting “{next(iter(odd))}” is none" in take_in(page, wrong)
    assert (number(page, "Temperature").input_value(), page.get_by_label("Seed").input_value()) == ("0.2", "")
    assert take_in(page, content) == "The settings are as in the file."
    page.wait_for_function("[...document.querySelectorAll('input')].some(each => each.value === '0.7')")
    assert (number(page, "Temperature").input_value(), page.get_by_label("Seed").input_value()) == ("0.7", "7")
    larger = json.dumps(file | {"settings": file["settings"] | {"longest_reply": 4000, "temperature": 0.3}}).encode()
    assert take_in(page, larger) == "The settings are as in the file."
    page.wait_for_function("[...document.querySelectorAll('input')].some(each => each.value === '0.3')")
    assert number(page, "Longest reply, in tokens").input_value() == "32"
    ask(page, "and they are used")
    older = json.dumps({key: value for key, value in file.items() if key != "settings"}).encode()
    assert take_in(page, older) == "0 conversations were taken from the file."


def test_two_tabs_with_one_conversation_lose_nothing(page: Any, port: int) -> None:
    keep(page, "shared")
    other = opened(page.context, port)
    listed(other)
    other.get_by_role("button", name="Open: shared").click()
    other.locator(MARK).get_by_text("shared").wait_for()
    ask(other, "from the other tab")
    page.locator(NOTE).get_by_text("went on in another tab").wait_for()
    ask(page, "from the first tab")
    page.locator(NOTE).get_by_text("Nothing is lost").wait_for()
    assert sorted(listed(page)) == ["shared", "shared (copy)"]
    asked = page.evaluate("""() => new Promise(done => { indexedDB.open('chatfed-conversations').onsuccess = base =>
      base.target.result.transaction('conversations').objectStore('conversations').getAll().onsuccess = all =>
        done(all.target.result.map(each => each.messages.filter(m => m.role === 'user').map(m => m.content))); })""")
    assert sorted(asked) == [["shared", "from the first tab"], ["shared", "from the other tab"]]
    assert not other.errors


SMALL = """async () => { const bucket = await navigator.storageBuckets.open('small', {quota: 3000});
  const was = indexedDB; Object.defineProperty(window, 'indexedDB', {value: bucket.indexedDB});
  await new Promise(done => { was.deleteDatabase('chatfed-conversations').onsuccess = done; }); }"""


def test_a_browser_without_room_says_so_and_the_chat_goes_on(page: Any) -> None:
    page.evaluate(SMALL)  # a part of the browser's storage with room for so many bytes; the store opens anew there
    keep(page, "small")
    ask(page, "no room for this " * 200)
    page.locator(NOTE).get_by_text("no room left").wait_for()
    assert "Not kept" in page.locator(MARK).inner_text() and page.locator(REPLY).count() == 2
    ask(page, "it goes on")
    assert page.locator(REPLY).count() == 3 and listed(page) == ["small"]


def test_a_browser_that_forbids_keeping_says_so_and_the_chat_goes_on(browser: Any, port: int) -> None:
    context = browser.new_context()
    context.add_init_script("IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); }")
    page = opened(context, port)
    ask(page, "hello")
    page.get_by_role("button", name="Keep it").click()
    page.locator(NOTE).get_by_text("does not let the page keep anything").wait_for()
    assert "Temporary" in page.locator(MARK).inner_text()
    ask(page, "hello again")
    close_page(page)
