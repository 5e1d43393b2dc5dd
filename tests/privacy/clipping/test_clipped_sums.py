"""Clipped sums of whole batches equal a one-dialogue-at-a-time loop in every way that a batch can be summed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from chatfed.privacy.clipping import STYLES, ClipRule, DialogueGradients, Loss
from chatfed.privacy.clipping.rules import squares_together

from ..models import (
    COUNTS,
    LAYERS,
    Scale,
    bounds_of,
    gpt2,
    language_loss,
    llama,
    plain_gradient,
    square_loss,
    text,
)


def clipped_by_loop(
    module: nn.Module, loss: Loss, batch: dict[str, Tensor], counts: list[int], rule: ClipRule
) -> Tensor:
    """One dialogue at a time, the three styles written out."""
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    trained = [p for p in module.parameters() if p.requires_grad]
    total = torch.zeros(sum(p.numel() for p in trained))
    layers = sorted({name.rpartition(".")[0] for name in names})
    for first, last in bounds_of(counts):
        part = {k: v[first:last] for k, v in batch.items()}
        found = [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(
                trained, torch.autograd.grad(loss(module, part).sum(), trained, allow_unused=True), strict=True
            )
        ]
        norm = torch.cat([g.flatten() for g in found]).norm()
        scaled = []
        for name, g in zip(names, found, strict=True):
            layer = [o for n, o in zip(names, found, strict=True) if n.rpartition(".")[0] == name.rpartition(".")[0]]
            own = torch.cat([o.flatten() for o in layer]).norm()
            factor = {
                "flat": min(1.0, rule.norm / float(norm)),
                "automatic": rule.norm / (float(norm) + rule.gamma),
                "per_layer": min(1.0, rule.norm / math.sqrt(len(layers)) / max(float(own), 1e-30)),
            }[rule.style]
            scaled.append((g * factor).flatten())
        total += torch.cat(scaled)
    return total


WAYS: dict[str, Callable[[Tensor, object], bool]] = {  # whether a weight's norm comes from products of its factors
    "formed": lambda weight, _: False,
    "overlap": lambda weight, _: True,
    "mixed": lambda weight, _: bool(weight.flatten()[0] > 0),
}


def clipped(
    module: nn.Module, loss: Loss, batch: dict[str, Tensor], counts: list[int], rule: ClipRule, way: str
) -> Tensor:
    gradients = DialogueGradients(module)
    total = torch.zeros(gradients.size)
    bounds = bounds_of(counts)
    try:
        if way == "alone":
            for first, last in bounds:
                part = {k: v[first:last] for k, v in batch.items()}
                gradients.add_alone(loss, part, last - first, 2, rule, total)
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(gradients, "_overlaps_pay", WAYS[way])
                gradients.add_batch(loss, batch, bounds, rule, total)
    finally:
        gradients.close()
    return total


@pytest.mark.parametrize("way", ["alone", *WAYS])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("tied", [True, False])
def test_clipped_sums_of_a_llama_equal_the_loop_in_every_style(way: str, style: str, tied: bool) -> None:
    model, data, rule = llama(tied), text([1, 3, 1, 2]), ClipRule(0.5, style)
    found = clipped(model, language_loss, data.batch, [1, 3, 1, 2], rule, way)
    expected = clipped_by_loop(model, language_loss, data.batch, [1, 3, 1, 2], rule)
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


@pytest.mark.parametrize("way", ["alone", *WAYS])
@pytest.mark.parametrize("kind", LAYERS)
def test_clipped_sums_of_a_layer_equal_the_loop(kind: str, way: str) -> None:
    torch.manual_seed(0)
    model, batch = LAYERS[kind](), {"x": 3 * torch.randn(6, 4, 6)}
    norm = 3.0 * float(plain_gradient(model, square_loss, {"x": batch["x"][:1]}).norm())  # some are clipped, some not
    found = clipped(model, square_loss, batch, COUNTS, ClipRule(norm), way)
    expected = clipped_by_loop(model, square_loss, batch, COUNTS, ClipRule(norm))
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


class LowRank(nn.Module):
    """A frozen Linear with a trained pair beside it, as LoRA has them."""

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.base = nn.Linear(size, out).requires_grad_(False)
        self.down, self.up = nn.Linear(size, 2, bias=False), nn.Linear(2, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The frozen layer and its correction."""
        out: Tensor = self.base(x) + 2.0 * self.up(self.down(x))
        return out


@settings(max_examples=40, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["linear", "plain", "layer norm", "rms norm", "low rank", "again"]), max_size=4),
    tied=st.booleans(),
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    length=st.integers(1, 9),
    norm=st.floats(0.01, 10.0),
    style=st.sampled_from(STYLES),
    way=st.sampled_from(["alone", *WAYS]),
    seed=st.integers(0, 99),
)
def test_clipped_sums_of_small_architectures_equal_the_loop(
    kinds: list[str], tied: bool, counts: list[int], length: int, norm: float, style: str, way: str, seed: int
) -> None:
    torch.manual_seed(seed)
    embed, head = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
    if tied:
        head.weight = embed.weight
    made: dict[str, Callable[[], nn.Module]] = {
        "linear": lambda: nn.Sequential(nn.Linear(5, 5), nn.Tanh()), "plain": lambda: nn.Linear(5, 5, bias=False),
        "layer norm": lambda: nn.LayerNorm(5), "rms norm": lambda: nn.RMSNorm(5), "low rank": lambda: LowRank(5, 5),
    }  # fmt: skip
    body: list[nn.Module] = [embed]
    for kind in kinds:
        body.append(body[-1] if kind == "again" and len(body) > 1 else made.get(kind, made["plain"])())
    model = nn.Sequential(*body, head)
    batch, rule = {"x": torch.randint(0, 7, (sum(counts), length))}, ClipRule(norm, style)
    found = clipped(model, square_loss, batch, counts, rule, way)
    expected = clipped_by_loop(model, square_loss, batch, counts, rule)
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm()) + 1e-7 * norm


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_may_come_in_parts_and_a_dialogue_that_is_not_finite_adds_nothing(way: str) -> None:
    model, x = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)), torch.randn(5, 3, 6)
    x[4] = float("nan")
    gradients, rule = DialogueGradients(model), ClipRule(0.5)
    total = torch.zeros(gradients.size)
    gradients._overlaps_pay = WAYS[way]  # type: ignore[method-assign, assignment]
    gradients.add_batch(square_loss, {"x": x[:2]}, bounds_of([1, 1]), rule, total)
    gradients.add_batch(square_loss, {"x": x[2:]}, bounds_of([2, 1]), rule, total)
    gradients.add_batch(square_loss, {"x": x[[4, 4, 4]]}, bounds_of([1, 2]), rule, total)  # and none that is
    gradients.close()
    expected = clipped_by_loop(model, square_loss, {"x": x[:4]}, [1, 1, 2], rule)
    assert float((total - expected).norm()) <= 1e-5 * float(expected.norm())


def test_a_weight_of_a_known_and_an_unknown_layer_is_measured_whole() -> None:
    class Bilinear(nn.Module):
        def __init__(self, weight: nn.Parameter) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, x: Tensor) -> Tensor:
            return (x @ self.weight).tanh()

    linear = nn.Linear(6, 6, bias=False)
    model, batch = nn.Sequential(linear, Bilinear(linear.get_parameter("weight"))), {"x": torch.randn(6, 4, 6)}
    found = clipped_as_it_chooses(model, batch, COUNTS)
    expected = clipped_by_loop(model, square_loss, batch, COUNTS, ClipRule(0.5))
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


def clipped_as_it_chooses(model: nn.Module, batch: dict[str, Tensor], counts: list[int]) -> Tensor:
    gradients = DialogueGradients(model)
    total = torch.zeros(gradients.size)
    gradients.add_batch(square_loss, batch, bounds_of(counts), ClipRule(0.5), total)
    gradients.close()
    return total


def test_a_layer_that_is_not_known_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    class Shift(Scale):
        pass

    for _ in range(2):
        clipped_as_it_chooses(nn.Sequential(nn.Linear(6, 6), Shift(6)), {"x": torch.randn(6, 4, 6)}, COUNTS)
    (said,) = [record.getMessage() for record in caplog.records if "Shift" in record.getMessage()]
    assert "layer 1 (Shift)" in said


def test_bfloat16_batches_stay_near_the_float32_sum_and_below_the_norm() -> None:
    def cast(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return language_loss(module, batch)

    model, data = llama(), text(COUNTS)
    expected = clipped_by_loop(model, language_loss, data.batch, COUNTS, ClipRule(0.5))
    for way in ("alone", "formed", "overlap"):
        found = clipped(model, cast, data.batch, COUNTS, ClipRule(0.5), way)
        assert float((found - expected).norm()) <= 0.05 * float(expected.norm())
        assert (
            float(clipped(model, cast, {"input_ids": data.batch["input_ids"][:3]}, [3], ClipRule(0.5), way).norm())
            <= 0.5
        )


@pytest.mark.parametrize("way", ["alone", *WAYS])
def test_biases_of_bfloat16_windows_are_measured_as_they_are_added(way: str) -> None:
    def cast(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return square_loss(module, batch).float()

    model, x = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)), torch.randn(9, 5, 6)
    for layer in (model[0], model[2]):
        layer.get_parameter("weight").requires_grad_(False)
    for part in (x, x[:7], x[2:]):
        norm = float(clipped(model, cast, {"x": part}, [len(part)], ClipRule(0.01), way).norm())
        assert 0.0099999 < norm <= 0.01


def test_position_embeddings_are_no_matter_where_each_dialogue_is_alone() -> None:
    model, data = gpt2(), text([1, 2])
    found = clipped(model, language_loss, data.batch, [1, 2], ClipRule(0.5), "alone")
    expected = clipped_by_loop(model, language_loss, data.batch, [1, 2], ClipRule(0.5))
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


@settings(max_examples=60, deadline=None)
@given(
    exponents=st.lists(st.integers(-45, 38), min_size=4, max_size=4),
    style=st.sampled_from(STYLES),
    norm=st.sampled_from([1e-3, 1.0, 100.0]),
    rows=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_alone_no_weights_whatever_let_a_dialogue_add_more_than_the_norm(
    exponents: list[int], style: str, norm: float, rows: int, seed: int
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 9), nn.Linear(9, 70))
    with torch.no_grad():
        for layer, power in zip(model, exponents, strict=False):
            layer.weight.mul_(10.0**power)  # type: ignore[operator]
    batch = {"x": torch.randn(rows, 3, 4) * 10.0 ** min(exponents[3], 30)}
    found = clipped(model, square_loss, batch, [rows], ClipRule(norm, style), "alone")
    assert float(found.double().norm()) <= norm


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=200), st.integers(0, 3))
def test_squares_are_summed_to_seven_digits_whatever_their_sizes(values: list[float], copies: int) -> None:
    x = torch.tensor(values * 3, dtype=torch.float32)
    exact = math.fsum(float(v) ** 2 for v in x)
    assert abs(squares_together([x] * copies) - copies * exact) <= 5e-6 * copies * exact + 1e-44


def test_squares_of_bfloat16_gradients_are_not_rounded_to_bfloat16() -> None:
    x = torch.full((129,), 1.0078125, dtype=torch.bfloat16)
    assert abs(squares_together([x]) / (129 * 1.0078125**2) - 1) < 1e-5
