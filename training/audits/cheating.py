"""A server that says what it likes at each step of a secure sum, on the real steps of client and server.

What an honest server checks of clients' messages this one does not; what clients check of its messages they do check.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import masking, messages, shamir
from chatfed.secagg import server as secagg
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.messages import Kind
from chatfed.secagg.shamir import SHARE_BYTES
from chatfed.types import ChatfedError, ClientId

from ..parties.identity import keys_of
from ..parties.session import Session, Step, encode_shares, round_context
from .victims import Victims

BOUND_BYTES = 32  # of a commitment in a masked input; with identities a signature follows, of 64


@dataclasses.dataclass
class Cheating:
    """One sum, from the invitation on; whoever refuses is in `refused`."""

    those: Victims
    session: Session
    also: Mapping[ClientId, Session] = dataclasses.field(default_factory=dict)  # who is told something else
    refused: dict[ClientId, ChatfedError] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        sums = self.those.setting.agreement.sums
        self.cohort = self.session.cohort
        self.parameters = sums.parameters(len(self.cohort), self.those.dimension)
        self.roster = keys_of(self.those.roster, self.cohort) if sums.pinned else ()

    @property
    def numbers(self) -> range:
        """Of the cohort's clients."""
        return range(1, 1 + len(self.cohort))

    def told(self, name: ClientId) -> Session:
        """What a client is invited to."""
        return self.also.get(name, self.session)

    def ask(self, step: Step, said: Mapping[int, bytes]) -> dict[int, bytes]:
        """Each one's answer, by its number in the cohort, to what it is told at a step."""
        self.those.refusals.clear()
        asked = {self.cohort[i - 1]: bytes([step]) + body for i, body in said.items()}
        answers = {self.cohort.index(name) + 1: answer[1:] for name, answer in self.those(asked)}
        self.refused |= self.those.refusals
        return answers

    def agree(self) -> secagg.Epoch:
        """Invites everybody and has them agree on keys."""
        everyone = {i: self.told(name).to_bytes() for i, name in enumerate(self.cohort, 1)}
        opened = secagg.open_epoch(self.parameters, self.session.scope, self.session.epoch, self.roster)
        sharing, adverts = secagg.relay_adverts(opened, self.ask(Step.SESSION, everyone))
        self.epoch, envelopes = secagg.relay_shares(sharing, self.ask(Step.ADVERTS, adverts))
        self.envelopes = envelopes
        return self.epoch

    def collect(self, slot: int = 0) -> dict[int, bytes]:
        """Everybody's masked inputs as they came, each for the sum that its client was told of."""
        said, self.turns = dict[int, bytes](), dict[int, bytes]()
        for i in self.envelopes:
            ctx = round_context(self.told(self.cohort[i - 1]), self.those.base)
            collecting, present = secagg.begin(self.epoch, slot, ctx, self.epoch.sharers)
            said[i], self.turns[i] = encode_shares(self.envelopes[i], present[i]), collecting.turn
        self.inputs = self.ask(Step.SHARES, said)
        return self.inputs

    def survivors(self, named: Collection[int], told: Iterable[int] = ()) -> dict[int, bytes]:
        """Shows a survivor set to those in `told` (all in it) -> their consents, or without a roster answers."""
        said = dict[int, bytes]()
        for i in told or named:
            near = self.epoch.graph.neighbours(i) & set(named) if self.roster else ()
            bound = {j: self._bound(j) for j in near}
            said[i] = messages.encode_survivors(self.turns[i], len(self.cohort), named, bound)
        return self.ask(Step.SURVIVORS, said)

    def _bound(self, i: int) -> bytes:
        return bytes(self._body(i)[: BOUND_BYTES + 64])

    def _body(self, i: int) -> memoryview:
        return messages.decode(self.inputs[i], Kind.MASKED_INPUT, i, self.turns[i])

    def vector(self, i: int) -> RingVector:
        """A masked input's vector uint[length]."""
        start = BOUND_BYTES + (64 if self.roster else 0)
        return np.frombuffer(self._body(i)[start:], ring_dtype(self.parameters.ring_bits))  # type: ignore[return-value]

    def unmasked(self, answers: Mapping[int, bytes]) -> RingVector:
        """The sum of all inputs without the self-masks that the answers' shares give: uint[length].

        Masks of pairs are left where they do not cancel.
        """
        total = np.zeros_like(self.vector(next(iter(self.inputs))))
        for i in self.inputs:
            np.add(total, self.vector(i), out=total)
        seeds = self._seeds(answers)
        masking.apply_masks(total, [], [masking.self_mask_key(seeds[i], self.turns[i], i) for i in self.inputs])
        return total

    def _seeds(self, answers: Mapping[int, bytes]) -> dict[int, bytes]:
        """Self-mask seeds, from the shares of as many holders as recover them."""
        held = {i: self._shares(i, answer) for i, answer in sorted(answers.items())}
        points = list(held)[: self.parameters.threshold]
        owners = sorted(self.inputs)
        shares = np.stack([[held[x][owner] for owner in owners] for x in points])
        return dict(zip(owners, shamir.combine(points, shares), strict=True))  # type: ignore[arg-type]  # none is missing

    def _shares(self, i: int, answer: bytes) -> dict[int, NDArray[np.uint16]]:
        """By owner, what a client gave: uint16[18]."""
        lead = messages.survivors_digest(self.turns[i], self.inputs)
        entries = messages.decode_entries(answer, Kind.ANSWER, i, self.turns[i], set(self.inputs), SHARE_BYTES, lead)
        return {owner: np.frombuffer(entry, "<u2") for owner, entry in entries.items()}
