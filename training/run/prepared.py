"""Everything that rounds need, made or found on disk: data, base model, tokens, keys."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chatfed.data.partition import by_client
from chatfed.model.adapters import ALL_LINEAR
from chatfed.model.transformer import load_tokenizer
from chatfed.types import ClientId, IntVector

from ..base import pretrain
from ..base.corpus import Corpus, load_corpus, turns_of
from ..base.learnable import refuse_without_targets
from ..base.learner import check_device, check_trainable
from ..base.pretrain import about_pretraining, pretrained_base
from ..base.templates import template_refusal
from ..base.tokens import open_tokens, write_tokens
from ..engines import simulation
from ..engines.simulation import enrol
from ..parties.identity import Roster, read_roster
from ..plan.checks import check, check_clients
from ..plan.meaning import planned_warnings
from ..plan.planning import plan_in_words
from ..plan.recipe import Recipe, following
from ..plan.sums import sizes
from ..plan.terms import ClientTerms, client_terms
from ..plan.upload import refuse_hopeless
from ..workers import worker_context
from .display import Display
from .memory import Peak
from .run_folder import RunFolder


@dataclass
class Clock:
    """Seconds by phase, added up over interruptions, and the memory that this process and its workers took."""

    seconds: dict[str, float] = field(default_factory=dict)
    peak: Peak = field(default_factory=Peak)

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
    roster: Roster = field(default_factory=dict)  # empty: the recipe pins no identities


def prepare(recipe: Recipe, folder: RunFolder, run: bytes, display: Display, clock: Clock) -> Prepared:
    """Data, base model and tokens, each made now or found from before."""
    cache = Path(recipe.runtime.cache)
    stored = folder.prepared()
    if stored is not None:  # a resumed run keeps its clients and its base, whatever became of the data
        _begin_workers()
        tables = open_tokens(folder.state / "private"), open_tokens(folder.state / "held-out")
        recipe = following(recipe, len(tables[0].clients))
        terms = client_terms(recipe, len(tables[0].clients))
        held_out = _sample(len(tables[1]), recipe.runtime.evaluation_dialogues)
        names = sorted(tables[0].clients)
        return Prepared(folder, recipe, run, stored, names, terms, held_out, _roster(recipe, folder))
    with clock.phase("data"):
        display.say(
            "Reading the dialogues." if recipe.data.source != "helpdesk" else "Generating the help-desk corpus."
        )
        refusal = template_refusal(recipe.model.base) if recipe.model.base else None
        corpus = load_corpus(recipe.data, not recipe.model.base, cache, refusal)
        for note in corpus.notes:
            display.say(note)
        recipe = following(recipe, len(corpus.clients))
        for note in check_clients(recipe, corpus.clients, corpus.dealt):
            display.say(note)
        check(recipe, len(corpus.clients))
        for warning in planned_warnings(recipe, corpus.clients):
            display.say(f"Warning: {warning}.")
        for participants in recipe.federation.sizes:
            sizes(recipe, participants)  # fractions that no circle bears are said now
        _begin_workers()
        check_device(recipe.runtime.device)
        check_trainable(recipe.model)
        if recipe.model.base:
            from chatfed.model.examination import refuse_unfit  # imports torch

            for note in refuse_unfit(recipe.model.base, recipe.model.lora_targets == (ALL_LINEAR,)):
                display.say(f"The base, {note}.")
        terms = client_terms(recipe, len(corpus.clients))
        for participants in recipe.federation.sizes:
            refuse_hopeless(recipe, participants, terms.noise_multiplier)
        for warning in corpus.repeats.warnings():
            display.say(warning)
        display.say(plan_in_words(recipe, len(corpus.clients), terms))
    with clock.phase("pretrain"):
        base = recipe.model.base or str(_pretrain(recipe, corpus, cache, display, clock.peak))
    with clock.phase("data"):
        _write_tables(folder, base, corpus)
        refuse_without_targets(open_tokens(folder.state / "private"), recipe)
        if recipe.secagg.identities == "roster":
            enrol(folder.homes, sorted(corpus.clients), folder.roster)
        folder.settle_recipe(recipe)
        folder.keep_repeats(corpus.repeats)
        folder.keep_prepared(base, corpus.dealt)
    display.say(f"{len(corpus.clients)} clients have {corpus.words:,} words.")
    held_out = _sample(len(open_tokens(folder.state / "held-out")), recipe.runtime.evaluation_dialogues)
    return Prepared(folder, recipe, run, base, sorted(corpus.clients), terms, held_out, _roster(recipe, folder))


def _begin_workers() -> None:
    """Their imports take seconds, and go on beside what follows."""
    worker_context(simulation.__name__, pretrain.__name__)


def _roster(recipe: Recipe, folder: RunFolder) -> Roster:
    return read_roster(folder.roster) if recipe.secagg.identities == "roster" else {}


def _pretrain(recipe: Recipe, corpus: Corpus, cache: Path, display: Display, peak: Peak) -> Path:
    public = list(turns_of(corpus.public or ()))
    with display.phase("the public base model") as show:

        def progress(done: float, text: str) -> None:
            peak.look()
            show(done, text)

        base = pretrained_base(public, recipe.model, recipe.pretrain, cache, recipe.runtime.workers, progress)
    display.say(f"The public base model is {base}.")
    about = about_pretraining(base)
    if about and about["cut"]:
        display.say(
            f"NOTE: pretrain.max_seconds = {recipe.pretrain.max_seconds:g} cut pre-training after {about['done']:,} of "
            f"{about['steps']:,} steps: this base is not the one that the recipe names, and is not kept for other runs."
        )
    return base


def _write_tables(folder: RunFolder, base: str, corpus: Corpus) -> None:
    tokenizer = load_tokenizer(base)
    write_tokens(folder.state / "private", tokenizer, turns_of(corpus.private), corpus.clients)
    names = [dialogue.client_id for dialogue in corpus.held_out]
    owned = by_client([name for name in names if name is not None]) if None not in names else {}
    write_tokens(folder.state / "held-out", tokenizer, turns_of(corpus.held_out), owned)


def _sample(count: int, most: int) -> IntVector:
    """Evenly spread indices of at most `most` held-out dialogues."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
