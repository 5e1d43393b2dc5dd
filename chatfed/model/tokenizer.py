"""Byte-level BPE tokenizer, its chat template, and dialogues as token ids.

Knows how a dialogue is spelt in tokens, for our own tokenizer and for any other with a chat template. Message content
is always encoded with added tokens spelt out, so that a user who types a role marker writes text and becomes nobody
else. It cannot know the markers of a template that spells its roles in ordinary words, our plain one apart.
Knows no model, no client and no file of dialogues.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatfed.types import ChatfedError, Span, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = ("system", "user", "assistant")
SPECIAL_TOKENS = (PAD, BEGIN, END, *(f"<|{role}|>" for role in ROLES))
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|> ' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PLAIN_TEMPLATE = (  # for a base model that has no chat template of its own: plain text, no new tokens
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

# What a token is, one byte per token.
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
        raise ChatfedError(
            f"model.vocabulary is {vocabulary}: byte-level BPE needs at least {256 + len(SPECIAL_TOKENS)} tokens."
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
    return next(encode_dialogues(tokenizer, [turns]))


def encode_dialogues(
    tokenizer: PreTrainedTokenizerFast, dialogues: Iterable[Sequence[Turn]], at_once: int = 512
) -> Iterator[Encoded]:
    """`encode_dialogue` for many, in batches of `at_once` (the tokenizer is fast only on batches)."""
    source = iter(dialogues)
    while batch := list(islice(source, at_once)):
        pieces = [_pieces(tokenizer, turns, generate=False) for turns in batch]
        contents = [text for dialogue in pieces for text, turn in dialogue if turn >= 0]
        encoded = iter(_encode_contents(tokenizer, contents))
        for dialogue in pieces:
            yield _splice(tokenizer, dialogue, encoded)


def encode_prompt(tokenizer: PreTrainedTokenizerFast, history: Sequence[Turn]) -> list[int]:
    """Token ids of `history` followed by the marker that opens the assistant's reply."""
    ids: list[int] = []
    for text, turn in _pieces(tokenizer, history, generate=True):
        ids += list(_fixed_ids(tokenizer, text)) if turn < 0 else _encode_contents(tokenizer, [text])[0][0]
    return ids


def encode_open_turn(tokenizer: PreTrainedTokenizerFast, history: Sequence[Turn], turn: Turn) -> Encoded:
    """`history`, then `turn` left open after its last word: what stands before a model that predicts the next word."""
    text = turn.content.rstrip()
    encoded = encode_dialogue(tokenizer, [*history, Turn(turn.role, text or "a")])
    words = np.flatnonzero((encoded.turns == len(history)) & (encoded.words >= 0))
    stop = int(words[-1]) + 1 if text else int(words[0])
    return Encoded(encoded.ids[:stop], encoded.kinds[:stop], encoded.turns[:stop], encoded.words[:stop])


def turn_end_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Tokens that end a reply: the model's end of text, and the token which closes a message in its template."""
    ends = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    pieces = _pieces(tokenizer, [Turn("user", "a"), Turn("assistant", "b")], generate=False)
    after = pieces[-1]
    if after[1] < 0 and after[0]:
        ends.add(_fixed_ids(tokenizer, after[0])[0])
    return ends


def _splice(
    tokenizer: PreTrainedTokenizerFast,
    pieces: Sequence[tuple[str, int]],
    contents: Iterator[tuple[list[int], list[int]]],
) -> Encoded:
    ids: list[int] = []
    kinds: list[int] = []
    turns: list[int] = []
    words: list[int] = []
    current = -1
    for text, turn in pieces:
        if turn >= 0:
            current = turn
            new, of_word = next(contents)
            opens = [a != b for a, b in zip(of_word, [-1, *of_word], strict=False)]
            new_kinds = [
                MARKER if w < 0 else WORD_START if first else WORD_REST for w, first in zip(of_word, opens, strict=True)
            ]
            turns += [turn] * len(new)
            words += of_word
        else:
            new = list(_fixed_ids(tokenizer, text))
            closes = 1 if current >= 0 and new else 0
            new_kinds = [TURN_END] * closes + [MARKER] * (len(new) - closes)
            turns += [current] * closes + [current + 1] * (len(new) - closes)
            words += [-1] * len(new)
        ids += new
        kinds += new_kinds
    return Encoded(
        np.array(ids, np.int32), np.array(kinds, np.uint8), np.array(turns, np.int32), np.array(words, np.int32)
    )


def _encode_contents(tokenizer: PreTrainedTokenizerFast, contents: list[str]) -> list[tuple[list[int], list[int]]]:
    """Ids of each content, added tokens spelt out as the text they are, and the word that each id belongs to."""
    batch = _speller(_ById(tokenizer)).encode_batch(contents, add_special_tokens=False)
    return [(found.ids, _words_of(text, found.offsets)) for text, found in zip(contents, batch, strict=True)]


_WORD = re.compile(r"\S+")


def word_spans(text: str) -> list[Span]:
    """The words of `text`: runs without white space."""
    return [Span(match.start(), match.end()) for match in _WORD.finditer(text)]


def _words_of(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The word that each token's last character is in; white space after the last word counts to that word."""
    ends = [match.end() for match in _WORD.finditer(text)]
    if not ends:
        return [-1] * len(offsets)
    last = np.array([end for _, end in offsets], np.int64)
    found = np.minimum(np.searchsorted(np.array(ends), last, side="left"), len(ends) - 1)
    return [int(word) for word in found]


_SLOT = re.compile("\ue000(\\d+)\ue001")


def _pieces(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], generate: bool) -> list[tuple[str, int]]:
    """The chat template around `turns` as (fixed text, -1) and (content, index of the turn), in order.

    A space that the template puts before a content goes with the content: byte-level tokens carry it in front.
    """
    shape = tuple(turn.role for turn in turns)
    result: list[tuple[str, int]] = []
    for text, index in _shape(_ById(tokenizer), shape, generate):
        if index < 0:
            result.append((text, -1))
        else:
            content = turns[index].content if tokenizer.chat_template else " ".join(turns[index].content.splitlines())
            result.append((text + content, index))  # in PLAIN_TEMPLATE a line end closes the message
    return result


class _ById:
    """A tokenizer as a cache key: by identity."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def __hash__(self) -> int:
        return id(self.tokenizer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.tokenizer is self.tokenizer


@functools.lru_cache(maxsize=4096)
def _shape(key: _ById, roles: tuple[str, ...], generate: bool) -> tuple[tuple[str, int], ...]:
    """The rendered template of a dialogue with these roles, cut at its contents; a content's text is its leading
    space."""
    for role in roles:
        if role not in ROLES:
            raise ChatfedError(f"There is no role {role!r}; a message is said by {', '.join(ROLES)}.")
    template = key.tokenizer.chat_template or PLAIN_TEMPLATE
    messages = [{"role": role, "content": f"\ue000{index}\ue001"} for index, role in enumerate(roles)]
    try:
        rendered = key.tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=generate
        )
    except Exception as error:  # jinja2's errors: a template may refuse roles or their order
        raise ChatfedError(f"The model's chat template refuses the roles {', '.join(roles)}: {error}") from None
    pieces: list[tuple[str, int]] = []
    parts = _SLOT.split(str(rendered))
    for place, part in enumerate(parts):
        if place % 2:  # a content; the space before it, if any, was left on the fixed part
            fixed = pieces[-1][0]
            lead = " " if fixed.endswith(" ") else ""
            pieces[-1] = (fixed[: len(fixed) - len(lead)], -1)
            pieces.append((lead, int(part)))
        else:
            pieces.append((part, -1))
    if sum(1 for _, index in pieces if index >= 0) != len(roles):
        raise ChatfedError("The model's chat template drops or repeats messages; give another base model.")
    return tuple(pieces)


def _fixed_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    return _cached_ids(_ById(tokenizer), text)


@functools.lru_cache(maxsize=64)
def _speller(key: _ById) -> Any:
    """A copy of the Rust tokenizer that reads no added token in a text, unless it is blank (a run of spaces).

    A copy, since that setting is state of the tokenizer, which other threads use too. It reads no special token; that
    bases have role markers which are not marked special is why all added tokens are special in it.
    """
    from tokenizers import Tokenizer

    described = json.loads(key.tokenizer.backend_tokenizer.to_str())
    for token in described["added_tokens"]:
        token["special"] = bool(token["content"].strip())
    made: Any = Tokenizer.from_str(json.dumps(described, allow_nan=False))
    made.encode_special_tokens = True
    made.no_truncation()
    made.no_padding()
    return made


@functools.lru_cache(maxsize=4096)
def _cached_ids(key: _ById, text: str) -> tuple[int, ...]:
    batch: Any = key.tokenizer(text, add_special_tokens=False, split_special_tokens=False)
    return tuple(batch["input_ids"])
