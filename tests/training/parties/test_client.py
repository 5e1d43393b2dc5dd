"""A client keeps its own book: charged once, before anything leaves; one update a round; its own terms."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from chatfed.privacy.accounting import Mechanism
from chatfed.privacy.guarantee import Protected
from chatfed.privacy.ledger import Budget, BudgetExceeded, LedgerError
from chatfed.secagg.graph import derive_active
from chatfed.secagg.messages import AlreadyAnswered, MalformedMessage, RefusedParameters, WrongStep
from chatfed.secagg.states import DamagedState
from chatfed.types import ChatfedError, ClientId, Entropy, FloatVector
from tests.secagg.rounds import entropy_from
from tests.training.federation import (
    BASE,
    MECHANISM,
    TERMS,
    WEIGHTS,
    Federation,
    Learner,
    a_recipe,
    integer_sum,
    names,
    ring_sum_of,
    update_of,
)
from tests.training.plans import sums_of
from training.parties.client import Refused
from training.parties.homes import OF_ROUNDS, read_tagged, tagged
from training.parties.rounds import commit, run_round
from training.parties.session import Session, Step, round_context
from training.plan.recipe import without_noise

FOUR = names(4)
A, B, C, D = FOUR


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path, a_recipe(ring_bits=16, cohort=4), FOUR)


def invitation(session: Session) -> bytes:
    return bytes([Step.SESSION]) + session.to_bytes()


def test_charges_once_for_a_round_that_takes_several_attempts(federation: Federation) -> None:
    for _ in range(3):
        federation.run()
    assert [federation.charges(name) for name in FOUR] == [1] * 4
    assert [federation.learners[name].calls for name in FOUR] == [1] * 4


def test_charges_each_round_and_keeps_exactly_what_was_planned(federation: Federation) -> None:
    for round_index in range(3):
        session = federation.session(round_index)
        federation.run(session)
        commit(session, federation)
    entries = federation.client(A).ledger().entries
    assert [entry.mechanism for entry in entries] == [MECHANISM] * 3
    assert [entry.key.split("/")[1] for entry in entries] == ["0", "1", "2"]
    assert entries[0].key.endswith("/" + round_context(federation.session(0), BASE).hex())  # not a short form of it


def test_another_global_model_under_the_same_round_number_is_charged_and_learned_anew(federation: Federation) -> None:
    federation.run(federation.session(0))
    federation.run(federation.session(0, WEIGHTS * 2))
    assert [federation.charges(name) for name in FOUR] == [2] * 4
    assert [federation.learners[name].calls for name in FOUR] == [2] * 4


def test_another_run_or_round_number_is_charged_anew_for_the_same_model(federation: Federation) -> None:
    federation.run(federation.session(0))
    federation.run(federation.session(1))
    federation.run(dataclasses.replace(federation.session(0), run=b"s" * 16))
    assert [federation.charges(name) for name in FOUR] == [3] * 4


def test_is_charged_before_it_learns(federation: Federation) -> None:
    """What it learns shows before anything is sent: in the time that it takes, and in whether it fails."""
    seen = []

    class Watching(Learner):
        def __call__(self, weights: FloatVector) -> list[FloatVector]:
            seen.append(federation.charges(A))
            return super().__call__(weights)

    federation.learners[A] = Watching(update_of(A))
    federation.run()
    assert seen == [1] and federation.charges(A) == 1


def test_a_server_that_asks_with_one_model_after_another_is_charged_for_each_until_the_budget_is_spent(
    federation: Federation,
) -> None:
    """No message but the invitation is ever sent: the client learned all the same."""
    federation.terms = dataclasses.replace(TERMS, budget=Budget(2.0, 1e-5))
    asked = 0

    def insist() -> None:
        nonlocal asked
        for asked in range(50):
            federation.client(A).handle(invitation(federation.session(0, WEIGHTS * (asked + 1))))

    with pytest.raises(BudgetExceeded):
        insist()
    ledger = federation.client(A).ledger()
    assert 1 < asked < 50 and federation.learners[A].calls == len(ledger.entries) == asked
    assert ledger.epsilon <= 2.0


class Killed(BaseException):
    """The end of a process: nothing in the product catches it."""


class Dying(Learner):
    """Killed while it learns, the first time."""

    def __call__(self, weights: FloatVector) -> list[FloatVector]:
        learned = super().__call__(weights)
        if self.calls == 1:
            raise Killed
        return learned


def test_killed_while_it_learns_it_learns_again_for_the_charge_that_was_made(federation: Federation) -> None:
    federation.learners[A] = Dying(update_of(A))
    with pytest.raises(Killed):
        federation.client(A).handle(invitation(federation.session()))
    assert federation.charges(A) == 1
    outcome = federation.run()
    assert outcome.survivors == FOUR and federation.charges(A) == 1 and federation.learners[A].calls == 2
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)


def test_killed_before_the_charge_it_pays_when_it_is_asked_again(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dead:
        dead.setattr("chatfed.privacy.ledger.Ledger.charge", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            federation.client(A).handle(invitation(federation.session()))
    assert (federation.charges(A), federation.learners[A].calls) == (0, 0)
    federation.run()
    assert (federation.charges(A), federation.learners[A].calls) == (1, 1)


def test_killed_while_it_learns_for_one_model_it_pays_for_another_and_does_not_go_back(federation: Federation) -> None:
    federation.learners[A] = Dying(update_of(A))
    first, second = federation.session(0), federation.session(0, WEIGHTS * 2)
    with pytest.raises(Killed):
        federation.client(A).handle(invitation(first))
    federation.client(A).handle(invitation(second))
    assert federation.charges(A) == 2
    with pytest.raises(Refused, match="makes no second one"):
        federation.client(A).handle(invitation(first))
    assert federation.charges(A) == 2 and federation.learners[A].calls == 2


def test_crash_after_storing_the_update_gives_that_update_and_one_charge(federation: Federation) -> None:
    federation.client(A).handle(invitation(federation.session()))  # and the process is gone
    assert federation.charges(A) == 1
    federation.learners[A] = Learner(-update_of(A))  # learning again would give other numbers, as with fresh noise
    outcome = federation.run()
    assert federation.learners[A].calls == 0
    federation.learners[A] = Learner(update_of(A))
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)
    assert federation.charges(A) == 1


def test_crash_after_charging_and_before_storing_or_sending_gives_the_same_message_and_no_second_charge(
    federation: Federation,
) -> None:
    kept: dict[str, bytes] = {}
    given: list[bytes] = []

    def crashing(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if A in messages and messages[A][0] == Step.SHARES:
            kept["round"] = (federation.home / A / "round.bin").read_bytes()
            given.append(federation.client(A).handle(messages[A]))
            (federation.home / A / "round.bin").write_bytes(kept["round"])  # the disk as a crash after charging has it
        yield from federation(messages)

    outcome = run_round(federation.session(), federation.agreement, BASE, crashing)
    again = [answer for step, name, answer in federation.wire if (step, name) == (Step.SHARES, A)]
    assert again == given
    assert federation.charges(A) == 1
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)


def test_crash_after_the_masked_input_was_made_loses_the_attempt_but_no_epsilon(federation: Federation) -> None:
    federation.lost = {Step.SHARES: [A, B]}
    with pytest.raises(ChatfedError, match="only 2 participants"):
        federation.run()
    federation.lost = {}
    outcome = federation.run()
    assert ring_sum_of(federation, outcome) == integer_sum(federation, FOUR)
    assert [federation.charges(name) for name in FOUR] == [1] * 4
    assert [federation.learners[name].calls for name in FOUR] == [1] * 4


def test_after_the_round_is_committed_it_refuses_that_round_and_pays_nothing(federation: Federation) -> None:
    session = federation.session()
    federation.run(session)
    commit(session, federation)
    with pytest.raises(Refused, match="erased it; it gives no second one"):
        federation.client(A).handle(invitation(federation.session()))
    assert federation.learners[A].calls == 1
    assert federation.charges(A) == 1


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_a_step_is_not_done_twice_also_after_a_restart(tmp_path: Path, identities: str) -> None:
    """A client object lives for one message here: what it did before, it knows from its disk alone."""
    federation = Federation(tmp_path, a_recipe(cohort=4, identities=identities), FOUR)
    messages: dict[Step, bytes] = {}

    def watching(asked: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        if A in asked:
            messages[Step(asked[A][0])] = asked[A]
        return federation(asked)

    federation.carry(federation.session(), watching)
    client, last = federation.client(A), list(messages)[-1]
    assert last == (Step.CERTIFICATE if identities == "roster" else Step.SURVIVORS)
    with pytest.raises(AlreadyAnswered):
        client.handle(messages.pop(last))
    for step in (Step.ADVERTS, Step.SHARES, Step.SURVIVORS):
        if step in messages:
            with pytest.raises(WrongStep):
                client.handle(messages[step])


def test_without_a_session_it_answers_nothing(federation: Federation) -> None:
    for step in (Step.ADVERTS, Step.SHARES, Step.SURVIVORS):
        with pytest.raises(Refused, match="in no round"):
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
    assert not (federation.home / A / "round.bin").exists()


def test_a_client_accepts_no_round_below_what_it_has_derived_itself() -> None:
    recipe = a_recipe(identities="roster", cohort=60)
    sums = sums_of(recipe, 2.0)
    parameters = sums.parameters(60, 7)
    own = sums.floors(parameters)
    own.refuse(parameters)
    p, circle = parameters, derive_active(60, recipe.secagg.corrupt, recipe.secagg.dropout)
    assert (p.degree, p.threshold, p.most_gone) == dataclasses.astuple(circle)  # for a server that says who drops out
    for weaker in (
        {"threshold": p.threshold - 1},
        {"ring_bits": 21},
        {"degree": p.degree + 2},
        {"degree": p.degree - 2, "most_gone": p.degree // 2 - 1},
        {"committee": p.committee - 1},
        {"quorum": p.quorum - 1},
        {"most_gone": p.most_gone + 1},
    ):
        with pytest.raises(RefusedParameters, match=next(iter(weaker))):
            own.refuse(dataclasses.replace(parameters, **weaker))
    assert own.survivors == 54  # what a tenth may leave, on a circle: its sizes are for so many
    few = sums_of(a_recipe(identities="roster", threshold=0.9, cohort=10), 2.0)
    assert few.floors(few.parameters(10, 7)).survivors == 9


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


def test_an_exhausted_budget_refuses_before_learning_and_the_round_goes_on_without_it(federation: Federation) -> None:
    one = TERMS.mechanism
    assert one is not None
    poor = dataclasses.replace(TERMS, budget=Budget(0.1, 1e-5))
    with pytest.raises(BudgetExceeded, match=A):
        federation.client(A, poor).handle(invitation(federation.session()))
    assert federation.learners[A].calls == 0
    assert federation.client(A, poor).ledger().entries == ()


def test_the_budget_ends_participation_at_the_planned_number_of_rounds(federation: Federation) -> None:
    from chatfed.privacy.accounting import epsilon

    two = epsilon(MECHANISM.noise_multiplier, MECHANISM.sampling_rate, 2, delta=1e-5)
    federation.terms = dataclasses.replace(TERMS, budget=Budget(two, 1e-5))
    for round_index in range(2):
        assert federation.run(federation.session(round_index)).survivors == FOUR
    with pytest.raises(ChatfedError, match="only 0 participants"):
        federation.run(federation.session(2))
    assert all("budget of epsilon" in reason for reason in federation.refusals.values())
    assert [federation.learners[name].calls for name in FOUR] == [2] * 4
    assert federation.client(A).ledger().epsilon == pytest.approx(two)


def test_without_noise_nothing_is_charged_and_no_ledger_is_begun(federation: Federation) -> None:
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.0, mechanism=None)
    federation.run()
    assert not (federation.home / A / "ledger.json").exists()


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


def test_neither_the_update_nor_a_private_key_is_in_any_message(federation: Federation) -> None:
    federation.run()
    secret_files = [(federation.home / name / "update.bin").read_bytes()[-28:] for name in FOUR]
    sent = b"".join(answer for _, _, answer in federation.wire)
    assert all(secret not in sent for secret in secret_files)


def test_what_a_client_keeps_is_readable_by_its_owner_only(federation: Federation) -> None:
    federation.run()
    for path in (federation.home / A).iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_damaged_round_state_is_an_error_not_a_fresh_start(federation: Federation) -> None:
    federation.client(A).handle(invitation(federation.session()))
    path = federation.home / A / "round.bin"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    for broken in (bytes(content), path.read_bytes()[:50], b""):
        path.write_bytes(broken)
        with pytest.raises(ChatfedError):
            federation.client(A).handle(bytes([Step.ADVERTS]) + b"x")


@pytest.mark.parametrize(
    ("file", "step"),
    [
        ("update.bin", Step.SESSION),
        ("finished", Step.SESSION),
        ("answered.bin", Step.COMMITTED),
        ("round.bin", Step.SHARES),
    ],
)
def test_damage_in_any_file_of_a_client_is_named_and_nothing_is_guessed(
    federation: Federation, file: str, step: Step
) -> None:
    session = federation.session(1)
    federation.run(federation.session(0))
    federation.run(session)
    path = federation.home / A / file
    path.write_bytes(b"\x03\x00\xff\xff\xff" + path.read_bytes() if path.exists() else b"\xff")
    message = invitation(session) if step == Step.SESSION else bytes([step]) + session.name
    with pytest.raises(DamagedState, match=file):
        federation.client(A).handle(message)


@pytest.mark.parametrize("file", ["update.bin", "answered.bin", "finished"])
def test_one_flipped_bit_in_what_a_client_remembers_is_found(federation: Federation, file: str) -> None:
    """A key that reads differently would be another round's: the client would forget what it gave or answered."""
    federation.run(federation.session(0))
    federation.run(federation.session(1))
    path = federation.home / A / file
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 37):
        spoiled = bytearray(content)
        spoiled[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(spoiled))
        with pytest.raises(DamagedState, match=file):
            read_tagged(path)


def test_a_state_does_not_open_beside_names_or_numbers_that_it_was_not_stored_with(federation: Federation) -> None:
    """Numbers of a survivor set under other names would be another set; another dimension another charge."""
    federation.client(A).handle(invitation(federation.session()))
    path = federation.home / A / "round.bin"
    stored = read_tagged(path)
    assert stored is not None
    key, body = stored
    for old, new in (
        (b'"client-01"', b'"client-07"'),
        (b'"dimension": 7', b'"dimension": 8'),
        (b"/0/", b"/1/"),
    ):
        assert old in body
        path.write_bytes(tagged(key, body.replace(old, new)))  # the checksum is right
        with pytest.raises(DamagedState):
            federation.client(A).handle(bytes([Step.ADVERTS]) + b"x")


def test_an_update_cut_short_on_disk_is_not_sent(federation: Federation) -> None:
    session = federation.session()
    federation.client(A).handle(invitation(session))
    path = federation.home / A / "update.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedState, match=r"update\.bin"):
        federation.client(A).handle(invitation(session))


def test_a_client_that_answered_for_one_survivor_set_answers_for_no_other_in_a_later_attempt(
    federation: Federation,
) -> None:
    federation.run()  # the server has the sum of all four, and is killed before its checkpoint
    federation.silent = {Step.SHARES: [D]}  # a second sum without D would give D's update by its difference
    with pytest.raises(ChatfedError, match="unmask"):
        federation.run()
    assert all("second set" in federation.refusals[name] for name in (A, B, C))


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_without_the_record_of_its_answer_it_takes_no_part_in_that_round_again(tmp_path: Path, identities: str) -> None:
    """Else a second set could be answered for: the record's absence would read as never having answered."""
    federation = Federation(tmp_path, a_recipe(cohort=4, identities=identities), FOUR)
    federation.run()
    (federation.home / A / "answered.bin").unlink()
    with pytest.raises(Refused, match=r"answered\.bin, which says for which survivors, is gone"):
        federation.client(A).handle(invitation(federation.session()))
    assert federation.run(federation.session(1)).survivors == FOUR


def test_the_same_survivor_set_is_answered_again_in_a_later_attempt(federation: Federation) -> None:
    federation.silent = {Step.SHARES: [D]}
    first = federation.run()
    assert federation.run().mean.tolist() == first.mean.tolist()


def test_committing_another_round_erases_nothing(federation: Federation) -> None:
    federation.run(federation.session(1))
    commit(federation.session(0), federation)
    assert (federation.home / A / "update.bin").exists()


def test_a_client_does_one_thing_at_a_time(federation: Federation) -> None:
    """Two invitations at once must not learn twice: the second finds what the first has stored."""
    invited = invitation(federation.session())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: federation.client(A).handle(invited), range(4)))
    assert federation.learners[A].calls == 1


def test_without_noise_too_a_finished_round_gets_no_second_sum(federation: Federation) -> None:
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.0, mechanism=None)
    session = federation.session()
    federation.run(session)
    commit(session, federation)
    federation.silent = {Step.SHARES: [D]}  # a second sum without D would give D's bare update by its difference
    with pytest.raises(ChatfedError, match="only 0 participants"):
        federation.run()
    assert all("no second one" in reason for reason in federation.refusals.values())


@pytest.mark.parametrize("identities", ["none", "roster"])
def test_answering_the_next_round_finishes_the_one_before_though_no_commit_came(
    tmp_path: Path, identities: str
) -> None:
    """Without noise no ledger remembers: the client itself must, or the old round could be summed over other names."""
    federation = Federation(tmp_path, a_recipe(cohort=4, identities=identities), FOUR)
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.0, mechanism=None)
    federation.run(federation.session(0))
    federation.run(federation.session(1))
    federation.silent = {Step.SHARES: [D]}
    with pytest.raises(ChatfedError, match="only 0 participants"):
        federation.run(federation.session(0))
    assert all("no second one" in reason for reason in federation.refusals.values()) and len(federation.refusals) == 4
    federation.silent = {}
    assert federation.run(federation.session(1)).survivors == FOUR  # the round that is not over is answered as before
    assert [federation.learners[name].calls for name in FOUR] == [2] * 4


def test_an_update_made_under_other_terms_is_not_sent_under_these(federation: Federation) -> None:
    weak = Mechanism(0.5, 0.25, 1)
    federation.terms = dataclasses.replace(TERMS, noise_multiplier=0.5, mechanism=weak)
    federation.client(A).handle(invitation(federation.session()))  # learned with little noise, and nothing has left
    federation.terms = TERMS
    assert federation.run().survivors == (B, C, D)
    assert "on other terms; it makes no second one" in federation.refusals[A]
    assert [entry.mechanism for entry in federation.client(A).ledger().entries] == [weak]


@pytest.mark.parametrize("file", OF_ROUNDS)
def test_a_ledger_that_is_gone_is_refused_where_anything_of_the_past_is_there(
    federation: Federation, file: str
) -> None:
    home = federation.home / A
    home.mkdir()
    (home / file).write_bytes(b"of an earlier day")
    with pytest.raises(LedgerError, match=f"is gone, but client-00 took part .*{file} is there.*restore the ledger"):
        federation.client(A).ledger()
    assert not (home / "ledger.json").exists()


def test_a_client_whose_ledger_was_deleted_takes_no_part_and_a_fresh_one_does(federation: Federation) -> None:
    for round_index in range(3):
        federation.run(session := federation.session(round_index))
        commit(session, federation)
    (federation.home / A / "ledger.json").unlink()
    assert federation.run(federation.session(3)).survivors == (B, C, D)
    assert "ledger.json is gone" in federation.refusals[A] and "\n" not in federation.refusals[A]
    assert federation.learners[A].calls == 3
    for path in (federation.home / A).iterdir():
        path.unlink()
    assert federation.run(federation.session(4)).survivors == FOUR


def test_an_older_copy_of_the_ledger_is_found_by_the_rounds_that_were_finished_since(federation: Federation) -> None:
    path = federation.home / A / "ledger.json"
    for round_index in range(3):
        federation.run(session := federation.session(round_index))
        commit(session, federation)
        if round_index == 0:
            older = path.read_bytes()
    path.write_bytes(older)
    assert federation.run(federation.session(3)).survivors == (B, C, D)
    assert "lacks the charge of 2 of the rounds that client-00 has finished (round 1" in federation.refusals[A]
    assert federation.learners[A].calls == 3


@pytest.mark.parametrize("cut", [0, 1, 100, -9])
def test_a_ledger_cut_short_is_no_new_budget(federation: Federation, cut: int) -> None:
    federation.run()
    path = federation.home / A / "ledger.json"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(LedgerError, match="is damaged, so what was spent is unknown: restore it from a backup"):
        federation.client(A).handle(invitation(federation.session(1)))
    assert federation.learners[A].calls == 1


def test_the_ledger_of_another_client_or_for_another_unit_is_refused(federation: Federation) -> None:
    federation.run()
    (federation.home / A / "ledger.json").write_bytes((federation.home / B / "ledger.json").read_bytes())
    with pytest.raises(LedgerError, match="of client 'client-01', not of 'client-00'"):
        federation.client(A).handle(invitation(federation.session(1)))
    whole = dataclasses.replace(TERMS, budget=dataclasses.replace(TERMS.budget, unit=Protected.CLIENT))
    with pytest.raises(LedgerError, match="one dialogue, not for one client"):
        federation.client(B, whole).handle(invitation(federation.session(1)))


def test_a_survivor_set_is_read_by_the_names_of_its_own_round(federation: Federation) -> None:
    federation.run()
    assert not (federation.home / A / "cohort.bin").exists()
    stored = (federation.home / A / "answered.bin").read_bytes()
    assert all(name.encode() in stored for name in FOUR)
