"""What a server that cheats makes from a round: survivor sets, certificates and signatures that it should not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chatfed.secagg import client, graph, messages, primitives
from chatfed.secagg.messages import Kind, Parameters
from chatfed.secagg.states import Consented, Masked
from tests.secagg.rounds import Carried, identity, signs_as, state_of

SEVEN = Parameters(7, 4, 5, committee=7, quorum=5)
SIZES = graph.derive_active(60, 0.1, 0.1)
SIXTY = Parameters(60, SIZES.threshold, 8, 32, SIZES.degree, SIZES.most_gone, *graph.derive_quorum(60, 0.1))
ALL = range(1, 7)  # who survived in the round of seven

SignAs = Callable[[int, bytes], bytes]


def view_of(carried: Carried) -> bytes:
    return carried.server_states["sharing"].view


def bound_of(carried: Carried) -> dict[int, bytes]:
    return dict(carried.server_states["unmasking"].bound)


def sign_as(i: int, message: bytes) -> bytes:
    return primitives.sign(identity(i), message)


def survivors(carried: Carried, ids: Iterable[int]) -> bytes:
    entries = {i: bound_of(carried).get(i, bytes(96)) for i in ids}
    return messages.encode_survivors(view_of(carried), entries)


def certificate(carried: Carried, ids: Iterable[int], signers: Iterable[int], sign: SignAs = sign_as) -> bytes:
    digest = messages.survivors_digest(view_of(carried), ids)
    signed = {i: sign(i, digest) for i in signers}
    return messages.encode_entries(Kind.CERTIFICATE, 0, view_of(carried), signed, digest)


def consented(carried: Carried, who: int, ids: Iterable[int]) -> Consented:
    state, _ = client.consent(state_of(carried, who, Masked), survivors(carried, ids), signs_as(who))
    return state
