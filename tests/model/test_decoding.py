"""Only the logits that are asked for are made, and a cache is used where it gives what the whole text gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from chatfed import Chat, Generation, Turn
from chatfed.model import decoding
from chatfed.model.decoding import Decoder, close
from chatfed.model.tokenizer import train_tokenizer
from tests.model.architectures import VOCABULARY, tiny
from tests.model.tokenizers_of_others import TEXTS

IDS = [7, 30, 5, 61, 90, 12, 44, 8, 101, 3]


@contextmanager
def positions(model: Any) -> Iterator[list[int]]:
    """How many positions each call of the output layer computes."""
    seen: list[int] = []
    hook = model.get_output_embeddings().register_forward_hook(
        lambda layer, given, out: seen.append(out[..., 0].numel())
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "openai-gpt", "rwkv", "bamba", "minimax", "mamba", "bert"])
def test_a_reply_and_suggestions_make_logits_of_last_positions_alone(kind: str) -> None:
    model = tiny(kind, **({"is_decoder": True} if kind == "bert" else {}))
    chat = Chat(model, train_tokenizer(TEXTS, 290))
    with positions(model) as seen:
        chat.reply([Turn("user", "hello there my laptop")], Generation(max_new_tokens=4))
        assert set(seen) == {1}
        chat.suggest("hello there my ")
    assert max(seen) <= 12  # one for each word of the beam


@pytest.mark.parametrize("kind", ["llama", "gpt_oss", "gemma2", "mamba", "lfm2", "openai-gpt"])
def test_continuations_of_a_prefix_get_the_logits_of_the_whole_text(kind: str) -> None:
    decoder = Decoder(tiny(kind))
    text = decoder.text()
    text.add(IDS)
    after = decoder.after(text)
    for rows in ([[1], [2], [3]], [[4, 5], [6, 7]], [[4, 5, 6, 7]]):
        found = after(rows)
        for row, logits in zip(rows, found, strict=True):
            assert close(logits, decoder.whole(torch.tensor([[*IDS, *row]]))[0])
    assert text.ids == IDS and close(text.add([9]), decoder.whole(torch.tensor([[*IDS, 9]]))[0])


def test_caches_of_continuations_stay_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(tiny("llama"))
    text = decoder.text()
    text.add(IDS)
    rows = [[i, i + 1] for i in range(12)]
    wanted = decoder.after(text)(rows)
    monkeypatch.setattr(decoding, "_ROWS_BYTES", 1)
    calls: list[int] = []
    decoder.model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    assert close(decoder.after(text)(rows), wanted)
    assert calls == [1] * 12


@pytest.mark.parametrize("kind", ["llama", "rwkv", "mamba", "openai-gpt"])
@pytest.mark.parametrize("at_once", [1, 3 * VOCABULARY, 1 << 22])
def test_scores_of_a_text_do_not_depend_on_how_many_are_made_at_once(
    kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_LOGITS_AT_ONCE", at_once)
    decoder = Decoder(tiny(kind))
    with positions(decoder.model) as seen:
        found = torch.cat(list(decoder.scores(IDS)))
    assert close(found, decoder.whole(torch.tensor([IDS]), last=False)[0])
    if kind in ("llama", "rwkv"):
        assert max(seen) == min(len(IDS), max(1, at_once // VOCABULARY))


def test_a_copy_of_a_text_grows_apart() -> None:
    for kind in ("llama", "rwkv", "openai-gpt"):
        decoder = Decoder(tiny(kind))
        text = decoder.text()
        text.add(IDS)
        other = text.copy()
        other.add([1, 2])
        assert close(text.add([9]), decoder.whole(torch.tensor([[*IDS, 9]]))[0])
        assert close(other.add([3]), decoder.whole(torch.tensor([[*IDS, 1, 2, 3]]))[0])


@pytest.mark.parametrize(("kind", "way"), [("llama", "given"), ("rwkv", "own"), ("minimax", "own"), ("bamba", "none")])
def test_the_way_in_which_a_kind_is_asked(kind: str, way: str) -> None:
    assert Decoder(tiny(kind)).way == way


def test_a_base_s_own_ends_end_a_reply() -> None:
    model = tiny("llama")
    model.generation_config.eos_token_id = [17, 23]
    assert {17, 23} <= Chat(model, train_tokenizer(TEXTS, 290))._ends


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "lfm2", "rwkv", "minimax", "mamba", "bamba", "openai-gpt"])
def test_rows_that_grow_together_get_the_logits_of_their_whole_texts(kind: str) -> None:
    decoder = Decoder(tiny(kind))
    texts = np.array([IDS, IDS[::-1], [*IDS[5:], *IDS[:5]]], np.int32)
    rows, at = decoder.drawn(3), 0
    for step in (3, 1, 1, 4, 1):
        found = rows.add(texts[:, at : at + step])
        at += step
        wanted = decoder.whole(torch.from_numpy(texts[:, :at].astype(np.int64)))
        assert found.shape == (3, VOCABULARY) and found.dtype == torch.float32
        assert all(close(one, other) for one, other in zip(found, wanted, strict=True))


def test_rows_are_read_once_where_there_is_a_cache() -> None:
    decoder = Decoder(tiny("llama"))
    seen: list[tuple[int, ...]] = []
    decoder.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    rows = decoder.drawn(5)
    for step in (3, 1, 2):
        rows.add(np.ones((5, step), np.int32))
    assert seen == [(5, 3), (5, 1), (5, 2)]
