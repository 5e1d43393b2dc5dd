"""The chat: streamed as it is drawn, stopped at once, the same for a seed; what it takes, and what it names."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import chatfed
from chatfed import Chat, ChatfedError, Generation, Turn, load_chat
from chatfed.generation.drawing import sample as _sample
from chatfed.model.tokenizer import encode_prompt
from tests.chats import HELLO, STRICT, log_probs, relaxed

ROOT = Path(__file__).parent.parent


@relaxed
@given(st.integers(0, 999), st.floats(0.2, 3.0), st.integers(1, 25))
def test_the_pieces_of_a_stream_join_to_the_reply_of_the_same_seed(
    chat: Chat, seed: int, temperature: float, tokens: int
) -> None:
    drawn = Generation(max_new_tokens=tokens, temperature=temperature, top_p=1.0, seed=seed)
    pieces = list(chat.stream(HELLO, drawn))
    assert all(pieces)
    assert "".join(pieces) == chat.reply(HELLO, drawn)


def test_text_comes_while_the_model_is_still_drawing(chat: Chat, calls: list[int]) -> None:
    stream = chat.stream(HELLO, Generation(max_new_tokens=25, seed=1))
    next(stream)
    assert 1 <= len(calls) < 20


def test_closing_the_stream_stops_the_model(chat: Chat, calls: list[int]) -> None:
    stream = chat.stream(HELLO, Generation(max_new_tokens=25, seed=1))
    next(stream)
    stopped = len(calls)
    stream.close()
    assert list(stream) == []
    assert len(calls) == stopped


def test_each_further_token_costs_one_token_s_work(chat: Chat, calls: list[int]) -> None:
    list(chat.stream(HELLO, Generation(max_new_tokens=8, seed=1, temperature=3.0, top_p=1.0)))
    assert calls[1:] == [1] * (len(calls) - 1) and len(calls) > 3


def test_greedy_is_deterministic_and_is_the_argmax_of_a_plain_loop(chat: Chat) -> None:
    greedy = Generation(max_new_tokens=12, temperature=0, repetition_penalty=1.0)
    ids = encode_prompt(chat.tokenizer, HELLO)
    prompt = len(ids)
    for _ in range(12):
        token = int(log_probs(chat, ids)[-1].argmax())
        if token in chat._ends:
            break
        ids.append(token)
    expected = str(chat.tokenizer.decode(ids[prompt:], skip_special_tokens=True)).lstrip()
    assert chat.reply(HELLO, greedy) == chat.reply(HELLO, greedy) == expected


def test_another_seed_gives_another_reply_and_none_draws_a_fresh_one(chat: Chat) -> None:
    hot: dict[str, Any] = {"temperature": 2.0, "top_p": 1.0, "max_new_tokens": 15}
    assert len({chat.reply(HELLO, Generation(seed=seed, **hot)) for seed in range(4)}) > 1
    assert len({chat.reply(HELLO, Generation(**hot)) for _ in range(4)}) > 1


@relaxed
@given(st.integers(0, 300), st.data())
def test_stop_strings_are_never_shown_even_partly(chat: Chat, seed: int, data: st.DataObject) -> None:
    drawn = Generation(max_new_tokens=20, temperature=2.0, top_p=1.0, seed=seed)
    whole = chat.reply(HELLO, drawn)
    if len(whole) < 3 or "\ufffd" in whole:
        return
    at = data.draw(st.integers(1, len(whole) - 1))
    stop = whole[at : at + data.draw(st.integers(1, 6))]
    pieces = list(chat.stream(HELLO, Generation(**{**vars(drawn), "stop": (stop, "never said")})))
    assert "".join(pieces) == whole[: whole.index(stop)]


def test_a_message_s_end_ends_the_reply_and_is_not_shown(chat: Chat) -> None:
    for seed in range(6):
        said = chat.reply(HELLO, Generation(seed=seed, temperature=2.5, top_p=1.0, max_new_tokens=40))
        assert not any(marker in said for marker in ("<|end|>", "<|user|>", "<|assistant|>", "<|begin|>", "<|pad|>"))


def test_a_long_history_keeps_its_latest_messages_and_room_for_the_reply(chat: Chat, calls: list[int]) -> None:
    history = [Turn("user" if i % 2 == 0 else "assistant", f"message number {i} about a printer") for i in range(31)]
    chat.reply(history, Generation(max_new_tokens=8, seed=1))
    assert calls[0] <= chat.context - 8
    tail = encode_prompt(chat.tokenizer, history[-1:])
    assert calls[0] >= len(tail)
    chat.reply([Turn("user", "word " * 500)], Generation(max_new_tokens=200, seed=1))  # one message over the context
    assert max(calls) <= chat.context


@pytest.mark.parametrize("rules", [[], [Turn("system", "be brief")]])
def test_a_long_history_keeps_its_system_message_and_begins_with_a_user_s(tiny_base: Path, rules: list[Turn]) -> None:
    strict = load_chat(tiny_base)
    strict.tokenizer.chat_template = STRICT
    talk = [Turn("user" if i % 2 == 0 else "assistant", f"message {i} printer") for i in range(21)]
    prompt = strict._prompt([*rules, *talk], 8)
    kept = next(n for n in range(1, 21, 2) if encode_prompt(strict.tokenizer, [*rules, *talk[-n:]]) == prompt)
    assert kept >= 1 and len(prompt) <= strict.context - 8
    assert len(encode_prompt(strict.tokenizer, [*rules, *talk[-kept - 2 :]])) > strict.context - 8


def test_several_threads_get_what_each_would_get_alone(chat: Chat) -> None:
    wanted = {seed: chat.reply(HELLO, Generation(seed=seed, max_new_tokens=10)) for seed in range(4)}
    found: dict[int, str] = {}

    def ask(seed: int) -> None:
        found[seed] = chat.reply(HELLO, Generation(seed=seed, max_new_tokens=10))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        *({"max_new_tokens": 0}, {"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"top_p": 1.1}),
        *({"temperature": math.inf}, {"repetition_penalty": 0}, {"repetition_penalty": 1e-40}),
        *({"stop": ("bye", "")}, {"seed": 2**64}, {"seed": -(2**63) - 1}, {"seed": 10**20}),
        *({"stop": ""}, {"stop": 7}, {"stop": ["a", 7]}, {"stop": None}, {"seed": 1.5}, {"seed": True}, {"seed": "1"}),
        *({"max_new_tokens": "40"}, {"max_new_tokens": True}, {"max_new_tokens": 1.5}, {"max_new_tokens": -3}),
        *({"temperature": "0.5"}, {"temperature": None}, {"temperature": True}, {"top_p": math.nan}, {"top_p": "1"}),
        *({"top_p": False}, {"repetition_penalty": -1}, {"repetition_penalty": math.nan}, {"max_new_tokens": None}),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ChatfedError, match=next(iter(wrong))):
        Generation(**wrong)


def test_a_stop_may_be_one_text_and_ends_the_reply_as_a_list_of_it_does(chat: Chat) -> None:
    whole = chat.reply(HELLO, Generation(max_new_tokens=12, seed=1))
    stop = whole[len(whole) // 2 :][:3]
    assert Generation(stop=stop).stop == Generation(stop=[stop]).stop == (stop,)
    assert chat.reply(HELLO, Generation(max_new_tokens=12, seed=1, stop=stop)) == whole[: whole.index(stop)]
    assert hash(Generation(stop=[stop])) == hash(Generation(stop=(stop,)))


def test_numbers_of_numpy_are_settings_too(chat: Chat) -> None:
    numbers: dict[str, Any] = {"max_new_tokens": np.int64(4), "temperature": np.float32(0.5), "seed": np.uint8(3)}
    drawn = Generation(**numbers)
    assert chat.reply(HELLO, drawn) == chat.reply(HELLO, Generation(max_new_tokens=4, temperature=0.5, seed=3))


MESSAGES = [{"role": "user", "content": "my laptop will not start"}]


@pytest.mark.parametrize(
    "given", [HELLO[0].content, MESSAGES, iter(HELLO), tuple(HELLO)], ids=lambda g: type(g).__name__
)
def test_a_reply_is_the_same_however_the_conversation_is_handed_over(chat: Chat, given: Any) -> None:
    assert chat.reply(given, Generation(max_new_tokens=8)) == chat.reply(HELLO, Generation(max_new_tokens=8))


def test_suggestions_and_scores_take_the_same_histories_as_replies(chat: Chat) -> None:
    assert chat.suggest("my ", history=MESSAGES) == chat.suggest("my ", history=HELLO) != chat.suggest("my ")
    assert chat.suggest("my ", history=HELLO[0].content) == chat.suggest("my ", history=HELLO)
    scores = chat.word_log_probs("try again", "assistant", HELLO)
    assert scores == chat.word_log_probs("try again", "assistant", MESSAGES)
    assert scores == chat.word_log_probs("try again", "assistant", history=HELLO[0].content)


@pytest.mark.parametrize(
    ("ask", "parts"),
    [
        (lambda chat: chat.stream({"role": "user", "content": "hi"}), ["single message"]),
        (lambda chat: chat.reply(["hi"]), ["Message 1"]),
        (lambda chat: chat.stream("hi", {"max_new_tokens": 5}), ["settings", "dict", "Generation("]),
        (lambda chat: chat.suggest(None), ["The text", "NoneType"]),
        (lambda chat: chat.suggest("my ", k=0), ["k is 0", "1 or more"]),
        (lambda chat: chat.suggest("my ", history=[{"role": "bot", "content": "x"}]), ["Message 1", "'bot'"]),
        (lambda chat: chat.word_log_probs(b"hi"), ["The text", "bytes"]),
        (lambda chat: chat.word_log_probs("hi", "bot"), ["The text", "'bot'"]),
        (lambda chat: chat.word_log_probs("hi", history=7), ["history", "int"]),
        (lambda chat: load_chat(cast("str", None)), ["NoneType", "path"]),
    ],
)
def test_what_no_public_face_takes_is_named_at_the_call_in_one_line(
    chat: Chat, ask: Callable[[Any], object], parts: list[str]
) -> None:
    with pytest.raises(ChatfedError) as caught:
        ask(chat)
    said = str(caught.value)
    assert "\n" not in said and all(part in said for part in parts), said


@pytest.mark.parametrize("seed", [-(2**63), 2**64 - 1])
def test_every_seed_that_is_taken_draws_a_reply(chat: Chat, seed: int) -> None:
    drawn = Generation(seed=seed, temperature=1.0, max_new_tokens=3)
    assert chat.reply(HELLO, drawn) == chat.reply(HELLO, drawn)


@pytest.mark.parametrize("least", [{"temperature": 1e-42}, {"temperature": 1e-300}, {"temperature": 1, "top_p": 1e-50}])
def test_a_vanishing_temperature_or_top_p_takes_the_likeliest_token(chat: Chat, least: dict[str, Any]) -> None:
    assert chat.reply(HELLO, Generation(max_new_tokens=6, **least)) == chat.reply(HELLO, Generation(max_new_tokens=6))


def test_a_reply_uses_the_cache_under_the_name_that_the_model_gives_it(chat: Chat) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # transformers warns of the old name as long as it reads it
        assert chat.reply(HELLO, Generation(max_new_tokens=3))


def test_an_empty_history_is_an_error(chat: Chat) -> None:
    with pytest.raises(ChatfedError, match="history is empty"):
        chat.reply([])


def test_top_p_draws_only_from_the_smallest_set_with_that_probability() -> None:
    logits = torch.log(torch.tensor([0.05, 0.5, 0.15, 0.3]))
    generator = torch.Generator().manual_seed(0)
    drawn = {
        p: {_sample(logits, [], Generation(top_p=p, temperature=1), generator) for _ in range(300)}
        for p in (0.4, 0.79, 0.81, 1.0)
    }
    assert drawn == {0.4: {1}, 0.79: {1, 3}, 0.81: {1, 2, 3}, 1.0: {0, 1, 2, 3}}


def test_the_repetition_penalty_makes_what_was_drawn_less_likely_whatever_its_sign() -> None:
    greedy = Generation(temperature=0, repetition_penalty=2.0)
    generator = torch.Generator()
    assert _sample(torch.tensor([4.0, 3.0, -1.0]), [0, 0], greedy, generator) == 1
    assert _sample(torch.tensor([-1.0, -1.5, -9.0]), [0], greedy, generator) == 1
    assert _sample(torch.tensor([4.0, 3.0, -1.0]), [], greedy, generator) == 0


@pytest.mark.parametrize("make", ["missing", "empty", "model.safetensors", "tokenizer.json", "config.json"])
def test_what_is_no_model_folder_is_an_error_of_one_line(tmp_path: Path, tiny_base: Path, make: str) -> None:
    place = tmp_path / "model"
    if make != "missing":
        place.mkdir()
    if "." in make:  # this file is damaged
        for path in tiny_base.iterdir():
            (place / path.name).write_bytes(path.read_bytes())
        (place / make).write_bytes(b"x" * 100)
    with pytest.raises(ChatfedError) as caught:
        load_chat(place)
    assert "\n" not in str(caught.value) and str(place) in str(caught.value)


def test_a_chat_knows_its_folder_and_takes_a_string(tiny_base: Path) -> None:
    assert load_chat(str(tiny_base)).path == tiny_base


def test_a_run_s_folder_gives_the_model_in_it(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(tiny_base)
    assert load_chat(tmp_path / "run").path == tmp_path / "run" / "model"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_chat("~/run").path == tmp_path / "run" / "model"
    with pytest.raises(ChatfedError, match=r"config\.json"):
        load_chat(tmp_path)


def test_only_who_asks_for_a_chat_waits_for_torch() -> None:
    program = (
        "import sys, chatfed; chatfed.Turn; chatfed.ChatfedError; chatfed.WordScore; chatfed.Generation();"
        "assert not {'torch', 'transformers'} & set(sys.modules); chatfed.Chat; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_public_names_are_there_and_no_others() -> None:
    names: dict[str, Any] = {name: getattr(chatfed, name) for name in chatfed.__all__}
    assert set(names) == {"Chat", "ChatfedError", "Generation", "Suggestion", "Turn", "WordScore", "load_chat"}
    absent = "nothing"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(chatfed, absent)
