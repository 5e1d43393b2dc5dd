"""A server that cheats, with pinned identities: every lie is refused by a typed error before a secret is spent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import client, graph, messages, primitives, server
from chatfed.secagg.messages import (
    NO_SHARE,
    Advert,
    BelowThreshold,
    Floors,
    Kind,
    MalformedMessage,
    Parameters,
    RefusedCertificate,
    RefusedParameters,
    RefusedSurvivors,
    WrongStep,
)
from chatfed.secagg.states import Advertised, Consented, Masked, Shared, restore, store
from tests.secagg.rounds import (
    ATTEMPT,
    CTX,
    Carried,
    body_of,
    carry,
    entropy_from,
    identity,
    random_vectors,
    reseal,
    ring_sum,
    roster_of,
    signer,
    state_of,
)

SEVEN = Parameters(7, 4, 5, committee=7, quorum=5)
SIZES = graph.derive_active(60, 0.1, 0.1)
SIXTY = Parameters(60, SIZES.threshold, 8, 32, SIZES.degree, SIZES.most_gone, *graph.derive_quorum(60, 0.1))


@pytest.fixture(scope="module")
def finished() -> Carried:
    """A round in which 7 dropped after sharing and 1..6 survived."""
    carried = Carried(SEVEN)
    carry(SEVEN, random_vectors(SEVEN), {2: {7}}, carried=carried)
    return carried


@pytest.fixture(scope="module")
def circle() -> Carried:
    """A round of sixty on a circle, of whom a few dropped out at each stage."""
    carried, vectors = Carried(SIXTY), random_vectors(SIXTY)
    total = carry(SIXTY, vectors, {0: {9}, 1: {20}, 2: {31, 42}, 3: {53}, 4: {54}}, carried=carried)
    assert total.vector.tolist() == ring_sum(SIXTY, [vectors[i] for i in total.survivors])
    assert len(total.survivors) == 56
    return carried


def view_of(carried: Carried) -> bytes:
    return carried.server_states["sharing"].view


def bound_of(carried: Carried) -> dict[int, bytes]:
    return dict(carried.server_states["unmasking"].bound)


def sign_as(i: int, message: bytes) -> bytes:
    return primitives.sign(identity(i), message)


def survivors(carried: Carried, ids, **changed: bytes) -> bytes:
    entries = {i: bound_of(carried).get(i, bytes(96)) for i in ids}
    return messages.encode_survivors(view_of(carried), entries)


def certificate(carried: Carried, ids, signers, sign=sign_as) -> bytes:
    digest = messages.survivors_digest(view_of(carried), ids)
    signed = {i: sign(i, digest) for i in signers}
    return messages.encode_entries(Kind.CERTIFICATE, 0, view_of(carried), signed, digest)


def consented(carried: Carried, who: int, ids) -> Consented:
    state, _ = client.consent(state_of(carried, who, Masked), survivors(carried, ids), signer(carried.parameters, who))
    return state


ALL = range(1, 7)


# Keys


def test_a_substituted_key_is_found_by_the_signature_and_blamed_on_its_number(finished):
    session, shared = SEVEN.session(CTX, ATTEMPT, roster_of(SEVEN)), state_of(finished, 1, Shared)
    frames = {i: finished.wire[Kind.ADVERT, i] for i in range(1, 8)}
    evil = Advert(primitives.public_key(b"\7" * 32), primitives.public_key(b"\x08" * 32))
    for sign in (lambda m: sign_as(2, m), lambda m: bytes(64), lambda m: body_of(frames[3])[64:]):
        spoiled = messages.encode_adverts(session, {**frames, 3: evil.encode(3, session, sign)})
        with pytest.raises(MalformedMessage) as caught:
            client.share(state_of(finished, 1, Advertised), spoiled, entropy_from(1))
        assert (caught.value.sender, caught.value.field) == (3, "signature")
    assert shared.adverts[3].mask_key != evil.mask_key


def test_an_advert_of_another_round_is_refused_also_under_this_rounds_header(finished):
    ctx = messages.context(b"run", 2, b"m" * 32, b"r" * 32, messages.roster_root(["anna", "ben"]))
    other = Carried(SEVEN)
    carry(SEVEN, random_vectors(SEVEN), ctx=ctx, carried=other)
    session = SEVEN.session(CTX, ATTEMPT, roster_of(SEVEN))
    frames = {i: finished.wire[Kind.ADVERT, i] for i in range(1, 8)}
    replayed = messages.encode(Kind.ADVERT, 3, session, body_of(other.wire[Kind.ADVERT, 3]))
    for frame, field in ((other.wire[Kind.ADVERT, 3], "context"), (replayed, "signature")):
        with pytest.raises(MalformedMessage) as caught:
            spoiled = messages.encode_adverts(session, {**frames, 3: frame})
            client.share(state_of(finished, 1, Advertised), spoiled, entropy_from(1))
        assert (caught.value.sender, caught.value.field) == (3, field)


@pytest.mark.parametrize("senders", [(1, 2, 2, 3, 4), (2, 1, 3, 4)], ids=str)
def test_adverts_that_stand_twice_or_out_of_order_are_refused(finished, senders):
    session = SEVEN.session(CTX, ATTEMPT, roster_of(SEVEN))
    message = messages.encode(Kind.ADVERTS, 0, session, *(finished.wire[Kind.ADVERT, i] for i in senders))
    with pytest.raises(MalformedMessage, match="order of ids"):
        client.share(state_of(finished, 1, Advertised), message, entropy_from(1))


@pytest.mark.parametrize("stranger", [0, 8, 2**32 - 1])
def test_an_advert_of_nobody_on_the_roster_is_refused(finished, stranger):
    session = SEVEN.session(CTX, ATTEMPT, roster_of(SEVEN))
    advert = Advert(primitives.public_key(b"\7" * 32), primitives.public_key(b"\x08" * 32))
    frames = {i: finished.wire[Kind.ADVERT, i] for i in range(1, 8)}
    frames[stranger] = advert.encode(stranger, session, lambda m: sign_as(7, m))  # 7 stands last: roster[0 - 1]
    with pytest.raises(MalformedMessage) as caught:
        client.share(state_of(finished, 1, Advertised), messages.encode_adverts(session, frames), entropy_from(1))
    assert (caught.value.sender, caught.value.field) == (0, "ids")


def test_another_roster_parameters_or_model_is_another_session_and_its_signatures_are_worth_nothing(finished):
    roster, entropy = roster_of(SEVEN), entropy_from(2)
    swapped = (*roster[:2], primitives.identity_public(bytes(32)), *roster[3:])
    here = SEVEN.session(CTX, ATTEMPT, roster)
    assert SEVEN.session(CTX, ATTEMPT, swapped) != here
    for lowered in (
        Parameters(7, 5, 5, committee=7, quorum=5),
        Parameters(7, 4, 5, committee=7, quorum=4),
        Parameters(7, 4, 5, 16, committee=7, quorum=5),
    ):
        assert lowered.session(CTX, ATTEMPT, roster) != here
        _, advert = client.advertise(lowered, Floors(2, 2), CTX, ATTEMPT, 2, entropy, roster, signer(SEVEN, 2))
        with pytest.raises(MalformedMessage, match="context"):
            server.relay_adverts(server.open_round(SEVEN, CTX, ATTEMPT, roster), {2: advert})


def test_a_participant_signs_only_as_itself_and_only_with_a_roster():
    roster, entropy = roster_of(SEVEN), entropy_from(2)
    for sign in (None, signer(SEVEN, 3)):
        with pytest.raises(RefusedParameters, match="cannot sign"):
            client.advertise(SEVEN, Floors(2, 2), CTX, ATTEMPT, 2, entropy, roster, sign)
    with pytest.raises(RefusedParameters, match="0 identities"):
        client.advertise(SEVEN, Floors(2, 2), CTX, ATTEMPT, 2, entropy)
    with pytest.raises(RefusedParameters, match="7 identities"):
        client.advertise(Parameters(7, 4, 5), Floors(2, 2), CTX, ATTEMPT, 2, entropy, roster, signer(SEVEN, 2))


@pytest.mark.parametrize(
    "floors",
    [
        Floors(5, 2),
        Floors(2, 8),
        Floors(2, 2, 64),
        Floors(2, 2, 16, 7),
        Floors(2, 2, 16, 5),
        Floors(2, 2, committee=6),
        Floors(2, 2, committee=8),
        Floors(2, 2, quorum=6),
    ],
    ids=["threshold", "survivors", "ring", "more neighbours", "fewer", "larger committee", "smaller", "quorum"],
)
def test_a_server_that_lowers_anything_below_the_own_floors_is_refused(floors):
    with pytest.raises(RefusedParameters):
        client.advertise(SEVEN, floors, CTX, ATTEMPT, 1, entropy_from(0), roster_of(SEVEN), signer(SEVEN, 1))


def test_more_missing_in_a_row_than_the_own_floor_is_refused():
    with pytest.raises(RefusedParameters, match="most_gone"):
        own = Floors(2, 2, most_gone=SIXTY.most_gone - 1)
        client.advertise(SIXTY, own, CTX, ATTEMPT, 1, entropy_from(0), roster_of(SIXTY), signer(SIXTY, 1))


# Two views of who is there


def test_who_was_shown_other_adverts_shares_nothing_with_the_rest(finished):
    """Dropping one advert for half of the participants gives them another view: no envelope and no mask fits."""
    session = SEVEN.session(CTX, ATTEMPT, roster_of(SEVEN))
    frames = {i: finished.wire[Kind.ADVERT, i] for i in range(1, 7)}  # 7 kept from participant 1
    apart, _ = client.share(
        state_of(finished, 1, Advertised), messages.encode_adverts(session, frames), entropy_from(1)
    )
    assert apart.view.digest != view_of(finished)
    with pytest.raises(MalformedMessage, match="context"):
        client.masked_input(apart, finished.wire[Kind.ENVELOPES, 1], np.zeros(5, "<u4"), signer(SEVEN, 1))
    known, made = messages.decode_envelopes(finished.wire[Kind.ENVELOPES, 1], view_of(finished), set(range(1, 8)))
    readdressed = messages.encode_envelopes(apart.view.digest, known - {7}, {i: made[i] for i in made if i != 7})
    masked, message = client.masked_input(apart, readdressed, np.zeros(5, "<u4"), signer(SEVEN, 1))
    assert all(masked.shares[i] == NO_SHARE * 2 for i in range(2, 7))  # it holds nothing of theirs, nor they of its
    shares = {i: finished.wire[Kind.SHARES, i] for i in range(1, 8)}
    collecting, _ = server.relay_shares(finished.server_states["sharing"], shares)
    with pytest.raises(MalformedMessage, match="context"):
        server.accept(collecting, 1, message)


def test_who_masked_with_fewer_is_not_answered_for(finished):
    """The server shows 1 fewer sharers, to strip its masks: the others see that 1 signed another list, and refuse."""
    view, shared = view_of(finished), state_of(finished, 1, Shared)
    _, made = messages.decode_envelopes(finished.wire[Kind.ENVELOPES, 1], view, set(range(1, 8)))
    fewer = messages.encode_envelopes(view, {1, 2, 3, 4}, {i: made[i] for i in (2, 3, 4)})
    _, message = client.masked_input(shared, fewer, np.zeros(5, "<u4"), signer(SEVEN, 1))
    lonely = body_of(message)[32:128]
    entries = {**{i: bound_of(finished)[i] for i in ALL}, 1: lonely}
    for who in (2, 5):
        with pytest.raises(RefusedSurvivors, match="participant 1 did not mask with the same"):
            asked = messages.encode_survivors(view, entries)
            client.consent(state_of(finished, who, Masked), asked, signer(SEVEN, who))


def test_a_survivor_whose_signature_was_made_up_is_refused(finished):
    for forged in (bytes(96), bound_of(finished)[3], bound_of(finished)[2][:32] + bytes(64)):
        entries = {**{i: bound_of(finished)[i] for i in ALL}, 2: forged}
        with pytest.raises(RefusedSurvivors, match="participant 2"):
            asked = messages.encode_survivors(view_of(finished), entries)
            client.consent(state_of(finished, 1, Masked), asked, signer(SEVEN, 1))


def test_somebody_who_did_not_send_a_masked_input_is_no_survivor(finished):
    with pytest.raises(RefusedSurvivors, match="participant 7"):
        client.consent(state_of(finished, 1, Masked), survivors(finished, range(1, 8)), signer(SEVEN, 1))


# Two survivor sets


def test_a_participant_signs_one_survivor_set_and_answers_for_that_alone(finished):
    state = consented(finished, 1, ALL)
    for again in (state, restore(store(state, bytes(32), entropy_from(1)), bytes(32))):
        with pytest.raises(WrongStep):
            client.consent(again, survivors(finished, (1, 2, 3, 4, 5)), signer(SEVEN, 1))
        with pytest.raises(MalformedMessage, match="survivors"):
            client.unmask(again, certificate(finished, (1, 2, 3, 4, 5), (1, 2, 3, 4, 5)))
        client.unmask(again, certificate(finished, ALL, ALL))


def test_two_sets_shown_to_two_halves_get_no_quorum_each(finished):
    """Corrupt 6 signs both; the honest sign one each: neither set can be certified."""
    one, other = (1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5)
    for ids, honest in ((one, (1, 2, 3)), (other, (4, 5))):
        state = consented(finished, honest[0], ids)
        with pytest.raises(RefusedCertificate, match="signed the survivor set, 5 must"):
            client.unmask(state, certificate(finished, ids, sorted({*honest, 6} & set(ids))))


def test_the_server_takes_no_consent_that_is_forged_or_for_another_set(finished):
    """One bad signature among them would make every participant refuse the certificate."""
    view, certifying = view_of(finished), finished.server_states["certifying"]
    good = {i: finished.wire[Kind.CONSENT, i] for i in ALL}
    own, other = (messages.survivors_digest(view, ids) for ids in (ALL, (1, 2, 3, 4)))
    for digest, signature, field in (
        (own, sign_as(3, own), "signature"),
        (own, sign_as(2, other), "signature"),
        (other, sign_as(2, other), "survivors"),
    ):
        forged = messages.encode(Kind.CONSENT, 2, view, digest, signature)
        with pytest.raises(MalformedMessage) as caught:
            server.certify(certifying, {**good, 2: forged})
        assert (caught.value.sender, caught.value.field) == (2, field)


def test_nothing_is_answered_to_a_survivor_set_alone(finished):
    masked = state_of(finished, 1, Masked)
    with pytest.raises(WrongStep):
        client.unmask(masked, survivors(finished, ALL))
    with pytest.raises(WrongStep):
        client.unmask(masked, certificate(finished, ALL, ALL))


@pytest.mark.parametrize("signers", [(1, 2, 3, 4), (), (2,)], ids=str)
def test_a_certificate_below_the_quorum_is_refused_and_costs_nothing(finished, signers):
    state = consented(finished, 1, ALL)
    with pytest.raises(RefusedCertificate):
        client.unmask(state, certificate(finished, ALL, signers))
    client.unmask(state, certificate(finished, ALL, ALL))


def test_forged_foreign_and_repeated_signatures_are_refused(finished):
    state, digest = consented(finished, 1, ALL), messages.survivors_digest(view_of(finished), ALL)
    with pytest.raises(RefusedCertificate, match=r"\[4\]"):
        client.unmask(state, certificate(finished, ALL, ALL, lambda i, d: sign_as(2 if i == 4 else i, d)))
    with pytest.raises(MalformedMessage, match="ids"):  # 7 is no survivor
        client.unmask(state, certificate(finished, ALL, (1, 2, 3, 4, 7)))
    twice = [(1).to_bytes(4, "little") + sign_as(1, digest)] * 5
    with pytest.raises(MalformedMessage, match="order of ids"):
        client.unmask(state, reseal(certificate(finished, ALL, ALL), digest + b"".join(twice)))


def test_a_certificate_of_another_round_is_refused(finished):
    ctx = messages.context(b"run", 2, b"m" * 32, b"r" * 32, messages.roster_root(["anna", "ben"]))
    other = Carried(SEVEN)
    carry(SEVEN, random_vectors(SEVEN), {2: {7}}, ctx=ctx, carried=other)
    state = consented(finished, 1, ALL)
    with pytest.raises(MalformedMessage, match="context"):
        client.unmask(state, other.wire[Kind.CERTIFICATE, 1])
    with pytest.raises(MalformedMessage, match="survivors"):
        client.unmask(state, reseal(finished.wire[Kind.CERTIFICATE, 1], body_of(other.wire[Kind.CERTIFICATE, 1])))


def test_below_the_quorum_the_server_has_nothing_to_ask_with(finished):
    carried = Carried(SEVEN)
    with pytest.raises(BelowThreshold) as caught:
        carry(SEVEN, random_vectors(SEVEN), {3: {1, 2, 3}}, carried=carried)
    assert (caught.value.stage, caught.value.got, caught.value.need) == ("consent", 4, 5)
    assert not [kind for kind, _ in carried.wire if kind is Kind.ANSWER]


def test_two_attempts_at_a_round_have_one_committee_and_other_sessions(finished):
    """Were it another, each attempt could be certified by those who have signed nothing in the other."""
    record, roster = SEVEN.record(CTX, roster_of(SEVEN)), roster_of(SEVEN)
    assert SEVEN.session(CTX, ATTEMPT, roster) != SEVEN.session(CTX, bytes(16), roster)
    assert finished.server_states["open"].record == server.open_round(SEVEN, CTX, bytes(16), roster).record == record
    large = Parameters(1_200, 71, 5, 32, 164, 30, *graph.derive_quorum(1_200, 0.1))
    members = graph.committee(large.record(CTX, roster_of(large)), 1_200, large.committee)
    assert len(members) == 200


def test_a_certificate_is_the_committees_and_that_is_drawn_for_the_round_and_not_for_the_attempt():
    parameters, carried = (
        Parameters(7, 4, 5, committee=4, quorum=3),
        Carried(Parameters(7, 4, 5, committee=4, quorum=3)),
    )
    carry(parameters, random_vectors(parameters), carried=carried)
    roster, everyone = roster_of(parameters), range(1, 8)
    members = graph.committee(parameters.record(CTX, roster), 7, 4)
    assert members != graph.committee(parameters.session(CTX, ATTEMPT, roster), 7, 4)  # else nothing is shown here
    entries = body_of(carried.wire[Kind.CERTIFICATE, 1])[32:]
    assert {int.from_bytes(entries[at : at + 4], "little") for at in range(0, len(entries), 68)} == members
    state = state_of(carried, 1, Consented)
    with pytest.raises(MalformedMessage, match="ids"):
        client.unmask(state, certificate(carried, everyone, everyone))
    client.unmask(state, certificate(carried, everyone, sorted(members)[:3]))


def test_two_participants_with_one_identity_are_refused():
    roster = (*roster_of(SEVEN)[:6], roster_of(SEVEN)[0])
    with pytest.raises(RefusedParameters, match="one identity"):
        client.advertise(SEVEN, Floors(2, 2), CTX, ATTEMPT, 1, entropy_from(0), roster, signer(SEVEN, 1))


# Envelopes that do not open


def spoil(message: bytes, view: bytes, sharer: int, victims) -> bytes:
    """A sharer's message with garbage in the envelopes for `victims`, resealed."""
    body = bytearray(body_of(message))
    for at in range(0, len(body), 104):
        if int.from_bytes(body[at : at + 4], "little") in victims:
            body[at + 4 : at + 104] = bytes(100)
    return messages.encode(Kind.SHARES, sharer, view, bytes(body))


@pytest.mark.parametrize("victims", [{2}, {2, 3, 4}], ids=str)
def test_garbage_envelopes_make_nobody_leave_and_their_maker_is_named(victims):
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
        step = client.masked_input(state_of(carried, i, Shared), out[i], vectors[i], signer(SEVEN, i))
        states[i], message = step
        collecting = server.accept(collecting, i, message)
    closed, out = server.close_inputs(collecting)
    for_all = {i: client.consent(states[i], out[i], signer(SEVEN, i)) for i in out}
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


# The circle


def test_a_gap_cut_into_the_circle_is_refused(circle):
    """A whole row declared dropped would leave a participant without masks: such a survivor set is refused."""
    places, half = circle.server_states["sharing"].graph.circle, SIXTY.degree // 2
    victim = places.index(11)
    gap = {places[(victim + step) % len(places)] for step in (*range(-half, 0), *range(1, half + 1))}
    near = set(bound_of(circle)) - gap
    far = next(i for i in near if i != 11)
    for who in (11, far):
        with pytest.raises(RefusedSurvivors, match="places in a row"):
            client.consent(state_of(circle, who, Masked), survivors(circle, near), signer(SIXTY, who))


def test_dropouts_within_what_is_allowed_are_unmasked_on_the_circle(circle):
    assert [kind for kind, _ in circle.wire if kind is Kind.ANSWER]


def test_on_a_circle_shares_go_to_neighbours_alone_and_answers_are_one_kind_each(circle):
    drawn = circle.server_states["sharing"].graph
    masked, survivors_ = state_of(circle, 11, Masked), set(bound_of(circle))
    assert masked.shares.keys() == drawn.holders(11) & circle.server_states["collecting"].sharers
    entries = body_of(circle.wire[Kind.ANSWER, 11])[32:]
    assert len(entries) == 40 * len(masked.shares)
    for at in range(0, len(entries), 40):
        owner, share = int.from_bytes(entries[at : at + 4], "little"), entries[at + 4 : at + 40]
        kinds = masked.shares[owner]
        assert share == (kinds[:36] if owner in survivors_ else kinds[36:])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_any_signed_round_on_a_circle_gives_the_exact_sum_or_one_typed_error(seed, data):
    count = data.draw(st.integers(51, 56))
    sizes, bits = graph.derive_active(count, 0.05, 0.1), data.draw(st.sampled_from([16, 21, 32]))
    quorum = graph.derive_quorum(count, 0.05)
    parameters = Parameters(count, sizes.threshold, 5, bits, sizes.degree, sizes.most_gone, *quorum)
    gone = {stage: data.draw(st.sets(st.integers(1, count), max_size=3)) for stage in range(5)}
    order = data.draw(st.permutations(range(1, count + 1)))
    vectors = random_vectors(parameters, seed)
    try:
        total = carry(parameters, vectors, gone, order, seed=seed)
    except messages.ProtocolError as error:
        assert "\n" not in str(error)
        return
    lost = gone[0] | gone[1] | gone[2]
    assert total.survivors == tuple(i for i in range(1, count + 1) if i not in lost)
    assert total.vector.tolist() == ring_sum(parameters, [vectors[i] for i in total.survivors])


def test_masked_inputs_of_others_are_not_taken_from_anybody(finished):
    shared, envelopes = state_of(finished, 2, Shared), finished.wire[Kind.ENVELOPES, 2]
    _, message = client.masked_input(shared, envelopes, np.zeros(5, "<u4"), signer(SEVEN, 3))
    shares = {i: finished.wire[Kind.SHARES, i] for i in range(1, 8)}
    collecting, _ = server.relay_shares(finished.server_states["sharing"], shares)
    with pytest.raises(MalformedMessage) as caught:
        server.accept(collecting, 2, message)
    assert (caught.value.sender, caught.value.field) == (2, "signature")
    assert not collecting.accumulator.vector.any()
