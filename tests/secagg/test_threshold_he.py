"""Sums under a threshold key: the exact sum of the survivors, or one typed error; and who cannot know more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from chatfed.secagg import client, lattice, messages, shamir, states
from chatfed.secagg.messages import BelowThreshold, Kind, MalformedMessage, Parameters, RefusedParameters, WrongStep
from chatfed.secagg.schemes import scheme_of
from chatfed.secagg.shamir import PRIME
from chatfed.secagg.states import Masked
from tests.secagg.forging import certificate, consented, survivors
from tests.secagg.rounds import (
    Carried,
    agreed_on,
    assert_exact_sum,
    body_of,
    carry,
    carry_on,
    entropy_from,
    random_vectors,
    ring_sum,
    signs_as,
    state_of,
)

SEVEN = Parameters(7, 4, 5, committee=7, quorum=5, scheme="threshold-he")
SHARE = 33  # where the share begins in the body of an answer of seven


@pytest.fixture(scope="module")
def finished() -> Carried:
    """A round with identities in which 7 dropped after sharing and 1..6 survived."""
    carried = Carried(SEVEN)
    carry(SEVEN, random_vectors(SEVEN), {2: {7}}, carried=carried)
    return carried


@pytest.mark.parametrize("ring_bits", [16, 21, 32])
@pytest.mark.parametrize(
    "gone",
    [{}, {0: {1}}, {1: {2}}, {2: {3}}, {3: {4}}, {4: {4}}, {0: {1}, 1: {2}, 2: {3}, 4: {4}}, {0: {5, 6}, 4: {1}}],
    ids=str,
)
def test_sum_of_survivors_is_exact_for_dropouts_at_each_stage(gone: dict[int, set[int]], ring_bits: int) -> None:
    assert_exact_sum(Parameters(9, 5, 33, ring_bits, committee=9, quorum=5, scheme="threshold-he"), gone)


@pytest.mark.parametrize(("stage", "label"), [(0, "advertise"), (1, "share"), (2, "masked input"), (4, "unmask")])
def test_server_below_threshold_opens_nothing(stage: int, label: str) -> None:
    parameters, carried = Parameters(6, 4, 8, scheme="threshold-he"), Carried(SEVEN)
    carried.parameters = parameters
    with pytest.raises(BelowThreshold) as caught:
        carry(parameters, random_vectors(parameters), {stage: {1, 2, 3}}, carried=carried)
    assert (caught.value.stage, caught.value.got, caught.value.need) == (label, 3, 4)
    answers = [kind for kind, _ in carried.wire if kind is Kind.ANSWER]
    assert len(answers) == (3 if stage == 4 else 0)


def test_several_sums_of_one_agreement_have_keys_of_their_own() -> None:
    parameters = Parameters(4, 3, 9, 16, slots=3, scheme="threshold-he")
    carried, vectors = agreed_on(parameters), random_vectors(parameters)
    for slot in (0, 2):
        total = carry_on(carried, slot, vectors, {2: {4}} if slot else None)
        assert total.vector.tolist() == ring_sum(parameters, [vectors[i] for i in total.survivors])
    seeds = [carried.secrets_of(i, slot).seed for i in range(1, 5) for slot in range(3)]
    assert len({lattice.key_polynomial(seed).tobytes() for seed in seeds}) == 12


# What is refused before anything is asked


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ({"participants": 60, "threshold": 20, "degree": 30}, "degree"),
        ({"participants": 513, "threshold": 257, "ring_bits": 16}, "participants"),
        ({"participants": 556, "threshold": 300, "ring_bits": 32}, "participants"),
        ({"participants": 3, "threshold": 2}, "threshold"),
        ({"participants": 5, "threshold": 3, "scheme": "none"}, "scheme"),
        ({"participants": 512, "threshold": 257, "ring_bits": 16, "dimension": 88}, "dimension"),
    ],
    ids=str,
)
def test_parameters_that_the_scheme_does_not_bear_are_refused(size: dict[str, object], name: str) -> None:
    with pytest.raises(RefusedParameters, match=f"^{name} is"):
        Parameters(**{"dimension": 5, "scheme": "threshold-he", **size})  # type: ignore[arg-type]


def test_parameters_come_back_from_bytes_and_another_scheme_is_another_session() -> None:
    assert Parameters.from_bytes(SEVEN.to_bytes()) == SEVEN
    masks = Parameters(7, 4, 5, committee=7, quorum=5)
    assert masks.to_bytes() != SEVEN.to_bytes() and len(masks.to_bytes()) == len(SEVEN.to_bytes()) == 37
    carried = Carried(masks)
    carry(masks, random_vectors(masks), carried=carried)
    of_keys = client.advertise(
        Parameters(7, 4, 5, scheme="threshold-he"), messages.Floors(2, 2), b"s" * 32, b"e" * 16, 1, entropy_from(0)
    )[0]
    with pytest.raises(messages.MalformedMessage) as caught:
        client.share(of_keys, carried.wire[Kind.ADVERTS, 1], entropy_from(0))
    assert (caught.value.sender, caught.value.field) == (0, "context")


@pytest.mark.parametrize("ids", [{1}, {1, 2}, {1, 2, 3}])
def test_a_set_below_the_threshold_gets_no_answer_so_no_single_key_can_be_asked_for(
    finished: Carried, ids: set[int]
) -> None:
    with pytest.raises(BelowThreshold):
        consented(finished, 1, ids)


def balanced_sum(holders: Sequence[int], shares: NDArray[np.int64]) -> list[int]:
    """What shares of small numbers give, between -p/2 and p/2."""
    found = shamir.combine_elements(holders, (shares % PRIME).astype(np.uint16))
    return np.where(found > PRIME // 2, found - PRIME, found).tolist()  # type: ignore[no-any-return]


def test_answers_for_two_sets_that_differ_by_one_would_give_its_key_so_no_client_gives_the_second(
    finished: Carried,
) -> None:
    """Each answer is harmless; of two in one turn, the difference is a share of the single key."""
    everyone, fewer, holders = range(1, 7), (1, 2, 3, 4, 6), (1, 2, 3, 4)
    given = {
        ids: np.stack([answer_of(state_of(finished, i, Masked), frozenset(ids)) for i in holders])
        for ids in (tuple(everyone), fewer)
    }
    key_of_five = lattice.key_polynomial(finished.secrets_of(5).seed).tolist()
    assert balanced_sum(holders, given[tuple(everyone)] - given[fewer]) == key_of_five
    for i in holders:
        state = consented(finished, i, everyone)
        answered, _ = client.unmask(state, certificate(finished, everyone, everyone))
        for spent in (state, answered):
            with pytest.raises(WrongStep):
                client.consent(spent, survivors(finished, i, fewer), signs_as(i))
        with pytest.raises(MalformedMessage, match="survivors"):
            client.unmask(state, certificate(finished, fewer, fewer))
        with pytest.raises(messages.AlreadyAnswered):
            client.unmask(answered, certificate(finished, fewer, fewer))


def answer_of(masked: Masked, ids: frozenset[int]) -> NDArray[np.int64]:
    """A holder's sum of shares over these, whether or not it would say so."""
    return np.frombuffer(body_of(scheme_of(SEVEN).answer(masked, ids))[SHARE:], "<u2").astype(np.int64)


def test_an_answer_is_one_vector_of_one_length_whoever_survived(finished: Carried) -> None:
    masked = state_of(finished, 2, Masked)
    for chosen in (range(1, 7), range(1, 5)):
        message = scheme_of(SEVEN).answer(masked, frozenset(chosen))
        assert len(body_of(message)) == SHARE + 4096
    with pytest.raises(KeyError):
        scheme_of(SEVEN).answer(masked, frozenset({1, 7, 8}))


def test_once_the_ciphertext_is_made_no_state_holds_the_key(finished: Carried) -> None:
    for who in range(1, 7):
        secrets = finished.secrets_of(who)
        for i, state in finished.history:
            if i == who and isinstance(state, states.Masked | states.Consented | states.Answered):
                stored = b"".join(state.to_parts())
                assert secrets.seed not in stored
                assert (secrets.own_share in stored) == (not isinstance(state, states.Answered))


# What colluders know: linear algebra over the field of shares


def rank(rows: NDArray[np.int64]) -> int:
    """Of a matrix modulo p, by elimination."""
    matrix, found = rows % PRIME, 0
    for column in range(matrix.shape[1]):
        below = np.flatnonzero(matrix[found:, column])
        if below.size:
            pivot = found + int(below[0])
            matrix[[found, pivot]] = matrix[[pivot, found]]
            matrix[found] = matrix[found] * pow(int(matrix[found, column]), -1, PRIME) % PRIME
            factors = matrix[:, column].copy()
            factors[found] = 0
            matrix = (matrix - factors[:, None] * matrix[found]) % PRIME
            found += 1
    return found


def determined(rows: NDArray[np.int64], wanted: NDArray[np.int64]) -> bool:
    """Whether the linear function `wanted` of the unknowns follows from the values of `rows`."""
    return rank(np.vstack([rows, wanted])) == rank(rows)


def knowledge(
    colluders: Sequence[int], survivors: Sequence[int], holders: Sequence[int], threshold: int
) -> NDArray[np.int64]:
    """What is known of one coefficient of honest survivors' polynomials, as functions of their coefficients.

    The colluders' shares of each; and of each holder that answered, the sum of its shares.
    """
    honest = [i for i in survivors if i not in colluders]
    powers = {x: np.array([pow(x, k, PRIME) for k in range(threshold)]) for x in (*colluders, *holders)}
    rows = [np.kron(np.eye(len(honest), dtype=np.int64)[k], powers[x]) for k in range(len(honest)) for x in colluders]
    return np.array([*rows, *(np.tile(powers[x], len(honest)) for x in holders)])


@pytest.mark.parametrize("colluders", [(1,), (1, 2), (3, 5, 6)])
def test_server_and_fewer_holders_than_the_threshold_learn_the_sum_of_honest_keys_and_no_single_one(
    finished: Carried, colluders: tuple[int, ...]
) -> None:
    """The attack: all answers, and all that t - 1 holders have, as one linear system.

    The sum of the honest keys is in its span; that of any proper part of them, or a single one, is not.
    """
    everyone, t = range(1, 7), SEVEN.threshold
    system = knowledge(colluders, everyone, everyone, t)
    honest = [i for i in everyone if i not in colluders]
    key_of = {
        i: np.kron(np.eye(len(honest), dtype=np.int64)[k], np.eye(1, t, dtype=np.int64)[0])
        for k, i in enumerate(honest)
    }
    assert determined(system, sum(key_of.values()))  # type: ignore[arg-type]
    for i in honest:
        assert not determined(system, key_of[i])
    for cut in range(1, len(honest)):
        assert not determined(system, sum(key_of[i] for i in honest[:cut]))  # type: ignore[arg-type]


def test_the_system_is_what_travelled_and_as_many_holders_as_the_threshold_would_break_it(finished: Carried) -> None:
    everyone, t, colluders = range(1, 7), SEVEN.threshold, (1, 2, 3, 4)
    answers = {i: np.frombuffer(body_of(finished.wire[Kind.ANSWER, i])[SHARE:], "<u2").astype(int) for i in everyone}
    held = {x: finished.secrets_of(x).shares for x in everyone}
    for x in everyone:
        own = np.frombuffer(finished.secrets_of(x).own_share, "<u2").astype(int)
        summed = own + sum(np.frombuffer(held[x][i], "<u2").astype(int) for i in everyone if i != x)
        assert (summed % PRIME == answers[x]).all()
    system = knowledge(colluders, everyone, everyone, t)
    assert determined(system, np.eye(1, system.shape[1], dtype=np.int64)[0])  # the assumption is needed
    shares = np.stack([np.frombuffer(held[x][5], "<u2") for x in colluders])
    key = shamir.combine_elements(colluders, shares)
    balanced = np.where(key > PRIME // 2, key - PRIME, key)
    assert balanced.tolist() == lattice.key_polynomial(finished.secrets_of(5).seed).tolist()


def test_fewer_shares_of_a_sum_than_the_threshold_fit_every_key_alike() -> None:
    """For any t - 1 shares and any key there is exactly one polynomial of degree below t: nothing is ruled out."""
    points, t = (1, 2, 3, 4), 5
    held = shamir.share_elements(np.array([123]), (*points, 5), t, entropy_from(1))[:-1]
    for key in (0, 1, 59, 123, PRIME - 59, PRIME - 1):
        vandermonde = np.array([[pow(x, k, PRIME) for k in range(t)] for x in (0, *points)])
        assert rank(vandermonde) == t
        fifth = continued((0, *points), [key, *held[:, 0].tolist()], 5)
        whole = np.array([*held[:, 0].tolist(), fifth], np.uint16)[:, None]
        assert shamir.combine_elements((*points, 5), whole).tolist() == [key]


def continued(xs: Sequence[int], ys: Sequence[int], at: int) -> int:
    """The value at `at` of the polynomial through these points, by Lagrange's formula."""
    total = 0
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        above, below = 1, 1
        for j, other in enumerate(xs):
            if j != i:
                above, below = above * (at - other) % PRIME, below * (x - other) % PRIME
        total += y * above * pow(below, -1, PRIME)
    return total % PRIME


def test_fewer_shares_of_a_sum_than_the_threshold_are_distributed_alike_for_unlike_keys() -> None:
    """Chi-square of two holders' shares of sums of three keys, whose sums are far apart; 3 of 3 would tell them."""
    two, three = [], []
    for seed, coefficient in ((1, 59), (2, -59)):
        keys = np.full(20_000, coefficient % PRIME)
        summed = sum(shamir.share_elements(keys, (1, 2, 3), 3, entropy_from((seed, k))).astype(int) for k in range(3))
        shares = np.asarray(summed) % PRIME
        first, second = shares[:2] * 8 // PRIME
        two.append(np.bincount(8 * first + second, minlength=64))
        opened = shamir.combine_elements((1, 2, 3), shares.astype(np.uint16)).astype(int) * 8 // PRIME
        three.append(np.bincount(opened, minlength=8))
    assert stats.chi2_contingency(np.array(two)).pvalue > 1e-4
    for table in two:
        assert stats.chisquare(table).pvalue > 1e-4
    assert [table.tolist() for table in three] == [[20_000, *[0] * 7], [*[0] * 7, 20_000]]  # the same test sees these
