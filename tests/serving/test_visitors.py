"""What visitors of the page are told of words: verdicts, and none of the numbers behind them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from chatfed import load_chat
from chatfed.audit.leakage import TwinRank
from chatfed.audit.words import Finding, Text
from serving import probe_verdicts
from serving.page import build_page
from serving.probe_tab import judge_text, probe_text
from serving.run_folder import RunFolder
from serving.texts import read_texts
from tests.serving.calibrations import a_calibration
from tests.serving.page_server import NOTHING, Parrot
from tests.serving.test_findings import judged
from tests.serving.test_probe import shift_of


def seen(drawn: str) -> str:
    """All of it but the names of colours and headings: also what a script could read."""
    return re.sub(r"cf-[a-z]+\d?|tabindex=\"0\"|</?h\d>|&#\d+;|&#x\w+;", "", drawn)


def test_a_word_among_its_twins_has_a_verdict_and_no_number() -> None:
    ranks = (TwinRank(100, 0, 100), TwinRank(97, 3, 100), TwinRank(61, 39, 100), TwinRank(2, 98, 100), None)
    drawn = probe_verdicts.compared_html("a", [shift_of("a", 7.25, rank=rank) for rank in ranks])
    said = re.findall(r'data-finding="([^"]+)"', drawn)
    assert said == ["out", "out", "like", "like", "none"]
    assert "2 stands out, 2 does not stand out, 1 not compared" in drawn
    assert not re.search(r"\d", seen(drawn.partition("</p>")[2]))
    assert all(probe_verdicts.compared_html("a", [shift_of("a", bits)]) == probe_verdicts.compared_html(
        "a", [shift_of("a", 0.0)]) for bits in (3.0, -40.0)), "the bits can be read off"  # fmt: skip


@pytest.mark.parametrize("finding", list(Finding))
def test_a_judged_word_has_its_meaning_in_words_and_no_number(finding: Finding) -> None:
    drawn = probe_verdicts.judged_html("a", Text([judged("<b>", finding, 0.0004)], 0.05, 1, 1, 1))
    meaning = probe_verdicts.FINDINGS[finding].meaning(read_texts())
    assert str(finding) in drawn and meaning in drawn and "&lt;b&gt;" in drawn
    assert not re.search(r"\d", seen(drawn).replace("1 " + finding, "").replace("5%", ""))
    assert "There is no word in this text" in probe_verdicts.judged_html("", Text([], 0.05, 0, 0, 0))


def test_visitors_get_verdicts_at_the_fixed_level_and_no_table(tiny_base: Path, tmp_path: Path) -> None:
    for name in ("model", "reference"):
        (tmp_path / name).symlink_to(tiny_base, target_is_directory=True)
    chat, calibration = load_chat(tiny_base), a_calibration(tmp_path)
    asked = (chat, chat, calibration, "please check the cable", "assistant")
    words, table = judge_text(*asked, allowed=0.5, operator=False)
    assert (words, table) == judge_text(*asked, operator=False) and table == "" and "bits" not in words
    for reference in (chat, None):
        *_, (words, table) = probe_text(chat, reference, "my badge", "user", operator=False)
        assert table == "" and not re.search("bits|twins|data-shift", words)


@pytest.mark.parametrize("operator", [False, True])
def test_the_slider_and_the_percentages_are_the_operators(operator: bool, tiny_base: Path, tmp_path: Path) -> None:
    for name in ("model", "reference"):
        shutil.copytree(tiny_base, tmp_path / name)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "words.npz").write_bytes(a_calibration(tmp_path).to_bytes())
    chat, reference = (load_chat(tmp_path / name) for name in ("model", "reference"))
    run = RunFolder(model=tmp_path / "model", reference=None, privacy=None, summary=None, metrics=())
    page: Any = build_page(chat, reference, run, operator=operator)
    (show,) = {len(each.inputs) for each in page.fns.values() if getattr(each.fn, "__name__", "") == "show"}
    assert show == 4 + operator  # the guard refuses a call with another number of inputs
    legend = " ".join(str(block.value) for block in page.blocks.values() if type(block).__name__ == "HTML")
    assert ("slider says" in legend) == operator


def test_next_words_show_visitors_no_percentages() -> None:
    for operator, label in ((False, "then"), (True, "then  50 %")):
        page: Any = build_page(Parrot(), None, NOTHING, operator=operator)  # type: ignore[arg-type]
        suggest = next(each.fn for each in page.fns.values() if getattr(each.fn, "__name__", "") == "suggest")
        assert suggest("and", [], 20, "")[0]["value"] == label
