"""The committed known-answer vectors are what the code gives: the wire format does not drift unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from chatfed.secagg import client, server
from chatfed.secagg.messages import Floors, Kind, Parameters
from tests.secagg.make_vectors import FOLDER, all_vectors
from tests.secagg.rounds import entropy_from

ROUNDS = ["round-16.json", "round-21.json", "round-32.json", "round-signed.json"]
EPOCH = "round-epoch.json"
Json = Mapping[str, Any]


def read(file: str) -> Json:
    return json.loads(Path(FOLDER / file).read_text())  # type: ignore[no-any-return]


def recorded(said: Json, kind: Kind, who: Sequence[int]) -> dict[int, bytes]:
    return {i: bytes.fromhex(said["messages"][f"{kind.label} {i}"]) for i in who}


@pytest.mark.parametrize("file", ["primitives.json", *ROUNDS, EPOCH])
def test_known_answers_are_regenerated_without_a_difference(file: str) -> None:
    assert all_vectors()[file] == (FOLDER / file).read_text()


def test_no_vector_is_left_over() -> None:
    assert {path.name for path in FOLDER.glob("*")} == all_vectors().keys()


def agreed(known: Json) -> server.Epoch:
    """The recorded agreement on keys; 5 never came."""
    scope, epoch = (bytes.fromhex(known[name]) for name in ("scope", "epoch"))
    roster, present = tuple(bytes.fromhex(key) for key in known["roster"]), (1, 2, 3, 4)
    opened = server.open_epoch(Parameters(**known["parameters"]), scope, epoch, roster)
    assert opened.session.hex() == known["session"]
    sharing, outbound = server.relay_adverts(opened, recorded(known, Kind.ADVERT, present))
    assert outbound == recorded(known, Kind.ADVERTS, present) and sharing.view.hex() == known["view"]
    state, outbound = server.relay_shares(sharing, recorded(known, Kind.SHARES, present))
    assert outbound == recorded(known, Kind.ENVELOPES, present)
    return state


def summed(epoch: server.Epoch, slot: int, said: Json) -> None:
    """The recorded sum."""
    survivors = said["survivors"]
    state, outbound = server.begin(epoch, slot, bytes.fromhex(said["ctx"]), epoch.sharers)
    assert outbound == recorded(said, Kind.PRESENT, sorted(epoch.sharers)) and state.turn.hex() == said["turn"]
    for i, message in recorded(said, Kind.MASKED_INPUT, survivors).items():
        state = server.accept(state, i, message)
    closed, outbound = server.close_inputs(state)
    assert outbound == recorded(said, Kind.SURVIVORS, survivors)
    if epoch.roster:
        closed, outbound = server.certify(closed, recorded(said, Kind.CONSENT, survivors))
        assert outbound == recorded(said, Kind.CERTIFICATE, survivors)
    total = server.finish(closed, recorded(said, Kind.ANSWER, survivors))
    assert total.vector.tolist() == said["total"]
    assert list(total.survivors) == survivors


@pytest.mark.parametrize("file", ROUNDS)
def test_server_reaches_the_known_total_from_the_recorded_messages(file: str) -> None:
    known = read(file)
    summed(agreed(known), 0, known)


def test_server_reaches_the_known_totals_of_all_sums_of_an_epoch() -> None:
    known = read(EPOCH)
    epoch = agreed(known)
    assert [(said["slot"], said["survivors"]) for said in known["sums"]] == [(0, [1, 2, 3, 4]), (2, [1, 3, 4])]
    for said in known["sums"]:
        summed(epoch, said["slot"], said)


def test_recorded_advert_is_what_recorded_entropy_gives() -> None:
    known = read("round-32.json")
    parameters, scope = Parameters(**known["parameters"]), bytes.fromhex(known["scope"])
    epoch, entropy = bytes.fromhex(known["epoch"]), entropy_from(known["entropy_seed"])
    _, advert = client.advertise(parameters, Floors(2, 2), scope, epoch, 1, entropy)
    assert advert.hex() == known["messages"]["advert 1"]
