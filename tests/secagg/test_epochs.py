"""One agreement on keys serves several sums, and no sum tells of another."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import client, masking, messages, recovery, server
from chatfed.secagg.messages import (
    BelowThreshold,
    Floors,
    Kind,
    MalformedMessage,
    Parameters,
    ProtocolError,
    RefusedParameters,
    WrongStep,
)
from chatfed.secagg.states import Masked, Ready, Shared, Slot
from tests.secagg.forging import recovery_key, rows_of, view_of
from tests.secagg.rounds import (
    EPOCH,
    FIVE,
    SCOPE,
    Carried,
    agree_on_keys,
    agreed_on,
    body_of,
    carry_on,
    ctx_of,
    entropy_from,
    random_vectors,
    ring_sum,
    roster_of,
    shown,
    signer,
    signs_as,
    state_of,
)

ZEROS = np.zeros(4, "<u4")


# Sums


@dataclass(frozen=True)
class Sum:
    """One slot's script."""

    slot: int
    present: frozenset[int]
    gone: dict[int, frozenset[int]]  # by stage


@dataclass(frozen=True)
class Script:
    """An epoch's: who drops out before there are keys, and what becomes of each sum."""

    parameters: Parameters
    gone: dict[int, frozenset[int]]
    sums: list[Sum] = field(default_factory=list)
    seed: int = 0


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    n, slots = draw(st.integers(3, 7)), draw(st.integers(1, 4))
    threshold, bits = draw(st.integers(n // 2 + 1, n)), draw(st.sampled_from([16, 21, 32]))
    quorum = draw(st.sampled_from([0, n // 2 + 1]))
    parameters = Parameters(
        n, threshold, draw(st.integers(1, 9)), bits, committee=n if quorum else 0, quorum=quorum, slots=slots
    )
    everyone, few = range(1, n + 1), st.frozensets(st.integers(1, n), max_size=2)
    spare = draw(st.permutations(everyone))[: draw(st.integers(0, n - threshold))]
    gone = {0: frozenset(spare[::2]), 1: frozenset(spare[1::2])}
    sums = [
        Sum(slot, frozenset(everyone) - draw(few), {stage: draw(few) for stage in (2, 3, 4)})
        for slot in draw(st.permutations(range(slots)))
    ]
    return Script(parameters, gone, sums, draw(st.integers(0, 2**32)))


def outcome(script: Script, one: Sum) -> BelowThreshold | frozenset[int]:
    """The survivors, by counting alone."""
    p = script.parameters
    present = one.present - script.gone[0] - script.gone[1]
    survivors = present - one.gone[2]
    stages = [("share", present, p.threshold), ("masked input", survivors, p.threshold)]
    there = survivors
    if p.quorum:
        there = survivors - one.gone[3]
        stages.append(("consent", there, p.quorum))
    stages.append(("unmask", there - one.gone[4], p.threshold))
    short = (BelowThreshold(stage, len(left), need) for stage, left, need in stages if len(left) < need)
    return next(short, survivors)


@settings(max_examples=60, deadline=None)
@given(scripts())
def test_every_sum_of_an_epoch_is_exact_or_one_typed_error_whatever_became_of_the_others(script: Script) -> None:
    carried = Carried(script.parameters)
    agree_on_keys(carried, script.gone, script.seed)
    for one in script.sums:
        vectors, expected = random_vectors(script.parameters, script.seed + one.slot), outcome(script, one)
        if isinstance(expected, BelowThreshold):
            with pytest.raises(BelowThreshold) as caught:
                carry_on(carried, one.slot, vectors, one.gone, ctx=ctx_of(one.slot), present=one.present)
            assert str(caught.value) == str(expected)
            continue
        total = carry_on(carried, one.slot, vectors, one.gone, ctx=ctx_of(one.slot), present=one.present)
        assert total.survivors == tuple(sorted(expected))
        assert total.vector.tolist() == ring_sum(script.parameters, [vectors[i] for i in total.survivors])
        assert total.disputes == ()


def test_on_a_circle_every_sum_is_exact_too() -> None:
    parameters = Parameters(12, 4, 3, 32, 6, 2, 12, 7, 3)
    carried = agreed_on(parameters)
    for slot, gone, present in (
        (0, {2: {3}}, range(1, 13)),
        (2, {}, range(2, 13)),
        (1, {2: {7}, 4: {8}}, range(1, 12)),
    ):
        vectors = random_vectors(parameters, slot)
        total = carry_on(carried, slot, vectors, gone, ctx=ctx_of(slot), present=present)
        assert total.survivors == tuple(i for i in present if i not in gone.get(2, ()))
        assert total.vector.tolist() == ring_sum(parameters, [vectors[i] for i in total.survivors])


@pytest.mark.parametrize("gone", [{2: {5}}, {3: {5}}, {4: {5}}, {2: {4, 5}}], ids=str)
def test_who_dropped_out_of_a_sum_takes_part_in_the_next(gone: dict[int, set[int]]) -> None:
    carried, vectors = agreed_on(FIVE), random_vectors(FIVE)
    first = carry_on(carried, 0, vectors, gone, ctx=ctx_of(0))
    assert set(first.survivors) == set(range(1, 6)) - gone.get(2, set())
    again = carry_on(carried, 1, vectors, ctx=ctx_of(1))
    assert again.survivors == (1, 2, 3, 4, 5)
    assert again.vector.tolist() == ring_sum(FIVE, list(vectors.values()))


def test_what_is_masked_in_two_slots_has_nothing_in_common() -> None:
    parameters = Parameters(3, 2, 1 << 10, slots=2)
    carried, zeros, seen = agreed_on(parameters), np.zeros(1 << 10, "<u4"), list[np.ndarray]()
    for slot in range(2):
        carry_on(carried, slot, dict.fromkeys((1, 2, 3), zeros))  # of one context: the slot alone differs
        seen += [np.frombuffer(body_of(carried.wire[Kind.MASKED_INPUT, i]), "<u4", offset=32) for i in (1, 2, 3)]
    for one, other in itertools.combinations(seen, 2):
        assert np.count_nonzero(one == other) < 5
        assert abs(int(np.unpackbits((one - other).view(np.uint8)).sum()) - (1 << 14)) < 600  # half of all bits


@pytest.mark.parametrize("slot", [-1, 3, 256])
def test_a_slot_that_is_not_there_is_refused(agreed: Carried, slot: int) -> None:
    with pytest.raises(WrongStep, match="no slot"):
        server.begin(agreed.server_states["epoch"], slot, ctx_of(0), range(1, 6))


def test_a_sum_begins_with_those_alone_who_have_keys_and_not_with_too_few() -> None:
    carried = Carried(FIVE)
    agree_on_keys(carried, {1: {5}})
    epoch = carried.server_states["epoch"]
    collecting, out = server.begin(epoch, 0, ctx_of(0), {1, 2, 4, 5, 9})
    assert collecting.present == out.keys() == {1, 2, 4} and len(set(out.values())) == 1
    with pytest.raises(BelowThreshold) as caught:
        server.begin(epoch, 0, ctx_of(0), {1, 2, 5})
    assert (caught.value.stage, caught.value.got, caught.value.need) == ("share", 2, 3)
    with pytest.raises(WrongStep):
        server.begin(collecting, 1, ctx_of(0), {1, 2, 3})


@pytest.mark.parametrize("slots", [2, 4])
def test_keys_for_more_or_fewer_sums_than_the_participant_has_derived_are_refused(slots: int) -> None:
    how = (SCOPE, EPOCH, 1, entropy_from(0), roster_of(FIVE), signs_as(1))
    with pytest.raises(RefusedParameters, match="slots is 3"):
        client.advertise(FIVE, Floors(2, 2, slots=slots), *how)
    for own in (3, None):
        client.advertise(FIVE, Floors(2, 2, slots=own), *how)


# What one slot tells of another


def keys_used(carried: Carried, who: int, slot: int, ctx: bytes, present: Iterable[int]) -> list[bytes]:
    """Those whose masks are in `who`'s masked input."""
    used = list[bytes]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "apply_masks", lambda vector, added, subtracted: used.extend([*added, *subtracted]))
        said = shown(carried, set(present), ctx, slot)
        ready, secrets = state_of(carried, who, Ready), carried.secrets_of(who, slot)
        client.masked_input(ready, slot, secrets, ctx, said, ZEROS, signs_as(who))
    return used


def test_sums_of_another_slot_context_or_attendance_share_no_mask_key(agreed: Carried) -> None:
    seen = set[bytes]()
    for slot, ctx, present in itertools.product(range(3), map(ctx_of, range(2)), ((1, 2, 3, 4, 5), (1, 2, 3))):
        used = [key for who in present for key in keys_used(agreed, who, slot, ctx, present)]
        pairs = len(present) * (len(present) - 1) // 2
        assert len(used) == len(present) + 2 * pairs and len(set(used)) == len(present) + pairs
        assert not seen & set(used)
        seen |= set(used)
    assert len(seen) == 3 * 2 * (5 + 10 + 3 + 3)


def test_secrets_of_a_slot_are_in_no_other_slots_nor_in_what_the_server_has(agreed: Carried) -> None:
    pieces = list[bytes]()
    server_has = b"".join(row for rows in agreed.server_states["epoch"].rows.values() for row in rows.values())
    for who in range(1, 6):
        for slot in range(3):
            mine = agreed.secrets_of(who, slot)
            pieces += [mine.seed, mine.own_share]
            pieces += [share[at : at + 36] for share in mine.shares.values() for at in (0, 36)]
            pieces += [pair for j, pair in mine.pairs.items() if who < j]
            assert all(mine.pairs[j] == agreed.secrets_of(j, slot).pairs[who] for j in mine.pairs)
    assert len(pieces) == len(set(pieces)) == 5 * 3 * (2 + 8 + 2)
    assert not [piece for piece in pieces if piece in server_has]
    assert not [piece for piece in pieces if piece in state_of(agreed, 1, Ready).to_bytes()]


def test_what_the_server_opens_for_one_that_dropped_out_takes_no_mask_off_its_next_input() -> None:
    carried, vectors = agreed_on(FIVE), random_vectors(FIVE)
    carry_on(carried, 0, vectors, {2: {5}}, ctx=ctx_of(0))
    opened = recovery.open_rows(rows_of(carried, 5, 0), recovery_key(carried, 5, 0), view_of(carried), 5)
    assert opened is not None
    turn = messages.Present(1, ctx_of(1), frozenset(range(1, 6))).turn(view_of(carried))
    known = {masking.pairwise_mask_key(pair, turn) for pair in opened}
    assert not known & set(keys_used(carried, 5, 1, ctx_of(1), range(1, 6)))


# What a participant refuses


@pytest.mark.parametrize(
    ("slot", "ctx", "ids", "field"),
    [
        (1, 0, (1, 2, 3, 4, 5), "slot"),
        (2**32 - 1, 0, (1, 2, 3, 4, 5), "slot"),
        (0, 1, (1, 2, 3, 4, 5), "context"),
        (0, 0, (2, 3, 4, 5), "sharers"),
        (0, 0, (1, 2, 3, 4, 5, 6), "sharers"),  # 6 advertised, but shared nothing with anybody
        (0, 0, (1, 2, 3, 4, 5, 7), "ids"),  # 7 never came
    ],
    ids=str,
)
def test_another_slot_sum_or_attendance_is_refused_and_costs_nothing(
    slot: int, ctx: int, ids: tuple[int, ...], field: str
) -> None:
    carried = Carried(Parameters(7, 4, 4, committee=7, quorum=4, slots=3))
    agree_on_keys(carried, {0: {7}, 1: {6}})
    ready, secrets = state_of(carried, 1, Ready), carried.secrets_of(1, 0)

    def masked(said: bytes) -> Masked:
        return client.masked_input(ready, 0, secrets, ctx_of(0), said, ZEROS, signs_as(1))[0]

    with pytest.raises(MalformedMessage) as caught:
        masked(shown(carried, ids, ctx_of(ctx), slot))
    assert (caught.value.sender, caught.value.kind, caught.value.field) == (0, "present", field)
    assert masked(shown(carried, range(1, 6), ctx_of(0), 0)).present == {1, 2, 3, 4, 5}


def test_a_present_neighbour_whose_envelope_was_kept_back_is_refused() -> None:
    """The server delivers all envelopes but one, to strip a participant of the masks with that one."""
    carried = agreed_on(FIVE)
    said = carried.wire[Kind.ENVELOPES, 1]
    made = messages.decode_envelopes(said, view_of(carried), {2, 3, 4, 5}, carried.parameters)
    del made[4]
    fewer = messages.encode_envelopes(view_of(carried), made)
    ready, secrets = client.open_envelopes(state_of(carried, 1, Shared), fewer)
    slot = Slot.from_bytes(secrets[0], ready.members)
    with pytest.raises(MalformedMessage, match="sharers"):
        client.masked_input(ready, 0, slot, ctx_of(0), shown(carried, range(1, 6), ctx_of(0), 0), ZEROS, signs_as(1))
    said = shown(carried, (1, 2, 3, 5), ctx_of(0), 0)
    masked, _ = client.masked_input(ready, 0, slot, ctx_of(0), said, ZEROS, signs_as(1))
    assert masked.shares.keys() == {1, 2, 3, 5}


def test_shares_of_those_who_are_not_present_are_not_kept_for_the_sum(agreed: Carried) -> None:
    said = shown(agreed, (1, 2, 3), ctx_of(0), 0)
    masked, _ = client.masked_input(
        state_of(agreed, 1, Ready), 0, agreed.secrets_of(1, 0), ctx_of(0), said, ZEROS, signs_as(1)
    )
    assert masked.shares.keys() == masked.present == {1, 2, 3}


# What is written down


def test_secrets_of_no_slot_are_in_a_repr_or_an_error(agreed: Carried) -> None:
    shared, slots = state_of(agreed, 2, Shared), [agreed.secrets_of(2, slot) for slot in range(3)]
    secrets = [shared.seeds, shared.own_shares, *shared.keys.values(), *agreed.secrets[2]]
    secrets += [secret for slot in slots for secret in (slot.seed, *slot.pairs.values(), *slot.shares.values())]
    texts = [*map(repr, slots), repr(shared), repr(state_of(agreed, 2, Ready))]
    epoch = agreed.server_states["epoch"]
    texts.append(repr(epoch))
    secrets += [row for rows in epoch.rows.values() for row in rows.values()]
    for slot in slots:
        said = shown(agreed, (1, 2, 3), ctx_of(0), 0)
        masked, _ = client.masked_input(state_of(agreed, 2, Ready), 0, slot, ctx_of(0), said, ZEROS, signer(FIVE, 2))
        texts.append(repr(masked))
        for number, ctx in ((1, 0), (0, 1)):
            with pytest.raises(ProtocolError) as caught:
                client.masked_input(state_of(agreed, 2, Ready), number, slot, ctx_of(ctx), said, ZEROS, signs_as(2))
            texts.append(repr(caught.value) + str(caught.value))
    for text, secret in itertools.product(texts, secrets):
        assert secret.hex() not in text and repr(secret[:8])[2:-1] not in text
