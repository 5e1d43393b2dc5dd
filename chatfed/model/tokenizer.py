"""Byte-level BPE tokenizer, and dialogues as token ids.

Knows how a dialogue is spelt in tokens, for our own tokenizer and for any other: the ids are those that the tokenizer
gives to its whole rendered template, but added tokens are read in the template's own text alone, so that a user who
types a role marker writes text and becomes nobody else. It cannot know the markers of a template that spells its roles
in ordinary words, our plain one apart. Knows no model, no client and no file of dialogues.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatfed.model.refusals import ModelError
from chatfed.model.spelling import added_tokens, speller
from chatfed.model.template import (
    BEGIN,
    CHAT_TEMPLATE,
    END,
    PAD,
    ROLES,
    ById,
    Rendered,
    TemplateError,
    render,
    template_of,
)
from chatfed.types import InvalidValue, Span, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = (PAD, BEGIN, END, *(f"<|{role}|>" for role in ROLES))

# What a token is, one byte per token. TURN_END: what the speaker of a message writes beside its words; that is what
# closes the message, up to and with its marker, and what the template writes within an answer (empty thinking).
MARKER, TURN_END, WORD_START, WORD_REST = 0, 1, 2, 3


@dataclass(frozen=True)
class Encoded:
    """A dialogue as tokens."""

    ids: NDArray[np.int32]  # int32[n]
    kinds: NDArray[np.uint8]  # uint8[n]: MARKER, TURN_END, WORD_START or WORD_REST
    turns: NDArray[np.int32]  # int32[n]: which message the token belongs to or opens
    words: NDArray[np.int32]  # int32[n]: which word of its message the token belongs to, -1 for none


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocabulary` tokens with our chat template, trained on `texts`.

    Whatever stands in `texts` can be read back from the merges: give it public text only.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if vocabulary < 256 + len(SPECIAL_TOKENS):
        raise ModelError(
            f"model.vocabulary is {vocabulary}: byte-level BPE needs at least {256 + len(SPECIAL_TOKENS)} tokens.",
            param="model.vocabulary",
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((" " + text for text in texts), trainer)
    fast: Any = PreTrainedTokenizerFast  # its constructor is untyped
    made: PreTrainedTokenizerFast = fast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[f"<|{role}|>" for role in ROLES],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    return made


def encode_dialogue(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn]) -> Encoded:
    """`turns` as tokens, each marked as role marker, end of turn, or first or further token of a word."""
    return next(iter(encode_dialogues(tokenizer, [turns])))


def encode_dialogues(
    tokenizer: PreTrainedTokenizerFast, dialogues: Iterable[Sequence[Turn]], at_once: int = 512
) -> Iterator[Encoded]:
    """Every dialogue of `dialogues`, encoded `at_once` at a time: several times faster than one by one."""
    waiting = iter(dialogues)
    while batch := list(islice(waiting, at_once)):
        if not all(batch):
            raise InvalidValue("A dialogue has no message; give at least one message.", param="dialogues")
        yield from _encode(tokenizer, [render(tokenizer, turns) for turns in batch])


def encode_prompt(tokenizer: PreTrainedTokenizerFast, history: Sequence[Turn]) -> list[int]:
    """Token ids of `history` followed by the marker that opens the assistant's reply."""
    rendered = render(tokenizer, history, generate=True)
    return [int(i) for i in next(_encode(tokenizer, [rendered])).ids]


def encode_open_turn(tokenizer: PreTrainedTokenizerFast, history: Sequence[Turn], turn: Turn) -> Encoded:
    """`history`, then `turn` left open after its last word: what stands before a model that predicts the next word."""
    text = turn.content.rstrip()
    rendered = render(tokenizer, [*history, Turn(turn.role, text or "a")])
    mine = [run for run in rendered.runs if run.turn == len(history)]
    if not mine:
        raise TemplateError("The base's chat template drops the message that is being written; give another base.")
    stop = mine[-1].stop if text else mine[0].start
    if not text and rendered.text[:stop].endswith(" "):
        stop -= 1  # a space that the template puts before a message goes with its first word
    return next(_encode(tokenizer, [rendered.until(stop)]))


def encode_said(tokenizer: PreTrainedTokenizerFast, history: Sequence[Turn], turn: Turn) -> tuple[Encoded, int]:
    """`turn` after `history`, and which message of the encoded dialogue it is.

    Where the template does not take a message alone, a neutral one stands beside it. Raises TemplateError when it takes
    it in no way.
    """
    neutral = Turn("user", "Hello")
    ways: list[tuple[list[Turn], list[Turn]]] = [([*history], [])]
    if not history:
        ways += [([neutral], []), ([], [neutral])] if turn.role != "system" else [([], [neutral])]
    refused: list[TemplateError] = []
    for before, after in ways:
        try:
            return encode_dialogue(tokenizer, [*before, turn, *after]), len(before)
        except TemplateError as error:
            refused.append(error)
    raise refused[0]


def close_answer(tokenizer: PreTrainedTokenizerFast, encoded: Encoded) -> Encoded:
    """A dialogue that ends with an answer which its template leaves open, closed as the template closes others.

    What is learned from must hold the end: a model that never sees one never stops.
    """
    last = int(encoded.turns[-1]) if len(encoded.turns) else 0
    if not len(encoded.ids) or encoded.kinds[-1] in (MARKER, TURN_END):
        return encoded
    more = end_ids(tokenizer)
    return Encoded(
        np.append(encoded.ids, np.array(more, np.int32)),
        np.append(encoded.kinds, np.full(len(more), TURN_END, np.uint8)),
        np.append(encoded.turns, np.full(len(more), last, np.int32)),
        np.append(encoded.words, np.full(len(more), -1, np.int32)),
    )


@dataclass(frozen=True)
class TurnEnd:
    """How a template ends an answer."""

    text: str  # from the answer's last character up to and with the marker; "": it does not
    marker: int | None  # token id of the marker, an added token; None: the text alone ends it
    lead: str  # what of the text stands before the marker


def turn_end(tokenizer: PreTrainedTokenizerFast) -> TurnEnd:
    """What the template writes after an assistant's answer when the talk goes on, with its first added token.

    A text of spaces alone ends nothing: there the end goes on to what opens the next message.
    """
    return _cached_turn_end(ById(tokenizer), template_of(tokenizer))


@functools.lru_cache(maxsize=64)
def _cached_turn_end(key: ById, template: str) -> TurnEnd:
    tokenizer = key.tokenizer
    marked = _marker_pattern(tokenizer)
    opening, after = _around_answer(tokenizer)
    opens, closes = _atoms(marked, opening), _atoms(marked, after)
    same = 0
    while same < min(len(opens), len(closes)) and opens[-1 - same] == closes[-1 - same]:
        same += 1
    text = "".join(closes[: len(closes) - same])
    if not text.strip() and "\n" not in text and not (marked and marked.search(text)):
        text = after.rstrip() or text  # nothing between an answer and the next message: that one's opening ends it
    found = marked.search(text) if marked else None
    if found:
        return TurnEnd(text[: found.end()], added_tokens(tokenizer)[found[0]], text[: found.start()])
    return TurnEnd(text, None, text)


def _around_answer(tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """What the template writes before a user's first message, and between an answer and the user's next one."""
    question, answer = Turn("user", "a"), Turn("assistant", "b")
    try:
        talk = render(tokenizer, [question, answer, question])
    except TemplateError:  # of one exchange alone
        talk = render(tokenizer, [question, answer])
    starts = [run.start for run in talk.runs] + [len(talk.text)]
    answered = [run for run in talk.runs if run.turn == 1]
    if not answered:
        raise TemplateError("The base's chat template drops answers; give another base model.")
    after = talk.text[answered[-1].stop : min(s for s in starts if s >= answered[-1].stop)]
    return talk.text[: starts[0]], after


def _atoms(marked: re.Pattern[str] | None, text: str) -> list[str]:
    """Added tokens whole, all else character by character."""
    atoms, at = [], 0
    for match in marked.finditer(text) if marked else ():
        atoms += [*text[at : match.start()], match[0]]
        at = match.end()
    return [*atoms, *text[at:]]


def _marker_pattern(tokenizer: PreTrainedTokenizerFast) -> re.Pattern[str] | None:
    names = sorted((name for name in added_tokens(tokenizer) if name.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, names))) if names else None


def turn_end_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Tokens that end a reply.

    The model's end of text, and the marker that closes an answer in its template, or the one token that its closing
    text is.
    """
    ends = {int(tokenizer.eos_token_id)} if tokenizer.eos_token_id is not None else set()
    end = turn_end(tokenizer)
    if end.marker is not None:
        return ends | {end.marker}
    ids = end_ids(tokenizer)
    spelt = len(ids) == 1 and ids[0] != tokenizer.unk_token_id and end.text.strip(" ")
    return ends | set(ids) if spelt else ends


def end_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The closing of an answer as tokens: the marker with what leads to it, or the text; else the end of text."""
    end = turn_end(tokenizer)
    if not end.text:
        return [int(tokenizer.eos_token_id)] if tokenizer.eos_token_id is not None else []
    spelt = speller(tokenizer)
    short, long = spelt.ids("b"), spelt.ids("b" + end.text)
    return long[len(short) :] if long[: len(short)] == short else spelt.ids(end.text)


def _encode(tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[Rendered]) -> Iterator[Encoded]:
    spelt, end = speller(tokenizer), turn_end(tokenizer)
    begins = _begin_ids(tokenizer)
    for rendered, (ids, spans) in zip(dialogues, spelt.encode(dialogues), strict=True):
        encoded = _labelled(rendered, _Places.of(rendered, end, _marker_pattern(tokenizer)), ids, spans)
        yield _after(begins, encoded) if begins else encoded


def _begin_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """What the tokenizer puts before every text; a chat template writes that itself, plain text does not."""
    if tokenizer.chat_template:
        return []
    return list(_cached_begin_ids(ById(tokenizer)))


@functools.lru_cache(maxsize=64)
def _cached_begin_ids(key: ById) -> tuple[int, ...]:
    untyped: Any = key.tokenizer
    bare, whole = (untyped("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    for at in range(len(whole) - len(bare) + 1):
        if whole[at : at + len(bare)] == bare:
            return tuple(whole[:at])
    return ()


def _after(begins: list[int], encoded: Encoded) -> Encoded:
    more = len(begins)
    return Encoded(
        np.concatenate([np.array(begins, np.int32), encoded.ids]),
        np.concatenate([np.full(more, MARKER, np.uint8), encoded.kinds]),
        np.concatenate([np.zeros(more, np.int32), encoded.turns]),
        np.concatenate([np.full(more, -1, np.int32), encoded.words]),
    )


@dataclass(frozen=True)
class _Places:
    """What each character of a rendered dialogue is."""

    turns: NDArray[np.int32]  # which message it belongs to or opens
    words: NDArray[np.int32]  # which word of its message; -1 for none
    content: NDArray[np.bool_]  # came from a message
    spoken: NDArray[np.bool_]  # the template's own, but what the message's speaker writes

    @classmethod
    def of(cls, rendered: Rendered, end: TurnEnd, marked: re.Pattern[str] | None) -> _Places:
        size = len(rendered.text) + 1  # one behind the last, for a token that stands for no character
        made = cls(
            np.zeros(size, np.int32), np.full(size, -1, np.int32), np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        )
        at, turn = 0, -1
        for run in rendered.runs:
            made._between(rendered, at, run.start, turn, run.turn, end, marked)
            made._fill(rendered, run.start, run.stop, run.turn, run.offset)
            at, turn = run.stop, run.turn
        made._between(rendered, at, size, turn, turn + 1, end, marked)
        return made

    def _fill(self, rendered: Rendered, start: int, stop: int, turn: int, offset: int) -> None:
        self.turns[start:stop] = turn
        self.content[start:stop] = True
        ends = np.array([match.end() for match in _WORD.finditer(rendered.contents[turn])])
        if len(ends):
            last = np.arange(offset + 1, offset + stop - start + 1)
            self.words[start:stop] = np.minimum(np.searchsorted(ends, last, side="left"), len(ends) - 1)

    def _between(
        self,
        rendered: Rendered,
        start: int,
        stop: int,
        turn: int,
        following: int,
        end: TurnEnd,
        marked: re.Pattern[str] | None,
    ) -> None:
        """The template's own text between two pieces of content, of messages `turn` and `following`."""
        text, whole = rendered.text[start:stop], rendered.before_answers
        if turn == following:
            self.turns[start:stop], self.spoken[start:stop] = turn, True
            return
        last = following >= len(rendered.contents)
        closing = _closing(text, end, marked, last) if turn >= 0 else 0
        self.turns[start : start + closing], self.spoken[start : start + closing] = turn, True
        self.turns[start + closing : stop] = following
        opening = whole[following] if not last else ""
        if opening and text.startswith(opening):
            self.spoken[start + max(closing, len(opening)) : stop] = True
        if not last and text.endswith(" "):  # byte-level tokens carry the space before a message in front
            self.content[stop - 1], self.spoken[stop - 1] = True, False
            self.words[stop - 1] = 0 if _WORD.search(rendered.contents[following]) else -1


def _closing(text: str, end: TurnEnd, marked: re.Pattern[str] | None, last: bool) -> int:
    """How many characters of the template's `text` behind a message close it."""
    if end.text and text.startswith(end.text):
        return len(end.text)
    found = marked.search(text) if marked else None
    if found and (last or not text[: found.start()].strip()):
        return found.end()
    return len(text) if last and not found else 0


def _labelled(rendered: Rendered, places: _Places, ids: list[int], spans: NDArray[np.int64]) -> Encoded:
    """Tokens with what they are: one that holds a character of a message counts to that message's word."""
    if not len(ids):
        nothing = np.zeros(0, np.int32)
        return Encoded(nothing, nothing.astype(np.uint8), nothing, nothing)
    size = len(places.content)
    held = np.maximum.accumulate(np.where(places.content, np.arange(size), -1))  # the last of a message up to here
    start = np.minimum(spans[:, 0], size - 1)
    last = np.maximum(spans[:, 1] - 1, start)
    own = np.where(held[last] >= start, held[last], last)
    content, words = places.content[own], np.where(places.content[own], places.words[own], -1)
    spoken = ~content & places.spoken[start]
    turns = np.where(spoken, places.turns[start], places.turns[own])
    new = np.ones(len(ids), np.bool_)
    new[1:] = (words[1:] != words[:-1]) | (turns[1:] != turns[:-1])
    of_word = np.where(new & ~_seen_before(words, turns), WORD_START, WORD_REST)
    kinds = np.where(words >= 0, of_word, np.where(spoken, TURN_END, MARKER))
    return Encoded(np.array(ids, np.int32), kinds.astype(np.uint8), turns.astype(np.int32), words.astype(np.int32))


def _seen_before(words: NDArray[np.int32], turns: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether a word that starts here has had a token before: the template wrote something within it."""
    place = turns.astype(np.int64) * (int(words.max(initial=0)) + 2) + words
    first = np.zeros(len(words), np.bool_)
    first[np.unique(place, return_index=True)[1]] = True
    return ~first


_WORD = re.compile(r"\S+")


def word_spans(text: str) -> list[Span]:
    """The words of `text`: runs without white space."""
    return [Span(match.start(), match.end()) for match in _WORD.finditer(text)]
