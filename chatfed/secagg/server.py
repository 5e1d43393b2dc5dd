"""The aggregating server, as steps. Learns sums of the survivors' vectors and nothing else.

Once an epoch: open_epoch -> relay_adverts -> relay_shares. Once a slot of it: begin -> accept (per masked input) ->
close_inputs -> certify -> finish; without pinned identities there is no certify. A participant missing from `inbound`
has dropped out. Any wrong message raises MalformedMessage naming its sender and changes nothing: `leaving_out` runs a
step again without the senders at fault, which then count as dropped out. Who gives a sum a slot gives it to no other.
Knows no socket, clock, file or model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import graph, masking, messages, primitives, recovery, shamir
from chatfed.secagg.graph import Graph
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.messages import (
    NO_SHARE,
    Advert,
    BadShares,
    Kind,
    MalformedMessage,
    Parameters,
    Present,
    Roster,
    WrongStep,
    check_count,
)
from chatfed.secagg.primitives import KEY_BYTES, SIGNATURE_BYTES, Buffer
from chatfed.secagg.shamir import SHARE_BYTES

Inbound = Mapping[int, Buffer]
Outbound = Mapping[int, bytes]
_State = TypeVar("_State")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Advertising:
    """Waiting for adverts."""

    parameters: Parameters
    scope: bytes
    session: bytes
    roster: Roster


@dataclass(frozen=True)
class Sharing(Advertising):
    """Waiting for share envelopes from those that advertised."""

    adverts: Mapping[int, Advert]
    view: bytes  # digest of the adverts: the context of shares, and of who is present
    graph: Graph


class Accumulator:
    """The running sum, changed in place so that memory stays O(d) whatever the number of participants."""

    def __init__(self, vector: RingVector) -> None:
        self.vector, self.added = vector, 0

    def add(self, vector: RingVector) -> None:
        """Adds one masked vector, with wrap-around."""
        np.add(self.vector, vector, out=self.vector)
        self.added += 1


@dataclass(frozen=True)
class Epoch(Sharing):
    """Keys are agreed on, for as many sums as there are slots."""

    sharers: frozenset[int]
    rows: Mapping[int, Mapping[int, bytes]] = field(repr=False)  # by owner and neighbour, of its recovery table

    def row(self, owner: int, neighbour: int, slot: int) -> bytes:
        """What `owner` gave of the secret that it has with `neighbour` in a slot, bytes[ROW_BYTES]."""
        return self.rows[owner][neighbour][messages.ROW_BYTES * slot :][: messages.ROW_BYTES]


@dataclass(frozen=True)
class Collecting(Epoch):
    """Adding masked inputs of those present, as they arrive. Holds the sum, so it cannot be rolled back."""

    slot: int
    turn: bytes  # the context of everything that follows
    present: frozenset[int]
    bound: Mapping[int, bytes]  # commitment and signature of those whose masked input is in the sum
    accumulator: Accumulator = field(repr=False)

    def commitment(self, survivor: int) -> bytes:
        """What the survivor's masked input bound it to: H(self-mask seed), bytes[32]."""
        return self.bound[survivor][:32]


@dataclass(frozen=True)
class Certifying(Collecting):
    """The survivor set is fixed; waiting for signatures on it."""


@dataclass(frozen=True)
class Unmasking(Certifying):
    """Waiting for answers."""


@dataclass(frozen=True, eq=False)
class Total:
    """The exact sum of the survivors' vectors in the ring.

    disputes: (holder, owner) pairs where the holder's share of the owner's secret was wrong although the secret was
    recovered; one of the two cheated.
    """

    vector: RingVector  # uint[dimension]
    survivors: tuple[int, ...]
    disputes: tuple[tuple[int, int], ...] = ()


def open_epoch(parameters: Parameters, scope: bytes, epoch: bytes, roster: Roster = ()) -> Advertising:
    """A new agreement on keys; scope from messages.scope, roster: identities in order of number, or none."""
    return Advertising(parameters, scope, parameters.session(scope, epoch, roster), tuple(roster))


def relay_adverts(state: Advertising, inbound: Inbound) -> tuple[Sharing, Outbound]:
    """Adverts of those present -> to each of them, all of them."""
    _at(state, Advertising)
    _check_senders(inbound, range(1, state.parameters.participants + 1), Kind.ADVERT)
    adverts = {i: Advert.decode(m, i, state.session, state.roster) for i, m in sorted(inbound.items())}
    for i, advert in adverts.items():
        _check_keys(i, advert)
    check_count("advertise", len(adverts), state.parameters.threshold)
    view = messages.view_of(state.session, adverts)
    message = messages.encode_adverts(state.session, {i: bytes(inbound[i]) for i in adverts})
    drawn = Graph.draw(view, adverts, state.parameters.degree)
    return Sharing(**vars(state), adverts=adverts, view=view, graph=drawn), dict.fromkeys(adverts, message)


def relay_shares(state: Sharing, inbound: Inbound) -> tuple[Epoch, Outbound]:
    """Envelopes of those present -> for each of them, those made for it: to travel before its first sum."""
    _at(state, Sharing)
    _check_senders(inbound, state.adverts, Kind.SHARES)
    dealt = {i: _decode_shares(state, i, message) for i, message in sorted(inbound.items())}
    check_count("share", len(dealt), state.parameters.threshold)
    size = messages.envelope_bytes(state.parameters.slots)
    outbound = {
        i: messages.encode_envelopes(
            state.view, {j: dealt[j][i][:size] for j in state.graph.neighbours(i) & dealt.keys()}
        )
        for i in dealt
    }
    rows = {i: {j: entry[size:] for j, entry in entries.items()} for i, entries in dealt.items()}
    return Epoch(**vars(state), sharers=frozenset(dealt), rows=rows), outbound


def begin(state: Epoch, slot: int, ctx: bytes, present: Collection[int]) -> tuple[Collecting, Outbound]:
    """One sum, under the keys of a slot that no other sum was given -> to each of those present, who they are.

    ctx: what it is about, from messages.context. present: of those that shared, whoever says that it is there.
    """
    _at(state, Epoch)
    if not 0 <= slot < state.parameters.slots:
        raise WrongStep(f"there is no slot {slot} of {state.parameters.slots}: agree on keys for another epoch")
    there = Present(slot, ctx, frozenset(present) & state.sharers)
    check_count("share", len(there.ids), state.parameters.threshold)
    message = there.encode(state.view, state.parameters.participants)
    turn = there.turn(state.view)
    sum_ = Accumulator(np.zeros(state.parameters.length, dtype=ring_dtype(state.parameters.ring_bits)))
    collecting = Collecting(**vars(state), slot=slot, turn=turn, present=there.ids, bound={}, accumulator=sum_)
    return collecting, dict.fromkeys(sorted(there.ids), message)


def accept(state: Collecting, sender: int, message: Buffer) -> Collecting:
    """Add one masked input to the sum. The message may be dropped afterwards.

    Raises MalformedMessage(sender, "masked input", "late") once the survivor set is fixed.
    """
    label = Kind.MASKED_INPUT.label
    if isinstance(state, Certifying):
        raise MalformedMessage(sender, label, "late")
    _at(state, Collecting)
    _check_senders({sender: message}, state.present, Kind.MASKED_INPUT)
    if sender in state.bound:
        raise MalformedMessage(sender, label, "duplicate")
    masked = messages.decode_masked_input(message, sender, state.turn, state.parameters, state.roster)
    state.accumulator.add(masked.vector)
    return replace(state, bound={**state.bound, sender: masked.commitment + masked.signature})


def close_inputs(state: Collecting) -> tuple[Certifying, Outbound]:
    """Fix the survivors -> the survivor set, to each of them. With identities, `certify` comes next, else `finish`."""
    _at(state, Collecting)
    check_count("masked input", len(state.bound), state.parameters.threshold)
    step = Certifying if state.roster else Unmasking
    if not state.roster:
        message = messages.encode_survivors(state.turn, state.parameters.participants, state.bound, {})
        return step(**vars(state)), dict.fromkeys(sorted(state.bound), message)
    return step(**vars(state)), {i: _survivors_for(state, i) for i in sorted(state.bound)}


def _survivors_for(state: Collecting, survivor: int) -> bytes:
    near = {j: state.bound[j] for j in state.graph.neighbours(survivor) & state.bound.keys()}
    return messages.encode_survivors(state.turn, state.parameters.participants, state.bound, near)


def certify(state: Certifying, inbound: Inbound) -> tuple[Unmasking, Outbound]:
    """The survivors' signatures on their set -> to each survivor, as many of the committee's as a quorum has."""
    _at(state, Certifying)
    _check_senders(inbound, state.bound, Kind.CONSENT)
    digest = messages.survivors_digest(state.turn, state.bound)
    signatures = {i: _decode_consent(state, i, message, digest) for i, message in sorted(inbound.items())}
    members = graph.committee(state.scope, state.parameters.participants, state.parameters.committee)
    signers = [i for i in signatures if i in members]
    check_count("consent", len(signers), state.parameters.quorum)
    chosen = {i: signatures[i] for i in signers[: state.parameters.quorum]}
    message = messages.encode_entries(Kind.CERTIFICATE, messages.SERVER, state.turn, chosen, digest)
    return Unmasking(**vars(state)), dict.fromkeys(sorted(state.bound), message)


def finish(state: Certifying, inbound: Inbound) -> Total:
    """The survivors' answers -> the sum. Every recovered secret is checked before any mask is removed.

    Raises BelowThreshold, or BadShares naming whose shares do not recover what their owner committed to.
    """
    _at(state, Unmasking)
    survivors = state.bound.keys()
    _check_senders(inbound, survivors, Kind.ANSWER)
    answers = {i: _decode_answer(state, i, message) for i, message in sorted(inbound.items())}
    check_count("unmask", len(answers), state.parameters.threshold)
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
    if isinstance(state, Collecting) and state.accumulator.added != len(state.bound):
        raise WrongStep("an earlier state was used again; masked inputs are already in its sum")


def _check_senders(inbound: Inbound, allowed: Collection[int], kind: Kind) -> None:
    for sender in inbound:
        if sender not in allowed:
            raise MalformedMessage(sender, kind.label, "sender")


def _check_keys(sender: int, advert: Advert) -> None:
    """Refuse low-order keys here, or one participant could make all the others leave."""
    any_ = primitives.load(bytes(32))
    for field_, key in (("mask key", advert.mask_key), ("envelope key", advert.envelope_key)):
        try:
            primitives.agree(any_, key)
        except primitives.LowOrderKey:
            raise MalformedMessage(sender, Kind.ADVERT.label, field_) from None


def _decode_shares(state: Sharing, sender: int, message: Buffer) -> dict[int, bytes]:
    expected, slots = state.graph.neighbours(sender), state.parameters.slots
    size = messages.envelope_bytes(slots) + slots * messages.ROW_BYTES
    dealt = messages.decode_entries(message, Kind.SHARES, sender, state.view, expected, size)
    if dealt.keys() != expected:
        raise MalformedMessage(sender, Kind.SHARES.label, "recipients")
    return dealt


def _decode_consent(state: Certifying, sender: int, message: Buffer, digest: bytes) -> bytes:
    body = bytes(messages.decode(message, Kind.CONSENT, sender, state.turn))
    if len(body) != 32 + SIGNATURE_BYTES:
        raise MalformedMessage(sender, Kind.CONSENT.label, "length")
    if body[:32] != digest:
        raise MalformedMessage(sender, Kind.CONSENT.label, "survivors")
    if not primitives.signed(state.roster[sender - 1], body[32:], digest):
        raise MalformedMessage(sender, Kind.CONSENT.label, "signature")
    return body[32:]


def _decode_answer(state: Certifying, sender: int, message: Buffer) -> dict[int, NDArray[np.uint16]]:
    """By owner, the one share uint16[18] that this survivor gives; without those whose envelope did not open for it."""
    expected = state.graph.holders(sender) & state.present
    lead = messages.survivors_digest(state.turn, state.bound)
    entries = messages.decode_entries(message, Kind.ANSWER, sender, state.turn, expected, SHARE_BYTES, lead)
    if entries.keys() != expected:
        raise MalformedMessage(sender, Kind.ANSWER.label, "owners")
    held = {owner: entry for owner, entry in entries.items() if entry != NO_SHARE}
    shares = {owner: np.frombuffer(entry, dtype="<u2") for owner, entry in held.items()}
    if any(s.max() >= shamir.PRIME for s in shares.values()):
        raise MalformedMessage(sender, Kind.ANSWER.label, "share")
    return shares


def _recover(
    state: Certifying, answers: Mapping[int, Mapping[int, NDArray[np.uint16]]]
) -> tuple[dict[int, bytes], tuple[tuple[int, int], ...]]:
    """The one secret of each that was present: a survivor's self-mask seed, or the recovery key of one that is gone."""
    secrets, disputes, threshold = dict[int, bytes](), list[tuple[int, int]](), state.parameters.threshold
    for points, owners in _by_holders(state, answers).items():
        check_count("unmask", len(state.graph.holders(owners[0]) & answers.keys()), threshold)
        if len(points) < threshold:  # they answered, but say that nothing of the owner's opened
            raise BadShares(owners[0], tuple(sorted(state.graph.holders(owners[0]) & answers.keys())))
        disputes += [
            (x, owner) for owner in owners for x in sorted(state.graph.holders(owner) & answers.keys() - set(points))
        ]
        shares = np.stack([[answers[x][owner] for owner in owners] for x in points])  # [r, owners, 18]
        quick = shamir.combine(points[:threshold], shares[:threshold])
        for k, owner in enumerate(owners):
            secret, liars = quick[k], frozenset[int]()
            if secret is None or not _genuine(state, owner, secret):
                secret, liars = _recover_among_liars(state, owner, points, shares[:, k])
            secrets[owner] = secret
            disputes += [(liar, owner) for liar in sorted(liars)]
    return secrets, tuple(disputes)


def _by_holders(state: Certifying, answers: Mapping[int, Mapping[int, object]]) -> dict[tuple[int, ...], list[int]]:
    """Owners grouped by who answered for them, so that each group is one matrix product."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for owner in sorted(state.present):
        gave = (x for x in sorted(state.graph.holders(owner) & answers.keys()) if owner in answers[x])
        groups.setdefault(tuple(gave), []).append(owner)
    return groups


def _genuine(state: Certifying, owner: int, secret: bytes) -> bool:
    if owner in state.bound:
        return primitives.same(masking.commitment(secret, state.turn, owner), state.commitment(owner))
    return _pairs_of(state, owner, secret) is not None


def _pairs_of(state: Certifying, owner: int, key: bytes) -> dict[int, bytes] | None:
    """By neighbour, the secrets that one that dropped out has with it in this slot; None under another key."""
    near = sorted(state.graph.neighbours(owner))
    rows = [state.row(owner, j, state.slot) for j in near]
    opened = recovery.open_rows(rows, key, state.view, owner)
    return None if opened is None else dict(zip(near, opened, strict=True))


def _recover_among_liars(
    state: Certifying, owner: int, points: Sequence[int], shares: NDArray[np.uint16]
) -> tuple[bytes, frozenset[int]]:
    threshold = state.parameters.threshold
    decoded = shamir.wrong_points(points, shares, threshold)
    for liars in _suspicions(points, decoded):
        good = [k for k, x in enumerate(points) if x not in liars][:threshold]
        if len(good) == threshold:
            (secret,) = shamir.combine([points[k] for k in good], shares[good])
            if secret is not None and _genuine(state, owner, secret):
                return secret, liars
    raise BadShares(owner, tuple(points))


def _suspicions(points: Sequence[int], decoded: frozenset[int] | None) -> Iterator[frozenset[int]]:
    """Who may have lied: as the code words tell, else any single one (then the commitment tells)."""
    if decoded:
        yield decoded
    yield from (frozenset({x}) for x in points)


def _masks_to_remove(state: Certifying, secrets: Mapping[int, bytes]) -> tuple[list[bytes], list[bytes]]:
    """Keys of masks to (add, subtract): the survivors' self-masks, and their masks with those that dropped out.

    Raises BadShares where a survivor says of the secret that it has with one that dropped out what that one does not.
    """
    survivors = state.bound.keys()
    added, subtracted = list[bytes](), [masking.self_mask_key(secrets[i], state.turn, i) for i in survivors]
    for gone in sorted(state.present - survivors):
        pairs = _pairs_of(state, gone, secrets[gone])
        assert pairs is not None, "a recovered key is one that opens its rows"
        for i in state.graph.neighbours(gone) & survivors:
            if recovery.check(pairs[i]) != state.row(i, gone, state.slot)[KEY_BYTES:]:
                raise BadShares(gone, (i,))
            (subtracted if i < gone else added).append(masking.pairwise_mask_key(pairs[i], state.turn))
    return added, subtracted
