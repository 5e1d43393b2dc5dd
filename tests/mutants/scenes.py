"""What is rehearsed to find mutants: checks of the audit, no larger than finds what it is to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from chatfed.audit.conformance import Test, sampling_tests
from chatfed.privacy.accounting import Mechanism
from chatfed.privacy.dpsgd import DPSGDConfig, noisy_mean
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.ledger import Budget
from chatfed.privacy.noise import poisson_sample
from chatfed.types import ClientId, IntVector
from training.audits import conduct, grey_box
from training.audits.conformance import own_steps
from training.audits.rehearsal import Setting
from training.base.learner import Learner
from training.parties.client import Learn
from training.plan.agreement import agree
from training.plan.plan import learning_of
from training.plan.recipe import FederationSection, ModelSection, PrivacySection, Recipe, SecAggSection
from training.plan.terms import ClientTerms

WHOLE = 655_520  # coordinates of the default recipe's model: 1 % of the deviation is eleven sigma
SMALL = 65_536
TINY = 4096
RATE = 0.72
Z = 1.2
MODEL = ModelSection(context=64, trainable=("model.norm.weight",))
DIALOGUES = PrivacySection(noise=Noise.DISTRIBUTED, sampling_rate=RATE, expected_batch_size=25.6)
UPDATES = PrivacySection(unit=Unit.CLIENT, noise=Noise.DISTRIBUTED, sampling_rate=0.6, clip_norm=2.0)


def recipe_of(
    privacy: PrivacySection, cohort: int = 3, threshold: float = 0.9, key_rounds: int = 1, bands: int = 1
) -> Recipe:
    return Recipe(
        model=MODEL,
        privacy=privacy,
        secagg=SecAggSection(threshold=threshold, key_rounds=key_rounds),
        federation=FederationSection(cohort=cohort, rounds=8, bands=bands),
    )


def setting_of(home: Path, recipe: Recipe, dimension: int) -> Setting:
    """As many clients as take part in a round."""
    privacy, federation = recipe.privacy, recipe.federation
    budget = Budget(privacy.budget, privacy.delta, privacy.unit.protected)
    names = tuple(ClientId(f"client-{i:02}") for i in range(federation.cohort * federation.bands))
    terms = ClientTerms(Z, Mechanism(Z, privacy.sampling_rate, 1), budget)
    return Setting(home, agree(recipe, Z), terms, names, dimension)


def _noise(home: Path, prepared: Path) -> list[Test]:
    return grey_box.noise(setting_of(home, recipe_of(DIALOGUES), WHOLE), rounds=1)


def _rounds(home: Path, prepared: Path) -> list[Test]:
    return grey_box.noise(setting_of(home, recipe_of(DIALOGUES), SMALL), rounds=2)


def _updates(home: Path, prepared: Path) -> list[Test]:
    return grey_box.noise(setting_of(home, recipe_of(UPDATES), SMALL), rounds=2)


def _echoes(home: Path, prepared: Path) -> list[Test]:
    """Without sampling, which bands have none of."""
    recipe = recipe_of(replace(UPDATES, sampling_rate=1.0), bands=2)
    return grey_box.noise(setting_of(home, recipe, SMALL), rounds=2)


def _replay(home: Path, prepared: Path) -> list[Test]:
    return grey_box.replay(setting_of(home, recipe_of(DIALOGUES), TINY))


def _replay_of_updates(home: Path, prepared: Path) -> list[Test]:
    return grey_box.replay(setting_of(home, recipe_of(UPDATES), TINY))


def _masks(home: Path, prepared: Path) -> list[Test]:
    return grey_box.masks(setting_of(home, recipe_of(DIALOGUES, key_rounds=4), SMALL))


def _rotations(home: Path, prepared: Path) -> list[Test]:
    return grey_box.rotations(setting_of(home, recipe_of(UPDATES), TINY))


def _coins(home: Path, prepared: Path) -> list[Test]:
    return conduct.coins(setting_of(home, recipe_of(UPDATES, cohort=10), TINY), rounds=5)


def _charges(home: Path, prepared: Path) -> list[Test]:
    return conduct.charges(setting_of(home, recipe_of(DIALOGUES, cohort=10), TINY))


def _again(home: Path, prepared: Path) -> list[Test]:
    return conduct.again(setting_of(home, recipe_of(DIALOGUES), TINY))


def _floors(home: Path, prepared: Path) -> list[Test]:
    return conduct.floors(setting_of(home, recipe_of(DIALOGUES, cohort=10, threshold=0.7), TINY))


def _own_noise(home: Path, prepared: Path) -> list[Test]:
    config = DPSGDConfig(1.0, Z, RATE, 25.6, 1, 1.0)
    return conduct.own_noise(lambda weights: [noisy_mean([], WHOLE, config)], np.zeros(WHOLE, np.float32), Z / 25.6, 1)


def _own_step(home: Path, prepared: Path) -> list[Test]:
    return own_steps(_learner(prepared, replace(DIALOGUES, noise=Noise.LOCAL)))


def _learner(prepared: Path, privacy: PrivacySection = DIALOGUES) -> Learner:
    how = learning_of(recipe_of(privacy), Z)
    return Learner.open(how, str(prepared / "base"), prepared / "private", prepared / "held-out")


def _learn(learner: Learner, dialogues: IntVector) -> Learn:
    return lambda weights: learner.learn(weights, dialogues)


def _samples(home: Path, prepared: Path) -> list[Test]:
    learner = _learner(prepared)
    (mine,) = learner.private.clients.values()
    longest_last = mine[np.argsort(np.diff(learner.private.starts)[mine], kind="stable")]
    learn, fewer = _learn(learner, mine), _learn(learner, longest_last[:-1])
    tests = conduct.samples(learn, learner.initial, len(mine), RATE, draws=24)
    return tests + conduct.one_more(learn, fewer, learner.initial)


def by_chance(home: Path, prepared: Path) -> list[Test]:
    """What draws from the system's generator, at sizes that a thousand runs can afford: one clean run.

    Of samples the draws alone, without a model's gradients.
    """
    tests = _rounds(home / "rounds", prepared) + _updates(home / "updates", prepared)
    drawn = np.zeros((24, 40), np.bool_)
    for row in drawn:
        row[poisson_sample(40, RATE)] = True
    return tests + _echoes(home / "echoes", prepared) + sampling_tests("samples", drawn, RATE)


SCENES: dict[str, Callable[[Path, Path], list[Test]]] = {
    "noise": _noise,
    "rounds": _rounds,
    "updates": _updates,
    "echoes": _echoes,
    "replay": _replay,
    "replay of updates": _replay_of_updates,
    "masks": _masks,
    "rotations": _rotations,
    "coins": _coins,
    "charges": _charges,
    "again": _again,
    "floors": _floors,
    "own noise": _own_noise,
    "own step": _own_step,
    "samples": _samples,
}
"""Each on a folder of its own, and on what was prepared once: a tiny base, and dialogues of one client."""
