"""The main job: from dialogues to a model that learned privately, and a folder that says what was done and what it
cost.

python -m training.federated                                    the default run on the generated help-desk corpus
python -m training.federated --data mine.jsonl --epsilon 4      your own dialogues
python -m training.federated --resume runs/default              go on after an interruption
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.model.transformer import load_tokenizer
from chatfed.secagg.messages import ProtocolError
from chatfed.types import ClientId, IntVector
from training import claims
from training.client import ClientTerms
from training.corpus import Corpus, load_corpus, turns_of
from training.display import Display
from training.durable import Stopped
from training.evaluation import Evaluation
from training.pretrain import pretrained_base
from training.recipe import Recipe, check, without_noise
from training.release import publish
from training.rounds import Outcome, commit, run_round
from training.run_folder import RunFolder
from training.server import ServerState, apply_update, cohort, initial_state
from training.session import Session
from training.simulation import Dropouts, Simulation, Workplace, simulation
from training.tokens import open_tokens, write_tokens


@dataclass
class Clock:
    """Seconds by phase, added up over interruptions."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


@dataclass(frozen=True)
class Prepared:
    """Everything that rounds need, on disk."""

    folder: RunFolder
    recipe: Recipe
    run: bytes
    base: str  # folder or hub name
    clients: list[ClientId]
    terms: ClientTerms
    held_out: IntVector
    words: int


def federate(
    recipe: Recipe, folder: RunFolder, run: bytes, display: Display, dropouts: Callable[[int], Dropouts] | None = None
) -> dict[str, Any]:
    """Runs or goes on with the run in `folder` to its end and returns its summary. Raises ChatfedError."""
    stored = folder.latest()
    clock = Clock(dict(stored[1]) if stored else {})
    prepared = prepare(recipe, folder, run, display, clock)
    place = Workplace(
        recipe, prepared.terms, prepared.base, folder.state / "private", folder.state / "held-out", folder.homes
    )
    with simulation(place) as clients:
        base_digest, weights, parameters = clients.facts()
        state = stored[0] if stored else initial_state(weights)
        metrics = stored[2] if stored else []
        with clock.phase("evaluate"):
            before = clients.evaluate(weights, prepared.held_out).result()
        display.say(_opening(prepared, before, parameters, len(weights)))
        state, after = _rounds(prepared, clients, state, metrics, base_digest, before, clock, display, dropouts)
        if after is None:
            after = clients.evaluate(state.weights, prepared.held_out).result()
    facts = {
        "clients": len(prepared.clients),
        "rounds": state.round,
        "parameters": parameters,
        "trainable_parameters": len(weights),
    }
    return publish(prepared, state, metrics, before, after, facts, clock)


def prepare(recipe: Recipe, folder: RunFolder, run: bytes, display: Display, clock: Clock) -> Prepared:
    """Data, base model and tokens, each made now or found from before."""
    cache = Path(recipe.runtime.cache)
    with clock.phase("data"):
        display.say(
            "Reading the dialogues." if recipe.data.source != "helpdesk" else "Generating the help-desk corpus."
        )
        corpus = load_corpus(recipe.data, not recipe.model.base, cache)
        for note in corpus.notes:
            display.say(note)
        check(recipe, len(corpus.clients))
        terms = claims.client_terms(recipe, len(corpus.clients))
    with clock.phase("pretrain"):
        base = recipe.model.base or str(_pretrain(recipe, corpus, cache, display))
    with clock.phase("data"):
        _write_tables(folder, base, corpus)
    held_out = _sample(len(open_tokens(folder.state / "held-out")), recipe.runtime.evaluation_dialogues)
    return Prepared(folder, recipe, run, base, sorted(corpus.clients), terms, held_out, corpus.words)


def _pretrain(recipe: Recipe, corpus: Corpus, cache: Path, display: Display) -> Path:
    public = list(turns_of(corpus.public))
    with display.phase("the public base model") as progress:
        base = pretrained_base(public, recipe.model, recipe.pretrain, cache, recipe.runtime.workers, progress)
    display.say(f"The public base model is {base}.")
    return base


def _write_tables(folder: RunFolder, base: str, corpus: Corpus) -> None:
    tokenizer = load_tokenizer(base)
    if not (folder.state / "private").exists():
        write_tokens(folder.state / "private", tokenizer, turns_of(corpus.private), corpus.clients)
    if not (folder.state / "held-out").exists():
        write_tokens(folder.state / "held-out", tokenizer, turns_of(corpus.held_out))


def _rounds(
    prepared: Prepared,
    clients: Simulation,
    state: ServerState,
    metrics: list[dict[str, Any]],
    base_digest: bytes,
    before: Evaluation,
    clock: Clock,
    display: Display,
    dropouts: Callable[[int], Dropouts] | None,
) -> tuple[ServerState, Evaluation | None]:
    """The rounds that are left, a checkpoint after each."""
    recipe, folder, after = prepared.recipe, prepared.folder, None
    plan = recipe.federation
    if not state.round:
        folder.checkpoint(state, clock.seconds, metrics)
    else:
        folder.write_metrics(metrics)
        display.say(f"Going on after round {state.round}.")
    with display.rounds(plan.rounds, state.round) as bar:
        clients.on_reply = bar.reply
        while state.round < plan.rounds:
            started = time.monotonic()
            clients.dropouts = dropouts(state.round) if dropouts else {}
            asked = tuple(cohort(prepared.clients, state.round, plan))
            with clock.phase("federate"):
                outcome = _one_round(prepared, clients, state, asked, base_digest)
                state = apply_update(state, outcome.mean, plan)
            with clock.phase("evaluate"):
                after = clients.evaluate(state.weights, prepared.held_out).result()
            with clock.phase("federate"):
                cost = claims.spent(folder.homes, prepared.clients, prepared.terms)
                metrics.append(_row(prepared, state, asked, outcome, after, cost, time.monotonic() - started))
                folder.checkpoint(state, clock.seconds, metrics)
                commit(asked, clients)
            bar.finish()
            _report(display, prepared, clients, outcome, metrics[-1], before)
    return state, after


def _one_round(
    prepared: Prepared, clients: Simulation, state: ServerState, asked: tuple[ClientId, ...], base_digest: bytes
) -> Outcome:
    attempt = secrets.token_bytes(16)
    session = Session(prepared.run, attempt, state.round, prepared.recipe.digest(), asked, state.weights)
    try:
        return run_round(session, prepared.recipe, base_digest, clients)
    except ProtocolError as error:
        why = f" One client said: {next(iter(clients.refusals.values()))}" if clients.refusals else ""
        raise Stopped(
            f"Round {state.round + 1} ended without a sum: {error}.{why} Go on with --resume {prepared.folder.path}"
        ) from None


def _row(
    prepared: Prepared,
    state: ServerState,
    asked: tuple[ClientId, ...],
    outcome: Outcome,
    after: Evaluation,
    cost: claims.Spent,
    seconds: float,
) -> dict[str, Any]:
    private = prepared.terms.mechanism is not None
    return {
        "round": state.round,
        "cohort": len(asked),
        "survivors": len(outcome.survivors),
        "dropped": {step.name.lower(): len(who) for step, who in outcome.dropped.items()},
        "epsilon_max": cost.most if private else None,
        "epsilon_mean": cost.mean(len(prepared.clients)) if private else None,
        "perplexity": after.perplexity,
        "top1": after.top1,
        "top3": after.top3,
        "seconds": seconds,
        "bytes_up": outcome.bytes_up,
        "update_norm": float(np.linalg.norm(outcome.mean)),
    }


def _report(
    display: Display, prepared: Prepared, clients: Simulation, outcome: Outcome, row: dict[str, Any], before: Evaluation
) -> None:
    privacy = prepared.recipe.privacy
    display.round_line(
        row, prepared.recipe.federation.rounds, privacy.budget if privacy.noise != "none" else 0.0, before.perplexity
    )
    for fault in outcome.faults:
        display.say(f"  left out: {fault}")
    for reason in list(clients.refusals.values())[:3]:
        display.say(f"  refused: {reason}")


def _opening(prepared: Prepared, before: Evaluation, parameters: int, trainable: int) -> str:
    noise = (
        f"noise multiplier {prepared.terms.noise_multiplier:.3f}"
        if prepared.terms.mechanism
        else "no noise, and so no guarantee"
    )
    return (
        f"{len(prepared.clients)} clients with {prepared.words:,} words; {parameters:,} parameters, "
        f"{trainable:,} of them "
        f"trained; {noise}. Before any private dialogue, held-out perplexity is {before.perplexity:.2f} a word."
    )


def _sample(count: int, most: int) -> IntVector:
    """Evenly spread indices of at most `most` held-out dialogues."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def run_with_reference(
    recipe: Recipe, folder: RunFolder, run: bytes, display: Display, reference: bool
) -> dict[str, Any]:
    """The run, and with `reference` the same run without noise beside it, in `without-noise/` of its folder."""
    summary = federate(recipe, folder, run, display)
    if not reference:
        return summary
    display.say("The same run without noise, for comparison only: its model has no guarantee.")
    beside = RunFolder(folder.path / "without-noise")
    bare = without_noise(replace(recipe, runtime=replace(recipe.runtime, out=str(beside.path))))
    bare_run = beside.begun()[1] if (beside.path / "recipe.toml").exists() else beside.begin(bare)
    bare_summary = federate(bare, beside, bare_run, display)
    summary["reference"] = bare_summary["after"]
    folder.write_json("summary.json", summary)
    return summary


if __name__ == "__main__":
    from training.cli import main

    main()
