"""What is learned as coordinates: along which directions, from where, and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from chatfed.model.checkpoint import weights_digest
from chatfed.model.parameters import dimension, flatten, set_trainable, trainable
from chatfed.model.subspace import Subspace
from chatfed.types import FloatVector
from tests.conftest import build_tiny

Make = Callable[[], PreTrainedModel]


@pytest.fixture
def make(tiny_tokenizer: PreTrainedTokenizerFast) -> Make:
    def made() -> PreTrainedModel:
        model = build_tiny(tiny_tokenizer)
        set_trainable(model, ["*proj*", "*embed_tokens.weight"])
        return model

    return made


def some(size: int, seed: int = 0) -> FloatVector:
    drawn: FloatVector = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    return drawn


def test_at_the_base_all_coordinates_are_zero_and_loading_them_changes_nothing(make: Make) -> None:
    model = make()
    before, space = weights_digest(model), Subspace(model, 0.25)
    assert not space.start.any() and space.dimension < dimension(model)
    space.load(space.start)
    assert weights_digest(model) == before


def test_coordinates_come_back_from_the_model_that_they_were_loaded_into(make: Make) -> None:
    space = Subspace(make(), 0.25)
    coordinates = some(space.dimension)
    space.load(coordinates)
    assert np.abs(space.moved(space.start) - coordinates).max() < 2e-3 * np.abs(coordinates).max()  # P is rounded
    assert np.abs(space.moved(coordinates)).max() < 2e-3 * np.abs(coordinates).max()


def test_a_matrix_moves_along_the_leading_directions_of_its_inputs_and_no_other(make: Make) -> None:
    model = make()
    name, matrix = next((n, p) for n, p in trainable(model) if n.endswith("down_proj.weight"))
    before = matrix.detach().clone()
    space = Subspace(model, 0.25)
    space.load(some(space.dimension))
    _, _, right = torch.linalg.svd(before.double())
    rank = -(-before.shape[1] // 4)
    moved = (matrix.detach() - before).double()
    assert torch.linalg.matrix_rank(moved, rtol=1e-4) == rank, name
    assert float((moved @ right[rank:].T).norm()) < 1e-3 * float(moved.norm())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.sampled_from([0.1, 0.25, 0.6]))
def test_the_gradient_in_coordinates_is_how_a_loss_falls_along_them(seed: int, share: float) -> None:
    """By the chain rule, against autograd through W + C P'."""
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(12, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    space, x = Subspace(module, share), torch.randn(5, 12)
    module(x).square().sum().backward()
    whole = np.concatenate([p.grad.numpy().ravel() for _, p in trainable(module) if p.grad is not None])
    found, step = space.of_gradient(whole), some(space.dimension, seed)

    def loss(at: float) -> float:
        space.load((at * step).astype(np.float32))
        with torch.no_grad():
            return float(module(x).double().square().sum())

    slope = (loss(1e-2) - loss(-1e-2)) / 2e-2
    assert slope == pytest.approx(float(found @ step), rel=2e-2, abs=2e-2)


def test_who_has_the_base_has_the_directions_and_another_base_has_others(make: Make) -> None:
    one, other = Subspace(make(), 0.25), Subspace(make(), 0.25)
    assert one.digest() == other.digest() != Subspace(make(), 0.5).digest()
    changed = make()
    with torch.no_grad():
        for _, p in trainable(changed):
            p[..., 0] *= 1.5
    assert Subspace(changed, 0.25).digest() != one.digest()


def test_directions_do_not_hang_on_the_last_digits_or_the_signs_that_a_library_gives(make: Make) -> None:
    model = make()
    found = Subspace(model, 0.25).digest()
    with torch.no_grad():
        for _, p in trainable(model):
            p.mul_(1 + 1e-7)  # as another library's last digits
    assert Subspace(model, 0.25).digest() == found


def test_without_directions_the_numbers_themselves_are_the_coordinates(make: Make) -> None:
    model = make()
    space = Subspace(model)
    assert np.array_equal(space.start, flatten(model))
    space.load(space.start + 1)
    assert np.array_equal(space.moved(space.start), flatten(model) - space.start)
    gradient = some(space.dimension)
    assert space.of_gradient(gradient) is gradient


def test_another_number_of_coordinates_is_refused(make: Make) -> None:
    space = Subspace(make(), 0.25)
    with pytest.raises(ValueError, match=rf"expected float32\[{space.dimension}\]"):
        space.load(np.zeros(space.dimension + 1, np.float32))


def test_the_base_stays_where_it_was_and_a_copy_moves(make: Make) -> None:
    model = make()
    before = {name: p.data_ptr() for name, p in trainable(model)}
    space = Subspace(model, 0.25)
    assert {p.base.data_ptr() for p in space._parts} == set(before.values()), "what is mapped stays the file's"
    assert set(before.values()).isdisjoint(p.data_ptr() for _, p in trainable(model))


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_what_was_loaded_last_is_not_loaded_again_unless_something_has_moved_it(make: Make, share: float) -> None:
    model = make()
    space = Subspace(model, share)
    wanted = some(space.dimension)
    wanted.flags.writeable = False
    space.load(wanted)
    before, versions = flatten(model), space._versions()
    space.load(wanted)
    assert space._versions() == versions, "nothing was written"
    with torch.no_grad():
        trainable(model)[0][1].add_(1.0)
    space.load(wanted)
    assert np.array_equal(flatten(model), before)
    space.load(some(space.dimension, 1))
    space.load(wanted)
    assert np.array_equal(flatten(model), before)


def test_an_array_that_may_have_been_written_to_is_loaded_again(make: Make) -> None:
    model = make()
    space, changing = Subspace(model), some(dimension(model))
    space.load(changing)
    changing += 1
    space.load(changing)
    assert np.array_equal(flatten(model), changing)
