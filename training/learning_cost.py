"""What a client's learning in a round costs, by doing it here: the real learner on made-up dialogues.

The model has the sizes that the recipe gives it, and random weights, which take as long as learned ones. Reads no
dialogue and writes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chatfed.model.bases import find_base
from chatfed.privacy.guarantee import Unit
from chatfed.privacy.noise import system_random
from chatfed.types import ChatfedError, IntVector

from .base.corpus import DIALOGUES_A_CLIENT
from .base.learner import Learner
from .base.tokens import ASSISTANT, TokenTable
from .plan.plan import Learning, Plan
from .plan.recipe import ModelSection, PrivacySection
from .plan.upload import Part, Upload

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TOKENS = 160  # of a made-up dialogue: the help desk's have 158 on average
MESSAGE = 20  # tokens, of one side and the other by turns
LARGEST = 200_000_000  # parameters of a base that is made up here: random numbers take a second for so many
MOST_TRAINED = 16_000_000  # numbers whose secure sums are done here
ENOUGH = 1.0  # seconds of a processor, after which more dialogues are worked out from those done

Clock = Callable[[], float]
Work = Callable[[IntVector], Iterable[Part]]


@dataclass(frozen=True)
class Cost:
    """Of one client in one round: learning, noise and encoding."""

    dialogues: int  # that it learns from
    done: int  # of them, here; the others' share is worked out
    seconds: float  # of a processor, for all of them


@dataclass(frozen=True)
class Learned:
    """What was found of a recipe's model."""

    parameters: int
    trained: int  # numbers
    round: Cost
    count: Cost | None  # of the n-grams before the first round


def expected(privacy: PrivacySection) -> int:
    """Dialogues that a client learns from in one step, as the recipe expects; of whole clients a usual number."""
    return max(1, round(privacy.expected_batch_size)) if privacy.unit is Unit.EXAMPLE else DIALOGUES_A_CLIENT


def owned(privacy: PrivacySection) -> int:
    """Dialogues that a client has, if steps draw as many as expected."""
    return round(expected(privacy) / privacy.sampling_rate) if privacy.unit is Unit.EXAMPLE else expected(privacy)


def learned(plan: Plan) -> Learned:
    """Makes a model up and has a client learn with it. Raises ChatfedError where that cannot be done here."""
    if plan.learning.device != "cpu":
        raise ChatfedError(f"{plan.learning.device} is not what is measured here, processors are")
    found = find_base(plan.learning.model.base, Path(plan.recipe.runtime.cache))
    how, privacy = replace(plan.learning, model=replace(plan.learning.model, base=found)), plan.learning.privacy
    everyone = how if privacy.unit is Unit.CLIENT else replace(how, privacy=replace(privacy, sampling_rate=1.0))
    learner = made_up(everyone, owned(privacy))
    trained = len(learner.initial)
    if trained > MOST_TRAINED:
        raise ChatfedError(
            f"{trained:,} numbers would be trained, and no more than {MOST_TRAINED:,} are tried out here"
        )
    largest = plan.agreement.schedule.sizes[-1]
    code = plan.agreement.sums.codec.upload(largest, trained)
    once = measured(lambda mine: learner.learn(learner.initial, mine), code, expected(privacy))
    counted = _counted(plan, learner, owned(privacy)) if plan.counting else None
    return Learned(learner.parameters, trained, once, counted)


def _counted(plan: Plan, learner: Learner, dialogues: int) -> Cost:
    count = plan.counting
    assert count is not None, "whoever counts has a count to make"
    counter = replace(learner, how=count.learning)
    code = count.agreement.sums.codec.upload(count.clients, count.cells)
    return measured(lambda mine: counter.count(mine, count.cells), code, dialogues)


def measured(work: Work, code: Upload, dialogues: int, clock: Clock = time.process_time) -> Cost:
    """One client's `work` on dialogues 0, 1, ..., encoded, in seconds of `clock`: as many as fit in ENOUGH of them.

    What the client does without any dialogue is counted once, and what each adds in proportion.
    """

    def seconds(some: int) -> float:
        began = clock()
        code.encode(work(np.arange(some)), system_random)
        return clock() - began

    seconds(1)  # sets kernels and tables up
    nothing, one = seconds(0), seconds(1)
    done = dialogues if one <= 0 else max(1, min(dialogues, math.floor(ENOUGH / one)))
    each = max(0.0, seconds(done) - nothing) / done
    return Cost(dialogues, done, nothing + each * dialogues)


def made_up(how: Learning, dialogues: int) -> Learner:
    """A learner of the recipe's sizes with random weights, and so many dialogues of random tokens."""
    import torch

    torch.set_num_threads(1)  # as a worker has
    model, tokenizer = _model(how.model)
    table = _table(dialogues, int(model.config.vocab_size))
    return Learner.of(how, model, tokenizer, table, table)


def _model(section: ModelSection) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    from chatfed.model.transformer import (
        Architecture,
        build_llama,
        load_tokenizer,
        random_twin,
        skeleton,
        untie_output,
    )

    if not section.base:
        sizes = Architecture(section.hidden, section.layers, section.heads, section.intermediate, section.context)
        tokenizer = _tokenizer(section.vocabulary)
        model = build_llama(sizes, tokenizer, seed=0)
        untie_output(model)
        return model.eval(), tokenizer
    bare = skeleton(section.base, section.layers)
    parameters = sum(p.numel() for p in bare.parameters())
    if parameters > LARGEST:
        raise ChatfedError(
            f"{section.base} has {parameters:,} parameters, and no more than {LARGEST:,} are tried out here"
        )
    return random_twin(bare), load_tokenizer(section.base)


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """So many tokens without a meaning."""
    from chatfed.model.tokenizer import SPECIAL_TOKENS, train_tokenizer

    made = train_tokenizer([], min(vocabulary, 256 + len(SPECIAL_TOKENS)))
    made.add_tokens([f"token {i}" for i in range(vocabulary - len(made))])
    return made


def _table(dialogues: int, vocabulary: int) -> TokenTable:
    from chatfed.model.tokenizer import WORD_START

    ids = np.random.default_rng(0).integers(0, vocabulary, dialogues * TOKENS, dtype=np.int32)
    spoken = np.arange(dialogues * TOKENS) // MESSAGE % 2 * ASSISTANT
    kinds = (WORD_START | spoken).astype(np.uint8)
    starts = np.arange(dialogues + 1, dtype=np.int64) * TOKENS
    return TokenTable(ids, kinds, starts, np.full(dialogues, TOKENS, np.int64), {})
