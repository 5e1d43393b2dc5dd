"""The table of docs/choosing.md: who gets which dialogues, what is kept of a run, and what the page shows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import choosing
from benchmarks.choosing import CELLS, Cell, between_marks, dealt, plainly, run_all, settings, table, written
from benchmarks.utility import RECIPES
from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk import generate, read, write
from chatfed.types import ChatfedError, ClientId, InvalidValue, Turn
from training.plan.plan import resolve
from training.plan.recipe import load_recipe

DEFAULT = RECIPES / "default.toml"


def said(person: str, count: int) -> list[Dialogue]:
    return [Dialogue((Turn("user", f"{person} says {at}"),), ClientId(person)) for at in range(count)]


def test_a_client_gets_one_persons_dialogues_or_several_persons_and_nobody_is_at_two() -> None:
    persons = [*said("a", 4), *said("b", 2), *said("c", 5), *said("d", 3)]
    shared = list(dealt(persons, Cell(2, 5), set()))
    texts = [(each.client_id, each.messages[0].content) for each in shared]
    assert texts == [
        *(("client-0001", f"a says {at}") for at in range(4)),
        ("client-0001", "b says 0"),
        *(("client-0002", f"c says {at}") for at in range(5)),
    ]
    assert [each.messages[0].content for each in dealt(persons, Cell(3, 2), set())][::2] == [
        "a says 0",
        "b says 0",
        "c says 0",
    ]


def test_what_stands_elsewhere_is_nobodys_and_the_next_one_takes_its_place() -> None:
    shared = dealt(said("a", 4), Cell(1, 3), {"a says 1"})
    assert [each.messages[0].content for each in shared] == ["a says 0", "a says 2", "a says 3"]
    assert plainly(Dialogue((Turn("user", " A  says\n1 "),))) == "a says 1"


@pytest.mark.parametrize("cell", [Cell(1, 5), Cell(2, 2)])
def test_too_few_persons_are_an_error_and_no_smaller_cell(cell: Cell) -> None:
    with pytest.raises(InvalidValue, match="generate more persons"):
        list(dealt(said("a", 4), cell, set()))


def test_a_cells_file_has_exactly_so_many_dialogues_of_so_many_clients(tmp_path: Path) -> None:
    write(generate(3, clients=4, held_out_clients=1, public_dialogues=5), tmp_path / "house")
    path = written(Cell(3, 70), tmp_path / "house", 3, tmp_path)
    of = Counter(each.client_id for each in read(path.parent).private)
    assert len(of) == 3 and set(of.values()) == {70}


def test_cells_go_from_small_to_large_and_each_is_a_recipe_that_can_be_planned() -> None:
    assert [cell.size for cell in CELLS] == sorted(n * each for n in (50, 400, 1000) for each in (5, 35, 200))
    for cell in CELLS:
        recipe = load_recipe(DEFAULT, settings(cell, Path("mine.jsonl"), Path("house"), 0.72))
        assert recipe.privacy.expected_batch_size == pytest.approx(0.72 * cell.dialogues)
        assert recipe.data.public == "house/public.jsonl"
        assert resolve(recipe, cell.clients).agreement.schedule.cohort == min(160, cell.clients)


def scores(value: float, top1: float) -> dict[str, Any]:
    return {"bits_per_byte": value, "top1": top1}


def found(value: float, verdict: str = "learned", base: float = 2.5) -> dict[str, Any]:
    return {"before": scores(base, 0.29), "after": scores(value, 0.31), "verdict": verdict}


def test_the_table_shows_every_cell_and_says_which_did_not_learn() -> None:
    lines = table({"50x5": found(2.4, "did not learn"), "400x35": found(1.5), "1000x5": {"refused": "no"}})
    assert lines[0] == "Bits a byte, and next word right. The public base: 2.500, 29.0%."
    assert lines[2:] == [
        "| | 5 dialogues each | 35 dialogues each | 200 dialogues each |",
        "|---|--:|--:|--:|",
        "| 50 clients | 2.400, 31.0% (did not learn) | – | – |",
        "| 400 clients | – | 1.500, 31.0% | – |",
        "| 1,000 clients | refused | – | – |",
    ]
    with pytest.raises(InvalidValue, match="different bases"):
        table({"50x5": found(2.4), "400x35": found(1.5, base=2.6)})


def test_what_is_kept_of_a_run_leaves_its_total_out_of_the_seconds() -> None:
    summary = {**found(1.5), "comparison": {"verdict": "learned"}, "epsilon": 7.9, "seconds": {"data": 2, "total": 2}}
    kept = choosing.kept(summary, {"found": [9, 4]})
    assert (kept["seconds"], kept["found"], kept["verdict"], kept["after"]["top1"]) == (2, [9, 4], "learned", 0.31)
    assert choosing.kept(summary, {})["found"] is None


def test_a_finished_cell_is_read_and_one_of_another_recipe_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[str] = []

    def measured(cell: Cell, *_: object) -> dict[str, Any]:
        if len(run) == 2:
            raise KeyboardInterrupt
        run.append(cell.name)
        return found(1.5)

    monkeypatch.setattr(choosing, "measured", measured)
    with pytest.raises(KeyboardInterrupt):
        run_all(CELLS[:4], DEFAULT, [], tmp_path)
    assert run == ["50x5", "50x35"]
    run.clear()
    assert list(run_all(CELLS[:4], DEFAULT, [], tmp_path)) == ["50x5", "50x35", "400x5", "1000x5"]
    assert run == ["400x5", "1000x5"]
    assert set(json.loads((tmp_path / "cells.json").read_text())["cells"]) == {cell.name for cell in CELLS[:4]}
    with pytest.raises(ChatfedError, match="another recipe"):
        run_all(CELLS[:4], DEFAULT, ["privacy.target_epsilon=2"], tmp_path)


def test_the_page_keeps_all_but_its_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "choosing.md").read_text(encoding="utf-8")
    once = between_marks(page, ["| one |"])
    twice = between_marks(once, ["| two |", "| three |"])
    assert "| one |" in once and "| one |" not in twice and "\n| two |\n| three |\n" in twice
    assert between_marks(twice, ["| one |"]) == once
    with pytest.raises(InvalidValue, match="each once"):
        between_marks("no marks", [])


def test_help_shows_examples_and_a_mistyped_recipe_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        choosing.main(["--help"])
    assert "python -m benchmarks.choosing --docs docs" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        choosing.main(["--recipe", "defualt"])
    assert "defualt" in capsys.readouterr().err
