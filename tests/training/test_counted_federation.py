"""A federation that counts n-grams first: who gets the model that has learned them, keeps it, and refuses others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from chatfed.model.checkpoint import base_digest, weights_file
from chatfed.types import ClientId
from tests.training.members import Killed, Neighbours, lines_of
from training.parties.identity import read_members
from training.parties.member import Member, TakesNoPart
from training.parties.session import Step
from training.run.joined import COUNT, MEASURED, ROUNDS

COUNTS = (
    *("ngrams.longest=2", "ngrams.cells=3000", "ngrams.texts=8", "ngrams.epochs=0.5", "ngrams.share=0.6"),
    *("runtime.workers=1", "secagg.threshold=0.75"),
)
RUN = b"r" * 16


@pytest.fixture(scope="module")
def finished(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    """Its coordinator was killed in the count; one member began anew after it; another was added after round 1."""
    place = Neighbours(tmp_path_factory.mktemp("counted"), tiny_base)
    place.make(tiny_data / "private.jsonl", COUNTS)
    place.join()
    starts = []

    def late() -> None:
        place.enrol("harbour", lines_of(tiny_data / "private.jsonl", 5)[4])
        (new,) = read_members(place.line("harbour"))
        place.hand_out(place.federation.next_edition(members=(*place.federation.members, new)))
        place.join()

    def heard(step: Step, sums: int) -> None:
        if step == Step.START:
            starts.append(sums)
            if len(starts) == 1:
                place.machines[ClientId("north")].join()
        if step == Step.CERTIFICATE and sums == 2:  # of the count, in its first attempt
            raise Killed
        if step == Step.CERTIFICATE and starts and json.loads(measured.read_text()).keys() == {"0"} and rounds() == 1:
            late()

    def rounds() -> int:
        rows = (place.folder / "run" / "metrics.jsonl").read_text().splitlines()
        return len(rows)

    measured = place.folder / "run" / "state" / "measured.json"
    place.heard = heard
    with pytest.raises(Killed):
        place.run()
    place.run()
    yield place
    place.close()


def test_all_are_charged_for_the_count_once_and_for_rounds_beside_it(finished: Neighbours) -> None:
    held = {name: len(charges) for name, charges in finished.charges().items()}
    assert held == {**dict.fromkeys(("east", "north", "south", "west"), 3), "harbour": 1}
    privacy = json.loads((finished.folder / "run" / "privacy.json").read_text())
    assert privacy["count"]["clients"] >= 4 and privacy["participations_most"] == 3
    assert privacy["epsilon"] == pytest.approx(max(m.epsilon() for m in finished.machines.values()))


def test_each_gets_the_counted_model_once_and_whoever_comes_late_too(finished: Neighbours) -> None:
    sent = [name for step, name, _, answer in finished.wire if step == Step.START and isinstance(answer, bytes)]
    assert sorted(sent) == ["east", "harbour", "north", "south", "west"]
    made = weights_file(finished.folder / "run" / "state" / "counted").read_bytes()
    for machine in finished.machines.values():
        assert machine.place is not None and machine.member is not None and machine.member.over
        kept = safetensors.torch.load(weights_file(machine.place._start).read_bytes())
        assert all(torch.equal(each, kept[name]) for name, each in safetensors.torch.load(made).items())
    rows = [json.loads(row) for row in (finished.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["cohort"], row["survivors"]) for row in rows] == [(4, 4), (5, 5)]


@pytest.fixture(scope="module")
def counting(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    place = Neighbours(tmp_path_factory.mktemp("counting"), tiny_base)
    place.make(tiny_data / "private.jsonl", COUNTS)
    yield place
    place.close()


@pytest.fixture
def east(counting: Neighbours) -> Member:
    """A member that waits for the counted model."""
    return counting.machines[ClientId("east")].join()


def message(weights: bytes, run: bytes = RUN) -> bytes:
    return bytes([Step.START]) + run + weights


def changed(base: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> bytes:
    return safetensors.torch.save(change(safetensors.torch.load(weights_file(base).read_bytes())))


def spoiled(how: str, base: Path) -> bytes:
    name = "lm_head.weight"
    given = {
        "another run": message(changed(base, dict), b"s" * 16),
        "garbage": message(b"\xff" * 500),
        "nothing": message(b""),
        "no run": bytes([Step.START]) + b"rr",
        "another shape": message(changed(base, lambda them: them | {name: them[name][:-1].contiguous()})),
        "not a number": message(changed(base, lambda them: them | {name: them[name] * float("nan")})),
        "cut short": message(changed(base, dict)[:-1]),
    }
    return given[how]


@pytest.mark.parametrize(
    "how", ["another run", "garbage", "nothing", "no run", "another shape", "not a number", "cut short"]
)
def test_a_model_that_cannot_be_one_is_refused_and_the_right_one_taken_after_it(
    east: Member, counting: Neighbours, tiny_base: Path, how: str
) -> None:
    assert set(east.clients) == {COUNT, MEASURED}
    with pytest.raises(TakesNoPart) as refused:
        east.answer(spoiled(how, tiny_base))
    assert set(east.clients) == {COUNT, MEASURED} and "/" not in str(refused.value)
    assert not list((counting.machines[ClientId("east")].home / "counted").glob("*/config.json"))


def test_the_right_one_is_kept_over_a_restart_and_no_other_takes_its_place(
    east: Member, counting: Neighbours, tiny_base: Path
) -> None:
    machine = counting.machines[ClientId("east")]
    right = message(changed(tiny_base, lambda weights: {name: each * 2 for name, each in weights.items()}))
    assert east.answer(right) == bytes([Step.START]) and set(east.clients) == {COUNT, ROUNDS, MEASURED}
    assert machine.place is not None
    kept = base_digest(machine.place._start)
    again = machine.join()
    assert set(again.clients) == {COUNT, ROUNDS, MEASURED}
    assert again.answer(right) == bytes([Step.START])
    with pytest.raises(TakesNoPart, match="another model that rounds begin with"):
        again.answer(message(changed(tiny_base, lambda weights: {name: each * 3 for name, each in weights.items()})))
    assert base_digest(machine.place._start) == kept
