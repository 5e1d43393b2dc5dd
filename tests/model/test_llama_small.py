"""A small plain Llama in numpy says what its layers say of the whole text; no row minds which others there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chatfed.model import decoding, llama_small
from chatfed.model.decoding import Decoder, close
from chatfed.model.llama_rows import LlamaRows
from chatfed.model.llama_small import SmallSteps, attended, small_steps
from chatfed.model.llama_steps import LlamaSteps
from tests.model.architectures import tiny
from tests.model.test_llama_steps import llama

SCALED = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
LENGTHS = [1, 2, 40, 61, 62, 63, 64, 65, 100, 127, 128, 200, 260, 3, 4, 5, 6, 7]  # more than a product takes together


def small(**changes: Any) -> tuple[Any, SmallSteps]:
    model = llama(**changes)
    for name, weight in model.named_parameters():
        if "norm" in name or "bias" in name:  # which transformers begins with ones and zeros
            weight.data += torch.linspace(-0.5, 0.5, len(weight))
    steps = small_steps(model)
    assert steps is not None
    return model, steps


def texts(lengths: list[int]) -> list[list[int]]:
    return [[(7 * at + 3 * length) % 128 for at in range(length)] for length in lengths]


def grown(steps: SmallSteps, begun: list[list[int]], times: int) -> Tensor:
    """Logits float32[texts, times, vocabulary] while all grow beside each other."""
    rows, found = LlamaRows(steps), []
    places = []
    for ids in begun:
        cache = steps.begin(1)
        steps.add(cache, torch.tensor([ids]))
        places.append(rows.put(cache))
    for turn in range(times):
        order, logits = rows.grow(
            {place: (5 * turn + len(ids)) % 128 for place, ids in zip(places, begun, strict=True)}
        )
        by_place = dict(zip(order, logits, strict=True))
        found.append(torch.stack([by_place[place] for place in places]))
    return torch.stack(found, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention_bias": True, "mlp_bias": True},
        {"num_key_value_heads": 6, "tie_word_embeddings": True},
        {"num_key_value_heads": 1, "head_dim": 16},
        {"rope_parameters": SCALED},
        {"rms_norm_eps": 0.3},
    ],
)
def test_rows_say_what_the_whole_text_says(changes: dict[str, object]) -> None:
    model, steps = small(**changes)
    assert model.model.rotary_emb.rope_type == ("llama3" if "rope_parameters" in changes else "default")
    begun = texts([1, 30, 62, 140])
    found = grown(steps, begun, 4)
    for ids, logits in zip(begun, found, strict=True):
        whole = torch.tensor([[*ids, *((5 * turn + len(ids)) % 128 for turn in range(4))]])
        with torch.inference_mode():
            wanted = model(input_ids=whole).logits[0, -4:]
        torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{"attention_bias": True, "mlp_bias": True}, {"num_key_value_heads": 6}])
@pytest.mark.parametrize("minds", [False, True], ids=["", "products-mind"])
def test_a_row_is_the_same_to_the_last_bit_alone_and_beside_any_others(
    changes: dict[str, object], minds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if minds:
        monkeypatch.setattr(llama_small._Product, "minds_no_rows", lambda product: False)
    _, steps = small(**changes)
    begun = texts(LENGTHS)
    alone = torch.cat([grown(steps, [ids], 4) for ids in begun])
    assert torch.equal(alone, grown(steps, begun, 4))
    assert torch.equal(alone.flip(0)[:5], grown(steps, begun[::-1][:5], 4))


def test_no_product_is_so_large_that_openblas_takes_several_threads_for_it() -> None:
    product = llama_small._Product([nn.Linear(300, 2050)])
    x = np.random.default_rng(0).standard_normal((40, 300)).astype(np.float32)
    assert product._bias is not None
    wanted = x @ product._weight + product._bias
    for rows in (2, 5, 16):
        width, blocks = product._blocks(rows)
        assert rows * 300 * width <= llama_small._QUIET and 2050 - len(blocks) * width < width
        np.testing.assert_allclose(product(x[:rows]), x[:rows] @ product._weight + product._bias, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(product(x), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("inputs", "outputs", "parts"), [(160, 480, 1), (432, 160, 1), (1376, 512, 4), (577, 30, 577)])
def test_a_row_by_itself_is_a_vector_whose_products_openblas_computes_in_one_thread(
    inputs: int, outputs: int, parts: int
) -> None:
    """Its threshold is 4 * 2304 elements, itself not among them; inputs that are too many are taken in equal parts."""
    product = llama_small._Product([nn.Linear(inputs, outputs)])
    blocks = product._by_vector
    assert blocks.shape[0] == parts and blocks.shape[2] * blocks.shape[3] < 4 * 2304
    x = np.random.default_rng(0).standard_normal((3, inputs)).astype(np.float32)
    found, bias = product(x, alone=True), product._bias
    assert bias is not None
    np.testing.assert_allclose(found, x @ product._weight + bias, rtol=1e-3, atol=1e-4)
    assert all(np.array_equal(product(row[None]), each[None]) for row, each in zip(x, found, strict=True))


def test_attention_to_many_positions_is_that_to_each() -> None:
    """In blocks, with the positions that were not read left out."""
    generator = np.random.default_rng(0)
    q, k, v = (
        generator.standard_normal(shape).astype(np.float32)
        for shape in ((3, 2, 4, 32), (3, 2, 1024, 32), (3, 2, 1024, 32))
    )
    unseen = np.where(np.arange(1024) < np.array([[900], [1], [1024]]), 0, -np.inf).astype(np.float32)
    shares = torch.from_numpy(q @ k.swapaxes(2, 3) + unseen[:, None, None]).softmax(-1)
    np.testing.assert_allclose(attended(q, k, v, unseen), shares.numpy() @ v, rtol=1e-4, atol=1e-5)


def test_a_small_model_s_steps_are_these_and_follow_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = small()
    decoder = Decoder(model)
    before = decoder.steps
    assert isinstance(before, SmallSteps) and decoder.steps is before
    with torch.no_grad():
        model.model.norm.weight.mul_(2)
    after = decoder.steps
    assert isinstance(after, SmallSteps) and after is not before
    found, ids = grown(after, texts([9]), 1)[0, 0], texts([9])[0]
    assert close(found, decoder.whole(torch.tensor([[*ids, 9]]))[0])
    monkeypatch.setattr(decoding, "_SMALL", 100)
    assert type(Decoder(model).steps) is LlamaSteps


def test_rows_that_do_not_agree_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SmallSteps.grow
    monkeypatch.setattr(SmallSteps, "grow", lambda self, ids, at, attend: right(self, ids, [p + 1 for p in at], attend))
    assert type(Decoder(llama()).steps) is LlamaSteps


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_other_models_have_none(kind: str) -> None:
    assert small_steps(tiny(kind)) is None
