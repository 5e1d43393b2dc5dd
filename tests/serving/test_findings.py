"""The calibrated probe's drawing and what it loads, without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chatfed import load_chat
from chatfed.audit.leakage import AuditError, WordShift
from chatfed.audit.words import Calibration, Finding, Judged, Text
from chatfed.types import Span
from serving import findings
from serving.calibration import FILE, MISSING, find_calibration
from serving.probe_tab import judge_text
from tests.serving.calibrations import a_calibration


def judged(word: str, finding: Finding, p_value: float | None = None, start: int = 0) -> Judged:
    span = Span(start, start + len(word))
    return Judged(WordShift(word, span, -0.5, -19.5, 19.0, 1, 1200, 3), finding, p_value)


@pytest.fixture(scope="module")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder whose model is its reference, with a calibration."""
    folder = tmp_path_factory.mktemp("calibrated")
    for name in ("model", "reference"):
        (folder / name).symlink_to(tiny_base, target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def calibration(run: Path) -> Calibration:
    return a_calibration(run)


def test_every_finding_has_a_colour_a_mark_or_none_and_a_rule_in_the_legend(calibration: Calibration) -> None:
    legend = findings.legend_html(calibration)
    assert set(findings.LOOKS) == set(Finding)
    marks = [mark for _, mark in findings.LOOKS.values()]
    assert len(set(marks)) == len(marks), "two findings look the same to eyes that see no colours"
    for finding, (colour, mark) in findings.LOOKS.items():
        drawn = findings.words_html("a", [judged("a", finding)])
        assert re.findall(r'class="cf-word (\S+)"', drawn) == [colour] and str(finding) in drawn and mark in drawn
        assert finding in legend and findings.meaning(finding) in legend.replace("&#x27;", "'")
    assert "It cannot show" in legend and "120 clients" in legend


def test_a_word_says_what_was_found_by_what_chance_and_how_far_it_moved() -> None:
    drawn = findings.words_html("my\nE-48", [judged("my", Finding.PUBLIC), judged("E-48", Finding.LEAKED, 0.0004, 3)])
    assert 'aria-label="E-48, leaked: ' in drawn and "Chance of so much: 1 in 2,500. +19.0 bits" in drawn
    assert "▲▲ leaked" in drawn and drawn.index("cf-break") > drawn.index(">my<")
    table = findings.table_html([judged("E-48", Finding.LEAKED, 0.0004)])
    cells = re.findall(r">([^<]+)</t[hd]>", table.split("<tbody>")[1])
    assert cells == ["E-48", "leaked", "1 in 2,500", "+19.0", "−0.5", "−19.5", "1,200 → 1", "3"]


@pytest.mark.parametrize("draw", [findings.table_html, lambda words: findings.words_html("<img/src=x>", words)])
def test_every_piece_escapes_the_words(draw: object) -> None:
    drawn = draw([judged("<img/src=x>", Finding.LEAKED, 0.001)])  # type: ignore[operator]  # one of the two above
    assert "<img" not in drawn and "&lt;img/src=x&gt;" in drawn


def test_the_summary_counts_finds_and_says_what_they_are_worth(calibration: Calibration) -> None:
    words = [judged("E-48", Finding.LEAKED, 0.0004), judged("so", Finding.PUBLIC), judged("dr", Finding.LEAKED, 0.01)]
    said = findings.summary_html(Text(words, 0.05, 2, 2, 1), calibration)
    assert "2 of 2 words tested" in said and "With 90% confidence at most 1 of these are false" in said
    assert "wherever the slider stands, if the other words score as they would without the leaked ones" in said
    assert "at most 5% would have shown any" in said and "1 public" in said
    assert "none of these is false" in findings.summary_html(Text(words, 0.05, 2, 2, 0), calibration)
    none = findings.summary_html(Text([judged("a", Finding.UNMOVED, 0.5)], 0.05, 1, 0, 0), calibration)
    assert "0 of 1 word tested" in none and "Of texts in which nothing leaked at most 5%" in none
    assert "No word could be tested" in findings.summary_html(
        Text([judged("a", Finding.PUBLIC)], 0.05, 0, 0, 0), calibration
    )
    assert "no word in this text" in findings.summary_html(Text([], 0.05, 0, 0, 0), calibration)
    assert "allow 1.6% or more" in findings.summary_html(Text(words, 0.01, 2, 0, 0), calibration)


def test_the_calibration_beside_the_model_is_found_and_another_models_is_not(
    run: Path, calibration: Calibration
) -> None:
    chat, reference = load_chat(run / "model"), load_chat(run / "reference")
    file = chat.path.resolve().parent / FILE if chat.path else Path()
    assert find_calibration(chat, reference).why_not == MISSING
    try:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(calibration.to_bytes())
        found = find_calibration(chat, reference)
        assert found.calibration is not None and found.calibration.level(0.05) == calibration.level(0.05)
        assert find_calibration(chat, None).calibration is None
        other = Calibration(
            type(calibration.pair)("00" * 32, calibration.pair.reference),
            *(calibration.familiar, calibration.usual, calibration.texts),
        )
        file.write_bytes(other.to_bytes())
        assert "of other models" in find_calibration(chat, reference).why_not
        file.write_bytes(b"nothing")
        assert "cannot be read" in find_calibration(chat, reference).why_not
    finally:
        file.unlink(missing_ok=True)


def test_a_text_is_judged_after_what_was_said_before_it(run: Path, calibration: Calibration) -> None:
    chat = load_chat(run / "model")
    words, table = judge_text(chat, chat, calibration, "please check the cable now", "assistant")
    assert table.count("<tr>") == 6 and words.count('class="cf-word ') == 5
    assert "leaked" not in set(re.findall(r'data-finding="([^"]+)"', words)), "a model that never moved leaked"
    assert judge_text(chat, chat, calibration, " ", "user") == (
        findings.summary_html(Text([], 0.05, 0, 0, 0), calibration),
        "",
    )
    with pytest.raises(AuditError, match="above 0 and below 1"):
        judge_text(chat, chat, calibration, "a", "user", allowed=3.0)
