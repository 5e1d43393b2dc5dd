"""The count before the first round: all clients' n-grams in one secure sum, and the base that has learned to say them.

The server reads the heavy n-grams off the sum, imagines texts with them and trains the public base on those: all of it
from the noisy sum and from what is public. What it makes stays in the run's folder, so that it is made once.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.model.ngrams import NGrams
from chatfed.model.transformer import load_tokenizer

from ..base.counting import Counting
from ..base.distilling import distilling_job, write_imagined
from ..base.imagining import Imagined, markers
from ..base.together import Progress, in_processes
from ..engines.carrier import Carrier
from ..parties.aggregator import invited
from ..parties.ledgers import check_ledgers, spent
from ..parties.rounds import Outcome, commit
from ..parties.session import Session, count_run
from ..plan.claims import Spent
from ..plan.plan import Counting as Counted
from .canaries import keep_sum
from .display import Display
from .prepared import Clock, Prepared
from .summed import Took, summed

BEFORE = -1  # what the run's folder calls the round of the count


Imagine = Callable[[NGrams, int, int], Iterator[Imagined]]
"""Texts of the base with counts: how many, and a seed; some at a time."""


def counted_base(
    prepared: Prepared,
    count: Counted,
    clients: Carrier,
    imagine: Imagine,
    digest: bytes,
    clock: Clock,
    display: Display,
    before_session: Callable[[Session], None] = lambda session: None,
) -> Path:
    """The folder of the base that has learned what clients counted, made now or found. Raises ChatfedError.

    before_session: has what the session may cost clients on record.
    """
    made = prepared.folder.state / "counted"
    session = _session(prepared, count)
    if not counted_before(prepared):
        with clock.phase("count"), display.rounds(1, 0) as bar:
            clients.watch(bar.reply)
            before_session(session)
            _account(prepared)  # before anything is charged, so that what is charged is not forgotten
            outcome, took = _sum(prepared, count, session, clients, digest)
            keep_sum(prepared.folder, prepared.plan.recipe, "count", outcome.mean, outcome.survivors)
            found = _read(prepared, outcome)
            _tell(prepared, outcome, found, took.seconds, _account(prepared))
        display.say(_in_words(found))
        with clock.phase("distil"):
            _learn(prepared, found, imagine, made, display)
    if prepared.folder.latest() is None:  # again, where a run was stopped just before: it changes nothing
        commit(session, clients, prepared.folder.settled(BEFORE, count.agreement.digest))
    return made


def counted_before(prepared: Prepared) -> bool:
    """Whether the base that has learned what was counted is there."""
    return (prepared.folder.state / "counted" / "config.json").exists()


def _session(prepared: Prepared, count: Counted) -> Session:
    """The invitation of all clients: in place of a model they are sent as many zeros as a sketch has cells."""
    agreement = count.agreement
    asked = tuple(invited(prepared.clients, 0, agreement.schedule))
    nothing = np.zeros(count.cells, np.float32)
    return Session(count_run(prepared.run), secrets.token_bytes(16), 0, agreement.digest, asked, nothing)


def _sum(prepared: Prepared, count: Counted, session: Session, clients: Carrier, digest: bytes) -> tuple[Outcome, Took]:
    return summed(prepared, count.agreement, session, clients, digest, BEFORE, "The count of n-grams")


def _read(prepared: Prepared, outcome: Outcome) -> NGrams:
    learning, tokenizer = prepared.plan.learning, load_tokenizer(prepared.base)
    counting = Counting(learning.ngrams.longest, len(outcome.mean), learning.train_on)
    return counting.read(outcome.mean, len(tokenizer), markers(tokenizer))


def _in_words(found: NGrams) -> str:
    sizes = ", ".join(f"{len(tokens):,} of {length}" for length, tokens in enumerate(found.tokens, 1))
    return f"n-grams that stand out of the noise, by tokens: {sizes}."


def _learn(prepared: Prepared, found: NGrams, imagine: Imagine, made: Path, display: Display) -> None:
    recipe, imagined = prepared.plan.recipe, prepared.folder.state / "imagined"
    job = distilling_job(recipe, prepared.base, imagined, made)
    try:
        with display.phase("what was counted") as show:
            texts = imagine(found, recipe.ngrams.texts, recipe.ngrams.seed)
            write_imagined(job.tokens, _shown(texts, recipe.ngrams.texts, show))
            in_processes(job, recipe.runtime.workers, show)
    finally:
        shutil.rmtree(imagined, ignore_errors=True)


def _shown(texts: Iterator[Imagined], of: int, show: Progress) -> Iterator[Imagined]:
    done = 0
    for each in texts:
        done += len(each.ids)
        show(0.0, f"imagined {done:,} of {of:,} texts")
        yield each


def _account(prepared: Prepared) -> Spent:
    """What all ledgers hold, on record. Raises LedgerError where they hold less than is on record already."""
    folder = prepared.folder
    cost = spent(prepared.homes, prepared.charged, prepared.plan.terms)
    check_ledgers(folder.charges(), cost)
    folder.keep_charges(cost.participations)
    return cost


def _tell(prepared: Prepared, outcome: Outcome, found: NGrams, seconds: float, cost: Spent) -> None:
    """What the count cost and what it gave, as counted.json."""
    about: dict[str, Any] = {
        "survivors": len(outcome.survivors),
        "dropped": {step.name.lower(): len(who) for step, who in outcome.dropped.items()},
        "epsilon_max": cost.most if prepared.plan.claim.private else None,
        "found": [len(tokens) for tokens in found.tokens],
        "seconds": seconds,
        "bytes_up": outcome.bytes_up,
    }
    prepared.folder.write_json("counted.json", about)
