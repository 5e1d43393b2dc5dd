"""A reply word by word: what the model found likely at each place, and what a click may ask for."""

from __future__ import annotations

import html
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chatfed import Chat, Generation, Turn
from chatfed.generation import TokenScore
from chatfed.types import InvalidValue
from chatfed.view import in_view
from serving.alternatives import Alternatives, Place, Scored, opening_of, panel_html, place_at, scored, share
from serving.conversation import Conversation
from serving.run_folder import read_run_folder
from serving.system_prompt import LONGEST, takes_one, told
from serving.texts import read_texts
from tests.chats import STRICT, log_probs
from tests.serving.page_server import Parrot

ASKED = [Turn("user", "my laptop")]
TEXTS = read_texts()
NO_SYSTEM = STRICT.replace(
    "{% for m", "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for m"
)


@pytest.fixture(scope="module")
def written(chat: Chat) -> str:
    return chat.reply(ASKED, Generation(12, 0.8, seed=4)).strip()


def said(*messages: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(messages)]


def test_each_place_has_the_models_own_likeliest_tokens(chat: Chat, written: str) -> None:
    found = scored(chat, ASKED, Turn("assistant", written), 20)
    prompt = chat.prompt_ids(ASKED)
    plain = log_probs(chat, [*prompt, *found.ids])[len(prompt) - 1 : -1]
    assert b"".join(place.said.data for place in found.places[:-1]).decode().strip() == written
    assert found.places[-1].said.token in found.ends
    for place, row, token in zip(found.places, plain, found.ids, strict=True):
        assert place.said.token == token and math.isclose(place.said.log_prob, float(row[token]), abs_tol=1e-3)
        assert [each.log_prob for each in place.top] == pytest.approx(row.topk(5).values.tolist(), abs=1e-3)


def test_a_reply_goes_on_from_the_token_that_was_chosen_and_no_other(chat: Chat, written: str) -> None:
    found = scored(chat, ASKED, Turn("assistant", written), 20)
    other = next(each.token for each in found.places[2].top if each.token not in {found.ids[2], *found.markers})
    chosen = [*found.ids[:2], other]
    assert opening_of(chat, said("my laptop", written), 1, " ".join(map(str, chosen))) == chosen
    events = list(chat.events(ASKED, Generation(8), opening=chosen))
    assert [event.score.token for event in events[:3] if event.score] == chosen


@pytest.mark.parametrize("chosen", ["", "1 2 x", "-1", "999999999", "99999", "1 2 3 4"])
def test_a_choice_that_is_not_of_this_reply_is_none(chat: Chat, written: str, chosen: str) -> None:
    assert opening_of(chat, said("my laptop", written), 1, chosen) == []


def test_a_choice_of_a_reply_that_has_changed_is_refused_with_a_sentence(chat: Chat, written: str) -> None:
    import gradio as gr

    panel = Alternatives(Conversation(chat))
    ids = scored(chat, ASKED, Turn("assistant", written), 20).ids[:3]
    of_session = SimpleNamespace(session_hash="a")
    for history, message in ((said("my laptop", "something else"), 1), (said("my laptop", written), 0), ([], 1)):
        data = SimpleNamespace(index=[message, 2], value=" ".join(map(str, ids)))
        with pytest.raises(gr.Error, match="has changed"):
            panel.choose(history, data, of_session)  # type: ignore[arg-type]
    data = SimpleNamespace(index=[1, 2], value=" ".join(map(str, ids)))
    field, kept, opening = panel.choose(said("my laptop", written), data, of_session)  # type: ignore[arg-type]
    assert [each["role"] for each in kept] == ["user"] and opening.split() == [str(each) for each in ids]
    assert field["stop_btn"] == "Stop" and not panel._talk.generations.claim("a", patience=0)


def test_a_reply_that_alone_is_too_long_is_refused(chat: Chat) -> None:
    with pytest.raises(InvalidValue, match="more tokens than the model's window"):
        scored(chat, ASKED, Turn("assistant", "a b " * 200), 20)


def scores(*texts: str) -> Scored:
    places = [Place(TokenScore(at, text, text.encode(), -0.5), ()) for at, text in enumerate(texts)]
    return Scored(tuple(range(len(texts))), tuple(places), frozenset(), frozenset())


def test_a_character_is_found_in_its_token_whatever_the_template_puts_before() -> None:
    found = scores(" cafe", "\u0301", " 🎉", " ok")
    reply = "cafe\u0301 🎉 ok"
    assert [place_at(found, reply, at) for at in (0, 3, 4, 6, 8, 99)] == [0, 0, 1, 2, 3, 3]


def test_what_a_token_says_is_text_in_the_panel() -> None:
    evil = TokenScore(0, "<img src=x>\"'${1}{{v}}", b"x", -9.0)
    made = panel_html(Scored((0,), (Place(evil, (evil,)),), frozenset(), frozenset()), 1, 0, TEXTS)
    assert "<img" not in made and "${" not in made and "{{" not in made
    packed = re.search(r'data-alternatives="([^"]*)"', made)
    assert packed and json.loads(html.unescape(packed[1]))["places"][0][0][1] == evil.text


@pytest.mark.parametrize(("log_prob", "shown"), [(0.0, "100 %"), (-1.2, "30 %"), (-3.0, "5.0 %"), (-9.0, "< 0.1 %")])
def test_a_probability_is_shown_with_two_figures(log_prob: float, shown: str) -> None:
    assert share(log_prob, TEXTS) == shown


def test_a_system_prompt_goes_before_all_and_what_is_too_long_is_refused(chat: Chat) -> None:
    assert takes_one(chat) and told(chat, " be kind ", ASKED, TEXTS) == [Turn("system", "be kind"), *ASKED]
    assert told(chat, None, ASKED, TEXTS) == told(chat, "  ", ASKED, TEXTS) == ASKED
    for long in ("x" * (LONGEST + 1), "kind " * 60):
        with pytest.raises(InvalidValue, match="The system prompt"):
            told(chat, long, ASKED, TEXTS)


def test_a_reply_and_the_next_words_are_asked_with_the_system_prompt() -> None:
    parrot, of_session = Parrot(), SimpleNamespace(session_hash="a")
    talk = Conversation(parrot)  # type: ignore[arg-type]
    history = said("hello")
    *_, (shown, _) = talk.respond(history, 0, 0.9, 1, 20, "", of_session, "be kind")  # type: ignore[arg-type]
    talk.suggest("", history, 20, "be kind")
    assert shown[-1]["content"] == "hi there"
    assert [list(asked) for asked in parrot.asked] == [[Turn("system", "be kind"), Turn("user", "hello")]] * 2


def test_a_template_without_a_place_for_a_system_prompt_is_known(chat: Chat) -> None:
    import copy

    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.chat_template = NO_SYSTEM
    assert not takes_one(Chat(chat.model, tokenizer))


def test_what_is_out_of_view_is_told_beside_a_system_prompt(chat: Chat) -> None:
    history = [Turn("system", "be kind"), *[Turn(("user", "assistant")[at % 2], "one two three") for at in range(9)]]
    seen, whole = in_view(chat, history, 20)
    assert 1 <= seen < 9 and whole
    assert chat._prompt([history[0], *history[-seen:]], 20) == chat._prompt(history, 20)


@pytest.mark.parametrize("how", ["without-noise", "ceiling"])
def test_a_model_that_the_run_left_without_a_guarantee_is_found(tmp_path: Path, how: str) -> None:
    for folder in ("model", f"{how}/model"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    found = read_run_folder(tmp_path).bare
    assert found and (found.model, found.how) == (tmp_path / how / "model", how)
    (tmp_path / how / "model" / "config.json").unlink()
    assert read_run_folder(tmp_path).bare is None
