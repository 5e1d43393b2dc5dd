"""The circle is symmetric, its sizes are those of the literature, and what was derived holds against who may choose."""

from __future__ import annotations

from fractions import Fraction
from math import comb, log2
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import graph
from chatfed.secagg.graph import Graph, NoSuchGraph, derive, derive_active, derive_quorum, tail

TABLE = {  # what derive must reproduce: 10 % dropped by chance, sigma 40, eta 30
    0.1: {100: (42, 11), 1_000: (52, 28), 10_000: (60, 32)},
    0.2: {100: (54, 21), 1_000: (74, 45), 10_000: (90, 54)},
    0.33: {100: (78, 34), 1_000: (114, 78), 10_000: (140, 95)},
}


@pytest.mark.parametrize("corrupt", TABLE)
def test_the_table_of_the_design_is_derived(corrupt: float) -> None:
    assert {n: derive(n, corrupt, 0.1) for n in TABLE[corrupt]} == TABLE[corrupt]


@given(st.integers(3, 80), st.integers(1, 40), st.binary(min_size=32, max_size=32))
def test_neighbours_are_symmetric_and_as_many_as_the_degree(count: int, half: int, seed: bytes) -> None:
    degree = min(2 * half, count - 1)
    drawn = Graph.draw(seed, range(1, count + 1), degree)
    assert sorted(drawn.circle) == list(range(1, count + 1))
    for me in drawn.circle:
        near = drawn.neighbours(me)
        assert me not in near and len(near) == (count - 1 if drawn.complete else degree)
        assert all(me in drawn.neighbours(other) for other in near)
        assert drawn.holders(me) == near | {me}
        at = drawn.circle.index(me)
        if not drawn.complete:
            assert near == {drawn.circle[(at + step) % count] for step in range(-half, half + 1) if step}


@given(st.integers(8, 40), st.integers(1, 3), st.data())
def test_the_longest_gap_is_counted_as_a_plain_loop_counts_it(count: int, half: int, data: st.DataObject) -> None:
    drawn = Graph.draw(bytes(32), range(count), 2 * half)
    survivors = data.draw(st.sets(st.integers(0, count - 1)))
    rows = [[drawn.circle[(at + step) % count] for step in range(half)] for at in range(count)]
    assert drawn.most_gone(survivors) == max(sum(i not in survivors for i in row) for row in rows)
    assert Graph.draw(bytes(32), range(count), count - 1).most_gone(survivors) == 0


def test_any_bit_of_the_seed_gives_another_circle() -> None:
    seen = {Graph.draw((1 << bit).to_bytes(32, "little"), range(60), 20).circle for bit in range(256)}
    assert len(seen) == 256


@given(st.integers(1, 60), st.data())
def test_tails_are_those_of_exact_fractions(population: int, data: st.DataObject) -> None:
    marked, drawn = data.draw(st.integers(0, population)), data.draw(st.integers(0, population))
    least = data.draw(st.integers(0, drawn))
    ways = sum(comb(marked, k) * comb(population - marked, drawn - k) for k in range(least, drawn + 1))
    exact = Fraction(ways, comb(population, drawn))
    found = tail(population, marked, drawn, least)
    assert found == -float("inf") if not exact else abs(found - log2(exact)) < 1e-8


@pytest.mark.parametrize("corrupt", [0.05, 0.1, 0.2, 0.33])
@pytest.mark.parametrize("count", [51, 60, 100, 500, 1_000, 10_000])
def test_derived_sizes_keep_what_they_promise(count: int, corrupt: float) -> None:
    sizes = derive_active(count, corrupt, 0.1)
    half, left, bad = sizes.degree // 2, count - int(0.1 * count), int(corrupt * count)
    each, claimed = log2(count), 40 + graph.GRINDING_BITS
    room = half - sizes.most_gone  # in a row of which most_gone are missing: all of the rest corrupt is the bad event
    assert each + tail(left, bad, half, room) <= -claimed
    assert each + tail(count, int(0.1 * count), half, sizes.most_gone + 1) <= -30
    assert log2(left) + tail(left - 1, bad, sizes.degree, sizes.threshold) <= -claimed
    assert sizes.threshold <= sizes.degree - 2 * sizes.most_gone


@pytest.mark.parametrize("count", [100, 300])
def test_grinding_the_seed_and_choosing_who_drops_out_isolates_nobody(count: int) -> None:
    """A server with a tenth of the participants tries seeds and lets drop out whom it likes, as far as is allowed."""
    sizes, random = derive_active(count, 0.1, 0.1), Random(count)
    half, corrupt = sizes.degree // 2, set(range(1, count // 10 + 1))
    for _ in range(300):
        circle = Graph.draw(random.randbytes(32), range(1, count + 1), sizes.degree).circle
        bad = [i in corrupt for i in circle]
        for at in range(count):
            row = sum(bad[(at + step) % count] for step in range(half))
            assert half - row > sizes.most_gone  # with as many gone as are allowed, an honest one is left in each row
            around = sum(bad[(at + step) % count] for step in range(-half, half + 1) if step)
            assert around < sizes.threshold


@pytest.mark.parametrize("fraction", [1e-6, 0.01, 0.1])
def test_a_curious_participant_is_allowed_for_however_few_there_are(fraction: float) -> None:
    """A fraction of few is none at all when it is rounded down: then one who signs twice, or one share, were enough."""
    for count in (*range(2, 60), 100, 300):
        bad = max(1, int(fraction * count))
        _, quorum = derive_quorum(count, fraction)
        assert 2 * quorum > count + bad and quorum <= count
        if count > graph.COMPLETE_UP_TO:
            sizes, (degree, shares) = derive_active(count, fraction, 0.1), derive(count, fraction, 0.1)
            assert min(sizes.threshold, shares) >= 2 and degree >= shares


def test_what_no_graph_bears_is_refused_in_one_line() -> None:
    with pytest.raises(NoSuchGraph, match="60 participants"):
        derive_active(60, 0.6, 0.3)
    with pytest.raises(NoSuchGraph):
        derive(100, 0.5, 0.5)


@pytest.mark.parametrize("corrupt", [0.0, 0.1, 0.33])
@pytest.mark.parametrize("count", [2, 3, 40, 999, 1_000, 5_000])
def test_two_quorums_share_an_honest_signer(count: int, corrupt: float) -> None:
    size, quorum = derive_quorum(count, corrupt)
    assert size == (count if count < graph.COMMITTEE_FROM else graph.COMMITTEE) and size < 2 * quorum
    bad = max(1, int(corrupt * count))  # whoever is curious knows what it signed itself
    if size == count:
        assert 2 * quorum > count + bad and quorum <= count
    else:  # as many corrupt ones as would make two disjoint honest halves: never drawn
        assert tail(count, bad, size, 2 * quorum - size) <= -(40 + graph.GRINDING_BITS)


@settings(max_examples=30)
@given(st.binary(min_size=32, max_size=32))
def test_the_committee_is_drawn_from_all_and_not_by_their_places(record: bytes) -> None:
    drawn = graph.committee(record, 400, 200)
    assert len(drawn) == 200 and drawn <= set(range(1, 401))
    assert drawn != set(Graph.draw(record, range(1, 401), 20).circle[:200])
    assert graph.committee(record, 50, 50) == set(range(1, 51))
