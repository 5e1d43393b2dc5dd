"""A client refuses what it did not agree to before any work, and what leaves it tells nothing but its update."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chatfed.secagg.messages import MalformedMessage
from chatfed.secagg.primitives import KEY_BYTES
from chatfed.types import ClientId, Entropy, FloatVector
from tests.secagg.rounds import entropy_from
from tests.training.federation import (
    DIMENSION,
    FOUR,
    TERMS,
    WEIGHTS,
    Federation,
    Learner,
    a_recipe,
    invitation,
    stored_upload,
    update_of,
)
from training.parties.answering import Refused
from training.parties.identity import read_key
from training.parties.ledgers import OF_ROUNDS
from training.parties.session import Step
from training.plan.variants import without_noise

A, B, C, D = FOUR


def test_without_a_session_it_answers_nothing(federation: Federation) -> None:
    for step in (Step.ADVERTS, Step.SHARES, Step.SURVIVORS):
        with pytest.raises(Refused, match=r"in no round|agreed on no keys"):
            federation.client(A).handle(bytes([step]) + b"anything")
    for message in (b"", b"\x00", bytes([Step.CERTIFICATE]) + b"x", b"\x07", b"\xff" * 9):
        with pytest.raises(MalformedMessage):
            federation.client(A).handle(message)


def test_refuses_another_recipe_and_a_cohort_without_it_before_any_work(federation: Federation) -> None:
    session = federation.session()
    other = dataclasses.replace(session, recipe=a_recipe(cohort=3).digest())
    with pytest.raises(Refused, match="another recipe"):
        federation.client(A).handle(invitation(other))
    with pytest.raises(Refused, match="recipe's cohort"):
        federation.client(A).handle(invitation(dataclasses.replace(session, cohort=(A, B, C))))
    strangers = tuple(sorted((B, C, D, ClientId("stranger"))))
    with pytest.raises(Refused, match="other clients only"):
        federation.client(A).handle(invitation(dataclasses.replace(session, cohort=strangers)))
    assert federation.learners[A].calls == 0
    assert not any(federation.records(A).there(name) for name in ("ledger", *OF_ROUNDS))


def test_a_setting_of_speed_alone_does_not_make_it_another_recipe(federation: Federation) -> None:
    recipe = federation.recipe
    faster = dataclasses.replace(recipe, runtime=dataclasses.replace(recipe.runtime, workers=9, cache="elsewhere"))
    assert federation.client(A, recipe=faster).handle(invitation(federation.session()))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_weights_that_are_no_numbers(federation: Federation, bad: float) -> None:
    weights = WEIGHTS.copy()
    weights[3] = bad
    with pytest.raises(MalformedMessage, match="weights"):
        federation.client(A).handle(invitation(federation.session(0, weights)))
    assert federation.learners[A].calls == 0


def test_refuses_a_truncated_or_longer_session(federation: Federation) -> None:
    message = invitation(federation.session())
    for broken in (message[:-1], message[:40], message[:1], message + b"\0", message[:-4]):
        with pytest.raises(MalformedMessage, match="the server"):
            federation.client(A).handle(broken)
    assert federation.learners[A].calls == 0


@pytest.mark.parametrize("size", [0.2, 1.0, 3.0, 1e6])
def test_an_update_is_scaled_down_to_the_clip_and_never_up(tmp_path: Path, size: float) -> None:
    federation = Federation(tmp_path, a_recipe(update_clip=0.5, cohort=4), FOUR)
    for name in FOUR:
        federation.learners[name].update = (size * update_of(A) / 0.7).astype(np.float32)
    mean = federation.run().mean
    assert np.linalg.norm(mean) == pytest.approx(min(size, 0.5), rel=1e-4)
    np.testing.assert_allclose(mean / np.linalg.norm(mean), update_of(A) / 0.7, atol=1e-4)


def test_an_update_that_is_no_number_is_charged_and_sent_as_zeros(federation: Federation) -> None:
    """With noise of its own in it: a client that failed there, before or after it paid, would tell of its dialogues."""
    federation.learners[A].update = np.full(7, np.nan, np.float32)
    outcome = federation.run()
    assert outcome.survivors == FOUR and federation.charges(A) == 1
    assert outcome.mean == pytest.approx(sum(update_of(name) for name in (B, C, D)) / 4, abs=1e-3)


def test_without_noise_an_update_that_is_no_number_leaves_with_an_error(federation: Federation) -> None:
    """Nothing is claimed there, and a run that diverged must not look like one that learned nothing."""
    bare = without_noise(federation.recipe)
    federation.recipe, federation.terms = bare, dataclasses.replace(TERMS, noise_multiplier=0.0, mechanism=None)
    federation.learners[A].update = np.full(7, np.nan, np.float32)
    assert federation.run().survivors == (B, C, D)
    assert "not finite" in federation.refusals[A]


def counted_entropy() -> Callable[[ClientId], Entropy]:
    """Other bytes at each call, and the same ones for whoever begins to count again."""
    calls = itertools.count()
    return lambda client: entropy_from(f"{client}/{next(calls)}")


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_no_byte_that_leaves_depends_on_how_many_dialogues_or_what_loss_a_client_has(
    tmp_path: Path, identities: str
) -> None:
    """The same updates, entropy and session from clients with 1 and with 1,000 dialogues: the same bytes."""

    class Local(Learner):
        def __init__(self, update: FloatVector, dialogues: int) -> None:
            super().__init__(update)
            self.dialogues, self.loss = dialogues, 1 / dialogues

    wires = []
    for dialogues, home in ((1, "few"), (1000, "many")):
        federation = Federation(tmp_path / home, a_recipe(cohort=4, identities=identities), FOUR)
        federation.learners = {name: Local(update_of(name), dialogues) for name in FOUR}
        federation.entropy = counted_entropy()
        federation.run(federation.session(attempt=b"a" * 16))
        wires.append(federation.wire)
    assert len(wires[0]) == 4 * (5 if identities == "roster" else 4)
    assert wires[0] == wires[1]


def test_updates_of_other_sizes_leave_in_messages_of_the_same_length(tmp_path: Path) -> None:
    lengths = []
    for scale in (0.0, 1e-3, 1.0):
        federation = Federation(tmp_path / str(scale), a_recipe(cohort=4), FOUR)
        for name in FOUR:
            federation.learners[name].update = (scale * update_of(name)).astype(np.float32)
        federation.run()
        lengths.append([(step, name, len(answer)) for step, name, answer in federation.wire])
    assert lengths[0] == lengths[1] == lengths[2]


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_neither_the_update_nor_a_private_key_is_in_any_message(tmp_path: Path, identities: str) -> None:
    federation, drawn = Federation(tmp_path, a_recipe(cohort=4, identities=identities), FOUR), list[bytes]()

    def remembered(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    federation.entropy = lambda client: remembered
    federation.run()
    updates = [stored_upload(federation.records(name), DIMENSION + 1, "<u4").tobytes() for name in FOUR]
    keys = [each for each in drawn if len(each) == KEY_BYTES]  # for masks and envelopes, a seed, one for the disk
    identity = [read_key(path) for path in tmp_path.glob("*/identity.key")]
    assert len(keys) >= 4 * 4 and len(identity) == (4 if identities == "roster" else 0)
    sent = b"".join(answer for _, _, answer in federation.wire)
    assert not [secret for secret in (*updates, *keys, *identity) if secret in sent]
