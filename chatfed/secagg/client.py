"""One participant of secure sums, as pure steps. Knows no socket, clock, file or model.

Once an epoch: advertise -> share -> open_envelopes. Once a slot of it: masked_input -> consent -> unmask; without
pinned identities there is no consent. Each is `(state, inbound) -> (state, message)`. The caller stores the new state
durably *before* it sends the message, never runs a step twice from a stored state, and destroys a slot's secrets before
its masked input leaves: two masked inputs under one set of masks tell their difference, two answers could tell both
kinds of share. After any error the participant leaves the sum (to the others it is one that dropped out); no error is
raised after a secret was spent. Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine
Learning", figure 4, on the graph of Bell et al. 2020; one agreement on keys for several sums is after Flamingo (Ma et
al. 2023), the recovery tables are our own (docs/protocol.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import graph, masking, messages, primitives, shamir
from chatfed.secagg.graph import Graph
from chatfed.secagg.masking import RingVector, name, ring_dtype
from chatfed.secagg.messages import (
    SERVER,
    Advert,
    AlreadyAnswered,
    Floors,
    Kind,
    MalformedMessage,
    Parameters,
    Present,
    RefusedCertificate,
    RefusedParameters,
    RefusedSurvivors,
    Roster,
    Sign,
    WrongStep,
)
from chatfed.secagg.primitives import KEY_BYTES, SIGNATURE_BYTES, Buffer, PrivateKey, split
from chatfed.secagg.schemes import scheme_of
from chatfed.secagg.states import (
    Advertised,
    Answered,
    ClientState,
    Consented,
    Epoch,
    Masked,
    Ready,
    Shared,
    Slot,
    View,
)
from chatfed.types import Entropy

_State = TypeVar("_State", Advertised, Shared, Ready, Masked, Consented)


def advertise(
    parameters: Parameters,
    floors: Floors,
    scope: bytes,
    epoch: bytes,
    me: int,
    entropy: Entropy,
    roster: Roster = (),
    sign: Sign | None = None,
) -> tuple[Advertised, bytes]:
    """Step 0: draw two key pairs -> advert for the server, signed where there is a roster.

    epoch: 16 bytes, another for each agreement on keys by the cohort that `scope` names. roster: identities of all
    participants from this participant's own file, never from the server. Raises RefusedParameters below the client's
    floors, or where `sign` is missing or is not participant `me`'s.
    """
    floors.refuse(parameters)
    if not 1 <= me <= parameters.participants:
        raise RefusedParameters(f"participant {me} is not one of 1..{parameters.participants}")
    if len(epoch) != 16:
        raise RefusedParameters(f"epoch has {len(epoch)} bytes, not 16")
    known = Epoch(parameters, floors, scope, epoch, me, tuple(roster))
    state = Advertised(known, primitives.draw(entropy, KEY_BYTES), primitives.draw(entropy, KEY_BYTES))
    own, session = _own_advert(state), known.session
    message = own.encode(me, session, sign)
    try:
        Advert.decode(message, me, session, known.roster)
    except MalformedMessage as error:
        raise RefusedParameters(f"participant {me} cannot sign as the roster's identity {me} ({error.field})") from None
    return state, message


def share(state: ClientState, inbound: Buffer, entropy: Entropy) -> tuple[Shared, bytes]:
    """Step 1: everybody's adverts -> for each neighbour, sealed shares of all slots' secrets; and a recovery table."""
    state = _at(state, Advertised)
    e = state.epoch
    adverts = messages.decode_adverts(inbound, e.session, e.parameters.participants, e.roster)
    if adverts.get(e.me) != _own_advert(state):
        raise MalformedMessage(SERVER, Kind.ADVERTS.label, "own advert")
    e.check_count("advertise", len(adverts))
    digest = messages.view_of(e.session, adverts)
    view = View(digest, Graph.draw(digest, adverts, e.parameters.degree))

    agreed = _agree(state, view, {x: adverts[x] for x in view.graph.holders(e.me)})
    dealt = scheme_of(e.parameters).deal(e, view, {x: root for x, (root, _, _) in agreed.items()}, entropy)
    entries = {
        x: _sealed(agreed[x][1], e.me, x, mine, view.digest, entropy) + dealt.rows[x]
        for x, mine in dealt.shares.items()
    }
    kept = {x: root + inward for x, (root, _, inward) in agreed.items()}
    message = messages.encode_entries(Kind.SHARES, e.me, digest, entries)
    return Shared(e, view, dealt.seeds, dealt.own, kept), message


def open_envelopes(state: ClientState, inbound: Buffer) -> tuple[Ready, tuple[bytes, ...]]:
    """Step 2: the neighbours' envelopes -> what of the epoch is no secret, and the secrets of each slot (`Slot`).

    An envelope that does not open stops nobody: else one participant could make its neighbours leave. Its owner's
    secrets are then for the other holders to recover.
    """
    state = _at(state, Shared)
    e, view = state.epoch, state.view.digest
    slots, neighbours = e.parameters.slots, state.view.graph.neighbours(e.me)
    layout, scheme = e.parameters.layout, scheme_of(e.parameters)
    envelopes = messages.decode_envelopes(inbound, view, neighbours, e.parameters)
    rows = np.empty((len(envelopes), slots, layout.kept), np.uint8)
    for k, x in enumerate(sorted(envelopes)):
        root, key = split(state.keys[x], KEY_BYTES)
        rows[k, :, : layout.pair] = _by_slot(scheme.pairs(root, slots), slots)
        rows[k, :, layout.pair :] = _by_slot(_opened(key, x, e.me, envelopes[x], view, e.parameters), slots)
    seeds, own = split(state.seeds, KEY_BYTES), split(state.own_shares, layout.own)
    secrets = tuple(seeds[slot] + own[slot] + rows[:, slot].tobytes() for slot in range(slots))
    return Ready(e, state.view, frozenset(envelopes)), secrets


def masked_input(
    state: ClientState,
    number: int,
    slot: Slot,
    ctx: bytes,
    inbound: Buffer,
    vector: RingVector,
    sign: Sign | None = None,
) -> tuple[Masked, bytes]:
    """Step 3: who is present, and the encoded vector uint[parameters.length] -> masked vector, commitment to the seed.

    number, slot: of the epoch's slots, with its secrets. ctx: what this participant takes the sum to be about, from
    messages.context. Where there is a roster, `sign` binds this participant to whom it masked with, and for what.
    Raises ValueError for a vector of another shape or type, MalformedMessage, BelowThreshold.
    """
    state = _at(state, Ready)
    e, view = state.epoch, state.view.digest
    dtype = ring_dtype(e.parameters.ring_bits)
    if vector.shape != (e.parameters.length,) or vector.dtype != dtype:
        raise ValueError(f"the vector is {vector.dtype}{vector.shape}, not {dtype}({e.parameters.length},)")
    present = check_present(state, number, ctx, inbound)
    turn = present.turn(view)
    others = state.members & present.ids
    hidden = scheme_of(e.parameters).hide(state, slot, turn, others, vector)
    message = messages.encode_masked_input(e.me, turn, hidden.commitment, hidden.vector, sign)
    own = slot.own_share.ljust(e.parameters.layout.share, b"\xff")  # no share of what one that answers need not tell
    return Masked(state, turn, present.ids, {**{x: slot.shares[x] for x in others}, e.me: own}), message


def check_present(state: Ready, number: int, ctx: bytes, inbound: Buffer) -> Present:
    """Who takes part, where it is this slot, this sum, and with everybody an envelope was exchanged.

    To be asked before a slot's secrets are taken, which a message that is refused should not cost. Raises
    MalformedMessage, BelowThreshold.
    """
    e, label = state.epoch, Kind.PRESENT.label
    circle = frozenset(state.view.graph.circle)
    present = Present.decode(inbound, state.view.digest, circle, e.parameters.participants)
    if present.slot != number:
        raise MalformedMessage(SERVER, label, "slot")
    if present.ctx != ctx:
        raise MalformedMessage(SERVER, label, "context")
    if e.me not in present.ids or not present.ids & state.neighbours <= state.members:
        raise MalformedMessage(SERVER, label, "sharers")
    e.check_count("share", len(present.ids))
    return present


def consent(state: ClientState, inbound: Buffer, sign: Sign) -> tuple[Consented, bytes]:
    """Step 4: the survivor set, once it has been checked -> this participant's signature on it.

    Raises RefusedSurvivors or BelowThreshold with nothing signed and no secret spent.
    """
    state = _at(state, Masked)
    survivors = _checked_survivors(state, inbound)
    digest = messages.survivors_digest(state.turn, survivors)
    epoch = state.ready.epoch
    message = messages.encode(Kind.CONSENT, epoch.me, state.turn, digest, sign(digest))
    kept = replace(state, shares=scheme_of(epoch.parameters).only(state.shares, survivors))
    return Consented(kept, survivors), message


def unmask(state: ClientState, inbound: Buffer) -> tuple[Answered, bytes]:
    """Step 5: what opens the sum of the survivors, and by their set alone -> answer.

    With masks of each survivor the share of its self-mask seed, of one that dropped out the share of its recovery key;
    with threshold keys the sum of the survivors' shares. inbound: the certificate that a quorum signed the set this
    participant consented to; without identities the survivor set itself.
    Raises RefusedCertificate, RefusedSurvivors or BelowThreshold with no secret spent, AlreadyAnswered the second time.
    """
    if isinstance(state, Answered):
        raise AlreadyAnswered(f"participant {state.ready.epoch.me} has answered this round; its secrets are erased")
    if isinstance(state, Masked | Consented) and state.ready.epoch.roster:
        consented = _at(state, Consented)
        masked, survivors = consented.masked, consented.survivors
        _check_certificate(consented, inbound)
    else:
        masked = _at(state, Masked)
        survivors = _checked_survivors(masked, inbound)
    message = scheme_of(masked.ready.epoch.parameters).answer(masked, survivors)
    return Answered(masked.ready), message


def survivors_in(state: Masked, inbound: Buffer) -> frozenset[int]:
    """The survivor set that a message names, not checked for anything but its form. Raises MalformedMessage."""
    return _named_survivors(state, inbound)[0]


def _named_survivors(state: Masked, inbound: Buffer) -> tuple[frozenset[int], dict[int, bytes]]:
    ready = state.ready
    return messages.decode_survivors(inbound, state.turn, state.present, ready.neighbours, ready.epoch.parameters)


def _checked_survivors(state: Masked, inbound: Buffer) -> frozenset[int]:
    """The set, if it may be unmasked: neighbours in it masked for the same sum, and few in a row are missing."""
    e, circle = state.ready.epoch, state.ready.view.graph
    survivors, signed = _named_survivors(state, inbound)
    if e.me not in survivors:
        raise RefusedSurvivors(f"the survivor set omits participant {e.me} itself, which sent its input")
    for x, bound in signed.items():
        commitment, signature = bound[:32], bound[32:]
        if not primitives.signed(e.roster[x - 1], signature, messages.masked_digest(state.turn, commitment)):
            raise RefusedSurvivors(f"participant {x} did not mask with the same participants as {e.me}, or not at all")
    gone = circle.most_gone(survivors)
    if gone > e.parameters.most_gone:
        raise RefusedSurvivors(f"{gone} places in a row are missing, {e.parameters.most_gone} at most may be")
    e.check_count("masked input", len(survivors))
    return survivors


def _check_certificate(state: Consented, inbound: Buffer) -> None:
    e, turn = state.ready.epoch, state.masked.turn
    digest = messages.survivors_digest(turn, state.survivors)
    may_sign = graph.committee(e.scope, e.parameters.participants, e.parameters.committee) & state.survivors
    signatures = messages.decode_entries(inbound, Kind.CERTIFICATE, SERVER, turn, may_sign, SIGNATURE_BYTES, digest)
    if len(signatures) < e.parameters.quorum:
        raise RefusedCertificate(f"{len(signatures)} signed the survivor set, {e.parameters.quorum} must")
    forged = [i for i, s in signatures.items() if not primitives.signed(e.roster[i - 1], s, digest)]
    if forged:
        raise RefusedCertificate(f"the signatures of participants {forged} on the survivor set are not theirs")


def _at(state: ClientState, step: type[_State]) -> _State:
    if not isinstance(state, step):
        raise WrongStep(f"this step follows {step.__name__}, the state is {type(state).__name__}")
    return state


def _own_advert(state: Advertised) -> Advert:
    return Advert(primitives.public_key(state.mask_private), primitives.public_key(state.envelope_private))


def _agree(state: Advertised, view: View, adverts: dict[int, Advert]) -> dict[int, tuple[bytes, bytes, bytes]]:
    """By neighbour: the pair's root, the key of the envelope to it, the key of the envelope from it."""
    me = state.epoch.me
    mask, envelope = primitives.load(state.mask_private), primitives.load(state.envelope_private)
    public = {x: advert.mask_key for x, advert in adverts.items()}
    agreed = dict[int, tuple[bytes, bytes, bytes]]()
    for x in adverts.keys() - {me}:
        try:
            root = masking.pair_root(mask, me, x, public, view.digest)
        except primitives.LowOrderKey:
            raise MalformedMessage(x, Kind.ADVERT.label, "mask key") from None
        agreed[x] = root, *_envelope_keys(envelope, me, x, adverts, view.digest)
    return agreed


def _envelope_keys(
    own: PrivateKey, me: int, other: int, adverts: dict[int, Advert], view: bytes
) -> tuple[bytes, bytes]:
    """Of the envelope to another and of the one from it.

    Bound to all four public keys, so that a substituted mask key spoils the envelope.
    """
    try:
        secret = primitives.agree(own, adverts[other].envelope_key)
    except primitives.LowOrderKey:
        raise MalformedMessage(other, Kind.ADVERT.label, "envelope key") from None

    def key(sender: int, to: int) -> bytes:
        keys = [key for i in (sender, to) for key in (adverts[i].mask_key, adverts[i].envelope_key)]
        return primitives.derive(secret, b"share-envelope", view, name(sender), name(to), *keys)

    return key(me, other), key(other, me)


def _by_slot(data: bytes, slots: int) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(slots, len(data) // slots)


def _sealed(key: bytes, me: int, to: int, shares: bytes, view: bytes, entropy: Entropy) -> bytes:
    return primitives.seal_freshly(key, shares, view + name(me) + name(to), entropy)


def _opened(key: bytes, sender: int, me: int, envelope: bytes, view: bytes, parameters: Parameters) -> bytes:
    shares = primitives.unseal_fresh(key, envelope, view + name(sender) + name(me))
    sound = shares is not None and np.frombuffer(shares, dtype="<u2").max() < shamir.PRIME
    return shares if shares is not None and sound else parameters.slots * parameters.layout.nothing
