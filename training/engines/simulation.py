"""All clients of a federation on one machine: worker processes that hold one model each and serve any client.

A client between two messages is a folder on disk, so memory does not grow with the number of clients. A worker is given
the messages of several small clients at a time and serves them side by side, since most of a step that does not learn
is waiting for the disk; what goes to all clients is written once, not sent to each. Knows how bytes reach a client and
which scripted client stays silent; the bytes' meaning is `training/parties/client.py`'s.
"""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from chatfed.model.ngrams import NGrams
from chatfed.types import ChatfedError, ClientId, FloatVector, IntVector

from ..base.evaluation import Scores
from ..base.imagining import Imagined
from ..base.learner import Learner
from ..durable import DiskError, disk_error, write_atomically
from ..parties.client import Client
from ..parties.homes import home_of
from ..parties.identity import Roster, new_key, read_key, read_roster, roster_line
from ..parties.session import Step
from ..plan.plan import Counting, Plan
from ..plan.upload import Part
from ..workers import end_with_parent, worker_context

Dropouts = Mapping[Step, frozenset[ClientId]]
"""Clients that fall silent at a step, for the rest of the round. Scripted; real ones are missing keys of an
exchange."""

SIDE_BY_SIDE = 4  # clients of a worker at a time, of which one computes and the others wait for the disk
TEXTS_AT_ONCE = 64  # that a worker imagines side by side
TOGETHER = 16  # messages in a worker's hands at most
TOGETHER_BYTES = 4 << 20  # of their invitations: models so large that one message is worth a trip travel alone

Reply = tuple[ClientId, bytes | None, str]
"""A client's answer, or None and why it gives none."""

Post = Callable[[Sequence[ClientId]], list[bytes] | Path]


@dataclass(frozen=True)
class Workplace:
    """What a worker process needs to act for any client."""

    plan: Plan
    workers: int  # processes
    base: str  # folder or hub name of the public base model
    tokens: Path  # folder of the clients' token table
    held_out: Path  # folder of the held-out token table
    homes: Path  # one folder per client, each the client's own disk
    roster: Path | None = None  # every client's copy of the roster, where the recipe pins identities
    counting: bool = False  # clients count n-grams, and do not learn

    @property
    def agreed(self) -> Plan | Counting:
        """What clients hold to here: terms, agreement and way of learning."""
        if not self.counting:
            return self.plan
        assert self.plan.counting is not None, "there is a count where it is asked for"
        return self.plan.counting


@dataclass
class Simulation:
    """Carries messages to simulated clients: an `Exchange`."""

    workplace: Workplace
    pool: ProcessPoolExecutor
    dropouts: Dropouts = field(default_factory=dict)
    on_reply: Callable[[Step, int, int], None] = lambda step, done, of: None
    refusals: dict[ClientId, str] = field(default_factory=dict)  # why a client that answered nothing did so
    silent: set[ClientId] = field(default_factory=set)
    together: int = 1  # messages to a worker in one trip, in this round

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        """Answers as they come, of the clients that give one.

        Raises DiskError when this machine, not a client, failed.
        """
        step = Step(next(iter(messages.values()))[0]) if messages else Step.SESSION
        if step == Step.SESSION:
            self.silent.clear()
            self.refusals.clear()
            self.together = self._together(messages)
        self.silent |= self.dropouts.get(step, frozenset())
        with _post(self.workplace.homes.parent, messages) as post:
            asked = self._asked(post, [each for each in messages if each not in self.silent])
            for done, (client, answer, reason) in enumerate(asked, 1):
                self.on_reply(step, done, len(messages))
                if answer is not None:
                    yield client, answer
                else:
                    self.refusals[client] = reason

    def _together(self, messages: Mapping[ClientId, bytes]) -> int:
        """How many small clients travel together: not so many that a worker stands idle at the end of a step."""
        longest = max(map(len, messages.values()), default=1)
        fair = len(messages) // (8 * self.workplace.workers)
        return max(1, min(TOGETHER, fair, TOGETHER_BYTES // longest))

    def _asked(self, post: Post, clients: Sequence[ClientId]) -> Iterator[Reply]:
        """Every client's reply, two trips to each worker under way."""
        waiting, asked = iter(clients), set[Future[list[Reply]]]()
        while True:
            while len(asked) < 2 * self.workplace.workers:
                if not (trip := list(islice(waiting, self.together))):
                    break
                asked.add(self.pool.submit(_answer_all, trip, post(trip)))
            if not asked:
                return
            for future in wait(asked, return_when=FIRST_COMPLETED).done:
                asked.remove(future)
                yield from future.result()

    def evaluate(self, weights: FloatVector, dialogues: IntVector) -> Scores:
        """Scores held-out dialogues under the global model, split over the workers."""
        parts = np.array_split(dialogues, max(1, min(len(dialogues), 2 * self.workplace.workers)))
        futures = [self.pool.submit(_evaluate, weights, part) for part in parts]
        return Scores(np.concatenate([future.result().sums for future in futures]))

    def imagine(self, ngrams: NGrams, texts: int, seed: int) -> Iterator[Imagined]:
        """Texts that the base imagines with the counts, some at a time."""
        sizes = [min(TEXTS_AT_ONCE, texts - at) for at in range(0, texts, TEXTS_AT_ONCE)]
        futures = [self.pool.submit(_imagine, ngrams, size, seed + i) for i, size in enumerate(sizes)]
        return (future.result() for future in futures)

    def facts(self) -> tuple[bytes, FloatVector, int]:
        """Digest of the base model, its trainable weights, and the number of all its parameters.

        Raises ChatfedError when learning would move only some of what is trained.
        """
        return self.pool.submit(_base_facts).result()


@contextmanager
def _post(folder: Path, messages: Mapping[ClientId, bytes]) -> Iterator[Post]:
    """What travels to workers for some clients: their messages.

    Or, where all get the same one, a file that holds it for the length of the step.
    """
    alike = {id(message): message for message in messages.values()}
    with ExitStack() as stays:
        if len(alike) == 1 < len(messages):
            try:
                file = stays.enter_context(tempfile.NamedTemporaryFile(prefix=".message-", dir=folder))
                file.write(*alike.values())
                file.flush()
            except OSError as error:
                raise disk_error(folder, error) from error
            yield lambda clients: Path(file.name)
        else:
            yield lambda clients: [messages[client] for client in clients]


@contextmanager
def simulation(workplace: Workplace, dropouts: Dropouts | None = None) -> Iterator[Simulation]:
    """Worker processes with one thread each (two threads on two cores collapse when anything else runs)."""
    with ProcessPoolExecutor(
        workplace.workers, mp_context=worker_context(__name__), initializer=_start, initargs=(workplace,)
    ) as pool:
        yield Simulation(workplace, pool, dropouts or {})


def enrol(homes: Path, clients: Sequence[ClientId], roster: Path) -> None:
    """Draws a key into each client's home that has none, and writes the roster of all. Raises IdentityError."""
    lines = []
    for client in clients:
        path = home_of(homes, client) / "identity.key"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            new_key(path)
        lines.append(roster_line(client, read_key(path)) + "\n")
    write_atomically(roster, "".join(lines).encode(), 0o644)


# What follows runs in worker processes. One global per process: the model, built once.
_place: _Worker | ChatfedError | None = None


@dataclass
class _Worker:
    workplace: Workplace
    learner: Learner
    roster: Roster
    hands: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(SIDE_BY_SIDE))
    learning: threading.Lock = field(default_factory=threading.Lock)  # there is one model


def _start(workplace: Workplace) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    global _place
    try:
        learner = Learner.open(workplace.agreed.learning, workplace.base, workplace.tokens, workplace.held_out)
        _place = _Worker(workplace, learner, read_roster(workplace.roster) if workplace.roster else {})
    except ChatfedError as error:  # an initialiser that raises breaks the pool, and nobody learns why
        _place = error
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        _place = ChatfedError(f"A worker process cannot begin: {type(error).__name__}: {reason}")


def _worker() -> _Worker:
    assert _place is not None, "the pool's initialiser did not run"
    if isinstance(_place, ChatfedError):
        raise _place
    return _place


def _answer_all(clients: Sequence[ClientId], post: list[bytes] | Path) -> list[Reply]:
    """Several clients' replies, in their order."""
    messages = [_posted(post)] * len(clients) if isinstance(post, Path) else post
    if len(clients) == 1:
        return [_answer(clients[0], messages[0])]
    return list(_worker().hands.map(_answer, clients, messages))


def _closing(turn: ExitStack, parts: Iterable[Part]) -> Iterator[Part]:
    yield from parts
    turn.close()


@lru_cache(maxsize=1)
def _posted(path: Path) -> bytes:
    return path.read_bytes()


def _answer(client: ClientId, message: bytes) -> Reply:
    worker = _worker()
    place = worker.workplace
    with ExitStack() as turn:  # at the model, given back with the update's last part, or here

        def learn(weights: FloatVector) -> Iterator[Part]:
            turn.enter_context(worker.learning)
            task = worker.learner.counts_of if place.counting else worker.learner.for_client
            return _closing(turn, task(client)(weights))

        home, digest = home_of(place.homes, client), worker.learner.base_digest
        agreed = place.agreed
        participant = Client(client, home, agreed.agreement, agreed.terms, digest, learn, worker.roster)
        try:
            return client, participant.handle(message), ""
        except ChatfedError as error:
            if isinstance(error.__cause__, OSError):  # this machine's disk, not the client's choice: the run must stop
                raise DiskError(str(error)) from None
            return client, None, str(error)


def _evaluate(weights: FloatVector, dialogues: IntVector) -> Scores:
    return _worker().learner.evaluate(weights, dialogues)


def _imagine(ngrams: NGrams, texts: int, seed: int) -> Imagined:
    return _worker().learner.imagine(ngrams, texts, seed)


def _base_facts() -> tuple[bytes, FloatVector, int]:
    learner = _worker().learner
    learner.refuse_unmoved()
    return learner.base_digest, learner.initial, learner.parameters
