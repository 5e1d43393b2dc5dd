"""Each dialogue's gradient, whole and alone, by autograd or worked out by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chatfed.privacy.clipping import STYLES, ClippingError
from chatfed.privacy.dpsgd import DPSGDConfig, gradients, noisy_mean, train_private

from .models import language_loss, llama, text


class ByHand:
    """What a gradient worked out by hand gives, by autograd: in the order of the names, into memory that it is lent."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.size = module, sum(p.numel() for p in module.parameters())

    def __call__(self, rows: dict[str, Tensor], out: Tensor) -> None:
        named = sorted(self.module.named_parameters())
        found = torch.autograd.grad(language_loss(self.module, rows).sum(), [p for _, p in named])
        torch.cat([g.flatten() for g in found], out=out)


@pytest.mark.parametrize("by_hand", [False, True])
def test_gradients_come_whole_one_after_the_other_in_the_order_of_names(by_hand: bool) -> None:
    model, data = llama(), text([1, 3, 0, 1])
    config = DPSGDConfig(1e-3, 0.0, 1.0, 1.0, 1, 1.0, rows_at_once=2)
    found = [
        g.copy() for g in gradients(model, data, language_loss, config, by_hand=ByHand(model) if by_hand else None)
    ]
    wanted = torch.empty(found[0].size)
    for index, ours in enumerate(found):
        rows, _ = data.rows(np.array([index]))
        if len(rows["input_ids"]):
            ByHand(model)(rows, wanted)
        else:
            wanted.zero_()
        assert ours == pytest.approx(wanted.numpy(), rel=1e-3, abs=1e-5)
    assert len(found) == 4 and np.linalg.norm(found[0]) > 0.1 and not found[2].any()


@pytest.mark.parametrize("style", STYLES)
def test_a_step_by_hand_is_the_step_by_autograd(style: str) -> None:
    model, data = llama(), text([1, 3, 1])
    config = DPSGDConfig(0.5, 0.0, 1.0, 1.0, 1, 1.0, clipping=style)
    moved = []
    for other in (False, True):
        mine = copy.deepcopy(model)
        train_private(mine, data, language_loss, config, by_hand=ByHand(mine) if other else None)
        both = zip(model.parameters(), mine.parameters(), strict=True)
        moved.append(torch.cat([(a - b).detach().flatten() for a, b in both]))
    assert float((moved[0] - moved[1]).norm()) < 1e-4 * float(moved[0].norm())


def test_a_gradient_by_hand_of_another_size_is_refused() -> None:
    model = llama()
    made = ByHand(model)
    model.get_input_embeddings().requires_grad_(False)  # type: ignore[operator]
    config = DPSGDConfig(0.5, 0.0, 1.0, 1.0, 1, 1.0)
    with pytest.raises(ClippingError, match="make it anew"):
        next(gradients(model, text([1]), language_loss, config, by_hand=made))


def test_a_step_from_gradients_as_they_come_is_the_step_that_a_module_takes() -> None:
    model, data = llama(), text([1, 2, 0, 3])
    config = DPSGDConfig(0.1, 0.0, 1.0, 3.0, 1, 1.0)
    before = torch.cat([p.detach().flatten() for _, p in sorted(model.named_parameters())]).numpy()
    mean = noisy_mean(gradients(model, data, language_loss, config), before.size, config)
    train_private(model, data, language_loss, config)
    after = torch.cat([p.detach().flatten() for _, p in sorted(model.named_parameters())]).numpy()
    assert np.abs(before - mean - after).max() < 1e-6 and np.linalg.norm(mean) > 1e-3


def test_a_step_from_gradients_carries_the_noise_of_its_sum_and_nothing_of_one_that_is_not_finite() -> None:
    config = DPSGDConfig(0.5, 4.0, 1.0, 10.0, 1, 1.0)
    good, wrong = np.zeros(50_000, np.float32), np.full(50_000, np.nan, np.float32)
    good[0] = 1e6
    mean = noisy_mean(iter([good, wrong]), good.size, config)
    assert mean[1:].std() == pytest.approx(4.0 * 0.5 / 10, rel=0.02) and abs(mean[0]) < 0.05 + 6 * 0.2
