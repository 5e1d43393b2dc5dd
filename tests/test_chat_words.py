"""The chat's words: scores, places and suggestions against plain loops and an exhaustive search."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chatfed import Chat, ChatfedError, Turn, load_chat
from chatfed.model.tokenizer import encode_dialogue, encode_open_turn, encode_prompt, word_spans
from tests.chats import HELLO, STRICT, log_probs, relaxed


def plain_scores(chat: Chat, ids: list[int]) -> list[float]:
    """Bits of each token of a text that fits one window, one by one."""
    return [0.0] + [float(log_probs(chat, ids[:at])[-1][ids[at]]) / math.log(2) for at in range(1, len(ids))]


def test_word_log_probs_are_the_sums_of_a_plain_loop_over_tokens(chat: Chat) -> None:
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


def test_a_text_over_several_windows_is_scored_whole_each_token_with_at_least_half_a_context(
    chat: Chat, calls: list[int]
) -> None:
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
def test_any_text_has_one_score_for_each_of_its_words(chat: Chat, text: str) -> None:
    scores = chat.word_log_probs(text)
    assert [score.span for score in scores] == word_spans(text)
    assert all(score.log_prob <= 0 and score.rank >= 1 and score.tokens >= 1 for score in scores)


def test_a_reply_is_scored_as_it_stands_after_the_conversation_that_it_answers(chat: Chat) -> None:
    talk = [*HELLO, Turn("assistant", "is it on?"), Turn("user", "yes")]
    for reply in ("try again", "no", "my laptop"):
        encoded = encode_dialogue(chat.tokenizer, [*talk, Turn("assistant", reply)])
        first = int(np.flatnonzero((encoded.turns == 3) & (encoded.words == 0))[0])
        assert encoded.ids[:first].tolist() == encode_prompt(chat.tokenizer, talk)
        expected = log_probs(chat, encoded.ids[:first].tolist())[-1]
        (after, *_), (alone, *_) = (chat.word_log_probs(reply, "assistant", before) for before in (talk, ()))
        assert after.rank == 1 + int((expected > expected[encoded.ids[first]]).sum())
        assert after.log_prob != alone.log_prob


def test_scores_after_a_history_are_those_of_the_whole_dialogue(chat: Chat) -> None:
    turn = Turn("assistant", "please try it again")
    encoded = encode_dialogue(chat.tokenizer, [*HELLO, turn])
    bits = plain_scores(chat, encoded.ids.tolist())
    for index, score in enumerate(chat.word_log_probs(turn.content, "assistant", HELLO)):
        at = np.flatnonzero((encoded.turns == 1) & (encoded.words == index))
        assert score.log_prob == pytest.approx(sum(bits[i] for i in at), abs=1e-3)


def test_of_a_history_over_the_context_the_latest_messages_count(chat: Chat, calls: list[int]) -> None:
    talk = [Turn("user" if i % 2 == 0 else "assistant", f"message {i} about a printer") for i in range(21)]
    scores = chat.word_log_probs("try again", "assistant", talk)
    assert len(calls) == 1 and calls[0] <= chat.context
    kept = [n for n in range(1, 21, 2) if chat.word_log_probs("try again", "assistant", talk[-n:]) == scores]
    fits = [
        n for n in kept if len(encode_dialogue(chat.tokenizer, [*talk[-n:], Turn("assistant", "try again")]).ids) <= 64
    ]
    more = [*talk[-fits[0] - 2 :], Turn("assistant", "try again")]
    assert fits and len(encode_dialogue(chat.tokenizer, more).ids) > 64


@pytest.mark.parametrize("rules", [[], [Turn("system", "be brief")]])
def test_a_template_that_demands_a_user_first_scores_a_reply_after_its_history(
    tiny_base: Path, rules: list[Turn]
) -> None:
    strict = load_chat(tiny_base)
    strict.tokenizer.chat_template = STRICT
    assert [s.word for s in strict.word_log_probs("try again", "assistant")] == ["try", "again"]  # a neutral one before
    with pytest.raises(ChatfedError, match="refuses the roles"):
        strict.word_log_probs("try again", "assistant", [Turn("assistant", "hi")])
    talk = [Turn("user" if i % 2 == 0 else "assistant", f"message {i} printer " * 9) for i in range(5)]
    for history in (HELLO, talk):  # the second does not fit the context: the last user's message stays
        assert [s.word for s in strict.word_log_probs("try again", "assistant", [*rules, *history])] == ["try", "again"]


def test_a_text_longer_than_the_context_is_scored_whole_after_a_history(chat: Chat) -> None:
    text = " ".join(f"word{i} printer" for i in range(40))
    assert [s.span for s in chat.word_log_probs(text, "user", [*HELLO, Turn("assistant", "yes")])] == word_spans(text)


def test_the_role_that_says_it_matters(chat: Chat) -> None:
    text = "please restart it"
    as_user, as_assistant = (chat.word_log_probs(text, role) for role in ("user", "assistant"))
    assert [s.word for s in as_user] == [s.word for s in as_assistant]
    assert [s.log_prob for s in as_user] != [s.log_prob for s in as_assistant]


@pytest.mark.parametrize("text", ["my laptop ", "", "my ", "please hel", "the pr", "x", "qu"])
def test_suggestions_are_whole_words_with_probabilities_in_order(chat: Chat, text: str) -> None:
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


def test_suggestions_depend_on_the_history_and_not_on_trailing_spaces(chat: Chat) -> None:
    alone = chat.suggest("my laptop ")
    assert chat.suggest("my laptop   ") == alone
    assert chat.suggest("my laptop ", history=[*HELLO, Turn("assistant", "Try again.")]) != alone


def test_nothing_is_suggested_for_what_no_word_starts_with(chat: Chat) -> None:
    assert chat.suggest("laptop ☃☃☃") == []


def enumerated(chat: Chat, text: str, longest: int) -> dict[str, float]:
    """Every word of up to `longest` tokens with its exact probability: all spellings, then the word's end."""
    ids = [int(i) for i in encode_open_turn(chat.tokenizer, [], Turn("user", text)).ids]
    opens, goes_on, ends, texts = chat._words._spelling
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


def test_suggestions_agree_with_an_exhaustive_enumeration_of_short_words(chat: Chat) -> None:
    exact = enumerated(chat, "my laptop", 2)
    found = chat.suggest("my laptop ", k=3)
    short = sorted(exact.items(), key=lambda item: -item[1])
    for suggestion in found:
        assert suggestion.probability >= 0.9 * exact.get(suggestion.word, 0.0)
    # No word of one or two tokens that is likelier than the last suggestion was overlooked.
    assert {word for word, p in short if p > found[-1].probability * 1.001} <= {s.word for s in found}
    best = short[0]
    assert found[0].probability >= best[1] * 0.9


def test_a_place_of_a_reply_is_had_on_a_template_that_demands_a_user_first(tiny_base: Path) -> None:
    strict = load_chat(tiny_base)
    strict.tokenizer.chat_template = STRICT
    assert [place.word for place in strict.word_places("try again", "assistant")] == ["try", "again"]
