"""Of a cohort, how many must survive and how many may be curious: derived by every party for itself."""

from __future__ import annotations

import math

from chatfed.secagg.graph import most_corrupt

from .recipe import SecAggSection


def threshold(secagg: SecAggSection, participants: int) -> int:
    """Survivors without whom nothing is unmasked: the recipe's share of the cohort, and over half of it."""
    return max(math.ceil(secagg.threshold * participants - 1e-9), participants // 2 + 1)


def colluders(secagg: SecAggSection, participants: int) -> int:
    """Of the cohort, the most whose noise the server, or a curious client, may know: its own at the least."""
    return most_corrupt(participants, secagg.corrupt)
