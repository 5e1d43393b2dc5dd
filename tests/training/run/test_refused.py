"""A member that cannot take part: a sentence on its own machine, few words to the coordinator, and others finish."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from chatfed.model.checkpoint import base_digest
from chatfed.types import ChatfedError, ClientId
from tests.training.bases import TINY, write_base
from tests.training.federations import member
from tests.training.members import Killed, Machine, Neighbours
from training.parties.identity import IdentityError
from training.parties.ledgers import LEDGER
from training.parties.member import TakesNoPart
from training.parties.session import Step
from training.plan.federation import FederationError
from training.plan.upload import NoisyUpload
from training.run.joined import CannotJoin, Home

EAST = ClientId("east")


def without_ledger(place: Neighbours, east: Machine) -> None:
    """It took part before, and its ledger is gone."""
    assert east.place is not None
    store = east.place.stores["rounds"]
    store.of(EAST).write("finished", "", b"some round")
    store.of(EAST).erase(LEDGER)
    store.commit()


def damaged(place: Neighbours, east: Machine) -> None:
    assert east.place is not None
    store = east.place.stores["rounds"]
    store.of(EAST).write(LEDGER, "", b"not a ledger")
    store.commit()


def over_budget(place: Neighbours, east: Machine) -> None:
    """In another run on the same dialogues, of which nobody else knows."""
    assert east.member is not None
    client = next(client for kind, client in east.member.clients.items() if "learning" in kind)
    code = place.federation.plan().agreement.sums.codec.upload(4, 17920)
    assert isinstance(code, NoisyUpload)
    client.ledger().charge("another run", code.mechanism)
    client.records.store.commit()


def another_file(place: Neighbours, east: Machine) -> None:
    recipe = place.federation.recipe
    other = replace(recipe, data=replace(recipe.data, train_on="assistant"))
    east.file.write_text(replace(place.federation, recipe=other).to_toml())
    east.join()


CANNOT: dict[str, tuple[Callable[[Neighbours, Machine], None], str, str]] = {
    "its ledger is gone": (without_ledger, "restore it from a backup", "the member's own machine says why"),
    "its ledger is damaged": (damaged, "is damaged", "the member's own machine says why"),
    "it is over its budget": (over_budget, "budget of epsilon 4", "budget"),
    "it has agreed to another file": (another_file, "another file", "another file"),
}


@pytest.mark.parametrize("why", CANNOT)
def test_one_member_that_cannot_take_part_says_why_at_home_and_tells_little(neighbours: Neighbours, why: str) -> None:
    place, (spoil, at_home, told) = neighbours, CANNOT[why]
    place.join()
    east = place.machines[EAST]
    spoil(place, east)
    coordinator = place.coordinator()
    coordinator.run()
    row = json.loads((place.folder / "run" / "metrics.jsonl").read_text())
    assert row["survivors"] == 3 and len(place.machines[ClientId("west")].charges()) == 1
    assert any(line.startswith("Takes no part:") and at_home in line for line in east.said), east.said
    refused = {answer for _, name, _, answer in place.wire if name == EAST and isinstance(answer, str)}
    assert any(told in reason for reason in refused), refused
    for reason in refused:
        assert str(place.folder) not in reason and "/" not in reason and not re.search(r"\d\.\d{3}", reason), reason
    said = "\n".join(coordinator.display.said)  # type: ignore[attr-defined]
    assert "east" in said and str(east.home) not in said


def test_a_member_whose_disk_is_set_back_before_a_charge_is_refused_and_told_what_mends_it(
    neighbours: Neighbours,
) -> None:
    """All of its store is of one age, keys too: only the coordinator's word says that it is an older one."""
    place, east = neighbours, neighbours.machines[EAST]
    recipe = place.federation.recipe
    place.hand_out(replace(place.federation, recipe=replace(recipe, federation=replace(recipe.federation, rounds=2))))
    place.join()

    def set_back(step: Step, sums: int) -> None:
        if (step, sums) == (Step.SESSION, 2):  # before round 1, which charges
            east.stop()
            shutil.copytree(east.home, east.folder / "copy")
            east.join()
        if (step, sums) == (Step.SESSION, 4):
            assert len(east.charges()) == 1
            east.stop()
            for file in (east.folder / "copy").glob("rounds.db*"):
                shutil.copyfile(file, east.home / file.name)
            east.join()

    place.asked = set_back
    coordinator = place.coordinator()
    coordinator.run()
    rows = [json.loads(row) for row in (place.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["survivors"] for row in rows] == [4, 3]
    assert east.charges() == (), "nothing was charged to a ledger that cannot be believed"
    (why,) = [line for line in east.said if line.startswith("Takes no part: ")]
    assert "the privacy ledger of east has charges of 0 rounds" in why and "sums of 1 that this client gave to" in why
    assert str(east.home / "rounds.db") in why and "Bring back the newest copy of the folder" in why
    said = "\n".join(coordinator.display.said)  # type: ignore[attr-defined]
    assert "refused: east: its ledger is older than what it gave to this run" in said and str(east.home) not in said


def test_what_a_disk_was_set_back_over_keeps_it_out_whatever_the_attempt_and_no_member_that_has_it_all(
    neighbours: Neighbours,
) -> None:
    """A round that is made twice, for its coordinator was killed in it, is one that was given to."""
    place = neighbours
    place.join()

    def dies(step: Step, sums: int) -> None:
        if (step, sums) == (Step.CERTIFICATE, 2):
            raise Killed

    place.heard = dies
    with pytest.raises(Killed):
        place.run()
    place.run()
    assert json.loads((place.folder / "run" / "metrics.jsonl").read_text())["survivors"] == 4
    given = json.loads((place.folder / "run" / "state" / "given.json").read_text())
    assert given[place.federation.run.hex()] == {name: [1, 0] for name in place.machines}


def test_another_base_is_refused_before_any_dialogue_is_read(neighbours: Neighbours, tiny_base: Path) -> None:
    east = neighbours.machines[EAST]
    shutil.copytree(tiny_base, east.folder / "other")
    weights = safetensors.torch.load((tiny_base / "model.safetensors").read_bytes())
    (east.folder / "other" / "model.safetensors").write_bytes(
        safetensors.torch.save({name: each + torch.ones(()) for name, each in weights.items()})
    )
    east.base = east.folder / "other"
    with pytest.raises(CannotJoin, match="does not hold the base model that houses agreed on"):
        east.join()
    east.base = east.folder / "nowhere"
    with pytest.raises(CannotJoin, match=r"cannot be read .* --base"):
        east.join()
    assert not east.home.exists()


def test_a_key_of_no_member_is_refused(neighbours: Neighbours) -> None:
    east = neighbours.machines[EAST]
    east.key.write_text(bytes(range(32)).hex() + "\n")
    with pytest.raises(IdentityError, match="is no member's of houses, edition 1"):
        east.join()
    assert not east.home.exists()


def test_nobody_joins_a_federation_that_cannot_be_measured(neighbours: Neighbours) -> None:
    east, recipe = neighbours.machines[EAST], neighbours.federation.recipe
    data = replace(recipe.data, hold_out=0.0, hold_out_epsilon=0.0)
    east.file.write_text(replace(neighbours.federation, recipe=replace(recipe, data=data)).to_toml())
    with pytest.raises(FederationError, match="no dialogues to measure with"):
        east.join()


def test_consent_is_remembered_for_one_file_and_not_for_its_next_edition(neighbours: Neighbours) -> None:
    home, first = Home(neighbours.machines[EAST].home), neighbours.federation
    assert not home.consented(first)
    home.consent(first)
    after = first.next_edition(members=(*first.members, member("harbour")))
    assert Home(home.path).consented(first) and not home.consented(after)
    home.consent(after)
    assert home.consented(first) and home.consented(after)
    assert home.consented(replace(first, address="elsewhere:1")), "no consent is needed for that"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        bytes([Step.SESSION]),
        bytes([Step.SESSION]) + bytes(40),
        bytes([Step.SESSION]) + bytes(400),
        bytes([Step.ADVERTS]) + b"anything",
        bytes([Step.SHARES]),
        bytes([Step.CERTIFICATE]) + bytes(100),
        bytes([Step.START]) + b"r" * 16 + b"weights",
        bytes([99]) + bytes(30),
    ],
    ids=lambda message: f"{message[:1].hex()}-{len(message)}",
)
def test_what_nobody_should_send_is_refused_in_few_words_and_changes_nothing(
    neighbours: Neighbours, message: bytes
) -> None:
    east = neighbours.machines[EAST]
    joined = east.join()
    with pytest.raises(TakesNoPart) as refused:
        joined.answer(message)
    assert "/" not in str(refused.value) and len(str(refused.value)) < 300
    assert east.said[-1].startswith("Takes no part: ") and east.charges() == ()


def test_the_end_of_a_round_that_a_member_took_no_part_in_is_nothing_to_speak_of(neighbours: Neighbours) -> None:
    east = neighbours.machines[EAST]
    joined, before = east.join(), len(east.said)
    over = bytes([Step.COMMITTED]) + b"z" * 16 + bytes(4)
    assert joined.answer(over) == bytes([Step.COMMITTED]) and len(east.said) == before


def test_a_base_that_takes_no_part_of_the_recipe_is_refused_as_one_error(
    neighbours: Neighbours, tiny_tokenizer: object, tmp_path: Path
) -> None:
    other = write_base(tmp_path / "gpt2", "gpt2", TINY["gpt2"], tiny_tokenizer)  # type: ignore[arg-type]
    east, recipe = neighbours.machines[EAST], neighbours.federation.recipe
    lora = replace(recipe.model, lora_rank=2, lora_targets=("no_such_layer",))
    changed = replace(neighbours.federation, base=base_digest(other), recipe=replace(recipe, model=lora))
    east.file.write_text(changed.to_toml())
    east.base = other
    with pytest.raises(ChatfedError):
        east.join()
