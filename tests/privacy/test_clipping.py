"""Per-dialogue gradients equal a one-dialogue-at-a-time loop for every layer kind, or the model is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from chatfed.privacy.clipping import DialogueGradients, Loss
from chatfed.privacy.dpsgd import DPSGDConfig, train_private
from chatfed.privacy.layers import ClippingError
from chatfed.privacy.rules import STYLES, ClipRule, clip_factor, squares_together

from .models import Dialogues, gpt2, language_loss, llama, square_loss, text


def plain_gradient(module: nn.Module, loss: Loss, batch: dict[str, Tensor]) -> Tensor:
    """One dialogue by itself, ordinary autograd."""
    trained = [p for p in module.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss(module, batch).sum(), trained, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(trained, found, strict=True)])


def bounds_of(counts: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum(counts)
    return [(int(last - count), int(last)) for count, last in zip(counts, ends, strict=True)]


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


class Scale(nn.Module):
    """A layer nobody registered: Opacus' functorch path."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2.0, size))

    def forward(self, x: Tensor) -> Tensor:
        """x times a vector, twisted."""
        return (x * self.scale).tanh()


class Tied(nn.Module):
    """One parameter as input and output embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        """Scores of all tokens."""
        return self.head(self.embed(x).tanh())


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        """The layer after itself."""
        return self.layer(self.layer(x).tanh())


def llama_norm() -> nn.Module:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm: nn.Module = LlamaRMSNorm(6)
    nn.init.uniform_(norm.weight, 0.5, 1.5)  # type: ignore[arg-type]
    return norm


def conv1d() -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    layer: nn.Module = Conv1D(5, 6)
    return layer


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 5),
    "linear without bias": lambda: nn.Linear(6, 5, bias=False),
    "layer norm": lambda: nn.LayerNorm(6),
    "rms norm": lambda: nn.RMSNorm(6),
    "llama rms norm": llama_norm,
    "conv1d": conv1d,
    "unknown": lambda: Scale(6),
    "used twice": Twice,
    "stack": lambda: nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 4)),
    "group norm": lambda: nn.GroupNorm(2, 4),
}
COUNTS = [1, 3, 2]


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
    with pytest.raises(ClippingError, match="transformer.wpe"):
        train_private(model, text([1, 1, 1]), language_loss, CONFIG)
    model.get_parameter("transformer.wpe.weight").requires_grad_(False)
    assert_agrees(model, language_loss, text(COUNTS).batch, COUNTS)


def test_batch_statistics_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, affine=False))
    with pytest.raises(ClippingError, match="layer 1 .BatchNorm1d"):
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
        return F.linear(self.embed(x), self.embed.weight)


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
            out = self.layer(x)
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


# The clipped sums of whole batches, in both ways that a batch can be summed, against the loop.


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
        return self.base(x) + 2.0 * self.up(self.down(x))


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
    made = {
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
    gradients._overlaps_pay = WAYS[way]  # type: ignore[method-assign]
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
    model, batch = nn.Sequential(linear, Bilinear(linear.weight)), {"x": torch.randn(6, 4, 6)}
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
        layer.weight.requires_grad_(False)  # type: ignore[union-attr]
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
