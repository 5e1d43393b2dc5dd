"""A planted property is found in bare vectors, and the span and the regression on rounds are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.audit.leakage import AuditError
from chatfed.audit.properties import Span, by_client, direction, folds
from chatfed.audit.roc import Area, area


def test_the_span_keeps_lengths_and_angles_and_drops_what_is_beside() -> None:
    draws = np.random.default_rng(5)
    rows = draws.normal(size=(12, 400)).astype(np.float32)
    span = Span.of(rows)
    found = span.coordinates(rows)
    assert found.shape == (12, 12)
    np.testing.assert_allclose(found @ found.T, rows @ rows.T, rtol=1e-3, atol=1e-2)
    beside = draws.normal(size=400)
    beside -= rows.T @ np.linalg.lstsq(rows.T, beside, rcond=None)[0]
    assert np.abs(span.coordinates(beside[None].astype(np.float32))).max() < 1e-3
    with pytest.raises(AuditError, match="zeros"):
        Span.of(np.zeros((3, 5), np.float32))


def test_isotropic_noise_is_isotropic_in_the_span() -> None:
    draws = np.random.default_rng(6)
    span = Span.of(draws.normal(size=(6, 500)).astype(np.float32))
    noise = span.coordinates((2.0 * draws.normal(size=(20_000, 500))).astype(np.float32))
    np.testing.assert_allclose(np.cov(noise.T), 4.0 * np.eye(6), atol=0.2)


@given(st.integers(2, 40), st.integers(2, 9), st.integers(0, 99))
def test_every_client_is_scored_once(count: int, parts: int, seed: int) -> None:
    assert (np.sum(list(folds(count, parts, seed)), axis=0) == 1).all()


def cross_fitted(rows: np.ndarray, labels: np.ndarray, noise: float, seen: np.ndarray) -> Area:
    scores = np.empty(len(rows))
    for held in folds(len(rows), 5, 0):
        scores[held] = seen[held] @ direction(rows[~held], labels[~held], noise=noise)
    return area(scores[labels], scores[~labels])


@pytest.fixture
def planted() -> tuple[np.ndarray, np.ndarray]:
    """100 clients of unit vectors in 300 coordinates, half of them moved by 1 along one direction; and which half."""
    draws = np.random.default_rng(8)
    labels = np.arange(100) % 2 == 0
    rows = draws.normal(size=(100, 300)) / np.sqrt(300)
    rows[labels, 0] += 1.0
    return rows, labels


def test_a_planted_property_is_found_bare_and_not_under_much_noise(planted: tuple[np.ndarray, np.ndarray]) -> None:
    rows, labels = planted
    assert cross_fitted(rows, labels, 0.0, rows).low > 0.9
    noise = np.random.default_rng(9).normal(size=rows.shape)
    assert cross_fitted(rows, labels, 0.3, rows + 0.3 * noise).low > 0.8
    drowned = cross_fitted(rows, labels, 30.0, rows + 30.0 * noise)
    assert drowned.low < 0.5 < drowned.high


def test_where_nothing_is_planted_nothing_is_found() -> None:
    draws = np.random.default_rng(10)
    found = [cross_fitted(r := draws.normal(size=(60, 80)), draws.permutation(60) % 2 == 0, 0.0, r) for _ in range(40)]
    outside = sum(not each.low <= 0.5 <= each.high for each in found)
    assert outside <= 6 and abs(np.mean([each.value for each in found]) - 0.5) < 0.04


def test_a_property_that_all_or_none_have_is_an_error() -> None:
    for labels in (np.ones(4, bool), np.zeros(4, bool)):
        with pytest.raises(AuditError, match="all clients have"):
            direction(np.eye(4), labels)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_who_was_in_which_sum_gives_each_clients_part_where_sums_are_many(seed: int) -> None:
    """The twin: numpy's least squares."""
    draws = np.random.default_rng(seed)
    there, parts = draws.random((40, 8)) < 0.5, draws.normal(size=8)
    values = there @ parts
    right, *_ = np.linalg.lstsq(there.astype(float), values, rcond=None)
    np.testing.assert_allclose(by_client(values, there, ridge=1e-9), right, atol=1e-5)


def test_of_fewer_sums_than_clients_nothing_is_made_up() -> None:
    there = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool)
    assert by_client(np.array([2.0, 4.0]), there, ridge=1e-6) == pytest.approx([1.0, 1.0, 2.0, 2.0], abs=1e-3)
    with pytest.raises(AuditError, match="rounds"):
        by_client(np.zeros(3), there)
