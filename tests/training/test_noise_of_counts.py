"""What a count of n-grams lets out: the noise that is claimed, once a charge, whatever the server asks."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from chatfed.privacy.rounding import Scattered
from chatfed.secagg.messages import BelowThreshold
from chatfed.types import ChatfedError, ClientId, FloatVector
from tests.secagg.rounds import entropy_from
from tests.training.federation import BASE, Federation, invitation, names, stored_upload
from tests.training.plan.test_counting import CELLS, a_recipe, count_of
from training.base.learner import Learner
from training.base.tokens import write_tokens
from training.parties.answering import Refused
from training.parties.client import Client
from training.parties.session import Session, Step
from training.plan.agreement import Agreement
from training.plan.plan import Counting, Plan, resolve
from training.plan.recipe import Recipe
from training.plan.terms import ClientTerms
from training.plan.upload import NoisyUpload, Part, UpdateUpload

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

CLIENTS = names(10)
ZEROS = np.zeros(CELLS, np.float32)


def planned(unit: str = "example", share: float = 0.625) -> Plan:
    return resolve(a_recipe(unit=unit, share=share), len(CLIENTS))


@dataclass
class Counts(Federation):
    """Clients that hold to a plan's count; what they count is nothing, so that what comes out is noise."""

    count: Counting | None = None
    asked: int = 0  # times that dialogues were looked at

    @classmethod
    def of(cls, home: Path, plan: Plan) -> Counts:
        return cls(home, plan.recipe, CLIENTS, count_of(plan).terms, count=count_of(plan))

    @property
    def agreement(self) -> Agreement:
        assert self.count is not None
        return self.count.agreement

    @property
    def code(self) -> NoisyUpload:
        made = self.agreement.sums.codec.upload(len(CLIENTS), CELLS)
        assert isinstance(made, NoisyUpload)
        return made

    def client(self, name: ClientId, terms: ClientTerms | None = None, recipe: Recipe | None = None) -> Client:
        return Client(self.records(name), self.agreement, self.terms, BASE, self._nothing, self.roster)

    def _nothing(self, weights: FloatVector) -> Iterable[Part]:
        self.asked += 1
        return [weights * 0] if isinstance(self.code, UpdateUpload) else []

    def invite(self, weights: FloatVector = ZEROS, run: bytes = b"r" * 16) -> Session:
        return Session(run, os.urandom(16), 0, self.agreement.digest, CLIENTS, weights)


@pytest.mark.parametrize("unit", ["example", "client"])
def test_noise_out_of_a_count_at_the_floor_has_the_claimed_variance_and_shape(unit: str, tmp_path: Path) -> None:
    federation = Counts.of(tmp_path, planned(unit))
    federation.silent = {Step.SHARES: CLIENTS[:1], Step.ADVERTS: CLIENTS[1:2]}
    outcome, code = federation.run(federation.invite()), federation.code
    assert len(outcome.survivors) == 8 and code.mechanism.shares == 7
    drawn = outcome.mean * (8 * code.scale / code.clip_norm)  # ring steps
    assert drawn.var() * 7 / 8 >= code.mechanism.total_std**2 * 0.94
    std = code.mechanism.std * math.sqrt(8)
    assert drawn.std() == pytest.approx(std, rel=0.03)
    assert stats.kstest(drawn / std, "norm").pvalue > 1e-4
    for name in outcome.survivors:
        (entry,) = federation.client(name).ledger().entries
        assert entry.mechanism == code.mechanism == count_of(planned(unit)).charges[0]


def test_a_count_asked_again_is_the_same_numbers_at_no_cost(tmp_path: Path) -> None:
    federation = Counts.of(tmp_path, planned())
    first, second = (federation.run(federation.invite()) for _ in range(2))
    assert first.mean.tobytes() == second.mean.tobytes()
    assert federation.asked == 10 and {federation.charges(name) for name in CLIENTS} == {1}


@pytest.mark.parametrize(
    ("weights", "run"), [(ZEROS + np.float32(1), b"r" * 16), (ZEROS, b"s" * 16)], ids=["weights", "run"]
)
def test_another_count_is_another_charge_that_the_budget_does_not_bear(
    weights: FloatVector, run: bytes, tmp_path: Path
) -> None:
    federation = Counts.of(tmp_path, planned(share=0.875))
    federation.run(federation.invite())
    with pytest.raises(BelowThreshold):
        federation.run(federation.invite(weights, run))
    assert "budget" in federation.refusals[CLIENTS[0]]
    assert federation.asked == 10 and {federation.charges(name) for name in CLIENTS} == {1}


def test_another_count_that_is_affordable_has_other_noise_and_is_charged(tmp_path: Path) -> None:
    federation = Counts.of(tmp_path, planned())
    kept = []
    for run in (b"r" * 16, b"s" * 16):
        federation.run(federation.invite(run=run))
        kept.append(stored_upload(federation.records(CLIENTS[0]), CELLS, "<i4").astype(float))
    assert {federation.charges(name) for name in CLIENTS} == {2}
    assert abs(np.corrcoef(kept[0], kept[1])[0, 1]) < 0.1


def test_a_count_and_a_round_take_no_message_of_the_other(tmp_path: Path) -> None:
    plan = planned()
    counts, client = Counts.of(tmp_path, plan), CLIENTS[0]
    learner = Client(counts.records(client), plan.agreement, plan.terms, BASE, counts._nothing)
    of_round = dataclasses.replace(counts.invite(), recipe=plan.agreement.digest)
    for asked, party in ((counts.invite(), learner), (of_round, counts.client(client))):
        with pytest.raises(Refused, match="another recipe"):
            party.handle(invitation(asked), entropy_from("a"))
    assert counts.asked == 0


def test_a_round_gives_away_nothing_that_a_count_has_stored(tmp_path: Path) -> None:
    """A server that began a count and goes on with a round's messages gets no vector that was made for the count."""
    plan = planned()
    counts = Counts.of(tmp_path, plan)

    def exchange(messages: dict[ClientId, bytes]) -> Iterable[tuple[ClientId, bytes]]:
        for name, message in messages.items():
            party = counts.client(name)
            if message[0] == Step.SHARES:
                party = Client(counts.records(name), plan.agreement, plan.terms, BASE, counts._nothing)
            try:
                yield name, party.handle(message)
            except ChatfedError as error:
                counts.refusals[name] = str(error)

    with pytest.raises(BelowThreshold):
        counts.carry(counts.invite(), exchange)  # type: ignore[arg-type]
    assert "the update of this round is gone" in counts.refusals[CLIENTS[0]]


@pytest.mark.parametrize("length", [0.1, 1.0, 1e4])
def test_a_clients_whole_count_is_clipped_to_what_is_charged(length: float) -> None:
    plan = planned("client")
    code = count_of(plan).agreement.sums.codec.upload(10, CELLS)
    assert isinstance(code, UpdateUpload) and code.clip_norm == 1.0
    vector = np.random.default_rng(1).normal(size=CELLS).astype(np.float32)
    steps = code._rounded(vector * np.float32(length / np.linalg.norm(vector)), os.urandom)
    assert np.linalg.norm(steps) <= code.mechanism.norm


@pytest.mark.parametrize("times", [1.0, 1e3])
def test_a_dialogues_count_moves_the_sum_by_no_more_than_is_charged(times: float, learner: Learner) -> None:
    (part, *_) = learner.count(np.arange(1), CELLS)
    assert isinstance(part, Scattered) and 0.99 < np.linalg.norm(part.values) < 1.01
    code = count_of(planned()).agreement.sums.codec.upload(10, CELLS)
    assert isinstance(code, NoisyUpload) and not isinstance(code, UpdateUpload)
    from chatfed.privacy.rounding import add_clipped

    total = np.zeros(CELLS, np.int64)
    longer = Scattered(part.places, part.values * np.float32(times))
    add_clipped(total, longer, code.gradient_norm, code.scale)
    assert 0.95 * code.scale < np.linalg.norm(total) <= code.scale == code.mechanism.norm


@pytest.fixture(scope="module")
def folder(
    tiny_corpus: HelpdeskCorpus, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    place = tmp_path_factory.mktemp("tokens")
    write_tokens(
        place / "private", tiny_tokenizer, [d.messages for d in tiny_corpus.private[:4]], {CLIENTS[0]: np.arange(1)}
    )
    write_tokens(place / "held-out", tiny_tokenizer, [d.messages for d in tiny_corpus.held_out[:2]])
    return place


def opened(plan: Plan, base: Path, folder: Path) -> Learner:
    return Learner.open(count_of(plan).learning, str(base), folder / "private", folder / "held-out")


@pytest.fixture(scope="module")
def learner(folder: Path, tiny_base: Path) -> Learner:
    return opened(planned(), tiny_base, folder)


def test_noise_of_a_clients_own_in_a_count_is_the_counts_and_not_that_of_rounds(folder: Path, tiny_base: Path) -> None:
    plan = resolve(a_recipe("local", sampling_rate=0.1), len(CLIENTS))
    count = count_of(plan)
    assert count.terms.noise_multiplier > 1.2 * plan.terms.noise_multiplier  # or the test could not tell
    (mean,) = opened(plan, tiny_base, folder).count(np.arange(0), CELLS)
    assert not isinstance(mean, Scattered)
    std = count.terms.noise_multiplier / plan.recipe.privacy.expected_batch_size
    assert mean.std() == pytest.approx(std, rel=0.04)
    assert stats.kstest(mean / std, "norm").pvalue > 1e-4


def test_a_client_counts_in_its_own_number_of_cells(learner: Learner) -> None:
    with pytest.raises(ChatfedError, match="asks for 300 cells, this client counts in 9000"):
        learner.count(np.arange(1), 300)
