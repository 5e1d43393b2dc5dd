"""The probe's drawing, without a browser."""

from __future__ import annotations

import re

import pytest

from chatfed.audit.leakage import WordShift
from chatfed.types import Span, WordScore
from serving import probe


def shift_of(word: str, bits: float, start: int = 0, tokens: int = 1) -> WordShift:
    return WordShift(
        word=word,
        span=Span(start, start + len(word)),
        served_log_prob=-2.0,
        reference_log_prob=-2.0 - bits,
        shift=bits,
        served_rank=3,
        reference_rank=1200,
        tokens=tokens,
    )


@pytest.mark.parametrize(
    ("bits", "name"),
    [(30, "cf-p4"), (8, "cf-p4"), (7.9, "cf-p3"), (2.5, "cf-p2"), (1, "cf-p1"), (0.9, "cf-p0"), (-1, "cf-p0"),
     (0, "cf-p0"), (-1.1, "cf-m1"), (-3, "cf-m2"), (-50, "cf-m3"), (float("nan"), "cf-p0")],
)  # fmt: skip
def test_a_shift_has_the_same_colour_in_every_text(bits: float, name: str) -> None:
    assert probe.colour_class(bits) == name


def test_text_can_neither_open_a_tag_nor_a_template() -> None:
    hostile = "<script>alert(1)</script> \" ' & {{value}} ${1+1}"
    escaped = probe.escape(hostile)
    assert not set(escaped) & set("<>\"'{}$")


@pytest.mark.parametrize("draw", [probe.table_html, lambda s: probe.words_html("<img/src=x>", s), probe.summary_html])
def test_every_piece_escapes_the_words(draw) -> None:
    drawn = draw([shift_of("<img/src=x>", 5.0)])
    assert "<img" not in drawn
    assert "&lt;img/src=x&gt;" in drawn


def test_the_table_has_a_row_a_word_with_shift_ranks_and_tokens() -> None:
    drawn = probe.table_html([shift_of("badge", 3.25, tokens=2), shift_of("in", -1.0, 6)])
    rows = re.findall(r"<tr>(.*?)</tr>", drawn.split("<tbody>")[1])
    cells = [re.findall(r">([^<]+)</t[hd]>", row) for row in rows]
    assert cells == [
        ["badge", "+3.2", "−2.0", "−5.2", "1,200 → 3", "2"],
        ["in", "−1.0", "−2.0", "−1.0", "1,200 → 3", "1"],
    ]


def test_each_word_says_its_shift_in_words_and_breaks_lines_where_the_text_does() -> None:
    drawn = probe.words_html("my\nbadge", [shift_of("my", 0.0), shift_of("badge", 3.0, 3)])
    assert 'aria-label="badge, +3.0 bits: 8.0 times as likely as in the public model"' in drawn
    assert drawn.index("cf-break") > drawn.index(">my<")


@pytest.mark.parametrize(("bits", "said"), [(1.26, "+1.3"), (-0.04, "0.0"), (0.04, "0.0"), (-12.0, "−12.0")])
def test_shifts_are_signed_with_a_true_minus(bits: float, said: str) -> None:
    assert probe.signed(bits) == said


def test_the_summary_adds_the_shifts_up_and_names_the_highest() -> None:
    said = probe.summary_html([shift_of("my", 0.5), shift_of("bergamot", 6.5, 3)])
    assert "+7.0 bits" in said and "+3.5" in said and "bergamot" in said
    assert "no word" in probe.summary_html([])


def test_without_a_reference_no_word_is_coloured() -> None:
    drawn = probe.plain_words_html([WordScore("badge", Span(0, 5), -9.0, 7, 1)])
    assert set(re.findall(r"cf-[pm]\d", drawn)) == {"cf-p0"}
    assert "−9.0" in probe.plain_table_html([WordScore("badge", Span(0, 5), -9.0, 7, 1)])


def test_the_legend_says_what_the_probe_can_and_cannot_show() -> None:
    legend = probe.legend_html()
    assert "It can show" in legend and "It cannot show" in legend
    assert all(name in legend for _, name, _ in probe.SCALE)
