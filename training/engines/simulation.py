"""All clients of a federation on one machine: worker processes that hold one model each and serve any client.

A client between two messages is records in a store, so memory does not grow with the number of clients. A worker is
given the messages of several small clients of one store at a time, so that what they write reaches the disk together;
each begins with the store's own worker, or with one that has time, and goes on where its state is at hand; what goes to
all clients is written once, not sent to each. Knows how bytes reach a client and which scripted client stays silent;
the bytes' meaning is `training/parties/client.py`'s.
"""

from __future__ import annotations

import signal
import tempfile
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.model.ngrams import NGrams
from chatfed.types import ChatfedError, ClientId, FloatVector, IntVector

from ..base.canaries import COUNT, ROUNDS, Canaries
from ..base.evaluation import Scores
from ..base.imagining import Imagined
from ..base.learner import Learner
from ..durable import disk_error, make_folder, write_atomically
from ..parties.answering import answers
from ..parties.client import READ, Client
from ..parties.homes import Homes, home_of, store_of, stores_of
from ..parties.identity import Roster, new_key, read_key, read_roster, roster_line
from ..parties.session import Step
from ..plan.plan import Counting, Plan
from ..workers import end_with_parent, worker_context
from .carrier import OnReply

Dropouts = Mapping[Step, frozenset[ClientId]]
"""Clients that fall silent at a step, for the rest of the round. Scripted; real ones are missing keys of an
exchange."""

TEXTS_AT_ONCE = 64  # that a worker imagines side by side
LABOURS = (Step.SESSION, Step.ADVERTS)  # clients learn, and agree on keys with one another
TOGETHER, LEAST = 32, 4  # messages in a worker's hands at most, and at least if there are so many, in such a step
LONG = 64  # at most in any other
AT_HAND = 256  # clients whose state of the round a worker keeps in memory
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
    homes: Path  # folder of the clients' stores and identity keys
    roster: Path | None = None  # every client's copy of the roster, where the recipe pins identities
    counting: bool = False  # clients count n-grams, and do not learn
    canaries: Canaries | None = None  # of an audit, where the run has some

    @property
    def agreed(self) -> Plan | Counting:
        """What clients hold to here: terms, agreement and way of learning."""
        if not self.counting:
            return self.plan
        assert self.plan.counting is not None, "there is a count where it is asked for"
        return self.plan.counting


@dataclass(frozen=True)
class Job:
    """A call to be made in a worker, by itself or with those of a worker that may come to it."""

    call: Callable[..., Any]
    given: Callable[[], tuple[Any, ...]]  # made when it is sent, not while it waits
    worker: int | None = None  # that does it; None: whichever is free
    moves: bool = False  # another worker may do it that would stand idle


@dataclass
class Simulation:
    """Carries messages to simulated clients: an `Exchange`."""

    workplace: Workplace
    workers: Sequence[ProcessPoolExecutor]  # of one process each
    dropouts: Dropouts = field(default_factory=dict)
    on_reply: OnReply = lambda step, done, of: None
    refusals: dict[ClientId, str] = field(default_factory=dict)  # why a client that answered nothing did so
    silent: set[ClientId] = field(default_factory=set)
    longest: int = 1  # bytes of an invitation to this round
    left: list[Future[Any]] = field(default_factory=list)  # under way when an exchange was broken off
    served: dict[ClientId, int] = field(default_factory=dict)  # the worker that has a client's state at hand

    def __call__(self, messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        """Answers as they come, of the clients that give one.

        Raises DiskError when this machine, not a client, failed.
        """
        step = Step(next(iter(messages.values()))[0]) if messages else Step.SESSION
        if step == Step.SESSION:
            self.silent.clear()
            self.refusals.clear()
            self.longest = max(map(len, messages.values()), default=1)
        self.silent |= self.dropouts.get(step, frozenset())
        with _post(self.workplace.homes.parent, messages) as post:
            asked = [each for each in messages if each not in self.silent]
            jobs = [
                Job(_answer_all, partial(_addressed, trip, post), worker, moves=step in LABOURS)
                for worker, trip in self._trips(asked, step)
            ]
            done = 0
            for worker, replies in self.run(jobs):
                for client, answer, reason in replies:
                    done += 1
                    self.served[client] = worker
                    self.on_reply(step, done, len(messages))
                    if answer is not None:
                        yield client, answer
                    else:
                        self.refusals[client] = reason

    def watch(self, on_reply: OnReply) -> None:
        """As `Carrier`."""
        self.on_reply = on_reply

    def _trips(self, clients: Sequence[ClientId], step: Step) -> list[tuple[int, list[ClientId]]]:
        """Who travels together, and to which worker: those of one store, so that what they write is one commit.

        It begins with the store's own worker; from then on its state, and its keys, are at hand where its last labour
        was. In such steps whoever is early helps, and nobody waits long for the last, as trips get shorter.
        """
        going: dict[tuple[int, Path], list[ClientId]] = {}
        stores, workers = stores_of(self.workplace.homes), self.workplace.workers
        own = {store: cycle(range(at % workers, workers, len(stores))) for at, store in enumerate(stores)}
        for client in clients:
            store = store_of(self.workplace.homes, client)
            first = next(own[store])  # one of its own, where there are more workers than stores
            worker = self.served.get(client, first)
            going.setdefault((worker, store), []).append(client)
        most = max(1, min(TOGETHER if step in LABOURS else LONG, TOGETHER_BYTES // self.longest))
        least = max(1, min(LEAST, len(clients) // (8 * self.workplace.workers))) if step in LABOURS else most
        trips = [(worker, trip) for (worker, _), some in going.items() for trip in _cut(some, most, least)]
        return sorted(trips, key=lambda trip: -len(trip[1]))

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[int, Any]]:
        """Which worker did it, and what came of each job, as they end. Each worker has two under way."""
        owned: list[deque[Job]] = [deque() for _ in self.workers]
        free = deque[Job]()
        for job in jobs:
            (free if job.worker is None else owned[job.worker]).append(job)
        under_way: dict[Future[Any], int] = {}
        wait(self.left)  # of an exchange that was broken off: nobody is asked while it is at work for another
        try:
            while True:
                for most in (1, 2):  # first one for each, so that nobody waits while another has two
                    for worker, queue in enumerate(owned):
                        source = queue or free or (_longest(owned) if most == 1 else None)
                        if list(under_way.values()).count(worker) < most and source:
                            job = source.popleft()
                            under_way[self.workers[worker].submit(job.call, *job.given())] = worker
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    yield under_way.pop(future), future.result()
        finally:
            self.left = [future for future in under_way if not future.cancel()]

    def evaluate(self, weights: FloatVector, dialogues: IntVector) -> Scores:
        """Scores held-out dialogues under the global model, split over the workers."""
        parts = np.array_split(dialogues, max(1, min(len(dialogues), 2 * len(self.workers))))
        found = self._in_order(_evaluate, [(weights, part) for part in parts])
        return Scores(np.concatenate([scores.sums for scores in found]))

    def imagine(self, ngrams: NGrams, texts: int, seed: int) -> Iterator[Imagined]:
        """Texts that the base imagines with the counts, some at a time."""
        sizes = [min(TEXTS_AT_ONCE, texts - at) for at in range(0, texts, TEXTS_AT_ONCE)]
        return self._in_order(_imagine, [(ngrams, size, seed + i) for i, size in enumerate(sizes)])

    def _in_order(self, call: Callable[..., Any], given: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """What the calls give, in their order, each as soon as those before are done."""
        jobs = [Job(_numbered, partial(tuple, (at, call, *values))) for at, values in enumerate(given)]
        early, next_one = dict[int, Any](), 0
        for _, (at, found) in self.run(jobs):
            early[at] = found
            while next_one in early:
                yield early.pop(next_one)
                next_one += 1

    def facts(self) -> tuple[bytes, FloatVector, int]:
        """Digest of the base model, its trainable weights, and the number of all its parameters.

        Raises ChatfedError when learning would move only some of what is trained.
        """
        return self.workers[0].submit(_base_facts).result()


def _cut(clients: Sequence[ClientId], most: int, least: int) -> Iterator[list[ClientId]]:
    """Half of what is left each time, but `most` of the first and `least` of the last ones."""
    while clients:
        size = min(most, max(least, len(clients) // 2))
        yield list(clients[:size])
        clients = clients[size:]


def _longest(owned: Sequence[deque[Job]]) -> deque[Job] | None:
    """Of the queues whose jobs may move, the one with most."""
    return max((queue for queue in owned if queue and queue[0].moves), key=len, default=None)


def _addressed(clients: Sequence[ClientId], post: Post) -> tuple[Sequence[ClientId], list[bytes] | Path]:
    return clients, post(clients)


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
    with ExitStack() as pools:
        workers = [
            pools.enter_context(
                ProcessPoolExecutor(1, mp_context=worker_context(__name__), initializer=_start, initargs=(workplace,))
            )
            for _ in range(workplace.workers)
        ]
        for worker in workers:  # all begin at once
            worker.submit(_begun)
        yield Simulation(workplace, workers, dropouts or {})


def enrol(homes: Path, clients: Sequence[ClientId], roster: Path) -> None:
    """Draws a key into each client's home that has none, and writes the roster of all. Raises IdentityError."""
    lines = []
    for client in clients:
        path = home_of(homes, client) / "identity.key"
        make_folder(path.parent)
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
    homes: Homes
    clients: OrderedDict[ClientId, Client] = field(default_factory=OrderedDict)  # those served last

    def client(self, name: ClientId) -> Client:
        """The client, with what it has at hand if it was served here before."""
        found = self.clients.pop(name, None) or self._made(name)
        self.clients[name] = found
        if len(self.clients) > AT_HAND:
            self.clients.popitem(last=False)
        return found

    def _made(self, name: ClientId) -> Client:
        place, agreed = self.workplace, self.workplace.agreed
        own = self.learner.counts_of if place.counting else self.learner.for_client
        what = COUNT if place.counting else ROUNDS
        planted = place.canaries.learn(name, agreed.learning, what) if place.canaries else None
        identity = home_of(place.homes, name) / "identity.key" if self.roster else None
        records, digest = self.homes.of(name), self.learner.base_digest
        return Client(records, agreed.agreement, agreed.terms, digest, planted or own(name), self.roster, identity)


def _start(workplace: Workplace) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    global _place
    try:
        learner = Learner.open(workplace.agreed.learning, workplace.base, workplace.tokens, workplace.held_out)
        roster = read_roster(workplace.roster) if workplace.roster else {}
        _place = _Worker(workplace, learner, roster, Homes(workplace.homes))
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


def _begun() -> None:
    """Nothing: whoever asks for it has a worker begin."""


def _numbered(at: int, call: Callable[..., Any], *given: Any) -> tuple[int, Any]:
    return at, call(*given)


def _answer_all(clients: Sequence[ClientId], post: list[bytes] | Path) -> list[Reply]:
    """Several clients' replies, in their order."""
    worker = _worker()
    messages = [_posted(post)] * len(clients) if isinstance(post, Path) else post
    worker.homes.admit(clients)
    asked = [worker.client(name).steps(message) for name, message in zip(clients, messages, strict=True)]
    try:
        given = answers(asked, worker.homes, clients, READ)
    except BaseException:
        worker.clients.clear()  # what they have at hand is not on the disk
        raise
    return [
        (name, None, str(answer)) if isinstance(answer, ChatfedError) else (name, answer, "")
        for name, answer in zip(clients, given, strict=True)
    ]


@lru_cache(maxsize=1)
def _posted(path: Path) -> bytes:
    return path.read_bytes()


def _evaluate(weights: FloatVector, dialogues: IntVector) -> Scores:
    return _worker().learner.evaluate(weights, dialogues)


def _imagine(ngrams: NGrams, texts: int, seed: int) -> Imagined:
    return _worker().learner.imagine(ngrams, texts, seed)


def _base_facts() -> tuple[bytes, FloatVector, int]:
    learner = _worker().learner
    learner.refuse_unmoved()
    return learner.base_digest, learner.initial, learner.parameters
