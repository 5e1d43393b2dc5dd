"""Property inference: what updates and sums tell of their clients beside what is learned. Knows no model and no noise.

A linear attack (Melis et al. 2019, 1805.04049, use forests and logistic regression on updates) learns
from clients whose property is known and scores others, never a client that it learned from. A linear attack sees of
updates their span alone, and of noise that is alike in all directions (isotropic) what falls into it: so updates of any
length become as many numbers as there are clients, and nothing of the attack is lost. What it does not know: attacks
that are not linear, and clients unlike those that it learns from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.leakage import AuditError

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Labels = NDArray[np.bool_]

_TINY = 1e-10  # of the largest squared length of a direction: below, it is rounding


@dataclass(frozen=True)
class Span:
    """Coordinates along orthonormal directions that span some vectors: lengths and angles among them are kept."""

    rows: NDArray[np.float32]  # [n, d], the vectors
    turn: Matrix  # [n, r]: coordinates of x are (rows @ x) @ turn

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> Span:
        """Of float32[n, d], n at most some thousands. Raises AuditError where all are zeros."""
        inner = (rows @ rows.T).astype(np.float64)
        lengths, vectors = np.linalg.eigh(inner)
        kept = lengths > _TINY * max(lengths[-1], 0.0)
        if not lengths[-1] > 0:
            raise AuditError("all updates are zeros, so there is nothing to infer from: give clients that learn")
        return cls(rows, vectors[:, kept] / np.sqrt(lengths[kept]))

    def coordinates(self, vectors: NDArray[np.float32]) -> Matrix:
        """Of float32[m, d]: float64[m, r]; what lies outside the span is gone."""
        return (vectors @ self.rows.T).astype(np.float64) @ self.turn


def folds(count: int, parts: int, seed: int) -> Iterator[Labels]:
    """Masks of so many parts of range(count), each in one, at random: bool[count]; True: scored, not learned from."""
    dealt = np.random.default_rng(seed).permutation(count) % parts
    return (dealt == part for part in range(parts))


def direction(updates: Matrix, labels: Labels, noise: float = 0.0, others: float = 1.0) -> Vector:
    """The direction that tells clients with the property from those without, in what they are seen in: float64[r].

    updates: float64[n, r], of the clients that the attack learns from. It is Fisher's discriminant (1936) for a sum in
    which beside the client stand `others` clients' worth of variance (1: its own alone) and noise of deviation `noise`
    in each coordinate: (others S + (noise^2 + ridge) I)^-1 (mean with - mean without), S the covariance within the two.
    A thousandth of the mean variance is the ridge. Raises AuditError where all have it or none.

    >>> with_it, without = np.array([[1.0, 0.1], [1.0, -0.1]]), np.array([[-1.0, 0.1], [-1.0, -0.1]])
    >>> found = direction(np.concatenate([with_it, without]), np.array([True, True, False, False]))
    >>> bool(abs(found[0]) > 1000 * abs(found[1]))
    True
    """
    if labels.all() or not labels.any():
        raise AuditError("all clients have the property, or none: choose one that some have")
    means = [updates[labels == each].mean(0) for each in (True, False)]
    apart = np.concatenate([updates[labels == each] - mean for each, mean in zip((True, False), means, strict=True)])
    covariance = others * apart.T @ apart / len(apart)
    ridge = noise**2 + max(1e-3 * float(np.trace(covariance)) / len(covariance), 1e-12)
    return np.linalg.solve(covariance + ridge * np.eye(len(covariance)), means[0] - means[1]).astype(np.float64)


def by_client(values: Vector, membership: Labels, ridge: float = 1e-3) -> Vector:
    """What each client adds to a number that is known of sums only: float64[clients].

    values: float64[rounds], of each round's sum; membership: bool[rounds, clients], who was in it. Least squares on who
    was there, as PROLIN (Kerkouche, Acs and Fritz 2023, 2303.03908), with a ridge, in units of the
    mean number of rounds of a client, that keeps it defined where there are fewer rounds than clients.

    >>> who = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], bool)
    >>> by_client(who @ np.array([1.0, 2.0, 4.0]), who, ridge=1e-9).round(6).tolist()
    [1.0, 2.0, 4.0]
    """
    there = membership.astype(np.float64)
    if there.shape[0] != len(values):
        raise AuditError(f"{len(values)} sums and {there.shape[0]} rounds: give who was in each sum")
    weight = ridge * max(1.0, float(there.sum(0).mean()))
    return np.linalg.solve(there.T @ there + weight * np.eye(there.shape[1]), there.T @ values).astype(np.float64)
