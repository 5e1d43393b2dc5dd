"""How long a run would take as a rehearsal on one machine, from what its parts cost. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sum:
    """One secure sum; seconds of a processor."""

    clients: int
    learners: int  # of them: whoever does not learn sends again what it has
    learning: float  # of a learner: noise and encoding included
    client: float  # of a client's part in the sum itself
    server: float

    def wall(self, workers: int) -> float:
        """Seconds by so many worker processes, with a processor for each: the server works when they have ended."""
        return (self.learners * self.learning + self.clients * self.client) / workers + self.server


def rounds_of(largest: Sum, sizes: Sequence[int]) -> list[Sum]:
    """Rounds of so many clients, from what one of the largest costs: the server's seconds follow their number."""
    return [replace(largest, clients=n, server=largest.server * n / largest.clients) for n in sizes]
