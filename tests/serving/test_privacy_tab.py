"""The privacy tab and the badge: the guarantee in words and numbers, whatever stands in the run's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.privacy_budget import budget_html, rounds_html
from serving.privacy_run import facts_html
from serving.privacy_tab import privacy_html
from serving.run_folder import RunFolder
from serving.theme import badge, format_small, header

Facts = Mapping[str, Any]
GUARANTEE: dict[str, Any] = {
    "epsilon": 7.5,
    "delta": 1e-05,
    "unit": "example",
    "noise": "local",
    "holds_against": "<everyone>",
}


def run_with(privacy: Facts | None, summary: Facts | None = None, *metrics: Facts) -> RunFolder:
    return RunFolder(Path("model"), None, privacy, summary, metrics)


def test_the_guarantee_shows_every_field_escaped() -> None:
    privacy = GUARANTEE | {"assumptions": ["<i>one</i>"], "some_new_field": 3, "per_round": [1.0, 7.5]}
    shown = privacy_html(run_with(privacy))
    assert "7.50" in shown and "1e-5" in shown and "one dialogue" in shown and "Some new field" in shown
    assert "<i>one" not in shown and "&lt;everyone&gt;" in shown and "1.00, 7.50" in shown


HOSTILE = "<script>alert('1')</script>"
FIELDS = (
    "epsilon delta unit adjacency accountant sampling noise holds_against rounds assumptions excludes per_round "
    "clients_charged noise_multiplier model_sha256 some_new_field"
).split()
FIGURES = (
    "clients",
    "rounds",
    "parameters",
    "trainable_parameters",
    "before",
    "after",
    "reference",
    "seconds",
    "comparison",
)
WRAPS: list[Callable[[str], Any]] = [
    lambda x: x,
    lambda x: [x, 1.5],
    lambda x: {x: x},
    lambda x: {"perplexity": x, "top1": x, "evaluation": x, "bits_per_byte": x, "verdict": x, "over": x, "groups": x},
    lambda x: {"verdict": "learned", "over": x, "groups": 4, "top1": {"low": x, "high": x}, "bits_per_byte": x},
]


def everything(run: RunFolder) -> str:
    return (
        privacy_html(run)
        + rounds_html(run)
        + budget_html(run.privacy)
        + facts_html(run)
        + header(run.privacy, run.no_claim)
    )


@pytest.mark.parametrize("wrap", WRAPS, ids=["text", "list", "object", "scores", "comparison"])
def test_no_value_of_any_file_becomes_markup(wrap: Callable[[str], Any]) -> None:
    for field in FIELDS:
        shown = everything(run_with(GUARANTEE | {field: wrap(HOSTILE)}))
        assert "<script" not in shown, field
        assert "&lt;script&gt;" in shown or field in ("epsilon", "delta"), field
    assert "<script" not in everything(run_with(GUARANTEE | {HOSTILE: HOSTILE}))
    for figure in FIGURES:
        assert "<script" not in everything(run_with(GUARANTEE, {figure: wrap(HOSTILE)})), figure
    for column in ("round", "epsilon_max", "epsilon_mean"):
        row = {"round": 1, "epsilon_max": 1.0, "epsilon_mean": 0.5}
        assert "<script" not in everything(run_with(GUARANTEE, None, row, row | {column: wrap(HOSTILE)})), column
    assert "<script" not in everything(RunFolder(Path("model"), None, None, None, (), no_claim=HOSTILE))


@pytest.mark.parametrize(
    "odd", [float("inf"), -float("inf"), float("nan"), [1.0, [2]], 10**400, 1e308, True, None, {}, ""], ids=repr
)
def test_a_figure_that_is_no_number_stops_nothing(odd: object) -> None:
    for field in FIELDS:
        everything(run_with(GUARANTEE | {field: odd}))
        everything(run_with(GUARANTEE | {field: [odd, {"a": odd}]}))
    for figure in FIGURES:
        everything(run_with(GUARANTEE, {figure: odd}))
        scores = {"perplexity": odd, "top1": odd, "evaluation": odd, "bits_per_byte": odd}
        shown = everything(run_with(GUARANTEE, {"comparison": {"verdict": "learned", "top3": odd}, figure: scores}))
        assert "nan" not in shown and "inf " not in shown
    for column in ("round", "epsilon_max", "epsilon_mean"):
        row = {"round": 1, "epsilon_max": 1.0, "epsilon_mean": 0.5}
        assert "ε = 1.00 after round 2" in everything(run_with(GUARANTEE, None, row, row | {column: odd})), column


def test_a_negative_epsilon_is_no_claim() -> None:
    assert "No finite guarantee" in privacy_html(run_with(GUARANTEE | {"epsilon": -1000}))


@pytest.mark.parametrize(
    "privacy", [{"noise": "none", "epsilon": 3.0}, {"epsilon": None}, {"epsilon": float("inf"), "unit": "example"}]
)
def test_a_run_without_noise_claims_nothing(privacy: dict[str, Any]) -> None:
    assert "No finite guarantee" in privacy_html(run_with(privacy))
    assert badge(privacy)[0] == "no privacy claim"


def test_the_attackers_best_guess_is_that_of_the_trade_off_bound() -> None:
    shown = privacy_html(run_with({"epsilon": 1.0986122886681098, "delta": 0.0, "unit": "example"}))  # ln 3
    assert "75 %" in shown and "× 3.00" in shown


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"epsilon": 0.9}, "strong"),
        ({}, "moderate"),
        ({"epsilon": 14.4}, "weak"),
        ({"strength": "weak", "warnings": ["delta is not below 1 / (number of units), 1 / 50: so"]}, "weak"),
        ({"epsilon": 14.4, "strength": "strong"}, "weak"),  # a file's word is never taken for more than its numbers say
        ({"epsilon": 700.0}, "none"),
        ({"epsilon": 1e9, "strength": ["x"]}, "none"),
        ({"delta": 0.5}, "none"),
        ({"delta": None}, "none"),
    ],
)
def test_the_badge_and_the_tab_say_how_strong_the_guarantee_is(changes: dict[str, object], word: str) -> None:
    privacy = {**GUARANTEE, **changes}
    top, shown = header(privacy), privacy_html(run_with(privacy))
    calm = word in ("strong", "moderate")
    assert f'<span class="{"cf-badge" if calm else "cf-badge-none"}" id="strength-badge">{word} guarantee</span>' in top
    assert f'<span id="strength-value">{word}</span>' in shown and ("cf-warn" in shown) != calm
    assert "Ponomareva" in shown and "e+3" not in shown
    if word == "none":
        assert "The bound says nothing" in shown and "100 %" not in shown


def test_the_tab_says_what_holds_for_a_person_with_several_dialogues() -> None:
    rows = [
        {"who": "5 dialogues", "dialogues": 5, "epsilon": 18.2, "strength": "weak", "best_guess": "99.9999988 %"},
        {"who": "the most of any <b>client</b>", "dialogues": 212, "epsilon": None, "strength": "none"},
        "not a row",
    ]
    shown = privacy_html(run_with({**GUARANTEE, "person": rows, "person_note": "the counts are not covered"}))
    table = shown.partition('id="person"')[2].partition("</table>")[0]
    assert "ε = 18.20, weak; an even guess right in at most 99.9999988 % of cases" in table
    assert "212" in table and "no meaningful bound" in table and "&lt;b&gt;" in table and "not a row" not in table
    assert ">The counts are not covered.<" in shown
    none: tuple[Facts, ...] = ({}, {"person": "x"}, {"person": []})
    for nothing in none:
        assert 'id="person"' not in privacy_html(run_with({**GUARANTEE, **nothing}))


def test_the_guarantee_in_words_is_a_factor_plus_delta() -> None:
    shown = privacy_html(run_with(GUARANTEE))
    assert "changes at most by the factor e<sup>ε</sup> = 1,808, plus δ = 1e-5" in shown and "except" not in shown


def test_a_guarantee_for_clients_is_not_for_whether_one_took_part() -> None:
    client = {**GUARANTEE, "unit": "client", "noise": "distributed"}
    shown = privacy_html(run_with(client))
    assert "any one client took part with its dialogues or with its noise alone" in shown and "ε per client" in shown
    assert "dialogue was" not in shown and badge(client)[0] == "ε = 7.50 per client"
    assert "any one dialogue was in a client's training data" in privacy_html(run_with(GUARANTEE))


def test_facts_show_before_after_and_reference() -> None:
    scores = {"bits_per_byte": 2.4567, "perplexity": 61.23, "top1": 0.382, "top3": 0.56}
    run = {"before": scores, "after": scores, "reference": None, "clients": 400}
    shown = facts_html(run_with(None, run))
    assert shown.count("<tbody>") == 1 and shown.count("61.2") == 2 and "38.2 %" in shown and "400" in shown
    assert shown.count("<td class='n'>2.457") == 2
    worse = {"verdict": "worse", "over": "clients", "groups": 30, "top1": {"low": -0.02, "high": -0.01}}
    assert "made the model WORSE" in facts_html(run_with(None, {**run, "comparison": worse}))
    assert "without noise" not in shown


def test_the_badge_says_its_unit() -> None:
    assert badge(GUARANTEE)[0] == "ε = 7.50 per dialogue"
    assert "δ = 1e-5" in header(GUARANTEE)
    assert format_small(1e-05) == "1e-5"
