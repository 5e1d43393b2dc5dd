"""What a run may claim, from the clients' ledgers and the recipe. Computes nothing that the ledgers do not hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chatfed.audit.figures import above
from chatfed.privacy.accounting import ADJACENCY, EXACT, Guarantee, Mechanism, accountant, calibrate_noise, compose
from chatfed.privacy.conversions import PrivacyError
from chatfed.privacy.distributed import SAMPLED_SUMS, SUMS, ZERO_OUT, DistributedGaussian, distributed_epsilon
from chatfed.privacy.ledger import Budget, Charge, LedgerError
from chatfed.types import ClientId
from training.client import ClientTerms
from training.homes import ledger_of, took_part
from training.meaning import protected
from training.recipe import PrivacySection, Recipe, RecipeError, following, planned_participations
from training.repeats import Repeats
from training.simulation import home_of
from training.upload import COARSEST_AGAIN, NoisyUpload, coefficients, colluders, threshold, upload

FOR_SUMS = 1e-3  # of the target: their accountant keeps a piece of delta, and their noise is a little narrower
UNITS = {"example": "dialogue", "client": "client"}
DEALT = "clients are simulated: dialogues were dealt to them, so what a client holds is no person's"
SEVERAL = (
    "what several dialogues of one person reveal together (k dialogues cost more than k times epsilon at the same "
    "delta: `person`, docs/privacy.md)"
)
_KEPT_BY_CLIENTS = {
    "example": "which dialogues a step took stays with the client",
    "client": "which clients' coins fell for noise alone stays with them",
}
EXCLUDED = (
    "other runs on the same dialogues: a simulation keeps ledgers in the run's folder, so each starts at zero",
    "that a client took part, in which rounds, how long it took, and whether it failed",
    "the held-out dialogues and the perplexities measured on them",
    "choices of the recipe made after looking at such measurements",
    "the public text behind tokenizer and base model",
)  # what no claim of a run counts, whatever its unit


def client_terms(recipe: Recipe, clients: int) -> ClientTerms:
    """What a participation costs: the recipe's noise multiplier, or the least one whose planned cost meets the
    target. Raises RecipeError when the planned participations would cost more than a client's budget."""
    privacy = recipe.privacy
    if privacy.noise == "none":
        return ClientTerms(0.0, None, Budget(0.0, privacy.delta, UNITS[privacy.unit]))
    per_round = privacy.local_steps if privacy.unit == "example" else 1
    steps = per_round * planned_participations(recipe, clients)
    again = _over_all_sums(recipe)
    multiplier = privacy.noise_multiplier or again * _calibrated(recipe, steps)
    once = Mechanism(multiplier / again, privacy.sampling_rate, per_round)
    _check_budget(recipe, once, planned_participations(recipe, clients))
    return ClientTerms(multiplier, once, Budget(privacy.budget, privacy.delta, UNITS[privacy.unit]))


def _over_all_sums(recipe: Recipe) -> float:
    """L2 norm of an update in all sums that it is in, in that of the first: of the coefficients and of what rounding
    adds, to the square of a shorter one at most as much as COARSEST_AGAIN lets it add to the first."""
    c = coefficients(recipe)
    return math.sqrt(sum(each**2 for each in c) + (len(c) - 1) * (COARSEST_AGAIN**2 - 1))


def _calibrated(recipe: Recipe, steps: int) -> float:
    privacy = recipe.privacy
    aim = privacy.target_epsilon * (1 - FOR_SUMS if privacy.noise == "distributed" else 1)
    try:
        return calibrate_noise(aim, privacy.sampling_rate, steps, delta=privacy.delta)
    except PrivacyError as error:
        raise RecipeError(f"privacy.target_epsilon = {privacy.target_epsilon:g}: {error}") from None


def check_sums(recipe: Recipe, terms: ClientTerms, clients: int, dimension: int) -> None:
    """What is known once the model's dimension is: that a ring holds a round, and that clients can afford all planned
    ones. Raises RecipeError."""
    recipe = following(recipe, clients)
    budget, planned = terms.budget, planned_participations(recipe, clients)
    for first in range(recipe.federation.bands):  # the first rounds' sums are smaller, and their shares larger
        charges = charges_of(recipe, terms, dimension, first)
        if charges:
            _check_affordable(charges * planned, planned, budget)


def charges_of(recipe: Recipe, terms: ClientTerms, dimension: int, first: int) -> list[DistributedGaussian]:
    """What one update costs that begins in round `first`: a charge in each sum that it is in; none without shares."""
    plan = recipe.federation
    codes = [
        upload(recipe, plan.participants(first + lag), dimension, terms.noise_multiplier, bytes(32), lag=lag)
        for lag in range(plan.bands)
    ]
    return [code.mechanism for code in codes if isinstance(code, NoisyUpload)]


def _check_affordable(charges: Sequence[DistributedGaussian], planned: int, budget: Budget) -> None:
    try:
        cost = distributed_epsilon(charges, delta=budget.delta)
    except PrivacyError as error:
        raise RecipeError(f"privacy.delta = {budget.delta:g}: the sums' noise cannot be accounted: {error}") from None
    if cost > budget.epsilon:
        raise RecipeError(
            f"the {planned} planned participations of a client in sums cost epsilon {cost:g}, over its budget of "
            f"{budget.epsilon:g}: raise privacy.noise_multiplier or privacy.budget_epsilon a little"
        )


def _check_budget(recipe: Recipe, once: Mechanism, planned: int) -> None:
    """Clients would refuse the last rounds, or all: that is known before anything runs."""
    privacy = recipe.privacy
    cost = compose([once] * planned, delta=privacy.delta)
    if cost > privacy.budget:
        times = "the one planned participation" if planned == 1 else f"the {planned} planned participations"
        raise RecipeError(
            f"privacy.noise_multiplier = {once.noise_multiplier:g} makes {times} of a client cost epsilon "
            f"{cost:g}, over its budget of {privacy.budget:g}: raise noise_multiplier, set it to 0 (the least that "
            f"keeps privacy.target_epsilon), or raise privacy.budget_epsilon"
        )


@dataclass(frozen=True)
class Spent:
    """What the ledgers of all clients hold."""

    by_client: Mapping[ClientId, float]  # epsilon; clients that never took part are not in it
    participations: Mapping[ClientId, int]
    accountant: str  # whose bound the largest epsilon is
    costliest: tuple[Charge, ...] = ()  # the charges behind it

    @property
    def charges(self) -> int:
        """Entries in all ledgers together."""
        return sum(self.participations.values())

    @property
    def most(self) -> float:
        return max(self.by_client.values(), default=0.0)

    def mean(self, clients: int) -> float:
        """Over all clients, those that never took part at 0."""
        return sum(self.by_client.values()) / max(1, clients)

    def with_later(self, later: Spent) -> Spent:
        """This, and what the ledgers of some clients were found to hold since: costs only grow."""
        most = later if later.by_client and later.most >= self.most else self
        by_client, counts = {**self.by_client, **later.by_client}, {**self.participations, **later.participations}
        return Spent(by_client, counts, most.accountant, most.costliest)


def spent(homes: Path, clients: Iterable[ClientId], terms: ClientTerms) -> Spent:
    """Reads the ledger of each of `clients` that took part. Raises LedgerError for one that is damaged, gone or too
    old: a claim without it would be unearned."""
    epsilons: dict[ClientId, float] = {}
    counts: dict[ClientId, int] = {}
    most, costliest = 0.0, list[Charge]()
    for client in clients:
        home = home_of(homes, client)
        if terms.mechanism is not None and took_part(home):
            ledger = ledger_of(home, client, terms.budget)
            if entries := ledger.entries:
                epsilons[client], counts[client] = ledger.epsilon, len(entries)
                if epsilons[client] >= most:
                    most, costliest = epsilons[client], [entry.mechanism for entry in entries]
    bound = _accountant(costliest, terms.budget.delta) if costliest else EXACT
    return Spent(epsilons, counts, bound, tuple(costliest))


def _accountant(charges: Sequence[Charge], delta: float) -> str:
    own = [charge for charge in charges if isinstance(charge, Mechanism)]
    if own:
        return accountant(own, delta=delta)
    return SAMPLED_SUMS if any(charge.sampling_rate < 1 for charge in charges) else SUMS


def _without_amplification(charges: Sequence[Charge], delta: float) -> str:
    """What the same charges cost before whoever knows who was sampled: words for a claim, empty at the rate 1."""
    if not any(charge.sampling_rate < 1 for charge in charges):
        return ""
    own = [replace(charge, sampling_rate=1.0) for charge in charges if isinstance(charge, Mechanism)]
    shares = [replace(charge, sampling_rate=1.0) for charge in charges if isinstance(charge, DistributedGaussian)]
    try:
        cost = compose(own, delta=delta) if own else distributed_epsilon(shares, delta=delta)
    except PrivacyError:  # more than noise tables can show
        return "; before whoever knows who was sampled, no useful epsilon holds"
    return f"; before whoever knows who was sampled, epsilon is {above(cost)}"


def check_ledgers(recorded: Mapping[ClientId, int], cost: Spent) -> None:
    """Raises LedgerError when any ledger holds less than the run has recorded: a claim from it would be too small."""
    short = [client for client, count in recorded.items() if cost.participations.get(client, 0) < count]
    if short:
        raise LedgerError(
            f"The ledger of {short[0]} holds {cost.participations.get(short[0], 0)} charges, but {recorded[short[0]]} "
            f"were made ({len(short)} ledgers hold too few): restore them; without them nothing can be claimed."
        )


def _sampling(unit: str, rate: float) -> str:
    if unit == "client" and rate == 1:
        return "none: whoever is asked takes part, and nothing is claimed from the server's choice of clients"
    if unit == "client":
        return (
            f"Poisson: each client that is asked tosses its own coin, and with probability {1 - rate:g} sends its "
            "noise alone; nothing is claimed from the server's choice of clients"
        )
    if rate == 1:
        return "every dialogue in every step (Poisson sampling at rate 1): no amplification by sampling is claimed"
    return (
        f"Poisson: each step takes each of the client's dialogues with probability {rate:g}, drawn by the client; "
        "nothing is claimed from the server's choice of clients"
    )


def guarantee(
    recipe: Recipe, terms: ClientTerms, cost: Spent, rounds: int, repeats: Repeats | None = None, dealt: bool = False
) -> Guarantee:
    """The claim of a run, with all that it rests on. repeats: what stands more than once in its data; None: nobody
    looked. dealt: its clients are made up, and the claim says so."""
    claim = _guarantee(recipe, terms, cost, rounds, repeats)
    return replace(claim, assumptions=(*claim.assumptions, DEALT)) if dealt and claim.epsilon is not None else claim


def _guarantee(recipe: Recipe, terms: ClientTerms, cost: Spent, rounds: int, repeats: Repeats | None) -> Guarantee:
    privacy = recipe.privacy
    sampling, unit = _sampling(privacy.unit, privacy.sampling_rate), protected(recipe)
    sampling += _without_amplification(cost.costliest, privacy.delta)
    if recipe.federation.bands > 1:
        sampling += f"; each update is sent in up to {recipe.federation.bands} rounds and charged in each"
    if terms.mechanism is None:
        adjacency = ADJACENCY if privacy.unit == "example" else ZERO_OUT
        return Guarantee.without_noise(unit=unit, rounds=rounds, sampling=sampling, adjacency=adjacency)
    if privacy.noise == "distributed":
        return _of_sums(recipe, cost, sampling, rounds, repeats)
    return Guarantee(
        epsilon=cost.most,
        delta=privacy.delta,
        unit=unit,
        adjacency=ADJACENCY,
        accountant=cost.accountant,
        sampling=sampling,
        noise=privacy.noise,
        holds_against="everyone: the server, the other clients and the users of the model, with or without masking",
        rounds=rounds,
        assumptions=(
            "each client runs this code on its own machine",
            "the operating system's random generator is sound",
            "sums of gradients are near enough to those of real numbers: they are float64 sums of float32 gradients; "
            "noise is exact (docs/privacy.md)",
            "nobody sets a client's ledger back",
            _not_chosen(privacy),
            *((_KEPT_BY_CLIENTS[privacy.unit],) if privacy.sampling_rate < 1 else ()),
            "a dialogue is held by one client, once" if repeats is None else repeats.assumption(unit),
            "the recipe was fixed without looking at the private dialogues (the default one was tuned on the generated "
            "corpus of seed 1, which is nobody's)",
        ),
        excludes=(
            SEVERAL,
            *(repeats.excluded(unit, cost.costliest, privacy.delta) if repeats else ()),
            *EXCLUDED,
        ),
    )


def _not_chosen(privacy: PrivacySection) -> str:
    return (
        "how many charges were made, and which, did not follow from how the run went; otherwise the clients' budget of "
        f"epsilon {privacy.budget:g} is what holds"
    )


def _first_rounds(recipe: Recipe) -> str:
    small = recipe.federation.sizes[0]
    if small == recipe.federation.sizes[-1]:
        return ""
    return (
        f" (in the first round at most {colluders(recipe, small)} of {small}, and no fewer than "
        f"{threshold(recipe, small)}; in between in proportion)"
    )


def _of_sums(recipe: Recipe, cost: Spent, sampling: str, rounds: int, repeats: Repeats | None) -> Guarantee:
    """The claim where the noise is in the sums only, as far as the honest shares that it counts are in each."""
    privacy, plan, of_clients = recipe.privacy, recipe.federation, recipe.privacy.unit == "client"
    cohort = plan.sizes[-1]
    fewest, corrupt = threshold(recipe, cohort), colluders(recipe, cohort)
    server = "follows the protocol" if recipe.secagg.identities == "none" else "may deviate from the protocol"
    return Guarantee(
        epsilon=cost.most,
        delta=privacy.delta,
        unit=protected(recipe),
        adjacency=ZERO_OUT if of_clients else ADJACENCY,
        accountant=cost.accountant,
        sampling=sampling,
        noise=privacy.noise,
        holds_against=(
            f"whoever sees the sums only: the users of the model, the other clients, and a server that {server}, "
            f"together with at most {corrupt} of the {cohort} clients of a round; no client unmasks a sum of fewer "
            f"than {fewest}{_first_rounds(recipe)}"
        ),
        rounds=rounds,
        assumptions=(
            "each client runs this code on its own machine, and draws its share of the noise",
            f"at least {fewest - corrupt} of the {fewest} or more survivors of each round are honest: the noise of so "
            "many is counted",
            "secure aggregation holds against that server (docs/protocol.md)",
            "the operating system's random generator and AES-256 are sound",
            "nobody sets a client's ledger back",
            _not_chosen(privacy),
            *((_KEPT_BY_CLIENTS[privacy.unit],) if privacy.sampling_rate < 1 else ()),
            *(("a person's dialogues are held by one client",) if of_clients else ()),
            "a dialogue is held by one client, once" if repeats is None else repeats.assumption(UNITS[privacy.unit]),
            "the recipe was fixed without looking at the private dialogues",
        ),
        excludes=(
            "what several clients of one person, or of one household, reveal together" if of_clients else SEVERAL,
            *(repeats.excluded(UNITS[privacy.unit], cost.costliest, privacy.delta) if repeats else ()),
            *EXCLUDED,
        ),
    )
