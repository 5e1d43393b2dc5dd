"""With pinned identities no key, roster or parameter can be put in the place of another."""

from __future__ import annotations

import pytest

from chatfed.secagg import client, messages, primitives, server
from chatfed.secagg.messages import (
    Advert,
    Floors,
    Kind,
    MalformedMessage,
    Parameters,
    RefusedParameters,
)
from chatfed.secagg.states import Advertised
from tests.secagg.forging import SEVEN, sign_as
from tests.secagg.rounds import (
    EPOCH,
    SCOPE,
    Carried,
    body_of,
    carry,
    entropy_from,
    of_epoch,
    random_vectors,
    roster_of,
    signs_as,
    state_of,
)


def test_a_substituted_key_is_found_by_the_signature_and_blamed_on_its_number(finished: Carried) -> None:
    session = of_epoch(SEVEN)
    frames = {i: finished.wire[Kind.ADVERT, i] for i in range(1, 8)}
    evil = Advert(primitives.public_key(b"\7" * 32), primitives.public_key(b"\x08" * 32))
    for sign in (lambda m: sign_as(2, m), lambda m: bytes(64), lambda m: body_of(frames[3])[64:]):
        spoiled = messages.encode_adverts(session, {**frames, 3: evil.encode(3, session, sign)})
        with pytest.raises(MalformedMessage) as caught:
            client.share(state_of(finished, 1, Advertised), spoiled, entropy_from(1))
        assert (caught.value.sender, caught.value.field) == (3, "signature")
    assert finished.server_states["sharing"].adverts[3].mask_key != evil.mask_key


def test_an_advert_of_another_epoch_or_run_is_refused_also_under_this_ones_header(finished: Carried) -> None:
    elsewhere = messages.scope(b"other run", b"r" * 32, messages.roster_root(["anna", "ben"]))
    session = of_epoch(SEVEN)
    frames = {i: finished.wire[Kind.ADVERT, i] for i in range(1, 8)}
    for other in (Carried(SEVEN, epoch=bytes(16)), Carried(SEVEN, scope=elsewhere)):
        carry(SEVEN, random_vectors(SEVEN), carried=other)
        replayed = messages.encode(Kind.ADVERT, 3, session, body_of(other.wire[Kind.ADVERT, 3]))
        for frame, field in ((other.wire[Kind.ADVERT, 3], "context"), (replayed, "signature")):
            spoiled = messages.encode_adverts(session, {**frames, 3: frame})
            with pytest.raises(MalformedMessage) as caught:
                client.share(state_of(finished, 1, Advertised), spoiled, entropy_from(1))
            assert (caught.value.sender, caught.value.field) == (3, field)


@pytest.mark.parametrize("senders", [(1, 2, 2, 3, 4), (2, 1, 3, 4)], ids=str)
def test_adverts_that_stand_twice_or_out_of_order_are_refused(finished: Carried, senders: tuple[int, ...]) -> None:
    session = of_epoch(SEVEN)
    message = messages.encode(Kind.ADVERTS, 0, session, *(finished.wire[Kind.ADVERT, i] for i in senders))
    with pytest.raises(MalformedMessage, match="order of ids"):
        client.share(state_of(finished, 1, Advertised), message, entropy_from(1))


@pytest.mark.parametrize("stranger", [0, 8, 2**32 - 1])
def test_an_advert_of_nobody_on_the_roster_is_refused(finished: Carried, stranger: int) -> None:
    session = of_epoch(SEVEN)
    advert = Advert(primitives.public_key(b"\7" * 32), primitives.public_key(b"\x08" * 32))
    frames = {i: finished.wire[Kind.ADVERT, i] for i in range(1, 8)}
    frames[stranger] = advert.encode(stranger, session, lambda m: sign_as(7, m))  # 7 stands last: roster[0 - 1]
    with pytest.raises(MalformedMessage) as caught:
        client.share(state_of(finished, 1, Advertised), messages.encode_adverts(session, frames), entropy_from(1))
    assert (caught.value.sender, caught.value.field) == (0, "ids")


def test_another_roster_parameters_scope_or_epoch_is_another_session_and_its_signatures_are_worth_nothing(
    finished: Carried,
) -> None:
    roster, entropy = roster_of(SEVEN), entropy_from(2)
    swapped = (*roster[:2], primitives.identity_public(bytes(32)), *roster[3:])
    here = SEVEN.session(SCOPE, EPOCH, roster)
    assert SEVEN.session(SCOPE, EPOCH, swapped) != here
    assert SEVEN.session(bytes(32), EPOCH, roster) != here
    assert SEVEN.session(SCOPE, bytes(16), roster) != here
    for lowered in (
        Parameters(7, 5, 5, committee=7, quorum=5),
        Parameters(7, 4, 5, committee=7, quorum=4),
        Parameters(7, 4, 5, 16, committee=7, quorum=5),
        Parameters(7, 4, 5, committee=7, quorum=5, slots=2),
    ):
        assert lowered.session(SCOPE, EPOCH, roster) != here
        _, advert = client.advertise(lowered, Floors(2, 2), SCOPE, EPOCH, 2, entropy, roster, signs_as(2))
        with pytest.raises(MalformedMessage, match="context"):
            server.relay_adverts(server.open_epoch(SEVEN, SCOPE, EPOCH, roster), {2: advert})


def test_a_participant_signs_only_as_itself_and_only_with_a_roster() -> None:
    roster, entropy = roster_of(SEVEN), entropy_from(2)
    for sign in (None, signs_as(3)):
        with pytest.raises(RefusedParameters, match="cannot sign"):
            client.advertise(SEVEN, Floors(2, 2), SCOPE, EPOCH, 2, entropy, roster, sign)
    with pytest.raises(RefusedParameters, match="0 identities"):
        client.advertise(SEVEN, Floors(2, 2), SCOPE, EPOCH, 2, entropy)
    with pytest.raises(RefusedParameters, match="7 identities"):
        client.advertise(Parameters(7, 4, 5), Floors(2, 2), SCOPE, EPOCH, 2, entropy, roster, signs_as(2))


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
        Floors(2, 2, slots=2),
    ],
    ids=[
        "threshold",
        "survivors",
        "ring",
        "more neighbours",
        "fewer",
        "larger committee",
        "smaller",
        "quorum",
        "slots",
    ],
)
def test_a_server_that_lowers_anything_below_the_own_floors_is_refused(floors: Floors) -> None:
    with pytest.raises(RefusedParameters):
        client.advertise(SEVEN, floors, SCOPE, EPOCH, 1, entropy_from(0), roster_of(SEVEN), signs_as(1))


def test_two_participants_with_one_identity_are_refused() -> None:
    roster = (*roster_of(SEVEN)[:6], roster_of(SEVEN)[0])
    with pytest.raises(RefusedParameters, match="one identity"):
        client.advertise(SEVEN, Floors(2, 2), SCOPE, EPOCH, 1, entropy_from(0), roster, signs_as(1))
