"""What members measure together, beside what a model measures on all their held-out dialogues at once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatfed.types import ClientId
from tests.training.members import Neighbours
from training.base.evaluation import Scores, one_by_one
from training.base.learner import Learner
from training.parties.session import Step
from training.plan.upload import NoisyUpload
from training.plan.variants import MEASURED_NORM, MEASURED_UNITS
from training.run.run_folder import RunFolder

UNITS = np.array(MEASURED_UNITS)


@pytest.fixture(scope="module")
def finished(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    """A run of one round in whose last measurement one member fell silent."""
    made = Neighbours(tmp_path_factory.mktemp("measured"), tiny_base)
    made.make(tiny_data / "private.jsonl", ["federation.rounds=1"])
    made.join()

    def asked(step: Step, sums: int) -> None:
        made.silent = {Step.SHARES: ["north"]} if sums == 3 else {}

    made.asked = asked
    made.run()
    yield made
    made.close()


def measured(place: Neighbours) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((place.folder / "run" / "state" / "measured.json").read_text())
    return found


def twin(place: Neighbours, weights: np.ndarray[Any, np.dtype[np.float32]] | None, *names: str) -> Any:
    """All sums over the held-out dialogues of members, each dialogue within its norm: no protocol, no noise."""
    total = np.zeros(5)
    for name in names:
        home = place.machines[ClientId(name)].home
        learning = place.federation.plan().learning
        learner = Learner.open(learning, str(place.base), home / "private", home / "held-out")
        mine = learner.held_out.clients.get(ClientId(name), np.empty(0, np.int64))
        sums = learner.evaluate(learner.initial if weights is None else weights, mine).sums / UNITS
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        total += (sums * np.minimum(1, MEASURED_NORM / norms)).sum(0)
    return total


def noise_of(place: Neighbours, survivors: int) -> float:
    """Standard deviation of each number of a sum, in its unit."""
    agreement = place.federation.plan().measuring
    assert agreement is not None
    code = agreement.sums.codec.upload(4, agreement.cells)
    assert isinstance(code, NoisyUpload)
    return code.mechanism.std * code.clip_norm / code.scale * math.sqrt(survivors)


def test_what_is_told_is_the_sum_over_all_that_members_hold_out_but_for_the_noise(finished: Neighbours) -> None:
    place, latest = finished, RunFolder(finished.folder / "run").latest()
    assert latest is not None
    everyone, others = sorted(place.machines), ["east", "south", "west"]
    for number, weights, names in (("0", None, everyone), ("1", latest.state.weights, others)):
        found = measured(place)[number]
        assert sorted(found["by"]) == names
        away = np.array(found["sums"][0]) / UNITS - twin(place, weights, *names)
        told_as_it_is = np.array(found["sums"][0]) > (1e-9, 1.0, 1.0, 1e-9, 1e-9)  # others are no more than possible
        assert (np.abs(away[:3]) < 5 * noise_of(place, len(names)))[told_as_it_is[:3]].all(), away
        assert told_as_it_is[:3].any()


def test_with_little_noise_it_is_that_sum(tiny_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    place = Neighbours(tmp_path, tiny_base)
    place.make(tiny_data / "private.jsonl", ["federation.rounds=1", "data.hold_out_epsilon=60.0"])
    place.join()
    try:
        place.run()
        assert noise_of(place, 4) < 1.0
        found = np.array(measured(place)["0"]["sums"][0]) / UNITS
        assert found[:3] == pytest.approx(twin(place, None, *place.machines)[:3], abs=5 * noise_of(place, 4))
    finally:
        place.close()


def test_measurements_on_other_dialogues_are_not_compared(finished: Neighbours) -> None:
    summary = json.loads((finished.folder / "run" / "summary.json").read_text())
    assert summary["comparison"]["verdict"] == "cannot compare"


def test_each_member_pays_for_measuring_in_a_ledger_of_its_own(finished: Neighbours) -> None:
    privacy = json.loads((finished.folder / "run" / "privacy.json").read_text())
    assert privacy["measuring"]["measurements_most"] == 2 and 0 < privacy["measuring"]["epsilon"] <= 8.0
    for name, machine in finished.machines.items():
        assert machine.place is not None
        terms = finished.federation.plan().measuring_terms
        assert terms is not None
        from training.parties.ledgers import ledger_of

        book = ledger_of(machine.place.stores["measured"].of(name), terms.budget)
        assert len(book.entries) == 2 and len(machine.charges()) == 1


def test_one_dialogue_moves_the_sum_by_its_norm_at_the_most(finished: Neighbours) -> None:
    """However long it is, and whatever a model makes of it."""
    agreement = finished.federation.plan().measuring
    assert agreement is not None
    code = agreement.sums.codec.upload(4, agreement.cells)
    assert isinstance(code, NoisyUpload)
    modest = Scores(np.array([[40.0, 60.0, 9.0, 1.0, 2.0]] * 3))
    huge = Scores(np.vstack([modest.sums, [[1e12, 1e9, 1e9, 0.0, 1e9]]]))

    def given(scores: Scores) -> Any:
        rng = np.random.default_rng(3)
        vectors = [code.encode(one_by_one(each), rng.bytes) for each in (scores, modest, modest, modest)]
        total = np.zeros_like(vectors[0])
        for vector in vectors:
            total += vector
        return code.decode(total, 4).update * 4

    moved = np.linalg.norm(given(huge) - given(modest))
    assert 0 < moved < MEASURED_NORM + 12 * code.mechanism.std * code.clip_norm / code.scale * math.sqrt(2 * 5)


def test_no_noise_makes_a_figure_that_cannot_be() -> None:
    for told in ([-3.0, -2.0, -1.0, -1.0, 9.0], [5.0, 3.0, 2.0, 90.0, -4.0], [0.0] * 5, [1e30] * 5):
        found = Scores.of_noisy(np.array(told, np.float32)).result()
        assert 0 <= found.top1 <= 1 and 0 <= found.top3 <= 1 and math.isfinite(found.bits_per_byte)
        assert found.words >= 1 and found.bits_per_byte >= 0
