"""What is stored of a participant's states comes back the same or not at all, and erased secrets are in none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import client, primitives
from chatfed.secagg.messages import AlreadyAnswered
from chatfed.secagg.states import (
    Advertised,
    Answered,
    DamagedState,
    Masked,
    Ready,
    SettingUp,
    Shared,
    Summing,
    restore,
    store,
)
from tests.secagg.forging import survivors, view_of
from tests.secagg.rounds import Carried, entropy_from, state_of

KEY = bytes(range(32))


def stored(state: SettingUp | Summing) -> bytes:
    return store(state, KEY, entropy_from("store"))


def restored(data: bytes, beside: SettingUp | Summing, key: bytes = KEY) -> SettingUp | Summing:
    """What was stored, beside the epoch of `beside` where that is of one sum."""
    return restore(data, key, None if isinstance(beside, Advertised | Shared) else beside.ready)


def kept(carried: Carried) -> list[SettingUp | Summing]:
    """All states that are stored sealed, as they came."""
    return [state for _, state in carried.history if not isinstance(state, Ready)]


def secrets_of(state: SettingUp | Summing) -> bytes:
    return b"".join(state.to_parts())


def test_every_stored_state_comes_back_the_same(unsigned: Carried) -> None:
    for state in kept(unsigned):
        assert restored(stored(state), state) == state
        with pytest.raises(DamagedState, match="another key"):
            restored(stored(state), state, bytes(32))
    for ready in (state for _, state in unsigned.history if isinstance(state, Ready)):
        assert Ready.from_bytes(ready.to_bytes()) == ready


def test_a_state_of_a_sum_opens_beside_its_own_epoch_only(unsigned: Carried) -> None:
    masked, ready = state_of(unsigned, 1, Masked), state_of(unsigned, 1, Ready)
    elsewhere = replace(ready, view=replace(ready.view, digest=bytes(32)))
    for state, beside in ((masked, None), (masked, elsewhere), (state_of(unsigned, 1, Shared), ready)):
        with pytest.raises(DamagedState, match="another key"):
            restore(stored(state), KEY, beside)


def test_second_unmask_raises_also_after_a_restart(unsigned: Carried) -> None:
    answered, _ = client.unmask(state_of(unsigned, 1, Masked), survivors(unsigned, 1, (1, 2, 3, 4)))
    for state in (answered, restored(stored(answered), answered)):
        for ids in ((1, 2, 3, 4), (1, 2, 3, 5)):
            with pytest.raises(AlreadyAnswered):
                client.unmask(state, survivors(unsigned, 1, ids))


def test_erased_secrets_are_in_no_later_state(unsigned: Carried) -> None:
    advertised, shared = state_of(unsigned, 1, Advertised), state_of(unsigned, 1, Shared)
    ready, slot, masked = state_of(unsigned, 1, Ready), unsigned.secrets_of(1), state_of(unsigned, 1, Masked)
    secrets, answered = unsigned.secrets[1][0], secrets_of(state_of(unsigned, 1, Answered))
    for private in (advertised.mask_private, advertised.envelope_private):
        assert private in secrets_of(advertised)
        assert private not in secrets_of(shared) + secrets + ready.to_bytes()
    roots = [keys[:32] for keys in shared.keys.values()]
    for root, envelope in zip(roots, (keys[32:] for keys in shared.keys.values()), strict=True):
        assert root in secrets_of(shared) and envelope in secrets_of(shared)
        assert root not in secrets + ready.to_bytes() and envelope not in secrets + ready.to_bytes()
    assert shared.seeds in secrets_of(shared)
    for secret in (slot.seed, *slot.pairs.values()):
        assert secret in secrets and secret not in secrets_of(masked) + ready.to_bytes()
    for share in masked.shares.values():
        assert share in secrets_of(masked) and share not in ready.to_bytes()
        assert share[:36] not in answered and share[36:] not in answered


def test_no_secret_is_readable_in_what_is_stored(unsigned: Carried) -> None:
    advertised, shared = state_of(unsigned, 1, Advertised), state_of(unsigned, 1, Shared)
    masked = state_of(unsigned, 1, Masked)
    secrets = [advertised.mask_private, advertised.envelope_private, shared.seeds]
    for secret in (*secrets, *shared.keys.values(), *masked.shares.values()):
        assert all(secret not in stored(state) for state in (advertised, shared, masked))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_state_is_never_taken(unsigned: Carried, data: st.DataObject) -> None:
    state = data.draw(st.sampled_from(kept(unsigned)))
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
        restored(raw, state)


@pytest.mark.parametrize("step", [Shared, Masked], ids=lambda step: step.__name__)
def test_a_state_sealed_by_another_version_is_damaged_and_not_guessed_at(
    unsigned: Carried, step: type[Shared] | type[Masked]
) -> None:
    state = state_of(unsigned, 1, step)
    whole, about = stored(state), b"CFS3" + (view_of(unsigned) if isinstance(state, Masked) else b"")
    plain = primitives.unseal(KEY, whole[4:16], whole[16:], about) or b""
    assert plain
    for other in (
        b"",
        plain[:1],
        b"\x09" + plain[1:],
        plain[:40],
        plain + bytes(9),
        plain[:5] + bytes(60) + plain[65:],
    ):
        with pytest.raises(DamagedState, match="version"):
            restored(b"CFS3" + bytes(12) + primitives.seal(KEY, bytes(12), other, about), state)
    with pytest.raises(DamagedState):
        restored(b"CFS2" + whole[4:], state)
