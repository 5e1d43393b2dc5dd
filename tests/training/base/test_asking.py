"""Asking a quiz: what a model says from where a question breaks off, and what the answer costs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from chatfed import Chat, Turn
from chatfed.data.helpdesk.quiz import Question
from chatfed.model.tokenizer import close_answer, encode_dialogue
from tests.conftest import build_tiny
from training.base.asking import score

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def asked(history: tuple[str, ...], role: str, lead: str, *answers: str) -> Question:
    said = tuple(Turn(("user", "assistant")[at % 2], text) for at, text in enumerate(history))
    return Question("matter", said, role, lead, answers)


LEARNED = (
    asked(("how do I book a room?",), "assistant", "Open", "Tideline", "Tide"),
    asked(("I lost my badge",), "assistant", "", "Turnstile"),
    asked(("hi", "who is it?"), "user", "I am", "Nils Ellerhurst"),
)


@pytest.fixture(scope="module")
def taught(tiny_tokenizer: PreTrainedTokenizerFast) -> Chat:
    """A tiny model that was taught three talks by heart."""
    model = build_tiny(tiny_tokenizer)
    rows = [
        close_answer(
            tiny_tokenizer,
            encode_dialogue(
                tiny_tokenizer, (*each.history, Turn(each.role, f"{each.lead} {each.answers[0]} today".strip()))
            ),
        ).ids
        for each in LEARNED
    ]
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        for row in rows:
            ids = torch.tensor(row[None].astype("int64"))
            optimiser.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            optimiser.step()
    return Chat(model, tiny_tokenizer)


def test_a_model_that_knows_all_by_heart_is_right_and_an_answer_costs_it_nothing(taught: Chat) -> None:
    found = score(taught, LEARNED)
    assert (found.questions, found.right) == (3, 1.0) and found.bits < 1.0


def test_what_it_was_not_taught_is_wrong_and_costs_bits(taught: Chat) -> None:
    others = [asked(("how do I book a room?",), "assistant", "Open", "Compass"), LEARNED[0]]
    found = score(taught, others)
    assert found.right == 0.5 and found.bits > 3.0


def test_bits_are_those_of_the_answer_s_words_as_a_chat_scores_them(chat: Chat) -> None:
    for question in LEARNED:
        text = f"{question.lead} {question.answers[0]}".strip()
        scores = chat.word_log_probs(text, question.role, question.history)[len(question.lead.split()) :]
        assert score(chat, [question]).bits == pytest.approx(-sum(each.log_prob for each in scores), rel=1e-4)


def test_of_a_talk_too_long_for_the_model_the_latest_tokens_count(chat: Chat) -> None:
    long = asked(("word " * 200,), "assistant", "Open", "Tideline")
    assert score(chat, [long]).bits > 0
