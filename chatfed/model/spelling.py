"""A tokenizer's private copy in which added tokens have names that nobody can type: texts as ids, with their places.

In the copy each added token is called by a fresh random name, which is put in its place in the template's own text
only. All else is as in the tokenizer: where it splits, what it puts in front, what a marker takes in beside it.
Knows rendered templates; knows no roles, no words and no model.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatfed.model.template import ById, Rendered, Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")  # how SentencePiece calls a byte: text, not a marker


def added_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The tokens that are read whole wherever they stand, and their ids: markers, and runs of spaces."""
    return {str(token): int(index) for index, token in tokenizer.added_tokens_decoder.items()}


def speller(tokenizer: PreTrainedTokenizerFast) -> Speller:
    """The copy for `tokenizer` as it is now."""
    return _cached_speller(ById(tokenizer), len(tokenizer.added_tokens_decoder))


@functools.lru_cache(maxsize=64)
def _cached_speller(key: ById, added: int) -> Speller:
    return Speller(key.tokenizer)


class Speller:
    """Texts as token ids. A copy, since a tokenizer's settings are state that other threads use too."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        from tokenizers import Tokenizer

        described = json.loads(tokenizer.backend_tokenizer.to_str())
        self._ids = {name: index for name, index in added_tokens(tokenizer).items() if name.strip()}
        self._names = {name: f"\ue000{secrets.token_hex(8)}\ue001" for name in self._ids}
        _rename(described, self._names)
        self._copy: Any = Tokenizer.from_str(json.dumps(described, allow_nan=False))
        self._copy.no_truncation()
        self._copy.no_padding()
        found = {self._copy.token_to_id(name): self._ids[original] for original, name in self._names.items()}
        self._moved = {copied: original for copied, original in found.items() if copied != original}
        whole = sorted(self._names, key=len, reverse=True)
        self._markers = re.compile("|".join(map(re.escape, whole))) if whole else None

    def ids(self, template_text: str) -> list[int]:
        """Ids of a text of the template's own."""
        return next(self.encode([Rendered(template_text, (), (), ())]))[0]

    def plain(self, text: str) -> list[int]:
        """Ids of a text that holds no marker, whatever it says."""
        return next(self.encode([Rendered(text, (Run(0, len(text), 0, 0),), (text,), ("",))]))[0]

    def encode(self, dialogues: Sequence[Rendered]) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
        """Ids of each text, and the characters that each came from: int64[n, 2], half-open."""
        renamed = [self._renamed(rendered) for rendered in dialogues]
        batch = self._copy.encode_batch([text for text, _ in renamed], add_special_tokens=False)
        for (_, places), encoding in zip(renamed, batch, strict=True):
            ids = [self._moved.get(i, i) for i in encoding.ids] if self._moved else encoding.ids
            spans = np.array(encoding.offsets, np.int64).reshape(-1, 2)
            yield ids, spans if places is None else places[spans]

    def _renamed(self, rendered: Rendered) -> tuple[str, NDArray[np.int64] | None]:
        """The text with markers called by their names here, and where each of its characters stood: int64[n + 1]."""
        matches = [match for gap in _gaps(rendered) for match in self._found(rendered.text, *gap)]
        if not matches:
            return rendered.text, None
        parts: list[str] = []
        places: list[NDArray[np.int64]] = []
        at = 0
        for match in matches:
            name = self._names[match[0]]
            inside = np.full(len(name), match.start() + 1, np.int64)  # what ends within a marker ends behind its start
            inside[0] = match.start()
            parts += [rendered.text[at : match.start()], name]
            places += [np.arange(at, match.start()), inside]
            at = match.end()
        parts.append(rendered.text[at:])
        places.append(np.arange(at, len(rendered.text) + 1))
        return "".join(parts), np.concatenate(places)

    def _found(self, text: str, start: int, stop: int) -> Iterator[re.Match[str]]:
        return self._markers.finditer(text, start, stop) if self._markers else iter(())


def _gaps(rendered: Rendered) -> Iterator[tuple[int, int]]:
    """The template's own stretches of a text."""
    at = 0
    for run in rendered.runs:
        yield at, run.start
        at = run.stop
    yield at, len(rendered.text)


def _rename(described: dict[str, Any], names: dict[str, str]) -> None:
    """Calls added tokens by other names in a tokenizer's JSON.

    As added tokens, and in the vocabulary, where some algorithms would find them in a text too.
    """
    described["post_processor"] = None
    for token in described["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = described["model"]
    renamed = {name: new for name, new in names.items() if not _BYTE.fullmatch(name)}
    if isinstance(model["vocab"], dict):
        model["vocab"] = {renamed.get(piece, piece): index for piece, index in model["vocab"].items()}
    else:
        model["vocab"] = [[renamed.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") in renamed:
        model["unk_token"] = renamed[model["unk_token"]]
    if "merges" in model:
        pairs = [merge if isinstance(merge, list) else merge.split(" ", 1) for merge in model["merges"]]
        model["merges"] = [[a, b] for a, b in pairs if not {a, b, a + b} & renamed.keys()]
