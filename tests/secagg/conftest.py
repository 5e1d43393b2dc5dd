"""Finished rounds with identities, from whose messages and states a server forges."""

from __future__ import annotations

import pytest

from tests.secagg.forging import SEVEN, SIXTY
from tests.secagg.rounds import Carried, carry, random_vectors, ring_sum


@pytest.fixture(scope="session")
def finished() -> Carried:
    """A round in which 7 dropped after sharing and 1..6 survived."""
    carried = Carried(SEVEN)
    carry(SEVEN, random_vectors(SEVEN), {2: {7}}, carried=carried)
    return carried


@pytest.fixture(scope="session")
def circle() -> Carried:
    """A round of sixty on a circle, of whom a few dropped out at each stage."""
    carried, vectors = Carried(SIXTY), random_vectors(SIXTY)
    total = carry(SIXTY, vectors, {0: {9}, 1: {20}, 2: {31, 42}, 3: {53}, 4: {54}}, carried=carried)
    assert total.vector.tolist() == ring_sum(SIXTY, [vectors[i] for i in total.survivors])
    assert len(total.survivors) == 56
    return carried
