"""The part of the audit about synthetic copies: what it finds where something is to be found, and what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chatfed.audit.part import Verdict
from chatfed.audit.synthetic import Rate, Risk
from chatfed.data.helpdesk import HelpdeskCorpus
from chatfed.types import Turn
from tests.conversation.test_synthetic import TOLD
from tests.training.processes import PLAIN
from training.audits.audited import Audited
from training.audits.copies import Counts, House, Leaks, Side, Vocabulary, _side, attacked, leaks
from training.audits.synthetic import BARE, COPY, REAL, _bare, _part, verdict
from training.base.synthetic import Said, Wanted
from training.durable import to_json
from training.plan.plan import resolve
from training.plan.recipe import load_recipe
from training.run.run_folder import RunFolder


def of_twenty(side: Side) -> Side:
    """As if they were of twenty clients: the tiny house has too few held-out ones to say anything by."""
    owners = np.arange(len(side.people.texts)) * 20 // len(side.people.texts)
    told = [(kind, replace(each, owner=at * 20 // len(side.told))) for at, (kind, each) in enumerate(side.told)]
    return replace(side, people=replace(side.people, owners=owners), told=told)


@pytest.fixture(scope="module")
def house(tiny_corpus: HelpdeskCorpus) -> House:
    """The tiny house: all its clients that train against those that are held out."""
    corpus, words, random = tiny_corpus, Vocabulary(), np.random.default_rng(0)
    public = words.people([each.messages for each in corpus.public], range(len(corpus.public)))
    counts = Counts.of(corpus, words, public.texts)
    return House(
        words,
        public,
        of_twenty(_side(words, corpus.private, corpus.private, corpus.facts, counts, random)),
        of_twenty(_side(words, corpus.held_out, corpus.held_out, corpus.held_out_facts, counts, random)),
        [each.messages for each in corpus.private],
    )


@pytest.fixture(scope="module")
def of_the_real(house: House) -> Leaks:
    return leaks(house, house.real)


@pytest.fixture(scope="module")
def of_the_public(house: House, tiny_corpus: HelpdeskCorpus) -> Leaks:
    return leaks(house, [each.messages for each in tiny_corpus.public])


def test_in_the_clients_own_dialogues_every_attack_succeeds(of_the_real: Leaks) -> None:
    assert [each.attack for each in of_the_real.risks if not each.found] == [] and of_the_real.successes == 5
    assert of_the_real.echo.low > 0.5 and of_the_real.verbatim.found.hits == of_the_real.verbatim.found.of
    assert any(each.startswith("facts: ") for each in of_the_real.found)


def test_in_public_text_none_does(of_the_public: Leaks) -> None:
    assert of_the_public.found == [] and of_the_public.verbatim.found.hits == 0


def test_a_value_that_two_clients_or_public_text_say_is_nobodys_alone(
    house: House, tiny_corpus: HelpdeskCorpus
) -> None:
    counts = Counts.of(tiny_corpus, house.vocabulary, house.public.texts)
    alone, others = next(iter(counts.clients.items()))
    assert len(others) == 1 and counts.alone(alone) and not counts.alone(()) and not counts.alone((0,))
    assert not replace(counts, public=frozenset([alone])).alone(alone)
    assert not replace(counts, clients={alone: others | {"another"}}).alone(alone)


def test_what_an_attacker_knows_of_a_dialogue_is_not_the_value(house: House) -> None:
    for _, told in house.members.told[:200]:
        assert not set(told.value) & set(told.known.tolist()) and len(told.lead) <= 3


def test_finding_nothing_counts_where_the_attacks_find_something_elsewhere(
    of_the_real: Leaks, of_the_public: Leaks
) -> None:
    assert verdict({COPY: of_the_public, REAL: of_the_real}) == Verdict.HOLDS
    assert verdict({COPY: of_the_public, REAL: of_the_public}) == Verdict.UNJUDGED
    assert verdict({COPY: of_the_real, REAL: of_the_real}) == Verdict.OPEN
    one_fails = replace(of_the_real, echo=of_the_public.echo)
    assert verdict({COPY: of_the_public, REAL: one_fails}) == Verdict.UNJUDGED
    high, low = Rate(60, 100), Rate(20, 100)
    as_public = replace(of_the_public, risks=(Risk("linking", high, low, high),))
    assert as_public.found == [] and as_public.doubtful == ["linking"]
    assert verdict({COPY: as_public, REAL: of_the_real}) == Verdict.UNJUDGED


def test_both_sides_have_as_many_clients_with_as_many_dialogues(tiny_corpus: HelpdeskCorpus) -> None:
    for new in (tiny_corpus.held_out, tiny_corpus.held_out[:-1], tiny_corpus.held_out[:7]):
        sides = attacked(tiny_corpus.private, new, np.random.default_rng(0))
        numbers = [sorted(Counter(each.client_id for each in side).values()) for side in sides]
        assert numbers[0] == numbers[1] and len(set(numbers[0])) == 1 and numbers[0][0] <= 10
        assert len(numbers[0]) <= len({each.client_id for each in new})


def test_the_copy_without_noise_is_drawn_as_the_copy_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Wanted] = []

    def drawn(source: str, context: int, wanted: Wanted, workers: int, say: object) -> list[Said]:
        asked.append(wanted)
        return []

    monkeypatch.setattr("training.audits.synthetic.dialogues", drawn)
    recipe = load_recipe(PLAIN)
    run = Audited(RunFolder(tmp_path), resolve(recipe, 30), {}, "")
    object.__setattr__(run, "bare", run)  # in a cached property's place
    told = replace(TOLD, dialogues=70, exchanges=3, temperature=0.7, top_p=0.9, seed=5)
    _bare(run, told, lambda text: None)
    (wanted,) = asked
    assert (wanted.count, wanted.exchanges.tolist(), wanted.temperature, wanted.top_p, wanted.seed) == (
        70, [3], 0.7, 0.9, 5,
    )  # fmt: skip


def test_what_leaks_is_said_as_large_as_what_does_not(of_the_real: Leaks, of_the_public: Leaks) -> None:
    def told(copy: Leaks) -> Sequence[str]:
        part = _part({COPY: copy, BARE: of_the_real, REAL: of_the_real}, {}, {COPY: 3, BARE: 3, REAL: 3})
        to_json(part.to_json())  # every figure is one
        assert {row[0] for row in part.tables[0].rows} == {COPY, BARE, REAL}
        assert {row[1] for row in part.tables[0].rows} == {3} and f"3 of {REAL}" in part.sentence
        return part.not_protected

    assert told(of_the_public) == []
    assert "singling out a client" in told(of_the_real)[0]


def test_case_does_not_make_another_word() -> None:
    words = Vocabulary()
    turns = [Turn("user", "Badge E-48, please!"), Turn("assistant", "badge e-48.")]
    assert words.dialogue(turns).tolist() == [0, 1, 2, 0, 1] and words.dialogue(turns, "user").tolist() == [0, 1, 2]
