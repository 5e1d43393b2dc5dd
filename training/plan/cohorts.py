"""What follows for a recipe from the number of clients: how many a round asks, how often, how long keys serve. Pure."""

from __future__ import annotations

from dataclasses import replace

from .recipe import LEAST_CLIENTS, FederationSection, Recipe
from .settings import RecipeError

KEY_ROUNDS = 10  # that keys serve where nothing else is said: what a key that leaks opens at the most


def following(recipe: Recipe, clients: int) -> Recipe:
    """The recipe for so many clients, with a cohort in it.

    A cohort of 0 becomes as many as there are, up to `largest_cohort`, and as bands and `max_participations` allow: so
    many because noise is what limits learning: in the mean of a cohort of m it falls as 1/m, and grows with the
    participations as the square root of m only. Raises RecipeError for fewer than LEAST_CLIENTS.

    >>> [following(Recipe(), clients).federation.cohort for clients in (400, 30)]
    [40, 30]

    And keys serve more than one round where nobody is left out of any.

    >>> [following(Recipe(), clients).secagg.key_rounds for clients in (400, 30)]
    [1, 10]
    """
    recipe = _with_cohort(recipe, clients)
    plan = recipe.federation
    everyone = plan.cohort >= clients and plan.bands == 1
    key_rounds = min(recipe.secagg.key_rounds or (KEY_ROUNDS if everyone else 1), plan.rounds)
    if key_rounds == recipe.secagg.key_rounds:
        return recipe
    return replace(recipe, secagg=replace(recipe.secagg, key_rounds=key_rounds))


def _with_cohort(recipe: Recipe, clients: int) -> Recipe:
    plan = recipe.federation
    if plan.cohort:
        return recipe
    cohort = min(plan.largest_cohort, clients // plan.bands)
    if plan.max_participations:
        cohort = min(cohort, clients * plan.max_participations // plan.rounds)
    if cohort < LEAST_CLIENTS:
        raise _too_few(plan, clients)
    return replace(recipe, federation=replace(plan, cohort=cohort))


def _too_few(plan: FederationSection, clients: int) -> RecipeError:
    have = f"the data has {clients} {'client' if clients == 1 else 'clients'} to train with"
    if clients < LEAST_CLIENTS:
        return RecipeError(
            "{have}, and a sum of fewer than {least} hides nobody: bring more clients, or name the column that says "
            "whose a dialogue is ({data.client_column})",
            have=have,
            least=LEAST_CLIENTS,
        )
    causes = (
        ("{federation.bands} = {bands}", plan.bands > 1),
        ("{federation.max_participations} = {most}", plan.max_participations > 0),
    )
    return RecipeError(
        "{have}; " + " and ".join(named for named, is_one in causes if is_one) + " in {rounds} rounds leave a cohort "
        "of fewer than {least}: change them, lower {federation.rounds}, or bring more clients",
        have=have,
        bands=plan.bands,
        most=plan.max_participations,
        rounds=plan.rounds,
        least=LEAST_CLIENTS,
    )


def planned_participations(recipe: Recipe, clients: int) -> int:
    """The most rounds that any one client is asked to take part in; noise is calibrated for this number.

    "shuffled" passes over a permutation of all clients, so nobody is asked more than ceil(rounds * cohort / clients)
    times. "uniform" draws each round afresh, where only the number of rounds, or `max_participations`, is a bound.

    >>> plan = FederationSection(rounds=10, cohort=60, sampling="shuffled")
    >>> planned_participations(Recipe(federation=plan), clients=400)
    2
    """
    plan = following(recipe, clients).federation
    most = plan.rounds
    if plan.sampling == "shuffled":
        most = min(most, -(-plan.rounds * plan.cohort // clients))
    return min(most, plan.max_participations) if plan.max_participations else most
