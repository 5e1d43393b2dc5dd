"""Answers with wrong shares: found, laid to their sender, and recovered from where shares are to spare."""

from __future__ import annotations

import pytest

from chatfed.secagg import messages, server, shamir
from chatfed.secagg.messages import Kind, MalformedMessage, Parameters
from tests.secagg.rounds import Carried, body_of, carry, random_vectors, reseal


def corrupt(message: bytes, owner: int) -> bytes:
    """An answer with one limb of the share of `owner` changed, resealed."""
    body = bytearray(body_of(message))
    at = 32 + next(k for k in range(len(body)) if body[32 + 40 * k] == owner) * 40 + 4
    value = int.from_bytes(body[at : at + 2], "little")
    body[at : at + 2] = ((value + 1 + 100 * message[4]) % shamir.PRIME).to_bytes(2, "little")
    return reseal(message, bytes(body))


def answered_round(
    n: int, t: int, gone: dict[int, set[int]]
) -> tuple[server.Unmasking, dict[int, bytes], server.Total]:
    parameters = Parameters(n, t, 6)
    carried, vectors = Carried(parameters), random_vectors(parameters)
    total = carry(parameters, vectors, gone, carried=carried)
    answers = {i: carried.wire[Kind.ANSWER, i] for i in total.survivors}
    return carried.server_states["unmasking"], answers, total


@pytest.mark.parametrize("owner", [3, 9], ids=["seed of a survivor", "recovery key of a dropout"])
def test_corrupt_shares_are_found_attributed_and_recovered_from(owner: int) -> None:
    unmasking, answers, total = answered_round(9, 5, {2: {9}})
    two = {**answers, 1: corrupt(answers[1], owner), 4: corrupt(answers[4], owner)}
    with pytest.raises(messages.BadShares) as caught:  # eight shares, five needed: one error can be told, two cannot
        server.finish(unmasking, two)
    assert caught.value.owner == owner
    one = server.finish(unmasking, {**answers, 1: corrupt(answers[1], owner)})
    assert one.vector.tolist() == total.vector.tolist()
    assert one.disputes == ((1, owner),)
    barely = {i: answers[i] for i in (1, 2, 3, 4, 5, 6)}  # one share to spare: only the commitment can tell
    barely[2] = corrupt(answers[2], owner)
    assert server.finish(unmasking, barely).disputes == ((2, owner),)


def test_answered_share_outside_the_field_is_refused_by_name() -> None:
    unmasking, answers, _ = answered_round(5, 3, {})
    body = bytearray(body_of(answers[2]))
    body[36:38] = shamir.PRIME.to_bytes(2, "little")
    with pytest.raises(MalformedMessage) as caught:
        server.finish(unmasking, {**answers, 2: reseal(answers[2], bytes(body))})
    assert (caught.value.sender, caught.value.field) == (2, "share")


def test_corrupt_share_without_one_to_spare_ends_the_round_with_a_typed_error() -> None:
    unmasking, answers, _ = answered_round(4, 3, {2: {4}})
    with pytest.raises(messages.BadShares) as caught:
        server.finish(unmasking, {**answers, 1: corrupt(answers[1], 2)})
    assert (caught.value.owner, caught.value.holders) == (2, (1, 2, 3))


def test_a_commitment_to_another_seed_names_its_owner_and_its_holders() -> None:
    unmasking, answers, _ = answered_round(5, 3, {})
    forged = server.Unmasking(**{**vars(unmasking), "bound": {**unmasking.bound, 2: bytes(32)}})
    with pytest.raises(messages.BadShares) as caught:
        server.finish(forged, answers)
    assert (caught.value.owner, caught.value.holders) == (2, (1, 2, 3, 4, 5))


def test_answer_to_another_survivor_set_is_refused_by_name() -> None:
    unmasking, answers, _ = answered_round(5, 3, {2: {5}})
    lead = body_of(answers[1])[:32]
    entries = messages.decode_entries(answers[1], Kind.ANSWER, 1, unmasking.turn, set(range(6)), 36, lead)
    elsewhere = messages.survivors_digest(unmasking.turn, {1, 2, 3})
    forged = messages.encode_entries(Kind.ANSWER, 1, unmasking.turn, entries, elsewhere)
    with pytest.raises(MalformedMessage) as caught:
        server.finish(unmasking, {**answers, 1: forged})
    assert (caught.value.sender, caught.value.field) == (1, "survivors")
