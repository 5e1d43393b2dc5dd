"""What members hold out to measure with: chosen by each alone, from what a dialogue says and whose it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatfed.data.dialogue import DialogueTable, read_dialogues
from chatfed.data.partition import by_client
from chatfed.data.values import DataError
from chatfed.types import ClientId
from training.base.corpus import hold_out_of_each, load_corpus
from training.plan.recipe import DataSection

Rows = list[tuple[str, str]]  # whose, and what it says
PLACE = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 10**6).map(str)), min_size=1, max_size=40)


def table(path: Path, rows: Rows) -> DialogueTable:
    lines = [{"client_id": who, "messages": [{"role": "user", "content": said}]} for who, said in rows]
    path = path / f"{os.urandom(8).hex()}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_dialogues(str(path), client_column="client_id")


def split(path: Path, rows: Rows, share: float) -> tuple[Rows, Rows]:
    """What is learned from, and what is held out."""
    private = table(path, rows)
    assert private.client_ids is not None
    training, apart = hold_out_of_each(private, by_client(private.client_ids), share)
    learned = sorted(place for places in training.values() for place in places)
    assert sorted([*learned, *apart]) == list(range(len(rows))), "each dialogue has one part"
    assert all(rows[place][0] == who for who, places in training.items() for place in places)
    return [rows[place] for place in learned], [rows[place] for place in apart]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=PLACE, share=st.floats(0.01, 0.5), owner=st.sampled_from("abcd"), at=st.integers(0, 39))
def test_each_dialogue_has_one_part_and_no_other_dialogue_moves_it(
    tmp_path: Path, rows: Rows, share: float, owner: str, at: int
) -> None:
    learned, apart = split(tmp_path, rows, share)
    mine = [row for row in rows if row[0] == owner]
    if mine:  # a client alone, and one that names its owner itself
        assert split(tmp_path, mine, share) == tuple(
            [row for row in part if row[0] == owner] for part in (learned, apart)
        )
        private = table(tmp_path, mine)
        _, alone = hold_out_of_each(private, {ClientId(owner): np.arange(len(mine))}, share)
        assert [mine[place] for place in alone] == [row for row in apart if row[0] == owner]
    fewer = rows[:at] + rows[at + 1 :]
    if fewer:
        less_learned, less_apart = split(tmp_path, fewer, share)
        assert set(less_learned) <= set(learned) and set(less_apart) <= set(apart)
    more, _ = split(tmp_path, rows, share / 2)
    assert set(learned) <= set(more), "a smaller share holds out some of the same"


def test_about_the_share_that_is_asked_for_is_held_out(tmp_path: Path) -> None:
    rows = [(f"c{i % 4}", f"dialogue {i}") for i in range(2000)]
    for share in (0.1, 0.5):
        _, apart = split(tmp_path, rows, share)
        assert len(apart) == pytest.approx(2000 * share, abs=5 * (2000 * share * (1 - share)) ** 0.5)


def test_the_owner_is_part_of_the_choice(tmp_path: Path) -> None:
    """Else whoever writes a dialogue would know for all who copy it whether it is measured."""
    rows = [(who, f"dialogue {i}") for i in range(60) for who in "ab"]
    _, apart = split(tmp_path, rows, 0.5)
    held = [{said for who, said in apart if who == name} for name in "ab"]
    assert held[0] != held[1] and held[0] & held[1]


def test_a_corpus_of_one_owner_holds_out_what_that_owner_does_among_others(tmp_path: Path) -> None:
    rows = [(f"c{i % 3}", f"some words of dialogue {i}") for i in range(60)]
    path = tmp_path / "all.jsonl"
    lines = [{"client_id": who, "messages": [{"role": "user", "content": said}]} for who, said in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    whole = load_corpus(DataSection(source=str(path), hold_out=0.3), False, tmp_path)
    held = [dialogue.messages[0].content for dialogue in whole.held_out]
    for owner in ("c0", "c1", "c2"):
        mine = tmp_path / f"{owner}.jsonl"
        mine.write_text("".join(json.dumps(line) + "\n" for line in lines if line["client_id"] == owner))
        alone = load_corpus(DataSection(source=str(mine), hold_out=0.3), False, tmp_path, owner=ClientId(owner))
        said = {text for who, text in rows if who == owner}
        assert [dialogue.messages[0].content for dialogue in alone.held_out] == [text for text in held if text in said]
        assert list(alone.clients) == [owner] and len(alone.clients[ClientId(owner)]) + len(alone.held_out) == len(said)
        assert not alone.dealt


def test_held_out_dialogues_are_given_by_one_way_alone(tmp_path: Path) -> None:
    path, other = tmp_path / "all.jsonl", tmp_path / "other.jsonl"
    for file, what in ((path, "one"), (other, "two")):
        file.write_text(
            "".join(json.dumps({"messages": [{"role": "user", "content": f"{what} {i}"}]}) + "\n" for i in range(9))
        )
    settings = DataSection(source=str(path), validation=str(other), hold_out=0.3)
    with pytest.raises(DataError, match="--validation gives held-out dialogues") as refused:
        load_corpus(settings, False, tmp_path)
    assert refused.value.param == "data.hold_out"
