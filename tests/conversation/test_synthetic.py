"""What is said of a synthetic copy, and that a copy is what its provenance speaks of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chatfed.conversation.synthetic import (
    DIALOGUES,
    PROVENANCE,
    NoCopy,
    Provenance,
    card,
    digest,
    exchanges_of,
    foreign_in,
    read_copy,
    repeated,
    to_lines,
)
from chatfed.types import Turn

ASK, ANSWER = Turn("user", 'Where is "R-20"?\nToday.'), Turn("assistant", "Über the yard \u2028 left.")
CLAIM = {
    "epsilon": 7.99, "delta": 1e-5, "unit": "dialogue", "adjacency": "add or remove one", "sampling": "Poisson",
    "accountant": "PLD", "holds_against": "whoever sees the sums only", "assumptions": ["A is so"],
    "excludes": ["B is not counted"],
}  # fmt: skip
LINES = to_lines([[ASK, ANSWER], [ASK, ANSWER, Turn("user", "Thanks"), Turn("assistant", "My pleasure.")]])
TOLD = Provenance(
    2, 1, 0, "ab" * 16, "cd" * 32, "ef" * 32, CLAIM, 0, 1.0, 1.0, 1, "0.1.0", "2026-11-29", digest(LINES)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / DIALOGUES).write_bytes(LINES)
    (tmp_path / PROVENANCE).write_text(json.dumps(TOLD.to_json()))
    return tmp_path


def test_a_copy_is_read_as_it_was_written(folder: Path) -> None:
    texts, told = read_copy(folder)
    assert texts[0] == (ASK, ANSWER) and len(texts[1]) == 4 and told == TOLD


def test_the_card_says_the_whole_claim_and_that_synthetic_is_not_anonymous() -> None:
    said = card(TOLD)
    words = [
        "7.99", "1e-05", "dialogue", "add or remove one", "Poisson", "PLD", "whoever sees the sums only", "A is so",
        "B is not counted", "no further epsilon", "not anonymous", "2011.07018", "2407.07926",
    ]  # fmt: skip
    assert [word for word in words if word not in said] == []


def test_what_decided_the_lengths_is_said_as_it_was() -> None:
    asked = replace(TOLD, exchanges=3)
    public, ours = "public text's numbers", "asked for, 3"
    for told, words, others in ((TOLD, public, ours), (asked, ours, public)):
        for said in (card(told), told.to_json()["why"]):
            assert words in said and others not in said
    assert "ef" * 32 in card(TOLD)  # tokenizer and template decide words as weights do


def test_what_no_copy_has_is_named(folder: Path) -> None:
    assert foreign_in(folder) == ""
    (folder / "README.md").write_text(card(TOLD))
    assert foreign_in(folder) == ""
    (folder / "thesis.odt").write_text("years of work")
    assert "'thesis.odt'" in foreign_in(folder)
    (folder / "thesis.odt").unlink()
    (folder / PROVENANCE).write_text('{"schema": 1, "seed": 3}')  # another program's
    assert "provenance.json" in foreign_in(folder)
    assert foreign_in(folder / DIALOGUES) == "it is no folder"


def test_of_a_model_without_noise_nothing_is_claimed() -> None:
    told = replace(TOLD, claim={"epsilon": None, "delta": None})
    assert told.to_json()["further_epsilon"] is None
    said = card(told)
    assert said.startswith("# SYNTHETIC WITHOUT PRIVACY") and "no further epsilon" not in said
    assert "differential privacy" not in said.split("## What that does not mean")[0]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        (DIALOGUES, lambda raw: raw.replace(b"yard", b"park")),
        (DIALOGUES, lambda raw: raw[:-1]),
        (PROVENANCE, lambda raw: raw[:-1]),
        (PROVENANCE, lambda raw: raw.replace(b'"schema": 2', b'"schema": 1')),
        (PROVENANCE, lambda raw: b"[]"),
    ],
)
def test_another_copy_than_provenance_speaks_of_is_refused(folder: Path, name: str, spoil) -> None:  # type: ignore[no-untyped-def]
    (folder / name).write_bytes(spoil((folder / name).read_bytes()))
    with pytest.raises(NoCopy, match=r"copy anew|chatfed synthesise"):
        read_copy(folder)


def test_a_folder_without_a_copy_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoCopy, match=str(tmp_path)):
        read_copy(tmp_path)


def test_exchanges_are_questions_that_are_answered() -> None:
    system = Turn("system", "Be kind.")
    assert exchanges_of([[system, ASK, ANSWER, ASK, ASK, ANSWER], [ANSWER, ASK], [ASK] * 3]).tolist() == [2]


def test_repeats_are_counted_once_each() -> None:
    assert repeated([[ASK, ANSWER], [ASK], [ASK, ANSWER], [ASK, ANSWER]]) == 2
