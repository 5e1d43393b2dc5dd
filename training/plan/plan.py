"""The plan of a run: its recipe resolved for so many clients, once, into the parts that each party needs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from chatfed.privacy.accounting import Mechanism, compose
from chatfed.privacy.distributed import DistributedGaussian, distributed_epsilon
from chatfed.privacy.guarantee import Noise

from .agreement import Agreement, agree
from .checks import check
from .claims import Claim
from .cohorts import following, planned_participations
from .recipe import LocalSection, ModelSection, NGramsSection, PrivacySection, Recipe
from .settings import RecipeError
from .terms import ClientTerms, charges_of, check_affordable, client_terms, count_terms
from .variants import MEASURED_UNITS, SPARE, counting, measuring


@dataclass(frozen=True)
class Learning:
    """How a client learns: what is trained, on which words, by which steps."""

    model: ModelSection
    privacy: PrivacySection
    ngrams: NGramsSection
    local: LocalSection
    noise_multiplier: float
    train_on: str
    device: str
    frozen_mib: int  # of what frozen layers say of dialogues, kept from one time to the next


@dataclass(frozen=True)
class Counting:
    """The count of n-grams before the first round: one secure sum, of all clients' sketches."""

    terms: ClientTerms
    agreement: Agreement
    learning: Learning  # its clip norm, noise and sampling are the count's own
    cells: int  # of the vectors

    @property
    def clients(self) -> int:
        """Whom it asks: all, but for more than a sum can take."""
        return self.agreement.schedule.cohort

    @property
    def charges(self) -> list[DistributedGaussian]:
        """What it costs a client where noise is shared."""
        return charges_of(self.agreement.sums.codec, self.agreement.schedule, self.cells, 0)

    @property
    def epsilon(self) -> float:
        """What it costs a client by itself; 0 where nothing is charged."""
        delta, own = self.terms.budget.delta, self.terms.mechanism
        if own is None:
            return 0.0
        return distributed_epsilon(self.charges, delta=delta) if self.charges else compose([own], delta=delta)

    def refuse_hopeless(self) -> None:
        """Raises RecipeError where no ring holds its sum, graph.NoSuchGraph where no circle bears so many clients."""
        try:
            self.agreement.sums.parameters(self.clients, self.cells)
        except RecipeError as error:
            said = error.template.replace("{federation.cohort}", "all clients")
            raise RecipeError("the count of n-grams ({ngrams.cells}): " + said, **error.values) from None


@dataclass(frozen=True)
class Plan:
    """What was agreed, and all that follows from it before anything runs."""

    recipe: Recipe  # complete: its cohort is settled
    clients: int
    participations: int  # planned, the most of one client
    terms: ClientTerms  # of a client: noise multiplier, what one participation costs, budget
    agreement: Agreement  # of a round: whom it asks, secure sums and their floors, code of updates
    learning: Learning
    claim: Claim
    counting: Counting | None  # where n-grams are counted first
    measuring: Agreement | None  # of the sums of what clients measure, where they hold dialogues out
    measuring_terms: ClientTerms | None

    @property
    def own_charges(self) -> tuple[Mechanism, ...]:
        """What all that is planned is charged as, where noise is the client's own; else nothing."""
        once = self.terms.mechanism
        if once is None or self.claim.privacy.noise is Noise.DISTRIBUTED:
            return ()
        before = self.counting.terms.mechanism if self.counting else None
        return ((before,) if before else ()) + (once,) * self.participations

    @property
    def first_clip_norm(self) -> float:
        """Where a clip norm begins that follows a quantile; 0 where it is fixed."""
        return self.claim.privacy.clip_norm if self.agreement.moving_clip_norm else 0.0

    def refuse_unaffordable(self, dimension: int) -> None:
        """That rings hold the rounds of a model of `dimension` trained weights, and budgets their cost.

        Raises RecipeError.
        """
        codec, schedule = self.agreement.sums.codec, self.agreement.schedule
        before = self.counting.charges if self.counting else []
        check_affordable(codec, schedule, dimension, self.participations, self.terms.budget, before)


def resolve(recipe: Recipe, clients: int) -> Plan:
    """The plan for so many clients.

    Raises RecipeError where settings contradict each other or the number of clients, a planned participation could not
    be paid, or no ring could hold a round; graph.NoSuchGraph where no circle bears the recipe's fractions.
    """
    check(recipe, clients)
    recipe = following(recipe, clients)
    terms = client_terms(recipe, clients)
    plan = plan_of(recipe, clients, terms)
    for participants in recipe.federation.sizes:
        plan.agreement.sums.circle(participants)
        plan.agreement.sums.codec.refuse_hopeless(participants)
    if plan.counting:
        plan.counting.refuse_hopeless()
    if plan.measuring and plan.measuring_terms:
        _check_measuring(plan.measuring, plan.measuring_terms)
    return plan


def _check_measuring(agreed: Agreement, terms: ClientTerms) -> None:
    """Raises RecipeError where what clients measure cannot be summed, accounted or paid."""
    try:
        check_affordable(agreed.sums.codec, agreed.schedule, agreed.cells, agreed.schedule.rounds, terms.budget)
    except RecipeError as error:
        said = "{data.hold_out_epsilon} = {allowed:g}: " + error.template
        raise RecipeError(said, allowed=terms.budget.epsilon, **error.values) from None


def learning_of(recipe: Recipe, noise_multiplier: float) -> Learning:
    """What a learner needs of a recipe."""
    sections = recipe.model, recipe.privacy, recipe.ngrams, recipe.local
    here = recipe.runtime.device, recipe.runtime.frozen_outputs_mib
    return Learning(*sections, noise_multiplier, recipe.data.train_on, *here)


def plan_of(recipe: Recipe, clients: int, terms: ClientTerms) -> Plan:
    """The plan on terms that are known; checks nothing."""
    agreement, private = agree(recipe, terms.noise_multiplier), terms.mechanism is not None
    count = counting_of(recipe, clients)
    return Plan(
        recipe,
        clients,
        planned_participations(recipe, clients),
        terms,
        agreement,
        learning_of(recipe, terms.noise_multiplier),
        Claim(
            recipe.privacy,
            agreement,
            private,
            recipe.data.simulated_clients,
            count.agreement if count else None,
            recipe.data.hold_out_epsilon,
            recipe.data.redact,
        ),
        count,
        *measuring_of(recipe, clients),
    )


def measuring_of(recipe: Recipe, clients: int) -> tuple[Agreement, ClientTerms] | tuple[None, None]:
    """What is agreed of the sums of what clients measure, and what they cost; nothing where nobody measures."""
    if not recipe.data.hold_out_epsilon:
        return None, None
    terms, sums = client_terms(measuring(recipe, clients, SPARE), clients), measuring(recipe, clients)
    digest = hashlib.sha256(b"measured" + recipe.digest()).digest()
    return replace(agree(sums, terms.noise_multiplier, digest), cells=len(MEASURED_UNITS)), terms


def counting_of(recipe: Recipe, clients: int) -> Counting | None:
    """The count that a recipe begins with; None where it counts nothing."""
    terms = count_terms(recipe, clients)
    if terms is None:
        return None
    digest = hashlib.sha256(b"n-grams" + recipe.digest()).digest()  # no message of the count is one of a round
    alike, noise = counting(recipe, clients), terms.noise_multiplier
    return Counting(terms, agree(alike, noise, digest), learning_of(alike, noise), recipe.ngrams.cells)
