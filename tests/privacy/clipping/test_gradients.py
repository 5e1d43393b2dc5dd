"""Per-dialogue gradients equal a one-dialogue-at-a-time loop for every layer kind, or the model is refused by name."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from chatfed.privacy.clipping import ClippingError, DialogueGradients, Loss, clip_factor
from chatfed.privacy.dpsgd import DPSGDConfig, train_private

from ..models import (
    COUNTS,
    LAYERS,
    Dialogues,
    Tied,
    bounds_of,
    gpt2,
    language_loss,
    llama,
    plain_gradient,
    square_loss,
    text,
)


def assert_agrees(module: nn.Module, loss: Loss, batch: dict[str, Tensor], counts: list[int]) -> None:
    gradients = DialogueGradients(module)
    try:
        gradients.backward(loss, batch, sum(counts))
        bounds = bounds_of(counts)
        for place, (first, last) in enumerate(bounds):
            fast = gradients.gradient(first, last, torch.empty(gradients.size))
            slow = plain_gradient(module, loss, {k: v[first:last] for k, v in batch.items()})
            assert slow.norm() > 0
            assert float((fast - slow).norm()) <= 1e-5 * float(slow.norm())
            square = float(gradients.squares(bounds)[:, place].sum())
            assert abs(math.sqrt(square) / float(slow.norm()) - 1) <= 1e-5
    finally:
        gradients.close()


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_of_a_layer_equal_the_loop(kind: str) -> None:
    torch.manual_seed(0)
    assert_agrees(LAYERS[kind](), square_loss, {"x": torch.randn(6, 4, 6)}, COUNTS)


@pytest.mark.parametrize("kind", ["linear", "llama rms norm", "layer norm"])
@pytest.mark.parametrize("shape", [(6, 6), (6, 2, 3, 6)])
def test_gradients_of_a_layer_equal_the_loop_for_any_number_of_axes(kind: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    assert_agrees(LAYERS[kind](), square_loss, {"x": torch.randn(shape)}, COUNTS)


@pytest.mark.parametrize("layer", [nn.Embedding(11, 6), nn.Embedding(11, 6, padding_idx=2), Tied()])
def test_gradients_of_embeddings_equal_the_loop(layer: nn.Module) -> None:
    ids = torch.randint(0, 11, (6, 9), generator=torch.Generator().manual_seed(0))
    assert_agrees(layer, square_loss, {"x": ids}, COUNTS)


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_of_a_llama_equal_the_loop(tied: bool) -> None:
    assert_agrees(llama(tied), language_loss, text(COUNTS).batch, COUNTS)


def test_tied_norm_has_its_cross_term() -> None:
    ids = torch.randint(0, 11, (2, 9), generator=torch.Generator().manual_seed(0))
    gradients = DialogueGradients(Tied())
    gradients.backward(square_loss, {"x": ids}, 2)
    whole = gradients.squares([(0, 1), (1, 2)])[0]
    ((weight, uses),) = gradients._uses.items()
    apart = torch.zeros(2, dtype=torch.float64)
    for use in uses:
        gradients._uses = {weight: [use]}
        apart += gradients.squares([(0, 1), (1, 2)])[0]
    gradients.close()
    assert len(uses) == 2 and bool(((whole - apart).abs() > 1e-3 * apart).all())


def test_frozen_parameters_are_left_out() -> None:
    model = llama()
    for name, p in model.named_parameters():
        p.requires_grad_("layers.1.mlp" in name or "norm" in name)
    assert_agrees(model, language_loss, text(COUNTS).batch, COUNTS)
    assert any(not p.requires_grad for p in model.parameters())


def test_bfloat16_stays_within_its_precision() -> None:
    def cast(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return language_loss(module, batch)

    model, data = llama(), text(COUNTS)
    gradients = DialogueGradients(model)
    gradients.backward(cast, data.batch, 6)
    for first, last in ((0, 1), (1, 4), (4, 6)):
        fast = gradients.gradient(first, last, torch.empty(gradients.size))
        slow = plain_gradient(model, language_loss, {"input_ids": data.batch["input_ids"][first:last]})
        assert float((fast - slow).norm()) < 0.05 * float(slow.norm())
        assert float((fast * clip_factor(fast, 0.1)).norm()) <= 0.1
    gradients.close()


CONFIG = DPSGDConfig(1.0, 0.0, 1.0, 4.0, 1, 0.1, dialogues_at_once=4)


def test_position_embeddings_looked_up_once_are_refused_by_name() -> None:
    model = gpt2()
    with pytest.raises(ClippingError, match=r"transformer.wpe"):
        train_private(model, text([1, 1, 1]), language_loss, CONFIG)
    model.get_parameter("transformer.wpe.weight").requires_grad_(False)
    assert_agrees(model, language_loss, text(COUNTS).batch, COUNTS)


def test_batch_statistics_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, affine=False))
    with pytest.raises(ClippingError, match=r"layer 1 .BatchNorm1d"):
        train_private(model, Dialogues({"x": torch.randn(4, 6)}, [2, 2]), square_loss, CONFIG)


class Centred(nn.Module):
    """Mixes the rows of a batch without any layer that says so."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Rows less their mean over the batch."""
        x = self.mix(x)
        return x - x.mean(0, keepdim=True)


class Functional(nn.Module):
    """Ties by using the embedding's weight as a function's argument, which no hook sees."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of all tokens."""
        return nn.functional.linear(self.embed(x), self.embed.weight)


@pytest.mark.parametrize(
    ("model", "x", "name"),
    [(Centred(), torch.randn(4, 6), "mix.weight"), (Functional(), torch.arange(8).view(4, 2), "embed.weight")],
)
def test_what_no_hook_can_see_is_refused_and_changes_nothing(model: nn.Module, x: Tensor, name: str) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ClippingError, match=name):
        train_private(model, Dialogues({"x": x}, [1, 3]), square_loss, CONFIG)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and set(p.__dict__) == set() for p in model.parameters())


def test_inputs_overwritten_in_place_are_refused() -> None:
    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            out: Tensor = self.layer(x)
            x += 1.0
            return out

    with pytest.raises(ClippingError, match="overwritten"):
        train_private(Overwrites(), Dialogues({"x": torch.randn(4, 6)}, [1, 3]), square_loss, CONFIG)


def test_nothing_to_train_and_wrong_losses_are_refused() -> None:
    data = Dialogues({"x": torch.randn(4, 6)}, [2, 2])
    with pytest.raises(ClippingError, match="nothing to train"):
        train_private(nn.Linear(6, 2).requires_grad_(False), data, square_loss, CONFIG)
    with pytest.raises(ClippingError, match="one number a row"):
        train_private(nn.Linear(6, 2), data, lambda m, b: m(b["x"]).sum(), CONFIG)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-(2.0**66), 2.0**66, width=32, allow_subnormal=False), min_size=1, max_size=20),
    st.floats(1e-3, 1e3),
)
def test_clipped_vectors_never_exceed_the_norm_and_short_ones_are_untouched(values: list[float], norm: float) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    factor = clip_factor(x, norm)
    assert float((x * factor).double().norm()) <= norm
    assert factor == 1.0 or float(x.double().norm()) > norm * (1 - 2e-6)


def test_gradients_that_are_not_finite_add_nothing() -> None:
    assert clip_factor(torch.tensor([1.0, float("nan")]), 1.0) == 0.0
    assert clip_factor(torch.tensor([float("inf"), 0.0]), 1.0) == 0.0
    assert clip_factor(torch.zeros(3), 1.0) == 1.0
