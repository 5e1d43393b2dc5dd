"""Texts apart from code: all languages say the same things, and the modules that were moved say none themselves."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from serving import languages as spoken
from serving.texts import FIRST, TextsError, languages, places, read_texts

ROOM = Path(__file__).resolve().parents[2] / "serving"
MOVED = (
    "alternatives.py chat_tab.py compare_tab.py comparison.py conversation.py findings.py guard.py keeping/__init__.py "
    "markup.py page.py privacy_audit.py privacy_budget.py privacy_run.py privacy_tab.py probe.py probe_tab.py "
    "probe_verdicts.py sessions.py straight.py theme.py"
).split()
OURS = (  # said to whoever serves the page, or to whoever calls a function
    "Nothing stands before the reply; give the messages that it answers.",
    "The reply has more tokens than the model's window of ",
)
OTHERS = [each for each in languages() if each != FIRST]
SHOWN = {"label", "placeholder", "info", "submit_btn", "stop_btn", "title"}  # arguments of gradio's parts that are read


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_has_the_same_keys_and_the_same_places(language: str) -> None:
    first, other = read_texts().sentences, read_texts(language).sentences
    assert sorted(other) == sorted(first)
    assert {key: places(other[key]) for key in other} == {key: places(first[key]) for key in first}
    assert [key for key, text in other.items() if first[key] and not text.strip()] == []
    assert [key for key, text in first.items() if text.count("{") != len(places(text))] == [], "a place that is none"


@pytest.mark.parametrize("language", OTHERS)
def test_a_text_holds_the_same_few_marks_in_each_language(language: str) -> None:
    first, other = read_texts().sentences, read_texts(language).sentences
    marks = {key: sorted(re.findall(r"</?[a-z]+>", text)) for key, text in first.items()}
    assert {mark.strip("</>") for found in marks.values() for mark in found} == {"code", "em", "strong", "sup"}
    assert {key: sorted(re.findall(r"</?[a-z]+>", text)) for key, text in other.items()} == marks
    assert [key for key, text in (*first.items(), *other.items()) if re.search(r"<(?!/?[a-z]+>)", text)] == []


def test_a_tab_brings_its_texts_in_a_file_of_its_own_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.texts.reading.FOLDER", tmp_path)
    (tmp_path / "en").mkdir()
    (tmp_path / "en.toml").write_text('[tabs]\nchat = "Chat"\n')
    (tmp_path / "en" / "log.toml").write_text('[tabs]\nlog = "Log"\n[log]\nempty = "Nothing yet."\n')
    read_texts.cache_clear()
    try:
        assert read_texts().sentences == {"tabs.chat": "Chat", "tabs.log": "Log", "log.empty": "Nothing yet."}
        (tmp_path / "en" / "other.toml").write_text('[tabs]\nchat = "Talk"\n')
        read_texts.cache_clear()
        with pytest.raises(TextsError, match=r"other\.toml has 'tabs\.chat', as another file"):
            read_texts()
    finally:
        read_texts.cache_clear()


def test_german_is_there() -> None:
    assert OTHERS == ["de"] and read_texts("de")("chat.send") == "Senden"
    with pytest.raises(TextsError, match="'fr'; give one of en, de"):
        read_texts("fr")
    with pytest.raises(TextsError, match=r"chat\.nothing'"):
        read_texts()("chat.nothing")


def test_numbers_stand_in_a_text_as_its_language_writes_them() -> None:
    english, german = read_texts(), read_texts("de")
    assert "4,000" in english("chat.too_long", count=5001, most=4000)
    assert "5.001" in german("chat.too_long", count=5001, most=4000)
    assert "0,7" in german("settings.temperature_chat", retry=0.7)
    assert german("badge.epsilon", epsilon=german.figures("1,234.50"), unit="Dialog") == "ε = 1.234,50 je Dialog"
    assert english.counted("view.hidden", 1, context=64).startswith("The model no longer sees the first message of")


def test_a_value_that_looks_like_a_place_stays_as_it_is() -> None:
    assert read_texts()("settings.seed_wrong", seed="{seed}{count}").startswith("The seed is {seed}{count}:")


def literals(source: str) -> list[str]:
    """Texts in code that a visitor would read: what is given as a label, and what has three words side by side."""
    tree = ast.parse(source)
    apart = set()  # docstrings, scripts, and what goes into the log
    shown = set()  # given to gradio as it stands
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            apart.add(id(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "log_failure":
            apart |= {id(part) for part in node.args}
        elif isinstance(node, ast.keyword) and node.arg == "js":
            apart |= {id(part) for part in ast.walk(node)}
        elif isinstance(node, ast.keyword) and node.arg in SHOWN:
            shown.add(id(node.value))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            read = re.sub(r"<[^>]*>?", "", node.value)
            if id(node) in shown or re.search(r"[A-Za-z]{2,},? [a-z]{2,} [a-z]{2,}", read):
                found.append(node.value)
    return found


@pytest.mark.parametrize("module", MOVED)
def test_what_is_read_on_the_page_stands_in_no_module(module: str) -> None:
    from serving.chat_tab import EXAMPLES  # prompts, in the model's language and not in the page's
    from serving.compare_tab import HOUSE_EXAMPLES

    code = (ROOM / module).read_text(encoding="utf-8")
    known = (*EXAMPLES, *HOUSE_EXAMPLES, *OURS, "chatfed")
    left = [text for text in literals(code) if text not in known and "=>" not in text]
    assert left == []


def test_a_text_in_a_module_would_be_found() -> None:
    code = 'f("Ask me anything here.", label="Seed", elem_id="one two")  # a comment that says something'
    assert literals(code) == ["Ask me anything here.", "Seed"]


def test_every_text_that_is_asked_for_is_there() -> None:
    first = read_texts().sentences
    code = "\n".join(path.read_text(encoding="utf-8") for path in ROOM.rglob("*.py"))
    asked = set(re.findall(r"""texts\(\s*["']([a-z_]+\.[a-z_.]+)["']""", code)) - {"strength."}
    counted = set(re.findall(r"""texts\.counted\(\s*["']([a-z_.]+)["']""", code))
    assert len(asked) > 30 and counted
    assert sorted(asked - set(first)) == [] and sorted({f"{key}.one" for key in counted} - set(first)) == []


def test_every_text_of_the_script_is_there_and_used() -> None:
    texts = read_texts().section("keeping")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOM / "keeping").glob("*.js"))
    stems = {re.sub(r"\.(one|other)$", "", key).removeprefix("why_") for key in texts}
    assert sorted(stem for stem in stems if not re.search(rf"\b{stem}\b", code)) == []
    asked = re.findall(r"""(?:this\.texts\.|(?:this|keeping)\.fill\("|keeping\.said\(")([a-z_]+)""", code)
    assert len(asked) > 20 and sorted(key for key in asked if key not in texts) == []


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-DE,de;q=0.9,en;q=0.8", "de"), ("en-GB, de;q=0.9", "en"), ("fr, de-AT;q=0.8, en;q=0.5", "de"),
        ("fr", "en"), ("", "en"), ("*", "en"), ("de;q=0", "en"), ("de;q=x, en;q=0.1", "en"),
        (",;=" * 9999 + "de", "en"),
    ],
)  # fmt: skip
def test_the_page_speaks_what_the_browser_likes_best(accepted: str, language: str) -> None:
    assert spoken.preferred(accepted, languages()) == language


def test_the_language_is_named_on_the_page_for_readers_and_for_gradio() -> None:
    page = spoken.in_language(b'<html lang="en"><head><title>lang="en"</title>', "de")
    assert page.startswith(b'<html lang="de"><head><script>') and b'value: "de"' in page and b'lang="en"' in page
