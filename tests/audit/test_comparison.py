"""What is said of learning: intervals as a slow twin finds them, and a verdict that no single figure decides."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.audit import comparison
from chatfed.audit.comparison import RESAMPLES, SEED, Comparison, Interval, Sums, compare, sentence, share_beyond

WORDS, BYTES = 50, 250


def sums(nats: list[float], top1: list[float], top3: list[float] | None = None) -> Sums:
    rows = zip(nats, top1, top3 or top1, strict=True)
    return np.array([[bits, BYTES, WORDS, first, third] for bits, first, third in rows], np.float64)


def around(middle: float, spread: float, count: int = 20, seed: int = 0) -> list[float]:
    return [float(value) for value in middle + spread * np.random.default_rng(seed).normal(size=count)]


def verdict(before: Sums, after: Sums) -> str:
    return compare(before, after).verdict


BASE = sums(around(300, 9), around(12, 1, seed=1), around(20, 1, seed=2))


def moved(nats: float = 0.0, top1: float = 0.0, top3: float = 0.0, noise: float = 0.2) -> Sums:
    """Each dialogue by about as much, some more and some less."""
    after = BASE.copy()
    for column, by in ((0, nats), (3, top1), (4, top3)):
        after[:, column] += by + noise * np.resize([1, -1, 2, -2], len(BASE))
    return after


def test_fewer_bits_and_no_fewer_right_words_is_learned() -> None:
    assert verdict(BASE, moved(nats=-10, top1=1, top3=1)) == "learned"
    assert verdict(BASE, moved(nats=-10)) == "learned", "words neither better nor worse"


def test_a_perplexity_that_falls_while_fewer_words_are_right_is_not_learned() -> None:
    """As the build before told it: perplexity a word fell by 99 %, and the next word was right less often."""
    after = moved(nats=-230, top1=-2)
    assert 1 - math.exp((after - BASE)[:, 0].sum() / BASE[:, 2].sum()) > 0.98
    assert verdict(BASE, after) == "worse"
    assert verdict(BASE, moved(nats=-230, top3=-2)) == "worse"


def test_more_bits_are_worse_whatever_else_is_better() -> None:
    assert verdict(BASE, moved(nats=10, top1=3, top3=3)) == "worse"


def test_a_change_that_chance_explains_is_not_learned() -> None:
    assert verdict(BASE, moved(nats=-0.1, noise=3.0)) == "did not learn"
    assert verdict(BASE, BASE.copy()) == "did not learn"
    assert verdict(BASE, moved(top1=2, top3=2, noise=0.5)) == "did not learn", "right words alone do not decide it"


def test_one_dialogue_that_gains_much_is_not_learned() -> None:
    """Most of such a fall is one client's: another draw of clients has it not."""
    after = BASE.copy()
    after[3, 0] -= 250
    found = compare(BASE, after, np.arange(20))
    assert found.bits_per_byte.difference < -0.05 and found.verdict == "did not learn"


def slow(before: Sums, after: Sums, groups: list[int]) -> list[tuple[float, float, float]]:
    """The obvious twin: a list of dialogues for each resample, and three ratios of each."""

    def figures(rows: list[list[float]]) -> list[float]:
        nats, octets, words, first, third = (math.fsum(row[k] for row in rows) for k in range(5))
        return [nats / math.log(2) / octets, first / words, third / words]

    names = sorted(set(groups))
    of = {name: [i for i, group in enumerate(groups) if group == name] for name in names}
    generator = np.random.default_rng(SEED)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = [i for at in generator.integers(len(names), size=len(names)) for i in of[names[at]]]
        pair = [figures([list(sums[i]) for i in chosen]) for sums in (before, after)]
        drawn.append([b - a for a, b in zip(*pair, strict=True)])
    whole = [figures([list(row) for row in sums]) for sums in (before, after)]
    beyond = share_beyond(len(names))
    ends = np.quantile(np.array(drawn), [beyond, 1 - beyond], axis=0)
    return [(whole[1][k] - whole[0][k], float(ends[0][k]), float(ends[1][k])) for k in range(3)]


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 99), st.integers(5, 9))
def test_intervals_are_those_of_a_loop_over_resampled_clients(seed: int, clients: int) -> None:
    generator = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(clients), generator.integers(0, clients, size=14)])
    before, after = np.exp(generator.normal(size=(2, len(groups), 5)))
    after[:, 1:3] = before[:, 1:3]
    found = compare(before, after, groups)
    assert (found.over, found.groups) == ("clients", clients)
    for one, other in zip(
        (found.bits_per_byte, found.top1, found.top3), slow(before, after, list(groups)), strict=True
    ):
        assert (one.difference, one.low, one.high) == pytest.approx(other, rel=1e-9, abs=1e-12)


def test_the_interval_of_a_known_case() -> None:
    """Differences of means of equal sizes: near the normal interval, and the same numbers each time."""
    before = sums([100.0] * 200, [10.0] * 200)
    after = sums(around(95, 10, 200), [10.0] * 200)
    found = compare(before, after).bits_per_byte
    unit = math.log(2) * BYTES
    mean, std = float(after[:, 0].mean() - 100) / unit, float(after[:, 0].std()) / unit / math.sqrt(200)
    assert found.difference == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - 1.96 * std, mean + 1.96 * std), abs=0.15 * std)
    assert compare(before, after) == compare(before, after)


def test_five_clients_that_gain_as_chance_has_it_are_not_called_learning() -> None:
    """Student's t finds p = 0.1 here. Plain percentiles would be beside 0, as by chance alone in 1 case of 7."""
    before = sums([300.0] * 5, [10.0] * 5)
    after = sums([300 + by for by in (-4.0, -3.0, -2.0, -0.5, 0.6)], [10.0] * 5)
    found = compare(before, after)
    assert found.verdict == "did not learn"
    assert found.bits_per_byte.low is not None and found.bits_per_byte.high is not None
    assert found.bits_per_byte.low < -3 / BYTES / math.log(2) < 0 < found.bits_per_byte.high
    assert compare(before, sums([296.0, 297.0, 298.0, 297.0, 298.5], [10.0] * 5)).verdict == "learned"


def test_an_interval_over_clients_is_wider_than_over_dialogues_where_clients_differ() -> None:
    owners = np.repeat(np.arange(6), 10)
    before = sums([100.0] * 60, [10.0] * 60)
    after = sums([90.0 + 8 * owner for owner in owners], [10.0] * 60)
    over_clients, over_dialogues = compare(before, after, owners), compare(before, after)
    assert over_dialogues.over == "dialogues" and over_dialogues.groups == 60

    def width(found: Interval) -> float:
        assert found.low is not None and found.high is not None
        return found.high - found.low

    assert width(over_clients.bits_per_byte) > 2 * width(over_dialogues.bits_per_byte)


def test_clients_or_dialogues_too_few_to_draw_from_give_no_interval_and_no_verdict() -> None:
    few = compare(BASE, moved(nats=-50), np.repeat(np.arange(4), 5))
    assert (few.over, few.groups) == ("dialogues", 20), "four clients: their dialogues instead"
    none = compare(BASE[:4], moved(nats=-50)[:4])
    assert none.verdict == "cannot tell" and none.top1.low is None
    silent = BASE.copy()
    silent[:16, 1:] = 0.0
    assert compare(silent, silent).verdict == "cannot tell", "dialogues without a word say nothing"
    for found in (few, none):
        assert json.loads(json.dumps(found.to_json(), allow_nan=False))["verdict"] == found.verdict


def summary(found: Comparison) -> dict[str, object]:
    before = {"bits_per_byte": 2.41, "top1": 0.263, "top3": 0.358}
    return {"before": before, "after": {**before, "bits_per_byte": 2.3}, "comparison": found.to_json()}


def test_the_sentence_says_the_verdict_and_all_three_measures_with_their_intervals() -> None:
    def at(low: float, high: float) -> Interval:
        return Interval((low + high) / 2, low, high)

    found = Comparison("worse", "clients", 30, 1000, 0.95, at(-0.12, -0.1), at(-0.012, -0.002), at(-0.01, 0.01))
    assert sentence(summary(found)) == (
        "The run made the model WORSE: 2.410 → 2.300 bits per byte [−0.120 to −0.100]; next word right 26.3% → 26.3% "
        "[−1.2 points to −0.2 points]; within three 35.8% → 35.8% [−1.0 points to +1.0 points]. Brackets: 95% interval "
        "of the change (paired bootstrap over 30 held-out clients)."
    )


@pytest.mark.parametrize("odd", [None, [], "learned", {"verdict": "better"}, {"verdict": ["learned"]}, {}])
def test_without_a_comparison_nothing_is_said(odd: dict[str, list[str]] | dict[str, str] | str | None) -> None:
    assert sentence({"comparison": odd}) == "" == sentence({})
    assert sentence({"comparison": {"verdict": "learned", "top1": odd, "groups": odd}, "before": odd}).count("–") == 6


SUMS = np.array([[40_000.0, 20_000.0, 4_000.0, 400.0, 800.0]])
BETTER_SUMS = np.array([[36_000.0, 20_000.0, 4_000.0, 480.0, 900.0]])


def test_with_noise_in_two_sums_the_intervals_are_as_wide_as_drawing_it_again_and_again_makes_them() -> None:
    noise = np.array([400.0, 200.0, 40.0, 20.0, 20.0])
    found = comparison.compare_noisy(SUMS, BETTER_SUMS, noise)
    random, drawn = np.random.default_rng(5), []
    for _ in range(4000):  # the slow twin: whole measurements, of which bytes and words are known to be the same
        pair = np.stack([SUMS[0], BETTER_SUMS[0]]) + random.normal(size=(2, 5)) * noise
        pair[:, 1:3] = pair[:, 1:3].mean(0)
        drawn.append(comparison.rates(pair[1]) - comparison.rates(pair[0]))
    for name, at in (("bits_per_byte", 0), ("top1", 1), ("top3", 2)):
        low, high = np.quantile([each[at] for each in drawn], [0.025, 0.975])
        kept = getattr(found, name)
        assert kept.low == pytest.approx(low, abs=0.08 * (high - low)) and kept.high == pytest.approx(
            high, abs=0.08 * (high - low)
        )
    assert found.verdict == comparison.LEARNED and "by the noise in the two sums alone" in comparison.sentence(
        {"comparison": found.to_json(), "before": {}, "after": {}}
    )


def test_where_the_noise_is_too_loud_nothing_is_said_of_what_was_learned() -> None:
    found = comparison.compare_noisy(SUMS, BETTER_SUMS, 20 * np.array([400.0, 200.0, 40.0, 20.0, 20.0]))
    assert found.verdict == comparison.DROWNED
    assert comparison.sentence({"comparison": found.to_json()}).startswith("Too much noise in what was measured")
    other = comparison.unlike(SUMS, BETTER_SUMS)
    assert other.verdict == comparison.UNLIKE and other.bits_per_byte.low is None
    assert other.bits_per_byte.difference == pytest.approx(-4_000 / np.log(2) / 20_000)
    assert "[" not in comparison.sentence({"comparison": other.to_json()})


def test_how_far_noise_may_have_moved_the_bits_is_what_drawing_it_again_shows() -> None:
    noise = np.array([400.0, 200.0, 40.0, 20.0, 20.0])
    bits = [comparison.rates(SUMS[0] + np.random.default_rng(seed).normal(size=5) * noise)[0] for seed in range(2000)]
    low, high = np.quantile(bits, [0.025, 0.975])
    assert comparison.noise_of_bits(SUMS[0], noise) == pytest.approx((high - low) / 2, rel=0.12)
