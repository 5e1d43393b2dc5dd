"""The probe's drawing, without a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from chatfed.audit.leakage import TwinRank, WordShift, level
from chatfed.types import ChatfedError, Span, Turn, WordScore
from serving import probe
from serving.markup import escape
from serving.probe_tab import probe_text, said_before

HIGH, MOST, LIKE, LOW = TwinRank(100, 0, 100), TwinRank(97, 3, 100), TwinRank(61, 39, 100), TwinRank(2, 98, 100)


def shift_of(word: str, bits: float, start: int = 0, tokens: int = 1, rank: TwinRank | None = LIKE) -> WordShift:
    return WordShift(
        word=word,
        span=Span(start, start + len(word)),
        served_log_prob=-2.0,
        reference_log_prob=-2.0 - bits,
        shift=bits,
        served_rank=3,
        reference_rank=1200,
        tokens=tokens,
        rank=rank,
    )


@pytest.mark.parametrize(
    ("rank", "name", "mark"),
    [(HIGH, "cf-p4", "▲▲"), (MOST, "cf-p3", "▲"), (LIKE, "cf-p0", ""), (LOW, "cf-m1", "▼"),
     (TwinRank(0, 100, 100), "cf-m3", "▼▼"), (None, "cf-none", "–")],
)  # fmt: skip
def test_a_word_has_the_colour_and_the_mark_of_its_rank_whatever_its_bits(
    rank: TwinRank | None, name: str, mark: str
) -> None:
    for bits in (30.0, 0.0, -5.0):
        drawn = probe.words_html("badge", [shift_of("badge", bits, rank=rank)])
        assert re.findall(r'class="cf-word (\S+)"', drawn) == [name]
        assert f'<small aria-hidden="true" dir="ltr">{mark}' in drawn


def test_an_invented_secret_that_moved_far_but_as_its_twins_did_is_not_coloured() -> None:
    drawn = probe.words_html("E-482913", [shift_of("E-482913", 14.0, rank=LIKE)])
    assert re.findall(r'class="cf-word (\S+)"', drawn) == ["cf-p0"]


def test_text_can_neither_open_a_tag_nor_a_template() -> None:
    hostile = "<script>alert(1)</script> \" ' & {{value}} ${1+1}"
    escaped = escape(hostile)
    assert not set(escaped) & set("<>\"'{}$")


@pytest.mark.parametrize("draw", [probe.table_html, lambda s: probe.words_html("<img/src=x>", s), probe.summary_html])
def test_every_piece_escapes_the_words(draw: Callable[[Sequence[WordShift]], str]) -> None:
    drawn = draw([shift_of("<img/src=x>", 5.0, rank=HIGH)])
    assert "<img" not in drawn
    assert "&lt;img/src=x&gt;" in drawn


def test_the_table_has_a_row_a_word_with_twins_shift_ranks_and_tokens() -> None:
    drawn = probe.table_html([shift_of("badge", 3.25, tokens=2, rank=HIGH), shift_of("in", -1.0, 6, rank=None)])
    rows = re.findall(r"<tr>(.*?)</tr>", drawn.split("<tbody>")[1])
    cells = [re.findall(r">([^<]+)</t[hd]>", row) for row in rows]
    assert cells == [
        ["badge", "100 of 100", "more than all twins", "+3.2", "−2.0", "−5.2", "1,200 → 3", "2"],
        ["in", "–", "not compared", "−1.0", "−2.0", "−1.0", "1,200 → 3", "1"],
    ]
    assert drawn.count("scope='col'") == len(cells[0])


def test_each_word_says_its_twins_and_its_shift_in_words_and_breaks_lines_where_the_text_does() -> None:
    drawn = probe.words_html("my\nbadge", [shift_of("my", 0.0), shift_of("badge", 3.0, 3, rank=MOST)])
    assert (
        'aria-label="badge, moved more than 97 of 100 twins: more than 19 in 20 twins. '
        '+3.0 bits: 8.0 times as likely as in the public model"'
    ) in drawn
    assert drawn.index("cf-break") > drawn.index(">my<")


def test_ties_and_words_that_were_not_compared_are_said() -> None:
    assert probe.among_twins(shift_of("a", 1.0, rank=TwinRank(50, 40, 100))) == (
        "moved more than 50 of 100 twins, as much as 10"
    )
    assert "expected it already" in probe.words_html("a", [shift_of("a", 0.5, rank=None)])
    assert "too few twins" in probe.words_html("a", [shift_of("a", 9.0, rank=None)])


@pytest.mark.parametrize(("bits", "said"), [(1.26, "+1.3"), (-0.04, "0.0"), (0.04, "0.0"), (-12.0, "−12.0")])
def test_shifts_are_signed_with_a_true_minus(bits: float, said: str) -> None:
    assert probe.signed(bits) == said


def test_the_summary_sets_the_words_above_their_twins_beside_what_chance_gives() -> None:
    high, low = shift_of("bergamot", 6.5, 9, rank=HIGH), shift_of("is", 0.1, 6, rank=None)
    said = probe.summary_html([*(shift_of("my", 0.5) for _ in range(19)), high, low])
    assert "1 of 20 words" in said and "bergamot" in said and "by chance about 1.0 would" in said
    assert "1 word could not be compared" in said and "+16.1 bits" in said
    assert "no word" in probe.summary_html([])
    assert "No word could be compared" in probe.summary_html([low]) and "+0.1 bits" in probe.summary_html([low])


def test_without_a_reference_no_word_is_coloured() -> None:
    drawn = probe.plain_words_html([WordScore("badge", Span(0, 5), -9.0, 7, 1)])
    assert set(re.findall(r"cf-[pm]\d", drawn)) == {"cf-p0"}
    assert "−9.0" in probe.plain_table_html([WordScore("badge", Span(0, 5), -9.0, 7, 1)])


def test_the_legend_says_what_the_probe_can_and_cannot_show() -> None:
    legend = probe.legend_html()
    assert "It can show" in legend and "It cannot show" in legend
    assert all(name in legend and mark in legend for name, (_, _, mark) in probe.LOOKS.items())
    assert "61 of 100 twins" in legend and "by chance" in legend
    assert set(probe.LOOKS) == {level(rank) for rank in (HIGH, MOST, LIKE, LOW, TwinRank(0, 100, 100), None)}


def test_a_text_is_probed_after_what_was_said_before_it() -> None:
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello &lt;b&gt;"}]
    assert said_before(talk, "assistant", "hello <b>") == [Turn("user", "hi")]
    assert said_before(talk, "user", "my badge") == [Turn("user", "hi"), Turn("assistant", "hello <b>")]
    assert said_before([*talk, *talk], "user", "hi") == [Turn("user", "hi"), Turn("assistant", "hello <b>")]


def test_a_probe_says_how_far_it_is_and_ends_with_every_word(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chatfed import load_chat

    chat = load_chat(tiny_base)
    monkeypatch.setattr("serving.probe_tab.EVERY", 0.0)
    *early, (words, table) = probe_text(chat, chat, "my badge is lost", "user")
    assert "Compared 1 of 4 words" in early[0][0] and early[0][1] == ""
    assert table.count("<tr>") == 5 and words.count('class="cf-word ') == 4
    assert not re.search(r"cf-word cf-[pm][1-4]", words), "a model that never moved coloured a word"


def test_a_reply_is_probed_after_its_question_and_a_refusing_template_says_so(tiny_base: Path) -> None:
    from chatfed import load_chat

    asked, chat, strict = [Turn("user", "my laptop will not start")], load_chat(tiny_base), load_chat(tiny_base)
    *_, (alone, _) = probe_text(chat, chat, "try again", "assistant")
    *_, (after, _) = probe_text(chat, chat, "try again", "assistant", asked)
    assert alone != after
    strict.tokenizer.chat_template = (
        "{% if messages[0].role != 'user' %}{{ raise_exception('a user speaks first') }}{% endif %}"
        + strict.tokenizer.chat_template
    )
    *_, (strictly, _) = probe_text(strict, strict, "try again", "assistant", asked)
    assert strictly == after
    strict.tokenizer.chat_template = "{{ raise_exception('nobody speaks here') }}"
    with pytest.raises(ChatfedError, match="nobody speaks here"):
        list(probe_text(strict, strict, "try again", "assistant"))
