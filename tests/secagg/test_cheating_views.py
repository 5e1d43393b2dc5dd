"""Whoever is shown other participants than the rest gets and gives nothing."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest

from chatfed.secagg import client, messages, server
from chatfed.secagg.messages import (
    NO_SHARE,
    Kind,
    MalformedMessage,
    RefusedSurvivors,
)
from chatfed.secagg.states import Advertised, Masked, Shared
from tests.secagg.forging import ALL, SEVEN, bound_of, survivors, view_of
from tests.secagg.rounds import (
    ATTEMPT,
    CTX,
    Carried,
    body_of,
    carry,
    entropy_from,
    random_vectors,
    ring_sum,
    roster_of,
    signs_as,
    state_of,
)


def test_who_was_shown_other_adverts_shares_nothing_with_the_rest(finished: Carried) -> None:
    """Dropping one advert for half of the participants gives them another view: no envelope and no mask fits."""
    session = SEVEN.session(CTX, ATTEMPT, roster_of(SEVEN))
    frames = {i: finished.wire[Kind.ADVERT, i] for i in range(1, 7)}  # 7 kept from participant 1
    apart, _ = client.share(
        state_of(finished, 1, Advertised), messages.encode_adverts(session, frames), entropy_from(1)
    )
    assert apart.view.digest != view_of(finished)
    with pytest.raises(MalformedMessage, match="context"):
        client.masked_input(apart, finished.wire[Kind.ENVELOPES, 1], np.zeros(5, "<u4"), signs_as(1))
    known, made = messages.decode_envelopes(finished.wire[Kind.ENVELOPES, 1], view_of(finished), set(range(1, 8)))
    readdressed = messages.encode_envelopes(apart.view.digest, known - {7}, {i: made[i] for i in made if i != 7})
    masked, message = client.masked_input(apart, readdressed, np.zeros(5, "<u4"), signs_as(1))
    assert all(masked.shares[i] == NO_SHARE * 2 for i in range(2, 7))  # it holds nothing of theirs, nor they of its
    shares = {i: finished.wire[Kind.SHARES, i] for i in range(1, 8)}
    collecting, _ = server.relay_shares(finished.server_states["sharing"], shares)
    with pytest.raises(MalformedMessage, match="context"):
        server.accept(collecting, 1, message)


def test_who_masked_with_fewer_is_not_answered_for(finished: Carried) -> None:
    """The server shows 1 fewer sharers, to strip its masks: the others see that 1 signed another list, and refuse."""
    view, shared = view_of(finished), state_of(finished, 1, Shared)
    _, made = messages.decode_envelopes(finished.wire[Kind.ENVELOPES, 1], view, set(range(1, 8)))
    fewer = messages.encode_envelopes(view, {1, 2, 3, 4}, {i: made[i] for i in (2, 3, 4)})
    _, message = client.masked_input(shared, fewer, np.zeros(5, "<u4"), signs_as(1))
    lonely = body_of(message)[32:128]
    entries = {**{i: bound_of(finished)[i] for i in ALL}, 1: lonely}
    asked = messages.encode_survivors(view, entries)
    for who in (2, 5):
        with pytest.raises(RefusedSurvivors, match="participant 1 did not mask with the same"):
            client.consent(state_of(finished, who, Masked), asked, signs_as(who))


def test_a_survivor_whose_signature_was_made_up_is_refused(finished: Carried) -> None:
    for forged in (bytes(96), bound_of(finished)[3], bound_of(finished)[2][:32] + bytes(64)):
        entries = {**{i: bound_of(finished)[i] for i in ALL}, 2: forged}
        asked = messages.encode_survivors(view_of(finished), entries)
        with pytest.raises(RefusedSurvivors, match="participant 2"):
            client.consent(state_of(finished, 1, Masked), asked, signs_as(1))


def test_somebody_who_did_not_send_a_masked_input_is_no_survivor(finished: Carried) -> None:
    with pytest.raises(RefusedSurvivors, match="participant 7"):
        client.consent(state_of(finished, 1, Masked), survivors(finished, range(1, 8)), signs_as(1))


def test_masked_inputs_of_others_are_not_taken_from_anybody(finished: Carried) -> None:
    shared, envelopes = state_of(finished, 2, Shared), finished.wire[Kind.ENVELOPES, 2]
    _, message = client.masked_input(shared, envelopes, np.zeros(5, "<u4"), signs_as(3))
    shares = {i: finished.wire[Kind.SHARES, i] for i in range(1, 8)}
    collecting, _ = server.relay_shares(finished.server_states["sharing"], shares)
    with pytest.raises(MalformedMessage) as caught:
        server.accept(collecting, 2, message)
    assert (caught.value.sender, caught.value.field) == (2, "signature")
    assert not collecting.accumulator.vector.any()


def spoil(message: bytes, view: bytes, sharer: int, victims: Collection[int]) -> bytes:
    """A sharer's message with garbage in the envelopes for `victims`, resealed."""
    body = bytearray(body_of(message))
    for at in range(0, len(body), 104):
        if int.from_bytes(body[at : at + 4], "little") in victims:
            body[at + 4 : at + 104] = bytes(100)
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
    collecting, out = server.relay_shares(carried.server_states["sharing"], sent)
    states = {}
    for i in range(1, 8):
        step = client.masked_input(state_of(carried, i, Shared), out[i], vectors[i], signs_as(i))
        states[i], message = step
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
