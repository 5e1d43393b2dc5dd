"""The aggregating server of a round, as steps. Learns the sum of the survivors' vectors and nothing else.

open_round -> relay_adverts -> relay_shares -> accept (per masked input) -> close_inputs -> finish. A participant
missing from `inbound` has dropped out. Any wrong message raises MalformedMessage naming its sender and changes
nothing: `leaving_out` runs a step again without the senders at fault, which then count as dropped out.
Knows no socket, clock, file or model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import graph, masking, messages, primitives, shamir
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.messages import (
    Advert,
    BadShares,
    BelowThreshold,
    Kind,
    MalformedMessage,
    Parameters,
    WrongStep,
)
from chatfed.secagg.primitives import Buffer
from chatfed.secagg.shamir import SHARE_BYTES

Inbound = Mapping[int, Buffer]
Outbound = Mapping[int, bytes]
_State = TypeVar("_State")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Advertising:
    """Waiting for adverts."""

    parameters: Parameters
    session: bytes


@dataclass(frozen=True)
class Sharing(Advertising):
    """Waiting for share envelopes from those that advertised."""

    adverts: Mapping[int, Advert]


class Accumulator:
    """The running sum, changed in place so that memory stays O(d) whatever the number of participants."""

    def __init__(self, vector: RingVector) -> None:
        self.vector, self.added = vector, 0

    def add(self, vector: RingVector) -> None:
        np.add(self.vector, vector, out=self.vector)
        self.added += 1


@dataclass(frozen=True)
class Collecting(Sharing):
    """Adding masked inputs of those that shared, as they arrive. Holds the sum, so it cannot be rolled back."""

    sharers: frozenset[int]
    commitments: Mapping[int, bytes]  # by those whose masked input is in the sum
    accumulator: Accumulator = field(repr=False)


@dataclass(frozen=True)
class Unmasking(Collecting):
    """The survivor set is fixed; waiting for answers."""


@dataclass(frozen=True, eq=False)
class Total:
    """The exact sum of the survivors' vectors in the ring.

    disputes: (holder, owner) pairs where the holder's share of the owner's secret was wrong although the secret was
    recovered; one of the two cheated.
    """

    vector: RingVector  # uint[dimension]
    survivors: tuple[int, ...]
    disputes: tuple[tuple[int, int], ...] = ()


def open_round(parameters: Parameters, ctx: bytes) -> Advertising:
    """A new round; ctx from messages.context."""
    return Advertising(parameters, parameters.session(ctx))


def relay_adverts(state: Advertising, inbound: Inbound) -> tuple[Sharing, Outbound]:
    """Stage 0: adverts of those present -> to each, the adverts of its neighbours and its own."""
    _at(state, Advertising)
    _check_senders(inbound, range(1, state.parameters.participants + 1), Kind.ADVERT)
    adverts = {i: Advert.decode(message, i, state.session) for i, message in sorted(inbound.items())}
    for i, advert in adverts.items():
        _check_keys(i, advert)
    _check_count("advertise", len(adverts), state.parameters.threshold)
    outbound = {
        i: messages.encode_adverts(state.session, {j: bytes(inbound[j]) for j in _holders(state, i) & adverts.keys()})
        for i in adverts
    }
    return Sharing(state.parameters, state.session, adverts), outbound


def relay_shares(state: Sharing, inbound: Inbound) -> tuple[Collecting, Outbound]:
    """Stage 1: envelopes of those present -> to each of them, the envelopes the others made for it."""
    _at(state, Sharing)
    _check_senders(inbound, state.adverts, Kind.SHARES)
    dealt = {i: _decode_shares(state, i, message) for i, message in sorted(inbound.items())}
    _check_count("share", len(dealt), state.parameters.threshold)
    outbound = {
        i: messages.encode_entries(
            Kind.ENVELOPES, messages.SERVER, state.session, {j: dealt[j][i] for j in dealt if i in dealt[j]}
        )
        for i in dealt
    }
    sum_ = np.zeros(state.parameters.dimension, dtype=ring_dtype(state.parameters.ring_bits))
    return Collecting(**vars(state), sharers=frozenset(dealt), commitments={}, accumulator=Accumulator(sum_)), outbound


def accept(state: Collecting, sender: int, message: Buffer) -> Collecting:
    """Stage 2: add one masked input to the sum. The message may be dropped afterwards.

    Raises MalformedMessage(sender, "masked input", "late") once the survivor set is fixed.
    """
    label = Kind.MASKED_INPUT.label
    if isinstance(state, Unmasking):
        raise MalformedMessage(sender, label, "late")
    _at(state, Collecting)
    _check_senders({sender: message}, state.sharers, Kind.MASKED_INPUT)
    if sender in state.commitments:
        raise MalformedMessage(sender, label, "duplicate")
    sharers = _holders(state, sender) & state.sharers
    commitment, vector = messages.decode_masked_input(message, sender, state.session, sharers, state.parameters)
    state.accumulator.add(vector)
    return replace(state, commitments={**state.commitments, sender: commitment})


def close_inputs(state: Collecting) -> tuple[Unmasking, Outbound]:
    """Fix the survivors -> the survivor set, to each of them. A certificate stage goes between this and finish."""
    _at(state, Collecting)
    _check_count("masked input", len(state.commitments), state.parameters.threshold)
    message = messages.encode_survivors(state.session, state.commitments)
    return Unmasking(**vars(state)), dict.fromkeys(sorted(state.commitments), message)


def finish(state: Unmasking, inbound: Inbound) -> Total:
    """Stage 4: the survivors' answers -> the sum. Every recovered secret is checked before any mask is removed.

    Raises BelowThreshold, or BadShares naming whose shares do not recover what their owner committed to.
    """
    _at(state, Unmasking)
    survivors = state.commitments.keys()
    _check_senders(inbound, survivors, Kind.ANSWER)
    answers = {i: _decode_answer(state, i, message) for i, message in sorted(inbound.items())}
    _check_count("unmask", len(answers), state.parameters.threshold)
    secrets, disputes = _recover(state, answers)

    added, subtracted = _masks_to_remove(state, secrets)
    vector = state.accumulator.vector.copy()
    masking.apply_masks(vector, added, subtracted)
    return Total(vector, tuple(sorted(survivors)), disputes)


def leaving_out(
    step: Callable[[_State, Inbound], _Result], state: _State, inbound: Inbound
) -> tuple[_Result, tuple[MalformedMessage, ...]]:
    """Run a step without the senders whose messages are malformed -> its result, and their errors."""
    remaining, faults = dict(inbound), list[MalformedMessage]()
    while True:
        try:
            return step(state, remaining), tuple(faults)
        except MalformedMessage as fault:
            if fault.sender not in remaining:
                raise
            del remaining[fault.sender]
            faults.append(fault)


def _at(state: Advertising, step: type[Advertising]) -> None:
    if type(state) is not step:
        raise WrongStep(f"this step follows {step.__name__}, the state is {type(state).__name__}")
    if isinstance(state, Collecting) and state.accumulator.added != len(state.commitments):
        raise WrongStep("an earlier state was used again; masked inputs are already in its sum")


def _check_senders(inbound: Inbound, allowed: Collection[int], kind: Kind) -> None:
    for sender in inbound:
        if sender not in allowed:
            raise MalformedMessage(sender, kind.label, "sender")


def _check_count(stage: str, got: int, need: int) -> None:
    if got < need:
        raise BelowThreshold(stage, got, need)


def _check_keys(sender: int, advert: Advert) -> None:
    """Refuse low-order keys here, or one participant could make all the others leave."""
    for field_, key in (("mask key", advert.mask_key), ("envelope key", advert.envelope_key)):
        try:
            primitives.agree(bytes(32), key)
        except primitives.LowOrderKey:
            raise MalformedMessage(sender, Kind.ADVERT.label, field_) from None


def _holders(state: Advertising, owner: int) -> frozenset[int]:
    return graph.holders(owner, state.parameters.participants)


def _decode_shares(state: Sharing, sender: int, message: Buffer) -> dict[int, bytes]:
    expected = (_holders(state, sender) & state.adverts.keys()) - {sender}
    size = messages.ENVELOPE_BYTES
    dealt = messages.decode_entries(message, Kind.SHARES, sender, state.session, expected, size)
    if dealt.keys() != expected:
        raise MalformedMessage(sender, Kind.SHARES.label, "recipients")
    return dealt


def _decode_answer(state: Unmasking, sender: int, message: Buffer) -> dict[int, NDArray[np.uint16]]:
    """By owner, the one share uint16[18] that this survivor gives."""
    expected = _holders(state, sender) & state.sharers
    lead = messages.survivors_digest(state.session, state.commitments)
    entries = messages.decode_entries(message, Kind.ANSWER, sender, state.session, expected, SHARE_BYTES, lead)
    if entries.keys() != expected:
        raise MalformedMessage(sender, Kind.ANSWER.label, "owners")
    shares = {owner: np.frombuffer(entry, dtype="<u2") for owner, entry in entries.items()}
    if any(s.max() >= shamir.PRIME for s in shares.values()):
        raise MalformedMessage(sender, Kind.ANSWER.label, "share")
    return shares


def _recover(
    state: Unmasking, answers: Mapping[int, Mapping[int, NDArray[np.uint16]]]
) -> tuple[dict[int, bytes], tuple[tuple[int, int], ...]]:
    """Each sharer's one secret: a survivor's self-mask seed, the mask key of one that dropped out."""
    secrets, disputes, threshold = dict[int, bytes](), list[tuple[int, int]](), state.parameters.threshold
    for points, owners in _by_holders(state, answers).items():
        _check_count("unmask", len(points), threshold)
        shares = np.stack([[answers[x][owner] for owner in owners] for x in points])  # [r, owners, 18]
        quick = shamir.combine(points[:threshold], shares[:threshold])
        for k, owner in enumerate(owners):
            secret, liars = quick[k], frozenset[int]()
            if secret is None or not _genuine(state, owner, secret):
                secret, liars = _recover_among_liars(state, owner, points, shares[:, k])
            secrets[owner] = secret
            disputes += [(liar, owner) for liar in sorted(liars)]
    return secrets, tuple(disputes)


def _by_holders(state: Unmasking, answers: Mapping[int, object]) -> dict[tuple[int, ...], list[int]]:
    """Owners grouped by who answered for them, so that each group is one matrix product."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for owner in sorted(state.sharers):
        groups.setdefault(tuple(sorted(_holders(state, owner) & answers.keys())), []).append(owner)
    return groups


def _genuine(state: Unmasking, owner: int, secret: bytes) -> bool:
    if owner in state.commitments:
        return primitives.same(masking.commitment(secret, state.session, owner), state.commitments[owner])
    return primitives.public_key(secret) == state.adverts[owner].mask_key


def _recover_among_liars(
    state: Unmasking, owner: int, points: Sequence[int], shares: NDArray[np.uint16]
) -> tuple[bytes, frozenset[int]]:
    threshold = state.parameters.threshold
    decoded = shamir.wrong_points(points, shares, threshold)
    for liars in _suspicions(points, decoded):
        good = [k for k, x in enumerate(points) if x not in liars][:threshold]
        if len(good) == threshold:
            (secret,) = shamir.combine([points[k] for k in good], shares[good])
            if secret is not None and _genuine(state, owner, secret):
                return secret, liars
    raise BadShares(owner, (owner,) if decoded is not None and len(points) > threshold else ())


def _suspicions(points: Sequence[int], decoded: frozenset[int] | None) -> Iterator[frozenset[int]]:
    """Who may have lied: as the code words tell, else any single one (then the commitment tells)."""
    if decoded:
        yield decoded
    yield from (frozenset({x}) for x in points)


def _masks_to_remove(state: Unmasking, secrets: Mapping[int, bytes]) -> tuple[list[bytes], list[bytes]]:
    """Keys of masks to (add, subtract): the survivors' self-masks, and their masks with those that dropped out."""
    survivors, public = state.commitments.keys(), {i: a.mask_key for i, a in state.adverts.items()}
    added, subtracted = list[bytes](), [masking.self_mask_key(secrets[i], state.session, i) for i in survivors]
    for gone in sorted(state.sharers - survivors):
        for i in graph.neighbours(gone, state.parameters.participants) & survivors:
            key = masking.pairwise_mask_key(secrets[gone], gone, i, public, state.session)
            (subtracted if i < gone else added).append(key)
    return added, subtracted
