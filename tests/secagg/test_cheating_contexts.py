"""A server that shows two contexts under one slot gets one certificate, and no keys or masks of anybody by both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from chatfed.secagg import client, messages, shamir
from chatfed.secagg.messages import BelowThreshold, Kind, Parameters, RefusedCertificate, RefusedSurvivors
from chatfed.secagg.states import Masked, Ready
from tests.secagg.forging import sign_as
from tests.secagg.rounds import Carried, agreed_on, body_of, ctx_of, shown, signs_as, state_of

ZEROS = np.zeros(4, "<u4")
NINE = Parameters(9, 3, 4, 32, 4, 2, 9, 6, 2)
CORRUPT = 9  # masks, signs and answers whatever it is asked


@dataclass
class Half:
    """What becomes of those who were shown one of two contexts under one slot; the corrupt one is in both."""

    carried: Carried
    ctx: bytes
    honest: frozenset[int]
    states: dict[int, Masked] = field(default_factory=dict)
    bound: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        said = shown(self.carried, range(1, 10), self.ctx, 0)
        for i in (*self.honest, CORRUPT):
            ready, slot = state_of(self.carried, i, Ready), self.carried.secrets_of(i, 0)
            self.states[i], message = client.masked_input(ready, 0, slot, self.ctx, said, ZEROS, signs_as(i))
            self.bound[i] = body_of(message)[:96]

    @property
    def turn(self) -> bytes:
        return self.states[CORRUPT].turn

    def answers(self, claimed: frozenset[int], bound: Mapping[int, bytes]) -> dict[int, dict[int, bytes]]:
        """By holder and owner the shares of masks that the honest ones give for a survivor set."""
        holders, digest = (
            self.carried.server_states["epoch"].graph.holders,
            messages.survivors_digest(self.turn, claimed),
        )
        said = self.answered(claimed, bound).items()
        return {i: messages.decode_entries(m, Kind.ANSWER, i, self.turn, holders(i), 36, digest) for i, m in said}

    def answered(self, claimed: frozenset[int], bound: Mapping[int, bytes]) -> dict[int, bytes]:
        """What the honest ones give for a survivor set, by who gives it."""
        graph, digest = self.carried.server_states["epoch"].graph, messages.survivors_digest(self.turn, claimed)
        consented, signed = {}, {CORRUPT: sign_as(CORRUPT, digest)}
        for i in self.honest & claimed:
            near = {j: bound[j] for j in graph.neighbours(i) & claimed}
            said = messages.encode_survivors(self.turn, 9, claimed, near)
            try:
                consented[i], message = client.consent(self.states[i], said, signs_as(i))
            except (RefusedSurvivors, BelowThreshold):
                continue
            signed[i] = body_of(message)[32:]
        given_ = dict[int, bytes]()
        certificate = messages.encode_entries(Kind.CERTIFICATE, 0, self.turn, signed, digest)
        for i, state in consented.items():
            try:
                _, given_[i] = client.unmask(state, certificate)
            except RefusedCertificate:
                continue
        return given_


@pytest.mark.parametrize("size", [3, 4, 5, 6])
@pytest.mark.parametrize("seed", range(3))
def test_two_contexts_under_one_slot_give_no_second_certificate_and_both_kinds_of_share_of_nobody(
    size: int, seed: int
) -> None:
    carried, everyone = agreed_on(NINE, seed), frozenset(range(1, 10))
    one = Half(carried, ctx_of(0), frozenset(range(1, size + 1)))
    other = Half(carried, ctx_of(1), frozenset(range(size + 1, 9)))
    signed_for = {**one.bound, **other.bound}
    certified, seeds, keys = 0, dict.fromkeys(everyone, 1), dict.fromkeys(everyone, 1)  # the corrupt one's of both
    for half in (one, other):
        mine = half.honest | {CORRUPT}
        answered = half.answers(mine, {**signed_for, **half.bound})
        certified += bool(answered)
        for i, given_ in answered.items():
            for owner, share in given_.items():
                kinds, lives = half.states[i].shares[owner], owner in mine
                assert share == (kinds[: shamir.SHARE_BYTES] if lives else kinds[shamir.SHARE_BYTES :])
                (seeds if lives else keys)[owner] += 1
    assert certified == (size + 1 >= NINE.quorum or 9 - size >= NINE.quorum)
    assert not [owner for owner in everyone if min(seeds[owner], keys[owner]) >= NINE.threshold]
    for half in (one, other):  # nor do they take the others for survivors, whose signatures are on another sum
        assert half.answers(everyone, signed_for) == {}


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_two_contexts_under_one_slot_give_one_sum_of_its_keys_at_the_most(size: int) -> None:
    """The keys of both would be those of the slot: two sums that differ by one participant would give its key."""
    parameters, everyone = Parameters(9, 5, 4, committee=9, quorum=6, slots=2, scheme="threshold-he"), range(1, 10)
    carried = agreed_on(parameters)
    one = Half(carried, ctx_of(0), frozenset(range(1, size + 1)))
    other = Half(carried, ctx_of(1), frozenset(range(size + 1, 9)))
    signed_for = {**one.bound, **other.bound}
    asked = [(half, half.honest | {CORRUPT}) for half in (one, other)]
    told = [half.answered(ids, {**signed_for, **half.bound}) for half, ids in asked]
    assert [bool(each) for each in told] == [len(ids) >= parameters.quorum for _, ids in asked]
    assert sum(map(bool, told)) < 2
    for half in (one, other):
        assert half.answered(frozenset(everyone), signed_for) == {}
