"""What a participant answers, and what it refuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from chatfed.secagg import client, masking, messages, primitives, server, shamir
from chatfed.secagg.messages import (
    NO_SHARE,
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
    Epoch,
    Masked,
    Ready,
    Shared,
    Slot,
)
from tests.secagg.rounds import (
    CTX,
    EPOCH,
    SCOPE,
    UNSIGNED,
    Carried,
    body_of,
    entropy_from,
    made_for,
    of_epoch,
    shown,
    state_of,
)

LOW_ORDER = [  # RFC 7748 section 6.1 speaks of them; each gives the all-zero shared secret
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
ZEROS = np.zeros(5, dtype="<u4")


def survivors(carried: Carried, *ids: int) -> bytes:
    return named(carried, sum(1 << i - 1 for i in ids))


def named(carried: Carried, bits: int, size: int = 1) -> bytes:
    """A survivor set, bit by bit: also one that no encoder makes."""
    return messages.encode(Kind.SURVIVORS, 0, state_of(carried, 1, Masked).turn, bits.to_bytes(size, "little"))


def masked_by(
    state: ClientState, slot: Slot, inbound: bytes, vector: masking.RingVector = ZEROS
) -> tuple[Masked, bytes]:
    """The masked input of slot 0."""
    return client.masked_input(state, 0, slot, CTX, inbound, vector)


def opened(state: ClientState, envelopes: dict[int, bytes], view: bytes) -> tuple[Ready, Slot]:
    """An epoch of one slot, with its secrets."""
    ready, (secrets,) = client.open_envelopes(state, messages.encode_envelopes(view, envelopes))
    return ready, Slot.from_bytes(secrets, ready.members)


def test_answer_holds_exactly_one_kind_of_share_for_each_owner(unsigned: Carried) -> None:
    """A peer's failure: an id listed both alive and dead got both kinds of share. Here that cannot be said."""
    masked = state_of(unsigned, 1, Masked)
    for alive in ((1, 2, 3, 4), (1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 6), (1, 3, 5, 6)):
        _, message = client.unmask(masked, survivors(unsigned, *alive))
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
        ((1, 2, 3, 4, 8), MalformedMessage),  # unknown: the last bit, which is nobody's
    ],
    ids=str,
)
def test_unsound_survivor_sets_are_refused_and_cost_nothing(
    unsigned: Carried, ids: tuple[int, ...], error: type[messages.ProtocolError]
) -> None:
    masked = state_of(unsigned, 1, Masked)
    with pytest.raises(error):
        client.unmask(masked, survivors(unsigned, *ids))
    assert isinstance(client.unmask(masked, survivors(unsigned, 1, 2, 3, 4, 5))[0], Answered)


@pytest.mark.parametrize("size", [0, 2, 4])
def test_a_survivor_set_of_another_length_is_refused(unsigned: Carried, size: int) -> None:
    with pytest.raises(MalformedMessage, match="length"):
        client.unmask(state_of(unsigned, 1, Masked), named(unsigned, 0b11111 if size else 0, size))


def test_own_floor_on_survivors_counts_not_the_servers_threshold(unsigned: Carried) -> None:
    masked = state_of(unsigned, 1, Masked)
    careful = replace(masked, ready=replace(masked.ready, epoch=Epoch(UNSIGNED, Floors(4, 6), SCOPE, EPOCH, 1)))
    with pytest.raises(BelowThreshold) as caught:
        client.unmask(careful, survivors(unsigned, 1, 2, 3, 4, 5))
    assert (caught.value.got, caught.value.need) == (5, 6)


@pytest.mark.parametrize(
    ("floors", "parameters"),
    [
        (Floors(5, 2), Parameters(7, 4, 5)),
        (Floors(2, 8), Parameters(7, 4, 5)),
        (Floors(2, 2, 32), Parameters(7, 4, 5, 16)),
        (Floors(2, 2, slots=1), Parameters(7, 4, 5, slots=2)),
        (Floors(2, 2, slots=2), Parameters(7, 4, 5, slots=1)),
    ],
)
def test_parameters_below_the_own_floors_are_refused(floors: Floors, parameters: Parameters) -> None:
    with pytest.raises(RefusedParameters):
        client.advertise(parameters, floors, SCOPE, EPOCH, 1, entropy_from(0))


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
        (7, 4, 5, 32, 6, 0, 0, 0, 0),
        (7, 4, 5, 32, 6, 0, 0, 0, 257),
    ],
    ids=str,
)
def test_parameters_that_are_not_sound_cannot_be_made(wrong: tuple[int, ...]) -> None:
    with pytest.raises(RefusedParameters):
        Parameters(*wrong)  # type: ignore[arg-type]  # as many numbers as there are


def adverts_for(keys: dict[int, tuple[bytes, bytes]]) -> bytes:
    session = of_epoch(UNSIGNED)
    return messages.encode_adverts(session, {i: messages.Advert(*k).encode(i, session) for i, k in keys.items()})


def view_of(carried: Carried) -> bytes:
    return state_of(carried, 1, Shared).view.digest


def keys_of(carried: Carried) -> dict[int, tuple[bytes, bytes]]:
    adverts = carried.server_states["sharing"].adverts
    return {i: (a.mask_key, a.envelope_key) for i, a in adverts.items()}


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda p: p.hex()[:6])
def test_low_order_keys_are_refused_by_server_and_participants(unsigned: Carried, point: bytes) -> None:
    with pytest.raises(primitives.LowOrderKey):
        primitives.agree(primitives.load(bytes(range(32))), point)
    session, good = of_epoch(UNSIGNED), keys_of(unsigned)
    for keys in ((point, good[3][1]), (good[3][0], point)):
        sent = {i: messages.Advert(*k).encode(i, session) for i, k in {**good, 3: keys}.items()}
        with pytest.raises(MalformedMessage) as caught:
            server.relay_adverts(server.open_epoch(UNSIGNED, SCOPE, EPOCH), sent)
        assert (caught.value.sender, caught.value.kind) == (3, "advert")
    for keys, field in (((good[3][0], point), "envelope key"), ((point, good[3][1]), "mask key")):
        with pytest.raises(MalformedMessage) as caught:
            client.share(state_of(unsigned, 1, Advertised), adverts_for({**good, 3: keys}), entropy_from(1))
        assert (caught.value.sender, caught.value.field) == (3, field)


def test_own_advert_must_come_back_unchanged(unsigned: Carried) -> None:
    keys = keys_of(unsigned)
    state = state_of(unsigned, 1, Advertised)
    for wrong in ({**keys, 1: keys[2]}, {**keys, 1: keys[1][::-1]}, {i: k for i, k in keys.items() if i != 1}):
        with pytest.raises(MalformedMessage, match="own advert"):
            client.share(state, adverts_for(wrong), entropy_from(1))


def test_too_few_adverts_or_present_stop_the_participant(unsigned: Carried) -> None:
    keys = keys_of(unsigned)
    with pytest.raises(BelowThreshold, match="advertise"):
        client.share(state_of(unsigned, 1, Advertised), adverts_for({i: keys[i] for i in (1, 2, 3)}), entropy_from(1))
    ready, slot = state_of(unsigned, 1, Ready), unsigned.secrets_of(1)
    assert ready.members == {2, 3, 4, 5, 6}
    with pytest.raises(BelowThreshold, match="share"):
        masked_by(ready, slot, shown(unsigned, {1, 2, 3}))
    for wrong in ({2, 3}, ready.members, ready.members | {1, 7}):
        with pytest.raises(MalformedMessage, match="sharers"):
            masked_by(ready, slot, shown(unsigned, wrong))


@pytest.mark.parametrize("which", [0, 1], ids=["mask key", "envelope key"])
def test_substituted_key_spoils_the_envelope(unsigned: Carried, which: int) -> None:
    """A key changed on the way to one participant is found before that participant sends anything masked."""
    keys = keys_of(unsigned)
    other = primitives.public_key(b"\x07" * 32)
    swapped = (other, keys[2][1]) if which == 0 else (keys[2][0], other)
    state, _ = client.share(state_of(unsigned, 1, Advertised), adverts_for({**keys, 2: swapped}), entropy_from(1))
    with pytest.raises(MalformedMessage) as caught:
        client.open_envelopes(state, unsigned.wire[Kind.ENVELOPES, 1])
    assert (caught.value.sender, caught.value.field) == (0, "context")
    _, slot = opened(state, made_for(unsigned, 1), state.view.digest)  # under the changed view too
    assert slot.shares[2] == NO_SHARE * 2  # nothing of it opened: bound to both participants' keys and to the view


def test_swapped_or_redirected_envelopes_do_not_open(unsigned: Carried) -> None:
    state, mine, other = state_of(unsigned, 1, Shared), made_for(unsigned, 1), made_for(unsigned, 2)
    swapped = {**mine, 2: mine[3], 3: mine[2]}
    redirected = {**mine, 3: other[3]}  # what 3 made for 2, shown to 1
    for forged, culprits in ((swapped, {2, 3}), (redirected, {3})):
        _, slot = opened(state, forged, view_of(unsigned))
        assert {x for x, shares in slot.shares.items() if shares == NO_SHARE * 2} == culprits


def test_an_envelope_is_bound_to_its_epoch_its_direction_and_all_four_keys(unsigned: Carried) -> None:
    view, adverts = view_of(unsigned), unsigned.server_states["sharing"].adverts
    envelope, sender, to = made_for(unsigned, 1)[2], masking.name(2), masking.name(1)
    own = primitives.load(state_of(unsigned, 1, Advertised).envelope_private)
    secret = primitives.agree(own, adverts[2].envelope_key)
    keys = [key for i in (2, 1) for key in (adverts[i].mask_key, adverts[i].envelope_key)]

    def found(*info: bytes, associated: bytes = view + sender + to) -> bytes | None:
        key = primitives.derive(secret, b"share-envelope", *info)
        return primitives.unseal(key, envelope[:12], envelope[12:], associated)

    assert found(view, sender, to, *keys) == state_of(unsigned, 1, Masked).shares[2]
    other = bytes(32)
    wrong = [(other, sender, to, *keys), (view, to, sender, *keys), (sender, to, *keys)]
    wrong += [(view, sender, to, *keys[:k], other, *keys[k + 1 :]) for k in range(4)]
    assert [found(*info) for info in wrong] == [None] * 7
    for associated in (b"", view, sender + to, other + sender + to, view + to + sender):
        assert found(view, sender, to, *keys, associated=associated) is None


def test_an_envelope_opens_for_its_holder_whatever_else_came(unsigned: Carried) -> None:
    """Who did not share is no member; the secrets of those who did are the same."""
    state, mine = state_of(unsigned, 1, Shared), made_for(unsigned, 1)
    whole = unsigned.secrets_of(1)
    ready, slot = opened(state, {i: mine[i] for i in (2, 5)}, view_of(unsigned))
    assert ready.members == {2, 5}
    assert slot == Slot(whole.seed, whole.own_share, *({i: t[i] for i in (2, 5)} for t in (whole.pairs, whole.shares)))
    for length in (-1, 1):
        with pytest.raises(DamagedState, match="another length"):
            Slot.from_bytes((unsigned.secrets[1][0] + bytes(1))[: Slot.size(5) + length], frozenset(mine))


def test_a_sealed_share_outside_the_field_is_none(unsigned: Carried) -> None:
    adverts, view = dict(unsigned.server_states["sharing"].adverts), view_of(unsigned)
    own = primitives.load(state_of(unsigned, 2, Advertised).envelope_private)
    outward, _ = client._envelope_keys(own, 2, 1, adverts, view)
    least = shamir.PRIME.to_bytes(2, "little")
    for shares in (b"\xff" * 72, least * 36, least + bytes(70), bytes(70) + least):
        forged = client._sealed(outward, 2, 1, shares, view, bytes)
        _, slot = opened(state_of(unsigned, 1, Shared), {**made_for(unsigned, 1), 2: forged}, view)
        assert slot.shares[2] == NO_SHARE * 2
    sound = client._sealed(outward, 2, 1, bytes(72), view, bytes)
    _, slot = opened(state_of(unsigned, 1, Shared), {**made_for(unsigned, 1), 2: sound}, view)
    assert slot.shares[2] == bytes(72)  # else nothing is shown above


def test_steps_out_of_order_are_refused(unsigned: Carried) -> None:
    advertised, shared = state_of(unsigned, 1, Advertised), state_of(unsigned, 1, Shared)
    ready, masked = state_of(unsigned, 1, Ready), state_of(unsigned, 1, Masked)
    slot, present = unsigned.secrets_of(1), unsigned.wire[Kind.PRESENT, 1]
    states: list[ClientState] = [advertised, shared, ready, masked]
    for early in states[:3]:
        with pytest.raises(WrongStep):
            client.unmask(early, survivors(unsigned, 1, 2, 3, 4))
        with pytest.raises(WrongStep):
            client.consent(early, survivors(unsigned, 1, 2, 3, 4), bytes)
    for other in (state for state in states if state is not ready):
        with pytest.raises(WrongStep):
            masked_by(other, slot, present)
    for other in (state for state in states if state is not shared):
        with pytest.raises(WrongStep):
            client.open_envelopes(other, unsigned.wire[Kind.ENVELOPES, 1])
    for other in states[1:]:
        with pytest.raises(WrongStep):
            client.share(other, unsigned.wire[Kind.ADVERTS, 1], entropy_from(1))


@pytest.mark.parametrize(("shape", "dtype"), [(4, "<u4"), ((5, 1), "<u4"), (5, "<u2"), (5, "<f4"), (5, ">u4")])
def test_vector_of_another_shape_or_type_is_refused(
    unsigned: Carried, shape: int | tuple[int, ...], dtype: str
) -> None:
    vector = np.zeros(shape, dtype=dtype)
    with pytest.raises(ValueError, match="the vector is"):
        masked_by(state_of(unsigned, 1, Ready), unsigned.secrets_of(1), unsigned.wire[Kind.PRESENT, 1], vector)


def test_masking_leaves_the_callers_vector_alone_and_is_repeatable(unsigned: Carried) -> None:
    vector = np.arange(5, dtype="<u4")
    state, slot, inbound = state_of(unsigned, 1, Ready), unsigned.secrets_of(1), unsigned.wire[Kind.PRESENT, 1]
    assert masked_by(state, slot, inbound, vector) == masked_by(state, slot, inbound, vector)
    assert vector.tolist() == [0, 1, 2, 3, 4]


def test_secrets_are_in_no_repr_and_no_error(unsigned: Carried) -> None:
    advertised, shared = state_of(unsigned, 1, Advertised), state_of(unsigned, 1, Shared)
    ready, masked, slot = state_of(unsigned, 1, Ready), state_of(unsigned, 1, Masked), unsigned.secrets_of(1)
    secrets = [advertised.mask_private, advertised.envelope_private, shared.seeds, shared.own_shares]
    secrets += [*shared.keys.values(), *slot.pairs.values(), slot.seed, *masked.shares.values()]
    texts = [repr(state) for _, state in unsigned.history] + [repr(slot)]
    steps: tuple[Callable[[ClientState, bytes], object], ...] = (
        lambda state, wire: client.share(state, wire, entropy_from(0)),
        client.open_envelopes,
        lambda state, wire: masked_by(state, slot, wire),
        client.unmask,
    )
    states: list[ClientState] = [advertised, shared, ready, masked]
    for one, kind, step in itertools.product(states, Kind, steps):
        try:
            step(one, unsigned.wire.get((kind, 2), b"")[:-1])
        except messages.ProtocolError as error:
            texts.append(str(error) + repr(error))
    assert len(texts) > 150
    for text in texts:
        for secret in secrets:
            assert repr(secret)[2:-1] not in text and secret.hex() not in text and repr(secret[:8])[2:-1] not in text


def test_entropy_that_runs_short_is_an_error() -> None:
    with pytest.raises(ValueError, match="entropy"):
        client.advertise(UNSIGNED, Floors(4, 4), SCOPE, EPOCH, 1, lambda size: b"\x01" * (size - 1))
