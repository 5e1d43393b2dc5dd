"""The gradient by hand is autograd's, whatever the shape, and the same bytes whatever was computed before."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from chatfed.model.by_hand import LlamaGradient, llama_gradient
from chatfed.model.parameters import set_trainable
from chatfed.model.subspace import Subspace

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


def worst(model: nn.Module, ours: Tensor, theirs: Tensor, least: float = 1e-6) -> float:
    """The largest relative error of any parameter's part; of one smaller than `least` of all, as if it were that."""
    at, found = 0, [0.0]
    for _, p in sorted((name, p) for name, p in model.named_parameters() if p.requires_grad):
        part = slice(at, at := at + p.numel())
        found.append(float((ours[part] - theirs[part]).norm() / theirs[part].norm().clamp(min=least * theirs.norm())))
    return max(found)


@pytest.mark.parametrize("lengths", [[1], [7], [16], [33, 9], [20, 20, 3], [200, 60, 9]], ids=str)
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
    # of one token attention learns nothing: what autograd has there is rounding, another on each processor
    least = 1e-2 if lengths == [1] else 1e-6
    assert worst(model, by_hand(gradient, rows), by_autograd(model, rows), least) < 1e-5


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


def test_bfloat16_is_close() -> None:
    model, rows = llama(), dialogue([30, 11])
    gradient = llama_gradient(model, lower=True)
    assert gradient is not None
    ours, theirs = by_hand(gradient, rows), by_autograd(model, rows)
    assert 1e-5 < float((ours - theirs).norm() / theirs.norm()) < 3e-2


def in_place(p: nn.Parameter) -> None:
    with torch.no_grad():
        p.mul_(1.5)


def past_the_version(p: nn.Parameter) -> None:
    p.data.mul_(1.5)


def in_numpy(p: nn.Parameter) -> None:
    p.detach().numpy()[...] *= 1.5


def elsewhere(p: nn.Parameter) -> None:
    p.data = p.data * 1.5


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("move", [in_place, past_the_version, in_numpy, elsewhere])
def test_weights_that_moved_are_seen_however_they_were_written(lower: bool, move: Callable[[Any], None]) -> None:
    model, rows = llama(mlp_bias=True, attention_bias=True), dialogue([10])
    gradient = llama_gradient(model, lower)
    assert gradient is not None
    before = by_hand(gradient, rows)
    for p in model.parameters():
        move(p)
    after = by_hand(gradient, rows)
    assert torch.equal(after, by_hand(LlamaGradient(model, lower), rows)) and not torch.equal(after, before)


def test_of_a_model_that_is_frozen_in_part_what_is_trained_is_seen_when_it_moves() -> None:
    model, rows = llama(), dialogue([10])
    for p in model.model.layers[0].parameters():
        p.requires_grad_(False)
    gradient = llama_gradient(model, lower=True)
    assert gradient is not None
    before = by_hand(gradient, rows)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5 if p.requires_grad else 1.0)
    after = by_hand(gradient, rows)
    assert torch.equal(after, by_hand(LlamaGradient(model, lower=True), rows)) and not torch.equal(after, before)


def test_frozen_weights_are_let_go_once_they_are_copied_and_those_that_move_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone: list[Tensor] = []
    monkeypatch.setattr("chatfed.model.by_hand.let_go", gone.extend)
    model, rows = llama(), dialogue([10])
    set_trainable(model, ["model.layers.1.*proj.weight"])
    for lower in (False, True):
        gradient = LlamaGradient(model, lower)
        for _ in range(2):
            by_hand(gradient, rows)
    assert {id(p) for p in gone} == {id(p) for p in model.parameters() if not p.requires_grad}
    assert len(gone) == len({id(p) for p in gone}), "once, and in float32 not at all"


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


Way = tuple[bool, float]  # lower, share of directions
WAYS = [(False, 0.0), (True, 0.0), (False, 0.2), (True, 0.2)]


@cache
def space(share: float) -> Subspace:
    return Subspace(small(), share)


def made_of(way: Way) -> LlamaGradient:
    return LlamaGradient(small(), way[0], space(way[1]).directions)


shared = cache(made_of)


def load(share: float, seed: int) -> None:
    """Weights of that seed, as a server sends them."""
    chosen = np.random.default_rng(seed).normal(0, 0.05, space(share).dimension)
    space(share).load((space(share).start + chosen).astype(np.float32))


lengths_of = st.lists(st.integers(1, 70), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    lengths_of,
    st.lists(st.tuples(lengths_of, st.integers(0, 3)), max_size=3),
    st.integers(0, 99),
    st.sampled_from(WAYS),
)
def test_a_dialogue_gives_the_same_bytes_whatever_came_before(
    mine: list[int], others: list[tuple[list[int], int]], seed: int, way: Way
) -> None:
    rows, out = dialogue(mine, seed), np.empty(shared(way).size, np.float32)
    for place, (other, weights) in enumerate(others):
        load(way[1], weights)
        shared(way)(dialogue(other, seed + place + 1), torch.from_numpy(out))
    load(way[1], seed)
    shared(way)(rows, torch.from_numpy(out))
    assert out.tobytes() == by_hand(made_of(way), rows).numpy().tobytes()


@pytest.mark.parametrize("lengths", [[1], [33, 9]], ids=str)
@pytest.mark.parametrize("trained", [("all",), ("*k_proj.weight", "*up_proj.weight", "*embed_tokens.weight")], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"tie_word_embeddings": True, "num_key_value_heads": 2, "mlp_bias": True}], ids=str
)
def test_coordinates_are_the_projected_gradient(
    options: dict[str, Any], trained: tuple[str, ...], lengths: list[int]
) -> None:
    model, rows = llama(**options), dialogue(lengths)
    set_trainable(model, trained)
    mine = Subspace(model, 0.3)
    gradient = llama_gradient(model, directions=mine.directions)
    assert gradient is not None and gradient.size == mine.dimension
    wanted = torch.from_numpy(mine.of_gradient(by_autograd(model, rows).numpy()))
    assert float((by_hand(gradient, rows) - wanted).norm()) < 1e-5 * float(wanted.norm())
    lower = by_hand(LlamaGradient(model, True, mine.directions), rows)
    assert 1e-5 < float((lower - wanted).norm() / wanted.norm()) < 4e-2


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
