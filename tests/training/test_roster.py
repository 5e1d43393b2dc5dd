"""Rounds with pinned identities: the exact sum of survivors, and one signed survivor set whatever the attempt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatfed.types import ChatfedError, ClientId
from tests.training.federation import BASE, Federation, a_recipe, integer_sum, names, ring_sum_of
from tests.training.processes import PLAIN, here, rows, settings
from training.parties.identity import IdentityError
from training.parties.rounds import run_round
from training.parties.session import Step

TEN = names(10)
A, B, C, D = TEN[:4]
STEPS = (Step.SESSION, Step.ADVERTS, Step.SHARES, Step.SURVIVORS, Step.CERTIFICATE)


def pinned(home: Path, who: tuple[ClientId, ...] = TEN) -> Federation:
    return Federation(home, a_recipe(ring_bits=16, identities="roster", cohort=len(who)), who)


@pytest.mark.parametrize("step", [None, *STEPS])
@pytest.mark.parametrize("how", ["silent", "lost"])
def test_the_sum_of_survivors_is_exact_for_a_dropout_at_each_step(tmp_path: Path, step: Step | None, how: str) -> None:
    federation = pinned(tmp_path)
    setattr(federation, how, {step: [C]} if step else {})
    outcome = federation.run()
    early = step is not None and step <= Step.SHARES
    assert outcome.survivors == tuple(name for name in TEN if not (early and name == C))
    assert ring_sum_of(federation, outcome) == integer_sum(federation, outcome.survivors)
    assert outcome.faults == ()


def test_three_clients_are_summed_all_or_none_and_that_is_known_before_any_update_is_sent(tmp_path: Path) -> None:
    """Where one of three may be curious, two signatures are no quorum: it could give its own to two sets."""
    federation = pinned(tmp_path, TEN[:3])
    outcome = federation.run()
    assert outcome.survivors == TEN[:3] and ring_sum_of(federation, outcome) == integer_sum(federation, TEN[:3])
    federation.silent = {Step.SHARES: [C]}
    with pytest.raises(ChatfedError, match="only 2 participants at stage masked input, 3 needed"):
        federation.run(federation.session(1))
    assert not [name for step, name, _ in federation.wire if step > Step.SHARES]


def test_below_the_quorum_nobody_answers(tmp_path: Path) -> None:
    federation = pinned(tmp_path)
    federation.silent = {Step.SURVIVORS: TEN[:5]}
    with pytest.raises(ChatfedError, match="consent"):
        federation.run()
    assert not [name for step, name, _ in federation.wire if step == Step.CERTIFICATE]


def test_a_client_that_signed_one_survivor_set_signs_no_other_in_a_later_attempt(tmp_path: Path) -> None:
    federation = pinned(tmp_path)
    federation.silent = {Step.CERTIFICATE: TEN}  # all have signed, and the server is killed before anybody answers
    with pytest.raises(ChatfedError, match="unmask"):
        federation.run()
    federation.silent = {Step.SHARES: [D]}  # a second sum without D would give D's update by its difference
    with pytest.raises(ChatfedError, match="consent"):
        federation.run()
    assert all("second set" in federation.refusals[name] for name in TEN if name != D)
    federation.silent = {}
    assert federation.run().survivors == TEN


def test_a_client_takes_nobody_for_a_member_who_is_not_on_its_own_roster(tmp_path: Path) -> None:
    federation = pinned(tmp_path)
    del federation.roster[B]
    with pytest.raises(IdentityError, match=B):
        run_round(federation.session(), federation.agreement, BASE, federation, roster=federation.roster)


def test_a_server_with_another_roster_gets_no_round(tmp_path: Path) -> None:
    federation = pinned(tmp_path)
    swapped = {**federation.roster, A: federation.roster[B], B: federation.roster[A]}
    with pytest.raises(ChatfedError):
        run_round(federation.session(), federation.agreement, BASE, federation, roster=swapped)
    assert not [name for step, name, _ in federation.wire if step != Step.SESSION]


def test_sixty_clients_on_a_circle_give_the_exact_sum(tmp_path: Path) -> None:
    who = tuple(ClientId(f"client-{i:02}") for i in range(60))
    recipe = a_recipe(ring_bits=21, identities="roster", cohort=60)
    federation = Federation(tmp_path, recipe, who, lost={Step.SHARES: [who[7]], Step.CERTIFICATE: [who[30]]})
    outcome = federation.run()
    assert outcome.survivors == tuple(name for name in who if name != who[7])


def test_a_run_with_a_roster_says_what_its_masks_hold_against_and_keeps_keys_to_their_owners(
    tiny_base: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = here(
        *("--base", tiny_base, "--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl"),
        *("--recipe", PLAIN, "--rounds", "2", "--cohort", "4", "--out", out),
        *settings(
            secagg__identities='"roster"', model__trainable='["all"]', model__context=64, runtime__workers=1,
            privacy__noise_multiplier=1.1, runtime__evaluation_dialogues=5, runtime__cache=f'"{tmp_path / "cache"}"',
        ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    claim = json.loads((out / "privacy.json").read_text())["secure_aggregation"]
    assert claim["identities"] == "roster" and "deviates at will" in claim["holds_against"]
    assert (claim["committee"], claim["quorum"]) == (4, 3)
    keys = sorted((out / "state" / "clients").glob("*/identity.key"))
    assert len(keys) == len((out / "state" / "roster").read_text().splitlines()) == 8
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)
    assert [row["survivors"] for row in rows(out)] == [4, 4]
