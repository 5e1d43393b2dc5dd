"""The demonstration of training under encryption: what it prints, and the largest number that masks must hide."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.encrypted_training import SEED, outcome, parameters_of
from chatfed.cli import app
from chatfed.command_line import run_typer
from chatfed.encrypted.collective.network import LARGEST, Batch, Weights
from training.encrypted_training import _largest, first_weights, hidden_by_masks


def slowly(weights: Weights, batches: list[Batch]) -> float:
    """Number by number: of each example, and of the sums over parties that gradients are refreshed as."""
    found = [*weights.first.flat, *weights.second.flat]
    first, second = {}, {}
    for party, batch in enumerate(batches):
        for row, (x, y) in enumerate(zip(batch.features, batch.classes, strict=True)):
            hidden = [float(x @ w) for w in weights.first]
            terms = [[w * h * h for w, h in zip(each, hidden, strict=True)] for each in weights.second]
            wrong = [sum(each) - float(goal) for each, goal in zip(terms, y, strict=True)]
            parts = [[w * d for w in each] for each, d in zip(weights.second, wrong, strict=True)]
            back = [sum(column) for column in zip(*parts, strict=True)]
            slopes = [2 * h * b for h, b in zip(hidden, back, strict=True)]
            found += [*hidden, *(h * h for h in hidden), *map(sum, terms), *wrong, *back, *slopes]
            found += [*itertools.chain(*terms), *itertools.chain(*parts)]
            for key in itertools.product(range(len(hidden)), range(len(x))):
                first[party, row, key] = slopes[key[0]] * float(x[key[1]])
            for key in itertools.product(range(len(wrong)), range(len(hidden))):
                second[party, row, key] = wrong[key[0]] * hidden[key[1]] ** 2
    for each in (first, second):
        rows, keys = {row for _, row, _ in each}, {key for _, _, key in each}
        for key in keys:
            sums = [sum(each[party, row, key] for party in range(len(batches))) for row in rows]
            found += [*sums, sum(sums)]
    return float(max(map(abs, found)))


@pytest.mark.long
def test_fifty_steps_in_the_ring_of_8192_are_within_a_thousandth_of_those_in_clear() -> None:
    """On the demonstration's own messages: from large random numbers the training diverges in clear as well."""
    parameters = parameters_of(3, 8, 8192)
    found = outcome(parameters, 50)
    assert found.difference < 1e-3
    assert np.abs(found.clear.first - first_weights(parameters, SEED).first).max() > 0.05  # it learned at all


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_the_largest_number_is_that_of_whatever_is_encrypted_gradients_included(scale: float) -> None:
    rng = np.random.default_rng(7)
    weights = Weights(rng.normal(0, scale, (3, 5)), rng.normal(0, scale, (4, 3)))
    batches = [Batch(rng.uniform(-1, 1, (2, 5)), np.eye(4)[rng.integers(0, 4, 2)]) for _ in range(3)]
    assert _largest(weights, batches) == pytest.approx(slowly(weights, batches))


def test_a_gradient_alone_can_be_the_largest() -> None:
    """Twenty parties of one example, all wrong in the same way: each number is small, and their sum is not."""
    weights = Weights(np.ones((1, 1)), np.zeros((1, 1)))
    batches = [Batch(np.ones((1, 1)), np.ones((1, 1)))] * 20
    assert _largest(weights, batches) == 20


def test_numbers_beyond_the_masks_are_warned_of() -> None:
    assert len(hidden_by_masks(LARGEST)) == 1
    assert hidden_by_masks(1.01 * LARGEST)[1].startswith("WARNING")


@pytest.mark.slow
def test_the_command_prints_how_near_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_typer(app, "chatfed", ["he", "train-demo", "--steps", "1", "--hidden", "4"]) == 0
    out = capsys.readouterr().out
    assert "masks are counted for 16" in out and "WARNING" not in out
    assert float(out.split("same training in clear: ")[1].split()[0]) < 1e-3
