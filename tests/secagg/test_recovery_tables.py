"""A participant's table of recovery: a row opens for its slot alone, and a wrong one gives no wrong sum."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import messages, recovery
from chatfed.secagg.messages import BadShares
from tests.secagg.forging import recovery_key, rows_of, view_of
from tests.secagg.rounds import FIVE, Carried, agreed_on, carry_on, entropy_from, random_vectors, ring_sum


def test_the_recovery_key_of_a_slot_opens_the_row_of_that_slot_and_owner_alone(agreed: Carried) -> None:
    view = view_of(agreed)
    for owner, slot in itertools.product(range(1, 6), range(3)):
        key, secrets = recovery_key(agreed, owner, slot), agreed.secrets_of(owner, slot)
        opened = recovery.open_rows(rows_of(agreed, owner, slot), key, view, owner)
        assert list(opened or ()) == [secrets.pairs[j] for j in sorted(secrets.pairs)]
        for other, at in itertools.product(range(1, 6), range(3)):
            if (other, at) != (owner, slot):
                assert recovery.open_rows(rows_of(agreed, other, at), key, view, other) is None


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 5), slots=st.integers(1, 4), seed=st.integers(0, 99), data=st.data())
def test_a_table_opens_slot_by_slot_and_every_flipped_bit_of_a_row_is_found(
    count: int, slots: int, seed: int, data: st.DataObject
) -> None:
    entropy, view = entropy_from(seed), bytes([seed]) * 32
    pairs = np.frombuffer(entropy(32 * count * slots), np.uint8).reshape(count, slots, 32)
    keys = [entropy(32) for _ in range(slots)]
    table, at = recovery.close_table(pairs, keys, view, 7), data.draw(st.integers(0, slots - 1))
    rows = [table[k, at].tobytes() for k in range(count)]
    opened = recovery.open_rows(rows, keys[at], view, 7)
    assert list(opened or ()) == [pairs[k, at].tobytes() for k in range(count)]
    assert recovery.open_rows(rows, keys[at], view, 8) is None
    assert recovery.open_rows(rows, keys[at], bytes([100]) * 32, 7) is None
    k, bit = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, 8 * messages.ROW_BYTES - 1))
    assert recovery.open_rows([*rows[:k], flipped(rows[k], bit), *rows[k + 1 :]], keys[at], view, 7) is None


def with_row(carried: Carried, owner: int, neighbour: int, slot: int, row: bytes) -> None:
    epoch, at = carried.server_states["epoch"], slot * messages.ROW_BYTES
    rows = epoch.rows[owner][neighbour]
    changed = rows[:at] + row + rows[at + messages.ROW_BYTES :]
    tables = {**epoch.rows, owner: {**epoch.rows[owner], neighbour: changed}}
    carried.server_states["epoch"] = replace(epoch, rows=tables)


def lying_row(carried: Carried, owner: int, neighbour: int, slot: int) -> bytes:
    """One that opens, to a secret that the two do not have, beside its right check."""
    row = carried.server_states["epoch"].row(owner, neighbour, slot)
    pair, false = carried.secrets_of(owner, slot).pairs[neighbour], b"f" * 32
    closed = bytes(a ^ b ^ c for a, b, c in zip(row, pair, false, strict=False))
    return closed + recovery.check(false)


@pytest.mark.parametrize("bit", [0, 255, 256, 319])
def test_a_row_of_ones_own_that_is_wrong_names_its_owner_and_gives_no_sum(bit: int) -> None:
    carried = agreed_on(FIVE)
    with_row(carried, 5, 2, 1, flipped(carried.server_states["epoch"].row(5, 2, 1), bit))
    with pytest.raises(BadShares) as caught:
        carry_on(carried, 1, random_vectors(FIVE), {2: {5}})
    assert (caught.value.owner, caught.value.holders) == (5, (1, 2, 3, 4))


@pytest.mark.parametrize("who", ["owner", "survivor"])
def test_a_row_that_the_other_of_the_pair_says_otherwise_names_both_and_gives_no_sum(who: str) -> None:
    carried = agreed_on(FIVE)
    if who == "owner":
        with_row(carried, 5, 2, 1, lying_row(carried, 5, 2, 1))
    else:
        with_row(carried, 2, 5, 1, lying_row(carried, 2, 5, 1))
    with pytest.raises(BadShares) as caught:
        carry_on(carried, 1, random_vectors(FIVE), {2: {5}})
    assert (caught.value.owner, caught.value.holders) == (5, (2,))


@pytest.mark.parametrize(
    ("owner", "neighbour", "slot", "gone"),
    [
        (5, 2, 0, {2: {5}}),  # of another slot
        (5, 2, 1, {}),  # of one that survives
        (2, 4, 1, {2: {5}}),  # between two that survive
        (2, 5, 1, {2: {2, 5}}),  # between two that both dropped out, and a secret that nobody's mask is of
    ],
    ids=str,
)
def test_a_wrong_row_that_no_mask_comes_of_spoils_nothing(
    owner: int, neighbour: int, slot: int, gone: dict[int, set[int]]
) -> None:
    carried, vectors = agreed_on(FIVE), random_vectors(FIVE)
    with_row(carried, owner, neighbour, slot, lying_row(carried, owner, neighbour, slot))
    total = carry_on(carried, 1, vectors, gone)
    assert total.vector.tolist() == ring_sum(FIVE, [vectors[i] for i in total.survivors])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_tables_spoiled_anywhere_give_the_exact_sum_or_bad_shares(data: st.DataObject) -> None:
    carried, vectors = agreed_on(FIVE), random_vectors(FIVE)
    gone = data.draw(st.frozensets(st.integers(1, 5), max_size=2))
    for _ in range(data.draw(st.integers(1, 3))):
        owner, neighbour = data.draw(st.permutations(range(1, 6)))[:2]
        slot, bit = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 319))
        with_row(
            carried, owner, neighbour, slot, flipped(carried.server_states["epoch"].row(owner, neighbour, slot), bit)
        )
    named = set[int]()
    try:
        total = carry_on(carried, 1, vectors, {2: gone})
    except BadShares as error:
        named.add(error.owner)
    else:
        assert total.vector.tolist() == ring_sum(FIVE, [vectors[i] for i in range(1, 6) if i not in gone])
    assert named <= gone
