"""The count before the first round: all clients' n-grams in one secure sum, and the base that has learned to say them.

The server reads the heavy n-grams off the sum, imagines texts with them and trains the public base on those: all of it
from the noisy sum and from what is public. What it makes stays in the run's folder, so that it is made once.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.model.ngrams import NGrams
from chatfed.model.transformer import load_tokenizer

from ..base.counting import Counting
from ..base.distilling import distilling_job, write_imagined
from ..base.imagining import Imagined, markers
from ..base.together import Progress, in_processes
from ..engines.simulation import Simulation
from ..parties.aggregator import invited
from ..parties.ledgers import check_ledgers, spent
from ..parties.rounds import Outcome, commit
from ..parties.session import Session
from ..plan.claims import Spent
from ..plan.plan import Counting as Counted
from .display import Display
from .prepared import Clock, Prepared
from .summed import summed

BEFORE = -1  # what the run's folder calls the round of the count


def counted_base(
    prepared: Prepared, count: Counted, clients: Simulation, digest: bytes, clock: Clock, display: Display
) -> Path:
    """The folder of the base that has learned what clients counted, made now or found. Raises ChatfedError."""
    made = prepared.folder.state / "counted"
    session = _session(prepared, count)
    if not (made / "config.json").exists():
        with clock.phase("count"), display.rounds(1, 0) as bar:
            clients.on_reply = bar.reply
            _account(prepared)  # before anything is charged, so that what is charged is not forgotten
            outcome, seconds = _sum(prepared, count, session, clients, digest)
            found = _read(prepared, outcome)
            _tell(prepared, outcome, found, seconds, _account(prepared))
        display.say(_in_words(found))
        with clock.phase("distil"):
            _learn(prepared, found, clients, made, display)
    if prepared.folder.latest() is None:  # again, where a run was stopped just before: it changes nothing
        commit(session, clients)
    return made


def _session(prepared: Prepared, count: Counted) -> Session:
    """The invitation of all clients: in place of a model they are sent as many zeros as a sketch has cells."""
    agreement = count.agreement
    asked = tuple(invited(prepared.clients, 0, agreement.schedule))
    run = hashlib.sha256(b"n-grams" + prepared.run).digest()[:16]  # rounds have numbers from 0 too
    nothing = np.zeros(count.cells, np.float32)
    return Session(run, secrets.token_bytes(16), 0, agreement.digest, asked, nothing)


def _sum(
    prepared: Prepared, count: Counted, session: Session, clients: Simulation, digest: bytes
) -> tuple[Outcome, float]:
    return summed(prepared, count.agreement, session, clients, digest, BEFORE, "The count of n-grams")


def _read(prepared: Prepared, outcome: Outcome) -> NGrams:
    learning, tokenizer = prepared.plan.learning, load_tokenizer(prepared.base)
    counting = Counting(learning.ngrams.longest, len(outcome.mean), learning.train_on)
    return counting.read(outcome.mean, len(tokenizer), markers(tokenizer))


def _in_words(found: NGrams) -> str:
    sizes = ", ".join(f"{len(tokens):,} of {length}" for length, tokens in enumerate(found.tokens, 1))
    return f"n-grams that stand out of the noise, by tokens: {sizes}."


def _learn(prepared: Prepared, found: NGrams, clients: Simulation, made: Path, display: Display) -> None:
    recipe, imagined = prepared.plan.recipe, prepared.folder.state / "imagined"
    job = distilling_job(recipe, prepared.base, imagined, made)
    try:
        with display.phase("what was counted") as show:
            texts = clients.imagine(found, recipe.ngrams.texts, recipe.ngrams.seed)
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
    cost = spent(prepared.homes, prepared.clients, prepared.plan.terms)
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
