"""Asks a model the questions of a quiz: what it says, and how many bits the answer would have cost it. Trains nothing.

What a model says is its likeliest token each time, from where the question breaks off, drawn as the chat draws replies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import torch

from chatfed.data.helpdesk.quiz import Question, is_right, words
from chatfed.model.decoding import Decoder
from chatfed.model.tokenizer import encode_open_turn, turn_end_ids
from chatfed.types import Turn

if TYPE_CHECKING:
    from chatfed import Chat

MOST_TOKENS = 32  # of an answer


@dataclass(frozen=True)
class Score:
    """How a model did on some questions."""

    questions: int
    right: float  # share, in [0, 1]
    bits: float  # of the first accepted answer's tokens together, mean over the questions

    def to_json(self) -> dict[str, float]:
        """The figures by name, as quiz.json holds them."""
        return {"questions": self.questions, "right": self.right, "bits": self.bits}


def score(chat: Chat, questions: Sequence[Question]) -> Score:
    """Asks every question; there must be one at least. Of a talk too long for the model the latest tokens count."""
    decoder = Decoder(chat.model)
    right = sum(is_right(_said(chat, decoder, question), question.answers) for question in questions)
    cost = sum(_bits(chat, decoder, question) for question in questions)
    return Score(len(questions), right / len(questions), cost / len(questions))


def _said(chat: Chat, decoder: Decoder, question: Question) -> str:
    """What the model goes on with, until it is settled whether that is right, or it ends."""
    text, ends, drawn, said = decoder.drawn(), turn_end_ids(chat.tokenizer), list[int](), ""
    ids = _ids(chat, question, "")[MOST_TOKENS - chat.context :]
    while len(drawn) < MOST_TOKENS and _is_open(said, question.answers):
        token = int(text.add(np.array([ids], np.int32))[0].argmax())
        if token in ends:
            break
        drawn, ids = [*drawn, token], [token]
        said = str(chat.tokenizer.decode(drawn, skip_special_tokens=True))
    return said


def _is_open(said: str, answers: Sequence[str]) -> bool:
    """Whether another token may still matter; the last word said may not be whole yet."""
    whole = words(said)[:-1]
    wanted = map(words, answers)
    return any(len(whole) < len(answer) and answer[: len(whole)] == whole for answer in wanted)


def _bits(chat: Chat, decoder: Decoder, question: Question) -> float:
    """Of the answer's tokens, given all before them: those that the text without the answer does not begin with."""
    before, whole = _ids(chat, question, ""), _ids(chat, question, question.answers[0])
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, whole, strict=False)))
    answer, seen = whole[same:], whole[-chat.context :]
    scores = torch.cat(list(decoder.scores(seen)))[-len(answer) - 1 : -1].log_softmax(-1)
    return -float(scores.gather(1, torch.tensor(answer)[:, None]).sum()) / math.log(2)


def _ids(chat: Chat, question: Question, answer: str) -> list[int]:
    """Tokens of the talk up to where it breaks off, or up to the answer's end."""
    turn = Turn(question.role, f"{question.lead} {answer}".strip())
    return [int(token) for token in encode_open_turn(chat.tokenizer, question.history, turn).ids]
