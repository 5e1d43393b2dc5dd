"""How much may be asked: requests a minute, sizes, and places for what is computed at the same time.

A place is what a generation holds. Who finds none waits a while in a short line, and is told with 429 and Retry-After
when the line is full or the wait was too long: nobody waits without an end. Of those who wait, whoever holds the fewest
places is next, and where the line is full the caller with the most in it gives way. All of it runs in the server's one
event loop. Knows no route and no model.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from chatfed.types import InvalidValue

from .errors import ApiError
from .keys import Caller, Role, caller_of

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_CALLERS = 10_000  # whose requests are counted; who was quiet longest is forgotten
FIRST_GUESS = 2.0  # seconds that a place is held, before any was
LONGEST_RETRY = 60.0  # seconds that a client is told to wait at most
_VISIT = "chatfed.visit"  # where a request keeps its place

Clock = Callable[[], float]


@dataclass(frozen=True)
class Allowed:
    """What a request may cost. Times are in seconds."""

    requests_a_minute: int = 240  # of a key, or of an address without one; the operator's are not counted
    body_bytes: int = 1 << 20  # of a visitor's request
    operator_body_bytes: int = 16 << 20  # evaluation programs send many prompts at once
    body_seconds: float = 20.0  # until all of a request is here
    messages: int = 2000  # of a conversation
    tokens: int = 4096  # of one answer, all its replies together
    seconds: float = 120.0  # that a place is held
    send_seconds: float = 20.0  # until a client has taken the next piece of its answer
    places: int = 16  # for what is computed at the same time
    waiting: int = 64  # requests in the line for a place
    wait_seconds: float = 30.0  # in that line

    @classmethod
    def of(cls, given: Sequence[str]) -> Allowed:
        """The defaults with changes such as "places=32". Raises InvalidValue that names the limit and what it takes.

        >>> Allowed.of(["places=32", "seconds=60"]).places
        32
        """
        kinds: dict[str, type] = {each.name: type(getattr(cls, each.name)) for each in fields(cls)}
        changed: dict[str, Any] = {}
        for text in given:
            name, _, number = text.partition("=")
            if name not in kinds:
                raise InvalidValue(f"There is no limit {name!r}; there are {', '.join(kinds)}.", param="limit")
            if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", number) or float(number) <= 0:
                raise InvalidValue(f"The limit {name} takes a number above 0, such as {name}=10.", param="limit")
            if kinds[name] is int and "." in number:
                raise InvalidValue(f"The limit {name} takes a whole number, such as {name}=10.", param="limit")
            changed[name] = kinds[name](number)
        return cls(**changed)


@dataclass
class Visit:
    """The place of one request. `deadline`: of the clock, None while it holds no place."""

    name: bytes = field(default=b"", repr=False)
    since: float = 0.0
    deadline: float | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # set while it holds a place


@dataclass
class _Waiter:
    name: bytes
    place: asyncio.Future[None]


class Limits:
    """Counts what callers ask for, and gives places."""

    def __init__(self, allowed: Allowed = Allowed(), clock: Clock = time.monotonic) -> None:
        self.allowed = allowed
        self._clock = clock
        self._rates = _Rates(allowed.requests_a_minute, clock)
        self._held: Counter[bytes] = Counter()
        self._line: list[_Waiter] = []
        self._typical = FIRST_GUESS

    @property
    def held(self) -> int:
        """Places that are taken."""
        return self._held.total()

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return len(self._line)

    def count(self, caller: Caller) -> None:
        """Counts a request. Raises ApiError 429 where it is one too many; the operator's never are."""
        if caller.role is Role.OPERATOR:
            return
        wait = self._rates.take(caller.name)
        if wait:
            most = self.allowed.requests_a_minute
            raise ApiError(
                429,
                f"More than {most} requests a minute are not answered: try again in {wait:.0f} s.",
                reason="rate_limit_exceeded",
                retry_after=wait,
            )

    def body_bytes(self, caller: Caller) -> int:
        """How large the body of a request of this caller may be."""
        return self.allowed.operator_body_bytes if caller.role is Role.OPERATOR else self.allowed.body_bytes

    def check_messages(self, count: int, param: str = "messages") -> None:
        """Raises ApiError 400 for a conversation of more messages than are read."""
        if count > self.allowed.messages:
            raise ApiError(
                400,
                f"{param} has {count:,} messages; send at most {self.allowed.messages:,}, the latest.",
                param=param,
                reason="too_many_messages",
            )

    def tokens(self, asked: int | None, replies: int = 1, param: str = "max_tokens") -> int:
        """Tokens of each of an answer's replies, where so many are asked for: an equal share where none are.

        Raises ApiError 400 where all of them together are too many.
        """
        most = max(1, self.allowed.tokens // replies) if asked is None else asked
        if most * replies > self.allowed.tokens:
            of_each = f" for each of {replies} replies" if replies > 1 else ""
            raise ApiError(
                400,
                f"{param} is {most:,}{of_each}; this server writes at most {self.allowed.tokens:,} tokens an answer.",
                param=param,
                reason="too_many_tokens",
            )
        return most

    @asynccontextmanager
    async def place(self, request: Request) -> AsyncIterator[None]:
        """A place for what happens inside; where the request holds one already, that one.

        Raises ApiError 429 with Retry-After. What streams takes its place with `enter`, before its answer begins, so
        that a refusal has its status.
        """
        mine = visit_of(request)
        if mine.deadline is not None:
            yield
            return
        await self.enter(request)
        try:
            yield
        finally:
            self.leave(mine)

    async def enter(self, request: Request) -> None:
        """Takes a place until the request is over: the entrance gives it back. Raises ApiError 429 with Retry-After."""
        caller, mine = caller_of(request), visit_of(request)
        if mine.deadline is not None:
            return
        if self._line or self.held >= self.allowed.places:
            await self._wait(caller.name)  # whoever gave the place back has counted it
        else:
            self._held[caller.name] += 1
        mine.name, mine.since = caller.name, self._clock()
        mine.deadline = mine.since + self.allowed.seconds
        mine.begun.set()

    def leave(self, visit: Visit) -> None:
        """Gives a place back, if one is held; the next in the line has it then."""
        if visit.deadline is None:
            return
        self._typical += (self._clock() - visit.since - self._typical) / 8
        visit.deadline = None
        visit.begun.clear()
        self._give_back(visit.name)

    async def is_late(self, visit: Visit) -> None:
        """Returns when a place was held for too long."""
        while True:
            await visit.begun.wait()
            while visit.deadline is not None and (left := visit.deadline - self._clock()) > 0:
                await asyncio.sleep(left)
            if visit.deadline is not None:
                return

    def _give_back(self, name: bytes) -> None:
        self._held[name] -= 1
        if not self._held[name]:
            del self._held[name]
        self._grant()

    def _grant(self) -> None:
        while self._line and self.held < self.allowed.places:
            following = min(self._line, key=lambda waiter: self._held[waiter.name])
            self._line.remove(following)
            if not following.place.done():  # whose client left in this moment
                self._held[following.name] += 1
                following.place.set_result(None)

    async def _wait(self, name: bytes) -> None:
        self._make_room(name)
        waiter = _Waiter(name, asyncio.get_running_loop().create_future())
        self._line.append(waiter)
        try:
            async with asyncio.timeout(self.allowed.wait_seconds):
                await waiter.place
        except BaseException as error:
            if waiter in self._line:
                self._line.remove(waiter)
            elif waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None:
                self._give_back(name)  # it came in the moment in which the request ended
            if isinstance(error, TimeoutError):
                raise self._full() from None
            raise

    def _make_room(self, name: bytes) -> None:
        """Raises ApiError 429 where the line is full; but of a caller with more in it the latest gives way."""
        if len(self._line) < self.allowed.waiting:
            return
        counts = Counter(waiter.name for waiter in self._line)
        longest = max(counts, key=lambda each: counts[each], default=name)
        if counts[longest] <= counts[name] + 1:
            raise self._full()
        latest = next(waiter for waiter in reversed(self._line) if waiter.name == longest)
        self._line.remove(latest)
        if not latest.place.done():
            latest.place.set_exception(self._full())

    def _full(self) -> ApiError:
        wait = self._typical * (len(self._line) + 1) / self.allowed.places
        return ApiError(
            429,
            "The server writes as much as it can right now: try again in a while.",
            reason="busy",
            retry_after=min(max(wait, 1.0), LONGEST_RETRY),
        )


class _Rates:
    """A bucket a caller: full it holds a minute's requests, and it fills again as time goes by."""

    def __init__(self, a_minute: int, clock: Clock) -> None:
        self._most = float(a_minute)
        self._clock = clock
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # what is left, and when that was

    def take(self, name: bytes) -> float:
        """Takes one request out; else says in how many seconds there is one."""
        now = self._clock()
        left, then = self._buckets.get(name, (self._most, now))
        left = min(self._most, left + (now - then) * self._most / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self._most
        self._buckets[name] = (left if wait else left - 1, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return wait


def visit_of(request: Request) -> Visit:
    """What is known of a request's place."""
    visit: Visit = request.scope[_VISIT]  # a KeyError is ours: a route that stands outside the entrance
    return visit


def begin(scope: MutableMapping[str, Any]) -> Visit:
    """Marks a request as one that holds no place yet."""
    visit = scope[_VISIT] = Visit()
    return visit
