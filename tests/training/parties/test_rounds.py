"""A round as the server runs it, with real clients: the survivors' exact sum, or one clear error and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg.messages import BelowThreshold
from chatfed.types import ClientId
from tests.training.federation import BASE, Federation, a_recipe, code_of, integer_sum, names, ring_sum_of
from tests.training.parties.tampering import rows_of
from training.parties.rounds import Outcome, SurvivorsMissing, commit, run_round
from training.parties.session import Step

FIVE = names(5)


A, B, C, D, E = FIVE


STEPS = (Step.SESSION, Step.ADVERTS, Step.SHARES, Step.SURVIVORS)


STAGE = {
    Step.SESSION: "advertise",
    Step.ADVERTS: "share",
    Step.SHARES: "masked input",
    Step.SURVIVORS: "unmask",
}


@pytest.mark.parametrize(
    "silent",
    [
        {},
        {Step.SESSION: [A]},
        {Step.ADVERTS: [B]},
        {Step.SHARES: [C]},
        {Step.SURVIVORS: [D]},
        {Step.SESSION: [E], Step.SHARES: [A]},
        {Step.ADVERTS: [A], Step.SURVIVORS: [E]},
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["silent", "lost"])
def test_the_sum_of_survivors_is_exact_for_dropouts_at_each_step(
    tmp_path: Path, silent: dict[Step, list[ClientId]], how: str
) -> None:
    federation = Federation(tmp_path, a_recipe(ring_bits=16), FIVE)
    setattr(federation, how, silent)
    outcome = federation.run()
    early = {who for step, gone in silent.items() if step <= Step.SHARES for who in gone}
    assert outcome.survivors == tuple(name for name in FIVE if name not in early)
    assert ring_sum_of(federation, outcome) == integer_sum(federation, outcome.survivors)
    assert outcome.dropped == {step: tuple(gone) for step, gone in silent.items()}
    assert outcome.faults == ()


def test_a_32_bit_sum_decodes_from_exactly_the_integers_of_the_survivors(tmp_path: Path) -> None:
    federation = Federation(tmp_path, a_recipe(ring_bits=32), FIVE, silent={Step.SHARES: [B]})
    outcome = federation.run()
    exact = np.array(integer_sum(federation, outcome.survivors), np.uint32)
    mean, weight = code_of(federation).decode(exact, 4)
    assert outcome.mean.tobytes() == mean.tobytes()
    assert weight == 4


Script = tuple[tuple[ClientId, ...], dict[Step, list[ClientId]], dict[Step, list[ClientId]], float]


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    count = draw(st.integers(2, 6))
    who = names(count)
    leaves = draw(st.lists(st.sampled_from([None, None, None, *STEPS]), min_size=count, max_size=count))
    lost = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    fate = list(zip(who, leaves, lost, strict=True))
    silent = {step: [name for name, at, answered in fate if at == step and not answered] for step in STEPS}
    lossy = {step: [name for name, at, answered in fate if at == step and answered] for step in STEPS}
    return who, silent, lossy, draw(st.sampled_from([0.51, 0.67, 1.0]))


@settings(max_examples=40, deadline=None)
@given(scripts())
def test_any_script_of_dropouts_gives_the_exact_sum_or_one_error_and_charges_whoever_learned(script: Script) -> None:
    who, silent, lost, share = script
    with tempfile.TemporaryDirectory() as folder:
        federation = Federation(
            Path(folder), a_recipe(ring_bits=16, threshold=share, cohort=len(who)), who, silent=silent, lost=lost
        )
        need = federation.agreement.sums.threshold(len(who))
        left, failed, asked = set(who), None, set()
        for step in STEPS:
            reached = left - set(silent[step])
            if step == Step.SESSION:
                asked = reached  # these learn, whether anything of it leaves or not
            left = reached - set(lost[step])
            if step == Step.SHARES:
                survivors = tuple(sorted(left))
            if len(left) < need:
                failed = step
                break
        if failed is None:
            outcome = federation.run()
            assert outcome.survivors == survivors
            assert ring_sum_of(federation, outcome) == integer_sum(federation, survivors)
        else:
            with pytest.raises(BelowThreshold) as caught:
                federation.run()
            assert (caught.value.stage, caught.value.got, caught.value.need) == (STAGE[failed], len(left), need)
            assert "\n" not in str(caught.value)
        assert {name for name in who if federation.charges(name)} == asked
        assert all(federation.charges(name) <= 1 for name in who)


@pytest.mark.parametrize("step", STEPS)
def test_below_the_threshold_one_error_names_the_stage_and_no_share_is_given(tmp_path: Path, step: Step) -> None:
    federation = Federation(tmp_path, a_recipe(), FIVE, silent={step: [A, B, C]})
    with pytest.raises(BelowThreshold) as caught:
        federation.run()
    assert (caught.value.stage, caught.value.got, caught.value.need) == (STAGE[step], 2, 3)
    assert caught.value.missing == (A, B, C) and f"missing: {A}, {B}, {C};" in str(caught.value)
    answered = [name for at, name, _ in federation.wire if at == Step.SURVIVORS]
    assert answered == ([D, E] if step == Step.SURVIVORS else [])
    learned = [name for name in FIVE if federation.learners[name].calls]
    assert learned == ([D, E] if step == Step.SESSION else list(FIVE))
    assert [name for name in FIVE if federation.charges(name)] == learned


@pytest.mark.parametrize("step", STEPS)
def test_after_a_failed_round_the_next_attempt_costs_nobody_twice_and_nobody_learns_twice(
    tmp_path: Path, step: Step
) -> None:
    federation = Federation(tmp_path, a_recipe(ring_bits=16), FIVE, silent={step: [A, B, C]})
    with pytest.raises(BelowThreshold):
        federation.run()
    federation.silent = {}
    outcome = federation.run()
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FIVE)
    assert [federation.charges(name) for name in FIVE] == [1] * 5
    assert [federation.learners[name].calls for name in FIVE] == [1] * 5


def test_a_client_that_answers_another_step_or_nonsense_is_left_out_and_named(tmp_path: Path) -> None:
    federation = Federation(tmp_path, a_recipe(ring_bits=16), FIVE)

    def meddling(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        for name, answer in federation(messages):
            if answer[0] == Step.SHARES and name == A:
                answer = bytes([Step.ADVERTS]) + answer[1:]
            if answer[0] == Step.SHARES and name == C:
                answer = answer[:-1]
            yield name, answer

    outcome = run_round(federation.session(), federation.agreement, BASE, meddling)
    assert outcome.survivors == (B, D, E)
    assert ring_sum_of(federation, outcome) == integer_sum(federation, (B, D, E))
    assert len(outcome.faults) == 2
    assert "participant 1" in outcome.faults[0] and "participant 3" in outcome.faults[1]


def test_a_stranger_s_answer_and_a_second_answer_change_nothing(tmp_path: Path) -> None:
    federation = Federation(tmp_path, a_recipe(ring_bits=16), FIVE)

    def doubling(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        for name, answer in federation(messages):
            yield name, answer
            yield name, answer
            yield ClientId("mallory"), answer

    outcome = run_round(federation.session(), federation.agreement, BASE, doubling)
    assert outcome.survivors == FIVE
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FIVE)


def test_committing_erases_every_update_and_round_state_and_the_keys_to_what_a_disk_keeps_of_them(
    tmp_path: Path,
) -> None:
    federation = Federation(tmp_path, a_recipe(), FIVE)
    session = federation.session()
    federation.run(session)
    assert all(federation.records(name).there("update") for name in FIVE)
    assert all(any((tmp_path / name / "records.db.keys").read_bytes()) for name in FIVE)
    federation.gone = set()
    commit(session, federation)
    for name in FIVE:
        with rows_of(federation, name) as database:
            kept = {record for (record,) in database.execute("select name from records")}
        assert kept == {"ledger", "charge 0", "finished"}
        assert not any((tmp_path / name / "records.db.keys").read_bytes())
    assert [federation.charges(name) for name in FIVE] == [1] * 5


def attempt(
    federation: Federation,
    settled: list[Sequence[ClientId]],
    gone: Sequence[ClientId],
    agreed: Sequence[ClientId] | None = None,
) -> Outcome:
    """One attempt with `gone` silent at SHARES; the survivors it settled on are appended to `settled`."""
    federation.silent, federation.gone = {Step.SHARES: gone}, set()
    return run_round(federation.session(), federation.agreement, BASE, federation, agreed, settled.append)


def test_after_clients_have_answered_a_later_attempt_sums_the_same_survivors_and_so_can_end(tmp_path: Path) -> None:
    federation, settled = Federation(tmp_path, a_recipe(ring_bits=16), FIVE), list[Sequence[ClientId]]()
    first = attempt(federation, settled, [A])  # and the server is killed before its checkpoint; A comes back
    again = attempt(federation, settled, [], agreed=settled[0])
    assert settled == [[B, C, D, E]] * 2
    assert again.survivors == first.survivors == (B, C, D, E)
    assert again.mean.tolist() == first.mean.tolist()


def test_an_answered_round_waits_for_its_survivors_and_asks_nobody_meanwhile(tmp_path: Path) -> None:
    federation, settled = Federation(tmp_path, a_recipe(ring_bits=16), FIVE), list[Sequence[ClientId]]()
    attempt(federation, settled, [A])
    federation.wire = []
    with pytest.raises(SurvivorsMissing) as caught:
        attempt(federation, settled, [B], agreed=settled[0])
    assert caught.value.missing == (B,)
    assert "\n" not in str(caught.value) and B in str(caught.value)
    assert not [step for step, _, _ in federation.wire if step == Step.SURVIVORS]
    assert attempt(federation, settled, [], agreed=settled[0]).survivors == (B, C, D, E)


def test_survivors_are_settled_before_anybody_is_asked_to_unmask(tmp_path: Path) -> None:
    federation = Federation(tmp_path, a_recipe(ring_bits=16), FIVE)

    def settle(survivors: Sequence[ClientId]) -> None:
        assert not [step for step, _, _ in federation.wire if step == Step.SURVIVORS]
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        run_round(federation.session(), federation.agreement, BASE, federation, settle=settle)


def test_the_ring_holds_a_whole_cohort_at_the_clip(tmp_path: Path) -> None:
    who = names(6)
    federation = Federation(tmp_path, a_recipe(ring_bits=16, update_clip=0.5, cohort=6), who)
    corner = np.zeros(7, np.float32)
    corner[0] = 50.0  # all of the clipped norm in one coordinate, from everybody
    for name in who:
        federation.learners[name].update = corner
    outcome = federation.run()
    assert outcome.mean[0] == pytest.approx(0.5, rel=1e-3)
    assert not outcome.mean[1:].any()
