"""The report: whole, honest about what is missing, safe to open, and needing nothing from anywhere."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.audit.figures import MISSING, above
from chatfed.audit.leakage import AuditError
from chatfed.audit.plots import epsilon_plot, learning_plot
from chatfed.audit.report import render, write_report

VOID = {"meta", "br", "img", "link", "input", "hr", "wbr"}

METRICS: list[dict[str, Any]] = [
    {
        "round": n,
        "cohort": 60,
        "survivors": 60 - n,
        "epsilon_max": 2.0 + n,
        "epsilon_mean": 1.0 * n,
        "bits_per_byte": 2.6 - 0.1 * n,
        "perplexity": 100.0 - n,
        "top1": 0.2,
        "top3": 0.4,
        "seconds": 3.0,
        "bytes_up": 2_000_000,
        "update_norm": 0.5,
    }
    for n in (1, 2, 3)
]
SUMMARY: dict[str, Any] = {
    "before": {"bits_per_byte": 2.6, "perplexity": 120.0, "top1": 0.2, "top3": 0.35},
    "after": {"bits_per_byte": 2.3, "perplexity": 90.0, "top1": 0.25, "top3": 0.42},
    "comparison": {
        "verdict": "learned",
        "over": "clients",
        "groups": 30,
        "bits_per_byte": {"difference": -0.3, "low": -0.351, "high": -0.249},
        "top1": {"difference": 0.05, "low": 0.041, "high": 0.062},
        "top3": {"difference": 0.07, "low": 0.05, "high": 0.09},
    },
    "reference": None,
    "epsilon": 4.991,
    "delta": 1e-5,
    "seconds": {"pretrain": 30.0, "federate": 90.0, "total": 120.0},
    "clients": 400,
    "rounds": 3,
    "parameters": 2_600_000,
    "trainable_parameters": 1_300_000,
}
PRIVACY: dict[str, Any] = {
    "epsilon": 4.991,
    "delta": 1e-5,
    "unit": "example",
    "adjacency": "add or remove one",
    "accountant": "PRV",
    "sampling": "Poisson",
    "noise": "local",
    "holds_against": "everyone",
    "rounds": 3,
    "assumptions": ["sound randomness"],
    "excludes": ["who took part"],
    "per_round": [3.0, 4.0, 4.991],
}


class Reader(HTMLParser):
    """Collects elements and text, and fails where a tag closes what was not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_states_what_was_learned_and_every_field_of_the_guarantee() -> None:
    text = Reader(render(SUMMARY, PRIVACY, METRICS)).text
    for part in ("120.0", "90.00", "−25.0%", "+5.0 points", "400", "2,600,000", "2.600", "2.300", "−0.351 to −0.249"):
        assert part in text, part
    for part in ("57 to 59 of 60", "6.0 MB", "1 min 30 s"):
        assert part in text, part
    for value in ("add or remove one", "PRV", "Poisson", "local", "everyone", "sound randomness", "who took part"):
        assert value in text, value
    assert "ε ≤ 5.00" in text and "4.99" not in text  # rounded up, never down
    assert "2 min 00 s" in text  # all phases, the recorded total not counted again


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("learned", "The run learned: "), ("did not learn", "did NOT learn"), ("worse", "made the model WORSE")],
)
def test_what_it_says_of_learning_is_the_verdict_and_never_a_fall_of_one_figure(verdict: str, said: str) -> None:
    """Perplexity falls by a quarter in each of them."""
    page = render({**SUMMARY, "comparison": {**SUMMARY["comparison"], "verdict": verdict}}, PRIVACY, METRICS)
    text = Reader(page).text
    assert text.count(said) == 2, "at the head and above the table"
    assert not re.search("(fell|rose|improved) by", text) and f"2.600 before: {verdict}" in text
    assert ('class="warn"' in page) == (verdict != "learned")


def test_a_base_that_the_time_limit_cut_is_told_of() -> None:
    cut = {"done": 1200, "steps": 2138, "cut": True}
    assert "after 1,200 of 2,138 steps" in Reader(render({**SUMMARY, "pretraining": cut}, PRIVACY, METRICS)).text
    whole = Reader(render({**SUMMARY, "pretraining": {**cut, "cut": False}}, PRIVACY, METRICS)).text
    assert "2,138" not in whole


def test_a_guarantee_for_clients_is_of_their_dialogues_and_not_of_whether_they_took_part() -> None:
    text = Reader(render(SUMMARY, {**PRIVACY, "unit": "client", "noise": "distributed"}, METRICS)).text
    assert "With any one client's dialogues or without them" in text and "for each client" in text
    assert "With any one dialogue or without it" in Reader(render(SUMMARY, PRIVACY, METRICS)).text


def test_the_noiseless_run_stands_beside_when_there_was_one() -> None:
    assert "Without noise" not in Reader(render(SUMMARY, PRIVACY, METRICS)).text
    bare = {"bits_per_byte": 2.125, "perplexity": 61.25, "top1": 0.3, "top3": 0.5}
    text = Reader(render({**SUMMARY, "reference": bare}, PRIVACY, METRICS)).text
    assert "Without noise" in text and "61.25" in text


def test_a_ceiling_has_a_section_of_its_own_that_says_for_whom_it_is() -> None:
    assert "could be learned" not in Reader(render(SUMMARY, PRIVACY, METRICS)).text
    share = {"learnable": 8.4, "learned": 4.8, "share": 0.571, "low": 0.53, "high": 0.604}
    ceiling = {"bits_per_byte": 1.125, "top1": 0.6, "top3": 0.7, "gain": {"bits_a_word": share}}
    text = Reader(render({**SUMMARY, "ceiling": ceiling}, PRIVACY, METRICS)).text
    assert "It learned 57% of the 8.40 bits a word that could be learned [53% to 60%]." in text
    assert "1.125" in text and "60.0%" in text and "no epsilon covers its figures" in text
    odds: list[Any] = [3, [], {}, {"gain": 3}]
    for odd in odds:
        assert "It learned" not in Reader(render({**SUMMARY, "ceiling": odd}, PRIVACY, METRICS)).text


def test_a_run_without_noise_claims_nothing() -> None:
    rows = [{**row, "epsilon_max": None, "epsilon_mean": None} for row in METRICS]
    text = Reader(render(SUMMARY, {**PRIVACY, "epsilon": None, "delta": None, "noise": "none"}, rows)).text
    assert "No differential privacy is claimed" in text
    assert "without any privacy guarantee" in text
    assert "ε ≤" not in text


@pytest.mark.parametrize("epsilon", [float("nan"), float("inf"), True, "8"])
def test_an_epsilon_that_is_no_finite_number_is_no_claim(epsilon: Any) -> None:
    assert "No differential privacy is claimed" in render(SUMMARY, {**PRIVACY, "epsilon": epsilon}, METRICS)


def test_what_is_missing_is_shown_as_missing() -> None:
    text = Reader(render({}, {}, [])).text
    assert "No round was run" in text and "Nothing was measured on held-out dialogues" in text and "–" in text
    assert "0.0" not in text


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_text_of_a_run_becomes_markup(value: str, key: str) -> None:
    hostile = value + "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    fields = {"unit": hostile, "holds_against": hostile, "excludes": [hostile], key + "<b>": {hostile: hostile}}
    privacy = {**PRIVACY, **fields}
    summary = {**SUMMARY, "seconds": {hostile: 3.0}}
    page = Reader(render(summary, privacy, []))
    assert not {"script", "img", "b", "iframe"} & {name for name, _ in page.elements}
    assert page.open == []


def test_the_page_asks_no_host_for_anything() -> None:
    page = render(SUMMARY, PRIVACY, METRICS)
    read = Reader(page)
    for name, attributes in read.elements:
        assert name not in {"script", "link", "iframe", "img", "object", "base"}
        assert not {"src", "srcset", "action", "data"} & set(attributes)
        for link in (attributes.get("href"), attributes.get("xlink:href")):
            assert link is None or link.startswith("#")
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert any("default-src 'none'" in (each.get("content") or "") for _, each in read.elements)


def test_plots_are_svg_with_text_as_text_in_the_colours_of_the_page() -> None:
    for drawn, words in (
        (epsilon_plot(METRICS), ["most of any client", "mean over clients", "round"]),
        (learning_plot(METRICS, before=2.6, reference=2.1), ["same run without noise", "round"]),
    ):
        root = ElementTree.fromstring(drawn)  # noqa: S314  # drawn here, from nobody's data
        texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
        assert set(words) <= set(texts)
        assert "currentColor" in drawn and "var(--cf-accent" in drawn
        assert root.get("role") == "img" and root.get("aria-label")


def test_ids_are_unique_when_both_plots_share_a_page() -> None:
    ids = re.findall(r'\bid="([^"]*)"', render({**SUMMARY, "reference": SUMMARY["after"]}, PRIVACY, METRICS))
    assert ids and len(ids) == len(set(ids))


def test_the_same_run_gives_the_same_bytes() -> None:
    assert render(SUMMARY, PRIVACY, METRICS) == render(SUMMARY, PRIVACY, METRICS)


def test_a_single_round_and_gaps_can_be_drawn() -> None:
    assert epsilon_plot(METRICS[:1]).startswith("<svg")
    gaps = [METRICS[0], {**METRICS[1], "bits_per_byte": float("nan")}, {"round": 3}]
    assert learning_plot(gaps).startswith("<svg")


@given(st.floats(min_value=0, max_value=1e6))
def test_epsilon_is_never_printed_smaller_than_it_is(epsilon: float) -> None:
    assert epsilon - 1e-9 * max(1, epsilon) <= float(above(epsilon)) < epsilon + 0.0101


def test_the_file_is_replaced_whole_and_readable(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    write_report(target, SUMMARY, PRIVACY, METRICS)
    assert target.read_text(encoding="utf-8") == render(SUMMARY, PRIVACY, METRICS)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_where_it_cannot_be_written_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="cannot be written"):
        write_report(tmp_path / "absent" / "report.html", SUMMARY, PRIVACY, METRICS)
    occupied = tmp_path / "report.html"
    occupied.mkdir()
    (occupied / "kept").write_text("kept")
    with pytest.raises(AuditError, match="cannot be written"):
        write_report(occupied, SUMMARY, PRIVACY, METRICS)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, ["Strength: moderate", "e^5.00 = 147"], ["Warning"]),
        ({"epsilon": 0.5}, ["Strength: strong"], []),
        (
            {"epsilon": 14.4, "warnings": ["epsilon above 10 is weak"]},
            ["Strength: weak", "Warning: epsilon above 10"],
            [],
        ),
        ({"epsilon": 1e9}, ["Strength: none", "the bound says nothing"], ["e+", "e^"]),
        ({"delta": 0.5}, ["Strength: none", "the bound says nothing"], ["e^"]),
        ({"unit": "simulated client"}, ["any one simulated client's dialogues"], []),
    ],
)
def test_the_guarantee_is_as_strong_as_its_numbers(changes: dict[str, Any], said: list[str], unsaid: list[str]) -> None:
    page = Reader(render(SUMMARY, {**PRIVACY, **changes}, METRICS)).text
    told = page.partition("The guarantee")[2].partition("ε spent")[0]
    assert all(each in told for each in [*said, "Ponomareva"]) and not any(each in told for each in unsaid)


def test_what_holds_for_a_person_is_a_table_of_its_own() -> None:
    rows = [
        {"who": "5 dialogues", "dialogues": 5, "epsilon": 9.134, "strength": "moderate", "best_guess": "99.99 %"},
        {"who": "the most of any client", "dialogues": 1200, "epsilon": None, "strength": "none"},
        None,
    ]
    page = Reader(render(SUMMARY, {**PRIVACY, "person": rows, "person_note": "counted without noise"}, METRICS)).text
    told = page.partition("For one person")[2].partition("ε spent")[0]
    assert "ε = 9.14, moderate" in told and "1,200" in told and "no meaningful bound" in told
    assert "Counted without noise." in told


def test_a_quiz_is_shown_where_it_was_asked_and_a_score_that_is_missing_says_so() -> None:
    scores = {"house": {"questions": 66, "right": 0.515, "bits": 7.24}, "trained": {"right": 0.0, "bits": 51.0}}
    page = render({**SUMMARY, "quiz": {"models": {"after <b>": scores}}}, PRIVACY, METRICS)
    (row,) = re.findall(r"after &lt;b&gt;</th>(.*?)</tr>", page)
    assert re.findall("<td>(.*?)</td>", row) == ["51.5%, 7.2 bits", "0.0%, 51.0 bits", MISSING]
    assert "of the house" not in render(SUMMARY, PRIVACY, METRICS)
