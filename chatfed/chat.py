"""A chat with a model folder: replies, streams, next words as a keyboard shows them, and how likely each word was.

Knows how to ask a causal language model; knows neither how it was trained nor who shows the answers.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chatfed.agreed_words import folded, read_agreed
from chatfed.generation import Event, Generation, TokenScore
from chatfed.generation.engine import Engine
from chatfed.generation.joining import TokenTexts
from chatfed.generation.reply import Asked, Reply
from chatfed.generation.scoring import bits_and_ranks, going_on, scored
from chatfed.generation.words import LONGEST_WORD, NextWords
from chatfed.model.adapters import load_adapted
from chatfed.model.bases import find_base
from chatfed.model.checkpoint import holds_adapters
from chatfed.model.decoding import Decoder
from chatfed.model.examination import forwards_alone
from chatfed.model.spelling import speller
from chatfed.model.tokenizer import (
    encode_open_turn,
    encode_prompt,
    encode_said,
    turn_end,
    turn_end_ids,
    word_spans,
)
from chatfed.model.transformer import check_model_folder, context_of, load_model
from chatfed.model.windows import fit_whole, latest_that_fit
from chatfed.places import WordPlace, token_texts, word_places
from chatfed.turns import Conversation, as_role, as_text, as_turns
from chatfed.types import InvalidValue, Span, Turn, WordScore

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_NO_HISTORY = "The history is empty: give at least one Turn('user', ...)."


@dataclass(frozen=True)
class Suggestion:
    """A next word and the probability that the model gives it."""

    word: str
    probability: float  # in (0, 1]


class Chat:
    """A causal language model as a chat: replies, next words, and how likely each word is.

    `load_chat` makes one from a folder. Safe to use from several threads. The model is put into evaluation mode and is
    otherwise left as it is; `context` is how many tokens it sees at most, prompt and reply together. `offered` are the
    words that suggestions are limited to, as `chatfed vocabulary` writes them; None: any.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path | None = None) -> None:
        self.model = model
        model.train(False)
        self.tokenizer = tokenizer
        self.path = path
        self.offered: frozenset[str] | None = None
        self.context = context_of(model) or 1024
        self._ends = turn_end_ids(tokenizer) | _generation_ends(model)
        self._end = turn_end(tokenizer)
        self._decoder = Decoder(model)
        self._token_bytes = TokenTexts(tokenizer)
        self._engine = Engine(self._decoder)

    def reply(self, history: Conversation, settings: Generation = Generation()) -> str:  # noqa: B008 (frozen)
        """The assistant's whole next message after `history`, which ends with the user's: a text, or messages.

        Raises InvalidValue where the history is empty or holds what is no message.
        """
        return "".join(self.stream(history, settings))

    def replies(self, histories: Iterable[Conversation], settings: Generation = Generation()) -> list[str]:  # noqa: B008
        """The reply to each of several histories, drawn together: what `reply` gives for each."""
        request = object()
        asked = [self._asked(history, settings, 0, (), request) for history in histories]  # all, before any is drawn
        replies = [Reply(each, self._token_bytes, self._ends) for each in asked]
        return ["".join(event.text for event in events) for events in self._engine.each(replies)]

    def stream(self, history: Conversation, settings: Generation = Generation()) -> Generator[str, None, None]:  # noqa: B008
        """The reply in pieces of text as they are drawn; closing the iterator stops the model at once.

        The pieces join to what `reply` gives for the same seed; none is empty. Of a history that does not fit the
        context beside the reply, the latest messages count. Raises InvalidValue as `reply` does, at the call.
        """
        return _texts(self.events(history, settings))

    def events(
        self,
        history: Conversation,
        settings: Generation = Generation(),  # noqa: B008
        top: int = 0,
        opening: Sequence[int] = (),
    ) -> Generator[Event, None, None]:
        """The reply token by token: its text, how likely each token was, the `top` likeliest in its place, the ending.

        opening: token ids with which the reply begins whatever the model says; they are its first events. Closing the
        iterator stops the model at once. Raises InvalidValue at the call, as `stream` does, and for ids that are no
        tokens.
        """
        return self._drawn(self._asked(history, settings, top, opening))

    def events_after(self, ids: Sequence[int], settings: Generation, top: int = 0) -> Generator[Event, None, None]:
        """As `events`, after token ids and no template: the text goes on from theirs, with the space that begins it.

        Raises InvalidValue where there are no ids, or more than the context.
        """
        return self._drawn(self._asked_after(ids, settings, top))

    def aevents(
        self,
        history: Conversation,
        settings: Generation = Generation(),  # noqa: B008
        top: int = 0,
        opening: Sequence[int] = (),
        request: object = None,
    ) -> AsyncGenerator[Event, None]:
        """As `events`, for a program of coroutines; closing the generator stops the model at once.

        request: any object; replies that are asked for with the same one read a prompt that they share once.
        """
        return self._adrawn(self._asked(history, settings, top, opening, request))

    def aevents_after(
        self, ids: Sequence[int], settings: Generation, top: int = 0, request: object = None
    ) -> AsyncGenerator[Event, None]:
        """As `events_after`, for a program of coroutines; `request` as of `aevents`."""
        return self._adrawn(self._asked_after(ids, settings, top, request))

    def prompt_ids(self, history: Conversation) -> list[int]:
        """Token ids of the whole prompt, template and all, however long it is."""
        turns = as_turns(history)
        if not turns:
            raise InvalidValue(_NO_HISTORY, param="history")
        return encode_prompt(self.tokenizer, turns)

    def score_ids(
        self, ids: Sequence[int], top: int = 0, check: Callable[[], object] = going_on
    ) -> list[tuple[TokenScore | None, tuple[TokenScore, ...]]]:
        """How likely each token was, given those before it, and the `top` likeliest in its place.

        The first is given nothing, and is None with none. check: called before each part that is read at once; what it
        raises ends the reading. Raises InvalidValue where there are no ids, or more than the context.
        """
        ids = self._checked(ids, "ids", 1, self.context)
        return scored(self._decoder, self._token_bytes, ids, _count("top", top), check)

    def encode(self, text: str) -> list[int]:
        """Token ids of a plain text: no template, and a marker that is typed is text."""
        text = as_text("The text", text, "text")
        return speller(self.tokenizer).plain(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, markers by their names."""
        ids = self._checked(ids, "ids", 0)
        return self._token_bytes.text(ids)

    @property
    def ends(self) -> set[int]:
        """Ids of the tokens that end a message."""
        return self._ends

    def _asked(
        self,
        history: Conversation,
        settings: Generation,
        top: int,
        opening: Sequence[int],
        request: object = None,
    ) -> Asked:
        _check_settings(settings)
        begun = tuple(self._checked(opening, "opening", 0))
        prompt = self._prompt(as_turns(history), settings.max_new_tokens)
        room = min(settings.max_new_tokens, self.context - len(prompt))
        ends = self._closing_texts, self._end.lead
        return Asked(prompt, settings, room, _count("top", top), begun, True, *ends, request)

    def _asked_after(self, ids: Sequence[int], settings: Generation, top: int, request: object = None) -> Asked:
        _check_settings(settings)
        prompt = self._checked(ids, "ids", 1, self.context)
        room = min(settings.max_new_tokens, self.context - len(prompt))
        return Asked(prompt, settings, room, _count("top", top), chat=False, request=request)

    def _drawn(self, asked: Asked) -> Generator[Event, None, None]:
        return self._engine.events(Reply(asked, self._token_bytes, self._ends))

    def _adrawn(self, asked: Asked) -> AsyncGenerator[Event, None]:
        return self._engine.aevents(Reply(asked, self._token_bytes, self._ends))

    def _checked(self, ids: Sequence[int], name: str, least: int, most: int | None = None) -> list[int]:
        """Token ids as a list of ints."""
        size = int(self.model.config.vocab_size)
        found = [int(i) if isinstance(i, Integral) and not isinstance(i, bool) else -1 for i in ids]
        wrong = next((at for at, token in enumerate(found) if not 0 <= token < size), None)
        if wrong is not None:
            raise InvalidValue(f"{name}[{wrong}] is no token: give whole numbers from 0 to {size - 1}.", param=name)
        if len(found) < least:
            raise InvalidValue(f"{name} is empty: give {least} token or more.", param=name)
        if most is not None and len(found) > most:
            raise InvalidValue(
                f"{name} has {len(found)} tokens, and the model sees {most} at most: give fewer.", param=name
            )
        return found

    @property
    def _closing_texts(self) -> tuple[str, ...]:
        """The text that ends an answer where the template has no marker for it."""
        return (self._end.text,) if self._end.marker is None and self._end.text else ()

    def suggest(self, text: str, k: int = 3, history: Conversation = ()) -> list[Suggestion]:
        """The k likeliest next words after the user's `text`, or completions of the half word that it ends in.

        A word's probability is that of its spelling and of ending there, given all before it, among all continuations;
        for a half word, given that the word starts so. Likeliest first; fewer than k where the model knows no more, or
        where `offered` leaves fewer, and none where no word starts so. Raises InvalidValue for a k below 1 and for what
        is no text or history.
        """
        text, history = as_text("The text", text, "text"), as_turns(history)
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise InvalidValue(f"k is {k!r}; give a whole number of suggestions, 1 or more.", param="k")
        half = "" if not text or text[-1].isspace() else text.split()[-1]
        before = text[: len(text) - len(half)]
        ids = [int(i) for i in encode_open_turn(self.tokenizer, history, Turn("user", before)).ids]
        if not ids:  # a template that opens a message with nothing
            return []
        words = self._words.after(ids[-self.context + LONGEST_WORD :], half)
        total = sum(words.values()) if half else 1.0
        offered = (item for item in words.items() if self.offered is None or folded(item[0]) in self.offered)
        best = sorted(offered, key=lambda item: -item[1])[:k]
        return [Suggestion(word, probability / total) for word, probability in best]

    def word_log_probs(
        self,
        text: str,
        role: str = "user",
        history: Conversation = (),
        check: Callable[[], object] = going_on,
    ) -> list[WordScore]:
        """How likely the model found each word of `text`, said by `role` as one message after `history`.

        A word is what stands between spaces. Bits are summed over a word's tokens, so words of several tokens score
        lower; compare models, not words. Of a history that does not fit the model's context beside the text, the latest
        messages count. check: as of `score_ids`. Raises InvalidValue for another role than system, user and
        assistant, and for what is no text.
        """
        spans, before, turn = self._said(text, role, history)
        if not spans:
            return []
        encoded, place = encode_said(self.tokenizer, before, turn)
        bits, ranks = bits_and_ranks(self._decoder, encoded.ids, self.context, check)
        scores = []
        for index, span in enumerate(spans):
            at = np.flatnonzero((encoded.turns == place) & (encoded.words == index))
            if len(at):
                scores.append(
                    WordScore(text[span.start : span.end], span, float(bits[at].sum()), int(ranks[at[0]]), len(at))
                )
        return scores

    def word_places(self, text: str, role: str = "user", history: Conversation = ()) -> Iterator[WordPlace]:
        """Where each word of `text` stands, in order, to ask what the model makes of other words there.

        As `word_log_probs` reads them, errors too; a word that does not fit half of the model's context is left out.
        """
        _, before, turn = self._said(text, role, history)
        return word_places(self._decoder, self.tokenizer, before, turn, self.context)

    @cached_property
    def token_texts(self) -> list[str]:
        """The text of each token by its id, with a space in front where it begins a word.

        "" for markers and for parts of a character.
        """
        return token_texts(self.tokenizer, int(self.model.config.vocab_size))

    def _said(self, text: str, role: str, history: Conversation) -> tuple[list[Span], list[Turn], Turn]:
        """Words of the text, the latest messages of the history that fit the context beside it, and its own turn.

        An opening system message stays, and what follows it begins with a user's, as templates may demand; so does
        the last message of a user before an assistant's, whether it fits or not.
        """
        turn, turns = Turn(as_role("The text", role, "role"), as_text("The text", text, "text")), as_turns(history)
        sizes = np.bincount(encode_said(self.tokenizer, turns, turn)[0].turns, minlength=len(turns) + 1)
        first = 1 if turns and turns[0].role == "system" else 0
        starts = [at for at in range(first, len(turns)) if at == first or turns[at].role == "user"]
        if turn.role == "user" or not starts:
            starts.append(len(turns))
        over = int(sizes.sum()) - self.context
        near = [at for at in starts if sizes[first:at].sum() >= over] or starts[-1:]
        cuts = ([*turns[:first], *turns[at:]] for at in near)  # what opens a dialogue opens the cut one anew
        fits = (cut for cut in cuts if len(encode_said(self.tokenizer, cut, turn)[0].ids) <= self.context)
        return word_spans(turn.content), next(fits, [*turns[:first], *turns[near[-1] :]]), turn

    def _prompt(self, history: Sequence[Turn], room: int) -> list[int]:
        """Token ids of as many of the latest messages as leave room for the reply in the model's context."""
        if not history:
            raise InvalidValue(_NO_HISTORY, param="history")
        return latest_that_fit(self.tokenizer, history, self._room_for_prompt(room))

    def fits(self, history: Sequence[Turn], max_new_tokens: int) -> bool:
        """Whether a reply of so many tokens is written from all the text of these messages."""
        return fit_whole(self.tokenizer, history, self._room_for_prompt(max_new_tokens))

    def _room_for_prompt(self, reply: int) -> int:
        """Tokens that a prompt may have beside a reply, for which half of the context is kept at most."""
        return self.context - min(reply, self.context // 2)

    @cached_property
    def _words(self) -> NextWords:
        return NextWords(self._decoder, self.tokenizer, self._ends)


def load_chat(path: str | Path) -> Chat:
    """The chat with the model in folder `path`.

    The folder is a run's, its `model/`, any transformers causal model with a fast tokenizer, or peft's adapters for
    one. A GGUF file does as well, and a base by its name once it was got (`chatfed base get smollm2`). Suggestions are
    limited to the words in a run's words.json, where there is one (`chatfed vocabulary`).
    Raises ModelError when it is missing or holds no such model, or when the base of adapters is not there; BadWords.
    """
    if not isinstance(path, (str, PathLike)):
        raise InvalidValue(f"The model folder is of type {type(path).__name__}: give its path.", param="path")
    given = Path(find_base(str(Path(path).expanduser())))
    folder, offered = _model_in(given), read_agreed(given)
    if not holds_adapters(folder):
        check_model_folder(folder)
    chat = Chat(*(load_adapted(folder) if holds_adapters(folder) else load_model(folder)), folder)
    chat.offered = offered
    forwards_alone(chat._decoder)
    return chat


def _generation_ends(model: PreTrainedModel) -> set[int]:
    """Tokens at which the base's own settings say that a reply ends."""
    given = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return {int(token) for token in (given if isinstance(given, list) else [given]) if token is not None}


def _model_in(folder: Path) -> Path:
    """`folder`, or the folder `model` inside it where only that holds a model: what a run leaves."""
    inside = folder / "model"
    holds = [(each / "config.json").is_file() or holds_adapters(each) for each in (folder, inside)]
    return inside if holds == [False, True] else folder


def _texts(events: Generator[Event, None, None]) -> Generator[str, None, None]:
    """The texts of events; none is empty."""
    try:
        yield from (event.text for event in events if event.text)
    finally:
        events.close()


def _check_settings(settings: Generation) -> None:
    if not isinstance(settings, Generation):
        raise InvalidValue(
            f"The settings are of type {type(settings).__name__}: give Generation(max_new_tokens=40) or the like.",
            param="settings",
        )


def _count(name: str, value: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
        raise InvalidValue(f"{name} is {value!r}; give a whole number, 0 or more.", param=name)
    return int(value)
