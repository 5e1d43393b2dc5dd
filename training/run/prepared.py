"""Everything that rounds need, made now or found on disk: data, plan, public base, tokens, keys."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from chatfed.data.partition import by_client
from chatfed.model.bases import find_base
from chatfed.model.transformer import load_tokenizer
from chatfed.types import ClientId, IntVector

from ..base import together
from ..base.corpus import HELP_DESK, Corpus, load_corpus, turns_of
from ..base.evaluation import spread
from ..base.learnable import refuse_without_targets
from ..base.learner import check_device
from ..base.templates import template_refusal
from ..base.tokens import open_tokens, write_tokens
from ..engines import simulation
from ..engines.simulation import Workplace, enrol
from ..parties.homes import Homes
from ..parties.identity import Roster, read_roster
from ..plan.checks import check_clients
from ..plan.in_words import plan_in_words
from ..plan.meaning import planned_warnings
from ..plan.plan import Plan, resolve
from ..plan.recipe import Recipe
from ..workers import worker_context
from .canaries import canaries_of, committed, plant, seed_file, with_canary_clients
from .display import Display
from .memory import Peak
from .public_base import make_base, refuse_unfit_base
from .run_folder import RunFolder


@dataclass
class Clock:
    """Seconds by phase, added up over interruptions, and the memory that this process and its workers took."""

    seconds: dict[str, float] = field(default_factory=dict)
    peak: Peak = field(default_factory=Peak)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds what passes inside to the seconds of a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


@dataclass(frozen=True)
class Prepared:
    """What rounds need, on disk."""

    folder: RunFolder
    plan: Plan
    run: bytes
    base: str  # folder or hub name
    clients: list[ClientId]  # sorted
    held_out: IntVector  # of the held-out dialogues, those that are measured
    homes: Homes  # the simulated clients' records, for whoever reads their ledgers
    roster: Roster = field(default_factory=dict)  # empty: the plan pins no identities
    start: str = ""  # folder of what rounds begin with, where that is not the base
    apart: bool = False  # clients are members on machines of their own

    def workplace(self, counting: bool = False) -> Workplace:
        """What a worker process is given. counting: for the count before the first round, of the base."""
        state = self.folder.state
        roster = self.folder.roster if self.roster else None
        workers = self.plan.recipe.runtime.workers
        return Workplace(
            self.plan,
            workers,
            self.base if counting else self.begun_with,
            state / "private",
            state / "held-out",
            self.folder.homes,
            roster,
            counting,
            canaries_of(seed_file(self.folder), self.plan.recipe),
        )

    @property
    def charged(self) -> list[ClientId]:
        """All whose ledgers hold what the run has cost: its clients, and whoever was one before."""
        return sorted({*self.clients, *self.folder.charges()})

    def given(self, run: bytes, cohort: Iterable[ClientId]) -> tuple[int, ...]:
        """Over a network, to sums of how many rounds of `run` each gave: a ledger that knows of fewer was set back."""
        return self.folder.given(run, cohort) if self.apart and self.plan.claim.private else ()

    @property
    def begun_with(self) -> str:
        """Folder or hub name of the model that rounds begin with."""
        return self.start or self.base


def prepare(recipe: Recipe, folder: RunFolder, run: bytes, display: Display, clock: Clock) -> Prepared:
    """Data, base model and tokens, each made now or found from before. Raises ChatfedError."""
    base = folder.prepared()
    if base is not None:  # a resumed run keeps its clients and its base, whatever became of the data
        _begin_workers()
        plan = resolve(recipe, len(open_tokens(folder.state / "private").clients))
        return _found(folder, plan, run, base)
    given = find_base(recipe.model.base, Path(recipe.runtime.cache))
    with clock.phase("data"):
        recipe = committed(recipe, folder)
        corpus = with_canary_clients(recipe, folder, _read(recipe, given, display))
        plan = _settle(recipe, given, corpus, display)
    with clock.phase("pretrain"):
        base = given or str(make_base(plan.recipe, corpus.public or (), display, clock.peak))
    with clock.phase("data"):
        _keep(folder, plan, base, corpus)
    display.say(f"{len(corpus.clients)} clients have {corpus.words:,} words.")
    return _found(folder, plan, run, base)


def _found(folder: RunFolder, plan: Plan, run: bytes, base: str) -> Prepared:
    private, held_out = (open_tokens(folder.state / name) for name in ("private", "held-out"))
    measured = spread(len(held_out), plan.recipe.runtime.evaluation_dialogues)
    roster = read_roster(folder.roster) if plan.agreement.sums.pinned else {}
    return Prepared(folder, plan, run, base, sorted(private.clients), measured, Homes(folder.homes), roster)


def _begin_workers() -> None:
    """Their imports take seconds, and go on beside what follows."""
    worker_context(simulation.__name__, together.__name__)


def _read(recipe: Recipe, given: str, display: Display) -> Corpus:
    generated = recipe.data.source == HELP_DESK
    display.say("Generating the help-desk corpus." if generated else "Reading the dialogues.")
    refusal = template_refusal(given) if given else None
    corpus = load_corpus(recipe.data, not given, Path(recipe.runtime.cache), refusal)
    for note in corpus.notes:
        display.say(note)
    return corpus


def _settle(recipe: Recipe, given: str, corpus: Corpus, display: Display) -> Plan:
    """The plan for these clients, and what a person should know of it before anything runs.

    given: where the recipe's base is; "": the run makes one.
    """
    for note in check_clients(recipe, corpus.clients, corpus.dealt):
        display.say(note)
    plan = resolve(recipe, len(corpus.clients))
    for warning in planned_warnings(plan.claim, corpus.clients):
        display.say(f"Warning: {warning}.")
    _begin_workers()
    check_device(recipe.runtime.device)
    refuse_unfit_base(recipe, given, display)
    for warning in corpus.repeats.warnings():
        display.say(warning)
    display.say(plan_in_words(plan))
    return plan


def _keep(folder: RunFolder, plan: Plan, base: str, corpus: Corpus) -> None:
    """Tokens, keys and facts on disk; last that they are there."""
    _write_tables(folder, plan.recipe, base, corpus)
    learning = plan.learning
    refuse_without_targets(open_tokens(folder.state / "private"), learning.model.context, learning.train_on)
    if plan.agreement.sums.pinned:
        enrol(folder.homes, sorted(corpus.clients), folder.roster)
    folder.settle_recipe(plan.recipe)
    folder.keep_repeats(corpus.repeats)
    folder.keep_prepared(base, dealt=corpus.dealt)


def _write_tables(folder: RunFolder, recipe: Recipe, base: str, corpus: Corpus) -> None:
    tokenizer = load_tokenizer(base)
    planted, clients = plant(recipe, folder, base, corpus)
    write_tokens(folder.state / "private", tokenizer, chain(turns_of(corpus.private), planted), clients)
    names = [dialogue.client_id for dialogue in corpus.held_out]
    owned = by_client([name for name in names if name is not None]) if None not in names else {}
    write_tokens(folder.state / "held-out", tokenizer, turns_of(corpus.held_out), owned)
