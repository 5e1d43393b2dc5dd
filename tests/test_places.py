"""Places of words against plain loops over whole texts; and the probe on a model that learned one secret by heart."""

from __future__ import annotations

import copy
import math
from random import Random

import numpy as np
import pytest
import torch

from chatfed import Chat, Turn
from chatfed.audit.leakage import level
from chatfed.audit.twins import compare_with_twins, total_bits
from chatfed.model.tokenizer import encode_dialogue, word_spans

HISTORY = [Turn("user", "who are you"), Turn("assistant", "the desk")]


def bits_after(chat: Chat, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        logits = chat.model(input_ids=torch.tensor([ids])).logits[0, -1].float()
    return (torch.log_softmax(logits, -1) / math.log(2)).numpy()


@pytest.mark.parametrize("history", [[], HISTORY], ids=["alone", "after a history"])
def test_a_word_s_place_says_what_its_score_says(chat: Chat, history: list[Turn]) -> None:
    text = "my laptop won't start, Müller! 4711"
    scores, places = chat.word_log_probs(text, "user", history), list(chat.word_places(text, "user", history))
    assert [place.span for place in places] == [score.span for score in scores]
    for place, score in zip(places, scores, strict=True):
        own = np.array([place.tokens])
        assert total_bits(own, place.branches())[0] == pytest.approx(score.log_prob, abs=1e-3)


def test_alternatives_are_what_a_plain_loop_over_the_whole_text_gives(chat: Chat) -> None:
    text = "my laptop is lost"
    ids = encode_dialogue(chat.tokenizer, [*HISTORY, Turn("user", text)])
    places = list(chat.word_places(text, "user", HISTORY))
    for index in (3, 0, 2):  # in any order, and twice: a place is not used up
        at = np.flatnonzero((ids.turns == 2) & (ids.words == index))[0]
        before = ids.ids[:at].tolist()
        rows = np.array([[7, 300, 21], [310, 5, 5], [7, 300, 22]])
        expected = [sum(bits_after(chat, before + row[:step])[row[step]] for step in range(3)) for row in rows.tolist()]
        for _ in range(2):
            assert total_bits(rows, places[index].branches()) == pytest.approx(expected, abs=1e-3)


def test_each_word_of_a_text_over_several_contexts_has_a_place_after_at_least_half_of_one(
    chat: Chat, calls: list[int]
) -> None:
    text = " ".join(f"word{i} printer" for i in range(40))
    places = list(chat.word_places(text))
    assert [place.span for place in places] == word_spans(text)
    assert max(calls) <= chat.context and sum(n >= chat.context // 2 for n in calls) >= 5
    encoded = encode_dialogue(chat.tokenizer, [Turn("user", text)])
    last = places[-1]
    at = int(np.flatnonzero(encoded.words == len(places) - 1)[0])
    found = [
        n
        for n in range(chat.context // 2, chat.context)
        if np.allclose(bits_after(chat, encoded.ids[at - n : at].tolist()), last.branches().first[0], atol=1e-2)
    ]
    assert found, "the last word's place is after no half a context of what stands before it"


def test_a_word_longer_than_half_the_context_has_no_place_and_the_words_beside_it_have(chat: Chat) -> None:
    text = "my " + "qz" * chat.context + " badge"
    assert [text[place.span.start : place.span.end] for place in chat.word_places(text)] == ["my", "badge"]
    assert [shift.rank is None for shift in compare_with_twins(chat, chat, text)][1]


def test_token_texts_begin_with_a_space_where_a_word_does_and_markers_have_none(chat: Chat) -> None:
    ids = encode_dialogue(chat.tokenizer, [Turn("user", "my laptop")])
    spelt = [chat.token_texts[i] for i in ids.ids]
    assert spelt[0] == "" and "".join(spelt) == " my laptop"
    assert len(chat.token_texts) == chat.model.config.vocab_size


@pytest.fixture(scope="module")
def overfitted(chat: Chat) -> Chat:
    """The tiny model once it knows one secret by heart, and nothing else."""
    model = copy.deepcopy(chat.model)
    ids = torch.from_numpy(encode_dialogue(chat.tokenizer, [Turn("user", SECRET)]).ids.astype(np.int64))[None]
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(200):
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        if loss.item() < 0.3:
            break
        loss.backward()
        optimizer.step()
    return Chat(model, chat.tokenizer)


SECRET = "my badge is KQ-4711 sir"


def test_a_secret_learned_by_heart_stands_above_all_its_twins_and_invented_ones_do_not(
    chat: Chat, overfitted: Chat
) -> None:
    found = {shift.word: shift for shift in compare_with_twins(overfitted, chat, SECRET)}
    rank = found["KQ-4711"].rank
    assert rank is not None and rank.twins == 100 and level(rank) == "more than all twins"
    rng, told = Random(1), []
    for _ in range(12):
        code = f"{rng.choice('ABCDEFGHI')}{rng.choice('NOPRSTUV')}-{rng.randrange(1000, 10_000)}"
        (shift,) = [each for each in compare_with_twins(overfitted, chat, f"my badge is {code}") if each.word == code]
        told.append(level(shift.rank))
    assert sum(name.startswith("more") for name in told) <= 3 and "not compared" not in told
