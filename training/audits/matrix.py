"""The malicious-server matrix: which attacks on which recipes, and what a claim says of each cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..plan.plan import Plan
from ..plan.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from ..plan.terms import client_terms
from ..plan.variants import without_noise
from . import attacks, retries
from .audited import Say
from .outcomes import Cell, Outcome
from .victims import COHORT, Setting


@dataclass(frozen=True)
class Attack:
    """One row of the matrix."""

    key: str
    title: str
    run: Callable[[Setting], Cell | None]
    counted: bool = True  # False: more clients than `secagg.corrupt` work with the server, so no shared noise claims it


ATTACKS = (
    Attack("other_model", "another model to one client of a sum (2111.07380)", attacks.other_model_to_one),
    Attack(
        "crafted_model",
        "one crafted model to all, isolating a dialogue (2112.02918, 2201.12675)",
        attacks.same_crafted_model,
    ),
    Attack("overflow", "weights so large that training overflows", attacks.overflowing_model),
    Attack("not_finite", "weights that are not finite", attacks.model_that_is_not_finite),
    Attack("between", "its own keys for everybody's", attacks.keys_for_everybody),
    Attack("own_cohort", "a cohort of puppets under names of its own", attacks.cohort_of_puppets),
    Attack("few_puppets", "as many puppets in the cohort as secagg.corrupt counts", attacks.few_puppets),
    Attack("many_puppets", "all of the cohort but one are puppets", attacks.all_others_are_puppets, counted=False),
    Attack("small_cohort", "a smaller cohort", attacks.smaller_cohort),
    Attack("few_survivors", "fewer survivors than the floor", attacks.fewer_survivors),
    Attack("parameters", "a lower threshold, a narrower ring", attacks.lower_parameters),
    Attack("clip_norm", "another clip norm", attacks.another_clip_norm),
    Attack("model_again", "the same round again, with other models", retries.another_model_again),
    Attack("run_again", "the same round again, as another run's", retries.another_run_again),
    Attack("cohort_again", "the same round again, of other clients", retries.another_cohort_again),
    Attack("retry", "the same round again, unchanged", retries.same_invitation_again),
    Attack("over", "a round that is over", retries.round_that_is_over),
    Attack("second_set", "another survivor set in a second attempt", retries.another_survivor_set),
    Attack("two_sets", "another survivor set in the same attempt", retries.two_sets_in_one_attempt),
    Attack("slot_again", "keys of a sum that were used", retries.slot_again),
    Attack("echo_again", "an update asked for again, once too often", retries.echo_again),
    Attack("too_early", "an update begun again too early", retries.begun_too_early),
    Attack("replay", "messages of an earlier round", retries.replayed_messages),
)


def claimed(setting: Setting, attack: Attack) -> bool:
    """Whether the run's claim says that this attack gets no more than its epsilon allows.

    Local noise claims it against everyone; shared noise against a server that deviates where identities are pinned, and
    with no more colluders than are counted; a run without noise claims nothing.
    """
    if setting.bare:
        return False
    return setting.local or (setting.pinned and attack.counted)


Matrix = Mapping[str, Mapping[str, Cell]]
"""By the setting's name and the attack's key; a cell that makes no sense for a setting is not there."""

IDENTITIES = ("none", "roster")
OTHERS = {  # recipes that are shipped, what is changed in them, and their identities
    "local noise": ("local-noise.toml", (), "none"),
    "client level": ("client-level.toml", (), "roster"),
    "bands": ("client-level.toml", ("federation.bands=2", "federation.rounds=6"), "roster"),
}


def shipped(name: str, recipe: Recipe, identities: str) -> Setting:
    """A recipe for few clients, with the noise that it is calibrated to for them."""
    small = Setting.small(name, recipe, client_terms(without_noise(recipe), COHORT), identities)
    return dataclasses.replace(small, terms=client_terms(small.recipe, small.clients))


def settings_of(plan: Plan) -> list[Setting]:
    """The run's own recipe and noise, with its identities and with the other kind; then the shipped ones; then bare."""
    mine = plan.recipe.secagg.identities
    kinds = sorted(IDENTITIES, key=lambda kind: kind != mine)
    own = [Setting.small(f"this run, identities {kind}", plan.recipe, plan.terms, kind) for kind in kinds]
    return [*own, *standing_beside(plan.recipe)]


def standing_beside(recipe: Recipe) -> list[Setting]:
    """Other recipes, whatever the run's; and the run's without noise."""
    folder = DEFAULT_RECIPE.parent
    made = [
        shipped(f"{name}, identities {kind}", load_recipe(folder / file, list(changed)), kind)
        for name, (file, changed, kind) in OTHERS.items()
    ]
    return [*made, shipped("no noise, identities roster", without_noise(recipe), "roster")]


def matrix(settings: Sequence[Setting], attacks: Sequence[Attack] = ATTACKS, say: Say = lambda done: None) -> Matrix:
    """Runs every attack on every setting."""
    cells: dict[str, dict[str, Cell]] = {}
    for setting in settings:
        say(setting.name)
        found = {attack.key: attack.run(setting) for attack in attacks}
        cells[setting.name] = {key: cell for key, cell in found.items() if cell is not None}
    return cells


def faults(settings: Sequence[Setting], cells: Matrix) -> list[str]:
    """Cells that are open although the claim of their setting says that they are not: one line each."""
    by_key = {attack.key: attack for attack in ATTACKS}
    return [
        f"{setting.name}: {by_key[key].title}: {cell.why}"
        for setting in settings
        for key, cell in cells[setting.name].items()
        if cell.outcome is Outcome.OPEN and claimed(setting, by_key[key])
    ]
