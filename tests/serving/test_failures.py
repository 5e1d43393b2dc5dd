"""What is said of an error: in the page's language, and in a toast as the plain text it is."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chatfed.agreed_words import FILE, FORMAT
from chatfed.conversation import log_errors
from chatfed.conversation.log_owner import new_log
from chatfed.encrypted import errors as encrypted_errors
from chatfed.encrypted.network import BadHalf
from chatfed.types import ChatfedError
from serving.encrypted_questions import NoAnswer
from serving.failures import sentence_of, stopped, warn
from serving.texts import read_texts
from tests.serving.page_server import Visitor, hosted

ROOM = Path(__file__).resolve().parents[2] / "serving"
MARKUP = '<a href="https://evil.example">press</a> & {{1}} ${2}'
PLAIN = "&lt;a href=&quot;https://evil.example&quot;&gt;press&lt;/a&gt; &amp; "
PLAIN += "&#123;&#123;1&#125;&#125; &#36;&#123;2&#125;"
GERMAN = read_texts("de")


def errors_of(module: Any) -> list[type[ChatfedError]]:
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, ChatfedError)]
    return [each for each in found if each.__module__ == module.__name__]


def test_what_goes_into_a_toast_is_escaped() -> None:
    with pytest.warns(UserWarning, match="press") as said:  # what gradio makes of one where no page waits for it
        warn(MARKUP)
    assert str(said[0].message) == PLAIN
    assert (stopped(MARKUP).message, stopped(MARKUP, 4).duration) == (PLAIN, 4)


def test_no_other_module_makes_a_toast() -> None:
    toasts = {"Warning", "Error", "Info", "Success"}
    for path in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            made = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in toasts
            assert not made or path.name == "failures.py", f"{path.name}:{node.lineno}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [*errors_of(log_errors), *errors_of(encrypted_errors), BadHalf, NoAnswer])
def test_what_a_log_or_an_encrypted_question_may_raise_is_said_in_german_first(kind: type[ChatfedError]) -> None:
    error = kind("odd", "one", "two") if issubclass(kind, encrypted_errors.MalformedCiphertext) else kind("odd")
    german = sentence_of(error, GERMAN)
    assert german.endswith(f" Auf Englisch: {error}") and not german.startswith("Das ging nicht.")
    assert sentence_of(error, read_texts()) == str(error)


def test_the_log_tab_speaks_german(tmp_path: Path) -> None:
    from serving.log_tab import OwnLog

    new_log(tmp_path / "log")
    with pytest.warns(UserWarning, match="Das nimmt das Protokoll so nicht an"):
        found, _ = OwnLog(tmp_path / "log", GERMAN).search("?!")
    assert "Das nimmt das Protokoll so nicht an. Auf Englisch: There is no word" in found


def test_the_encrypted_tab_speaks_german_and_shares_have_its_separators() -> None:
    from serving.encrypted_questions import Word
    from serving.encrypted_tab import EncryptedWord, found_html

    class Gone:
        def words(self, text: str, crossed: list[Any]) -> Any:
            raise NoAnswer(f"The server refuses: {MARKUP!r}")

    with pytest.warns(UserWarning, match="Der Server hat nicht geantwortet.*refuses: .*&lt;a href"):
        *_, (_, found) = EncryptedWord(Gone(), GERMAN).ask("my laptop")  # type: ignore[arg-type]
    assert "Der Server hat nicht geantwortet" in found and "<a " not in found
    assert "<small>12,3 %</small>" in found_html([Word("a", 0.1234)], [], "", GERMAN)
    assert "<small>12.3%</small>" in found_html([Word("a", 0.1234)], [], "", read_texts())


def test_a_page_whose_suggestions_are_limited_says_so_near_them() -> None:
    from serving.page import build_page
    from tests.serving.page_server import NOTHING, Parrot

    limited = Parrot()
    limited.offered = frozenset({"then"})
    for texts in (read_texts(), GERMAN):
        for chat, count in ((limited, 1), (Parrot(), 0)):
            page: Any = build_page(chat, None, NOTHING, texts=texts)  # type: ignore[arg-type]
            said = [block.value for block in page.blocks.values() if block.elem_id == "suggestions-limited"]
            assert len(said) == count and all("words.json" in each for each in said)


def test_the_words_agreed_in_a_runs_folder_limit_what_is_served(tiny_base: Path, tmp_path: Path) -> None:
    from serving.application import make_application
    from serving.run_folder import read_run_folder
    from tests.serving.publishing.conftest import write_run

    folder = write_run(tmp_path, tiny_base)
    shutil.rmtree(folder / "reference")
    (folder / FILE).write_text(json.dumps({"format": FORMAT, "words": ["printer"]}))
    with hosted(make_application(read_run_folder(folder), language="en")) as port:
        assert "suggestions-limited" in Visitor(port).ask("GET", "/")[2]
