"""The share of the learnable gain: as a slow twin finds it, with base, model and ceiling on the same clients."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from chatfed.audit.comparison import RESAMPLES, SEED, Sums, share_beyond
from chatfed.audit.gain import Gain, Share, bits_a_word, gain_sentence, learnable_gain

NAMES = ("bits_a_word", "top1", "top3")


def models(clients: int = 12, dialogues: int = 40, seed: int = 3) -> tuple[Sums, Sums, Sums, Any]:
    """Base, model and ceiling: each word about 9, 6 and 3 bits, and more words right."""
    generator = np.random.default_rng(seed)
    words = generator.integers(20, 90, dialogues).astype(float)
    hard = generator.uniform(0.8, 1.2, dialogues)
    made = []
    for bits, first in ((9.0, 0.2), (6.0, 0.3), (3.0, 0.6)):
        sums = np.zeros((dialogues, 5))
        sums[:, 0] = bits * hard * words * math.log(2)
        sums[:, 1], sums[:, 2] = 4.5 * words, words
        sums[:, 3], sums[:, 4] = np.rint(first * words / hard), np.rint((first + 0.1) * words / hard)
        made.append(sums)
    return made[0], made[1], made[2], np.arange(dialogues) % clients


def slow_shares(parts: list[Sums]) -> list[float]:
    """The obvious twin: three ratios of lists of dialogues."""
    rates = []
    for rows in parts:
        nats, _, words, first, third = (math.fsum(row[k] for row in rows) for k in range(5))
        rates.append([-nats / math.log(2) / words, first / words, third / words])
    base, model, most = rates
    return [(model[k] - base[k]) / (most[k] - base[k]) for k in range(3)]


def test_shares_and_intervals_are_those_of_a_loop_over_resampled_clients() -> None:
    base, model, most, owners = models()
    found = learnable_gain(base, model, most, owners)
    generator, drawn = np.random.default_rng(SEED), []
    for _ in range(RESAMPLES):
        chosen = [i for client in generator.integers(12, size=12) for i in np.flatnonzero(owners == client)]
        drawn.append(slow_shares([sums[chosen] for sums in (base, model, most)]))
    beyond = share_beyond(12)
    ends = np.quantile(np.array(drawn), [beyond, 1 - beyond], axis=0)
    whole = slow_shares([base, model, most])
    assert (found.over, found.groups) == ("clients", 12)
    for k, name in enumerate(NAMES):
        each = getattr(found, name)
        assert (each.share, each.low, each.high) == pytest.approx((whole[k], ends[0][k], ends[1][k]), rel=1e-9)
        assert each.learned / each.learnable == pytest.approx(each.share)
    assert found.bits_a_word.learnable == pytest.approx(6.0, rel=0.05)
    assert found.bits_a_word.share == pytest.approx(0.5, rel=0.01)


def test_models_are_paired_so_that_hard_clients_widen_no_interval() -> None:
    """Each client's words are as hard for all three: the share is the same on any of them."""
    base, model, most, owners = models()
    bits = learnable_gain(base, model, most, owners).bits_a_word
    assert bits.low is not None and bits.high is not None and bits.high - bits.low < 1e-9


def test_the_base_learned_nothing_and_the_ceiling_everything() -> None:
    base, _, most, owners = models()
    for model, share in ((base, 0.0), (most, 1.0)):
        found = learnable_gain(base, model, most, owners)
        assert [getattr(found, name).share for name in NAMES] == pytest.approx([share] * 3)


def test_a_ceiling_that_gains_nothing_leaves_no_share_and_one_that_may_gain_nothing_no_interval() -> None:
    base, model, most, owners = models()
    none = learnable_gain(base, model, base, owners)
    assert none.bits_a_word.share is None and none.bits_a_word.low is None
    odd = base.copy()
    odd[owners == 0] = most[owners == 0]  # one client's gain: in a third of the draws there is none
    some = learnable_gain(base, model, odd, owners)
    assert some.bits_a_word.share is not None and some.bits_a_word.low is None
    assert json.loads(json.dumps(none.to_json(), allow_nan=False))["top1"]["share"] is None


def summary(found: Gain, verdict: str = "learned") -> dict[str, Any]:
    return {"comparison": {"verdict": verdict}, "ceiling": {"gain": found.to_json()}}


HALF = Gain(
    *("clients", 30, 1000, 0.95),
    Share(8.4, 4.8, 0.5714, 0.53, 0.604),
    Share(0.334, 0.1, 0.299, 0.2, 0.41),
    Share(0.0, 0.1, None, None, None),
)


def test_the_sentence_says_how_much_of_what_could_be_learned_was() -> None:
    assert gain_sentence(summary(HALF)) == (
        "It learned 57% of the 8.40 bits a word that could be learned [53% to 60%]; 30% of the 33.4 points of the next "
        "word right [20% to 41%]."
    )


@pytest.mark.parametrize("verdict", ["did not learn", "worse", "cannot tell"])
def test_learned_is_said_only_where_all_measures_agree(verdict: str) -> None:
    said = gain_sentence(summary(HALF, verdict))
    assert said.startswith("Its change is 57% of the 8.40 bits a word") and "It learned" not in said


@pytest.mark.parametrize("odd", [None, 3, [], {}, {"gain": None}, {"gain": {"bits_a_word": "much"}}])
def test_without_a_ceiling_nothing_is_said(odd: object) -> None:
    assert gain_sentence({}) == "" == gain_sentence({"ceiling": odd})


def test_a_ceiling_below_the_base_is_told_of() -> None:
    base, model, _, owners = models()
    assert "nothing could be learned" in gain_sentence(summary(learnable_gain(base, model, base, owners)))


def test_bits_a_word_are_those_of_the_words_perplexity() -> None:
    assert 2 ** bits_a_word({"bits_per_byte": 1.5, "bytes": 400, "words": 100}) == pytest.approx(64)
