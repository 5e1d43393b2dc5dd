"""Five clients and what a worker needs to act for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chatfed.privacy.guarantee import Noise, Protected
from chatfed.privacy.ledger import Budget
from chatfed.types import ClientId, FloatVector
from training.base.tokens import write_tokens
from training.engines.simulation import Workplace
from training.parties.session import Session
from training.plan.plan import plan_of
from training.plan.recipe import FederationSection, ModelSection, PrivacySection, Recipe, RuntimeSection
from training.plan.terms import ClientTerms

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

NAMES = tuple(ClientId(name) for name in ("ann", "bob/../x", "cé", "d" * 300, "one"))
A, B, C, D, ONE = NAMES


def a_place(
    folder: Path, tiny_corpus: HelpdeskCorpus, tiny_base: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> Workplace:
    """Five clients with 3 dialogues each, the last with one; no noise and no sampling, so that learning repeats."""
    dialogues = [dialogue.messages[:4] for dialogue in tiny_corpus.private[:13]]
    owned = {name: np.arange(3 * i, min(3 * i + 3, 13)) for i, name in enumerate(NAMES)}
    write_tokens(folder / "private", tiny_tokenizer, dialogues, owned)
    write_tokens(folder / "held-out", tiny_tokenizer, [d.messages for d in tiny_corpus.held_out[:5]])
    recipe = Recipe(
        model=ModelSection(context=64, trainable=("*norm*", "*bias*")),
        privacy=PrivacySection(noise=Noise.NONE, target_epsilon=0, sampling_rate=1.0),
        federation=FederationSection(cohort=5),
        runtime=RuntimeSection(workers=2),
    )
    terms = ClientTerms(0.0, None, Budget(0.0, 1e-5, Protected.DIALOGUE))
    return Workplace(
        plan_of(recipe, 5, terms), 2, str(tiny_base), folder / "private", folder / "held-out", folder / "homes"
    )


def session(place: Workplace, weights: FloatVector, round_index: int) -> Session:
    return Session(b"r" * 16, os.urandom(16), round_index, place.plan.agreement.digest, tuple(sorted(NAMES)), weights)
