"""Private steps add what is claimed, depend on each dialogue no more than is claimed, and leave the module ordinary."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from chatfed.privacy.clipping import STYLES, DialogueGradients, Loss
from chatfed.privacy.dpsgd import (
    DialogueOptimizer,
    DPSGDConfig,
    Examples,
    _step,
    clipped_gradients,
    train_private,
)
from chatfed.types import ChatfedError, IntVector

from .entropy import replay
from .models import Dialogues, language_loss, llama, square_loss, text


def flat(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def move(module: nn.Module, data: Dialogues, loss: object, config: DPSGDConfig, entropy: object = None) -> Tensor:
    """How far one training run moves a copy of the module: float32[d]."""
    trained = copy.deepcopy(module)
    extra = {} if entropy is None else {"entropy": entropy}
    train_private(trained, data, loss, config, **extra)  # type: ignore[arg-type]
    return flat(trained) - flat(module)


def clipped_sum_by_loop(module: nn.Module, data: Dialogues, norm: float) -> Tensor:
    """Each dialogue by itself through ordinary autograd, clipped, summed."""
    total = torch.zeros_like(flat(module))
    for i in range(len(data)):
        batch, _ = data.rows(np.array([i]))
        found = torch.autograd.grad(language_loss(module, batch).sum(), list(module.parameters()))
        g = torch.cat([x.flatten() for x in found])
        total += g * min(1.0, norm / float(g.norm()))
    return total


def test_a_step_is_the_clipped_sum_over_the_expected_batch() -> None:
    model, data = llama(), text([1, 3, 2, 1], shuffle=True)
    found = move(model, data, language_loss, DPSGDConfig(0.5, 0.0, 1.0, 8.0, 1, 2.0))
    expected = -2.0 * clipped_sum_by_loop(model, data, 0.5) / 8.0
    assert float((found - expected).norm()) < 1e-5 * float(expected.norm())


@pytest.mark.parametrize(("dialogues", "rows"), [(1, 1), (1, 100), (2, 3), (3, 5), (100, 100)])
def test_how_many_go_through_at_once_changes_nothing_under_honest_weights(dialogues: int, rows: int) -> None:
    model, data = llama(), text([4, 1, 2, 7, 1], shuffle=True)  # one dialogue has more rows than fit at once
    one = move(model, data, language_loss, DPSGDConfig(0.5, 0.0, 1.0, 4.0, 1, 1.0))
    config = DPSGDConfig(0.5, 0.0, 1.0, 4.0, 1, 1.0, dialogues_at_once=dialogues, rows_at_once=rows)
    other = move(model, data, language_loss, config)
    assert float((one - other).norm()) < 1e-5 * float(one.norm())


@pytest.mark.parametrize("dialogues", [2, 100])
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_no_step_leaves_anything_in_the_next_ones_sum(dialogues: int, rate: float) -> None:
    """One pass makes sum, noise and mean in one buffer; dialogues alone have one for each, and are its twin."""
    model, data = llama(), text([1, 2, 1, 3])
    alone, batched = (
        move(model, data, language_loss, DPSGDConfig(0.5, 0.3, rate, 4.0, 3, 1.0, n), replay(b"steps"))
        for n in (1, dialogues)
    )
    assert float((alone - batched).norm()) < 1e-4 * float(alone.norm())


def test_another_optimiser_takes_the_private_gradient() -> None:
    model, data = llama(), text([1, 2])
    trained, start = copy.deepcopy(model), flat(model)
    momentum = torch.optim.SGD(trained.parameters(), lr=1.0, momentum=0.9)
    train_private(trained, data, language_loss, DPSGDConfig(0.5, 0.0, 1.0, 2.0, 1, 123.0), optimizer=momentum)
    expected = -clipped_sum_by_loop(model, data, 0.5) / 2.0
    assert float((flat(trained) - start - expected).norm()) < 1e-5 * float(expected.norm())


def zero_loss(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return 0.0 * square_loss(module, batch)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_noise_has_the_claimed_size_with_and_without_a_sample(rate: float) -> None:
    """With no gradient (or an empty sample) the move is learning_rate * sigma * C / expected_batch times a Gaussian."""
    model, data = nn.Linear(300, 300), Dialogues({"x": torch.randn(4, 300)}, [1, 1, 2])
    steps, config = 3, DPSGDConfig(0.7, 1.5, rate, 8.0, 3, 2.0)
    found = move(model, data, zero_loss, config).double()
    std = 2.0 * 1.5 * 0.7 / 8.0 * math.sqrt(steps)
    n = len(found)
    assert abs(float(found.std()) / std - 1) < 5 / math.sqrt(2 * n)
    assert abs(float(found.mean())) < 5 * std / math.sqrt(n)
    assert abs(float((found[1:] * found[:-1]).mean())) < 5 * std**2 / math.sqrt(n)


def test_noise_is_new_in_every_run_and_untouched_by_seeds() -> None:
    model, data = nn.Linear(5, 5), Dialogues({"x": torch.randn(2, 5)}, [1, 1])
    moves = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        moves.append(move(model, data, square_loss, DPSGDConfig(1.0, 1.0, 1.0, 1.0, 1, 1.0)))
    assert not torch.equal(*moves)


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    extra=st.integers(1, 4),
    scale=st.floats(1e-3, 1e4),
    norm=st.floats(0.01, 100.0),
    style=st.sampled_from(STYLES),
    seed=st.integers(0, 1000),
)
def test_one_more_dialogue_moves_the_sum_by_at_most_the_clip_norm(
    counts: list[int], extra: int, scale: float, norm: float, style: str, seed: int
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    x = scale * torch.randn(sum(counts) + extra, 5, 4)
    config = DPSGDConfig(norm, 0.0, 1.0, 1.0, 1, 1.0, rows_at_once=3, clipping=style)
    sums = [pre_noise_sum(model, Dialogues({"x": x[:rows]}, c), config) for rows, c in
            ((sum(counts), counts), (len(x), [*counts, extra]))]  # fmt: skip
    difference = float((sums[0] - sums[1]).double().norm())
    assert difference <= norm * (1 + 1e-6 * (1 + len(counts)))


class Padded:
    """Dialogues of one row each, of different lengths: padded to the longest that is asked for together."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, indices: IntVector) -> tuple[dict[str, Tensor], Tensor]:
        lengths = torch.tensor([self.lengths[i] for i in indices])
        inside = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        x = torch.stack([inside.float(), (~inside).float()], 2)  # the second coordinate is 1 on padding alone
        return {"x": x, "weights": inside.float()}, torch.arange(len(lengths))


def weighted_loss(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    logits = module(batch["x"])
    first = torch.zeros(logits.shape[:2], dtype=torch.int64)
    return (nn.functional.cross_entropy(logits.transpose(1, 2), first, reduction="none") * batch["weights"]).sum(1)


@pytest.mark.parametrize("short", [4, 15])
def test_weights_made_by_a_hostile_server_let_no_dialogue_decide_about_another(short: int) -> None:
    """A weight that overflows on padding only: in a batch, one long dialogue would silence all the short ones."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(torch.tensor([[1.0, 3e38]]))
        model.get_parameter("1.weight").copy_(torch.tensor([[1.0], [2.0]]))
    config = DPSGDConfig(1.0, 0.0, 1.0, 1.0, 1, 1.0)
    sums = [pre_noise_sum(model, Padded(each), config, weighted_loss) for each in ([3] * short, [3] * short + [9])]
    assert float((sums[0] - sums[1]).double().norm()) <= 1 + 1e-6 * short


@pytest.mark.parametrize("size", [1e20, 1e29, 1e33, 1.3e38, 2e38, 2.7e38, 3e38, 3.2e38])
def test_a_gradient_however_long_adds_no_more_than_the_clip_norm(size: float) -> None:
    model = nn.Linear(900, 1)
    data = Dialogues({"x": torch.full((1, 1, 900), size)}, [1])
    total = pre_noise_sum(
        model, data, DPSGDConfig(1.0, 0.0, 1.0, 1.0, 1, 1.0), lambda m, b: m(b["x"]).flatten(1).sum(1)
    )
    assert float(total.double().norm()) <= 1.0


def test_many_additions_do_not_round_by_what_one_dialogue_decided() -> None:
    """One dialogue lifts the sum over 16, where float32's last digit is twice as long.

    There 0.6 of it is rounded up each time, below 16 the same number down: 1,000 short gradients would add 3 % of the
    norm to what the one adds.
    """
    gradients, config = DialogueGradients(nn.Linear(1000, 1, bias=False)), DPSGDConfig(1.0, 1.0, 1.0, 1.0, 1, 1.0)
    one, short = torch.ones(1, 1000), torch.full((1, 1000), 0.6 * 2.0**-19)

    def summed(ones: int) -> Tensor:
        total = DialogueOptimizer(gradients, config, replay(b"")).total
        for found in [one] * ones + [short] * 1000:
            gradients._add_clipped([found], config.rule, total)
        return total.double()

    assert float((summed(506) - summed(505)).norm()) <= 1.0


def test_alone_each_dialogue_is_looked_at_once_and_for_nothing_else() -> None:
    model = nn.Linear(2, 2)
    asked: list[int] = []

    class Watched(Padded):
        def rows(self, indices: IntVector) -> tuple[dict[str, Tensor], Tensor]:
            asked.append(len(indices))
            return super().rows(indices)

    train_private(model, Watched([2, 4, 6]), weighted_loss, DPSGDConfig(1.0, 0.0, 1.0, 1.0, 1, 0.1))
    assert asked == [1, 1, 1]


def pre_noise_sum(module: nn.Module, data: Examples, config: DPSGDConfig, loss: Loss = square_loss) -> Tensor:
    """What the optimiser holds just before noise is added."""
    held: list[Tensor] = []

    class Kept(DialogueOptimizer):
        def add_noise(self) -> None:
            held.append(self.total.clone())
            super().add_noise()

    gradients = DialogueGradients(copy.deepcopy(module))  # the step moves it
    try:
        _step(Kept(gradients, config, replay(b"")), gradients, data, loss, config, replay(b""))
    finally:
        gradients.close()
    return held[0]


def state_of(module: nn.Module) -> list[object]:
    hooks = [
        len(getattr(layer, kind))
        for layer in module.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    ]
    names = [sorted(layer.__dict__) for layer in module.modules()]
    flags = [(p.requires_grad, p.grad is None, sorted(p.__dict__)) for p in module.parameters()]
    return [hooks, names, flags, [layer.training for layer in module.modules()]]


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_ordinary_again_afterwards(fails: bool) -> None:
    model, data = llama(), text([1, 2])
    model.eval()
    model.get_parameter("model.norm.weight").requires_grad_(False)
    before = state_of(model)
    calls = 0

    def loss(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        nonlocal calls
        calls += 1
        if fails and calls == 4:
            raise KeyError("the caller's own mistake")
        return language_loss(module, batch)

    try:
        train_private(model, data, loss, DPSGDConfig(1.0, 1.0, 1.0, 2.0, 5, 0.1))
        assert not fails
    except KeyError:
        assert fails
    assert state_of(model) == before
    model(input_ids=data.batch["input_ids"]).logits.sum().backward()
    assert model.get_parameter("model.embed_tokens.weight").grad is not None


def test_one_module_serves_many_clients_as_a_fresh_one_would() -> None:
    start, shared = llama(), llama()
    config = DPSGDConfig(1.0, 1.0, 0.7, 2.0, 2, 0.1)
    for client in range(3):
        data, seed = text([1, 2, 1], seed=client), bytes([client])
        shared.load_state_dict(start.state_dict())
        train_private(shared, data, language_loss, config, replay(seed))
        assert torch.equal(flat(shared) - flat(start), move(start, data, language_loss, config, replay(seed)))


def test_frozen_parameters_do_not_move() -> None:
    model, data = llama(), text([1, 2])
    model.get_parameter("model.embed_tokens.weight").requires_grad_(False)
    before = {k: v.clone() for k, v in model.named_parameters()}
    train_private(model, data, language_loss, DPSGDConfig(1.0, 1.0, 1.0, 2.0, 1, 0.1))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (name == "model.embed_tokens.weight")


def test_a_dialogue_that_is_not_finite_adds_nothing() -> None:
    model = nn.Linear(4, 2)
    good = torch.randn(2, 3, 4)
    bad = torch.cat([good, torch.full((1, 3, 4), float("nan"))])
    config = DPSGDConfig(1.0, 0.0, 1.0, 2.0, 1, 1.0)
    with_bad = move(model, Dialogues({"x": bad}, [1, 1, 1]), square_loss, config)
    assert torch.allclose(with_bad, move(model, Dialogues({"x": good}, [1, 1]), square_loss, config), atol=1e-6)


def test_training_without_noise_learns() -> None:
    model, data = llama(), text([1, 2, 1, 2])
    before = float(language_loss(model, data.batch).sum().detach())
    train_private(model, data, language_loss, DPSGDConfig(1.0, 0.0, 1.0, 4.0, 15, 1.0))
    assert float(language_loss(model, data.batch).sum().detach()) < 0.8 * before


def test_empty_clients_and_dialogues_without_rows_take_noise_alone() -> None:
    model, config = nn.Linear(4, 2), DPSGDConfig(1.0, 1.0, 1.0, 2.0, 1, 1.0)
    for data in (Dialogues({"x": torch.randn(0, 4)}, []), Dialogues({"x": torch.randn(0, 4)}, [0, 0])):
        assert float(move(model, data, square_loss, config).norm()) > 0


def test_rows_that_do_not_fit_their_owners_are_refused() -> None:
    class Wrong:
        def __init__(self, owner: Tensor) -> None:
            self.owner = owner

        def __len__(self) -> int:
            return 2

        def rows(self, indices: IntVector) -> tuple[dict[str, Tensor], Tensor]:
            return {"x": torch.randn(3, 4)}, self.owner

    for owner in (torch.tensor([0, 1]), torch.tensor([0, 1, 2]), torch.tensor([-1, 0, 1])):
        with pytest.raises(ChatfedError, match="owners"):
            train_private(nn.Linear(4, 2), Wrong(owner), square_loss, DPSGDConfig(1.0, 0.0, 1.0, 1.0, 1, 1.0))


@pytest.mark.parametrize(
    "change",
    [
        {"clip_norm": 0.0}, {"clip_norm": math.inf}, {"noise_multiplier": -1.0}, {"noise_multiplier": math.nan},
        {"sampling_rate": 1.5}, {"expected_batch_size": 0.0}, {"steps": -1}, {"rows_at_once": 0},
        {"dialogues_at_once": 0}, {"clipping": "other"}, {"gamma": 0.0},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(change: dict[str, float]) -> None:
    good = {"clip_norm": 1.0, "noise_multiplier": 1.0, "sampling_rate": 0.5, "expected_batch_size": 4.0, "steps": 1,
            "learning_rate": 0.1}  # fmt: skip
    with pytest.raises(ChatfedError, match=next(iter(change))):
        DPSGDConfig(**{**good, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("style", STYLES)
def test_what_a_step_adds_up_can_be_had_one_dialogue_after_the_other(style: str) -> None:
    model, data = llama(), text([1, 3, 2, 1], shuffle=True)
    config = DPSGDConfig(0.5, 0.0, 1.0, 1.0, 1, 1.0, clipping=style, rows_at_once=2)
    model.eval()
    parts = list(clipped_gradients(model, data, language_loss, config))
    assert len(parts) == 4 and not any(layer.training for layer in model.modules())
    assert all(math.sqrt(sum(float(g.double().square().sum()) for g in part.values())) <= 0.5 for part in parts)
    added = torch.cat([sum(part[name] for part in parts).flatten() for name, _ in model.named_parameters()])  # type: ignore[union-attr]
    moved = move(model, data, language_loss, config)
    assert float((added + moved).norm()) < 1e-5 * float(moved.norm())


def test_parts_come_at_the_sampling_rate_and_one_that_is_not_finite_is_zeros() -> None:
    data = Dialogues({"x": torch.ones(200, 1, 2)}, [1] * 200)
    data.batch["x"][::2] = torch.inf
    config = DPSGDConfig(0.5, 0.0, 0.3, 1.0, 1, 1.0)
    parts = list(clipped_gradients(nn.Linear(2, 2), data, square_loss, config))
    assert 30 < len(parts) < 95
    empty = sum(not any(g.any() for g in part.values()) for part in parts)
    assert 0.2 < empty / len(parts) < 0.8 and all(g.isfinite().all() for part in parts for g in part.values())
