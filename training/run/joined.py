"""What a member of a federation needs on its own machine: its data as tokens, a learner, its stores, and its consent.

Knows no network. Everything lies in the member's home, a folder that nobody else writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from chatfed.model.checkpoint import base_digest
from chatfed.model.received import keep_received
from chatfed.model.transformer import load_tokenizer
from chatfed.types import ChatfedError, ClientId

from ..base.corpus import load_corpus, turns_of
from ..base.learnable import refuse_without_targets
from ..base.learner import Learner, check_trainable
from ..base.templates import template_refusal
from ..base.tokens import open_tokens, write_tokens
from ..durable import alone, make_folder, read_if_there, sweep, write_atomically
from ..parties.answering import Refused
from ..parties.client import Client, Learn
from ..parties.identity import IdentityError, read_key
from ..parties.member import Member
from ..parties.session import count_run, measuring_run
from ..parties.store import Store
from ..plan.agreement import Agreement
from ..plan.federation import Federation
from ..plan.plan import Learning
from ..plan.recipe import DataSection
from ..plan.terms import ClientTerms

COUNT, ROUNDS, MEASURED = "the count of n-grams", "a round of learning", "a measurement of the model"
COUNTED = "The base that members agreed on, as it learned by itself what they had counted in one noisy sum.\n"


class CannotJoin(ChatfedError):
    """A member has not what its federation agreed on."""

    code = "cannot_join"
    mend = "get what the message names from whoever invited you"


@dataclass(frozen=True)
class Home:
    """A member's folder."""

    path: Path

    def consented(self, federation: Federation) -> bool:
        """Whether a person has agreed to this very file here before."""
        return federation.digest.hex() in (read_if_there(self.path / "agreed") or b"").decode().split()

    def consent(self, federation: Federation) -> None:
        """Remembers that. Raises DiskError."""
        make_folder(self.path)
        before = (read_if_there(self.path / "agreed") or b"").decode()
        write_atomically(self.path / "agreed", f"{before}{federation.digest.hex()}\n".encode(), 0o600)

    @contextmanager
    def held(self, name: ClientId) -> Iterator[None]:
        """For this process alone, and for one member only: another name would be another ledger for the same data.

        Raises Busy, CannotJoin, DiskError.
        """
        make_folder(self.path)
        with alone(self.path / "lock", f"Another chatfed join is at work in {self.path}: wait for it, or stop it."):
            sweep(self.path)
            owner = (read_if_there(self.path / "owner") or name.encode()).decode()
            if owner != name:
                raise CannotJoin(
                    f"{self.path} holds the ledger of {owner}, and you are {name} by this key: what was spent is spent "
                    "under any name. Ask for your name to be what it was, or name another --home for other dialogues."
                )
            write_atomically(self.path / "owner", name.encode(), 0o600)
            yield


def name_of(federation: Federation, key: Path) -> ClientId:
    """Whose the private key in `key` is. Raises IdentityError where no member has it."""
    from chatfed.secagg.primitives import identity_public

    public = identity_public(read_key(key))
    for member in federation.members:
        if member.identity == public:
            return member.name
    raise IdentityError(
        f"The key in {key} is no member's of {federation.name}, edition {federation.edition}: name the key whose line "
        "you sent, or send its line (chatfed identity line) to whoever keeps the list."
    )


def refuse_another_base(federation: Federation, base: Path) -> None:
    """Raises CannotJoin where the folder does not hold the base that members agreed on."""
    try:
        found = base_digest(base)
    except OSError as error:
        raise CannotJoin(f"{base} cannot be read ({error.strerror}): name the base's folder with --base.") from None
    if found != federation.base:
        raise CannotJoin(
            f"{base} does not hold the base model that {federation.name} agreed on: name the folder that came with "
            "FEDERATION.toml (--base)."
        )


@dataclass
class Joined:
    """A member's data, read, and its stores, open, until `close`."""

    federation: Federation
    home: Home
    base: Path
    key: Path
    name: ClientId
    say: Callable[[str], None]
    frozen_mib: int = 0  # of what frozen layers say of its dialogues, kept from round to round
    stores: dict[str, Store] = field(default_factory=dict)

    def member(self) -> Member:
        """Who answers. Raises ChatfedError."""
        federation, plan = self.federation, self.federation.plan()
        counts, begun = plan.counting is not None, self._start / "config.json"
        clients = self._counting() if counts else self._learning(self.base)
        if counts and begun.exists():  # sent before this process began
            clients |= self._learning(self._start)
        return Member(
            clients,
            {
                COUNT: count_run(federation.run),
                ROUNDS: federation.run,
                MEASURED: measuring_run(plan.measuring.digest) if plan.measuring else b"",
            },
            self.home.path / "invited",
            self.say,
            federation.fingerprint,
            MEASURED,
            self._take_up if counts else None,
            plan.agreement.digest,
        )

    def close(self) -> None:
        """Lets go of the stores."""
        while self.stores:
            self.stores.popitem()[1].close()

    @property
    def _start(self) -> Path:
        return self.home.path / "counted" / self.federation.run.hex()

    def _take_up(self, weights: bytes) -> dict[str, Client]:
        """The same bytes again change nothing; other ones are refused, as long as the run goes on."""
        given, note = hashlib.sha256(weights).hexdigest(), self._start.with_suffix(".sha256")
        known = (read_if_there(note) or b"").decode()
        if known and known != given:
            raise Refused("was sent another model that rounds begin with before: there is one in a run")
        if not known or not (self._start / "config.json").exists():
            keep_received(str(self.base), weights, self._start, COUNTED)
            write_atomically(note, given.encode(), 0o600)
        return self._learning(self._start)

    def _counting(self) -> dict[str, Client]:
        """Who counts, and measures the base."""
        count = self.federation.plan().counting
        assert count is not None, "looked at before"
        learner = self._learner(count.learning, self.base)
        counted = self._client("rounds", count.agreement, count.terms, learner, learner.counts_of(self.name))
        return {COUNT: counted, **self._measuring(learner)}

    def _learning(self, start: Path) -> dict[str, Client]:
        """Who learns, from the model in `start`, and measures what comes of it."""
        plan = self.federation.plan()
        learner = self._learner(plan.learning, start)
        learner.refuse_unmoved()
        plan.refuse_unaffordable(len(learner.initial))
        rounds = self._client("rounds", plan.agreement, plan.terms, learner, learner.for_client(self.name))
        return {ROUNDS: rounds, **self._measuring(learner)}

    def _measuring(self, learner: Learner) -> dict[str, Client]:
        plan = self.federation.plan()
        assert plan.measuring is not None, "looked at before"
        assert plan.measuring_terms is not None, "it goes with the agreement"
        learn = learner.measured_of(self.name)
        return {MEASURED: self._client("measured", plan.measuring, plan.measuring_terms, learner, learn)}

    def _learner(self, how: Learning, base: Path) -> Learner:
        how, home = replace(how, frozen_mib=self.frozen_mib), self.home.path
        return Learner.open(how, str(base), home / "private", home / "held-out")

    def _client(self, store: str, agreement: Agreement, terms: ClientTerms, learner: Learner, learn: Learn) -> Client:
        if store not in self.stores:
            self.stores[store] = Store(self.home.path / f"{store}.db")
        records, roster = self.stores[store].of(self.name), self.federation.roster
        count = self.federation.plan().counting
        looks = count is None or agreement != count.agreement  # who counts is sent zeros in the place of a model
        weights = len(learner.initial) if looks else 0
        return Client(records, agreement, terms, learner.base_digest, learn, roster, self.key, weights)


def joined(
    federation: Federation,
    home: Home,
    base: Path,
    key: Path,
    data: DataSection,
    say: Callable[[str], None],
    frozen_mib: int = 0,
) -> Joined:
    """The member with its data read and written down as tokens. Raises ChatfedError.

    data: the recipe's, with the member's own source in it.
    """
    plan, name = federation.plan(), name_of(federation, key)
    refuse_another_base(federation, base)
    check_trainable(replace(plan.learning.model, base=str(base)))
    _write_tables(home, base, name, data, plan.learning.model.context, say)
    return Joined(federation, home, base, key, name, say, frozen_mib)


def _write_tables(
    home: Home, base: Path, name: ClientId, data: DataSection, context: int, say: Callable[[str], None]
) -> None:
    """The member's dialogues as tokens: those that it learns from, and those that it holds out."""
    corpus = load_corpus(data, False, home.path / "cache", template_refusal(str(base)), name)
    for note in [*corpus.notes, *corpus.repeats.warnings()]:
        say(note)
    if not len(corpus.held_out):  # then noise alone is what it gives to a measurement
        say(f"None of the dialogues in {data.source} is held out to measure with: which are, their text decides.")
    tokenizer = load_tokenizer(str(base))
    make_folder(home.path)
    write_tokens(home.path / "private", tokenizer, turns_of(corpus.private), corpus.clients)
    held_out = {name: np.arange(len(corpus.held_out))}
    write_tokens(home.path / "held-out", tokenizer, turns_of(corpus.held_out), held_out)
    mine, apart = len(corpus.clients.get(name, ())), len(corpus.held_out)
    refuse_without_targets(open_tokens(home.path / "private"), context, data.train_on)
    say(f"{mine:,} dialogues are learned from, and {apart:,} are held out to measure with.")
