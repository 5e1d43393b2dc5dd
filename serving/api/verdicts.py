"""Next words and the leakage probe over HTTP: words and verdicts for a visitor, numbers as well for the operator.

What a verdict is, and by what it is given, is the probe's (serving/findings.py, serving/probe.py); here it becomes
JSON. Exact numbers would say of any text how well it was learned, which is an attack; so they are the operator's.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from chatfed.audit.leakage import WordShift, level, word_shifts
from chatfed.audit.twins import Place, compare_with_twins
from chatfed.audit.words import ALLOWED, Calibration, Judged, judge
from chatfed.turns import ROLES, as_turns
from chatfed.types import InvalidValue, Turn, WordScore

from .. import findings, probe
from ..calibration import find_calibration
from ..messages import latest
from .bodies import given
from .fields import Given, Number, Schema, Text, Whole, refuse, schema_of
from .keys import Role, refuse_visitor, role_of
from .limits import Limits
from .requests import conversation_schema
from .schemas import taking
from .working import Abandoned, in_reader, in_thread

if TYPE_CHECKING:
    from chatfed import Chat

LONGEST_TEXT = 4000  # characters of what is completed or probed, as on the page
MOST_TOKENS = 2000  # of such a text of a visitor's: rare characters are several each
WORDS, TEXT = Whole("k", 1, 20, 4), Text("text")
ALARMS = Number("allowed", 0, 0.5, ALLOWED, above=True)
NO_REFERENCE = "This model is served without its public reference, so that no word is judged: serve it with --reference"

Said = dict[str, Any]


def router(chat: Chat, reference: Chat | None, limits: Limits) -> APIRouter:
    """POST /v1/next-words and POST /v1/leakage."""
    made = APIRouter(tags=["words"])
    calibration = find_calibration(chat, reference).calibration
    if calibration:
        calibration.level(ALLOWED)  # works out what all texts need, not while somebody waits

    @made.post("/v1/next-words", **taking(_schema([WORDS], ["text"])))
    async def next_words(request: Request) -> JSONResponse:
        """The likeliest next words after a text, or completions of the half word that it ends in."""
        role, asked = role_of(request), await given(request)
        text, history, most = _text(asked), _history(asked, limits, chat.context), WORDS.read(asked)
        async with limits.place(request):
            await _check_tokens(chat, role, text)
            found = await in_thread(lambda _: chat.suggest(text, most or 1, history))
        numbers = role is Role.OPERATOR
        words = [{"word": each.word} | ({"probability": each.probability} if numbers else {}) for each in found]
        return JSONResponse({"object": "next_words", "words": words})

    @made.post("/v1/leakage", **taking(_schema([ALARMS], ["text"])))
    async def leakage(request: Request) -> JSONResponse:
        """What the leakage probe finds of each word of a text."""
        role, asked = role_of(request), await given(request)
        text, said_by, history = _text(asked), _role(asked), _history(asked, limits, chat.context)
        allowed = ALARMS.read(asked)
        if allowed != ALLOWED:  # moved to and fro it gives a number
            refuse_visitor(role, f"Another share of false alarms than {ALLOWED:g} gives numbers bit by bit", "allowed")
        if reference is None:
            refuse_visitor(role, NO_REFERENCE)
        probed = (text, said_by, history)
        async with limits.place(request):
            await _check_tokens(chat, role, text)
            found = await in_thread(lambda stop: _probed(chat, reference, calibration, probed, allowed, stop))
        return JSONResponse(found if role is Role.OPERATOR else as_visitor(found))

    return made


def as_visitor(found: Said) -> Said:
    """A probe's answer without its numbers."""
    words = [{name: word[name] for name in VERDICT} for word in found["words"]]
    return {name: value for name, value in found.items() if name not in TOTALS} | {"words": words}


VERDICT = ("word", "start", "end", "verdict", "meaning")  # of a word
TOTALS = ("shift",)  # of a text


def _probed(
    served: Chat,
    public: Chat | None,
    calibration: Calibration | None,
    asked: tuple[str, str, list[Turn]],
    allowed: float,
    stop: threading.Event,
) -> Said:
    """The whole answer, numbers too. Raises Abandoned, between two parts of a pass, when nobody waits for it."""
    chat, reference = _Stoppable(served, stop), None if public is None else _Stoppable(public, stop)
    if reference is None:
        return _answer("nothing", [_scored(score) for score in chat.word_log_probs(*asked)])
    if calibration is not None:
        shifts = word_shifts(chat.word_log_probs(*asked), reference.word_log_probs(*asked))
        judged = judge(calibration, shifts, asked[1], allowed)
        more = {"allowed": allowed, "tested": judged.tested, "found": judged.found, "most_false": judged.most_false}
        return _answer("calibration", [_judged(word) for word in judged.words]) | more | _total(shifts)
    compared = list(compare_with_twins(chat, reference, *asked))
    return _answer("twins", [_compared(shift) for shift in compared]) | _total(compared)


@dataclass(frozen=True)
class _Stoppable:
    """A model that is asked nothing more once nobody waits for its answer. Then Abandoned is raised."""

    chat: Chat
    stop: threading.Event

    @property
    def token_texts(self) -> list[str]:
        return self.chat.token_texts

    def word_log_probs(self, text: str, role: str = "user", history: Any = ()) -> list[WordScore]:
        return self.chat.word_log_probs(text, role, history, self._check)

    def word_places(self, text: str, role: str = "user", history: Any = ()) -> Iterator[Place]:
        for place in self.chat.word_places(text, role, history):
            self._check()
            yield place

    def _check(self) -> None:
        if self.stop.is_set():
            raise Abandoned


async def _check_tokens(chat: Chat, role: Role, text: str) -> None:
    """Raises ApiError 400 for a visitor's text of so many tokens that reading it keeps a place for long."""
    count = 0 if role is Role.OPERATOR else len(await in_reader(lambda: chat.encode(text)))
    if count > MOST_TOKENS:
        raise refuse("text", f"text has {count:,} tokens; send at most {MOST_TOKENS:,}.", "too_long")


def _answer(by: str, words: Sequence[Said]) -> Said:
    return {"object": "leakage", "judged_by": by, "words": list(words)}


def _total(shifts: Sequence[WordShift]) -> Said:
    return {"shift": _finite(math.fsum(each.shift for each in shifts))}


def _judged(word: Judged) -> Said:
    verdict = {"verdict": str(word.finding), "meaning": findings.meaning(word.finding)}
    return _place(word.shift) | verdict | _numbers(word.shift) | {"p_value": word.p_value}


def _compared(shift: WordShift) -> Said:
    called, rank = level(shift.rank), shift.rank
    twins = None if rank is None else {"below": rank.below, "above": rank.above, "twins": rank.twins}
    verdict = {"verdict": called, "meaning": probe.meaning(called)}
    return _place(shift) | verdict | _numbers(shift) | {"twins": twins}


def _scored(score: WordScore) -> Said:
    return _place(score) | {
        "served_log_prob": _finite(score.log_prob),
        "served_rank": score.rank,
        "tokens": score.tokens,
    }


def _place(word: WordShift | WordScore) -> Said:
    return {"word": word.word, "start": word.span.start, "end": word.span.end}


def _numbers(shift: WordShift) -> Said:
    """Log-probabilities and shift in bits, ranks of the word's first token."""
    return {
        "shift": _finite(shift.shift),
        "served_log_prob": _finite(shift.served_log_prob),
        "reference_log_prob": _finite(shift.reference_log_prob),
        "served_rank": shift.served_rank,
        "reference_rank": shift.reference_rank,
        "tokens": shift.tokens,
    }


def _finite(bits: float) -> float | None:
    return bits if math.isfinite(bits) else None  # JSON has no infinity


def _text(asked: Given) -> str:
    text = TEXT.read(asked)
    if text is None:
        raise refuse("text", "text takes a text.", "missing")
    if len(text) > LONGEST_TEXT:
        raise refuse("text", f"text has {len(text):,} characters; send at most {LONGEST_TEXT:,}.", "too_long")
    return text


def _role(asked: Given) -> str:
    role = Text("role").read(asked)
    if role is not None and role not in ROLES:
        raise refuse("role", "role is system, user or assistant.")
    return ROLES[role or "user"]


def _history(asked: Given, limits: Limits, context: int) -> list[Turn]:
    """The conversation before, of which the latest messages count. Raises ApiError that names the message's field."""
    messages = asked.get("messages")
    if messages is None:
        return []
    if not isinstance(messages, list):
        raise refuse("messages", "messages takes a list of messages, each with role and content.")
    limits.check_messages(len(messages))
    try:
        return latest(as_turns(messages), context)
    except InvalidValue as error:
        raise refuse((error.param or "messages").replace("history", "messages", 1), str(error)) from None


def _schema(fields: Sequence[Whole | Number], required: Sequence[str]) -> Schema:
    text: Schema = {"type": "string", "maxLength": LONGEST_TEXT}
    role: Schema = {"enum": [*ROLES, None], "default": "user"}
    return schema_of(fields, {"text": text, "role": role} | conversation_schema("messages"), required)
