"""Keys agreed on once serve several rounds, each of their slots one sum."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from chatfed.secagg.messages import BelowThreshold, ProtocolError
from chatfed.types import ClientId
from tests.training.federation import FOUR, WEIGHTS, invitation
from tests.training.parties.standing import KEEPING, SLOTS, Epochs, a_federation, refuses
from training.parties.rounds import commit
from training.parties.session import Step

A, B, C, D = FOUR
FIVE = (*FOUR, ClientId("client-04"))
GOING_ON = Step.SESSION, Step.SHARES, Step.SURVIVORS
KILLED = [(3, Step.SESSION, 6), (0, Step.ADVERTS, 3), (0, Step.SHARES, 1), *product([1], GOING_ON, [2])]  # round, back


@pytest.mark.parametrize("keeping", KEEPING)
def test_rounds_go_on_with_the_keys_of_the_first_until_all_slots_are_used(each_kind: Epochs, keeping: str) -> None:
    each_kind.keeping = keeping
    for index in range(SLOTS + 2):
        outcome, begins = each_kind.round(index), index in (0, SLOTS)
        assert each_kind.exact(outcome, FOUR) and not outcome.dropped and not outcome.faults
        assert each_kind.agreed_anew == begins and each_kind.enveloped == (set(FOUR) if begins else set())
        assert all(len(answer) == 1 for step, _, answer in each_kind.wire if step == Step.SESSION) != begins
        each_kind.wire.clear()
        commit(each_kind.session(index), each_kind)
    assert each_kind.spent() == [(SLOTS + 2, SLOTS + 2)] * 4


def test_the_server_keeps_envelopes_of_those_alone_who_may_not_have_them(epochs: Epochs) -> None:
    epochs.round(0, silent={Step.SHARES: [D]})
    assert list(epochs.standing.waiting) == [4] and type(epochs.standing.waiting) is dict  # no others
    epochs.round(1)
    assert epochs.enveloped == {D} and not epochs.standing.waiting


@pytest.mark.parametrize("other", ["cohort", "run", "size", "too few"])
def test_another_cohort_run_or_model_size_or_too_few_with_keys_begin_with_new_ones(tmp_path: Path, other: str) -> None:
    epochs = a_federation(tmp_path, clients=FIVE)
    epochs.round(0, session=replace(epochs.session(0), cohort=FOUR))
    for learner in epochs.learners.values() if other == "size" else ():
        learner.update = learner.update[1:]
    if other == "too few" and epochs.standing.epoch:
        epochs.standing.epoch = replace(epochs.standing.epoch, sharers=frozenset({1, 2}))
    said: dict[str, Any] = {"cohort": {"cohort": FIVE[1:]}, "run": {"run": b"s" * 16}, "size": {"weights": WEIGHTS[1:]}}
    second = replace(epochs.session(1), **{"cohort": FOUR} | said.get(other, {}))
    assert epochs.round(1, session=second).survivors == second.cohort and epochs.agreed_anew
    epochs.round(2, session=replace(second, attempt=b"2" * 16, epoch=b"", round=2))
    assert not epochs.agreed_anew


@pytest.mark.parametrize("how", ["silent", "lost"])
@pytest.mark.parametrize(("identities", "step"), [*product(["none", "roster"], GOING_ON), ("roster", Step.CERTIFICATE)])
def test_who_drops_out_of_a_round_is_in_the_next(tmp_path: Path, identities: str, step: Step, how: str) -> None:
    epochs = a_federation(tmp_path, identities)
    epochs.keeping = "kept" if how == "silent" else "both by turns"
    epochs.round(0)
    without = epochs.round(1, *[{step: [D]}, {}][:: 1 if how == "silent" else -1])
    assert without.dropped == {step: (D,)} and not epochs.agreed_anew
    assert epochs.exact(without, FOUR if step > Step.SHARES else FOUR[:3])
    assert epochs.exact(epochs.round(2), FOUR) and not epochs.agreed_anew and not epochs.enveloped


@pytest.mark.parametrize("step", [Step.SESSION, Step.ADVERTS])
def test_who_missed_the_agreement_on_keys_is_named_and_left_out_until_the_next(each_kind: Epochs, step: Step) -> None:
    assert each_kind.exact(each_kind.round(0, silent={step: [D]}), FOUR[:3])
    for index in (1, 2):
        outcome = each_kind.round(index)
        assert each_kind.exact(outcome, FOUR[:3]) and outcome.dropped == {Step.ADVERTS: (D,)}
        assert all(D not in asked for asked in each_kind.asked.values())
    assert each_kind.spent()[3] == ((0, 0) if step == Step.SESSION else (1, 1))
    assert each_kind.exact(each_kind.round(3), FOUR) and each_kind.agreed_anew


def test_who_missed_the_agreement_on_keys_is_in_the_next_round_where_keys_are_renewed_for_it(epochs: Epochs) -> None:
    epochs.round(0, silent={Step.SESSION: [D]})
    epochs.standing.renew(FOUR, FOUR[:3])  # it is still away
    assert epochs.exact(epochs.round(1), FOUR[:3]) and not epochs.agreed_anew
    epochs.standing.renew(FOUR, FOUR)
    assert epochs.exact(epochs.round(2), FOUR) and epochs.agreed_anew
    epochs.standing.renew(FOUR, FOUR)
    assert epochs.exact(epochs.round(3), FOUR) and not epochs.agreed_anew


@pytest.mark.parametrize("keeping", KEEPING)
def test_envelopes_come_again_also_to_one_that_had_opened_them(epochs: Epochs, keeping: str) -> None:
    epochs.keeping = keeping
    assert epochs.exact(epochs.round(0, lost={Step.SHARES: [D]}), FOUR[:3])
    assert epochs.exact(epochs.round(1), FOUR) and epochs.enveloped == {D}
    assert epochs.exact(epochs.round(2), FOUR) and epochs.enveloped == set()


@pytest.mark.parametrize("step", [*GOING_ON, None])
def test_after_a_round_that_failed_the_next_begins_with_new_keys(epochs: Epochs, step: Step | None) -> None:
    epochs.round(0)
    with pytest.raises(BelowThreshold if step else SystemExit):
        epochs.round(1, **({"silent": {step: [C, D]}} if step else {"settle": sys.exit}))
    assert not epochs.agreed_anew
    assert epochs.exact(epochs.round(1), FOUR) and epochs.agreed_anew
    assert epochs.spent() == [(2, 2)] * 4


@pytest.mark.parametrize("keeping", KEEPING)
def test_keys_that_are_not_there_or_not_for_this_sum_are_refused_at_no_charge(tmp_path: Path, keeping: str) -> None:
    epochs = a_federation(tmp_path, "roster", clients=FIVE)
    epochs.keeping = keeping
    nobody_s: dict[str, Any] = {"epoch": b"x" * 16, "cohort": FOUR}
    assert refuses(epochs, invitation(epochs.on_standing(0, 1, nobody_s)), "has agreed on no keys")
    epochs.round(0, session=replace(epochs.session(0), cohort=FOUR))
    wrong: list[dict[str, Any]] = [{"slot": SLOTS}, {"slot": 2**32 - 1}, {"run": b"s" * 16}, {"weights": WEIGHTS[1:]}]
    for other in (nobody_s, *wrong, {"cohort": (A, *FIVE[2:])}):
        match = "has no keys of the epoch that the server" if other is nobody_s else "are not for this sum"
        assert refuses(epochs, invitation(epochs.on_standing(1, 1, {"cohort": FOUR} | other)), match)
    roster = dict(epochs.roster)
    epochs.roster[B] = roster[FIVE[4]]  # its own has changed since
    assert refuses(epochs, invitation(epochs.on_standing(1, 1, {"cohort": FOUR})), "are not for this sum")
    epochs.roster |= roster
    outcome = epochs.round(1, session=replace(epochs.session(1), cohort=FOUR))
    assert outcome.survivors == FOUR and not epochs.agreed_anew


def test_who_shared_keys_but_was_not_reached_with_its_envelopes_is_in_the_next_round(epochs: Epochs) -> None:
    assert epochs.exact(epochs.round(0, silent={Step.SHARES: [D]}), FOUR[:3])
    assert epochs.exact(epochs.round(1), FOUR) and epochs.enveloped == {D}


@pytest.mark.parametrize("keeping", KEEPING)
def test_a_slot_that_was_used_or_passed_over_serves_no_other_round(epochs: Epochs, keeping: str) -> None:
    epochs.keeping = keeping
    epochs.round(0)
    epochs.standing.used = 2  # slot 1 is passed over
    assert epochs.exact(epochs.round(1), FOUR) and not epochs.agreed_anew
    for index, slot in ((1, 2), (2, 1), (3, 0)):
        assert refuses(epochs, invitation(epochs.on_standing(index, slot)), "has used its keys of this sum")
    assert epochs.spent()[0] == (2, 2)
    assert epochs.exact(epochs.round(4), FOUR) and epochs.agreed_anew


@pytest.mark.parametrize(("field", "said"), [("slot", {"slot": 2}), ("context", {"ctx": b"c" * 32})])
def test_to_mask_for_what_it_was_not_invited_to_is_refused_at_no_slot(epochs: Epochs, field: str, said: Any) -> None:
    epochs.round(0)
    session = epochs.on_standing(1, 1)
    epochs.client(A).handle(invitation(session))
    assert refuses(epochs, epochs.shares(session, **said), f"present.*{field}", ProtocolError)
    assert epochs.exact(epochs.round(1), FOUR) and not epochs.agreed_anew and epochs.spent()[0] == (2, 2)


@pytest.mark.parametrize("keys", ["of the same epoch", "of another"])
@pytest.mark.parametrize("first", ["all", "without D"])
def test_one_survivor_set_for_one_round_in_whatever_slot_or_epoch(each_kind: Epochs, keys: str, first: str) -> None:
    """And the same numbers each time, at no second charge."""
    sets: list[Any] = [{}, {Step.SHARES: [D]}][:: 1 if first == "all" else -1]
    outcome = each_kind.round(0, lost=sets[0])
    stored = [each_kind.records(name).read("update") for name in FOUR]
    if keys == "of another":
        each_kind.standing.epoch = None
    with pytest.raises(BelowThreshold):
        each_kind.round(0, lost=sets[1])
    assert each_kind.agreed_anew == (keys == "of another")
    assert [name for name, why in each_kind.refusals.items() if "answers for no second set" in why] == [A, B, C]
    again = each_kind.round(0, lost=sets[0])
    assert (again.mean.tolist(), again.survivors) == (outcome.mean.tolist(), outcome.survivors)
    assert [each_kind.records(name).read("update") for name in FOUR] == stored
    assert each_kind.spent() == [(1, 1)] * 4


@pytest.mark.parametrize(("index", "step", "back"), KILLED)
def test_killed_before_a_commit_it_is_back_in_a_later_slot(epochs: Epochs, index: int, step: Step, back: int) -> None:
    for each in range(back + 1):
        epochs.crash = step if each == index else None
        outcome = epochs.round(each)
        out = index <= each < back and step != Step.SURVIVORS
        assert epochs.exact(outcome, FOUR[1:] if out else FOUR)
        assert epochs.agreed_anew == (each % SLOTS == 0) and epochs.crash is None
        assert all("\n" not in why for why in epochs.refusals.values())
    assert epochs.charges(A) == epochs.learners[A].calls
