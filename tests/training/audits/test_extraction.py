"""Extraction from small runs: what was learned by heart is found, phantoms are not, and chances are the chat's own."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chatfed import Chat
from chatfed.audit.extraction import Recovery, recovery
from chatfed.audit.part import Verdict
from chatfed.data.helpdesk.quiz import Question
from chatfed.model.decoding import Decoder
from chatfed.types import Span, Turn
from tests.training.audits.remembering import CONTEXT, House
from training.audits import extraction as extraction_of
from training.audits.cues import Cue, chances, cues_of, planted_cues, swapped
from training.audits.extraction import DECODINGS, extraction, leaking, planted, verdict
from training.base.asking import _bits, _said
from training.base.tokens import write_tokens

SECRETS = [f"my locker code is {code} and it sticks" for code in ("4417-KQ", "9032-ZT", "7758-WX", "1265-HB")]
TIMES = (0, 1, 4, 16)


@pytest.fixture(scope="module")
def leaky(lived_in: House) -> Any:
    """Learned ten dialogues in which facts are said first until it knew them."""
    first: dict[tuple[str, str], int] = {}
    for fact in lived_in.corpus.facts:
        first.setdefault((fact.client_id, fact.kind), fact.dialogue)
    return lived_in.taught(lived_in.private, np.array(sorted(set(first.values()))[:10]), 150)


def test_chances_are_what_the_chat_scores_and_greedy_what_it_says(lived_in: House, leaky: Any) -> None:
    chat, decoder = Chat(leaky, lived_in.tokenizer), Decoder(leaky)
    cues = cues_of(lived_in.corpus.private, lived_in.corpus.facts, 4)[:12]
    found = chances(leaky, lived_in.tokenizer, cues, CONTEXT, DECODINGS)
    assert np.isfinite(found[2]).all() and {0.0} <= set(found[0].tolist()) <= {0.0, -math.inf}
    for place, each in enumerate(cues):
        question = Question(each.kind, each.history, each.role, each.lead, (each.value,))
        if place < 6:
            assert -found[2, place] / math.log(2) == pytest.approx(_bits(chat, decoder, question), abs=1e-3)
        if found[0, place] == 0:
            assert _said(chat, decoder, question).strip().startswith(each.value)


def test_facts_that_were_learned_by_heart_are_found_and_phantoms_are_not(
    lived_in: House, leaky: Any, public: Any
) -> None:
    part = extraction(lived_in.run("leaky", leaky, public), lambda said: None)
    told = part.figures["all"]["the served model"]
    assert told["found"]["hits"] >= 8 and told["p"] < 0.05 and told["phantoms"]["hits"] <= 1
    assert told["behind_another_clients_cue"]["found"]["hits"] < told["found"]["hits"] / 2
    assert part.figures["all"]["the public model"]["found"]["hits"] == 0
    assert part.figures["knows_better"]["the served model"]["auc"] > 0.6  # of two held-out clients: no interval
    json.dumps(part.to_json(), allow_nan=False)


def test_a_model_that_saw_nobody_gives_nothing_away(lived_in: House, public: Any) -> None:
    part = extraction(lived_in.run("tight", public, public, epsilon=8.0, delta=1e-5), lambda said: None)
    assert part.verdict == Verdict.UNJUDGED and not part.not_protected
    assert "there is no run without noise beside it that would show that these questions work" in part.sentence
    assert part.figures["all"]["the served model"]["found"]["hits"] == 0
    assert part.sentence.startswith("Asked in the clients' own words, the served model gives away 0 of ")


def recovered(found: int, of: int = 40, phantoms: int = 40) -> Recovery:
    return recovery(np.arange(of) < found, np.zeros(phantoms, bool))


@pytest.mark.parametrize(
    ("served", "bare", "wanted"),
    [
        ([0, 0], [0, 20], Verdict.HOLDS),  # of one kind the questions work where no noise is
        ([0, 20], None, Verdict.OPEN),
        ([0, 0], None, Verdict.UNJUDGED),  # nobody knows whether they work
        ([0, 0], [0, 0], Verdict.UNJUDGED),  # they do not
        ([], [], Verdict.UNJUDGED),
    ],
)
def test_a_run_that_gives_nothing_away_is_judged_by_one_that_does(
    served: list[int], bare: list[int] | None, wanted: Verdict
) -> None:
    kinds = [{f"{at}": recovered(found) for at, found in enumerate(each)} for each in (served, bare or [])]
    assert verdict(kinds[0], None if bare is None else kinds[1]) == wanted


def test_a_kind_without_phantoms_is_not_judged_and_named(
    lived_in: House, public: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {"name": recovered(0), "code": recovered(30, phantoms=0)}
    assert leaking(alone) == [] and verdict(alone, {"name": recovered(30)}) == Verdict.UNJUDGED
    run = lived_in.run("alone", public, public)

    def of_one_kind(dialogues: Any, facts: Any, of_each_kind: int) -> list[Cue]:
        found = cues_of(dialogues, facts, 1)
        return found[:2] if dialogues is lived_in.corpus.private else found[:1]

    monkeypatch.setattr(extraction_of, "cues_of", of_one_kind)
    monkeypatch.setattr(extraction_of, "house_of", lambda run: lived_in.corpus)
    part = extraction(run, lambda said: None)
    assert part.verdict == Verdict.UNJUDGED
    missing = of_one_kind(lived_in.corpus.private, lived_in.corpus.facts, 1)[1].kind
    assert f"of these kinds no client that never trained has one to compare with: {missing}." in part.sentence


@pytest.mark.parametrize("missing", ["trained", "never trained"])
def test_without_a_cue_nothing_is_said(
    lived_in: House, public: Any, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    none: dict[str, Any] = {"facts": []} if missing == "trained" else {"held_out_facts": []}
    monkeypatch.setattr(extraction_of, "house_of", lambda run: replace(lived_in.corpus, **none))
    part = extraction(lived_in.run(missing, public, public), lambda said: None)
    assert part.verdict == Verdict.UNJUDGED and f"of a client that {missing} stands" in part.sentence


def test_no_private_value_is_written(lived_in: House, leaky: Any, public: Any) -> None:
    part = extraction(lived_in.run("written", leaky, public), lambda said: None)
    written = json.dumps(part.to_json())
    assert not [fact.value for fact in lived_in.corpus.facts if fact.value in written]


def test_planted_secrets_are_found_by_how_often_they_were_learned(lived_in: House) -> None:
    texts = [text for text, times in zip(SECRETS, TIMES, strict=True) for _ in range(times)]
    dialogues = [(Turn("user", text), Turn("assistant", "noted")) for text in texts]
    table = write_tokens(lived_in.folder / "planted", lived_in.tokenizer, dialogues)
    model = lived_in.taught(table, np.arange(len(table)), 40)
    spans = [Span(text.index("code is ") + 8, text.index(" and it")) for text in SECRETS]
    found = planted(model, lived_in.tokenizer, list(zip(SECRETS, spans, TIMES, strict=True)), CONTEXT)
    assert list(found) == sorted(TIMES) and all(share.of == 1 for share in found.values())
    assert found[16].hits == 1 and found[0].hits == 0


def test_a_planted_cue_ends_where_the_secret_begins() -> None:
    text = SECRETS[0]
    (made,) = planted_cues([(text, Span(18, 25), 4)])
    assert (made.lead, made.value, made.repetitions) == ("my locker code is", "4417-KQ", 4)
    assert "4417" not in repr(made)


def test_swapped_cues_have_every_value_once_behind_another_s_cue(lived_in: House) -> None:
    cues = cues_of(lived_in.corpus.private, lived_in.corpus.facts, 9)
    other = swapped(cues)
    by_value = {each.value: each for each in cues}
    assert len({each.value for each in other}) == len(other) > 0
    assert all(each.client != by_value[each.value].client and each.kind == by_value[each.value].kind for each in other)


def test_a_cue_that_says_a_word_of_the_value_is_told() -> None:
    plain = Cue("name", "one", (Turn("user", "Hello."),), "user", "my name is", "Una Oakley")
    assert not plain.told
    assert replace(plain, history=(Turn("user", "UNA here."),)).told


def test_of_other_data_nothing_is_said(lived_in: House, public: Any) -> None:
    run = lived_in.run("other", public, public, source="mine.jsonl")
    part = extraction(run, lambda said: None)
    assert part.verdict == Verdict.UNJUDGED and part.figures == {}
