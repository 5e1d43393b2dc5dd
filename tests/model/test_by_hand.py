"""The gradient by hand is autograd's, whatever the shape, and the same bytes whatever was computed before."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from chatfed.model.by_hand import LlamaGradient, llama_gradient

WORDS = 61
SLOWER = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}  # a rotation
Rows = dict[str, Tensor]


def llama(seed: int = 1, **options: Any) -> Any:
    """A two-layer Llama whose weights are not too small to tell rounding from error."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    config = LlamaConfig(**{**sizes, "vocab_size": WORDS, "initializer_range": 0.2, **options})
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:  # norms and biases, which begin at 1 and 0
                p.add_(0.1 * torch.randn_like(p))
    return model


def dialogue(lengths: list[int], seed: int = 0) -> Rows:
    """Windows of so many positions, padded to the longest; every third target does not count."""
    made = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, WORDS, (len(lengths), max(lengths) + 1), generator=made)
    at = torch.arange(max(lengths)).expand(len(lengths), -1)
    counted = (at < torch.tensor(lengths)[:, None]) & (at % 3 != 1)
    return {"ids": ids[:, :-1], "targets": ids[:, 1:], "weights": counted / counted.sum().clamp(min=1)}


def by_autograd(model: nn.Module, rows: Rows) -> Tensor:
    """The obvious way, in the order of the names."""
    named = sorted((name, p) for name, p in model.named_parameters() if p.requires_grad)
    logits = model(input_ids=rows["ids"], use_cache=False).logits
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), rows["targets"], reduction="none")
    total = (losses * rows["weights"]).sum()
    found = torch.autograd.grad(total, [p for _, p in named], allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


def by_hand(gradient: LlamaGradient, rows: Rows) -> Tensor:
    """Into memory that is full of what is not a number."""
    out = torch.full((gradient.size,), torch.nan)
    gradient(rows, out)
    return out


def worst(model: nn.Module, ours: Tensor, theirs: Tensor) -> float:
    """The largest relative error of any parameter's part."""
    at, found = 0, [0.0]
    for _, p in sorted((name, p) for name, p in model.named_parameters() if p.requires_grad):
        part = slice(at, at := at + p.numel())
        found.append(float((ours[part] - theirs[part]).norm() / theirs[part].norm().clamp(min=1e-6 * theirs.norm())))
    return max(found)


@pytest.mark.parametrize("lengths", [[1], [7], [16], [33, 9], [20, 20, 3]], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tie_word_embeddings": True},
        {"attention_bias": True, "mlp_bias": True, "pad_token_id": 5},
        {"num_key_value_heads": 2, "tie_word_embeddings": True, "attention_bias": True},
        {"num_key_value_heads": 1, "head_dim": 8, "rope_parameters": SLOWER},
    ],
    ids=["plain", "tied", "biases and padding", "shared keys", "one key"],
)  # fmt: skip
def test_every_parameter_gets_what_autograd_gives(options: dict[str, Any], lengths: list[int]) -> None:
    model, rows = llama(**options), dialogue(lengths)
    gradient = llama_gradient(model)
    assert gradient is not None
    assert worst(model, by_hand(gradient, rows), by_autograd(model, rows)) < 1e-5


@pytest.mark.parametrize(
    "trained",
    [
        ("lm_head.weight", "model.norm.weight"),
        ("lm_head.weight",),
        ("model.layers.1.mlp",),
        ("model.layers.0.self_attn.k_proj", "model.layers.1.input_layernorm"),
        ("model.embed_tokens",),
    ],
    ids=str,
)
def test_some_parameters_alone_get_the_same(trained: tuple[str, ...]) -> None:
    model, rows = llama(attention_bias=True), dialogue([9, 12])
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(trained))
    gradient = llama_gradient(model)
    assert gradient is not None and gradient.size < sum(p.numel() for p in model.parameters())
    assert worst(model, by_hand(gradient, rows), by_autograd(model, rows)) < 1e-5


def test_bfloat16_on_the_way_back_is_close() -> None:
    model, rows = llama(), dialogue([30, 11])
    gradient = llama_gradient(model, lower=True)
    assert gradient is not None
    ours, theirs = by_hand(gradient, rows), by_autograd(model, rows)
    assert 1e-5 < float((ours - theirs).norm() / theirs.norm()) < 1e-2


@pytest.mark.parametrize("lower", [False, True])
def test_weights_that_moved_are_seen(lower: bool) -> None:
    model, rows = llama(), dialogue([10])
    gradient = llama_gradient(model, lower)
    assert gradient is not None
    by_hand(gradient, rows)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    theirs = by_autograd(model, rows)
    assert float((by_hand(gradient, rows) - theirs).norm() / theirs.norm()) < (1e-2 if lower else 1e-5)


@pytest.mark.parametrize("weights", [0.0, 1.0])
def test_where_nothing_is_learned_the_gradient_is_zero(weights: float) -> None:
    rows = dialogue([6]) if weights == 0.0 else dialogue([1])
    rows["weights"] = torch.zeros_like(rows["weights"])
    gradient = LlamaGradient(llama())
    assert not by_hand(gradient, rows).any()


def test_what_is_not_finite_shows_and_leaves_nothing_behind() -> None:
    model = llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = torch.inf
    gradient, good, bad = LlamaGradient(model), dialogue([12]), dialogue([12])
    good["ids"] = good["ids"].where(good["ids"] != 7, 8)
    bad["ids"][0, 3] = 7
    before = by_hand(gradient, good)
    assert not by_hand(gradient, bad).isfinite().all()
    assert before.isfinite().all() and torch.equal(before, by_hand(gradient, good))


@cache
def small() -> Any:
    return llama(num_key_value_heads=2, mlp_bias=True)


@cache
def shared(lower: bool) -> LlamaGradient:
    return LlamaGradient(small(), lower)


lengths_of = st.lists(st.integers(1, 70), min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(lengths_of, st.lists(lengths_of, max_size=3), st.integers(0, 99), st.booleans())
def test_a_dialogue_gives_the_same_bytes_whatever_came_before(
    mine: list[int], others: list[list[int]], seed: int, lower: bool
) -> None:
    rows, out = dialogue(mine, seed), np.empty(shared(lower).size, np.float32)
    for place, other in enumerate(others):
        shared(lower)(dialogue(other, seed + place + 1), torch.from_numpy(out))
    shared(lower)(rows, torch.from_numpy(out))
    alone = by_hand(LlamaGradient(small(), lower), rows)
    assert out.tobytes() == alone.numpy().tobytes()


def doubled(model: Any) -> Any:
    model.model.layers[1].mlp.register_forward_hook(lambda layer, given, made: 2 * made)
    return model


def adapted(model: Any) -> Any:
    from chatfed.model.adapters import Adapters, attach

    attach(model, Adapters(2, 4.0, ("q_proj",)))
    return model


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=WORDS))


@pytest.mark.parametrize(
    "make",
    [
        gpt2,
        lambda: doubled(llama()),
        lambda: adapted(llama()),
        lambda: llama().double(),
        lambda: llama().requires_grad_(False),
        lambda: llama(hidden_act="gelu"),
        lambda: llama(rope_parameters={**SLOWER, "rope_type": "dynamic"}),
    ],
    ids=["another kind", "a hook", "adapters", "float64", "nothing trained", "another gate", "angles of the length"],
)
def test_any_other_model_is_left_to_autograd(make: Any) -> None:
    assert llama_gradient(make()) is None
