"""A claim says all that it rests on, in the words that files have always held."""

from __future__ import annotations

import json
import math
from enum import StrEnum

import pytest

from chatfed.privacy.accounting import PLD
from chatfed.privacy.conversions import PrivacyError
from chatfed.privacy.guarantee import Adjacency, Guarantee, Noise, Protected, Trust, Unit, condition


def claim(**changes: object) -> Guarantee:
    fields: dict[str, object] = {
        "epsilon": 7.99912,
        "delta": 1e-5,
        "unit": Protected.DIALOGUE,
        "adjacency": Adjacency.ADD_OR_REMOVE,
        "accountant": PLD,
        "sampling": "Poisson, rate 0.25",
        "noise": Noise.LOCAL,
        "holds_against": "everyone: the server, the other clients and users of the model",
        "rounds": 10,
        "assumptions": ("the client runs this code",),
        "excludes": ("evaluation on held-out clients", "choice of hyperparameters"),
    }
    return Guarantee(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_sentence_names_every_condition_and_never_rounds_down() -> None:
    sentence = claim().sentence()
    for part in (
        "8.000", "1e-05", "dialogue", "add or remove one", "PLD", "Poisson, rate 0.25", "local", "the other clients",
        "10 rounds", "the client runs this code", "held-out clients", "hyperparameters",
    ):  # fmt: skip
        assert part in sentence


@pytest.mark.parametrize(
    "field", ["unit", "adjacency", "accountant", "sampling", "noise", "holds_against", "assumptions", "excludes"]
)
def test_a_claim_without_a_condition_is_refused(field: str) -> None:
    for empty in ("", " ", None) if field not in ("assumptions", "excludes") else ((), None):
        with pytest.raises(PrivacyError, match=field):
            claim(**{field: empty})


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": math.inf},
        {"epsilon": math.nan},
        {"epsilon": -1.0},
        {"epsilon": None},
        {"delta": None},
        {"delta": 0.0},
    ],
)
def test_a_claim_without_a_number_is_refused(change: dict[str, float | None]) -> None:
    with pytest.raises(PrivacyError):
        claim(**change)


def test_a_run_without_noise_claims_nothing() -> None:
    record = Guarantee.without_noise(unit=Protected.DIALOGUE, rounds=3)
    assert record.to_json()["epsilon"] is None and record.to_json()["delta"] is None
    assert "No differential privacy" in record.sentence()
    with pytest.raises(PrivacyError, match="without noise"):
        claim(noise=Noise.NONE, holds_against=Trust.NO_ONE)


def test_json_carries_the_keys_of_a_run_folder() -> None:
    found = json.loads(json.dumps(claim().to_json()))
    assert {
        "epsilon",
        "delta",
        "unit",
        "adjacency",
        "accountant",
        "sampling",
        "noise",
        "holds_against",
        "rounds",
    } <= set(found)
    assert found["assumptions"] == ["the client runs this code"]


WRITTEN = """{
 "epsilon": 7.99912,
 "delta": 1e-05,
 "unit": "dialogue",
 "adjacency": "add or remove one",
 "accountant": "PLD (privacy loss distributions), upper bound",
 "sampling": "Poisson, rate 0.25",
 "noise": "local",
 "holds_against": "everyone: the server, the other clients and users of the model",
 "rounds": 10,
 "assumptions": [
  "the client runs this code"
 ],
 "excludes": [
  "evaluation on held-out clients",
  "choice of hyperparameters"
 ]
}"""


def test_a_written_claim_holds_plain_words_and_no_trace_of_enums() -> None:
    assert json.dumps(claim().to_json(), indent=1) == WRITTEN
    assert {type(value) for value in claim().to_json().values()} == {float, str, int, list}


def test_a_word_from_a_file_is_the_member_that_it_names() -> None:
    assert claim(unit="dialogue", noise="local", adjacency="add or remove one") == claim()
    assert claim(unit="client").unit is Protected.CLIENT


@pytest.mark.parametrize(
    ("field", "word", "kind"),
    [("unit", "household", "protected"), ("noise", "Local", "noise"), ("adjacency", "one fewer", "adjacency")],
)
def test_a_condition_that_nobody_knows_is_refused_with_those_there_are(field: str, word: str, kind: str) -> None:
    with pytest.raises(PrivacyError, match=f"no {kind} '{word}': take '"):
        claim(**{field: word})


@pytest.mark.parametrize(
    ("noise", "holds_against"),
    [(Noise.DISTRIBUTED, "everyone: with or without masking"), (Noise.LOCAL, "no one"), (Noise.LOCAL, "the server")],
)
def test_noise_in_sums_never_claims_to_hold_against_everyone(noise: Noise, holds_against: str) -> None:
    with pytest.raises(PrivacyError, match=noise.holds_against):
        claim(noise=noise, holds_against=holds_against)


@pytest.mark.parametrize(("adjacency", "norms"), [("ADD_OR_REMOVE", 1.0), ("ZERO_OUT", 1.0), ("REPLACE", 2.0)])
def test_sensitivity_is_how_far_one_clipped_vector_can_move_a_sum(adjacency: str, norms: float) -> None:
    clip_norm, others = 0.5, -3.0  # along one direction, where the worst pair lies
    mine = {"ADD_OR_REMOVE": (clip_norm, None), "ZERO_OUT": (clip_norm, 0.0), "REPLACE": (clip_norm, -clip_norm)}
    first, second = (others + (value or 0.0) for value in mine[adjacency])
    assert Adjacency[adjacency].sensitivity(clip_norm) == norms * clip_norm == first - second


def test_recipes_and_claims_words_for_the_units() -> None:
    assert [(str(unit), str(unit.protected)) for unit in Unit] == [("example", "dialogue"), ("client", "client")]


@pytest.mark.parametrize("kind", [Adjacency, Noise, Protected, Trust, Unit])
def test_every_condition_is_found_by_its_word(kind: type[StrEnum]) -> None:
    assert [condition(kind, str(member)) for member in kind] == list(kind)
