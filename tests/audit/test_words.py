"""Words of a text beside words of clients who never trained: made-up clients, of whom everything is known."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.audit import kinds
from chatfed.audit.conformal import Floats, Levels, benjamini_hochberg, conformal, most_false, simes
from chatfed.audit.kinds import (
    FAMILIAR,
    NEW_PLACE,
    NEW_WORD,
    Familiar,
    Said,
    befores,
    nearness,
    plainly,
    word_form,
)
from chatfed.audit.leakage import AuditError, WordShift
from chatfed.audit.words import (
    ALLOWED,
    CONFIDENCE,
    FEWEST,
    NULL_WORDS,
    Calibration,
    Finding,
    Pair,
    Usual,
    calibrate,
    judge,
    only,
)
from chatfed.types import Span

PAIR = Pair("ab" * 32, "cd" * 32)
Draw = Callable[[np.random.Generator, float, int], Floats]
P_VALUES = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=8).map(np.array)


def entropy(size: int) -> bytes:
    return bytes(range(size))


def apart(random: np.random.Generator, client: float, words: int) -> Floats:
    """How high each word of a text stands, 0 the highest, evenly up to 1: each by itself."""
    return random.random(words)


def by_client(random: np.random.Generator, client: float, words: int) -> Floats:
    """The same, where a client's words hang together."""
    drawn = (random.standard_normal(words) + client) / 2**0.5
    return np.array([0.5 * math.erfc(each / 2**0.5) for each in drawn])


def worst(random: np.random.Generator, client: float, words: int, level: float = ALLOWED) -> Floats:
    """The same, where words hang together as is worst for the procedure: k of them at once just below k level / m.

    Guo, Rao 2008: what is found then is the level times 1 + 1/2 + ... + 1/m.
    """
    high = level + (1 - level) * random.random(words)
    weights = level / np.arange(1, words + 1)
    if random.random() < weights.sum():
        k = int(random.choice(words, p=weights / weights.sum())) + 1
        high[random.choice(words, k, replace=False)] = level / words * (k - random.random(k))
    return high


def clients_said(clients: int, draw: Draw = apart, messages: int = 6, words: int = 6, seed: int = 0) -> Said:
    """What made-up clients say: each message four words that all say, then `words` that nobody else does."""
    random = np.random.default_rng(seed)
    said, before, high = list[str](), list[str](), list[Floats]()
    for client in range(clients):
        own = random.standard_normal()
        for message in range(messages):
            mine = [f"house{at}" for at in range(4)] + [f"w{seed}x{client}x{message}x{at}" for at in range(words)]
            said, before = said + mine, before + befores(mine, "user")
            high += [np.full(4, 0.5), draw(random, own, words)]
    number = np.repeat(np.arange(clients * messages), 4 + words)
    reference = np.full(len(said), -20.0)
    return Said(
        said, before, number // messages, number // 2, number, reference * (0.1 + np.concatenate(high)), reference
    )


def shift_of(word: str, served: float, reference: float, start: int = 0) -> WordShift:
    span = Span(start, start + len(word))
    return WordShift(word, span, served, reference, served - reference, 3, 900, 2)


def shifts_of(words: Sequence[tuple[str, float, float]]) -> list[WordShift]:
    return [shift_of(word, served, reference, 50 * at) for at, (word, served, reference) in enumerate(words)]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(clients_said(200), PAIR, entropy)


def test_a_conformal_p_value_counts_the_null_that_is_as_high_and_the_word_itself() -> None:
    null = np.array([1.0, 2.0, 2.0, 5.0])
    assert conformal(np.array([0.0, 2.0, 4.0, 5.0, 6.0]), null).tolist() == [1.0, 0.8, 0.4, 0.4, 0.2]


@given(P_VALUES, st.floats(0.01, 0.6))
def test_the_procedure_finds_what_its_definition_says(p_values: Floats, level: float) -> None:
    """The obvious twin: the largest set of smallest p-values whose largest is within its share of the level."""
    ordered = sorted(p_values)
    most = max((k for k in range(1, len(ordered) + 1) if ordered[k - 1] <= level * k / len(ordered)), default=0)
    wanted = p_values <= (ordered[most - 1] if most else -1)
    assert benjamini_hochberg(p_values, level).tolist() == wanted.tolist()
    combined = simes(p_values)
    assert (combined <= level) == bool(most) or math.isclose(combined, level, rel_tol=1e-12)  # a tie, rounded


@settings(deadline=None, max_examples=40)
@given(P_VALUES, st.floats(0.01, 0.6), st.data())
def test_the_bound_on_false_finds_is_that_of_all_null_sets_which_the_envelope_allows(
    p_values: Floats, level: float, data: st.DataObject
) -> None:
    """The obvious twin: the most of the found that can be null together, k of them never below k level / m."""
    found = np.array(data.draw(st.lists(st.booleans(), min_size=len(p_values), max_size=len(p_values))))
    m, most = len(p_values), 0
    for chosen in range(1 << m):
        null = [p for at, p in enumerate(p_values) if chosen >> at & 1 and found[at]]
        if all(sum(p <= k * level / m for p in null) < k for k in range(1, m + 1)):
            most = max(most, len(null))
    assert most_false(p_values, found, level) == most


def test_words_that_were_not_tested_neither_count_nor_are_found() -> None:
    p_values = np.array([np.nan, 0.04, np.nan])
    assert benjamini_hochberg(p_values, 0.05).tolist() == [False, True, False]
    assert simes(p_values) == 0.04 and simes(np.array([np.nan])) == np.inf
    assert most_false(p_values, np.array([False, True, False]), 0.05) == 0


def test_levels_count_each_client_once_and_the_new_one_against_itself() -> None:
    """The obvious twin asks every level that a text has, and sums over clients."""
    random = np.random.default_rng(3)
    least, whose = random.random(300), random.integers(0, 40, 300)
    levels, clients = Levels.of(least, whose), len(np.unique(whose))
    for allowed in (0.03, 0.1, 0.4):
        found = levels.at(allowed)
        for level, holds in ((found, True), (np.nextafter(found, 1), found == allowed)):
            shares = [np.mean(least[whose == client] <= level) for client in np.unique(whose)]
            assert ((1 + sum(shares)) / (1 + clients) <= allowed + 1e-9) == holds or found == allowed
    assert levels.at(1 / (clients + 2)) == 0.0, "so few clients cannot promise so much"


def test_forms_and_plain_words() -> None:
    assert [word_form(word) for word in ("naïve", "Ää", "7", "a7", "—")] == [0, 1, 2, 3, 4]
    assert plainly("«Straße»!") == "strasse" and befores(["Hi,", "Bo"], "user") == ["<user>", "hi"]
    assert befores([], "user") == []
    assert nearness(np.array([0.0, -0.001]), np.array([-0.64, -0.01])).tolist() == [5.0, 0.0]


def test_what_three_clients_say_is_familiar_after_the_same_word_and_no_word_is_kept() -> None:
    words = ["lost", "Badge"] * 3 + ["my", "badge", "zebra"]
    before = ["my", "lost"] * 3 + ["<user>", "my", "badge"]
    whose = np.array([0, 0, 1, 1, 2, 2, 0, 0, 0])
    said = Said(words, before, whose, whose, whose, np.zeros(9), np.zeros(9))
    familiar = Familiar.among(said, b"salt")
    asked = familiar.families(["badge!", "badge", "zebra", "never"], ["lost", "my", "badge", "lost"])
    assert asked.tolist() == [FAMILIAR, NEW_PLACE, NEW_WORD, NEW_WORD]
    assert Familiar.among(only(said, whose < 2), b"salt").families(["badge"], ["lost"]).tolist() == [NEW_WORD]
    assert not set(familiar.prints.tolist()) & set(Familiar.among(said, b"other").prints.tolist())


@pytest.mark.parametrize("draw", [apart, by_client, worst])
def test_in_texts_of_new_clients_something_is_found_as_seldom_as_promised(draw: Draw) -> None:
    """However words hang together, which Benjamini and Hochberg alone do not survive."""
    calibrations = [calibrate(clients_said(100, draw, seed=seed), PAIR, entropy, seed) for seed in range(3)]
    new = clients_said(120, draw, seed=99)
    messages = [(c, c.least(new)[0]) for c in calibrations]
    promised = np.mean([least.shares(c.level(ALLOWED)).mean() for c, least in messages])
    plain = np.mean([least.shares(ALLOWED).mean() for _, least in messages])
    assert 0.005 < promised < ALLOWED
    if draw is worst:
        assert plain > 1.4 * ALLOWED


def test_the_bound_on_false_finds_holds_at_all_positions_of_the_slider_at_once() -> None:
    """In texts of new clients all finds are false: the bound must be all of them, but for one text in ten."""
    calibration, new = calibrate(clients_said(120, seed=5), PAIR, entropy), clients_said(150, messages=1, seed=6)
    level = calibration.level(1 - CONFIDENCE)
    broken = np.zeros(150)
    for at in range(150):
        p_values = text_p_values(calibration, only(new, new.clients == at))
        found = [benjamini_hochberg(p_values, calibration.level(share / 100)) for share in range(1, 51)]
        broken[at] = any(each.sum() > most_false(p_values, each, level) for each in found)
    assert broken.mean() <= 1 - CONFIDENCE + 3 * (0.09 / 150 + 0.09 / 60) ** 0.5


def text_p_values(calibration: Calibration, said: Said) -> Floats:
    shifts = [
        shift_of(word, served, reference, 50 * at)
        for at, (word, served, reference) in enumerate(zip(said.words, said.served, said.reference, strict=True))
    ]
    told = [word.p_value for word in judge(calibration, shifts).words]
    return np.array([np.nan if p is None else p for p in told])


def test_a_rare_form_is_ranked_by_what_is_typical_of_it() -> None:
    """Training brings some codes near to certain everywhere; a number that comes as near is no such word."""
    plain = clients_said(120, seed=11)
    random, at = np.random.default_rng(11), np.flatnonzero(plain.messages % 6 == 0)[::10]  # a word of each client's
    words, served = list(plain.words), plain.served.copy()
    for number, place in enumerate(at):
        words[place], served[place] = f"73-{number:03d}", -20 * random.uniform(0.8, 1.0)
    mixed = calibrate(replace(plain, words=words, served=served), PAIR, entropy)
    numbers = mixed.usual.scores[mixed.usual.forms == 2]
    assert 20 <= len(numbers) < NULL_WORDS, "too few for a null of their own"
    found = judge(mixed, shifts_of([("48-2913", -5.0, -20.0), ("E-482913", -5.0, -20.0)])).words
    assert [word.finding for word in found] == [Finding.LEAKED, Finding.MANY]
    assert (mixed.usual.scores > 2.0).mean() > 0.05, "many codes came as near"


def test_a_p_value_is_that_among_its_kind_or_else_among_all_by_what_is_typical() -> None:
    """The obvious twin goes through all words for each."""
    random = np.random.default_rng(12)
    forms = np.array([0] * 300 + [3] * 40 + [2] * 5, np.uint8)
    size, zero = len(forms), np.zeros(len(forms), np.int64)
    same = np.full(size, 2, np.uint8)
    null = kinds.Tested(zero, zero, zero, same, forms, same, random.standard_normal(size) * (1 + forms) + forms)

    def alike(form: int, score: float) -> float:
        mine = null.scores[forms == form]
        mine = mine if len(mine) >= 20 else null.scores
        return float((score - mine.mean()) / mine.std())

    asked = [(0, 1.5), (3, 6.0), (2, 4.0)]
    rows = kinds.Tested(
        zero[:3], zero[:3], zero[:3], same[:3], np.array([0, 3, 2], np.uint8), same[:3], np.zeros(3)
    ).kinds()
    for (form, score), row in zip(asked, rows, strict=True):
        among = [alike(int(each), its) for each, its in zip(forms, null.scores, strict=True) if form or not each]
        wanted = (1 + sum(each >= alike(form, score) for each in among)) / (1 + len(among))
        assert Usual(null).p_values(row[None], np.array([score])) == pytest.approx([wanted])
    assert np.isnan(Usual(null).p_values(rows[[0] * 4], np.zeros(4))).all(), "four need 399 words"


def test_each_finding_has_its_rule(calibration: Calibration) -> None:
    text = judge(
        calibration,
        shifts_of(
            [
                ("house0", -2.0, -20.0),  # all say it where it stands, and it was raised
                ("house1", -20.0, -20.5),
                ("the", -0.5, -2.9),
                ("E-482913", -0.1, -20.0),  # nearer than any word that calibrated
                ("dull", -16.0, -20.0),
                ("duller", -20.0, -20.0),
            ]
        ),
    )
    found = [word.finding for word in text.words]
    assert found == [
        *(Finding.MANY, Finding.UNMOVED, Finding.PUBLIC, Finding.LEAKED),
        *(Finding.MANY, Finding.UNMOVED),
    ]
    assert (text.tested, text.found, text.most_false) == (3, 1, 0)
    assert [word.p_value is None for word in text.words] == [True, True, True, False, False, False]


def test_a_word_that_is_rare_but_not_rare_enough_for_its_text_is_suspicious(calibration: Calibration) -> None:
    high = float(np.quantile(calibration.usual.scores, 0.993))
    dull = [(f"dull{at}", -17.0, -20.0) for at in range(20)]
    text = judge(calibration, shifts_of([("rare", -20 / 2**high, -20.0), *dull]))
    assert text.words[0].finding is Finding.SUSPICIOUS and not text.found
    alone = judge(calibration, shifts_of([("rare", -20 / 2**high, -20.0)]))
    assert alone.words[0].finding is Finding.LEAKED


def test_more_is_found_where_more_is_allowed(calibration: Calibration) -> None:
    random = np.random.default_rng(8)
    words = shifts_of([(f"q{at}", -20 * (1 - near), -20.0) for at, near in enumerate(random.uniform(0.8, 0.9, 15))])
    counts = [judge(calibration, words, allowed=share / 100).found for share in range(1, 51)]
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_where_too_few_words_are_to_compare_with_nothing_is_judged(calibration: Calibration) -> None:
    """Of so many words each needs a hundred: more than those who calibrated said."""
    many = len(calibration.usual) // 100 + 2
    text = judge(calibration, shifts_of([(f"code{at}", -0.1, -20.0) for at in range(many)]))
    assert {word.finding for word in text.words} == {Finding.UNJUDGED} and not text.tested


@pytest.mark.parametrize("allowed", [0.0, 1.0, -0.1, float("nan")])
def test_what_is_allowed_is_a_probability(calibration: Calibration, allowed: float) -> None:
    with pytest.raises(AuditError, match="above 0 and below 1"):
        judge(calibration, shifts_of([("a", -1.0, -9.0)]), allowed=allowed)


def test_a_text_without_words_has_no_finds(calibration: Calibration) -> None:
    assert judge(calibration, []).words == [] and judge(calibration, []).found == 0


def test_few_clients_are_refused_and_thirty_can_promise_five_in_a_hundred() -> None:
    with pytest.raises(AuditError, match="29 clients who never trained are too few"):
        calibrate(clients_said(FEWEST - 1), PAIR, entropy)
    few = calibrate(clients_said(FEWEST), PAIR, entropy)
    assert few.clients == FEWEST and few.least_allowed == 0.05
    assert few.level(0.05) > 0 and few.level(0.04) == 0
    text = judge(few, shifts_of([("E-482913", -0.1, -20.0)]), allowed=0.04)
    assert text.found == 0 and text.words[0].finding is Finding.SUSPICIOUS


def test_a_calibration_comes_back_from_its_bytes_which_hold_no_word(calibration: Calibration) -> None:
    content = calibration.to_bytes()
    back = Calibration.from_bytes(content, PAIR)
    assert back.level(ALLOWED) == calibration.level(ALLOWED) > 0
    words = shifts_of([("house0", -2.0, -20.0), ("E-482913", -0.1, -20.0)])
    assert judge(back, words) == judge(calibration, words)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        stored = {file[name].dtype.kind for name in file.files}
        assert not any(b"house" in file[name].tobytes() for name in file.files)
    assert stored == {"i", "u", "f"}, "numbers alone"


def test_another_models_calibration_and_a_spoiled_one_are_refused(calibration: Calibration) -> None:
    content = calibration.to_bytes()
    for pair in (Pair("00" * 32, PAIR.reference), Pair(PAIR.model, "00" * 32)):
        with pytest.raises(AuditError, match="of other models"):
            Calibration.from_bytes(content, pair)
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    spoiled = [b"", b"PK\x03\x04", content[:-200], content[:100] + b"\x00" * 40 + content[140:]]
    for change in (
        {"version": np.array(1)},
        {"usual_scores": arrays["usual_scores"][:-1]},
        {"usual_scores": np.full(len(arrays["usual_scores"]), np.nan)},
        {"texts_forms": arrays["texts_forms"].astype(np.float64)},
        {"prints": np.array(["word"])},
    ):
        file = io.BytesIO()
        np.savez(file, **{**arrays, **change})
        spoiled.append(file.getvalue())
    for each in spoiled:
        with pytest.raises(AuditError, match="cannot be read"):
            Calibration.from_bytes(each, PAIR)
