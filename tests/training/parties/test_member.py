"""What a member says at the end of a round: what became of its part, what it was charged, and what it sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chatfed.types import ClientId
from tests.training.federation import FOUR, WEIGHTS, Federation, a_recipe, invitation
from training.parties.ledgers import LEDGER, LedgerSetBack
from training.parties.member import Member, TakesNoPart
from training.parties.session import VERSION, Session, Step, committed

A, KIND = FOUR[0], "a round of learning"


def as_member(federation: Federation, said: list[str]) -> Member:
    client = federation.client(A)
    return Member({KIND: client}, {KIND: b"r" * 16}, federation.home / "invited", said.append, "fingerprint", "", None)


def session(federation: Federation, given: tuple[int, ...] = ()) -> Session:
    digest, attempt = federation.agreement.digest, b"a" * 16
    return Session(b"r" * 16, attempt, 0, digest, FOUR, np.copy(WEIGHTS), given=given)


def damage(federation: Federation) -> None:
    federation.records(A).write(LEDGER, "", b"not a ledger")
    federation.records(A).store.commit()


CASES: dict[str, tuple[bool, list[ClientId] | None, Callable[[Federation], None], str]] = {
    "in the sum": (True, [A], lambda federation: None, ": this member's part is in the sum. Epsilon "),
    "late": (True, [], lambda federation: None, "came too late or never, and it was charged all the same. Epsilon "),
    "refused": (False, [], lambda federation: None, ": nothing of this member is in the sum, and nothing was charged."),
    "not said": (True, None, lambda federation: None, ". Epsilon "),
    "unfit": (True, [], damage, ": nothing of this member is in the sum. Answers of"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_end_of_a_round_tells_what_is_true_of_this_member(tmp_path: Path, case: str) -> None:
    invited, survivors, spoil, words = CASES[case]
    federation, said = Federation(tmp_path, a_recipe(cohort=4), FOUR), list[str]()
    member, begun = as_member(federation, said), session(federation)
    sent = len(member.answer(invitation(begun))) if invited else 0
    spoil(federation)
    member = as_member(federation, said) if spoil is damage else member
    member.sent = sent
    assert member.answer(committed(begun, survivors)[A]) == bytes([Step.COMMITTED])
    last = said[-1]
    rounds = federation.recipe.federation.rounds
    assert last.startswith(f"Over: {KIND}, 1 of {rounds}{words if words[0] in ':.' else ''}") and words in last, last
    assert last.endswith(f"Answers of {sent + 1:,} bytes were sent for it.")
    assert not federation.records(A).there("update"), "what a ledger says keeps nothing from being forgotten"


def test_a_ledger_that_knows_of_fewer_rounds_than_were_given_to_is_refused_before_anything_is_learned(
    tmp_path: Path,
) -> None:
    federation, said = Federation(tmp_path, a_recipe(cohort=4), FOUR), list[str]()
    with pytest.raises(LedgerSetBack, match=r"charges of 0 rounds of this run.* sums of 2 .* newest copy"):
        federation.client(A).handle(invitation(session(federation, (2, 0, 0, 0))))
    with pytest.raises(TakesNoPart, match="ledger is older than what it gave to this run"):
        as_member(federation, said).answer(invitation(session(federation, (2, 0, 0, 0))))
    assert not federation.learners[A].calls and not federation.charges(A)
    as_member(federation, said).answer(invitation(session(federation, (0, 2, 2, 2))))
    assert federation.charges(A) == 1, "what others gave is no matter"


def test_another_version_is_told_to_both_sides(tmp_path: Path) -> None:
    federation, said = Federation(tmp_path, a_recipe(cohort=4), FOUR), list[str]()
    with pytest.raises(TakesNoPart, match=rf"version {VERSION + 1} .* version {VERSION}: install the same chatfed"):
        as_member(federation, said).answer(bytes([Step.SESSION, VERSION + 1]) + b"whatever")
    assert said[-1].startswith("Takes no part: the coordinator speaks version")
