"""Both halves of a random next-word network in a run's folder, and what it says with nothing encrypted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatfed.encrypted.network import FREE, HIDDEN, MOST_TOKENS, AskerHalf, ServerHalf
from chatfed.types import Turn
from serving.encrypted_questions import read_half, spelt, token_kinds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def write_halves(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """The folder, with RUN/encrypted as `chatfed he distil` writes it."""
    generator = np.random.default_rng(2)
    tokens = np.arange(min(len(tokenizer), MOST_TOKENS), dtype=np.int32)
    tables = (generator.uniform(-1, 1, (len(tokens) + 1, width)).astype(np.float32) for width in (300, FREE - 300))
    asker = AskerHalf(tokens, (next(tables),), next(tables))
    first = generator.normal(0, 0.06, (HIDDEN - 2, FREE)).astype(np.float32)
    second = generator.normal(0, 0.05, (len(tokens), HIDDEN - 2)).astype(np.float32)
    zero = np.zeros(HIDDEN - 2, np.float32)
    server = ServerHalf.of(asker.digest, first, zero, second, np.zeros(len(tokens), np.float32))
    for name, half in (("asker", asker), ("server", server)):
        (folder / "encrypted" / name).mkdir(parents=True)
        (folder / "encrypted" / name / "network.npz").write_bytes(half.to_bytes())
    tokenizer.save_pretrained(folder / "encrypted" / "asker")
    return folder


def in_clear(run: Path, text: str, k: int) -> list[str]:
    """The words that the network would offer after a text with nothing encrypted."""
    from chatfed.model.tokenizer import encode_open_turn
    from chatfed.model.transformer import load_tokenizer

    server = ServerHalf.from_bytes((run / "encrypted" / "server" / "network.npz").read_bytes())
    half, place = read_half(run)
    tokenizer = load_tokenizer(place, needs_model=False)
    ids = [int(each) for each in encode_open_turn(tokenizer, [], Turn("user", text)).ids]

    def scores(tokens: list[int]) -> NDArray[np.float64]:
        return server.scores(half.features(tokens)[None])[0, : len(half.tokens)].astype(np.float64)

    return [each.word for each in spelt(ids, k, token_kinds(tokenizer, half), scores)]
