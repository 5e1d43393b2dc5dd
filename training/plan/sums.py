"""The secure sums of a run: their parameters, and what a client accepts at the least. Knows no message."""

from __future__ import annotations

from dataclasses import dataclass

from chatfed.secagg import graph
from chatfed.secagg.messages import THRESHOLD_HE, Floors, Parameters

from .codec import Codec
from .recipe import SecAggSection
from .survivors import colluders, threshold


@dataclass(frozen=True)
class Sums:
    """What every party derives for itself, and holds the others to."""

    secagg: SecAggSection
    codec: Codec

    @property
    def slots(self) -> int:
        """Sums that one agreement on keys serves."""
        return max(1, self.secagg.key_rounds)

    @property
    def pinned(self) -> bool:
        """Whether clients know each other's keys by a roster of their own."""
        return self.secagg.identities == "roster"

    def threshold(self, participants: int) -> int:
        """Survivors without whom nothing is unmasked."""
        return threshold(self.secagg, participants)

    def colluders(self, participants: int) -> int:
        """Of the cohort, the most whose noise the server may know."""
        return colluders(self.secagg, participants)

    def parameters(self, participants: int, dimension: int) -> Parameters:
        """The secure sum of a round for a model of `dimension` coordinates.

        Raises graph.NoSuchGraph, and RecipeError where no ring holds it.
        """
        code = self.codec.upload(participants, dimension)
        degree, share_threshold, most_gone = self.circle(participants)
        committee, quorum = graph.derive_quorum(participants, self.secagg.corrupt) if self.pinned else (0, 0)
        return Parameters(
            participants,
            share_threshold,
            code.coordinates,
            code.ring_bits,
            degree,
            most_gone,
            committee,
            quorum,
            self.slots,
            self.secagg.scheme,
        )

    def complete(self, participants: int) -> bool:
        """Whether all are neighbours: in small cohorts, and in all where everybody holds shares of everybody's key."""
        return participants <= graph.COMPLETE_UP_TO or self.secagg.scheme == THRESHOLD_HE

    def circle(self, participants: int) -> tuple[int, int, int]:
        """(degree, threshold, most gone in a row) for the recipe's fractions. Raises graph.NoSuchGraph."""
        corrupt, dropout = self.secagg.corrupt, self.secagg.dropout
        if self.complete(participants):
            return -1, self.threshold(participants), 0
        if self.pinned:
            active = graph.derive_active(participants, corrupt, dropout)
            return active.degree, active.threshold, active.most_gone
        degree, share_threshold = graph.derive(participants, corrupt, dropout)
        return degree, share_threshold, degree // 2

    def fewest(self, participants: int) -> int:
        """Survivors without whom no client goes on: the threshold, or what signatures and circle need beyond it."""
        fewest = self.threshold(participants)
        if not self.pinned:
            return fewest
        _, quorum = graph.derive_quorum(participants, self.secagg.corrupt)  # fewer would certify nothing
        if not self.complete(participants):  # the circle's sizes are for so many
            fewest = max(fewest, participants - graph.most_dropped(participants, self.secagg.dropout))
        return max(fewest, quorum)

    def floors(self, parameters: Parameters) -> Floors:
        """What a client accepts at the least: what it has derived itself, exactly."""
        return Floors(
            threshold=parameters.threshold,
            survivors=self.fewest(parameters.participants),
            ring_bits=parameters.ring_bits,
            degree=parameters.degree,
            committee=parameters.committee,
            quorum=parameters.quorum,
            most_gone=parameters.most_gone,
            slots=parameters.slots,
        )
