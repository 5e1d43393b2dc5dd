"""The committed known-answer vectors are what the code gives: the wire format does not drift unseen."""

from __future__ import annotations

import json

import pytest

from chatfed.secagg import client, server
from chatfed.secagg.messages import Floors, Kind, Parameters
from tests.secagg.make_vectors import FOLDER, all_vectors
from tests.secagg.rounds import entropy_from


@pytest.mark.parametrize("file", ["primitives.json", "round-16.json", "round-32.json"])
def test_known_answers_are_regenerated_without_a_difference(file):
    assert all_vectors()[file] == (FOLDER / file).read_text()


@pytest.mark.parametrize("file", ["round-16.json", "round-32.json"])
def test_server_reaches_the_known_total_from_the_recorded_messages(file):
    known = json.loads((FOLDER / file).read_text())
    sent = {name: bytes.fromhex(text) for name, text in known["messages"].items()}
    parameters, ctx = Parameters(**known["parameters"]), bytes.fromhex(known["ctx"])
    survivors = known["survivors"]
    state, _ = server.relay_adverts(
        server.open_round(parameters, ctx), {i: sent[f"{Kind.ADVERT.label} {i}"] for i in (1, 2, 3, 4)}
    )
    state, outbound = server.relay_shares(state, {i: sent[f"{Kind.SHARES.label} {i}"] for i in (1, 2, 3, 4)})
    assert outbound == {i: sent[f"{Kind.ENVELOPES.label} {i}"] for i in (1, 2, 3, 4)}
    for i in survivors:
        state = server.accept(state, i, sent[f"{Kind.MASKED_INPUT.label} {i}"])
    unmasking, _ = server.close_inputs(state)
    total = server.finish(unmasking, {i: sent[f"{Kind.ANSWER.label} {i}"] for i in survivors})
    assert total.vector.tolist() == known["total"]
    assert list(total.survivors) == survivors


def test_recorded_advert_is_what_recorded_entropy_gives():
    known = json.loads((FOLDER / "round-32.json").read_text())
    parameters, ctx = Parameters(**known["parameters"]), bytes.fromhex(known["ctx"])
    _, advert = client.advertise(parameters, Floors(2, 2), ctx, 1, entropy_from(known["entropy_seed"]))
    assert advert.hex() == known["messages"]["advert 1"]
