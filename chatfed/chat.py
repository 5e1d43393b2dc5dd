"""A chat with a model folder: replies, streams, next words as a keyboard shows them, and how likely each word was.

Knows how to ask a causal language model; knows neither how it was trained nor who shows the answers.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatfed.generation import Generation
from chatfed.model.adapters import load_adapted
from chatfed.model.bases import find_base
from chatfed.model.checkpoint import holds_adapters
from chatfed.model.decoding import Decoder
from chatfed.model.examination import forwards_alone
from chatfed.model.tokenizer import (
    encode_open_turn,
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

_BEAM = 12  # words whose spelling `suggest` follows at once
_LONGEST_WORD = 5  # tokens of a suggested word
_GREEDY_BELOW = 1e-6  # a lower temperature takes the likeliest token: logits divided by it are no float32
_PUNCTUATION = tuple(".,!?;:)\"'")


@dataclass(frozen=True)
class Suggestion:
    """A next word and the probability that the model gives it."""

    word: str
    probability: float  # in (0, 1]


class Chat:
    """A causal language model as a chat: replies, next words, and how likely each word is.

    `load_chat` makes one from a folder. Safe to use from several threads. The model is put into evaluation mode and is
    otherwise left as it is; `context` is how many tokens it sees at most, prompt and reply together.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path | None = None) -> None:
        self.model = model
        model.train(False)
        self.tokenizer = tokenizer
        self.path = path
        self.context = context_of(model) or 1024
        self._ends = turn_end_ids(tokenizer) | _generation_ends(model)
        self._end = turn_end(tokenizer)
        self._decoder = Decoder(model)

    def reply(self, history: Conversation, settings: Generation = Generation()) -> str:  # noqa: B008 (frozen)
        """The assistant's whole next message after `history`, which ends with the user's: a text, or messages.

        Raises InvalidValue where the history is empty or holds what is no message.
        """
        return "".join(self.stream(history, settings))

    def stream(self, history: Conversation, settings: Generation = Generation()) -> Generator[str, None, None]:  # noqa: B008
        """The reply in pieces of text as they are drawn; closing the iterator stops the model at once.

        The pieces join to what `reply` gives for the same seed; none is empty. Of a history that does not fit the
        context beside the reply, the latest messages count. Raises InvalidValue as `reply` does, at the call.
        """
        if not isinstance(settings, Generation):
            raise InvalidValue(
                f"The settings are of type {type(settings).__name__}: give Generation(max_new_tokens=40) or the like.",
                param="settings",
            )
        return self._pieces(self._prompt(as_turns(history), settings.max_new_tokens), settings)

    def _pieces(self, prompt: list[int], settings: Generation) -> Generator[str, None, None]:
        """What `stream` yields after a prompt of token ids."""
        text, shown = "", 0
        stops = (*settings.stop, *self._closing_texts)
        hold = max([len(self._end.lead), *(len(stop) - 1 for stop in stops)])
        drawn: list[int] = []
        for token in self._draw(prompt, settings):
            drawn.append(token)
            text = str(self.tokenizer.decode(drawn, skip_special_tokens=True)).lstrip()
            cut = min((at for at in (text.find(stop) for stop in stops) if at >= 0), default=None)
            if cut is not None:
                text = text[:cut]
                break
            safe = len(text) - hold
            if safe > shown and not text.endswith("\ufffd"):  # a character whose bytes are not all there yet
                yield text[shown:safe]
                shown = safe
        text = text.removesuffix(self._end.lead)  # what leads to the marker that ended the reply
        if len(text) > shown:
            yield text[shown:]

    @property
    def _closing_texts(self) -> tuple[str, ...]:
        """The text that ends an answer where the template has no marker for it."""
        return (self._end.text,) if self._end.marker is None and self._end.text else ()

    def suggest(self, text: str, k: int = 3, history: Conversation = ()) -> list[Suggestion]:
        """The k likeliest next words after the user's `text`, or completions of the half word that it ends in.

        A word's probability is that of its spelling and of ending there, given all before it, among all continuations;
        for a half word, given that the word starts so. Likeliest first; fewer than k where the model knows no more,
        and none where no word starts so. Raises InvalidValue for a k below 1 and for what is no text or history.
        """
        text, history = as_text("The text", text, "text"), as_turns(history)
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise InvalidValue(f"k is {k!r}; give a whole number of suggestions, 1 or more.", param="k")
        half = "" if not text or text[-1].isspace() else text.split()[-1]
        before = text[: len(text) - len(half)]
        ids = [int(i) for i in encode_open_turn(self.tokenizer, history, Turn("user", before)).ids]
        if not ids:  # a template that opens a message with nothing
            return []
        words = self._next_words(ids[-self.context + _LONGEST_WORD :], half)
        total = sum(words.values()) if half else 1.0
        best = sorted(words.items(), key=lambda item: -item[1])[:k]
        return [Suggestion(word, probability / total) for word, probability in best]

    def word_log_probs(self, text: str, role: str = "user", history: Conversation = ()) -> list[WordScore]:
        """How likely the model found each word of `text`, said by `role` as one message after `history`.

        A word is what stands between spaces. Bits are summed over a word's tokens, so words of several tokens score
        lower; compare models, not words. Of a history that does not fit the model's context beside the text, the latest
        messages count. Raises InvalidValue for another role than system, user and assistant, and for what is no text.
        """
        spans, before, turn = self._said(text, role, history)
        if not spans:
            return []
        encoded, place = encode_said(self.tokenizer, before, turn)
        bits, ranks = self._score(encoded.ids)
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
            raise InvalidValue("The history is empty: give at least one Turn('user', ...).", param="history")
        return latest_that_fit(self.tokenizer, history, self._room_for_prompt(room))

    def fits(self, history: Sequence[Turn], max_new_tokens: int) -> bool:
        """Whether a reply of so many tokens is written from all the text of these messages."""
        return fit_whole(self.tokenizer, history, self._room_for_prompt(max_new_tokens))

    def _room_for_prompt(self, reply: int) -> int:
        """Tokens that a prompt may have beside a reply, for which half of the context is kept at most."""
        return self.context - min(reply, self.context // 2)

    def _draw(self, prompt: list[int], settings: Generation) -> Iterator[int]:
        """Tokens of a reply, one by one, up to a token that ends a message."""
        generator = torch.Generator().manual_seed(secrets.randbits(63) if settings.seed is None else settings.seed)
        text, ids = self._decoder.drawn(), prompt
        drawn: list[int] = []
        for _ in range(min(settings.max_new_tokens, self.context - len(prompt))):
            with torch.inference_mode():
                token = _sample(text.add(np.array([ids], np.int32))[0], drawn, settings, generator)
            if token in self._ends:
                return
            drawn.append(token)
            yield token
            ids = [token]

    @torch.inference_mode()
    def _score(self, ids: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """For each token: bits of log-probability, and rank, given those before it.

        The first, given nothing, has 0 and 1.
        """
        bits = np.zeros(len(ids))
        ranks = np.ones(len(ids), np.int64)
        step = max(1, self.context // 2)
        for start in range(
            0, max(1, len(ids) - step), step
        ):  # windows overlap by half: every token sees half a context
            window = ids[start : start + self.context].astype(np.int64)
            at = 1
            for logits in self._decoder.scores(window.tolist()):
                chosen = torch.from_numpy(window[at : at + len(logits)])
                scores = logits[: len(chosen)].log_softmax(-1)
                own = scores.gather(1, chosen[:, None])
                new = slice(start + at, start + at + len(chosen))
                skip = max(0, start + step - new.start) if start else 0  # scored in the window before
                bits[new][skip:] = (own[skip:, 0] / math.log(2)).numpy()
                ranks[new][skip:] = ((scores[skip:] > own[skip:]).sum(1) + 1).numpy()
                at += len(logits)
        return bits, ranks

    @torch.inference_mode()
    def _next_words(self, ids: list[int], half: str) -> dict[str, float]:
        """Words that may follow `ids` and start with `half`, with their probabilities (a beam over spellings)."""
        opens, goes_on, ends_word, texts = self._spelling
        found: dict[str, float] = {}
        beam: list[tuple[float, str, list[int]]] = [(1.0, "", [])]
        prefix = self._decoder.text()
        first = prefix.add(ids)[None]
        logits_after = self._decoder.after(prefix)
        for length in range(_LONGEST_WORD + 1):
            logits = logits_after([tokens for _, _, tokens in beam]) if length else first
            probabilities = torch.softmax(logits, dim=-1)
            grown: list[tuple[float, str, list[int]]] = []
            for (likely, word, tokens), row in zip(beam, probabilities, strict=True):
                if word.startswith(half) and word:
                    found[word] = found.get(word, 0.0) + likely * float(row[ends_word].sum())
                most = min(4 * _BEAM if not half else 256, len(row))
                values, indices = torch.where(goes_on if length else opens, row, 0.0).topk(most)
                for value, index in zip(values.tolist(), indices.tolist(), strict=True):
                    spelt = word + texts[index] if value > 0 else ""
                    if value > 0 and (spelt.startswith(half) or half.startswith(spelt)):
                        grown.append((likely * value, spelt, [*tokens, index]))
            beam = sorted(grown, key=lambda item: -item[0])[:_BEAM]
            if not beam:
                break
        return {word: p for word, p in found.items() if p > 0}

    @cached_property
    def _spelling(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
        """Per token: does it open a word, go on with one, or end one; and its letters.

        A word ends with a space, a mark or a message's end.
        """
        special = set(self.tokenizer.all_special_ids) | self._ends
        size = int(self.model.config.vocab_size)
        texts, opens, goes_on, ends = [], [], [], []
        for index, token in enumerate(
            self.tokenizer.convert_ids_to_tokens(list(range(min(size, len(self.tokenizer)))))
        ):
            leads = token.startswith(("Ġ", "▁"))
            text = str(self.tokenizer.convert_tokens_to_string([token])).removeprefix(" ")
            spells = index not in special and bool(text) and all(c.isalnum() or c in "'-" for c in text)
            texts.append(text)
            opens.append(leads and (spells or (index not in special and not text)))  # or a space, spelt out after it
            goes_on.append(not leads and spells)
            ends.append(leads or index in special or text.startswith(_PUNCTUATION) or text[:1].isspace())
        pad = [False] * (size - len(texts))
        flags = [torch.tensor(flag + pad) for flag in (opens, goes_on, ends)]
        return flags[0], flags[1], flags[2], texts


def load_chat(path: str | Path) -> Chat:
    """The chat with the model in folder `path`.

    The folder is a run's, its `model/`, any transformers causal model with a fast tokenizer, or peft's adapters for
    one. A GGUF file does as well, and a base by its name once it was got (`chatfed base get smollm2`).
    Raises ModelError when it is missing or holds no such model, or when the base of adapters is not there.
    """
    if not isinstance(path, (str, PathLike)):
        raise InvalidValue(f"The model folder is of type {type(path).__name__}: give its path.", param="path")
    folder = _model_in(Path(find_base(str(Path(path).expanduser()))))
    if not holds_adapters(folder):
        check_model_folder(folder)
    chat = Chat(*(load_adapted(folder) if holds_adapters(folder) else load_model(folder)), folder)
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


def _sample(logits: torch.Tensor, drawn: list[int], settings: Generation, generator: torch.Generator) -> int:
    """One token from logits float32[vocabulary]: repetition penalty, then temperature, then top-p."""
    if drawn and settings.repetition_penalty != 1:
        seen = torch.tensor(sorted(set(drawn)))
        chosen = logits[seen]
        penalty = settings.repetition_penalty
        logits = logits.index_copy(0, seen, torch.where(chosen > 0, chosen / penalty, chosen * penalty))
    if settings.temperature < _GREEDY_BELOW:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits / settings.temperature, dim=-1).sort(descending=True)
    before = probabilities.cumsum(0) - probabilities
    within = before < settings.top_p
    within[0] = True  # however small top_p is
    probabilities = torch.where(within, probabilities, 0.0)
    place: Any = torch.multinomial(probabilities, 1, generator=generator)
    return int(order[place])
