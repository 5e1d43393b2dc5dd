"""Finished rounds, and keys that none has used yet, from whose messages and states a server forges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from chatfed.secagg import messages
from tests.secagg.forging import SEVEN, SIXTY
from tests.secagg.rounds import FIVE, UNSIGNED, Carried, agreed_on, carry, random_vectors, ring_sum


@pytest.fixture(scope="session")
def finished_by_scheme() -> Mapping[str, Carried]:
    """Rounds with identities in which 7 dropped after sharing and 1..6 survived."""
    rounds = {scheme: Carried(replace(SEVEN, scheme=scheme)) for scheme in messages.SCHEMES}
    for carried in rounds.values():
        carry(carried.parameters, random_vectors(carried.parameters), {2: {7}}, carried=carried)
    return rounds


@pytest.fixture(scope="session")
def finished(finished_by_scheme: Mapping[str, Carried]) -> Carried:
    """The one of masks. Where a server cheats alike with both schemes, a module's own fixture gives each."""
    return finished_by_scheme[messages.MASKS]


@pytest.fixture(scope="session")
def circle() -> Carried:
    """A round of sixty on a circle, of whom a few dropped out at each stage."""
    carried, vectors = Carried(SIXTY), random_vectors(SIXTY)
    total = carry(SIXTY, vectors, {0: {9}, 1: {20}, 2: {31, 42}, 3: {53}, 4: {54}}, carried=carried)
    assert total.vector.tolist() == ring_sum(SIXTY, [vectors[i] for i in total.survivors])
    assert len(total.survivors) == 56
    return carried


@pytest.fixture(scope="session")
def unsigned() -> Carried:
    """A round without identities in which 6 dropped after sharing, 7 before, and 1..5 survived."""
    carried = Carried(UNSIGNED)
    carry(UNSIGNED, random_vectors(UNSIGNED), {1: {7}, 2: {6}}, carried=carried)
    return carried


@pytest.fixture(scope="session")
def agreed() -> Carried:
    """Keys for three sums, of which none is done. Not to be changed."""
    return agreed_on(FIVE)
