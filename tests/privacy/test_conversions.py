"""Conversions against independent code, published forms and the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chatfed.privacy.accounting import PrivacyError
from chatfed.privacy.conversions import gaussian_epsilon, group_privacy, zcdp_epsilon
from chatfed.types import ChatfedError


@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-12])
@pytest.mark.parametrize("rho", [1e-4, 0.01, 0.5, 5.0, 200.0])
def test_the_concentrated_conversion_is_that_of_an_independent_accountant_on_a_fine_grid(
    rho: float, delta: float
) -> None:
    from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon

    orders = 1 + np.geomspace(1e-3, 1e5, 20_000)
    other = float(compute_epsilon(orders, rho * orders, delta)[0])
    assert zcdp_epsilon(rho, delta) == pytest.approx(other, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("rho", [0.005, 0.5, 8.0])
def test_it_lies_between_the_exact_gaussian_and_the_first_published_bound(rho: float) -> None:
    exact = gaussian_epsilon(math.sqrt(2 * rho), 1e-6)  # mu-GDP is mu^2 / 2-zCDP
    assert exact < zcdp_epsilon(rho, 1e-6) < rho + 2 * math.sqrt(rho * math.log(1e6))


@pytest.mark.parametrize(("mu", "delta"), [(0.1, 1e-5), (1.0, 1e-5), (1.0, 1e-10), (5.0, 1e-3)])
def test_the_gaussian_epsilon_is_where_the_exact_delta_meets_the_target(mu: float, delta: float) -> None:
    from scipy.stats import norm

    def exact(eps: float) -> float:  # Balle and Wang 2018, theorem 8
        return float(norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * norm.cdf(-mu / 2 - eps / mu))

    eps = gaussian_epsilon(mu, delta)
    assert exact(eps) <= delta < exact(eps - 1e-6)


def test_a_gaussian_at_the_published_mu_of_one() -> None:
    """Dong, Roth and Su 2022: 1-GDP is (1, 0.127)-DP: Phi(-1/2) - e Phi(-3/2) = 0.1269."""
    assert gaussian_epsilon(1.0, 0.126936737507) == pytest.approx(1.0, abs=1e-6)


def test_the_epsilon_of_the_first_production_model_of_dp_ftrl() -> None:
    """Gboard, Spanish: noise multiplier 7, "zCDP = 0.81", "(8.90, 1e-10)", by Renyi orders.

    Google AI blog, 28 February 2022; google-research/federated, dp_ftrl/blogpost_supplemental_privacy_accounting.ipynb.
    rho is a whole number over 2 * 7^2, and 79 the only one that prints as 0.81. Tolerance: their last digit. As the
    Gaussian mechanism that it is, it costs 8.53.
    """
    assert zcdp_epsilon(79 / 98, 1e-10) == pytest.approx(8.90, abs=0.005)
    assert gaussian_epsilon(math.sqrt(2 * 79 / 98), 1e-10) == pytest.approx(8.53, abs=0.005)


@pytest.mark.parametrize(
    ("rho", "published", "concentrated"),
    [(0.1506840301548885, 3.4240074094281336, 3.58), (0.014342572340349278, 0.9935500950539097, 1.04)],
    ids=["es-ES", "pt-BR and es-US"],
)
def test_the_epsilons_of_production_models_of_banded_dp_ftrl(rho: float, published: float, concentrated: float) -> None:
    """Gboard, published by PLD, an upper bound on a grid; ours is exact, so lower, by less than 1e-6.

    google-research/federated, mf_dpftrl_matrices/privacy_accounting.ipynb, of "Advances in private training for
    production on-device language models", Google Research blog, 21 February 2024: epsilon 0.994 to 13.69 at delta
    1e-10. Only rho-zCDP, which says less than being Gaussian, would give `concentrated`.
    """
    exact = gaussian_epsilon(math.sqrt(2 * rho), 1e-10)
    assert published - 1e-6 < exact <= published
    assert zcdp_epsilon(rho, 1e-10) == pytest.approx(concentrated, abs=0.005)


def test_limits() -> None:
    assert zcdp_epsilon(0.0, 1e-5) == 0.0 == gaussian_epsilon(0.0, 1e-5) and zcdp_epsilon(math.inf, 1e-5) == math.inf
    assert gaussian_epsilon(math.inf, 1e-5) == math.inf
    assert zcdp_epsilon(1e-12, 0.5) == 0.0


def test_groups_compound_as_one_change_after_another() -> None:
    eps, delta = 0.3, 1e-7
    chained = (0.0, 0.0)
    for _ in range(4):  # P <= e^eps Q + delta, and Q <= e^(so far) R + (so far)
        chained = (chained[0] + eps, delta + math.exp(eps) * chained[1])
    assert group_privacy(eps, delta, 4) == pytest.approx(chained)
    assert group_privacy(eps, delta, 4)[1] <= 4 * math.exp(3 * eps) * delta
    assert group_privacy(eps, 0.0, 7) == (7 * eps, 0.0)
    assert group_privacy(800.0, delta, 3)[1] == math.inf


def test_a_group_of_a_gaussian_costs_no_more_by_its_own_form() -> None:
    eps, delta = group_privacy(gaussian_epsilon(0.2, 1e-8), 1e-8, 3)
    assert gaussian_epsilon(3 * 0.2, delta) < eps


def test_impossible_numbers_are_refused() -> None:
    for call in (zcdp_epsilon, gaussian_epsilon):
        for value, delta in ((-1.0, 1e-5), (math.nan, 1e-5), (1.0, 0.0), (1.0, 1.0), (1.0, math.nan)):
            with pytest.raises(PrivacyError):
                call(value, delta)
    for group in ((1.0, 1e-5, 0), (-1.0, 1e-5, 2), (1.0, -1e-5, 2)):
        with pytest.raises(ChatfedError, match="group"):
            group_privacy(*group)
