"""One participant of a round, as pure steps. Knows no socket, clock, file or model.

advertise -> share -> masked_input -> consent -> unmask, each `(state, inbound) -> (state, message)`; without pinned
identities there is no consent. The caller stores the new state durably *before* it sends the message, and never runs a
step twice from a stored state: two masked inputs under one set of masks tell their difference, two answers could tell
both kinds of share. After any error the participant leaves the round (to the others it is one that dropped out); no
error is raised after a secret was spent. Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving
Machine Learning", figure 4, on the graph of Bell et al. 2020.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from chatfed.secagg import graph, masking, messages, primitives, shamir
from chatfed.secagg.graph import Graph
from chatfed.secagg.masking import RingVector, name, ring_dtype
from chatfed.secagg.messages import (
    NO_SHARE,
    SERVER,
    Advert,
    AlreadyAnswered,
    Floors,
    Kind,
    MalformedMessage,
    Parameters,
    RefusedCertificate,
    RefusedParameters,
    RefusedSurvivors,
    Roster,
    Sign,
    WrongStep,
)
from chatfed.secagg.primitives import KEY_BYTES, NONCE_BYTES, SIGNATURE_BYTES, Buffer
from chatfed.secagg.shamir import SHARE_BYTES
from chatfed.secagg.states import Advertised, Answered, ClientState, Consented, Masked, Round, Shared, View
from chatfed.types import Entropy

_State = TypeVar("_State", Advertised, Shared, Masked, Consented)


def advertise(
    parameters: Parameters,
    floors: Floors,
    ctx: bytes,
    attempt: bytes,
    me: int,
    entropy: Entropy,
    roster: Roster = (),
    sign: Sign | None = None,
) -> tuple[Advertised, bytes]:
    """Step 0: draw two key pairs -> advert for the server, signed where there is a roster.

    attempt: 16 bytes, another for each attempt at the round that `ctx` names. roster: identities of all participants
    from this participant's own file, never from the server. Raises
    RefusedParameters below the client's floors, or where `sign` is missing or is not participant `me`'s.
    """
    floors.refuse(parameters)
    if not 1 <= me <= parameters.participants:
        raise RefusedParameters(f"participant {me} is not one of 1..{parameters.participants}")
    if len(attempt) != 16:
        raise RefusedParameters(f"attempt has {len(attempt)} bytes, not 16")
    round = Round(parameters, floors, ctx, attempt, me, tuple(roster))
    state = Advertised(round, primitives.draw(entropy, KEY_BYTES), primitives.draw(entropy, KEY_BYTES))
    own, session = _own_advert(state), round.session
    message = own.encode(me, session, sign)
    try:
        Advert.decode(message, me, session, round.roster)
    except MalformedMessage as error:
        raise RefusedParameters(f"participant {me} cannot sign as the roster's identity {me} ({error.field})") from None
    return state, message


def share(state: ClientState, inbound: Buffer, entropy: Entropy) -> tuple[Shared, bytes]:
    """Step 1: everybody's adverts -> for each neighbour, sealed shares of the self-mask seed and of the mask key."""
    state, r = _at(state, Advertised), state.round
    adverts = messages.decode_adverts(inbound, r.session, r.parameters.participants, r.roster)
    if adverts.get(r.me) != _own_advert(state):
        raise MalformedMessage(SERVER, Kind.ADVERTS.label, "own advert")
    r.check_count("advertise", len(adverts))
    digest = messages.view_of(r.session, adverts)
    view = View(digest, Graph.draw(digest, adverts, r.parameters.degree))

    seed, points = primitives.draw(entropy, KEY_BYTES), sorted(view.graph.holders(r.me))
    shares = shamir.share([seed, state.mask_private], points, r.parameters.threshold, entropy).astype("<u2")
    dealt = {x: shares[k].tobytes() for k, x in enumerate(points)}
    near = {x: adverts[x] for x in points}
    shared = Shared(r, view, state.mask_private, state.envelope_private, seed, dealt.pop(r.me), near)
    envelopes = {x: _seal_shares(shared, x, dealt[x], primitives.draw(entropy, NONCE_BYTES)) for x in dealt}
    return shared, messages.encode_entries(Kind.SHARES, r.me, digest, envelopes)


def masked_input(
    state: ClientState, inbound: Buffer, vector: RingVector, sign: Sign | None = None
) -> tuple[Masked, bytes]:
    """Step 2: envelopes and the encoded vector uint[parameters.length] -> masked vector and commitment to the seed.

    Where there is a roster, `sign` binds this participant to whom it masked with. Raises ValueError for a vector of
    another shape or type, MalformedMessage, BelowThreshold. An envelope that does not open stops nobody: else one
    participant could make its neighbours leave. Its owner's secrets are then for the other holders to recover.
    """
    state, r = _at(state, Shared), state.round
    dtype = ring_dtype(r.parameters.ring_bits)
    if vector.shape != (r.parameters.length,) or vector.dtype != dtype:
        raise ValueError(f"the vector is {vector.dtype}{vector.shape}, not {dtype}({r.parameters.length},)")
    view = state.view.digest
    sharers, envelopes = messages.decode_envelopes(inbound, view, frozenset(state.view.graph.circle))
    if r.me not in sharers or envelopes.keys() != sharers & state.adverts.keys() - {r.me}:
        raise MalformedMessage(SERVER, Kind.ENVELOPES.label, "sharers")
    r.check_count("share", len(sharers))
    shares = {x: _open_shares(state, x, envelope) for x, envelope in envelopes.items()}

    public = {x: advert.mask_key for x, advert in state.adverts.items()}
    keys = {x: _mask_key(state, x, public) for x in shares}
    masked = vector.copy()
    masking.apply_masks(
        masked,
        [masking.self_mask_key(state.seed, view, r.me), *(key for x, key in keys.items() if r.me < x)],
        [key for x, key in keys.items() if x < r.me],
    )
    commitment = masking.commitment(state.seed, view, r.me)
    message = messages.encode_masked_input(
        r.me, view, messages.sharers_digest(view, sharers, commitment), commitment, masked, sign
    )
    return Masked(r, state.view, sharers, {**shares, r.me: state.own_shares}), message


def consent(state: ClientState, inbound: Buffer, sign: Sign) -> tuple[Consented, bytes]:
    """Step 3: the survivor set, once it has been checked -> this participant's signature on it.

    Raises RefusedSurvivors or BelowThreshold with nothing signed and no secret spent.
    """
    state, r = _at(state, Masked), state.round
    survivors = _checked_survivors(state, inbound)
    digest = messages.survivors_digest(state.view.digest, survivors)
    message = messages.encode(Kind.CONSENT, r.me, state.view.digest, digest, sign(digest))
    return Consented(state, survivors), message


def unmask(state: ClientState, inbound: Buffer) -> tuple[Answered, bytes]:
    """Step 4: for each owner of shares exactly one kind, by the survivor set alone -> answer.

    Of a survivor the share of its self-mask seed, of one that dropped out the share of its mask key. inbound: the
    certificate that a quorum signed the set this participant consented to; without identities the survivor set itself.
    Raises RefusedCertificate, RefusedSurvivors or BelowThreshold with no secret spent, AlreadyAnswered the second time.
    """
    if isinstance(state, Answered):
        raise AlreadyAnswered(f"participant {state.round.me} has answered this round; its secrets are erased")
    if state.round.roster:
        consented = _at(state, Consented)
        masked, survivors = consented.masked, consented.survivors
        _check_certificate(consented, inbound)
    else:
        masked = _at(state, Masked)
        survivors = _checked_survivors(masked, inbound)
    view = masked.view.digest
    answers = {x: s[:SHARE_BYTES] if x in survivors else s[SHARE_BYTES:] for x, s in masked.shares.items()}
    lead = messages.survivors_digest(view, survivors)
    return Answered(state.round), messages.encode_entries(Kind.ANSWER, state.round.me, view, answers, lead)


def _checked_survivors(state: Masked, inbound: Buffer) -> frozenset[int]:
    """The set, if it may be unmasked: neighbours in it masked with the same sharers, and few in a row are missing."""
    r, view, circle = state.round, state.view.digest, state.view.graph
    signed = messages.decode_survivors(inbound, view, state.sharers, r.roster)
    survivors = frozenset(signed)
    if r.me not in survivors:
        raise RefusedSurvivors(f"the survivor set omits participant {r.me} itself, which sent its input")
    for x in survivors & circle.neighbours(r.me) if r.roster else ():
        commitment, signature = signed[x][:32], signed[x][32:]
        if not primitives.signed(r.roster[x - 1], signature, messages.sharers_digest(view, state.sharers, commitment)):
            raise RefusedSurvivors(f"participant {x} did not mask with the same participants as {r.me}, or not at all")
    gone = circle.most_gone(survivors)
    if gone > r.parameters.most_gone:
        raise RefusedSurvivors(f"{gone} places in a row are missing, {r.parameters.most_gone} at most may be")
    r.check_count("masked input", len(survivors))
    return survivors


def _check_certificate(state: Consented, inbound: Buffer) -> None:
    r, view = state.round, state.masked.view
    digest = messages.survivors_digest(view.digest, state.survivors)
    may_sign = (
        graph.committee(r.parameters.record(r.ctx, r.roster), r.parameters.participants, r.parameters.committee)
        & state.survivors
    )
    signatures = messages.decode_entries(
        inbound, Kind.CERTIFICATE, SERVER, view.digest, may_sign, SIGNATURE_BYTES, digest
    )
    if len(signatures) < r.parameters.quorum:
        raise RefusedCertificate(f"{len(signatures)} signed the survivor set, {r.parameters.quorum} must")
    forged = [i for i, s in signatures.items() if not primitives.signed(r.roster[i - 1], s, digest)]
    if forged:
        raise RefusedCertificate(f"the signatures of participants {forged} on the survivor set are not theirs")


def _at(state: ClientState, step: type[_State]) -> _State:
    if not isinstance(state, step):
        raise WrongStep(f"this step follows {step.__name__}, the state is {type(state).__name__}")
    return state


def _own_advert(state: Advertised) -> Advert:
    return Advert(primitives.public_key(state.mask_private), primitives.public_key(state.envelope_private))


def _mask_key(state: Shared, other: int, public: dict[int, bytes]) -> bytes:
    try:
        return masking.pairwise_mask_key(state.mask_agreement, state.round.me, other, public, state.view.digest)
    except primitives.LowOrderKey:
        raise MalformedMessage(other, Kind.ADVERT.label, "mask key") from None


def _envelope_key(state: Shared, other: int, sender: int, to: int) -> bytes:
    """Key of one direction; bound to all four public keys, so that a substituted mask key spoils the envelope."""
    keys = [key for i in (sender, to) for key in (state.adverts[i].mask_key, state.adverts[i].envelope_key)]
    if other not in state.agreed:
        try:
            state.agreed[other] = primitives.agree(state.envelope_agreement, state.adverts[other].envelope_key)
        except primitives.LowOrderKey:
            raise MalformedMessage(other, Kind.ADVERT.label, "envelope key") from None
    return primitives.derive(state.agreed[other], b"share-envelope", state.view.digest, name(sender), name(to), *keys)


def _seal_shares(state: Shared, to: int, shares: bytes, nonce: bytes) -> bytes:
    me = state.round.me
    key = _envelope_key(state, to, me, to)
    return nonce + primitives.seal(key, nonce, shares, state.view.digest + name(me) + name(to))


def _open_shares(state: Shared, sender: int, envelope: bytes) -> bytes:
    me = state.round.me
    key = _envelope_key(state, sender, sender, me)
    nonce, sealed = envelope[:NONCE_BYTES], envelope[NONCE_BYTES:]
    shares = primitives.unseal(key, nonce, sealed, state.view.digest + name(sender) + name(me))
    sound = shares is not None and np.frombuffer(shares, dtype="<u2").max() < shamir.PRIME
    return shares if shares is not None and sound else 2 * NO_SHARE
