"""One recipe, two ways to run it: members on their own machines, and all clients in a simulation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatfed.types import ClientId
from tests.secagg.rounds import entropy_from
from tests.training.federations import NAMES
from tests.training.members import Neighbours, lines_of
from tests.training.processes import here
from training.base.tokens import TokenTable, open_tokens
from training.parties.client import Client
from training.parties.rounds import Outcome, run_round
from training.parties.session import Session, Step
from training.run.joined import ROUNDS


@pytest.fixture(scope="module")
def both(
    tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Neighbours, Path]]:
    """A federation at its end, and a simulation of the same clients, dialogues and recipe."""
    folder = tmp_path_factory.mktemp("both")
    place = Neighbours(folder, tiny_base)
    made = place.make(tiny_data / "private.jsonl", ["federation.rounds=1"])
    place.join()
    place.run()
    lines = [
        json.dumps({**json.loads(line), "client_id": name}) + "\n"
        for name, mine in zip(NAMES, lines_of(tiny_data / "private.jsonl", 4), strict=True)
        for line in mine
    ]
    (folder / "all.jsonl").write_text("".join(lines))
    (folder / "recipe.toml").write_text(made.recipe.to_toml())
    done = here(
        *("--data", folder / "all.jsonl", "--base", tiny_base, "--recipe", folder / "recipe.toml"),
        *("--out", folder / "simulated", "--set", "runtime.workers=1"),
    )
    assert done.returncode == 0, done.stderr
    yield place, folder / "simulated"
    place.close()


def dialogues(table: TokenTable, name: str) -> list[bytes]:
    """A client's, as tokens, in order."""
    places = table.clients.get(ClientId(name), np.empty(0, np.int64))
    return [np.asarray(table.ids[table.starts[at] : table.starts[at + 1]]).tobytes() for at in places]


def test_the_same_dialogues_are_learned_from_and_held_out(both: tuple[Neighbours, Path]) -> None:
    place, simulated = both
    for part in ("private", "held-out"):
        together = open_tokens(simulated / "state" / part)
        for name, machine in place.machines.items():
            alone = open_tokens(machine.home / part)
            assert dialogues(alone, name) == dialogues(together, name)
        assert sum(len(dialogues(together, name)) for name in NAMES) > 4


def test_both_write_the_same_figures_and_claim_the_same_epsilon(both: tuple[Neighbours, Path]) -> None:
    place, simulated = both

    def read(name: str) -> list[dict[str, Any]]:
        texts = [(folder / name).read_text() for folder in (place.folder / "run", simulated)]
        return [json.loads(text.splitlines()[0] if name == "metrics.jsonl" else text) for text in texts]

    apart, together = read("metrics.jsonl")
    assert apart.keys() - {"bits_within"} == together.keys()
    assert apart["step_seconds"].keys() == together["step_seconds"].keys()
    assert (apart["survivors"], apart["epsilon_max"]) == (together["survivors"], together["epsilon_max"])
    apart, together = read("privacy.json")
    assert apart.keys() - together.keys() <= {"measuring"} and together.keys() <= apart.keys()
    for name in ("epsilon", "noise_multiplier", "honest_shares", "fewest_survivors", "unit", "noise"):
        assert apart[name] == together[name]
    apart, together = read("summary.json")
    assert together.keys() <= apart.keys()


@dataclass
class Directly:
    """An exchange with clients themselves, as a simulation's worker has them."""

    clients: Mapping[ClientId, Client]
    entropy: Mapping[ClientId, Any]
    silent: Mapping[Step, str]

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        for name, message in messages.items():
            if name == self.silent.get(Step(message[0])):
                self.clients = {each: client for each, client in self.clients.items() if each != name}
            if name in self.clients:
                yield name, self.clients[name].handle(message, self.entropy[name])


def test_a_round_through_members_is_that_through_clients_bit_by_bit(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    outcomes = list[Outcome]()
    for way in ("members", "clients"):
        place = Neighbours(tmp_path / way, tiny_base)
        place.make(tiny_data / "private.jsonl", ["federation.rounds=1", "privacy.sampling_rate=1.0"])  # none is drawn
        place.join()
        plan, seeds = place.federation.plan(), {name: entropy_from(f"bits {name}") for name in place.machines}
        clients = {name: machine.member.clients[ROUNDS] for name, machine in place.machines.items() if machine.member}
        digest, weights = next(iter(clients.values())).base_digest, start(place)
        session = Session(b"r" * 16, b"a" * 16, 0, plan.agreement.digest, tuple(sorted(clients)), weights)
        place.admitted = dict.fromkeys(place.machines, b"")
        place.entropy, place.silent = seeds, {Step.SHARES: ["south"]}
        exchange = place if way == "members" else Directly(clients, seeds, {Step.SHARES: "south"})
        outcomes.append(run_round(session, plan.agreement, digest, exchange, roster=place.federation.roster))
        place.close()
    through, directly = outcomes
    assert through.mean.tobytes() == directly.mean.tobytes() and through.mean.any()
    assert through.survivors == directly.survivors == ("east", "north", "west")
    assert (through.bytes_up, through.dropped) == (directly.bytes_up, directly.dropped)


def test_a_member_keeps_what_frozen_layers_say_only_where_it_joined_so(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """How long a round takes it would tell how many of its dialogues were sampled before."""
    place = Neighbours(tmp_path, tiny_base)
    place.make(tiny_data / "private.jsonl", ["federation.rounds=1"])
    place.join()
    own, how = place.machines[ClientId("east")].place, place.federation.plan().learning
    assert own is not None and how.frozen_mib > 0, "what a simulation of the same recipe keeps"
    assert own._learner(how, tiny_base).frozen is None
    assert replace(own, frozen_mib=4)._learner(how, tiny_base).frozen is not None
    place.close()


def start(place: Neighbours) -> np.ndarray[Any, np.dtype[np.float32]]:
    from training.base.learner import Learner

    home = place.machines[ClientId("east")].home
    return Learner.open(place.federation.plan().learning, str(place.base), home / "private", home / "held-out").initial
