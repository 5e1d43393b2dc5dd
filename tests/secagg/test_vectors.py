"""The committed known-answer vectors are what the code gives: the wire format does not drift unseen."""

from __future__ import annotations

import json

import pytest

from chatfed.secagg import client, server
from chatfed.secagg.messages import Floors, Kind, Parameters
from tests.secagg.make_vectors import FOLDER, all_vectors
from tests.secagg.rounds import entropy_from

ROUNDS = ["round-16.json", "round-21.json", "round-32.json", "round-signed.json"]


@pytest.mark.parametrize("file", ["primitives.json", *ROUNDS])
def test_known_answers_are_regenerated_without_a_difference(file: str) -> None:
    assert all_vectors()[file] == (FOLDER / file).read_text()


@pytest.mark.parametrize("file", ROUNDS)
def test_server_reaches_the_known_total_from_the_recorded_messages(file: str) -> None:
    known = json.loads((FOLDER / file).read_text())
    sent = {name: bytes.fromhex(text) for name, text in known["messages"].items()}
    parameters, ctx, attempt = (
        Parameters(**known["parameters"]),
        *map(bytes.fromhex, (known["ctx"], known["attempt"])),
    )
    survivors, roster = known["survivors"], tuple(bytes.fromhex(key) for key in known["roster"])
    state, _ = server.relay_adverts(
        server.open_round(parameters, ctx, attempt, roster), {i: sent[f"{Kind.ADVERT.label} {i}"] for i in (1, 2, 3, 4)}
    )
    state, outbound = server.relay_shares(state, {i: sent[f"{Kind.SHARES.label} {i}"] for i in (1, 2, 3, 4)})
    assert outbound == {i: sent[f"{Kind.ENVELOPES.label} {i}"] for i in (1, 2, 3, 4)}
    for i in survivors:
        state = server.accept(state, i, sent[f"{Kind.MASKED_INPUT.label} {i}"])
    state, _ = server.close_inputs(state)
    if roster:
        state, _ = server.certify(state, {i: sent[f"{Kind.CONSENT.label} {i}"] for i in survivors})
    total = server.finish(state, {i: sent[f"{Kind.ANSWER.label} {i}"] for i in survivors})
    assert total.vector.tolist() == known["total"]
    assert list(total.survivors) == survivors


def test_recorded_advert_is_what_recorded_entropy_gives() -> None:
    known = json.loads((FOLDER / "round-32.json").read_text())
    parameters, ctx = Parameters(**known["parameters"]), bytes.fromhex(known["ctx"])
    attempt, entropy = bytes.fromhex(known["attempt"]), entropy_from(known["entropy_seed"])
    _, advert = client.advertise(parameters, Floors(2, 2), ctx, attempt, 1, entropy)
    assert advert.hex() == known["messages"]["advert 1"]
