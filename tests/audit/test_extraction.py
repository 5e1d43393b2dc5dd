"""Extraction: chances of tokens against the chat's own drawing, tries against the definition, recovery by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chatfed.audit.extraction import (
    Decoding,
    by_repetition,
    discoverable,
    needed,
    of_secrets,
    recovery,
    token_chances,
)
from chatfed.audit.leakage import AuditError
from chatfed.generation import Generation
from chatfed.generation.drawing import sample


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 0.9), (1.0, 1.0), (1.3, 0.5), (0.5, 0.05)])
def test_chances_are_how_often_the_chat_draws_each_token(temperature: float, top_p: float) -> None:
    logits = np.random.default_rng(1).normal(0, 1.5, 8)
    chances = np.exp(token_chances(np.tile(logits, (8, 1)), np.arange(8), Decoding("", temperature, top_p)))
    assert chances.sum() == pytest.approx(1)
    generator, settings = torch.Generator().manual_seed(2), Generation(temperature=temperature, top_p=top_p)
    drawn = [sample(torch.from_numpy(logits), [], settings, generator) for _ in range(4000)]
    often = np.bincount(drawn, minlength=8) / 4000
    assert (often[chances == 0] == 0).all()
    assert np.abs(often - chances).max() < 0.035  # four deviations of a share of 4,000


def test_greedy_says_the_likeliest_token_and_nothing_else() -> None:
    logits = np.array([[0.1, 0.9, 0.3]] * 3)
    assert token_chances(logits, np.arange(3), Decoding("", 0.0)).tolist() == [-np.inf, 0, -np.inf]


def test_a_nucleus_holds_the_likeliest_token_however_small_it_is() -> None:
    chances = token_chances(np.log([[0.2, 0.5, 0.3]] * 3), np.arange(3), Decoding("", 1.0, 1e-9))
    assert np.exp(chances) == pytest.approx([0, 1, 0])


def test_a_secret_s_chance_is_the_product_of_its_tokens_() -> None:
    logs = np.log([0.5, 0.5, 0.1, 0.2, 0.3])
    assert np.exp(of_secrets(logs, np.array([0, 2, 5]))) == pytest.approx([0.25, 0.006])
    with pytest.raises(AuditError, match="secret 1 has no token"):
        of_secrets(logs, np.array([0, 2, 2, 5]))


@given(st.floats(-12, 0), st.integers(1, 5000), st.floats(0.05, 0.95))
def test_discoverable_is_its_definition(log: float, tries: int, chance: float) -> None:
    said = 1 - (1 - np.exp(log)) ** tries
    if abs(said - chance) > 1e-9:
        assert discoverable(np.array([log]), tries, chance)[0] == (said >= chance)


def test_tries_at_the_ends() -> None:
    assert needed(np.array([0.0, -np.inf]), 0.5).tolist() == [0, np.inf]
    assert needed(np.array([-40.0]), 0.5)[0] == pytest.approx(np.log(2) * np.exp(40.0))
    assert discoverable(np.array([0.0, -np.inf]), 1, 0.99).tolist() == [True, False]


def test_phantoms_are_taken_off_and_a_small_excess_is_no_finding() -> None:
    told = recovery(np.arange(60) < 6, np.arange(30) < 3)
    assert told.excess == 0 and told.p > 0.5
    assert recovery(np.arange(60) < 30, np.arange(30) < 3).p < 0.001
    alone = recovery(np.arange(60) < 6, np.zeros(0, bool))
    assert alone.phantoms is None and alone.p == 1
    with pytest.raises(AuditError):
        recovery(np.zeros(0, bool), np.zeros(3, bool))


def test_repetitions_are_told_by_the_ends_that_they_reach() -> None:
    found = np.array([False, False, True, True, True, False])
    told = by_repetition(found, np.array([1, 3, 4, 15, 16, 1]), (1, 4, 16, 64))
    assert [(least, share.hits, share.of) for least, share in told] == [(1, 0, 3), (4, 2, 2), (16, 1, 1)]


def test_logits_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(AuditError, match="not finite"):
        token_chances(np.array([[0.0, np.nan]]), np.array([0]), Decoding("", 1.0))
