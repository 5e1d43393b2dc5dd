"""Tokens as text, one by one: in time that grows with the reply's length alone, and each piece only once it is sure.

A character is held back until all its bytes are there, and what may be the beginning of a stop text until it is none.
Knows a tokenizer; knows no model.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_WINDOW = 6  # tokens before a piece whose text another token may still change, where tokens are no plain bytes


class Joiner(Protocol):
    """The text of tokens that come one by one."""

    def add(self, token: int) -> str:
        """The text that is sure now and was not before."""

    def end(self) -> str:
        """What was held back: no token follows."""


class TokenTexts:
    """The bytes of each token of a tokenizer, and its text by itself."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._named = {int(i): str(token) for i, token in tokenizer.added_tokens_decoder.items()}
        special = {int(i) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special = special | set(tokenizer.all_special_ids)
        described = json.loads(tokenizer.backend_tokenizer.to_str())
        self._kind = _kind(described.get("decoder"))
        self._known: dict[int, tuple[str, bytes]] = {}

    def joiner(self) -> Joiner:
        """A text to begin."""
        return _Windows(self._tokenizer) if self._kind == "other" else _Bytes(self)

    def of(self, token: int) -> tuple[str, bytes]:
        """A token's own text and bytes; a space in front where it begins a word. "" for an id that is no token."""
        found = self._known.get(token)
        if found is None:
            data = self._bytes(token)
            found = self._known[token] = (_shown(data), data)
        return found

    def text(self, ids: Sequence[int]) -> str:
        """The text of several tokens, markers by their names."""
        if self._kind == "other":
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))
        return b"".join(self.of(token)[1] for token in ids).decode("utf-8", "replace")

    def said(self, token: int) -> bytes:
        """What a token adds to a text: its bytes, and nothing where it is a marker."""
        return b"" if token in self._special else self.of(token)[1]

    def _bytes(self, token: int) -> bytes:
        if token in self._named:
            return self._named[token].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            return b""
        if self._kind == "bytes":
            return _spelt_bytes(piece)
        if self._kind == "pieces":
            return _piece_bytes(piece)
        leads = piece.startswith("▁") or not piece.startswith("##")
        return ((" " if leads else "") + self._tokenizer.convert_tokens_to_string([piece]).removeprefix(" ")).encode()


class _Bytes:
    """Of a tokenizer whose tokens are bytes: exactly what the bytes of all tokens together are as UTF-8."""

    def __init__(self, texts: TokenTexts) -> None:
        self._texts, self._decoder = texts, codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        return self._decoder.decode(self._texts.said(token))

    def end(self) -> str:
        return self._decoder.decode(b"", True)


class _Windows:
    """Of any other: a piece is what the tokenizer makes of the last tokens with a new one, less of those alone."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._window, self._shown = list[int](), ""  # of the window's text

    def add(self, token: int) -> str:
        self._window.append(token)
        text = self._text(self._window)
        if text.endswith("\ufffd") or not text.startswith(self._shown):  # bytes that others complete
            return ""
        piece = text[len(self._shown) :]
        self._window = self._window[-_WINDOW:]
        self._shown = self._text(self._window)
        return piece

    def end(self) -> str:
        return self._text(self._window)[len(self._shown) :]

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


class ReplyText:
    """The text of one reply, which ends before any of the stop texts.

    chat: without the spaces that lead it. lead: what stands before the marker that ends a message, and is no part of
    one.
    """

    def __init__(self, joiner: Joiner, stops: Sequence[str] = (), lead: str = "", chat: bool = True) -> None:
        self._joiner, self._stops, self._lead = joiner, tuple(stops), lead
        self._held, self._begun = "", not chat
        self.stopped = False

    def add(self, token: int) -> str:
        """What may be shown now. `stopped` says whether a stop text was found: then it is all."""
        self._take(self._joiner.add(token))
        if self._cut():
            return self._rest()
        sure = len(self._held) - self._open()
        piece, self._held = self._held[:sure], self._held[sure:]
        return piece

    def end(self) -> str:
        """What was held back, when no token follows."""
        if self.stopped:
            return ""
        self._take(self._joiner.end())
        self._cut()
        return self._rest()

    def _take(self, piece: str) -> None:
        if not self._begun:
            piece = piece.lstrip()
            self._begun = bool(piece)
        self._held += piece

    def _cut(self) -> bool:
        places = [at for at in map(self._held.find, self._stops) if at >= 0]
        if places:
            self._held, self.stopped = self._held[: min(places)], True
        return bool(places)

    def _rest(self) -> str:
        rest, self._held = self._held.removesuffix(self._lead), ""
        return rest

    def _open(self) -> int:
        """How many of the last characters may be the beginning of a stop text, or lead to a marker."""
        longest = max([len(self._lead), *(len(stop) - 1 for stop in self._stops)])
        for size in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-size:]
            if self._lead.startswith(tail) or any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0


def _kind(decoder: Any) -> str:
    """How tokens are written: "bytes" of the byte-level alphabet, "pieces" with "▁" and bytes by number, "other"."""
    steps = [] if not decoder else decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    kinds = {step["type"] for step in steps}
    if kinds == {"ByteLevel"}:
        return "bytes"
    spaces = [s for s in steps if s["type"] == "Metaspace" or (s["type"] == "Replace" and s["content"] == " ")]
    return "pieces" if spaces and kinds <= {"Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"} else "other"


@lru_cache(maxsize=1)
def _alphabet() -> dict[str, int]:
    """Which byte each character of byte-level tokens stands for (Radford et al. 2019, `bytes_to_unicode`)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(others)}


def _spelt_bytes(piece: str) -> bytes:
    found = [_alphabet().get(character) for character in piece]
    known = [byte for byte in found if byte is not None]
    return bytes(known) if len(known) == len(found) else piece.encode()


def _piece_bytes(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace("▁", " ").encode()


def _shown(data: bytes) -> str:
    """Bytes as text; those that are no whole characters by their numbers, as OpenAI's API writes them."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
