"""Attacks on synthetic copies: they find what is there, and nothing where the copy knows nobody."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from chatfed.audit.leakage import AuditError
from chatfed.audit.roc import area
from chatfed.audit.synthetic import (
    EACH,
    LEVEL,
    Bigrams,
    Guesser,
    People,
    Rate,
    Risk,
    Told,
    Words,
    echoes,
    linked,
    predicates,
    rate_of,
    said_verbatim,
    singled_out,
)

VOCABULARY = 400


def talks(seed: int, count: int = 60, own: int = 6) -> Words:
    """Dialogues of everyday words below 100 and some rare ones above it."""
    random = np.random.default_rng(seed)
    return [
        random.permutation(np.concatenate([random.integers(0, 100, 14), random.integers(100, VOCABULARY, own)]))
        for _ in range(count)
    ]


def people(texts: Words, dialogues: int = 2) -> People:
    halves = [(each[: len(each) // 2], each[len(each) // 2 :]) for each in texts]
    return People(texts, [a for a, _ in halves], [b for _, b in halves], np.arange(len(texts)) // dialogues)


def plain(rate: Rate) -> tuple[int, int]:
    return rate.hits, rate.of


RARE = np.array([130])
MEMBERS, CONTROLS, PUBLIC = people(talks(1)), people(talks(2)), talks(3, own=0)


@pytest.mark.parametrize(("hits", "of"), [(3, 100), (0, 10), (10, 10), (417, 2000)])
def test_rates_have_wilsons_interval(hits: int, of: int) -> None:
    told, theirs = Rate(hits, of).to_json(), binomtest(hits, of).proportion_ci(LEVEL, method="wilson")
    assert (told["low"], told["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "of"), [(0, 0), (2, 1), (-1, 3)])
def test_what_is_no_rate_is_refused(hits: int, of: int) -> None:
    with pytest.raises(AuditError, match="no rate"):
        Rate(hits, of)


def test_a_risk_is_what_the_attack_does_better_than_on_controls() -> None:
    risk = Risk("", Rate(60, 100), Rate(20, 100), Rate(5, 100))
    main, control = (60 + 2.70595) / 105.41189, (20 + 2.70595) / 105.41189  # z is 2.32635
    assert risk.value == pytest.approx((main - control) / (1 - control), abs=1e-5)
    step = 1e-6  # its interval by numerical derivatives

    def value(a: float, b: float) -> float:
        return (a - b) / (1 - b)

    slopes = (
        (value(main + step, control) - value(main - step, control)) / (2 * step),
        (value(main, control + step) - value(main, control - step)) / (2 * step),
    )
    assert risk.half == pytest.approx(math.hypot(slopes[0] * risk.main.half, slopes[1] * risk.control.half), rel=1e-4)
    assert risk.found and not risk.weak and Risk("", Rate(5, 100), Rate(5, 100), Rate(5, 100)).weak


@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=50, deadline=None)
def test_where_both_sides_succeed_alike_no_risk_is_found(of: int, hits: int, naive: int) -> None:
    rate = Rate(min(hits, of), of)
    assert Risk("", rate, rate, Rate(min(naive, of), of)).low <= 0


def test_an_attack_that_public_text_does_as_well_finds_nothing() -> None:
    risk = Risk.of("", Rate(60, 100), Rate(20, 100), Rate(60, 100))
    assert risk.low > 0 and risk.weak and not risk.found


def test_dialogues_of_one_client_count_as_much_as_they_differ() -> None:
    owners = np.repeat(np.arange(50), 10)
    alike, mixed = owners % 2 == 0, np.arange(500) % 2 == 0  # whole clients; half of each client's
    assert rate_of(mixed, owners).design == pytest.approx(1.0, abs=0.08)
    assert rate_of(alike, owners).design == pytest.approx(10 * 50 / 49 * (2.40489 / 2.32635) ** 2, abs=1e-3)
    few, one = rate_of(alike[:40], owners[:40]), rate_of(alike[:10], owners[:10])  # Student's t is wider for few
    assert few.design > 2 * rate_of(alike, owners).design and one.design == one.of == 10


def test_both_sides_of_a_risk_have_the_larger_design_effect() -> None:
    risk = Risk.of("", Rate(20, 1200, 15.0), Rate(0, 1200), Rate(0, 1200))
    assert risk.main.design == risk.control.design == 15 and not risk.found
    assert Risk("", Rate(20, 1200), Rate(0, 1200), Rate(0, 1200)).found  # were they independent


@pytest.mark.parametrize(("clients", "a", "b"), [(120, 0.3, 2.0), (120, 0.05, 5.0), (30, 0.5, 0.8)])
def test_where_clients_differ_and_nothing_leaks_it_is_found_as_seldom_as_stated(
    clients: int, a: float, b: float
) -> None:
    """Each client has its own chance, Beta(a, b): dialogues as independent would be found far oftener."""
    random, owners = np.random.default_rng(7), np.repeat(np.arange(clients), 10)
    naive, rounds, found, independent = Rate(0, len(owners)), 600, 0, 0
    for _ in range(rounds):
        main, control = (random.random(len(owners)) < random.beta(a, b, clients)[owners] for _ in range(2))
        found += Risk.of("", rate_of(main, owners), rate_of(control, owners), naive).low > 0
        bare, other = (Rate(int(each.sum()), len(each)) for each in (main, control))
        independent += Risk("", bare, other, naive).low > 0
    assert binomtest(found, rounds, EACH, alternative="greater").pvalue > 0.001
    assert independent > 3 * EACH * rounds


def test_singling_out_is_found_as_seldom_as_stated_where_rare_pairs_are_few_clients() -> None:
    """A client's pairs come together: a copy's rare words are all of one topic that few clients have."""
    random, rounds, found = np.random.default_rng(8), 120, 0
    for _ in range(rounds):
        pairs = np.stack([np.arange(0, 60), np.arange(60, 120)], 1)  # a topic: six pairs in a row
        sides = []
        for _ in range(2):
            topics = [random.permutation(10)[: random.poisson(0.15)] for _ in range(60)]
            texts = [np.concatenate([pairs[6 * t : 6 * t + 6].ravel() for t in mine] or [RARE]) for mine in topics]
            sides.append(People(texts, texts, texts, np.arange(60)))
        main, control = (singled_out(pairs, side, VOCABULARY) for side in sides)
        found += Risk.of("", main, control, Rate(0, 60)).low > 0
    assert binomtest(found, rounds, EACH, alternative="greater").pvalue > 0.001


def test_a_copy_of_the_dialogues_themselves_singles_clients_out_and_a_foreign_one_does_not() -> None:
    def risk(copy: Words) -> Risk:
        random = np.random.default_rng(0)
        pairs = predicates(copy, PUBLIC, VOCABULARY, 400, random)
        blind = predicates(PUBLIC, PUBLIC, VOCABULARY, 400, random, naive=True)
        return Risk.of(
            "",
            singled_out(pairs, MEMBERS, VOCABULARY),
            singled_out(pairs, CONTROLS, VOCABULARY),
            singled_out(blind, MEMBERS, VOCABULARY) if len(blind) else Rate(0, 1),
        )

    assert risk(MEMBERS.texts).low > 0.5 and risk(talks(9)).low < 0


def test_predicates_are_rare_pairs_that_no_public_dialogue_has() -> None:
    copy = talks(5)
    pairs = predicates(copy, PUBLIC, VOCABULARY, 200, np.random.default_rng(0))
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs) == 200 and (pairs[:, 0] < pairs[:, 1]).all()
    public = {pair for each in PUBLIC for pair in combinations(sorted(set(each.tolist())), 2)}
    within = {pair for each in copy for pair in combinations(sorted(set(each.tolist())), 2)}
    found = {(int(a), int(b)) for a, b in pairs}
    assert not found & public and found <= within


def test_singling_out_counts_clients_as_a_slow_loop_does() -> None:
    pairs = predicates(MEMBERS.texts, PUBLIC, VOCABULARY, 100, np.random.default_rng(3))
    hits = 0
    for a, b in pairs.tolist():
        has = [{a, b} <= set(each.tolist()) for each in MEMBERS.texts]
        hits += len(set(MEMBERS.owners[has].tolist())) == 1
    assert plain(singled_out(pairs, MEMBERS, VOCABULARY)) == (hits, len(pairs))


def test_halves_are_linked_by_a_copy_that_holds_them() -> None:
    same, foreign = linked(MEMBERS, MEMBERS, VOCABULARY), linked(people(talks(9)), MEMBERS, VOCABULARY)
    assert plain(same) == (60, 60) and foreign.hits < 45
    risk = Risk.of("", same, linked(MEMBERS, CONTROLS, VOCABULARY), linked(people(PUBLIC), MEMBERS, VOCABULARY))
    assert risk.low > 0.2 and risk.found


def test_neighbours_are_those_of_a_slow_cosine() -> None:
    copy, mine = people(talks(6, 12)), people(talks(7, 8))

    def nearest(words: np.ndarray, others: Words) -> set[int]:
        often = Counter(word for each in others for word in set(each.tolist()))
        weight = {word: math.log(1 + len(others) / (1 + often[word])) for word in range(VOCABULARY)}

        def cosine(other: np.ndarray) -> float:
            a, b = set(words.tolist()), set(other.tolist())
            lengths = [math.sqrt(sum(weight[word] ** 2 for word in each)) for each in (a, b)]
            return sum(weight[word] ** 2 for word in a & b) / (lengths[0] * lengths[1])

        values = [cosine(other) for other in others]
        order = sorted(range(len(others)), key=lambda at: (-values[at], at))
        return {at for at in order[:2] if values[at] > 0}

    hits = sum(
        bool(nearest(a, copy.asked) & nearest(b, copy.answered))
        for a, b in zip(mine.asked, mine.answered, strict=True)
    )
    assert plain(linked(copy, mine, VOCABULARY, 2)) == (hits, 8)


def test_a_value_that_the_copy_says_after_the_same_words_is_inferred() -> None:
    copy = [np.array(each) for each in ([1, 2, 3, 50, 51, 9], [1, 2, 3, 60, 61, 8], [2, 3, 60, 61], [7, 7, 7])]
    told = [
        Told((1, 2, 3), np.array([1, 2, 3, 9]), (50, 51)),  # in the dialogue that is most like it
        Told((1, 2, 3), np.array([1, 2, 3, 8]), (60, 61)),
        Told((9, 9, 4), np.array([9, 4]), (50, 51)),  # nothing is said after such words
    ]
    guesser = Guesser(copy, VOCABULARY)
    assert plain(guesser.rate(told)) == (2, 3)
    assert plain(guesser.rate(told, naive=True)) == (1, 3)  # the copy says 50, 51 and 60, 61 once each: the first


def test_a_shorter_lead_is_tried_where_the_whole_is_nowhere_said() -> None:
    guesser = Guesser([np.array([3, 50]), np.array([1, 2])], VOCABULARY)
    assert plain(guesser.rate([Told((8, 8, 3), np.array([1]), (50,))])) == (1, 1)


def test_echoes_recognise_what_the_copy_repeats() -> None:
    mine, theirs = (echoes(MEMBERS.texts, PUBLIC, each, VOCABULARY) for each in (MEMBERS, CONTROLS))
    assert area(mine, theirs).low > 0.9
    mine, theirs = (echoes(talks(9), PUBLIC, each, VOCABULARY) for each in (MEMBERS, CONTROLS))
    assert area(mine, theirs).low < 0.5


def test_pairs_of_words_share_out_all_probability() -> None:
    model = Bigrams(MEMBERS.texts, VOCABULARY)
    for first in (0, 5, 399):
        each = [math.exp(model.mean_log(np.array([first, word]))) for word in range(VOCABULARY)]
        assert sum(each) == pytest.approx(1, abs=1e-9)
    words = MEMBERS.texts[0]
    one_by_one = [model.mean_log(np.array(pair)) for pair in pairwise(words.tolist())]
    assert model.mean_log(words) == pytest.approx(sum(one_by_one) / len(one_by_one))
    assert model.mean_log(words[:1]) == 0


@given(
    st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=4),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_values_are_found_where_their_words_stand_in_a_row(texts: list[list[int]], values: list[list[int]]) -> None:
    copy = [np.array(each, np.int64) for each in texts]
    slow = [any(f",{','.join(map(str, v))}," in f",{','.join(map(str, t))}," for t in texts) for v in values]
    assert said_verbatim(copy, [tuple(each) for each in values]).tolist() == slow
