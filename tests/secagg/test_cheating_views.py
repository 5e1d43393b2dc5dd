"""Whoever is shown other participants than the rest gets and gives nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pytest

from chatfed.secagg import client, messages, server
from chatfed.secagg.lattice import CipherSum
from chatfed.secagg.messages import (
    Kind,
    MalformedMessage,
    Present,
    RefusedSurvivors,
)
from chatfed.secagg.schemes.masks import Accumulator
from chatfed.secagg.states import Advertised, Masked, Ready, Shared, Slot
from tests.secagg.forging import ALL, SEVEN, bound_of, survivors, turn_of, view_of
from tests.secagg.rounds import (
    CTX,
    Carried,
    begun_again,
    body_of,
    carry,
    entropy_from,
    made_for,
    of_epoch,
    random_vectors,
    ring_sum,
    shown,
    signs_as,
    state_of,
)

ZEROS = np.zeros(5, "<u4")


@pytest.fixture(params=messages.SCHEMES)
def finished(request: pytest.FixtureRequest, finished_by_scheme: Mapping[str, Carried]) -> Carried:
    """Under each scheme: 7 dropped out after sharing and 1..6 survived."""
    return finished_by_scheme[request.param]


def test_who_was_shown_other_adverts_shares_nothing_with_the_rest(finished: Carried) -> None:
    """Dropping one advert for half of the participants gives them another view: no envelope and no mask fits."""
    session, layout = of_epoch(finished.parameters), finished.parameters.layout
    frames = {i: finished.wire[Kind.ADVERT, i] for i in range(1, 7)}  # 7 kept from participant 1
    apart, _ = client.share(
        state_of(finished, 1, Advertised), messages.encode_adverts(session, frames), entropy_from(1)
    )
    assert apart.view.digest != view_of(finished)
    with pytest.raises(MalformedMessage, match="context"):
        client.open_envelopes(apart, finished.wire[Kind.ENVELOPES, 1])
    made = made_for(finished, 1)
    readdressed = messages.encode_envelopes(apart.view.digest, {i: made[i] for i in made if i != 7})
    ready, (secrets,) = client.open_envelopes(apart, readdressed)
    slot = Slot.from_bytes(secrets, ready.members, layout)
    assert all(slot.shares[i] == layout.nothing for i in range(2, 7))  # it holds nothing of theirs, nor they of its
    if layout.pair:  # with threshold keys no two participants hide anything together
        assert all(slot.pairs[i] != finished.secrets_of(i).pairs[1] for i in range(2, 7))
    with pytest.raises(MalformedMessage, match="context"):
        client.masked_input(ready, 0, slot, CTX, finished.wire[Kind.PRESENT, 1], ZEROS, signs_as(1))
    six = Present(0, CTX, frozenset(range(1, 7))).encode(apart.view.digest, 7)
    _, message = client.masked_input(ready, 0, slot, CTX, six, ZEROS, signs_as(1))
    for present in (range(1, 8), range(1, 7)):
        with pytest.raises(MalformedMessage, match="context"):
            server.accept(begun_again(finished, present), 1, message)


def test_who_masked_with_fewer_is_not_answered_for(finished: Carried) -> None:
    """The server shows 1 fewer of those present, to strip its masks: the others see that 1 signed for other ones."""
    ready, slot = state_of(finished, 1, Ready), finished.secrets_of(1)
    _, message = client.masked_input(ready, 0, slot, CTX, shown(finished, {1, 2, 3, 4}), ZEROS, signs_as(1))
    for who in (2, 5):
        asked = survivors(finished, who, ALL, {1: body_of(message)[:96]})
        with pytest.raises(RefusedSurvivors, match="participant 1 did not mask with the same"):
            client.consent(state_of(finished, who, Masked), asked, signs_as(who))


def test_a_survivor_whose_signature_was_made_up_is_refused(finished: Carried) -> None:
    for forged in (bytes(96), bound_of(finished)[3], bound_of(finished)[2][:32] + bytes(64)):
        asked = survivors(finished, 1, ALL, {2: forged})
        with pytest.raises(RefusedSurvivors, match="participant 2"):
            client.consent(state_of(finished, 1, Masked), asked, signs_as(1))


def test_somebody_who_did_not_send_a_masked_input_is_no_survivor(finished: Carried) -> None:
    with pytest.raises(RefusedSurvivors, match="participant 7"):
        client.consent(state_of(finished, 1, Masked), survivors(finished, 1, range(1, 8)), signs_as(1))


def test_masked_inputs_of_others_are_not_taken_from_anybody(finished: Carried) -> None:
    ready, slot = state_of(finished, 2, Ready), finished.secrets_of(2)
    _, message = client.masked_input(ready, 0, slot, CTX, finished.wire[Kind.PRESENT, 2], ZEROS, signs_as(3))
    collecting = begun_again(finished)
    assert collecting.turn == turn_of(finished)
    with pytest.raises(MalformedMessage) as caught:
        server.accept(collecting, 2, message)
    assert (caught.value.sender, caught.value.field) == (2, "signature")
    assert isinstance(collecting.accumulator, Accumulator | CipherSum) and collecting.accumulator.added == 0


def spoil(message: bytes, view: bytes, sharer: int, victims: Collection[int]) -> bytes:
    """A sharer's message with garbage in the envelopes for `victims`, resealed."""
    body, envelope = bytearray(body_of(message)), messages.LAYOUTS[messages.MASKS].envelope(1)
    for at in range(0, len(body), 4 + envelope + messages.ROW_BYTES):
        if int.from_bytes(body[at : at + 4], "little") in victims:
            body[at + 4 : at + 4 + envelope] = bytes(envelope)
    return messages.encode(Kind.SHARES, sharer, view, bytes(body))


@pytest.mark.parametrize("victims", [{2}, {2, 3, 4}], ids=str)
def test_garbage_envelopes_make_nobody_leave_and_their_maker_is_named(victims: set[int]) -> None:
    """One participant that deals garbage must not make its neighbours look like those who dropped out."""
    carried, vectors = Carried(SEVEN), random_vectors(SEVEN)
    carry(SEVEN, vectors, carried=carried)  # for its keys and states
    view = view_of(carried)
    sent = {i: carried.wire[Kind.SHARES, i] for i in range(1, 8)} | {
        1: spoil(carried.wire[Kind.SHARES, 1], view, 1, victims)
    }
    epoch, out = server.relay_shares(carried.server_states["sharing"], sent)
    collecting, present = server.begin(epoch, 0, CTX, range(1, 8))
    states = {}
    for i in range(1, 8):
        ready, (secrets,) = client.open_envelopes(state_of(carried, i, Shared), out[i])
        slot = Slot.from_bytes(secrets, ready.members)
        states[i], message = client.masked_input(ready, 0, slot, CTX, present[i], vectors[i], signs_as(i))
        collecting = server.accept(collecting, i, message)
    closed, out = server.close_inputs(collecting)
    for_all = {i: client.consent(states[i], out[i], signs_as(i)) for i in out}
    closed, out = server.certify(closed, {i: message for i, (_, message) in for_all.items()})
    answers = {i: client.unmask(for_all[i][0], out[i])[1] for i in out}
    if len(victims) == 1:
        total = server.finish(closed, answers)
        assert total.vector.tolist() == ring_sum(SEVEN, list(vectors.values()))
        assert total.disputes == ((2, 1),)
    else:
        few = {i: answer for i, answer in answers.items() if i not in (6, 7)}  # of five that answer, two hold shares
        with pytest.raises(messages.BadShares) as caught:
            server.finish(closed, few)
        assert caught.value.owner == 1
