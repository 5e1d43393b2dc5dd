"""Byte-level BPE as its description reads, slowly: what GGUF tokenizers converted by us are held against.

Takes tokens and merges as they stand in a GGUF file; uses neither `tokenizers` nor regular expressions.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
SPACES = set("\t\n\x0b\x0c\r\x85")
RANGES = (  # scripts, signs and digits from which texts are drawn: first and last code point
    *((0x20, 0x7E),) * 6,
    (0x09, 0x0D),
    (0x00, 0x1F),
    (0xA0, 0x17F),
    (0x391, 0x3C9),
    (0x410, 0x44F),
    (0x5D0, 0x5EA),
    (0x627, 0x64A),
    (0x660, 0x669),
    (0x905, 0x939),
    (0x966, 0x96F),
    (0xE01, 0xE2E),
    (0x2010, 0x205F),
    (0x2070, 0x2089),
    (0x2150, 0x2189),
    (0x2190, 0x22FF),
    (0x3041, 0x3096),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),
    (0xFF10, 0xFF5A),
    (0x1F300, 0x1F64F),
    (0xE000, 0xE0FF),
    (0x40000, 0x40010),
)
WORDS = """def return for (i = 0; i < 10; i++) {x} == != -> :: "it's" I'll they've can't 3.14 2024-11-29 1e-9
    0x1F naïve straße Москва 東京 서울 नमस्ते مرحبا £20 50% a_b __init__ <|im_start|> <|endoftext|> \t\tif \n\n\n
    ½ x² Ⅷ ①""".split(" ")


def byte_letters() -> list[str]:
    """The letter that stands for each byte: itself where it prints, else the next one from 256 on."""
    prints = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in prints else chr(next(others)) for byte in range(256)]


class Twin:
    """A tokenizer of these tokens and merges; digits: each number's sign is a piece of its own ("smollm")."""

    def __init__(self, tokens: Sequence[str], merges: Sequence[str], added: Sequence[str], digits: bool) -> None:
        self.ids = {token: index for index, token in enumerate(tokens)}
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
        self.added, self.digits, self.letters = added, digits, byte_letters()
        self._piece = lru_cache(1 << 16)(self._merged)

    def encode(self, text: str) -> list[int]:
        return [index for part in self._parts(text) for index in part]

    def _parts(self, text: str) -> Iterator[list[int]]:
        """Added tokens as they stand in the text, first and longest; all between them piece by piece."""
        at = start = 0
        while at < len(text):
            found = max((each for each in self.added if text.startswith(each, at)), key=len, default="")
            if found:
                yield from map(self._piece, self._split(text[start:at]))
                yield [self.ids[found]]
                start = at = at + len(found)
            else:
                at += 1
        yield from map(self._piece, self._split(text[start:]))

    def _split(self, text: str) -> Iterator[str]:
        if not self.digits:
            yield from pieces(text)
            return
        start = 0
        for at, letter in enumerate(text):
            if kind(letter) == "N":
                yield from pieces(text[start:at])
                yield letter
                start = at + 1
        yield from pieces(text[start:])

    def _merged(self, piece: str) -> list[int]:
        parts = [self.letters[byte] for byte in piece.encode()]
        parts = [part for part in parts if part in self.ids]  # a byte without a token is passed over
        while True:
            pairs = [(self.ranks[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in self.ranks]
            if not pairs:
                return [self.ids[part] for part in parts]
            _, at = min(pairs)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]


def pieces(text: str) -> Iterator[str]:
    """GPT-2's pieces: contractions, runs of letters, of numbers or of signs with the space before, and spaces."""
    at = 0
    while at < len(text):
        end = next((at + len(each) for each in CONTRACTIONS if text.startswith(each, at)), 0)
        if not end:
            first = at + 1 if text[at] == " " and at + 1 < len(text) and kind(text[at + 1]) != " " else at
            end = first + 1
            while end < len(text) and kind(text[end]) == kind(text[first]):
                end += 1
            if kind(text[first]) == " " and end < len(text) and end - at > 1:
                end -= 1  # the last of several spaces goes with what follows
        yield text[at:end]
        at = end


def kind(letter: str) -> str:
    """One of four: "L" a letter, "N" a number, " " a space, "." anything else."""
    major = unicodedata.category(letter)[0]
    if letter in SPACES or major == "Z":
        return " "
    return major if major in "LN" else "."


def drawn_texts(count: int, seed: int = 1) -> Iterator[str]:
    """Texts of many scripts, digits, signs, spaces and code, drawn from `seed`."""
    rng = random.Random(seed)
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 12)):
            first, last = rng.choice(RANGES)
            letters = "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 8)))
            parts.append(rng.choice((letters, str(rng.randrange(10 ** rng.randint(1, 9))), rng.choice(WORDS))))
        yield rng.choice(("", " ", " ", "  ", "\n")).join(parts)
