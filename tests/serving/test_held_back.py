"""What the page holds back from the model, as the visitor chose, and what it shows of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from chatfed import Turn
from chatfed.conversation.errors import HeldBack
from chatfed.conversation.filter import Filter, Mode
from serving.held_back import REMEMBERED, filter_of, held_back, mode_of, shown
from serving.texts import read_texts
from tests.serving.page_server import Parrot

SAID = "my name is Monika Casteldahl and the vpn is slow"
ENGLISH = read_texts()


class Echo(Parrot):
    """A chat that answers with what it read last; it keeps what it was asked."""

    context = 256
    asked: list[Any]

    def stream(self, turns: Sequence[Turn], settings: Any) -> Iterator[str]:
        self.asked += turns
        yield "you said: "
        yield from turns[-1].content

    def suggest(self, text: str, k: int = 3, history: Sequence[Turn] = ()) -> list[Any]:
        self.asked += [*history, Turn("user", text)]
        return [SimpleNamespace(word="[NAME-1]", probability=0.5)]


@pytest.fixture
def talk() -> Any:
    from serving.conversation import Conversation

    return Conversation(Echo(), operator=True)  # type: ignore[arg-type]


REQUEST: Any = SimpleNamespace(session_hash="a")


def answered(talk: Any, history: list[dict[str, Any]], hold: str | None) -> str:
    *_, (shown, _) = talk.respond(history, 0, 0.9, 1, 20, None, REQUEST, None, hold)
    return str(shown[-1]["content"])


@pytest.mark.parametrize("hold", [None, "off", "mark"])
def test_what_is_only_marked_reaches_the_model(talk: Any, hold: str | None) -> None:
    assert answered(talk, [{"role": "user", "content": SAID}], hold) == f"you said: {SAID}"
    assert talk.chat.asked == [Turn("user", SAID)]


def test_what_is_held_back_never_reaches_the_model_and_is_in_the_reply(talk: Any) -> None:
    earlier = [{"role": "user", "content": SAID}, {"role": "assistant", "content": "hello Monika Casteldahl"}]
    reply = answered(talk, [*earlier, {"role": "user", "content": "what is my name? [NAME-2]"}], "mask")
    assert reply == "you said: what is my name? [NAME-2]"
    assert [turn.content for turn in talk.chat.asked] == [
        "my name is [NAME-1] and the vpn is slow", "hello [NAME-1]", "what is my name? [TYPED-1]"]  # fmt: skip
    assert answered(talk, [{"role": "user", "content": SAID}], "mask") == f"you said: {SAID}"


def test_a_draft_is_held_back_from_suggestions_too(talk: Any) -> None:
    made = talk.suggest("my name is Monika Casteldahl and ", [], 20, None, None, "mask")
    assert talk.chat.asked[-1].content == "my name is [NAME-1] and " and made[0]["value"].startswith(
        "Monika Casteldahl"
    )
    made = talk.suggest("my name is Monika Casteldahl and ", [], 20, None, None, "refuse")
    assert len(talk.chat.asked) == 1 and not made[0]["visible"]


def test_what_is_refused_stays_in_the_field_and_the_model_is_not_asked(talk: Any) -> None:
    import gradio as gr

    with pytest.raises(gr.Error, match="names what you chose not to say"):
        talk.take(SAID, [], REQUEST, "refuse")
    assert talk.generations.idle("a")
    assert "Monika" not in answered(talk, [{"role": "user", "content": SAID}], "refuse") and talk.chat.asked == []


def test_the_system_prompt_is_held_back_too() -> None:
    held = held_back(Mode.MASK, [Turn("user", "hello")], "you serve Mr Monika Casteldahl, 0555 451 9283", "en")
    assert "0555" not in str(held.system) and held.turns == [Turn("user", "hello")]


def test_the_page_shows_the_numbers_that_the_model_reads_where_the_system_prompt_has_a_name() -> None:
    system, turns = "you serve Mr Joao Quarrengate, 0555 451 0000", [Turn("user", SAID)]
    read = held_back(Mode.MASK, turns, system, "en").turns[0].content
    assert "[NAME-2]" in read
    assert "[NAME-2]" in shown(Mode.MASK, turns, "", ENGLISH, system) and "[NAME-2]" in shown(
        Mode.MASK, [], SAID, ENGLISH, system
    )


def test_no_word_of_a_conversation_is_in_a_representation() -> None:
    held = held_back(Mode.MARK, [Turn("user", SAID)], "you serve Mr Quarrengate", "en")
    assert "Monika" not in repr(held) and "Quarrengate" not in repr(held)


def test_an_earlier_message_is_looked_at_once_and_no_word_of_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, find = list[str](), Filter.find

    def noted(self: Filter, text: str) -> Any:
        looked.append(text)
        return find(self, text)

    monkeypatch.setattr(Filter, "find", noted)
    filter_of.cache_clear()
    turns = [Turn("user" if at % 2 else "assistant", f"{SAID} {at}") for at in range(20)]
    drafts = ["m", "my", "my name is Peter"]
    first = [shown(Mode.MASK, turns, draft, ENGLISH) for draft in drafts]
    assert len(looked) == len(turns) + len(drafts)
    assert [shown(Mode.MASK, turns, draft, ENGLISH) for draft in drafts] == first and len(looked) == 23
    known = filter_of("en", Mode.MASK)
    assert "Monika" not in repr(vars(known)["_found"])
    for at in range(REMEMBERED + 5):
        known.find(str(at))
    assert len(vars(known)["_found"]) == REMEMBERED


def test_a_choice_that_no_page_sends_is_the_strictest() -> None:
    assert mode_of("everything") is Mode.REFUSE and mode_of(None) is Mode.OFF
    with pytest.raises(HeldBack):
        held_back(mode_of("x"), [Turn("user", SAID)], None, "en")


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("mode", list(Mode))
def test_the_page_shows_what_leaves_and_folds_away_what_does_not(mode: Mode, language: str) -> None:
    texts = read_texts(language)
    said = SAID if language == "en" else "ich heiße Waldemar Quast und das VPN ist langsam"
    name = "Monika Casteldahl" if language == "en" else "Waldemar Quast"
    html = shown(mode, [], said, texts)
    assert bool(html) is (mode is not Mode.OFF)
    if html:
        before, _, after = html.partition("<details>")
        assert name in after and texts("held.reveal") in after
        assert (name in before) is (mode is not Mode.MASK) and ("[NAME-1]" in before) is (mode is Mode.MASK)
    assert shown(mode, [], "the printer is broken", ENGLISH) == shown(mode, [], "", ENGLISH) == ""


def test_after_sending_it_shows_the_last_message() -> None:
    turns = [Turn("user", SAID), Turn("assistant", "hello")]
    html = shown(Mode.MASK, turns, "", ENGLISH)
    assert "It read:" in html and "[NAME-1]" in html
    assert "read it" in shown(Mode.MARK, turns, " ", ENGLISH)


def test_markup_in_a_message_is_shown_as_text() -> None:
    html = shown(Mode.MARK, [], "<em>my name is Monika Casteldahl</em>", ENGLISH)
    assert "<em" not in html and "Casteldahl" in html and "&lt;" in html
