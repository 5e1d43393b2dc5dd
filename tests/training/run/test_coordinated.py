"""A federation from its file to a model: what comes of it, killed at every step, and with too few members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatfed import load_chat
from chatfed.data.dialogue import read_dialogues
from chatfed.types import ClientId
from tests.training.members import Killed, Neighbours
from training.parties.homes import Homes
from training.parties.ledgers import spent
from training.parties.session import Step
from training.run.coordinated import TooFew
from training.run.measured import BEFORE
from training.run.rounds import MEASURED
from training.run.run_folder import RunFolder

Finished = tuple[Neighbours, dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """A federation of four members and two rounds, at its end, and its summary."""
    made = Neighbours(tmp_path_factory.mktemp("federation"), tiny_base)
    made.make(tiny_data / "private.jsonl")
    made.join()
    yield made, made.run()
    made.close()


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def books(place: Neighbours) -> dict[ClientId, int]:
    """Charges in the coordinator's own books, by member."""
    homes, terms = Homes(RunFolder(place.folder / "run").homes), place.federation.plan().terms
    try:
        return dict(spent(homes, sorted(place.machines), terms).participations)
    finally:
        homes.close()


def test_a_run_ends_with_a_model_its_figures_and_members_that_know_that_it_is_over(finished: Finished) -> None:
    place, summary = finished
    folder = place.folder / "run"
    assert load_chat(folder).stream is not None
    assert [row["survivors"] for row in rows(folder)] == [4, 4]
    assert all(row[name] is not None for row in rows(folder) for name in MEASURED if name != "perplexity")
    assert summary["after"]["bits_per_byte"] == rows(folder)[-1]["bits_per_byte"] != summary["before"]["bits_per_byte"]
    assert summary["before"]["words"] > 100 < summary["after"]["words"], "both with noise in them"
    assert (summary["clients"], summary["rounds"]) == (4, 2) and (folder / "report.html").exists()
    for machine in place.machines.values():
        assert machine.member is not None and machine.member.over
        assert sum(said.startswith("Over: a round of learning") for said in machine.said) == 2


def test_the_claim_is_a_federation_s_and_its_epsilon_is_what_members_ledgers_hold(finished: Finished) -> None:
    place, summary = finished
    privacy = read(place.folder / "run", "privacy.json")
    said = json.dumps(privacy) + (place.folder / "run" / "model" / "README.md").read_text()
    assert "each client runs this code on its own machine" in privacy["assumptions"][0]
    assert "imulat" not in said and "one machine" not in said and "by a federation of 4 members" in said
    assert {len(charges) for charges in place.charges().values()} == {2} == {privacy["participations_most"]}
    assert {machine.epsilon() for machine in place.machines.values()} == {privacy["epsilon"]} == {summary["epsilon"]}
    assert privacy["per_round"][-1] == privacy["epsilon"] <= 4.0
    assert books(place) == dict.fromkeys(place.machines, 2)


def test_no_dialogue_lies_in_the_coordinator_s_folder_nor_crosses_the_line(finished: Finished) -> None:
    place, _ = finished
    texts = [
        turn.content.encode()
        for machine in place.machines.values()
        for dialogue in read_dialogues(str(machine.folder / "mine.jsonl"))
        for turn in dialogue.messages
        if len(turn.content) > 30
    ]
    kept = [path.read_bytes() for path in (place.folder / "run").rglob("*") if path.is_file()]
    crossed = [part for _, _, *both in place.wire for part in both if isinstance(part, bytes)]
    assert len(texts) > 40 and len(crossed) > 40
    assert not any(text in content for text in texts for content in (*kept, *crossed))


def test_a_finished_run_is_published_again_with_nobody_there(finished: Finished) -> None:
    place, summary = finished
    before, place.away = len(place.wire), set(place.machines)
    try:
        again = place.run(patience=0.0)
    finally:
        place.away = set()
    assert len(place.wire) == before, "nobody was asked for anything"
    assert {key: again[key] for key in ("before", "after", "epsilon")} == {
        key: summary[key] for key in ("before", "after", "epsilon")
    }


STAGES = {
    ("before", Step.SESSION),
    ("after", Step.SHARES),  # all have paid, and nobody's survivors are settled
    ("before", Step.SURVIVORS),  # they are
    ("after", Step.CERTIFICATE),  # all have told the sum, and nothing of it is on the coordinator's disk
    ("before", Step.COMMITTED),  # it is, and nobody knows it
    ("after", Step.COMMITTED),
}


def test_killed_at_any_step_it_goes_on_with_the_same_survivors_and_nobody_pays_twice(neighbours: Neighbours) -> None:
    """Each of two measurements and the round between them is cut short once at each stage."""
    place, seen = neighbours, set[tuple[str, Step, int]]()
    place.join()

    def at(what: str, step: Step) -> None:
        if step == Step.SESSION:
            place.stage = _next_sum(place)
        if (what, step) in STAGES and (stage := (what, step, place.stage)) not in seen:
            seen.add(stage)
            raise Killed

    place.asked, place.heard = (lambda step, sums: at("before", step)), (lambda step, sums: at("after", step))
    place.silent = {Step.SHARES: ["east"]}
    summary, settled = None, dict[int, dict[str, Any]]()
    while summary is None:
        try:
            summary = place.run()
        except Killed:
            charged = {len(charges) for charges in place.charges().values()}
            assert charged <= {0, 1} and set(books(place).values()) <= {1}
            for path in (place.folder / "run" / "state").glob("survivors*"):
                chosen = json.loads(path.read_text())
                assert settled.setdefault(chosen["round"], chosen) == chosen
            place.silent = {} if _next_sum(place) in settled else {Step.SHARES: ["east"]}  # who is not in it is back
    assert len(seen) == 3 * len(STAGES) - 2, "what follows a measurement tells that it is over"
    privacy = read(place.folder / "run", "privacy.json")
    assert {len(charges) for charges in place.charges().values()} == {1} == set(books(place).values())
    assert {machine.epsilon() for machine in place.machines.values()} == {privacy["epsilon"]}
    assert rows(place.folder / "run")[0]["survivors"] == 3 and set(settled) == {BEFORE, 0, BEFORE - 1}
    for machine in place.machines.values():
        assert machine.member is not None and machine.member.over and machine.place is not None
        for store in machine.place.stores.values():
            assert store.of(ClientId(machine.folder.name)).names() <= {"ledger", "charge 0", "charge 1", "finished"}


def _next_sum(place: Neighbours) -> int:
    """Which sum of a run of one round comes next, as the run's folder calls it."""
    measured = place.folder / "run" / "state" / "measured.json"
    if not measured.exists():
        return BEFORE
    latest = RunFolder(place.folder / "run").latest()
    return BEFORE - 1 if latest and latest.state.round else 0


def test_a_member_that_ends_in_mid_round_is_missing_and_takes_part_again(neighbours: Neighbours) -> None:
    place = neighbours
    place.hand_out(place.federation.next_edition(recipe=_rounds(place, 2)))
    place.join()
    again = []

    def dies(step: Step, sums: int) -> None:
        if (step, sums) == (Step.SHARES, 2):
            place.machines[ClientId("north")].stop()
        if (step, sums) == (Step.SESSION, 3):
            again.append(place.machines[ClientId("north")].join())

    place.asked = dies
    place.run()
    assert [row["survivors"] for row in rows(place.folder / "run")] == [3, 4]
    assert rows(place.folder / "run")[0]["dropped"] == {"shares": 1} and len(again) == 1
    assert {name: len(charges) for name, charges in place.charges().items()} == dict.fromkeys(place.machines, 2)


def _rounds(place: Neighbours, rounds: int) -> Any:
    recipe = place.federation.recipe
    return replace(recipe, federation=replace(recipe.federation, rounds=rounds))


def test_with_fewer_than_a_sum_needs_it_stops_within_its_patience_and_nobody_is_charged(
    neighbours: Neighbours,
) -> None:
    place = neighbours
    place.join()
    place.away = {"east", "west"}
    with pytest.raises(TooFew, match=r"2 of 4 members are connected, .* fewer than 3 .* not here are east, west"):
        place.run(patience=0.2)
    assert place.wire == [] and set(map(len, place.charges().values())) == {0} and books(place) == {}
    place.away = {"east"}  # enough: the others do without
    coordinator = place.coordinator(patience=0.2)
    coordinator.run()
    assert "Going on without east." in coordinator.display.said  # type: ignore[attr-defined]
    assert rows(place.folder / "run")[0]["survivors"] == 3
    assert place.machines[ClientId("east")].charges() == ()
