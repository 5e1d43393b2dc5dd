"""Differential privacy: what a step adds and hides, what it costs, and the claim that follows.

Knows modules, losses, batches and vectors; no conversation, no federation. A client's private training is
`train_private`; `Ledger` keeps what it has cost; `Guarantee` says what holds, under which conditions; `clipping` is how
gradients are bounded. Names are loaded when asked for: accounting needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Adjacency",
    "Budget",
    "BudgetExceeded",
    "Charge",
    "Coefficients",
    "DPSGDConfig",
    "DialogueOptimizer",
    "DistributedGaussian",
    "Examples",
    "Guarantee",
    "Ledger",
    "LedgerError",
    "Mechanism",
    "Noise",
    "PrivacyError",
    "Protected",
    "Trust",
    "Unit",
    "accountant",
    "calibrate_noise",
    "calibrate_share",
    "clipped_gradients",
    "clipping",
    "compose",
    "curve",
    "discrete_gaussian",
    "distributed_epsilon",
    "epsilon",
    "estimate",
    "gaussian_epsilon",
    "gdp",
    "gradients",
    "group_privacy",
    "grouped",
    "grouped_sum",
    "inflated_norm",
    "noised",
    "poisson_sample",
    "round_within",
    "square_root",
    "sum_reach",
    "system_random",
    "toeplitz",
    "train_private",
    "zcdp",
    "zcdp_epsilon",
]

if TYPE_CHECKING:
    from chatfed.privacy import clipping
    from chatfed.privacy.accounting import (
        Mechanism,
        accountant,
        calibrate_noise,
        compose,
        curve,
        epsilon,
        gdp,
        grouped,
        zcdp,
    )
    from chatfed.privacy.conversions import PrivacyError, gaussian_epsilon, group_privacy, zcdp_epsilon
    from chatfed.privacy.discrete import discrete_gaussian
    from chatfed.privacy.distributed import (
        DistributedGaussian,
        calibrate_share,
        distributed_epsilon,
        grouped_sum,
        sum_reach,
    )
    from chatfed.privacy.dpsgd import (
        DialogueOptimizer,
        DPSGDConfig,
        Examples,
        clipped_gradients,
        gradients,
        train_private,
    )
    from chatfed.privacy.factorization import Coefficients, estimate, square_root, toeplitz
    from chatfed.privacy.guarantee import Adjacency, Guarantee, Noise, Protected, Trust, Unit
    from chatfed.privacy.lattice import noised
    from chatfed.privacy.ledger import Budget, BudgetExceeded, Charge, Ledger, LedgerError
    from chatfed.privacy.noise import poisson_sample, system_random
    from chatfed.privacy.rounding import inflated_norm, round_within
else:
    from chatfed.lazy import loading

    __getattr__, __dir__ = loading(
        __name__,
        {
            "accounting": "Mechanism accountant calibrate_noise compose curve epsilon gdp grouped zcdp",
            "clipping": "",
            "conversions": "PrivacyError gaussian_epsilon group_privacy zcdp_epsilon",
            "discrete": "discrete_gaussian",
            "distributed": "DistributedGaussian calibrate_share distributed_epsilon grouped_sum sum_reach",
            "dpsgd": "DPSGDConfig DialogueOptimizer Examples clipped_gradients gradients train_private",
            "factorization": "Coefficients estimate square_root toeplitz",
            "guarantee": "Adjacency Guarantee Noise Protected Trust Unit",
            "lattice": "noised",
            "ledger": "Budget BudgetExceeded Charge Ledger LedgerError",
            "noise": "poisson_sample system_random",
            "rounding": "inflated_norm round_within",
        },
    )
