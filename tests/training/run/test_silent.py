"""Members that fall silent, come too late or refuse: they are named, and each hears what became of its part."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace

import pytest
import typer

from chatfed.command_line import STOPPED
from chatfed.types import ClientId
from tests.training.members import Machine, Neighbours
from tests.training.run.test_refused import over_budget
from training.cli import in_one_line
from training.parties.ledgers import LEDGER
from training.parties.session import Step

EAST, WEST = ClientId("east"), ClientId("west")
ROUND = 2  # the sum of the first round; before it is a measurement


def only_in(place: Neighbours, sums: Iterable[int], **what: dict[Step, list[str]]) -> None:
    """Silences of some sums."""

    def at(step: Step, number: int) -> None:
        for kind, names in what.items():
            setattr(place, kind, names if number in sums else {})

    place.asked = at


def over(machine: Machine) -> list[str]:
    return [line for line in machine.said if line.startswith("Over: a round of learning")]


def test_a_late_member_is_named_with_its_step_and_hears_that_it_was_charged_and_is_not_in_the_sum(
    neighbours: Neighbours,
) -> None:
    place = neighbours
    place.join()
    only_in(place, [ROUND], lost={Step.SHARES: ["east"]})
    coordinator = place.coordinator()
    coordinator.run()
    said = coordinator.display.said  # type: ignore[attr-defined]
    (missing,) = [line for line in said if "missing" in line]
    assert missing.startswith("  missing: east (silent when asked for masked updates)") and "--patience" in missing
    (told,) = over(place.machines[EAST])
    assert "1 of 1: nothing of this member is in the sum, for its answer came too late or never" in told
    assert "and it was charged all the same." in told and len(place.machines[EAST].charges()) == 1
    (other,) = over(place.machines[WEST])
    spent = re.search(
        r"part is in the sum\. Epsilon (\S+) of 4 is spent so far\. Answers of (\S+) bytes were sent", other
    )
    assert spent and float(spent[1]) == pytest.approx(place.machines[WEST].epsilon(), abs=0.005)
    sums = [i for i, (step, *_) in enumerate(place.wire) if step == Step.SESSION and i]
    begin = next(i for i in sums if place.wire[i - 1][0] == Step.COMMITTED or place.wire[i - 1][0] == Step.CERTIFICATE)
    mine = [a for s, name, _, a in place.wire[begin:] if name == WEST]
    of_round = mine[: mine.index(next(a for a in mine if a[:1] == bytes([Step.COMMITTED]))) + 1]
    assert int(spent[2].replace(",", "")) == sum(map(len, of_round)) > 4000
    row = json.loads((place.folder / "run" / "metrics.jsonl").read_text())
    assert "committed" in row["step_seconds"]


def test_a_member_that_refused_hears_that_nothing_of_it_is_in_the_sum_and_that_it_paid_nothing(
    neighbours: Neighbours,
) -> None:
    place = neighbours
    place.join()
    over_budget(place, place.machines[EAST])
    coordinator = place.coordinator()
    coordinator.run()
    (told,) = over(place.machines[EAST])
    assert "nothing of this member is in the sum, and nothing was charged." in told
    assert not [line for line in coordinator.display.said if "missing" in line]  # type: ignore[attr-defined]


def test_a_refusal_in_a_measurement_is_told_though_the_others_made_it(neighbours: Neighbours) -> None:
    place = neighbours
    place.join()
    here = place.machines[EAST].place
    assert here is not None
    here.stores["measured"].of(EAST).write(LEDGER, "", b"not a ledger")
    here.stores["measured"].commit()
    coordinator = place.coordinator()
    coordinator.run()
    said = coordinator.display.said  # type: ignore[attr-defined]
    told = [line for line in said if "refused: east: the member's own machine says why" in line]
    assert [line.split(":")[0].strip() for line in told] == [f"measuring the model after {i} rounds" for i in (0, 1)]


def test_two_of_four_silent_at_their_updates_end_it_in_a_sentence_that_names_them_after_three_attempts(
    neighbours: Neighbours, capsys: pytest.CaptureFixture[str]
) -> None:
    place = neighbours
    place.join()
    only_in(place, range(ROUND, 100), silent={Step.SHARES: ["east", "west"]})
    with pytest.raises(typer.Exit) as left:
        in_one_line(lambda: _run(place), "the same command")
    assert left.value.exit_code == STOPPED
    error = capsys.readouterr().err
    assert "Round 1 ended without a sum: only 2 participants at stage masked input, 3 needed" in error
    assert "No answer from east, west (silent when asked for masked updates)." in error and error.count("\n") == 1
    assert place.sums == 1 + 3, "a measurement, and three attempts"
    assert {len(charges) for charges in place.charges().values()} == {1}, "of one round, whatever the attempts"


def _run(place: Neighbours) -> None:
    place.run()


def test_who_has_lost_its_keys_is_out_of_one_round_and_has_new_ones_in_the_next(neighbours: Neighbours) -> None:
    place, east = neighbours, neighbours.machines[EAST]
    recipe = place.federation.recipe
    place.hand_out(replace(place.federation, recipe=replace(recipe, federation=replace(recipe.federation, rounds=3))))
    place.join()

    def loses(step: Step, sums: int) -> None:
        if (step, sums) == (Step.SESSION, ROUND + 2) and east.place is not None:
            east.place.stores["rounds"].of(EAST).erase("epoch")
            east.place.stores["rounds"].commit()
            east.join()

    place.asked = loses
    place.run()
    rows = [json.loads(row) for row in (place.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["survivors"] for row in rows] == [4, 3, 4]
    assert any("has agreed on no keys" in line for line in east.said)
