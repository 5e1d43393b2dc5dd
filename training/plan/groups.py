"""What charges cost several protected units of one person together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chatfed.privacy.accounting import Mechanism, compose, grouped
from chatfed.privacy.conversions import PrivacyError
from chatfed.privacy.distributed import DistributedGaussian, distributed_epsilon, grouped_sum
from chatfed.privacy.ledger import Charge


def group_epsilon(charges: Sequence[Charge], size: int, delta: float) -> float:
    """Epsilon of `charges` for `size` units of one person at once; infinite where no bound is known."""
    own = [grouped(charge, size) for charge in charges if isinstance(charge, Mechanism)]
    try:
        shares = [grouped_sum(charge, size) for charge in charges if isinstance(charge, DistributedGaussian)]
        return compose(own, delta=delta) if own else distributed_epsilon(shares, delta=delta)
    except PrivacyError:  # more than noise tables can show
        return math.inf
