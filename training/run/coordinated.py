"""A run whose clients are members on machines of their own: the same rounds as in a simulation, and what may go wrong.

Members come, go and are missing; a round that gives no sum is begun anew; a next edition of the federation is taken up
between rounds. Knows a carrier of messages and who is connected; knows no network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from chatfed.model.checkpoint import weights_file
from chatfed.model.ngrams import NGrams
from chatfed.model.transformer import load_tokenizer
from chatfed.privacy.ledger import BudgetExceeded
from chatfed.types import ChatfedError, ClientId

from ..base.imagining import Imagined
from ..base.learner import Learner
from ..base.pretrain import about_pretraining
from ..base.tokens import write_tokens
from ..durable import DiskError, Stopped, from_json, make_folder, read_if_there, to_json, write_atomically
from ..engines.carrier import Carrier
from ..engines.simulation import simulation
from ..parties.aggregator import initial_state
from ..parties.homes import Homes
from ..parties.ledgers import charge_invited
from ..parties.member import NOT_SENT
from ..parties.rounds import Standing
from ..parties.session import Session, Step, round_context
from ..plan.federation import Federation, FederationError, read_federation
from ..plan.plan import Plan
from .counted import counted_base, counted_before
from .display import Display, RoundBar
from .measured import Measuring
from .prepared import Clock, Prepared
from .release import publish
from .rounds import Rounds
from .run_folder import RunError, RunFolder

ATTEMPTS = 3  # at one round, or at one measurement, without a sum
LOOK = 0.5  # seconds between two looks at who is connected


class Connected(Protocol):
    """Who is there; and who is let in."""

    def online(self) -> frozenset[ClientId]:
        """Members that are connected."""

    def admit(self, members: Mapping[ClientId, bytes]) -> None:
        """Lets exactly these in, by their transport keys."""


class TooFew(Stopped):
    """Fewer members are connected than a sum needs."""

    code = "too_few_members"
    mend = "have the members that are named join, then begin chatfed coordinate again: it goes on where it was"


@dataclass
class Coordinator:
    """The server's side of a federation, over all its editions."""

    file: Path
    folder: RunFolder
    base: str
    clients: Carrier
    link: Connected
    patience: float  # seconds that members have to connect before a round
    display: Display
    federation: Federation = field(init=False)
    read_at: float = 0.0  # when the file was changed that was read last

    def run(self) -> dict[str, Any]:
        """Runs or goes on with the federation to its end; returns its summary. Raises ChatfedError."""
        self.federation = self._read()
        plan = self.federation.plan()
        self._begin()
        stored = self.folder.latest()
        clock = Clock(dict(stored.seconds) if stored else {})
        self._admit()
        with closing(Homes(self.folder.homes)) as homes, closing(Homes(self.folder.state / "measured")) as books:
            prepared = self._prepared(plan, homes)
            base = self._learner(plan, self.base)
            plan.refuse_unaffordable(len(base.initial))  # the rounds too: before anything is counted
            measuring = Measuring(prepared, self.clients, base.base_digest, Standing(), books, self.display.say)
            public = initial_state(base.initial, plan.first_clip_norm)
            with clock.phase("evaluate"):
                before = self._tried(lambda: measuring(public), measuring.known(public))
            if before is None:
                raise FederationError(
                    "data.hold_out_epsilon bears no measurement with these members: take a larger or smaller one.",
                    param="data.hold_out_epsilon",
                )
            prepared, begun = self._after_the_count(prepared, base, clock)
            if stored and stored.base != begun.base_digest:
                raise RunError(f"{prepared.begun_with} is not the model that this run began with: bring that back.")
            measuring.base_digest = begun.base_digest
            first = initial_state(begun.initial, plan.first_clip_norm)
            state, metrics = (stored.state, stored.metrics) if stored else (first, [])
            known = begun.base_digest, before.result(), clock, self.display, state, metrics
            on_record = self._on_record(homes, begun.base_digest)
            rounds = Rounds(prepared, self.clients, *known, measuring, before_session=on_record)
            self._all_rounds(rounds, measuring)
            measuring(rounds.state)
            last, after = measuring.latest()
            compared, measured = measuring.compared(before, after, last), measuring.cost()
            measuring.close(rounds.state)
        facts: dict[str, Any] = {
            "clients": len(rounds.prepared.clients),
            "rounds": rounds.state.round,
            "measured_after": last,
            "parameters": begun.parameters,
            "trainable_parameters": len(begun.initial),
            "peak_memory_mib": clock.peak.to_json(),
            "pretraining": about_pretraining(self.base),
            "comparison": compared.to_json(),
        }
        return publish(
            rounds.prepared,
            rounds.state,
            metrics,
            before.result(),
            after.result(),
            facts,
            clock,
            measured,
            [edition.plan() for edition in self._editions()],
        )

    def _all_rounds(self, rounds: Rounds, measuring: Measuring) -> None:
        rounds.begin()
        with self.display.rounds(rounds.of, rounds.state.round) as bar:
            while rounds.left:
                try:
                    self._tried(
                        lambda: self._go_on(rounds, measuring, bar), newer=lambda: self._take_up(rounds, measuring)
                    )
                except BudgetExceeded as error:
                    self.display.say(f"{error}: the run ends with {rounds.state.round} of {rounds.of} rounds.")
                    return

    def _after_the_count(self, prepared: Prepared, base: Learner, clock: Clock) -> tuple[Prepared, Learner]:
        """What rounds begin with where n-grams are counted first, and a learner of it."""
        count = prepared.plan.counting
        if count is None:
            return prepared, base
        agreement, terms, digest = count.agreement, count.terms, base.base_digest

        def on_record(session: Session) -> None:
            charge_invited(prepared.homes, session, round_context(session, digest), agreement, terms)

        def imagine(ngrams: NGrams, texts: int, seed: int) -> Iterator[Imagined]:
            with simulation(replace(prepared, roster={}).workplace(counting=True)) as here:
                yield from here.imagine(ngrams, texts, seed)

        made = self._tried(
            lambda: counted_base(prepared, count, self.clients, imagine, digest, clock, self.display, on_record),
            counted_before(prepared),
        )
        return replace(prepared, start=str(made)), self._learner(prepared.plan, str(made))

    def _read(self) -> Federation:
        changed = self.file.stat().st_mtime if self.file.exists() else 0.0
        federation = read_federation(self.file)
        self.read_at = changed
        return federation

    def _begin(self) -> None:
        """The run's folder, begun now or found. Raises RunError where it holds another run."""
        if not (self.folder.path / "recipe.toml").exists():
            self.folder.begin(self.federation.recipe, run=self.federation.run)
        elif self.folder.begun().run != self.federation.run:
            raise RunError(
                f"{self.folder.path} holds another run than that of {self.federation.name}: name another with --out.",
                param=str(self.folder.path),
            )
        if before := self._editions():
            refuse_another(before[-1], self.federation)
        self._keep_edition()

    def _keep_edition(self) -> None:
        """Of each edition that rounds were run by a copy stays: what is claimed holds for all of them."""
        make_folder(self.folder.editions)
        path = self.folder.editions / f"{self.federation.edition}.toml"
        write_atomically(path, self.federation.to_toml().encode(), 0o644)

    def _editions(self) -> list[Federation]:
        """All editions that rounds were run by, in their order."""
        paths = sorted(self.folder.editions.glob("*.toml"), key=lambda path: int(path.stem))
        return [read_federation(path) for path in paths]

    def _learner(self, plan: Plan, base: str) -> Learner:
        """A model, for what follows from it: no dialogue is here."""
        tables = [self.folder.state / name for name in ("private", "held-out")]
        for table in tables:
            if not table.exists():
                write_tokens(table, load_tokenizer(base), [])
        return Learner.open(plan.learning, base, *tables)

    def _admit(self) -> None:
        self.link.admit({each.name: each.transport for each in self.federation.members})

    def _prepared(self, plan: Plan, homes: Homes) -> Prepared:
        names = [each.name for each in self.federation.members]
        nothing = np.empty(0, np.int64)
        roster = self.federation.roster
        return Prepared(self.folder, plan, self.federation.run, self.base, names, nothing, homes, roster, apart=True)

    def _on_record(self, homes: Homes, digest: bytes) -> Callable[[Session], None]:
        def charge(session: Session) -> None:
            plan = self.federation.plan()
            charge_invited(homes, session, round_context(session, digest), plan.agreement, plan.terms)

        return charge

    def _take_up(self, rounds: Rounds, measuring: Measuring) -> bool:
        """Goes on by the newest edition; whether there is one that rounds were not run by so far."""
        if not self._next_edition():
            return False
        start = rounds.prepared.start
        rounds.prepared = replace(self._prepared(self.federation.plan(), rounds.prepared.homes), start=start)
        measuring.prepared = rounds.prepared
        return True

    def _go_on(self, rounds: Rounds, measuring: Measuring, bar: RoundBar) -> Any:
        """A round, once whoever takes part has the model that it begins with."""
        for standing in (rounds.standing, measuring.standing):
            standing.renew(sorted(rounds.prepared.clients), self.link.online())
        if rounds.prepared.start:
            self._send_start(Path(rounds.prepared.start), {**rounds.refused, **self.clients.refusals})
        return rounds.go_on(bar)

    def _send_start(self, made: Path, refused: Mapping[ClientId, str]) -> None:
        """Gives whoever has not got it, or has lost it, the model that has learned what was counted."""
        file = self.folder.state / "started.json"
        have = set(from_json(read_if_there(file) or b"[]"))
        have -= {name for name, reason in refused.items() if reason == NOT_SENT}
        lack = [each.name for each in self.federation.members if each.name not in have]
        if lack:
            message = bytes([Step.START]) + self.federation.run + weights_file(made).read_bytes()
            have |= {name for name, _ in self.clients(dict.fromkeys(lack, message))}
            write_atomically(file, to_json(sorted(have)).encode(), 0o644)

    def _next_edition(self) -> bool:
        """Takes up a changed file; one that cannot be used is told of, and the one before it goes on."""
        if not self.file.exists() or self.file.stat().st_mtime == self.read_at:
            return False
        before = self.federation
        try:
            after = self._read()
            refuse_another(before, after)
            after.plan()
        except ChatfedError as error:
            self.read_at = self.file.stat().st_mtime
            self.display.say(f"{error} Going on with edition {before.edition}.")
            return False
        self.federation = after
        self._keep_edition()
        self._admit()
        if after.digest == before.digest:
            return False
        self.display.say(f"Edition {after.edition} of {after.name}, of {len(after.members)} members, from here on.")
        return True

    def _tried(self, job: Callable[[], Any], done: bool = False, newer: Callable[[], bool] = lambda: False) -> Any:
        """What `job` gives, tried ATTEMPTS times where it ends without a sum. Raises Stopped.

        done: before, so that nobody is waited for. newer: as of `_await_members`.
        """
        for attempt in range(1, ATTEMPTS + 1):
            if not done:
                self._await_members(newer)
            try:
                return job()
            except DiskError:
                raise
            except Stopped as error:
                for name, reason in sorted(self.clients.refusals.items()):
                    self.display.say(f"  {name} refused: {reason}")
                if attempt == ATTEMPTS:
                    raise
                self.display.say(f"{error} Trying again, {attempt} of {ATTEMPTS - 1}.")
        raise AssertionError("the last attempt returned or raised")

    def _await_members(self, newer: Callable[[], bool]) -> None:
        """Returns once all are connected, or after `patience` seconds where enough are. Raises TooFew.

        newer: takes up a next edition, and says whether there was one: then its members are waited for.
        """
        newer()
        until, told = time.monotonic() + self.patience, False
        while missing := sorted({each.name for each in self.federation.members} - self.link.online()):
            if time.monotonic() > until:
                return self._go_on_without(missing)
            if not told:
                self.display.say(f"Waiting for {', '.join(missing)}, {self.patience:g} s at the most.")
                told = True
            time.sleep(LOOK)
            if newer():
                until, told = time.monotonic() + self.patience, False

    def _go_on_without(self, missing: Sequence[str]) -> None:
        """Says so. Raises TooFew."""
        plan = self.federation.plan()
        fewest, here = plan.agreement.sums.fewest(plan.clients), plan.clients - len(missing)
        if here < fewest:
            raise TooFew(
                f"{here} of {plan.clients} members are connected, and no sum of fewer than {fewest} is made: not here "
                f"are {', '.join(missing)}. Begin chatfed coordinate again once they are; nothing is lost."
            )
        self.display.say(f"Going on without {', '.join(missing)}.")


def refuse_another(before: Federation, after: Federation) -> None:
    """Raises FederationError where `after` is no next edition of the same run."""
    if (after.name, after.run) != (before.name, before.run):
        raise FederationError(f"The file is of another federation now ({after.name}).", param="run")
    if after.digest != before.digest and after.edition <= before.edition:
        raise FederationError(
            f"edition {after.edition} does not follow edition {before.edition}: make it with chatfed members.",
            param="edition",
        )
    if (after.base, after.recipe) != (before.base, before.recipe):
        raise FederationError("base and recipe stay what they are as long as a run goes on.", param="recipe")
