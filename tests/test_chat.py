"""The chat: streamed as it is drawn, stopped at once, the same for a seed; its words against plain loops."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chatfed
from chatfed import Chat, ChatfedError, Generation, Turn, load_chat
from chatfed.chat import _sample
from chatfed.model.tokenizer import encode_dialogue, encode_open_turn, encode_prompt, word_spans

ROOT = Path(__file__).parent.parent
HELLO = [Turn("user", "my laptop will not start")]
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


@pytest.fixture(scope="module")
def chat(tiny_base: Path) -> Chat:
    torch.set_num_threads(1)
    return load_chat(tiny_base)


@pytest.fixture
def calls(chat: Chat) -> Iterator[list[int]]:
    """Lengths of the inputs of every forward call."""
    seen: list[int] = []
    hook = chat.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    yield seen
    hook.remove()


def log_probs(chat: Chat, ids: list[int]) -> torch.Tensor:
    """float32[len(ids), vocabulary]: log-probabilities of the token after each."""
    with torch.inference_mode():
        return torch.log_softmax(chat.model(input_ids=torch.tensor([ids])).logits[0].float(), -1)


@relaxed
@given(st.integers(0, 999), st.floats(0.2, 3.0), st.integers(1, 25))
def test_the_pieces_of_a_stream_join_to_the_reply_of_the_same_seed(chat, seed, temperature, tokens):
    drawn = Generation(max_new_tokens=tokens, temperature=temperature, top_p=1.0, seed=seed)
    pieces = list(chat.stream(HELLO, drawn))
    assert all(pieces)
    assert "".join(pieces) == chat.reply(HELLO, drawn)


def test_text_comes_while_the_model_is_still_drawing(chat, calls):
    stream = chat.stream(HELLO, Generation(max_new_tokens=25, seed=1))
    next(stream)
    assert 1 <= len(calls) < 20


def test_closing_the_stream_stops_the_model(chat, calls):
    stream = chat.stream(HELLO, Generation(max_new_tokens=25, seed=1))
    next(stream)
    stopped = len(calls)
    stream.close()
    assert list(stream) == []
    assert len(calls) == stopped


def test_each_further_token_costs_one_token_s_work(chat, calls):
    list(chat.stream(HELLO, Generation(max_new_tokens=8, seed=1, temperature=3.0, top_p=1.0)))
    assert calls[1:] == [1] * (len(calls) - 1) and len(calls) > 3


def test_greedy_is_deterministic_and_is_the_argmax_of_a_plain_loop(chat):
    greedy = Generation(max_new_tokens=12, temperature=0, repetition_penalty=1.0)
    ids = encode_prompt(chat.tokenizer, HELLO)
    prompt = len(ids)
    for _ in range(12):
        token = int(log_probs(chat, ids)[-1].argmax())
        if token in chat._ends:
            break
        ids.append(token)
    expected = chat.tokenizer.decode(ids[prompt:], skip_special_tokens=True).lstrip()
    assert chat.reply(HELLO, greedy) == chat.reply(HELLO, greedy) == expected


def test_another_seed_gives_another_reply_and_none_draws_a_fresh_one(chat):
    hot = {"temperature": 2.0, "top_p": 1.0, "max_new_tokens": 15}
    assert len({chat.reply(HELLO, Generation(seed=seed, **hot)) for seed in range(4)}) > 1
    assert len({chat.reply(HELLO, Generation(**hot)) for _ in range(4)}) > 1


@relaxed
@given(st.integers(0, 300), st.data())
def test_stop_strings_are_never_shown_even_partly(chat, seed, data):
    drawn = Generation(max_new_tokens=20, temperature=2.0, top_p=1.0, seed=seed)
    whole = chat.reply(HELLO, drawn)
    if len(whole) < 3 or "\ufffd" in whole:
        return
    at = data.draw(st.integers(1, len(whole) - 1))
    stop = whole[at : at + data.draw(st.integers(1, 6))]
    pieces = list(chat.stream(HELLO, Generation(**{**vars(drawn), "stop": (stop, "never said")})))
    assert "".join(pieces) == whole[: whole.index(stop)]


def test_a_message_s_end_ends_the_reply_and_is_not_shown(chat):
    for seed in range(6):
        said = chat.reply(HELLO, Generation(seed=seed, temperature=2.5, top_p=1.0, max_new_tokens=40))
        assert not any(marker in said for marker in ("<|end|>", "<|user|>", "<|assistant|>", "<|begin|>", "<|pad|>"))


def test_a_long_history_keeps_its_latest_messages_and_room_for_the_reply(chat, calls):
    history = [Turn("user" if i % 2 == 0 else "assistant", f"message number {i} about a printer") for i in range(31)]
    chat.reply(history, Generation(max_new_tokens=8, seed=1))
    assert calls[0] <= chat.context - 8
    tail = encode_prompt(chat.tokenizer, history[-1:])
    assert calls[0] >= len(tail)
    chat.reply([Turn("user", "word " * 500)], Generation(max_new_tokens=200, seed=1))  # one message over the context
    assert max(calls) <= chat.context


STRICT = (
    "{% for m in messages %}{% if m['role'] != 'system' and "
    "(m['role'] == 'user') != ((loop.index0 - (messages[0]['role'] == 'system')) % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ '<|' + m['role'] + '|> ' + m['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.mark.parametrize("rules", [[], [Turn("system", "be brief")]])
def test_a_long_history_keeps_its_system_message_and_begins_with_a_user_s(tiny_base, rules):
    strict = load_chat(tiny_base)
    strict.tokenizer.chat_template = STRICT
    talk = [Turn("user" if i % 2 == 0 else "assistant", f"message {i} printer") for i in range(21)]
    prompt = strict._prompt([*rules, *talk], 8)
    kept = next(n for n in range(1, 21, 2) if encode_prompt(strict.tokenizer, [*rules, *talk[-n:]]) == prompt)
    assert kept >= 1 and len(prompt) <= strict.context - 8
    assert len(encode_prompt(strict.tokenizer, [*rules, *talk[-kept - 2 :]])) > strict.context - 8


def test_several_threads_get_what_each_would_get_alone(chat):
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
def test_settings_that_make_no_sense_are_named(wrong):
    with pytest.raises(ChatfedError, match=next(iter(wrong))):
        Generation(**wrong)


def test_a_stop_may_be_one_text_and_ends_the_reply_as_a_list_of_it_does(chat):
    whole = chat.reply(HELLO, Generation(max_new_tokens=12, seed=1))
    stop = whole[len(whole) // 2 :][:3]
    assert Generation(stop=stop).stop == Generation(stop=[stop]).stop == (stop,)
    assert chat.reply(HELLO, Generation(max_new_tokens=12, seed=1, stop=stop)) == whole[: whole.index(stop)]
    assert hash(Generation(stop=[stop])) == hash(Generation(stop=(stop,)))


def test_numbers_of_numpy_are_settings_too(chat):
    drawn = Generation(max_new_tokens=np.int64(4), temperature=np.float32(0.5), seed=np.uint8(3))
    assert chat.reply(HELLO, drawn) == chat.reply(HELLO, Generation(max_new_tokens=4, temperature=0.5, seed=3))


MESSAGES = [{"role": "user", "content": "my laptop will not start"}]


@pytest.mark.parametrize(
    "given", [HELLO[0].content, MESSAGES, iter(HELLO), tuple(HELLO)], ids=lambda g: type(g).__name__
)
def test_a_reply_is_the_same_however_the_conversation_is_handed_over(chat, given):
    assert chat.reply(given, Generation(max_new_tokens=8)) == chat.reply(HELLO, Generation(max_new_tokens=8))


def test_suggestions_and_scores_take_the_same_histories_as_replies(chat):
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
        (lambda chat: load_chat(None), ["NoneType", "path"]),
    ],
)
def test_what_no_public_face_takes_is_named_at_the_call_in_one_line(chat, ask, parts):
    with pytest.raises(ChatfedError) as caught:
        ask(chat)
    said = str(caught.value)
    assert "\n" not in said and all(part in said for part in parts), said


@pytest.mark.parametrize("seed", [-(2**63), 2**64 - 1])
def test_every_seed_that_is_taken_draws_a_reply(chat, seed):
    drawn = Generation(seed=seed, temperature=1.0, max_new_tokens=3)
    assert chat.reply(HELLO, drawn) == chat.reply(HELLO, drawn)


@pytest.mark.parametrize("least", [{"temperature": 1e-42}, {"temperature": 1e-300}, {"temperature": 1, "top_p": 1e-50}])
def test_a_vanishing_temperature_or_top_p_takes_the_likeliest_token(chat, least):
    assert chat.reply(HELLO, Generation(max_new_tokens=6, **least)) == chat.reply(HELLO, Generation(max_new_tokens=6))


def test_a_reply_uses_the_cache_under_the_name_that_the_model_gives_it(chat):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # transformers warns of the old name as long as it reads it
        assert chat.reply(HELLO, Generation(max_new_tokens=3))


def test_an_empty_history_is_an_error(chat):
    with pytest.raises(ChatfedError, match="history is empty"):
        chat.reply([])


def test_top_p_draws_only_from_the_smallest_set_with_that_probability():
    logits = torch.log(torch.tensor([0.05, 0.5, 0.15, 0.3]))
    generator = torch.Generator().manual_seed(0)
    drawn = {
        p: {_sample(logits, [], Generation(top_p=p, temperature=1), generator) for _ in range(300)}
        for p in (0.4, 0.79, 0.81, 1.0)
    }
    assert drawn == {0.4: {1}, 0.79: {1, 3}, 0.81: {1, 2, 3}, 1.0: {0, 1, 2, 3}}


def test_the_repetition_penalty_makes_what_was_drawn_less_likely_whatever_its_sign():
    greedy = Generation(temperature=0, repetition_penalty=2.0)
    generator = torch.Generator()
    assert _sample(torch.tensor([4.0, 3.0, -1.0]), [0, 0], greedy, generator) == 1
    assert _sample(torch.tensor([-1.0, -1.5, -9.0]), [0], greedy, generator) == 1
    assert _sample(torch.tensor([4.0, 3.0, -1.0]), [], greedy, generator) == 0


def plain_scores(chat: Chat, ids: list[int]) -> list[float]:
    """Bits of each token of a text that fits one window, one by one."""
    return [0.0] + [float(log_probs(chat, ids[:at])[-1][ids[at]]) / math.log(2) for at in range(1, len(ids))]


def test_word_log_probs_are_the_sums_of_a_plain_loop_over_tokens(chat):
    text = "my  laptop won't start, Müller! 4711"
    scores = chat.word_log_probs(text)
    encoded = encode_dialogue(chat.tokenizer, [Turn("user", text)])
    assert len(encoded.ids) <= chat.context
    bits = plain_scores(chat, encoded.ids.tolist())
    assert [score.word for score in scores] == text.split()
    assert [text[score.span.start : score.span.end] for score in scores] == text.split()
    for index, score in enumerate(scores):
        at = np.flatnonzero(encoded.words == index)
        assert score.tokens == len(at)
        assert score.log_prob == pytest.approx(sum(bits[i] for i in at), abs=1e-3)
        before = log_probs(chat, encoded.ids[: at[0]].tolist())[-1]
        assert score.rank == 1 + int((before > before[encoded.ids[at[0]]]).sum())
        assert score.log_prob <= 0


def test_a_text_over_several_windows_is_scored_whole_each_token_with_at_least_half_a_context(chat, calls):
    text = " ".join(f"word{i} printer" for i in range(70))
    scores = chat.word_log_probs(text)
    assert [score.span for score in scores] == word_spans(text)
    encoded = encode_dialogue(chat.tokenizer, [Turn("user", text)])
    assert len(encoded.ids) > 3 * chat.context
    assert max(calls) <= chat.context
    half = chat.context // 2
    assert all(score.log_prob < 0 for score in scores)
    for index in (0, 5, len(scores) // 2, len(scores) - 1):
        total = 0.0
        for place in np.flatnonzero(encoded.words == index).tolist():
            window = max(0, (place // half - 1) * half)
            total += float(log_probs(chat, encoded.ids[window:place].tolist())[-1][encoded.ids[place]]) / math.log(2)
        assert scores[index].log_prob == pytest.approx(total, abs=1e-3)


@relaxed
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_has_one_score_for_each_of_its_words(chat, text):
    scores = chat.word_log_probs(text)
    assert [score.span for score in scores] == word_spans(text)
    assert all(score.log_prob <= 0 and score.rank >= 1 and score.tokens >= 1 for score in scores)


def test_a_reply_is_scored_as_it_stands_after_the_conversation_that_it_answers(chat):
    talk = [*HELLO, Turn("assistant", "is it on?"), Turn("user", "yes")]
    for reply in ("try again", "no", "my laptop"):
        encoded = encode_dialogue(chat.tokenizer, [*talk, Turn("assistant", reply)])
        first = int(np.flatnonzero((encoded.turns == 3) & (encoded.words == 0))[0])
        assert encoded.ids[:first].tolist() == encode_prompt(chat.tokenizer, talk)
        expected = log_probs(chat, encoded.ids[:first].tolist())[-1]
        (after, *_), (alone, *_) = (chat.word_log_probs(reply, "assistant", before) for before in (talk, ()))
        assert after.rank == 1 + int((expected > expected[encoded.ids[first]]).sum())
        assert after.log_prob != alone.log_prob


def test_scores_after_a_history_are_those_of_the_whole_dialogue(chat):
    turn = Turn("assistant", "please try it again")
    encoded = encode_dialogue(chat.tokenizer, [*HELLO, turn])
    bits = plain_scores(chat, encoded.ids.tolist())
    for index, score in enumerate(chat.word_log_probs(turn.content, "assistant", HELLO)):
        at = np.flatnonzero((encoded.turns == 1) & (encoded.words == index))
        assert score.log_prob == pytest.approx(sum(bits[i] for i in at), abs=1e-3)


def test_of_a_history_over_the_context_the_latest_messages_count(chat, calls):
    talk = [Turn("user" if i % 2 == 0 else "assistant", f"message {i} about a printer") for i in range(21)]
    scores = chat.word_log_probs("try again", "assistant", talk)
    assert len(calls) == 1 and calls[0] <= chat.context
    kept = [n for n in range(1, 21, 2) if chat.word_log_probs("try again", "assistant", talk[-n:]) == scores]
    fits = [
        n for n in kept if len(encode_dialogue(chat.tokenizer, [*talk[-n:], Turn("assistant", "try again")]).ids) <= 64
    ]
    assert fits and len(encode_dialogue(chat.tokenizer, talk[-fits[0] - 2 :]).ids) > 64 - 6


@pytest.mark.parametrize("rules", [[], [Turn("system", "be brief")]])
def test_a_template_that_demands_a_user_first_scores_a_reply_after_its_history(tiny_base, rules):
    strict = load_chat(tiny_base)
    strict.tokenizer.chat_template = STRICT
    assert [s.word for s in strict.word_log_probs("try again", "assistant")] == ["try", "again"]  # a neutral one before
    with pytest.raises(ChatfedError, match="refuses the roles"):
        strict.word_log_probs("try again", "assistant", [Turn("assistant", "hi")])
    talk = [Turn("user" if i % 2 == 0 else "assistant", f"message {i} printer " * 9) for i in range(5)]
    for history in (HELLO, talk):  # the second does not fit the context: the last user's message stays
        assert [s.word for s in strict.word_log_probs("try again", "assistant", [*rules, *history])] == ["try", "again"]


def test_a_text_longer_than_the_context_is_scored_whole_after_a_history(chat):
    text = " ".join(f"word{i} printer" for i in range(40))
    assert [s.span for s in chat.word_log_probs(text, "user", [*HELLO, Turn("assistant", "yes")])] == word_spans(text)


def test_the_role_that_says_it_matters(chat):
    text = "please restart it"
    as_user, as_assistant = (chat.word_log_probs(text, role) for role in ("user", "assistant"))
    assert [s.word for s in as_user] == [s.word for s in as_assistant]
    assert [s.log_prob for s in as_user] != [s.log_prob for s in as_assistant]


@pytest.mark.parametrize("text", ["my laptop ", "", "my ", "please hel", "the pr", "x", "qu"])
def test_suggestions_are_whole_words_with_probabilities_in_order(chat, text):
    found = chat.suggest(text, k=5)
    assert 0 < len(found) <= 5
    assert [s.probability for s in found] == sorted((s.probability for s in found), reverse=True)
    assert sum(s.probability for s in found) <= 1 + 1e-6
    assert len({s.word for s in found}) == len(found)
    half = text.split()[-1] if text and not text[-1].isspace() else ""
    for suggestion in found:
        assert suggestion.word.startswith(half) and suggestion.word
        assert not any(c.isspace() for c in suggestion.word)
        assert suggestion.probability > 0


def test_suggestions_depend_on_the_history_and_not_on_trailing_spaces(chat):
    alone = chat.suggest("my laptop ")
    assert chat.suggest("my laptop   ") == alone
    assert chat.suggest("my laptop ", history=[*HELLO, Turn("assistant", "Try again.")]) != alone


def test_nothing_is_suggested_for_what_no_word_starts_with(chat):
    assert chat.suggest("laptop ☃☃☃") == []


def enumerated(chat: Chat, text: str, longest: int) -> dict[str, float]:
    """Every word of up to `longest` tokens with its exact probability: all spellings, then the word's end."""
    ids = [int(i) for i in encode_open_turn(chat.tokenizer, [], Turn("user", text)).ids]
    opens, goes_on, ends, texts = chat._spelling
    first, rest = torch.where(opens)[0].tolist(), torch.where(goes_on)[0].tolist()
    words: dict[str, float] = {}
    for length in range(1, longest + 1):
        spellings = list(itertools.product(first, *[rest] * (length - 1)))
        for start in range(0, len(spellings), 4096):
            part = spellings[start : start + 4096]
            with torch.inference_mode():
                rows = torch.tensor([ids + list(tokens) for tokens in part])
                chances = torch.log_softmax(chat.model(input_ids=rows).logits[:, -length - 1 :].float(), -1)
            spelt = torch.stack([chances[:, k].gather(1, rows[:, len(ids) + k, None])[:, 0] for k in range(length)])
            over = chances[:, -1][:, ends].logsumexp(1)
            for tokens, chance in zip(part, (spelt.sum(0) + over).exp().tolist(), strict=True):
                word = "".join(texts[t] for t in tokens)
                words[word] = words.get(word, 0.0) + chance
    words.pop("")
    return words


def test_suggestions_agree_with_an_exhaustive_enumeration_of_short_words(chat):
    exact = enumerated(chat, "my laptop", 2)
    found = chat.suggest("my laptop ", k=3)
    short = sorted(exact.items(), key=lambda item: -item[1])
    for suggestion in found:
        assert suggestion.probability >= 0.9 * exact.get(suggestion.word, 0.0)
    # No word of one or two tokens that is likelier than the last suggestion was overlooked.
    assert {word for word, p in short if p > found[-1].probability * 1.001} <= {s.word for s in found}
    best = short[0]
    assert found[0].probability >= best[1] * 0.9


@pytest.mark.parametrize("make", ["missing", "empty", "model.safetensors", "tokenizer.json", "config.json"])
def test_what_is_no_model_folder_is_an_error_of_one_line(tmp_path, tiny_base, make):
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


def test_a_chat_knows_its_folder_and_takes_a_string(tiny_base):
    assert load_chat(str(tiny_base)).path == tiny_base


def test_a_run_s_folder_gives_the_model_in_it(tiny_base, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(tiny_base)
    assert load_chat(tmp_path / "run").path == tmp_path / "run" / "model"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_chat("~/run").path == tmp_path / "run" / "model"
    with pytest.raises(ChatfedError, match="config.json"):
        load_chat(tmp_path)


def test_importing_chatfed_is_quick_and_brings_no_torch():
    program = (
        "import sys, chatfed; chatfed.Turn; chatfed.ChatfedError; chatfed.WordScore; chatfed.__version__;"
        "assert not {'torch', 'transformers', 'numpy.random'} & set(sys.modules) - {'numpy.random'};"
        "chatfed.Generation(); assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_public_names_are_there_and_no_others():
    names: dict[str, Any] = {name: getattr(chatfed, name) for name in chatfed.__all__}
    assert set(names) == {"Chat", "ChatfedError", "Generation", "Suggestion", "Turn", "WordScore", "load_chat"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        chatfed.nothing  # noqa: B018


def test_a_place_of_a_reply_is_had_on_a_template_that_demands_a_user_first(tiny_base):
    strict = load_chat(tiny_base)
    strict.tokenizer.chat_template = STRICT
    assert [place.word for place in strict.word_places("try again", "assistant")] == ["try", "again"]
