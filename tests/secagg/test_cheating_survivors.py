"""One survivor set is signed and answered, and only a quorum of its round can certify it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from chatfed.secagg import client, graph, messages, server
from chatfed.secagg.messages import (
    BelowThreshold,
    Kind,
    MalformedMessage,
    Parameters,
    RefusedCertificate,
    WrongStep,
)
from chatfed.secagg.states import Consented, Masked, restore, store
from tests.secagg.forging import ALL, SEVEN, certificate, consented, sign_as, survivors, turn_of
from tests.secagg.rounds import (
    CTX,
    EPOCH,
    SCOPE,
    Carried,
    body_of,
    carry,
    entropy_from,
    random_vectors,
    reseal,
    ring_sum,
    roster_of,
    signs_as,
    state_of,
)


@pytest.fixture(params=messages.SCHEMES)
def finished(request: pytest.FixtureRequest, finished_by_scheme: Mapping[str, Carried]) -> Carried:
    """Under each scheme: 7 dropped out after sharing and 1..6 survived."""
    return finished_by_scheme[request.param]


def test_a_participant_signs_one_survivor_set_and_answers_for_that_alone(finished: Carried) -> None:
    state = consented(finished, 1, ALL)
    for again in (state, restore(store(state, bytes(32), entropy_from(1)), bytes(32), state.ready)):
        with pytest.raises(WrongStep):
            client.consent(again, survivors(finished, 1, (1, 2, 3, 4, 5)), signs_as(1))
        with pytest.raises(MalformedMessage, match="survivors"):
            client.unmask(again, certificate(finished, (1, 2, 3, 4, 5), (1, 2, 3, 4, 5)))
        client.unmask(again, certificate(finished, ALL, ALL))


def test_two_sets_shown_to_two_halves_get_no_quorum_each(finished: Carried) -> None:
    """Corrupt 6 signs both; the honest sign one each: neither set can be certified."""
    one, other = (1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5)
    for ids, honest in ((one, (1, 2, 3)), (other, (4, 5))):
        state = consented(finished, honest[0], ids)
        with pytest.raises(RefusedCertificate, match="signed the survivor set, 5 must"):
            client.unmask(state, certificate(finished, ids, sorted({*honest, 6} & set(ids))))


def test_the_server_takes_no_consent_that_is_forged_or_for_another_set(finished: Carried) -> None:
    """One bad signature among them would make every participant refuse the certificate."""
    turn, certifying = turn_of(finished), finished.server_states["certifying"]
    good = {i: finished.wire[Kind.CONSENT, i] for i in ALL}
    own, other = (messages.survivors_digest(turn, ids) for ids in (ALL, (1, 2, 3, 4)))
    for digest, signature, field in (
        (own, sign_as(3, own), "signature"),
        (own, sign_as(2, other), "signature"),
        (other, sign_as(2, other), "survivors"),
    ):
        forged = messages.encode(Kind.CONSENT, 2, turn, digest, signature)
        with pytest.raises(MalformedMessage) as caught:
            server.certify(certifying, {**good, 2: forged})
        assert (caught.value.sender, caught.value.field) == (2, field)


def test_nothing_is_answered_to_a_survivor_set_alone(finished: Carried) -> None:
    masked = state_of(finished, 1, Masked)
    with pytest.raises(WrongStep):
        client.unmask(masked, survivors(finished, 1, ALL))
    with pytest.raises(WrongStep):
        client.unmask(masked, certificate(finished, ALL, ALL))


@pytest.mark.parametrize("signers", [(1, 2, 3, 4), (), (2,)], ids=str)
def test_a_certificate_below_the_quorum_is_refused_and_costs_nothing(
    finished: Carried, signers: tuple[()] | tuple[int, ...]
) -> None:
    state = consented(finished, 1, ALL)
    with pytest.raises(RefusedCertificate):
        client.unmask(state, certificate(finished, ALL, signers))
    client.unmask(state, certificate(finished, ALL, ALL))


def test_forged_foreign_and_repeated_signatures_are_refused(finished: Carried) -> None:
    state, digest = consented(finished, 1, ALL), messages.survivors_digest(turn_of(finished), ALL)
    with pytest.raises(RefusedCertificate, match=r"\[4\]"):
        client.unmask(state, certificate(finished, ALL, ALL, lambda i, d: sign_as(2 if i == 4 else i, d)))
    with pytest.raises(MalformedMessage, match="ids"):  # 7 is no survivor
        client.unmask(state, certificate(finished, ALL, (1, 2, 3, 4, 7)))
    twice = [(1).to_bytes(4, "little") + sign_as(1, digest)] * 5
    with pytest.raises(MalformedMessage, match="order of ids"):
        client.unmask(state, reseal(certificate(finished, ALL, ALL), digest + b"".join(twice)))


@pytest.mark.parametrize("what", ["round", "epoch"])
def test_a_certificate_of_another_round_or_epoch_is_refused(finished: Carried, what: str) -> None:
    ctx = messages.context(b"run", 2, b"m" * 32, b"r" * 32, messages.roster_root(["anna", "ben"]))
    parameters = finished.parameters
    other = Carried(parameters, epoch=finished.epoch if what == "round" else bytes(16))
    carry(parameters, random_vectors(parameters), {2: {7}}, ctx=ctx if what == "round" else CTX, carried=other)
    state = consented(finished, 1, ALL)
    with pytest.raises(MalformedMessage, match="context"):
        client.unmask(state, other.wire[Kind.CERTIFICATE, 1])
    with pytest.raises(MalformedMessage, match="survivors"):
        client.unmask(state, reseal(finished.wire[Kind.CERTIFICATE, 1], body_of(other.wire[Kind.CERTIFICATE, 1])))


def test_below_the_quorum_the_server_has_nothing_to_ask_with(finished: Carried) -> None:
    carried = Carried(finished.parameters)
    with pytest.raises(BelowThreshold) as caught:
        carry(finished.parameters, random_vectors(finished.parameters), {3: {1, 2, 3}}, carried=carried)
    assert (caught.value.stage, caught.value.got, caught.value.need) == ("consent", 4, 5)
    assert not [kind for kind, _ in carried.wire if kind is Kind.ANSWER]


def test_two_epochs_of_a_cohort_have_one_committee_and_other_sessions(finished: Carried) -> None:
    """Were it another, each epoch could certify a set of one round by those who have signed nothing in the other."""
    roster = roster_of(SEVEN)
    seven = finished.parameters
    assert seven.session(SCOPE, EPOCH, roster) != seven.session(SCOPE, bytes(16), roster)
    assert finished.server_states["open"].scope == server.open_epoch(seven, SCOPE, bytes(16), roster).scope == SCOPE
    large = Parameters(1_200, 71, 5, 32, 164, 30, *graph.derive_quorum(1_200, 0.1))
    assert len(graph.committee(SCOPE, 1_200, large.committee)) == 200


def test_the_committee_follows_from_run_recipe_and_names_alone() -> None:
    """Parameters and keys that some floors allow beside others must not give one round's vectors two committees."""
    parameters = Parameters(7, 4, 5, committee=4, quorum=3)
    others = [
        replace(parameters, threshold=5),
        replace(parameters, quorum=4),
        replace(parameters, ring_bits=16),
        replace(parameters, slots=2),
    ]
    assert len({each.session(SCOPE, EPOCH, roster_of(each)) for each in [parameters, *others]}) == 5
    wanted = sorted(graph.committee(SCOPE, 7, 4))
    for each in [parameters, *others]:
        carried = Carried(each)
        carry(each, random_vectors(each), carried=carried)
        entries = body_of(carried.wire[Kind.CERTIFICATE, 1])[32:]
        signers = [int.from_bytes(entries[at : at + 4], "little") for at in range(0, len(entries), 68)]
        assert signers == wanted[: each.quorum]


def test_a_certificate_is_a_quorum_of_the_committee_and_that_is_drawn_for_the_cohort_and_not_for_the_epoch() -> None:
    parameters = Parameters(7, 4, 5, committee=4, quorum=3)
    carried, everyone, roster = Carried(parameters), range(1, 8), roster_of(parameters)
    carry(parameters, random_vectors(parameters), carried=carried)
    members = graph.committee(SCOPE, 7, 4)
    assert members != graph.committee(parameters.session(SCOPE, EPOCH, roster), 7, 4)  # else nothing is shown here
    entries = body_of(carried.wire[Kind.CERTIFICATE, 1])[32:]
    signers = [int.from_bytes(entries[at : at + 4], "little") for at in range(0, len(entries), 68)]
    assert signers == sorted(members)[:3]  # as many as must, and no more
    state = state_of(carried, 1, Consented)
    with pytest.raises(MalformedMessage, match="ids"):
        client.unmask(state, certificate(carried, everyone, everyone))
    for enough in (sorted(members)[1:], sorted(members)):
        client.unmask(state, certificate(carried, everyone, enough))


def test_once_a_set_is_signed_no_share_is_left_that_it_does_not_let_be_given(finished: Carried) -> None:
    """Of a survivor the share of its seed, of one that dropped out that of its recovery key: on the disk too."""
    masked, signed = state_of(finished, 1, Masked), state_of(finished, 1, Consented)
    again = restore(store(signed, bytes(32), entropy_from("seal")), bytes(32), signed.ready)
    assert isinstance(again, Consented) and again.masked == signed.masked
    for owner, before in masked.shares.items():
        half, nothing = len(before) // 2, b"\xff" * len(before)
        if finished.parameters.scheme == messages.THRESHOLD_HE:
            left = before if owner in signed.survivors else nothing
        else:
            left = before[:half] + nothing[half:] if owner in signed.survivors else nothing[half:] + before[half:]
        assert signed.masked.shares[owner] == left
    assert 7 in signed.masked.shares and 7 not in signed.survivors


def test_the_quorum_that_is_sent_on_is_of_those_who_consented() -> None:
    """Members of the committee that fell silent leave room for others of it."""
    parameters = Parameters(7, 4, 5, committee=5, quorum=3)
    members = sorted(graph.committee(SCOPE, 7, 5))
    carried, vectors = Carried(parameters), random_vectors(parameters)
    total = carry(parameters, vectors, {3: members[:2]}, carried=carried)
    assert total.vector.tolist() == ring_sum(parameters, list(vectors.values()))
    entries = body_of(carried.wire[Kind.CERTIFICATE, members[2]])[32:]
    assert [int.from_bytes(entries[at : at + 4], "little") for at in range(0, len(entries), 68)] == members[2:]
