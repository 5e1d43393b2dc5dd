"""The part of the audit about synthetic copies: what it finds where something is to be found, and what it says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatfed.audit.leakage import AuditError
from chatfed.audit.part import Verdict
from chatfed.audit.synthetic import Rate, Risk
from chatfed.conversation.synthetic import digest, to_lines
from chatfed.data.helpdesk import HelpdeskCorpus
from chatfed.model.checkpoint import base_digest
from chatfed.types import Turn
from tests.conversation.test_synthetic import TOLD
from tests.training.audits import remembering
from tests.training.processes import PLAIN
from training.audits.audited import Audited
from training.audits.copies import Beside, Counts, House, Leaks, Side, Vocabulary, _side, attacked, leaks
from training.audits.copy_tables import BARE, COPY, HELD, REAL
from training.audits.shapes import CLIENTS, shape, topic_shares, topical_words
from training.audits.synthetic import _bare, _copy, _part, shapes, synthetic, verdict
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
        Beside.of(corpus),
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


def test_what_leaks_is_said_as_large_as_what_does_not(house: House, of_the_real: Leaks, of_the_public: Leaks) -> None:
    shaped = shapes(house, {COPY: house.real, BARE: house.real}, {})

    def told(copy: Leaks) -> Sequence[str]:
        part = _part({COPY: copy, BARE: of_the_real, REAL: of_the_real}, {}, {COPY: 3, BARE: 3, REAL: 3}, shaped)
        to_json(part.to_json())  # every figure is one
        beside, risks = part.tables[:2]
        assert beside.heads[1:] == [COPY, BARE, REAL, HELD] and {len(row) for row in beside.rows} == {5}
        assert {row[0] for row in risks.rows} == {COPY, BARE, REAL}
        assert {row[1] for row in risks.rows} == {3} and f"3 of {REAL}" in part.sentence
        return part.not_protected

    assert told(of_the_public) == []
    assert "singling out a client" in told(of_the_real)[0]


def test_case_does_not_make_another_word() -> None:
    words = Vocabulary()
    turns = [Turn("user", "Badge E-48, please!"), Turn("assistant", "badge e-48.")]
    assert words.dialogue(turns).tolist() == [0, 1, 2, 0, 1] and words.dialogue(turns, "user").tolist() == [0, 1, 2]


# Shapes and topics


def talk(*said: str) -> list[Turn]:
    return [Turn("assistant" if at % 2 else "user", each) for at, each in enumerate(said)]


def test_a_shape_counts_messages_and_words_and_what_both_speak_of() -> None:
    held = [talk("my printer jams", "pull the paper"), talk("the screen is dark", "is it on?", "yes", "wait")]
    own = shape(held, 0.5, held, ["printer", "screen"])
    assert (own.turns, own.words_user, own.words_assistant) == (3, 8 / 3, 7 / 3)
    assert own.early == 0.5 and own.first_words == own.topics == 1.0
    other = shape([talk("my printer", "pull"), talk("my printer", "pull")], None, held, ["printer", "screen"])
    assert (other.turns, other.words_user, other.words_assistant, other.early) == (2, 2, 1, None)
    assert other.first_words == 0.5, "half of the others begin with my"
    assert other.topics == 0.5 / 1.5, "printer in 1 and 1/2 of the dialogues, screen in 0 and 1/2"


def test_a_topical_word_is_said_in_public_and_by_several_clients() -> None:
    held = [talk(f"hello dear filler{at} {'printer' if at % 9 == 0 else ''} {'casteldahl' if at < 9 else ''}")
            for at in range(90)]  # fmt: skip
    owners = [at % 10 for at in range(90)]
    public = [talk("hello dear printer casteldahl filler1")]
    assert topical_words(held, owners, public) == ["printer", "casteldahl"], "the others are said always or once"
    assert topical_words(held, owners, [talk("a printer")]) == ["printer"], "what nobody says in public is not compared"
    ones = [0 if at < 9 else 1 + at % 10 for at in range(90)]
    assert CLIENTS > 1 and topical_words(held, ones, public) == ["printer"], "one client alone says the other"
    assert topic_shares(held, ["printer"]) == [10 / 90]


# The whole part on a run


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> remembering.House:
    return remembering.house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def audited(lived_in: remembering.House) -> Audited:
    """A run with a copy of 24 dialogues, 12 of them a client's own word for word, and a run without noise beside it."""
    every = np.arange(len(lived_in.public))
    public = lived_in.taught(lived_in.public, every, 20)
    run, bare = (lived_in.run(name, public, public) for name in ("run", "bare"))
    object.__setattr__(run, "bare", bare)  # in a cached property's place
    texts = [each.messages for each in (*lived_in.corpus.private[:12], *lived_in.corpus.public[:12])]
    copy_of(run, texts)
    return run


def copy_of(run: Audited, texts: Sequence[Sequence[Turn]], **told: Any) -> None:
    lines, folder = to_lines(texts), base_digest(run.folder.path / "model").hex()
    from_here: dict[str, Any] = {
        "model_sha256": run.weights_sha256,
        "folder_sha256": folder,
        "cut": 6,
        "exchanges": 1,
        **told,
    }
    provenance = replace(TOLD, dialogues=len(texts), dialogues_sha256=digest(lines), **from_here)
    run.copy.mkdir(exist_ok=True)
    (run.copy / "dialogues.jsonl").write_bytes(lines)
    (run.copy / "provenance.json").write_text(to_json(provenance.to_json()))


def test_a_copy_is_attacked_and_learned_from_beside_one_without_noise_and_the_dialogues_themselves(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, fewer in (("synthetic.MEASURED", 10), ("copies.TRIES", 200), ("copies.OF_FACTS", 200)):
        monkeypatch.setattr(f"training.audits.{name}", fewer)
    asked: list[Wanted] = []

    def drawn(source: str, context: int, wanted: Wanted, workers: int, say: object) -> list[Said]:
        assert Path(source) == audited.bare.folder.path / "model"  # type: ignore[union-attr]
        asked.append(wanted)
        return [Said((Turn("user", "my printer jams"), Turn("assistant", "try again")), at == 0) for at in range(24)]

    monkeypatch.setattr("training.audits.synthetic.dialogues", drawn)
    part = synthetic(audited, lambda text: None)
    told = json.loads(to_json(part.to_json()))
    assert [each.count for each in asked] == [24] and told["dialogues"] == {COPY: 24, BARE: 24, REAL: 24}
    said = {name: each["all_facts"]["found"] for name, each in told["copies"].items()}
    assert said[COPY]["hits"] > 0 and said[BARE]["hits"] == 0, "half of the copy is clients' own, the other says none"
    assert f"It says {said[COPY]['hits']:,} of {said[COPY]['of']:,} private values" in part.sentence
    assert part.verdict is Verdict.UNJUDGED, "five clients are too few for any attack to tell from chance"
    assert set(told["use"]) == {"the public model", "the served model itself", COPY, BARE, REAL}
    assert told["use"][REAL]["gain"]["bits_a_word"]["share"] == pytest.approx(1.0)
    bits = {name: each["bits_per_byte"] for name, each in told["use"].items()}
    assert bits[REAL] < bits["the public model"] == pytest.approx(bits["the served model itself"])
    assert bits[COPY] < bits[BARE], "it teaches more than one sentence that is said 24 times"
    assert set(told["shapes"]) == {COPY, BARE, HELD}, "no figures of clients that trained"
    assert told["shapes"][BARE]["words_user"] == 3 and told["shapes"][BARE]["early"] == pytest.approx(1 / 24)
    assert told["shapes"][COPY]["early"] == 0.25 and told["shapes"][HELD]["topics"] == 1.0
    assert told["shapes"][BARE]["topics"] < told["shapes"][COPY]["topics"] < 1
    assert part.tables[0].heads[1:] == [COPY, BARE, REAL, HELD]


@pytest.mark.parametrize("field", ["model_sha256", "folder_sha256"])
def test_a_copy_of_another_models_words_is_refused(lived_in: remembering.House, field: str) -> None:
    public = lived_in.taught(lived_in.public, np.arange(20), 1)
    run = lived_in.run(f"other-{field}", public, public)
    copy_of(run, [talk("hello", "hello")])
    assert len(_copy(run)[0]) == 1
    copy_of(run, [talk("hello", "hello")], **{field: "00" * 32})
    with pytest.raises(AuditError, match="a copy of another model's words") as caught:
        synthetic(run, lambda text: None)
    assert caught.value.param == str(run.copy) and "--replace" in str(caught.value)
