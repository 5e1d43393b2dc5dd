"""What a participant refuses, what it erases, and that it answers once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import client, masking, messages, primitives, server, shamir
from chatfed.secagg.messages import (
    NO_SHARE,
    AlreadyAnswered,
    BelowThreshold,
    Floors,
    Kind,
    MalformedMessage,
    Parameters,
    RefusedParameters,
    RefusedSurvivors,
    WrongStep,
)
from chatfed.secagg.states import (
    Advertised,
    Answered,
    ClientState,
    DamagedState,
    Masked,
    Round,
    Shared,
    restore,
    store,
)
from tests.secagg.rounds import ATTEMPT, CTX, Carried, body_of, carry, entropy_from, random_vectors, reseal, state_of

PARAMETERS = Parameters(7, 4, 5)
LOW_ORDER = [  # RFC 7748 section 6.1 speaks of them; each gives the all-zero shared secret
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.fixture(scope="module")
def finished() -> Carried:
    """A round in which 6 dropped after sharing, 7 before, and 1..5 survived."""
    carried = Carried(PARAMETERS)
    carry(PARAMETERS, random_vectors(PARAMETERS), {1: {7}, 2: {6}}, carried=carried)
    return carried


def survivors(carried: Carried, *ids: int) -> bytes:
    return messages.encode_survivors(state_of(carried, 1, Shared).view.digest, dict.fromkeys(ids, b""))


KEY = bytes(range(32))


def stored(state: ClientState) -> bytes:
    return store(state, KEY, entropy_from("store"))


def secrets_of(state: ClientState) -> bytes:
    return b"".join(state.to_parts())


def test_answer_holds_exactly_one_kind_of_share_for_each_owner(finished: Carried) -> None:
    """A peer's failure: an id listed both alive and dead got both kinds of share. Here that cannot be said."""
    masked = state_of(finished, 1, Masked)
    for alive in ((1, 2, 3, 4), (1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 6), (1, 3, 5, 6)):
        _, message = client.unmask(masked, survivors(finished, *alive))
        entries = body_of(message)[32:]
        assert len(entries) == 6 * 40  # one share for each of 1..6, 7 never shared
        for k, owner in enumerate(range(1, 7)):
            seed_share, key_share = masked.shares[owner][:36], masked.shares[owner][36:]
            assert entries[40 * k + 4 : 40 * k + 40] == (seed_share if owner in alive else key_share)


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        ((2, 3, 4, 5), RefusedSurvivors),  # omits the one that is asked
        ((1, 2, 3, 4, 7), MalformedMessage),  # 7 never sent shares
        ((1, 2, 3), BelowThreshold),
        ((1,), BelowThreshold),
        ((), RefusedSurvivors),
        ((1, 2, 3, 4, 8), MalformedMessage),  # unknown
        ((0, 1, 2, 3, 4), MalformedMessage),
    ],
    ids=str,
)
def test_unsound_survivor_sets_are_refused_and_cost_nothing(
    finished: Carried, ids: tuple[int, ...], error: type[messages.ProtocolError]
) -> None:
    masked = state_of(finished, 1, Masked)
    with pytest.raises(error):
        client.unmask(masked, survivors(finished, *ids))
    assert isinstance(client.unmask(masked, survivors(finished, 1, 2, 3, 4, 5))[0], Answered)


@pytest.mark.parametrize("ids", [(1, 2, 2, 3, 4), (4, 3, 2, 1), (1, 2, 3, 4, 1)])
def test_survivor_listed_twice_or_out_of_order_is_refused(finished: Carried, ids: tuple[int, ...]) -> None:
    body = b"".join(i.to_bytes(4, "little") for i in ids)
    with pytest.raises(MalformedMessage, match="order of ids"):
        client.unmask(state_of(finished, 1, Masked), reseal(survivors(finished, 1), body))


def test_own_floor_on_survivors_counts_not_the_servers_threshold(finished: Carried) -> None:
    masked = state_of(finished, 1, Masked)
    careful = replace(masked, round=Round(PARAMETERS, Floors(4, 6), CTX, ATTEMPT, 1))
    with pytest.raises(BelowThreshold) as caught:
        client.unmask(careful, survivors(finished, 1, 2, 3, 4, 5))
    assert (caught.value.got, caught.value.need) == (5, 6)


def test_second_unmask_raises_also_after_a_restart(finished: Carried) -> None:
    answered, _ = client.unmask(state_of(finished, 1, Masked), survivors(finished, 1, 2, 3, 4))
    for state in (answered, restore(stored(answered), KEY)):
        for ids in ((1, 2, 3, 4), (1, 2, 3, 5)):
            with pytest.raises(AlreadyAnswered):
                client.unmask(state, survivors(finished, *ids))


def test_erased_secrets_are_in_no_later_state(finished: Carried) -> None:
    shared, masked = state_of(finished, 1, Shared), state_of(finished, 1, Masked)
    answered = secrets_of(state_of(finished, 1, Answered))
    for secret in (shared.seed, shared.mask_private, shared.envelope_private):
        assert secret in secrets_of(shared)
        assert secret not in secrets_of(masked)
    for share in masked.shares.values():
        assert share in secrets_of(masked)
        assert share[:36] not in answered and share[36:] not in answered


@pytest.mark.parametrize(
    ("floors", "parameters"),
    [
        (Floors(5, 2), Parameters(7, 4, 5)),
        (Floors(2, 8), Parameters(7, 4, 5)),
        (Floors(2, 2, 32), Parameters(7, 4, 5, 16)),
    ],
)
def test_parameters_below_the_own_floors_are_refused(floors: Floors, parameters: Parameters) -> None:
    with pytest.raises(RefusedParameters):
        client.advertise(parameters, floors, CTX, ATTEMPT, 1, entropy_from(0))


@pytest.mark.parametrize(
    "wrong",
    [
        (1, 1, 5),
        (7, 3, 5),
        (8, 4, 5),
        (7, 8, 5),
        (7, 4, 0),
        (7, 4, 5, 24),
        (65521, 40000, 5),
        (60, 5, 5, 32, 61),
        (60, 5, 5, 32, 21),
        (60, 1, 5, 32, 20),
        (60, 22, 5, 32, 20),
        (60, 5, 5, 32, 20, 11),
        (60, 5, 5, 32, 20, 3, 61, 40),
        (60, 5, 5, 32, 20, 3, 60, 30),
        (60, 5, 5, 32, 20, 3, 60, 61),
    ],
    ids=str,
)
def test_parameters_that_are_not_sound_cannot_be_made(wrong: tuple[int, ...]) -> None:
    with pytest.raises(RefusedParameters):
        Parameters(*wrong)


def adverts_for(keys: dict[int, tuple[bytes, bytes]]) -> bytes:
    session = PARAMETERS.session(CTX, ATTEMPT)
    return messages.encode_adverts(session, {i: messages.Advert(*k).encode(i, session) for i, k in keys.items()})


def view_of(carried: Carried) -> bytes:
    return state_of(carried, 1, Shared).view.digest


def envelopes_of(carried: Carried, who: int) -> tuple[frozenset[int], dict[int, bytes]]:
    """The sharers, and the envelopes made for `who`, as the server relayed them."""
    return messages.decode_envelopes(carried.wire[Kind.ENVELOPES, who], view_of(carried), set(range(1, 8)))


def keys_of(carried: Carried) -> dict[int, tuple[bytes, bytes]]:
    adverts = state_of(carried, 1, Shared).adverts
    return {i: (a.mask_key, a.envelope_key) for i, a in adverts.items()}


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda p: p.hex()[:6])
def test_low_order_keys_are_refused_by_server_and_participants(finished: Carried, point: bytes) -> None:
    with pytest.raises(primitives.LowOrderKey):
        primitives.agree(primitives.load(bytes(range(32))), point)
    session, good = PARAMETERS.session(CTX, ATTEMPT), keys_of(finished)
    for keys in ((point, good[3][1]), (good[3][0], point)):
        sent = {i: messages.Advert(*k).encode(i, session) for i, k in {**good, 3: keys}.items()}
        with pytest.raises(MalformedMessage) as caught:
            server.relay_adverts(server.open_round(PARAMETERS, CTX, ATTEMPT), sent)
        assert (caught.value.sender, caught.value.kind) == (3, "advert")
    spoiled = adverts_for({**good, 3: (good[3][0], point)})
    with pytest.raises(MalformedMessage) as caught:
        client.share(state_of(finished, 1, Advertised), spoiled, entropy_from(1))
    assert (caught.value.sender, caught.value.field) == (3, "envelope key")
    with pytest.raises(MalformedMessage) as caught:
        client._mask_key(state_of(finished, 1, Shared), 3, {1: good[1][0], 3: point})
    assert (caught.value.sender, caught.value.field) == (3, "mask key")


def test_own_advert_must_come_back_unchanged(finished: Carried) -> None:
    keys = keys_of(finished)
    state = state_of(finished, 1, Advertised)
    for wrong in ({**keys, 1: keys[2]}, {**keys, 1: keys[1][::-1]}, {i: k for i, k in keys.items() if i != 1}):
        with pytest.raises(MalformedMessage, match="own advert"):
            client.share(state, adverts_for(wrong), entropy_from(1))


def test_too_few_adverts_or_envelopes_stop_the_participant(finished: Carried) -> None:
    keys = keys_of(finished)
    with pytest.raises(BelowThreshold, match="advertise"):
        client.share(state_of(finished, 1, Advertised), adverts_for({i: keys[i] for i in (1, 2, 3)}), entropy_from(1))
    sharers, envelopes = envelopes_of(finished, 1)
    message = messages.encode_envelopes(view_of(finished), {1, 2, 3}, {i: envelopes[i] for i in (2, 3)})
    with pytest.raises(BelowThreshold, match="share"):
        client.masked_input(state_of(finished, 1, Shared), message, np.zeros(5, dtype="<u4"))
    for wrong in ({2, 3}, sharers - {1}, sharers | {7}):
        message = messages.encode_envelopes(view_of(finished), wrong, {i: envelopes[i] for i in (2, 3)})
        with pytest.raises(MalformedMessage, match="sharers"):
            client.masked_input(state_of(finished, 1, Shared), message, np.zeros(5, dtype="<u4"))


@pytest.mark.parametrize("which", [0, 1], ids=["mask key", "envelope key"])
def test_substituted_key_spoils_the_envelope(finished: Carried, which: int) -> None:
    """A key changed on the way to one participant is found before that participant sends anything masked."""
    keys, vector = keys_of(finished), np.zeros(5, dtype="<u4")
    other = primitives.public_key(b"\x07" * 32)
    swapped = (other, keys[2][1]) if which == 0 else (keys[2][0], other)
    everyone = {i: (a.mask_key, a.envelope_key) for i, a in finished.server_states["sharing"].adverts.items()}
    state, _ = client.share(state_of(finished, 1, Advertised), adverts_for({**everyone, 2: swapped}), entropy_from(1))
    with pytest.raises(MalformedMessage) as caught:
        client.masked_input(state, finished.wire[Kind.ENVELOPES, 1], vector)
    assert (caught.value.sender, caught.value.field) == (0, "context")
    envelopes = messages.encode_envelopes(state.view.digest, *envelopes_of(finished, 1))  # under the changed view too
    masked, _ = client.masked_input(state, envelopes, vector)
    assert masked.shares[2] == NO_SHARE * 2  # nothing of it opened: bound to both participants' keys and to the view


def test_swapped_or_redirected_envelopes_do_not_open(finished: Carried) -> None:
    state, vector = state_of(finished, 1, Shared), np.zeros(5, dtype="<u4")
    (sharers, mine), (_, other) = envelopes_of(finished, 1), envelopes_of(finished, 2)
    swapped = {**mine, 2: mine[3], 3: mine[2]}
    redirected = {**mine, 3: other[3]}  # what 3 made for 2, shown to 1
    for forged, culprits in ((swapped, {2, 3}), (redirected, {3})):
        masked, _ = client.masked_input(state, messages.encode_envelopes(view_of(finished), sharers, forged), vector)
        assert {x for x, shares in masked.shares.items() if shares == NO_SHARE * 2} == culprits


def test_an_envelope_is_bound_to_its_round_its_direction_and_all_four_keys(finished: Carried) -> None:
    state, view = state_of(finished, 1, Shared), view_of(finished)
    envelope, sender, to = envelopes_of(finished, 1)[1][2], masking.name(2), masking.name(1)
    secret = primitives.agree(state.envelope_agreement, state.adverts[2].envelope_key)
    keys = [key for i in (2, 1) for key in (state.adverts[i].mask_key, state.adverts[i].envelope_key)]

    def opened(*info: bytes, associated: bytes = view + sender + to) -> bytes | None:
        key = primitives.derive(secret, b"share-envelope", *info)
        return primitives.unseal(key, envelope[:12], envelope[12:], associated)

    assert opened(view, sender, to, *keys) == state_of(finished, 1, Masked).shares[2]
    other = bytes(32)
    wrong = [(other, sender, to, *keys), (view, to, sender, *keys), (sender, to, *keys)]
    wrong += [(view, sender, to, *keys[:k], other, *keys[k + 1 :]) for k in range(4)]
    assert [opened(*info) for info in wrong] == [None] * 7
    for associated in (b"", view, sender + to, other + sender + to, view + to + sender):
        assert opened(view, sender, to, *keys, associated=associated) is None


def test_a_sealed_share_outside_the_field_is_none(finished: Carried) -> None:
    dealer, (sharers, mine) = state_of(finished, 2, Shared), envelopes_of(finished, 1)
    least = shamir.PRIME.to_bytes(2, "little")
    for shares in (b"\xff" * 72, least * 36, least + bytes(70), bytes(70) + least):
        forged = client._seal_shares(dealer, 1, shares, bytes(12))
        message = messages.encode_envelopes(view_of(finished), sharers, {**mine, 2: forged})
        masked, _ = client.masked_input(state_of(finished, 1, Shared), message, np.zeros(5, dtype="<u4"))
        assert masked.shares[2] == NO_SHARE * 2


def test_steps_out_of_order_are_refused(finished: Carried) -> None:
    advertised, shared = state_of(finished, 1, Advertised), state_of(finished, 1, Shared)
    masked, vector = state_of(finished, 1, Masked), np.zeros(5, dtype="<u4")
    with pytest.raises(WrongStep):
        client.unmask(shared, survivors(finished, 1, 2, 3, 4))
    with pytest.raises(WrongStep):
        client.masked_input(masked, finished.wire[Kind.ENVELOPES, 1], vector)
    with pytest.raises(WrongStep):
        client.masked_input(advertised, finished.wire[Kind.ENVELOPES, 1], vector)
    with pytest.raises(WrongStep):
        client.share(shared, finished.wire[Kind.ADVERTS, 1], entropy_from(1))


@pytest.mark.parametrize(("shape", "dtype"), [(4, "<u4"), ((5, 1), "<u4"), (5, "<u2"), (5, "<f4"), (5, ">u4")])
def test_vector_of_another_shape_or_type_is_refused(
    finished: Carried, shape: int | tuple[int, ...], dtype: str
) -> None:
    vector = np.zeros(shape, dtype=dtype)
    with pytest.raises(ValueError, match="the vector is"):
        client.masked_input(state_of(finished, 1, Shared), finished.wire[Kind.ENVELOPES, 1], vector)


def test_masking_leaves_the_callers_vector_alone_and_is_repeatable(finished: Carried) -> None:
    vector = np.arange(5, dtype="<u4")
    state, inbound = state_of(finished, 1, Shared), finished.wire[Kind.ENVELOPES, 1]
    assert client.masked_input(state, inbound, vector) == client.masked_input(state, inbound, vector)
    assert vector.tolist() == [0, 1, 2, 3, 4]


def test_secrets_are_in_no_repr_and_no_error(finished: Carried) -> None:
    shared, masked = state_of(finished, 1, Shared), state_of(finished, 1, Masked)
    secrets = [shared.seed, shared.mask_private, shared.envelope_private, shared.own_shares, *masked.shares.values()]
    texts = [repr(state) for _, state in finished.history]
    steps: tuple[Callable[[ClientState, bytes], object], ...] = (
        lambda state, wire: client.share(state, wire, entropy_from(0)),
        lambda state, wire: client.masked_input(state, wire, np.zeros(5, "<u4")),
        client.unmask,
    )
    states: tuple[ClientState, ...] = (shared, masked)
    for one, kind, step in itertools.product(states, Kind, steps):
        try:
            step(one, finished.wire.get((kind, 2), b"")[:-1])
        except messages.ProtocolError as error:
            texts.append(str(error) + repr(error))
    for text in texts:
        for secret in secrets:
            assert repr(secret)[2:-1] not in text and secret.hex() not in text and repr(secret[:8])[2:-1] not in text


def test_every_stored_state_comes_back_the_same(finished: Carried) -> None:
    for _, state in finished.history:
        assert restore(stored(state), KEY) == state
        with pytest.raises(DamagedState, match="another key"):
            restore(stored(state), bytes(32))


def test_no_secret_is_readable_in_what_is_stored(finished: Carried) -> None:
    shared, masked = state_of(finished, 1, Shared), state_of(finished, 1, Masked)
    for secret in (shared.seed, shared.mask_private, shared.envelope_private, *masked.shares.values()):
        assert secret not in stored(shared) and secret not in stored(masked)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_state_is_never_taken(finished: Carried, data: st.DataObject) -> None:
    _, state = data.draw(st.sampled_from(finished.history))
    raw = stored(state)
    how = data.draw(st.sampled_from(["flip", "cut", "extend"]))
    if how == "flip":
        at, bit = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 7))
        raw = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
    elif how == "cut":
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw += data.draw(st.binary(min_size=1, max_size=80))
    with pytest.raises(DamagedState):
        restore(raw, KEY)


def test_a_state_sealed_by_another_version_is_damaged_and_not_guessed_at(finished: Carried) -> None:
    whole = stored(state_of(finished, 1, Shared))
    plain = primitives.unseal(KEY, whole[4:16], whole[16:], b"CFS2") or b""
    for other in (
        b"",
        plain[:1],
        b"\x09" + plain[1:],
        plain[:60],
        plain + bytes(9),
        plain[:5] + bytes(60) + plain[65:],
    ):
        with pytest.raises(DamagedState, match="version"):
            restore(b"CFS2" + bytes(12) + primitives.seal(KEY, bytes(12), other, b"CFS2"), KEY)


def test_entropy_that_runs_short_is_an_error() -> None:
    with pytest.raises(ValueError, match="entropy"):
        client.advertise(PARAMETERS, Floors(4, 4), CTX, ATTEMPT, 1, lambda size: b"\x01" * (size - 1))
