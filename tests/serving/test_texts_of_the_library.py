"""What the library says of a run or a word in English, the page says word for word on its English side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from chatfed.audit.audit_page import proven
from chatfed.audit.comparison import SAYS as VERDICTS
from chatfed.audit.comparison import sentence
from chatfed.audit.part import Verdict
from chatfed.audit.tiers import SCALE, said_of_several
from chatfed.audit.words import Finding
from chatfed.generation.engine import ModelBusy
from chatfed.types import ChatfedError, InvalidValue
from serving import findings, probe
from serving.calls import Refused
from serving.failures import NotTaken, sentence_of
from serving.privacy_run import verdict
from serving.privacy_tab import _one_sentence, _several
from serving.texts import read_texts

ENGLISH, GERMAN = read_texts(), read_texts("de")


def test_names_of_levels_findings_and_verdicts_are_the_librarys() -> None:
    assert {name: probe.called(name, ENGLISH) for name in probe.LOOKS} == {name: name for name in probe.LOOKS}
    assert [findings.called(each, ENGLISH) for each in Finding] == [str(each) for each in Finding]
    assert [ENGLISH(f"audit.verdict.{each.name.lower()}") for each in Verdict] == [str(each) for each in Verdict]
    assert ENGLISH("privacy.scale") == SCALE


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 7.989, 14.0, 22.0])
@pytest.mark.parametrize("unit", ["dialogue", "example", "client", "house"])
def test_the_one_sentence_is_the_audits(epsilon: float, unit: str) -> None:
    claim = {"epsilon": epsilon, "delta": 1e-5, "unit": unit}
    assert f"<strong>{proven(claim)}</strong>" in _one_sentence(claim, ENGLISH)
    assert "a guess" not in _one_sentence(claim, GERMAN) and "." not in _figures(_one_sentence(claim, GERMAN))


def _figures(text: str) -> str:
    return "".join(each for each in text.split() if each[0].isdigit())


@pytest.mark.parametrize(
    "row",
    [
        {"epsilon": 3.1, "strength": "moderate", "best_guess": "95.7 %"},
        {"epsilon": 71.2, "strength": "none"},
        {"epsilon": None},
    ],
)
def test_several_dialogues_are_said_as_the_library_says_them(row: Mapping[str, Any]) -> None:
    assert _several(row, ENGLISH) == said_of_several(row) and _several(row, GERMAN) != said_of_several(row)


@pytest.mark.parametrize("found", VERDICTS)
@pytest.mark.parametrize("over", ["clients", "dialogues", "noise", "<b>"])
@pytest.mark.parametrize("low", [-0.0412, None])
def test_whether_the_run_learned_is_said_as_in_its_report(found: str, over: str, low: float | None) -> None:
    scores = {"bits_per_byte": 2.4567, "top1": 0.3821, "top3": 0.5}
    change = {"low": low, "high": 0.0213}
    compared = {"verdict": found, "over": over, "groups": 30, "bits_per_byte": change, "top1": change, "top3": {}}
    summary = {"before": scores, "after": scores | {"top3": None}, "comparison": compared}
    assert verdict(summary, ENGLISH) == sentence(summary)
    german = verdict(summary, GERMAN)
    assert "2,457" in german and "run" not in german.split() and ("−0,041" in german) == (low is not None)


def test_an_error_is_told_in_the_pages_language_with_the_librarys_own_sentence_beside_it() -> None:
    error = InvalidValue("temperature is -1; give 0 or more.", param="temperature")
    assert sentence_of(error, ENGLISH) == str(error)
    assert sentence_of(error, GERMAN) == f"Das nimmt das Modell so nicht an. Auf Englisch: {error}"
    assert sentence_of(ChatfedError("odd {why}"), GERMAN) == "Das ging nicht. Auf Englisch: odd {why}"
    assert sentence_of(ModelBusy("9 wait"), GERMAN).startswith("Das Modell ist beschäftigt")
    assert sentence_of(NotTaken("Die Startzahl ist x."), GERMAN) == "Die Startzahl ist x."


def test_a_refusal_has_its_sentence_in_each_language() -> None:
    refused = Refused(413, "long_text", count=70_000)
    assert str(refused) == "A text has 70,000 characters, which is too long; give fewer."
    assert refused.told(GERMAN) == "Ein Text hat 70.000 Zeichen, das ist zu lang; geben Sie weniger ein."
