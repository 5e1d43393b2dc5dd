"""What a coordinator does with a file that changed while a run went on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatfed.types import ClientId
from tests.training.federations import federation, member
from tests.training.members import Killed, Listening, Neighbours, lines_of
from training.parties.identity import read_members
from training.parties.session import Step
from training.plan.federation import Federation, FederationError, read_federation
from training.plan.recipe import load_recipe
from training.run.coordinated import refuse_another
from training.run.run_folder import RunError


@pytest.fixture
def two_rounds(neighbours: Neighbours, tiny_data: Path) -> Neighbours:
    """The same four, with a run of two rounds."""
    neighbours.make(tiny_data / "private.jsonl")
    neighbours.join()
    return neighbours


def between_rounds(place: Neighbours, change: Callable[[], None]) -> None:
    """Has it done once the model after round 1 is measured."""
    done = []

    def heard(step: Step, sums: int) -> None:
        if (step, sums) == (Step.CERTIFICATE, 3):
            change()
            done.append(True)

    place.heard = heard


def run(place: Neighbours) -> tuple[list[str], list[dict[str, Any]]]:
    """What the coordinator said, and the rows of its rounds."""
    coordinator = place.coordinator(patience=0.0)
    coordinator.run()
    assert isinstance(coordinator.display, Listening)
    rows = (place.folder / "run" / "metrics.jsonl").read_text().splitlines()
    return coordinator.display.said, [json.loads(row) for row in rows]


def published(place: Neighbours) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place.folder / "run" / "privacy.json").read_text())
    return found


def test_a_member_that_is_added_takes_part_and_one_with_the_old_file_is_named(
    two_rounds: Neighbours, tiny_data: Path
) -> None:
    place = two_rounds

    def add() -> None:
        place.enrol("harbour", lines_of(tiny_data / "private.jsonl", 5)[4])
        (new,) = read_members(place.line("harbour"))
        place.hand_out(
            place.federation.next_edition(members=(*place.federation.members, new)),
            *("east", "north", "south", "harbour"),
        )
        place.join("east", "north", "south", "harbour")  # and west goes on with the file that it has

    between_rounds(place, add)
    said, rows = run(place)
    assert "Edition 2 of houses, of 5 members, from here on." in said
    assert [(row["cohort"], row["survivors"]) for row in rows] == [(4, 4), (5, 4)]
    assert any(line.startswith("  refused: west: ") and "another file" in line for line in said), said
    assert "another file" in place.machines[ClientId("west")].said[-1]
    held = {name: len(charges) for name, charges in place.charges().items()}
    assert held == {"east": 2, "north": 2, "south": 2, "west": 1, "harbour": 1}


def test_of_a_member_that_was_removed_the_claim_still_speaks(two_rounds: Neighbours) -> None:
    place = two_rounds

    def remove() -> None:
        place.machines[ClientId("south")].stop()
        left = [each for each in place.federation.members if each.name != "south"]
        place.hand_out(place.federation.next_edition(members=tuple(left)))
        place.join("east", "north", "west")

    between_rounds(place, remove)
    said, rows = run(place)
    assert "Edition 2 of houses, of 3 members, from here on." in said
    assert [(row["cohort"], row["survivors"]) for row in rows] == [(4, 4), (3, 3)]
    assert published(place)["clients_charged"] == 4
    epsilons = {name: machine.epsilon() for name, machine in place.machines.items() if name != "south"}
    assert published(place)["epsilon"] == pytest.approx(max(epsilons.values()), abs=1e-12)
    assert "south" not in place.admitted


def test_all_members_gone_and_others_come_the_claim_holds_for_those_who_gave(
    two_rounds: Neighbours, tiny_data: Path
) -> None:
    place, lines = two_rounds, lines_of(tiny_data / "private.jsonl", 8)[4:]

    def replace_all() -> None:
        for machine in place.machines.values():
            machine.stop()
        for name, mine in zip(("one", "three", "two"), lines, strict=False):
            place.enrol(name, mine)
        new = read_members("".join(place.line(name) for name in ("one", "three", "two")))
        place.hand_out(place.federation.next_edition(members=new))
        place.join("one", "three", "two")

    between_rounds(place, replace_all)
    _, rows = run(place)
    assert [row["survivors"] for row in rows] == [4, 3]
    privacy, summary = published(place), json.loads((place.folder / "run" / "summary.json").read_text())
    assert privacy["clients_charged"] == 7 and privacy["epsilon"] == max(row["epsilon_max"] for row in rows)
    assert summary["comparison"]["verdict"] == "cannot compare", "other members measured other dialogues"


def test_a_member_with_new_keys_takes_part_under_them_alone(two_rounds: Neighbours) -> None:
    place = two_rounds
    east = place.machines[ClientId("east")]
    mine = (east.folder / "mine.jsonl").read_text().splitlines(keepends=True)

    def rotate() -> None:
        old, home = east.key.read_text(), east.home
        east.stop()
        place.enrol("east", mine, seed="anew")
        assert east.key.read_text() != old and home.exists()
        (new,) = read_members(place.line("east"))
        others = [each for each in place.federation.members if each.name != "east"]
        place.hand_out(place.federation.next_edition(members=(new, *others)))
        place.join()

    between_rounds(place, rotate)
    _, rows = run(place)
    assert [row["survivors"] for row in rows] == [4, 4]
    assert place.admitted[ClientId("east")] == place.federation.member("east").transport
    assert {len(charges) for charges in place.charges().values()} == {2}


def another_recipe(given: Federation) -> Federation:
    return replace(given, edition=2, recipe=replace(given.recipe, data=replace(given.recipe.data, hold_out=0.4)))


NO_NEXT = {
    "another federation": lambda given: replace(given, edition=2, name="mills"),
    "another run": lambda given: replace(given, edition=2, run=b"s" * 16),
    "the same edition": lambda given: replace(given, members=given.members[:3]),
    "another base": lambda given: replace(given, edition=2, base=b"c" * 32),
    "another recipe": another_recipe,
}


@pytest.mark.parametrize("why", NO_NEXT)
def test_what_is_no_next_edition_of_the_same_run_is_refused(why: str) -> None:
    with pytest.raises(FederationError):
        refuse_another(federation(), NO_NEXT[why](federation()))


def test_what_members_need_not_agree_to_may_change_within_an_edition() -> None:
    before = federation()
    refuse_another(before, replace(before, address="elsewhere:1"))
    refuse_another(before, before.next_edition(members=(*before.members, member("harbour"))))


@pytest.mark.parametrize("why", ["another run", "another recipe", "broken", "gone"])
def test_a_file_that_cannot_be_used_is_told_of_once_and_the_one_before_goes_on(
    two_rounds: Neighbours, why: str
) -> None:
    place, whole = two_rounds, two_rounds.file.read_text()

    def spoil() -> None:
        if why == "gone":
            place.file.unlink()
        else:
            spoiled = NO_NEXT[why](place.federation).to_toml() if why in NO_NEXT else whole[:200]
            place.file.write_text(spoiled)
            os.utime(place.file, ns=(1, 1))

    between_rounds(place, spoil)
    said, rows = run(place)
    assert [row["survivors"] for row in rows] == [4, 4]
    told = [line for line in said if line.endswith("Going on with edition 1.")]
    assert len(told) == (0 if why == "gone" else 1), said
    if why in NO_NEXT:
        with pytest.raises((RunError, FederationError)):  # nor is it taken up by another process
            place.run()


def test_a_file_that_changed_while_nobody_ran_it_is_taken_up_as_its_members_have_it(two_rounds: Neighbours) -> None:
    place = two_rounds
    between_rounds(place, _stop)
    with pytest.raises(Killed):
        place.run()
    place.heard = lambda step, sums: None
    left = tuple(each for each in place.federation.members if each.name != "west")
    place.hand_out(place.federation.next_edition(members=left))
    place.join("east", "north", "south")
    _, rows = run(place)
    assert [row["survivors"] for row in rows] == [4, 3] and read_federation(place.file).edition == 2
    assert published(place)["clients_charged"] == 4


def _stop() -> None:
    raise Killed


def test_settings_of_a_federation_are_those_of_its_file_alone() -> None:
    assert federation(settings=("runtime.workers=7",)) == federation()
    assert load_recipe(None, ["runtime.workers=7"]).runtime.workers == 7
