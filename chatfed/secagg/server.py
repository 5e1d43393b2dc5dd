"""The aggregating server, as steps. Learns sums of the survivors' vectors and nothing else.

Once an epoch: open_epoch -> relay_adverts -> relay_shares, or take_shares (per message) -> hand_out. Once a slot of it:
begin -> accept (per masked input) -> close_inputs -> certify -> finish; without pinned identities there is no certify.
A participant missing from `inbound` has dropped out. Any wrong message raises MalformedMessage naming its sender and
changes nothing: `leaving_out` runs a step again without the senders at fault, which then count as dropped out. Who
gives a sum a slot gives it to no other. Knows no socket, clock, file or model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from chatfed.secagg import graph, messages, primitives
from chatfed.secagg.graph import Graph
from chatfed.secagg.masking import RingVector
from chatfed.secagg.messages import (
    Advert,
    Kind,
    MalformedMessage,
    Parameters,
    Present,
    Roster,
    WrongStep,
    check_count,
)
from chatfed.secagg.pieces import Dealt, Envelopes, Pieces
from chatfed.secagg.primitives import SIGNATURE_BYTES, Buffer
from chatfed.secagg.schemes import Running, scheme_of
from chatfed.secagg.schemes.face import Disputes

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


@dataclass(frozen=True)
class Epoch(Sharing):
    """Keys are agreed on, for as many sums as there are slots."""

    sharers: frozenset[int]
    rows: Mapping[int, Mapping[int, bytes]] = field(repr=False)  # by owner and neighbour, of its recovery table

    def row(self, owner: int, neighbour: int, slot: int) -> bytes:
        """What `owner` gave of the secret that it has with `neighbour` in a slot, where the scheme has such rows."""
        size = self.parameters.layout.row
        return self.rows[owner][neighbour][size * slot :][:size]


@dataclass(frozen=True)
class Collecting(Epoch):
    """Adding masked inputs of those present, as they arrive. Holds the sum, so it cannot be rolled back."""

    slot: int
    turn: bytes  # the context of everything that follows
    present: frozenset[int]
    bound: Mapping[int, bytes]  # commitment and signature of those whose masked input is in the sum
    accumulator: Running = field(repr=False)

    def commitment(self, survivor: int) -> bytes:
        """What the survivor's masked input bound it to, bytes[32]."""
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

    disputes: (holder, owner) pairs where the holder's share of the owner's secret was wrong although the sum was
    opened; one of the two cheated. Owner 0: the holder's share was of several participants' keys at once.
    """

    vector: RingVector  # uint[dimension]
    survivors: tuple[int, ...]
    disputes: Disputes = ()


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
    return hand_out(state, {i: take_shares(state, i, message) for i, message in sorted(inbound.items())})


def take_shares(state: Sharing, sender: int, message: Buffer) -> Dealt:
    """One participant's envelopes and rows, checked. The message may be dropped afterwards."""
    _at(state, Sharing)
    _check_senders({sender: message}, state.adverts, Kind.SHARES)
    expected, layout = state.graph.neighbours(sender), state.parameters.layout
    size = layout.dealt(state.parameters.slots)
    dealt = messages.decode_entries(message, Kind.SHARES, sender, state.view, expected, size)
    if dealt.keys() != expected:
        raise MalformedMessage(sender, Kind.SHARES.label, "recipients")
    lead = layout.envelope(state.parameters.slots)
    envelopes, rows = ({j: entry[part] for j, entry in dealt.items()} for part in (slice(lead), slice(lead, None)))
    return Dealt(Pieces(envelopes), Pieces(rows))


def hand_out(state: Sharing, dealt: Mapping[int, Dealt]) -> tuple[Epoch, Outbound]:
    """`relay_shares` of what was taken one message at a time. What goes out is made as it is asked for."""
    _at(state, Sharing)
    check_count("share", len(dealt), state.parameters.threshold)
    rows = {i: each.rows for i, each in dealt.items()}
    envelopes = {i: dealt[i].envelopes for i in sorted(dealt)}
    return Epoch(**vars(state), sharers=frozenset(dealt), rows=rows), Envelopes(state.view, state.graph, envelopes)


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
    sum_ = scheme_of(state.parameters).collect(state.parameters)
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
    scheme = scheme_of(state.parameters)
    masked = messages.decode_masked_input(message, sender, state.turn, state.roster, scheme.size(state.parameters))
    if not scheme.genuine(masked, sender, state.turn):
        raise MalformedMessage(sender, label, "commitment")
    if not state.accumulator.add(masked.vector):
        raise MalformedMessage(sender, label, "vector")
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
    """The survivors' answers -> the sum, once what they give fits what survivors are bound to.

    Raises BelowThreshold, or BadShares or BadKeyShares naming who may have cheated.
    """
    _at(state, Unmasking)
    survivors = state.bound.keys()
    _check_senders(inbound, survivors, Kind.ANSWER)
    vector, disputes = scheme_of(state.parameters).finish(state, inbound)
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


def _decode_consent(state: Certifying, sender: int, message: Buffer, digest: bytes) -> bytes:
    body = bytes(messages.decode(message, Kind.CONSENT, sender, state.turn))
    if len(body) != 32 + SIGNATURE_BYTES:
        raise MalformedMessage(sender, Kind.CONSENT.label, "length")
    if body[:32] != digest:
        raise MalformedMessage(sender, Kind.CONSENT.label, "survivors")
    if not primitives.signed(state.roster[sender - 1], body[32:], digest):
        raise MalformedMessage(sender, Kind.CONSENT.label, "signature")
    return body[32:]
