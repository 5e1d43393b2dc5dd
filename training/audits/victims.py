"""Real clients in one process, each with records, ledger and key of its own, for whoever plays a server that cheats.

A run's recipe is made small: few clients, few coordinates; its privacy, its noise, its secure sums and its floors stay.
What dialogues give is made up, as if the server's model made them do so. Knows no attack.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.noise import poisson_sample, system_random
from chatfed.secagg import primitives
from chatfed.secagg.masking import ring_dtype
from chatfed.secagg.messages import MASKS
from chatfed.types import ChatfedError, ClientId, FloatVector

from ..parties.aggregator import invited
from ..parties.answering import answers
from ..parties.client import Client, Learn
from ..parties.identity import new_key, read_key
from ..parties.rounds import Exchange, Outcome, run_round
from ..parties.session import Session, Step, rotation_seed, round_context
from ..parties.store import ClientStore, Store
from ..plan.agreement import Agreement, agree
from ..plan.cohorts import following
from ..plan.recipe import Recipe
from ..plan.settings import RecipeError
from ..plan.terms import ClientTerms
from ..plan.upload import Part, Upload

BASE = hashlib.sha256(b"a public base").digest()
COHORT = 10  # clients that begin in a round: with the default threshold one of them may be missing
MEMORY = Path("/dev/shm")  # noqa: S108  # nobody keeps them, and a disk would be waited for
Gradients = Callable[[FloatVector], Sequence[FloatVector]]
"""Global weights float32[d] -> the gradient of each of a client's dialogues, float32[d]."""


@dataclass(frozen=True)
class Setting:
    """A recipe of few clients, and what a participation costs them."""

    name: str
    recipe: Recipe  # its cohort settled
    terms: ClientTerms

    @classmethod
    def small(cls, name: str, recipe: Recipe, terms: ClientTerms, identities: str = "none") -> Setting:
        """The recipe for COHORT clients, counted and measured by nobody; floors and noise are its own."""
        if recipe.secagg.scheme != MASKS:
            raise RecipeError(
                "{secagg.scheme} = {scheme}: the servers of this audit know how to cheat with masks, and would find "
                "nothing here by not trying: audit the same recipe with {secagg.scheme} = {masks}",
                scheme=recipe.secagg.scheme,
                masks=MASKS,
            )
        bands = min(recipe.federation.bands, 2)
        federation = dataclasses.replace(
            recipe.federation, cohort=COHORT, bands=bands, rounds=max(2, recipe.federation.rounds)
        )
        secagg = dataclasses.replace(recipe.secagg, identities=identities)
        data = dataclasses.replace(recipe.data, hold_out_epsilon=0.0)
        ngrams = dataclasses.replace(recipe.ngrams, longest=0)
        made = dataclasses.replace(recipe, federation=federation, secagg=secagg, data=data, ngrams=ngrams)
        return cls(name, following(made, COHORT * bands), terms)

    @property
    def agreement(self) -> Agreement:
        """What its clients hold the server to."""
        return agree(self.recipe, self.terms.noise_multiplier)

    @property
    def clients(self) -> int:
        """How many there are."""
        return COHORT * self.bands

    @property
    def pinned(self) -> bool:
        """Whether clients know each other's keys by a roster of their own."""
        return self.recipe.secagg.identities == "roster"

    @property
    def unpinned(self) -> Setting:
        """The same without identities, which change no noise."""
        secagg = dataclasses.replace(self.recipe.secagg, identities="none")
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, secagg=secagg))

    @property
    def bare(self) -> bool:
        """Whether nobody adds noise."""
        return self.terms.mechanism is None

    @property
    def local(self) -> bool:
        """Whether each client adds all the noise itself."""
        return self.recipe.privacy.noise is Noise.LOCAL

    @property
    def bands(self) -> int:
        """Rounds in which an update is sent."""
        return self.recipe.federation.bands

    def learns(self, gradients: Gradients) -> Learn:
        """A client whose dialogues have these gradients, as `Learner.learn` makes its update of them."""
        return lambda weights: self._learn(gradients(weights), len(weights))

    def _learn(self, gradients: Sequence[FloatVector], dimension: int) -> Iterable[Part]:
        privacy = self.recipe.privacy
        if privacy.unit is Unit.CLIENT:
            return [-np.sum(gradients, axis=0, dtype=np.float32, initial=0.0) * np.ones(dimension, np.float32)]
        if privacy.noise is Noise.DISTRIBUTED:
            return self._sampled(gradients)
        steps = [self._step(self._sampled(gradients), dimension) for _ in range(privacy.local_steps)]
        return [np.sum(steps, axis=0, dtype=np.float32)]

    def _sampled(self, gradients: Sequence[FloatVector]) -> Iterator[FloatVector]:
        taken = poisson_sample(len(gradients), self.recipe.privacy.sampling_rate, system_random)
        return (gradients[i] for i in taken)

    def _step(self, gradients: Iterable[FloatVector], dimension: int) -> FloatVector:
        """A step of DP-SGD that a client takes by itself: float32[d], the noise in it."""
        from chatfed.privacy.dpsgd import DPSGDConfig, noisy_mean

        privacy = self.recipe.privacy
        how = DPSGDConfig(
            privacy.clip_norm,
            self.terms.noise_multiplier,
            privacy.sampling_rate,
            privacy.expected_batch_size,
            privacy.local_steps,
            privacy.learning_rate,
        )
        moved: FloatVector = -np.float32(privacy.learning_rate) * noisy_mean(gradients, dimension, how)
        return moved


def nothing(weights: FloatVector) -> Sequence[FloatVector]:
    """The gradients of a client that the crafted model makes silent."""
    return ()


@dataclass
class Victims:
    """Clients of one setting, and an `Exchange` that reaches them and remembers why one refused."""

    home: Path
    setting: Setting
    clients: tuple[ClientId, ...]
    learns: Mapping[ClientId, Learn]
    dimension: int
    base: bytes = BASE
    roster: dict[ClientId, bytes] = field(default_factory=dict)
    refusals: dict[ClientId, ChatfedError] = field(default_factory=dict)
    asked: dict[Step, dict[ClientId, bytes]] = field(default_factory=dict)  # in the last round
    _clients: dict[ClientId, Client] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._store = Store(self.home / "records.db")  # one for all: what they write reaches the disk together
        for name in self.clients if self.setting.pinned and not self.roster else ():
            new_key(self._key(name))
            self.roster[name] = primitives.identity_public(read_key(self._key(name)))

    def _key(self, name: ClientId) -> Path:
        path = self.home / name / "identity.key"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def records(self, name: ClientId) -> ClientStore:
        """What a client keeps."""
        return self._store.of(name)

    def client(self, name: ClientId) -> Client:
        """The client itself."""
        if name not in self._clients:
            key = self._key(name) if self.setting.pinned else None
            agreed, terms, learn = self.setting.agreement, self.setting.terms, self.learns[name]
            self._clients[name] = Client(self.records(name), agreed, terms, self.base, learn, self.roster, key)
        return self._clients[name]

    def charges(self, name: ClientId) -> int:
        """In its ledger; 0 where it keeps none."""
        return len(self.client(name).ledger().entries) if self.records(name).there("ledger") else 0

    def ask(self, name: ClientId, message: bytes) -> bytes:
        """One client's answer. Raises ChatfedError where it refuses."""
        return self.client(name).handle(message)

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        """Everybody's answers, without those of clients that refuse."""
        steps = [self.client(name).steps(message) for name, message in messages.items()]
        for (name, message), answer in zip(messages.items(), answers(steps, self._store), strict=True):
            self.asked.setdefault(Step(message[0]), {})[name] = message
            if isinstance(answer, ChatfedError):
                self.refusals[name] = answer
            else:
                yield name, answer

    def session(self, at: int = 0, **said: Any) -> Session:
        """An honest invitation to round `at`, but for what is `said`."""
        asked = invited(self.clients, at, self.setting.recipe.federation)
        run, attempt = b"r" * 16, system_random(16)
        digest, zeros = self.setting.agreement.digest, np.zeros(self.dimension, np.float32)
        clip = self.setting.recipe.privacy.clip_norm if self.setting.agreement.moving_clip_norm else 0.0
        made = Session(run, attempt, at, digest, tuple(asked), zeros, clip, tuple(asked.values()))
        return dataclasses.replace(made, **said)

    def round(self, session: Session, exchange: Exchange | None = None, **how: Any) -> Outcome:
        """A round as an honest server runs it, over an exchange that may be somebody else's."""
        self.refusals, self.asked = {}, {}
        given = {"roster": self.roster} | how
        return run_round(session, self.setting.agreement, self.base, exchange or self, **given)

    def code(self, session: Session, lag: int = 0) -> Upload:
        """What uploads of a session are encoded with."""
        seed = rotation_seed(round_context(session, self.base))
        sums = self.setting.agreement.sums
        return sums.codec.upload(len(session.cohort), self.dimension, seed, session.clip_norm, lag)

    def upload(self, name: ClientId, session: Session) -> FloatVector:
        """What a client has stored of its update: decoded as a sum of one, float32[d]. A puppet's the server knows."""
        code = self.code(session)
        _, raw = self.records(name).read("update") or ("", b"")
        return code.decode(np.frombuffer(raw, ring_dtype(code.ring_bits)), 1).update  # type: ignore[arg-type]

    def close(self) -> None:
        """Lets go of the store."""
        self._store.close()


def names(count: int, prefix: str = "client") -> tuple[ClientId, ...]:
    """So many, sorted."""
    return tuple(ClientId(f"{prefix}-{i:02}") for i in range(count))


@contextlib.contextmanager
def victims(
    setting: Setting,
    dimension: int,
    gradients: Mapping[ClientId, Gradients] | None = None,
    clients: Sequence[ClientId] = (),
) -> Iterator[Victims]:
    """A setting's clients in a folder that is gone afterwards; of those not in `gradients` the model hears nothing."""
    with tempfile.TemporaryDirectory(prefix="chatfed-audit-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        clients, given = tuple(clients) or names(setting.clients), gradients or {}
        learns = {name: setting.learns(given.get(name, nothing)) for name in clients}
        made = Victims(Path(folder), setting, clients, learns, dimension)
        try:
            yield made
        finally:
            made.close()
