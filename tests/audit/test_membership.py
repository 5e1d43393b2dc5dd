"""Membership scores: against plain loops over texts, by hand, and on made-up models that do or do not remember."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.audit.leakage import AuditError
from chatfed.audit.membership import (
    ATTACKS,
    TokenLikelihoods,
    by_errors,
    by_information,
    by_least_likely,
    by_loss,
    by_ratio,
    by_sequence,
    of_clients,
    rmia,
    scores,
)
from chatfed.audit.roc import area


def likelihoods(seed: int, lengths: list[int], references: int = 2) -> TokenLikelihoods:
    random, tokens = np.random.default_rng(seed), sum(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    logs = -random.exponential(2, (1 + references, tokens))
    return TokenLikelihoods(starts, logs[0], logs[1:], random.random(tokens) < 0.6, random.exponential(0.1, tokens))


def each(told: TokenLikelihoods) -> list[slice]:
    return [slice(*pair) for pair in zip(told.starts[:-1].tolist(), told.starts[1:].tolist(), strict=True)]


@given(st.integers(0, 999), st.lists(st.integers(1, 12), min_size=1, max_size=8), st.floats(0.05, 1))
def test_scores_are_what_a_loop_over_texts_gives(seed: int, lengths: list[int], share: float) -> None:
    told = likelihoods(seed, lengths)
    loss, least, ratio, errors, information = [], [], [], [], []
    for text in each(told):
        target, public = told.target[text], told.references[0][text]
        loss.append(target.mean())
        least.append(np.sort(target)[: max(1, math.floor(share * len(target) + 1e-9))].mean())
        ratio.append((target - public).mean())
        moved = (target - public)[told.missed[text]]
        rose, fell = moved[moved > 0].sum(), -moved[moved < 0].sum()
        errors.append(rose / (rose + fell) if rose + fell else 0.5)
        mixture = np.log(np.exp(told.references[:, text]).mean(0))
        information.append((target - mixture + told.divergence[text]).mean())
    assert by_loss(told) == pytest.approx(loss)
    assert by_least_likely(told, share) == pytest.approx(least)
    assert by_ratio(told) == pytest.approx(ratio)
    assert by_errors(told) == pytest.approx(errors)
    assert by_information(told) == pytest.approx(information)


def of_errors(moved: list[float], missed: list[bool]) -> float:
    public = np.full(len(moved), -3.0)
    told = TokenLikelihoods(
        np.array([0, len(moved)]), public + moved, public[None], np.array(missed), np.zeros(len(moved))
    )
    return float(by_errors(told)[0])


def test_errors_by_hand_and_where_nothing_fell() -> None:
    assert of_errors([1.0, -0.25, 2.0, 9.0], [True, True, True, False]) == pytest.approx(3 / 3.25)
    assert of_errors([1.0, 2.0], [True, True]) == 1  # above all else, as infinity would be
    assert of_errors([-1.0, -2.0], [True, True]) == 0
    assert of_errors([1.0, 2.0], [False, False]) == of_errors([0.0], [True]) == 0.5


@given(st.lists(st.floats(0.01, 9), min_size=2, max_size=9), st.lists(st.floats(0.01, 9), min_size=2, max_size=9))
def test_errors_rank_texts_as_the_paper_s_quotient_does(rose: list[float], fell: list[float]) -> None:
    pairs = list(zip(rose, fell, strict=False))
    ours = np.array([of_errors([up, -down], [True, True]) for up, down in pairs])
    theirs = np.array([up / down for up, down in pairs])
    for one in range(len(pairs)):
        for other in range(len(pairs)):
            if theirs[one] > theirs[other] * (1 + 1e-9):
                assert ours[one] > ours[other] or ours[one] == pytest.approx(ours[other], rel=1e-12)


def test_rmia_is_the_share_of_the_population_that_a_text_exceeds() -> None:
    random = np.random.default_rng(1)
    target, references = -random.exponential(2, 20), -random.exponential(2, (3, 20))
    population = np.arange(10, 20)
    ratios = np.exp(target) / np.exp(references).mean(0)
    for gamma in (1.0, 1.5):
        wanted = [np.mean([ratio / ratios[z] >= gamma for z in population]) for ratio in ratios]
        assert rmia(target, references, population, gamma) == pytest.approx(wanted)


def test_the_divergence_makes_up_for_a_model_that_moved_away_from_everything() -> None:
    """Drawn from the references themselves, a text's mean score is 0 whatever the target: by definition of KL."""
    random = np.random.default_rng(2)
    public, target = random.dirichlet(np.ones(5)), random.dirichlet(np.ones(5))
    divergence = float((public * np.log(public / target)).sum())
    tokens = random.choice(5, 200_000, p=public)
    told = TokenLikelihoods(
        np.array([0, len(tokens)]), np.log(target)[tokens], np.log(public)[tokens][None],
        np.zeros(len(tokens), bool), np.full(len(tokens), divergence),
    )  # fmt: skip
    assert by_information(told)[0] == pytest.approx(0, abs=0.01)
    assert abs(by_ratio(told)[0]) > 0.1


def test_a_sequence_shows_what_its_last_model_forgot() -> None:
    random = np.random.default_rng(3)
    members, others = np.arange(200), np.arange(200, 400)
    models = np.cumsum(random.normal(0, 0.1, (4, 400)), axis=0) + np.arange(4)[:, None]  # all texts rise alike
    models[1, :200] += 0.5  # learned in the first round, forgotten in the next
    found = by_sequence(models, others)
    assert area(found[members], found[others]).value > 0.9
    last = models[3] - models[0]
    assert area(last[members], last[others]).value < 0.6
    with pytest.raises(AuditError, match="1 models"):
        by_sequence(models[:1], others)


def test_a_client_s_score_is_the_mean_of_its_texts() -> None:
    found = of_clients(np.array([1.0, 5.0, 3.0, 0.0]), np.array([7, 2, 7, 2]))
    assert found.tolist() == [2.5, 2.0]


def test_every_attack_finds_a_model_that_remembers_and_none_finds_one_that_does_not() -> None:
    random = np.random.default_rng(4)
    lengths = np.full(300, 30)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    public = -random.exponential(2, 9000)
    learned = np.repeat(np.arange(300) < 150, 30)
    reference = public + random.normal(0, 0.2, 9000)
    for risen, low, high in ((0.6, 0.6, 1.0), (0.0, 0.4, 0.6)):
        target = np.minimum(public + random.normal(0, 0.2, 9000) + risen * learned, 0.0)
        told = TokenLikelihoods(starts, target, np.stack([public, reference]), np.ones(9000, bool), np.zeros(9000))
        found = scores(told, [public, target], np.arange(150, 300))
        assert tuple(found) == ATTACKS
        for name, values in found.items():
            assert low <= area(values[:150], values[150:]).value <= high, name


@pytest.mark.parametrize("broken", [np.nan, -np.inf])
@pytest.mark.parametrize("name", ["target", "references", "divergence"])
def test_a_token_without_a_number_is_an_error_that_names_its_text(broken: float, name: str) -> None:
    told = likelihoods(5, [3, 4, 5])
    values = {field: getattr(told, field).copy() for field in ("target", "references", "divergence")}
    values[name].T[5] = broken
    with pytest.raises(AuditError, match=f"text 1 has a token without a finite {name}"):
        TokenLikelihoods(told.starts, missed=told.missed, **values)


def test_a_text_without_tokens_is_an_error() -> None:
    with pytest.raises(AuditError, match="text 1 has no token"):
        likelihoods(6, [3, 0, 2])
