"""A whole round: the exact sum of the survivors, or one typed error."""

from __future__ import annotations

import itertools
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import client, masking, messages, primitives, server, shamir
from chatfed.secagg.encoding import FixedPoint
from chatfed.secagg.masking import ring_dtype
from chatfed.secagg.messages import BelowThreshold, Floors, Kind, MalformedMessage, Parameters, WrongStep
from chatfed.secagg.schemes import masks
from chatfed.secagg.states import Masked, Ready
from chatfed.types import Entropy
from tests.secagg.rounds import (
    CTX,
    EPOCH,
    SCOPE,
    Carried,
    assert_exact_sum,
    begun_again,
    body_of,
    carry,
    entropy_from,
    random_vectors,
    ring_sum,
    shown,
    state_of,
)


@pytest.mark.parametrize("ring_bits", [16, 21, 32])
@pytest.mark.parametrize(
    "gone",
    [{}, {0: {1}}, {1: {2}}, {2: {3}}, {4: {4}}, {0: {1}, 1: {2}, 2: {3}, 4: {4}}, {2: {1, 9}}, {0: {5, 6}, 4: {1}}],
    ids=str,
)
def test_sum_of_survivors_is_exact_for_dropouts_at_each_stage(gone: dict[int, set[int]], ring_bits: int) -> None:
    assert_exact_sum(Parameters(9, 5, 33, ring_bits), gone)


Script = tuple[Parameters, dict[int, set[int]], list[int], int]  # who drops out at which stage; order; seed


@st.composite
def scripted_rounds(draw: st.DrawFn) -> Script:
    n = draw(st.integers(2, 8))
    parameters = Parameters(
        n, draw(st.integers(n // 2 + 1, n)), draw(st.integers(1, 40)), draw(st.sampled_from([16, 32]))
    )
    leaves = draw(st.lists(st.sampled_from([None, None, None, 0, 1, 2, 4]), min_size=n, max_size=n))
    gone = {stage: {i for i, at in enumerate(leaves, 1) if at == stage} for stage in (0, 1, 2, 4)}
    return parameters, gone, draw(st.permutations(range(1, n + 1))), draw(st.integers(0, 2**32))


@settings(max_examples=60, deadline=None)
@given(scripted_rounds())
def test_any_round_gives_the_exact_sum_or_one_typed_error(script: Script) -> None:
    parameters, gone, order, seed = script
    vectors = random_vectors(parameters, seed)
    left, short = set(range(1, parameters.participants + 1)), None
    stages = {0: "advertise", 1: "share", 2: "masked input", 4: "unmask"}
    for stage, stage_name in stages.items():
        survivors = left if stage == 4 else left - gone[stage]
        left = left - gone[stage]
        if len(left) < parameters.threshold:
            short = BelowThreshold(stage_name, len(left), parameters.threshold)
            break
    if short is None:
        total = carry(parameters, vectors, gone, order, seed=seed)
        assert total.survivors == tuple(sorted(survivors))
        assert total.vector.tolist() == ring_sum(parameters, [vectors[i] for i in sorted(survivors)])
    else:
        with pytest.raises(BelowThreshold) as caught:
            carry(parameters, vectors, gone, order, seed=seed)
        assert str(caught.value) == str(short)


@pytest.mark.parametrize(("stage", "label"), [(0, "advertise"), (1, "share"), (2, "masked input"), (4, "unmask")])
def test_server_below_threshold_learns_nothing(stage: int, label: str) -> None:
    parameters, carried = Parameters(6, 4, 8), Carried(Parameters(6, 4, 8))
    with pytest.raises(BelowThreshold) as caught:
        carry(parameters, random_vectors(parameters), {stage: {1, 2, 3}}, carried=carried)
    assert (caught.value.stage, caught.value.got, caught.value.need) == (label, 3, 4)
    answers = [kind for kind, _ in carried.wire if kind is Kind.ANSWER]
    assert len(answers) == (3 if stage == 4 else 0)  # fewer than the threshold, or none at all


def test_dropout_at_setup_does_not_kill_the_round() -> None:
    """A peer's failure: one client lost at key exchange ended the round for all."""
    parameters = Parameters(7, 4, 5)
    vectors = random_vectors(parameters)
    total = carry(parameters, vectors, {0: {2}, 1: {5}})
    assert total.survivors == (1, 3, 4, 6, 7)


def recovered(carried: Carried, gone: int) -> dict[int, bytes]:
    """What the server reads of one that dropped out: its secrets with its neighbours, from the answers of others."""
    unmasking = carried.server_states["unmasking"]
    answers = {i: m for (kind, i), m in carried.wire.items() if kind is Kind.ANSWER}
    lead = messages.survivors_digest(unmasking.turn, unmasking.bound)
    near = {i: unmasking.graph.holders(i) & unmasking.present for i in answers}
    shares = {i: masks._decode_answer(unmasking, i, m, near[i], lead)[gone] for i, m in answers.items()}
    held = np.stack([np.frombuffer(shares[i], "<u2") for i in sorted(shares)])
    (key,) = shamir.combine(sorted(shares), held[:, None])
    assert key is not None
    pairs = masks._pairs_of(unmasking, gone, key)
    assert pairs is not None and pairs == carried.secrets_of(gone).pairs
    return pairs


def test_late_masked_input_is_refused_and_useless() -> None:
    parameters, carried = Parameters(5, 3, 64), Carried(Parameters(5, 3, 64))
    vectors = random_vectors(parameters)
    carry(parameters, vectors, {2: {1}}, carried=carried)
    ready, slot = state_of(carried, 1, Ready), carried.secrets_of(1)
    _, late = client.masked_input(ready, 0, slot, CTX, carried.wire[Kind.PRESENT, 1], vectors[1])
    with pytest.raises(MalformedMessage) as caught:
        server.accept(carried.server_states["unmasking"], 1, late)
    assert (caught.value.sender, caught.value.field) == (1, "late")

    # The server now opens participant 1's row of this slot. It takes the pairwise masks off: the self-mask still
    # covers all.
    turn = carried.server_states["unmasking"].turn
    keys = [masking.pairwise_mask_key(recovered(carried, 1)[i], turn) for i in (2, 3, 4, 5)]
    rest = np.frombuffer(late, dtype="<u4", offset=56 + 32).copy()
    masking.apply_masks(rest, [], keys)
    own = vectors[1].copy()
    masking.apply_masks(own, [masking.self_mask_key(slot.seed, turn, 1)], [])
    assert rest.tolist() == own.tolist()
    assert np.count_nonzero(rest == vectors[1]) == 0


def accept_all(carried: Carried, inbound: dict[int, bytes]) -> None:
    state = begun_again(carried)
    for i, message in inbound.items():
        state = server.accept(state, i, message)


def test_server_refuses_senders_it_does_not_expect() -> None:
    parameters, carried = Parameters(4, 3, 4), Carried(Parameters(4, 3, 4))
    carry(parameters, random_vectors(parameters), {0: {4}}, carried=carried)
    states = carried.server_states
    for step, kind in (
        (partial(server.relay_adverts, states["open"]), Kind.ADVERT),
        (partial(server.relay_shares, states["sharing"]), Kind.SHARES),
        (partial(accept_all, carried), Kind.MASKED_INPUT),
        (partial(server.finish, states["unmasking"]), Kind.ANSWER),
    ):
        sent = {i: carried.wire[kind, i] for i in (1, 2, 3)}
        for stranger in (0, 4, 5, -1):
            with pytest.raises(MalformedMessage) as caught:
                step({**sent, stranger: carried.wire[kind, 1]})
            assert (caught.value.sender, caught.value.field) == (stranger, "sender")
        with pytest.raises(MalformedMessage) as caught:
            step({**sent, 1: carried.wire[kind, 2]})
        assert (caught.value.sender, caught.value.field) == (1, "sender")


def test_server_refuses_a_second_masked_input_and_a_state_used_again() -> None:
    parameters, carried = Parameters(3, 2, 4), Carried(Parameters(3, 2, 4))
    carry(parameters, random_vectors(parameters), carried=carried)
    collecting, message = carried.server_states["collecting"], carried.wire[Kind.MASKED_INPUT, 1]
    with pytest.raises(MalformedMessage, match="duplicate"):
        server.accept(collecting, 1, message)
    first = begun_again(carried)
    server.accept(first, 1, message)
    with pytest.raises(WrongStep):
        server.accept(first, 1, message)


def test_finish_can_be_asked_again_and_gives_the_same() -> None:
    parameters, carried = Parameters(4, 3, 6), Carried(Parameters(4, 3, 6))
    total = carry(parameters, random_vectors(parameters), {2: {1}}, carried=carried)
    again = server.finish(carried.server_states["unmasking"], {i: carried.wire[Kind.ANSWER, i] for i in (2, 3, 4)})
    assert total.vector.tolist() == again.vector.tolist()


def test_malformed_senders_can_be_left_out_and_the_round_goes_on() -> None:
    parameters, entropy = Parameters(5, 3, 4), entropy_from(3)
    state = server.open_epoch(parameters, SCOPE, EPOCH)
    adverts = {i: client.advertise(parameters, Floors(3, 3), SCOPE, EPOCH, i, entropy)[1] for i in range(1, 6)}
    adverts[2] = adverts[2][:-1]
    adverts[4] = b""
    (_, outbound), faults = server.leaving_out(server.relay_adverts, state, adverts)
    assert sorted(outbound) == [1, 3, 5]
    assert [(f.sender, f.kind, f.field) for f in faults] == [(2, "advert", "checksum"), (4, "advert", "length")]


def test_another_model_hash_is_refused_and_its_masks_cancel_with_nobody() -> None:
    parameters, carried = Parameters(3, 2, 4), Carried(Parameters(3, 2, 4))
    carry(parameters, random_vectors(parameters), carried=carried)
    other = messages.context(b"run", 1, b"x" * 32, b"r" * 32, messages.roster_root(["anna", "ben"]))
    ready, slot, zeros = state_of(carried, 3, Ready), carried.secrets_of(3), np.zeros(4, "<u4")
    with pytest.raises(MalformedMessage, match="context"):  # whoever expects another model than the server says
        client.masked_input(ready, 0, slot, other, carried.wire[Kind.PRESENT, 3], zeros)
    masked, message = client.masked_input(ready, 0, slot, other, shown(carried, (1, 2, 3), other), zeros)
    with pytest.raises(MalformedMessage) as caught:  # and whoever is told of another model than the rest
        server.accept(begun_again(carried), 3, message)
    assert (caught.value.sender, caught.value.field) == (3, "context")
    here, pairs = carried.server_states["unmasking"].turn, [carried.secrets_of(i).pairs for i in (1, 2)]
    assert pairs[0][2] == pairs[1][1] and pairs[0][3] == slot.pairs[1]
    assert masking.pairwise_mask_key(slot.pairs[1], here) != masking.pairwise_mask_key(slot.pairs[1], masked.turn)


def test_another_scope_or_other_parameters_are_refused_and_another_session() -> None:
    parameters, entropy = Parameters(3, 2, 4), entropy_from(5)
    other = messages.scope(b"run", b"x" * 32, messages.roster_root(["anna", "ben"]))
    adverts = {i: client.advertise(parameters, Floors(2, 2), SCOPE, EPOCH, i, entropy)[1] for i in (1, 2)}
    adverts[3] = client.advertise(parameters, Floors(2, 2), other, EPOCH, 3, entropy)[1]
    with pytest.raises(MalformedMessage) as caught:
        server.relay_adverts(server.open_epoch(parameters, SCOPE, EPOCH), adverts)
    assert (caught.value.sender, caught.value.field) == (3, "context")

    drawn = bytes([1] * 32), bytes([2] * 32)
    public = {i: primitives.public_key(private) for i, private in enumerate(drawn, 1)}
    a, b = map(primitives.load, drawn)
    here, there = parameters.session(SCOPE, EPOCH), parameters.session(other, EPOCH)
    assert masking.pair_root(a, 1, 2, public, here) == masking.pair_root(b, 2, 1, public, here)
    assert masking.pair_root(a, 1, 2, public, here) != masking.pair_root(b, 2, 1, public, there)
    sizes = (3, 3, 4), (4, 3, 4), (3, 2, 5), (3, 2, 4, 16), (3, 2, 4, 32, -1, 0, 0, 0, 2)
    for lowered in (Parameters(*size) for size in sizes):
        assert lowered.session(SCOPE, EPOCH) != here


def chi_square(counts: np.ndarray, expected: np.ndarray | float) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


def looks_uniform(data: bytes) -> bool:
    """255 degrees of freedom: neither beyond p = 1e-6 on either side."""
    return 150 < chi_square(np.bincount(np.frombuffer(data, np.uint8), minlength=256), len(data) / 256) < 380


def masked_vector(carried: Carried, who: int) -> bytes:
    """What stands behind the commitment and, with identities, the signature."""
    return body_of(carried.wire[Kind.MASKED_INPUT, who])[32 + (64 if carried.parameters.quorum else 0) :]


@pytest.mark.parametrize("quorum", [0, 2], ids=["none", "roster"])
@pytest.mark.parametrize("ring_bits", [16, 21, 32])
def test_masked_inputs_look_uniform_and_never_repeat_across_rounds(ring_bits: int, quorum: int) -> None:
    parameters = Parameters(3, 2, 1 << 15, ring_bits, committee=3 if quorum else 0, quorum=quorum)
    zero = dict.fromkeys((1, 2, 3), np.zeros(parameters.length, dtype=ring_dtype(ring_bits)))
    seen = []
    for number in range(2):
        carried = Carried(parameters)
        carry(parameters, zero, seed=f"uniform {number}", carried=carried)
        seen += [masked_vector(carried, i) for i in (1, 2, 3)]
    assert all(len(vector) == zero[1].nbytes and looks_uniform(vector) for vector in seen)
    assert len(set(seen)) == 6


@pytest.mark.parametrize("quorum", [0, 3], ids=["none", "roster"])
def test_no_message_carries_the_weight_in_clear(quorum: int) -> None:
    """A peer's failure: example counts travelled beside the masked vector."""
    code = FixedPoint(1.0, 1 << 13, 4, max_weight=1e6)
    parameters = Parameters(4, 3, code.coordinates, committee=4 if quorum else 0, quorum=quorum)
    update = np.full(code.dimension, 1e-2, dtype=np.float32)

    def carried_with(weight: int, seed: str) -> Carried:
        carried, vector = Carried(parameters), code.encode(update, weight, entropy_from("rounding"))
        carry(parameters, dict.fromkeys((1, 2, 3, 4), vector), {2: {4}}, seed=seed, carried=carried)
        return carried

    few, many, later = (carried_with(*how) for how in ((40_961, "one"), (611_953, "one"), (611_953, "two")))
    assert {at: len(m) for at, m in few.wire.items()} == {at: len(m) for at, m in later.wire.items()}
    changed = {at for at in few.wire if few.wire[at] != many.wire[at]}
    assert changed == {(Kind.MASKED_INPUT, i) for i in (1, 2, 3)}  # with the same entropy nothing else tells them apart
    for at in changed:
        vector = len(masked_vector(few, at[1]))
        assert few.wire[at][56:-vector] == many.wire[at][56:-vector] and few.wire[at][:40] == many.wire[at][:40]
    wire = b"".join(message for each in (few, many, later) for message in each.wire.values())
    for weight in (40_961, 611_953):
        forms = [weight.to_bytes(4, "little"), weight.to_bytes(4, "big"), str(weight).encode()]
        forms += [np.array(weight, dtype).tobytes() for dtype in ("<f4", ">f4", "<f8", ">f8")]
        assert not [form for form in forms if form in wire]
    difference = np.frombuffer(masked_vector(few, 1), "<u4") - np.frombuffer(masked_vector(later, 1), "<u4")
    assert looks_uniform(difference.tobytes())


@pytest.mark.parametrize("who", [1, 6, 12])
def test_any_ones_keys_give_everybody_another_place_on_the_circle(who: int) -> None:
    """No single party chooses who is whose neighbour."""
    parameters, circles, views = Parameters(12, 3, 1, 32, 4, 2), set(), set()
    for keys in ("these", "others"):
        own = {i: entropy_from(f"{i} {keys if i == who else 'these'}") for i in range(1, 13)}
        carried = Carried(parameters)
        carry(parameters, random_vectors(parameters), carried=carried, own=own)
        seen = {state_of(carried, i, Masked).ready.view for i in own}
        assert {view.graph for view in seen} == {carried.server_states["sharing"].graph}
        circles |= {view.graph.circle for view in seen}
        views |= {view.digest for view in seen}
    assert len(circles) == len(views) == 2


def with_secrets(seed: bytes, recovery_key: bytes, rest: Entropy) -> Entropy:
    """A participant whose self-mask seed (drawn third) and recovery key (drawn fourth) are given."""
    calls, given = itertools.count(1), {3: seed, 4: recovery_key}
    return lambda size: given.get(next(calls), b"") or rest(size)


def test_over_many_rounds_what_too_few_neighbours_hold_looks_the_same_for_every_secret() -> None:
    """T - 1 = 2 neighbours collude: their shares of two extreme secrets fall alike over an 8 x 8 grid (63 degrees)."""
    parameters, grids = Parameters(4, 3, 1, committee=4, quorum=3), []
    for secret in (bytes(32), b"\xff" * 32):
        grid, rest = np.zeros((2, 8, 8)), entropy_from(secret.hex())
        for number in range(100):
            carried = Carried(parameters)
            own = {1: with_secrets(secret, secret, rest)}
            carry(parameters, random_vectors(parameters), seed=number, carried=carried, own=own)
            held = [state_of(carried, x, Masked) for x in (2, 3, 4)]
            shares = np.array([np.frombuffer(state.shares[1], "<u2").reshape(2, shamir.LIMBS) for state in held])
            assert shamir.combine((2, 3, 4), shares) == [secret, secret]
            for kind in (0, 1):  # of the seed, of the recovery key
                cells = shares[:2, kind].astype(int) * 8 // shamir.PRIME
                np.add.at(grid[kind], tuple(cells), 1)
        grids.append(grid)
    for kind in (0, 1):
        one, other = grids[0][kind], grids[1][kind]
        assert 25 < chi_square(one, (one + other) / 2) + chi_square(other, (one + other) / 2) < 125
        assert 25 < chi_square(one, one.mean()) < 125


def test_server_memory_does_not_grow_with_the_number_of_participants() -> None:
    parameters, d = Parameters(10, 6, 200_000), 200_000
    carried = Carried(parameters)
    carry(parameters, random_vectors(parameters), carried=carried)
    inputs = [carried.wire[Kind.MASKED_INPUT, i] for i in range(1, 11)]
    shares = {i: carried.wire[Kind.SHARES, i] for i in range(1, 11)}
    tracemalloc.start()
    epoch, _ = server.relay_shares(carried.server_states["sharing"], shares)
    state, _ = server.begin(epoch, 0, CTX, range(1, 11))
    for i, message in enumerate(inputs, 1):
        state = server.accept(state, i, message)
    unmasking, _ = server.close_inputs(state)
    server.finish(unmasking, {i: carried.wire[Kind.ANSWER, i] for i in range(1, 11)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 4 * d  # the sum, its unmasked copy, and change


def test_participant_that_was_shown_fewer_is_not_added() -> None:
    """Its masks with the one left out would not cancel: the sum would be wrong."""
    parameters, carried = Parameters(5, 3, 6), Carried(Parameters(5, 3, 6))
    vectors = random_vectors(parameters)
    carry(parameters, vectors, carried=carried)
    ready, slot = state_of(carried, 1, Ready), carried.secrets_of(1)
    _, message = client.masked_input(ready, 0, slot, CTX, shown(carried, (1, 3, 4, 5)), vectors[1])
    state = begun_again(carried)
    with pytest.raises(MalformedMessage) as caught:
        server.accept(state, 1, message)
    assert (caught.value.sender, caught.value.field) == (1, "context")
    assert isinstance(state.accumulator, masks.Accumulator) and not state.accumulator.vector.any()
