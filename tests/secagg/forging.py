"""What a server that cheats makes from a round: survivor sets, certificates and secrets that it should not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from chatfed.secagg import client, graph, messages, primitives, shamir
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


def turn_of(carried: Carried) -> bytes:
    return carried.server_states["unmasking"].turn


def bound_of(carried: Carried) -> dict[int, bytes]:
    return dict(carried.server_states["unmasking"].bound)


def sign_as(i: int, message: bytes) -> bytes:
    return primitives.sign(identity(i), message)


def survivors(carried: Carried, who: int, ids: Iterable[int], bound: Mapping[int, bytes] | None = None) -> bytes:
    """A survivor set as it is shown to `who`; bound: by what others than sent it are bound to."""
    known, chosen = {**bound_of(carried), **(bound or {})}, set(ids)
    near = carried.server_states["sharing"].graph.neighbours(who) & chosen if carried.parameters.quorum else ()
    entries = {i: known.get(i, bytes(96)) for i in near}
    return messages.encode_survivors(turn_of(carried), carried.parameters.participants, chosen, entries)


def certificate(carried: Carried, ids: Iterable[int], signers: Iterable[int], sign: SignAs = sign_as) -> bytes:
    digest = messages.survivors_digest(turn_of(carried), ids)
    signed = {i: sign(i, digest) for i in signers}
    return messages.encode_entries(Kind.CERTIFICATE, 0, turn_of(carried), signed, digest)


def consented(carried: Carried, who: int, ids: Iterable[int]) -> Consented:
    state, _ = client.consent(state_of(carried, who, Masked), survivors(carried, who, ids), signs_as(who))
    return state


def recovery_key(carried: Carried, owner: int, slot: int) -> bytes:
    """From the shares of as many others as recover it."""
    holders = [i for i in range(1, 6) if i != owner][:3]
    held = [carried.secrets_of(i, slot).shares[owner][shamir.SHARE_BYTES :] for i in holders]
    (key,) = shamir.combine(holders, np.stack([np.frombuffer(share, "<u2") for share in held])[:, None])
    assert key is not None
    return key


def rows_of(carried: Carried, owner: int, slot: int) -> list[bytes]:
    epoch = carried.server_states["epoch"]
    return [epoch.row(owner, j, slot) for j in sorted(epoch.graph.neighbours(owner))]
