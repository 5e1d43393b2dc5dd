"""Layers below all that is trained read a window once, and gradients by hand are the same bytes ever after."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from chatfed.model.by_hand import LlamaGradient, llama_gradient
from tests.model.test_by_hand import by_autograd, by_hand, dialogue, llama, worst

UPPER = ("model.layers.2", "model.norm", "lm_head")


class Remembered:
    """A `Kept` in memory, which counts; `room`: windows that it takes."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room, self.asked, self.held = room, 0, dict[bytes, Tensor]()

    def get(self, window: bytes) -> Tensor | None:
        self.asked += 1
        return self.held.get(window)

    def put(self, window: bytes, said: Tensor) -> None:
        if len(self.held) < self.room:
            self.held[window] = said.flatten().clone()


def gradient_of(trained: tuple[str, ...] = UPPER, lower: bool = False) -> tuple[torch.nn.Module, LlamaGradient]:
    model = llama(num_hidden_layers=3, num_key_value_heads=2)
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(trained))
    made = llama_gradient(model, lower)
    assert made is not None
    return model, made


@pytest.mark.parametrize("lengths", [[1], [7], [33, 9], [20, 20, 3], [200, 60, 9]], ids=str)
@pytest.mark.parametrize("trained", [UPPER, ("lm_head",), ("model.layers.1.mlp",)], ids=str)
def test_what_was_kept_gives_autograds_gradient(trained: tuple[str, ...], lengths: list[int]) -> None:
    model, gradient = gradient_of(trained)
    rows, gradient.kept = dialogue(lengths), Remembered()
    first, again = by_hand(gradient, rows), by_hand(gradient, rows)
    assert torch.equal(first, again) and len(gradient.kept.held) == len(lengths)
    assert worst(model, again, by_autograd(model, rows), 1e-2 if lengths == [1] else 1e-6) < 1e-5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=4), min_size=1, max_size=5), st.integers(0, 3))
def test_bytes_are_the_same_whatever_was_kept_before_and_however_much(before: list[list[int]], room: int) -> None:
    rows = dialogue([31, 8, 60], seed=7)
    _, gradient = gradient_of()
    gradient.kept = Remembered(0)
    wanted = by_hand(gradient, rows)
    gradient.kept = Remembered(room)
    for seed, lengths in enumerate(before):
        by_hand(gradient, dialogue(lengths, seed))
    assert torch.equal(by_hand(gradient, rows), wanted)
    assert torch.equal(by_hand(gradient, rows), wanted)


def test_frozen_layers_read_nothing_a_second_time_and_follow_no_step_of_those_above() -> None:
    model, gradient = gradient_of()
    kept, read = Remembered(), list[int]()
    gradient.kept = kept
    below = gradient._layers[0].forward

    def reading(x: Tensor) -> None:
        read.append(len(x))
        below(x)

    gradient._layers[0].forward = reading  # type: ignore[method-assign]
    rows = dialogue([33, 9])
    by_hand(gradient, rows)
    assert read == [40, 16]  # each by itself, in multiples of 8
    with torch.no_grad():
        model.get_parameter("lm_head.weight").mul_(1.5)
        model.get_parameter("model.layers.2.mlp.up_proj.weight").add_(0.1)
    found = by_hand(gradient, rows)
    assert read == [40, 16] and worst(model, found, by_autograd(model, rows)) < 1e-5


@pytest.mark.parametrize("trained", [("model.layers.0.self_attn.k_proj", "lm_head"), ("model.embed_tokens",)], ids=str)
def test_where_the_lowest_layer_or_the_embedding_learns_nothing_is_kept(trained: tuple[str, ...]) -> None:
    _, gradient = gradient_of(trained)
    gradient.kept = Remembered()
    by_hand(gradient, dialogue([9, 12]))
    assert gradient.kept.asked == 0 and not gradient.kept.held


def test_two_ways_of_computing_share_a_store_and_nothing_in_it() -> None:
    rows, kept = dialogue([30, 11]), Remembered()
    (_, lower), (_, single), (_, higher) = gradient_of(lower=True), gradient_of(), gradient_of(("lm_head",))
    wanted = []
    for gradient in (lower, single, higher):
        gradient.kept = Remembered()
        wanted.append(by_hand(gradient, rows))
        gradient.kept = kept
    for gradient, alone in zip((lower, single, higher), wanted, strict=True):
        assert torch.equal(by_hand(gradient, rows), alone)
    assert len(kept.held) == 6


def test_what_fills_windows_up_is_a_number_even_where_a_norm_has_no_epsilon() -> None:
    model = llama(num_hidden_layers=3, rms_norm_eps=0.0)
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(UPPER))
    gradient = llama_gradient(model)
    assert gradient is not None
    gradient.kept = Remembered()
    rows = dialogue([9])
    assert worst(model, by_hand(gradient, rows), by_autograd(model, rows)) < 1e-5


def test_in_bfloat16_it_is_as_close_as_without() -> None:
    model, gradient = gradient_of(lower=True)
    gradient.kept = Remembered()
    rows = dialogue([30, 11])
    wanted = by_autograd(model, rows)
    for _ in range(2):
        assert 1e-5 < float((by_hand(gradient, rows) - wanted).norm() / wanted.norm()) < 3e-2
