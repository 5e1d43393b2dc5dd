"""Requests a minute and places: who is answered, who waits, who is told to come again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request

from chatfed.types import InvalidValue
from serving.api import keys, limits
from serving.api.errors import ApiError
from serving.api.keys import Caller, Role
from serving.api.limits import Allowed, Limits, Visit, visit_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def visitor(name: str = "one") -> Caller:
    return Caller(Role.VISITOR, name.encode())


def request(name: str = "one") -> Request:
    scope: dict[str, Any] = {"type": "http", "headers": []}
    limits.begin(scope)
    keys.mark(scope, visitor(name))
    return Request(scope)


def run(job: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(job(), 20))


async def settle() -> None:
    """Lets everything go on as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def refusal(waiting: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as error:
        await waiting
    assert error.value.status == 429 and 1 <= int(error.value.headers()["retry-after"]) <= 60
    return error.value


def test_a_minutes_requests_are_answered_and_the_next_when_one_has_come_back() -> None:
    clock = Clock()
    counted = Limits(Allowed(requests_a_minute=3), clock)
    for _ in range(3):
        counted.count(visitor())
    with pytest.raises(ApiError) as error:
        counted.count(visitor())
    assert error.value.status == 429 and error.value.headers()["retry-after"] == "20"
    counted.count(visitor("another"))
    clock.now += 20.1
    counted.count(visitor())
    with pytest.raises(ApiError):
        counted.count(visitor())
    clock.now += 3600
    for _ in range(3):
        counted.count(visitor())
    with pytest.raises(ApiError):
        counted.count(visitor())


def test_the_operators_requests_are_not_counted_and_its_bodies_may_be_larger() -> None:
    counted = Limits(Allowed(requests_a_minute=1, body_bytes=10, operator_body_bytes=20))
    operator = Caller(Role.OPERATOR, b"key")
    for _ in range(5):
        counted.count(operator)
    assert counted.body_bytes(operator) == 20 and counted.body_bytes(visitor()) == 10


def test_callers_that_are_counted_take_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_CALLERS", 5)
    counted = Limits()
    for number in range(50):
        counted.count(visitor(str(number)))
    assert len(counted._rates._buckets) == 5


def test_more_messages_or_tokens_than_allowed_are_refused_by_name() -> None:
    most = Limits(Allowed(messages=2, tokens=10))
    most.check_messages(2)
    assert most.tokens(None) == most.tokens(10) == 10 and most.tokens(3) == 3
    assert most.tokens(None, 3) == 3 and most.tokens(5, 2) == 5
    for asked in (6, 10):
        with pytest.raises(ApiError, match="each of 2 replies"):
            most.tokens(asked, 2)
    with pytest.raises(ApiError, match="each of 11 replies"):
        most.tokens(None, 11)  # not even one token each
    for refused, param in ((lambda: most.check_messages(3, "input"), "input"), (lambda: most.tokens(11), "max_tokens")):
        with pytest.raises(ApiError) as error:
            refused()
        assert error.value.status == 400 and error.value.param == param


def test_limits_are_changed_by_name_and_what_is_none_is_named() -> None:
    assert Allowed.of([]) == Allowed() and Allowed.of(["seconds=2.5", "places=3"]) == Allowed(seconds=2.5, places=3)
    for text, said in (("place=3", "no limit 'place'"), ("places=0", "above 0"), ("places=2.5", "whole number"),
                       ("seconds=nan", "above 0"), ("seconds", "above 0"), ("places=-1", "above 0")):  # fmt: skip
        with pytest.raises(InvalidValue, match=said):
            Allowed.of([text])


def test_a_place_is_held_inside_and_free_afterwards_whatever_happens() -> None:
    async def job() -> None:
        places = Limits(Allowed(places=1))
        for error in (None, ValueError()):
            asked = request()
            try:
                async with places.place(asked):
                    async with places.place(asked):  # the same request has it already
                        assert places.held == 1
                    assert places.held == 1
                    if error:
                        raise error
            except ValueError:
                pass
            assert places.held == 0 and visit_of(asked).deadline is None

    run(job)


def test_who_finds_no_place_waits_for_one_and_is_told_to_come_again_when_it_takes_too_long() -> None:
    async def job() -> None:
        places = Limits(Allowed(places=1, waiting=2, wait_seconds=0.05))
        first, second = request(), request()
        await places.enter(first)
        waiting = asyncio.ensure_future(places.enter(second))
        await settle()
        assert places.waiting == 1 and not waiting.done()
        places.leave(visit_of(first))
        await waiting
        assert places.held == 1 and places.waiting == 0
        await refusal(places.enter(request()))
        assert places.waiting == 0 and places.held == 1

    run(job)


def test_where_the_line_is_full_the_next_is_told_at_once() -> None:
    async def job() -> None:
        places = Limits(Allowed(places=1, waiting=1))
        await places.enter(request())
        waiting = asyncio.ensure_future(places.enter(request()))
        await settle()
        assert (await refusal(places.enter(request()))).reason == "busy"
        waiting.cancel()

    run(job)


def test_whoever_holds_fewest_places_is_next() -> None:
    async def job() -> None:
        places = Limits(Allowed(places=2))
        held = [request("many"), request("many")]
        for each in held:
            await places.enter(each)
        order: list[str] = []

        async def come(name: str) -> None:
            await places.enter(request(name))
            order.append(name)

        waiting = [asyncio.ensure_future(come(name)) for name in ("many", "many", "few")]
        await settle()
        places.leave(visit_of(held[0]))
        await settle()
        assert order == ["few"]
        places.leave(visit_of(held[1]))
        await settle()
        assert order == ["few", "many"]
        for task in waiting:
            task.cancel()

    run(job)


def test_nobody_who_asks_again_and_again_overtakes_another_whatever_a_turn_takes() -> None:
    places = Limits(Allowed(places=4))
    asked, given = list[int](), list[int]()

    async def one_after_another(caller: int) -> None:
        while len(given) < 500:
            asked.append(caller)
            async with places.place(request(str(caller))):
                given.append(caller)
                for _ in range(1 + 9 * (caller % 2)):  # every other one asks for long replies
                    await asyncio.sleep(0)

    async def together() -> None:
        await asyncio.gather(*(one_after_another(caller) for caller in range(13)))

    run(together)
    assert given == asked and set(given) == {*range(13)}


def test_a_caller_that_fills_the_line_keeps_nobody_else_out_of_it() -> None:
    async def job() -> None:
        places = Limits(Allowed(places=1, waiting=3))
        await places.enter(request("many"))
        waiting = [asyncio.ensure_future(places.enter(request("many"))) for _ in range(3)]
        await settle()
        other = asyncio.ensure_future(places.enter(request("few")))
        await settle()
        assert [each.done() for each in waiting] == [False, False, True] and not other.done()
        await refusal(waiting[2])
        assert places.waiting == 3
        for each in (*waiting, other):
            each.cancel()

    run(job)


def test_who_leaves_the_line_takes_no_place_with_them() -> None:
    async def job() -> None:
        places = Limits(Allowed(places=1))
        first = request()
        await places.enter(first)
        waiting = [asyncio.ensure_future(places.enter(request(str(n)))) for n in range(3)]
        await settle()
        waiting[0].cancel()
        places.leave(visit_of(first))  # in the same moment
        waiting[1].cancel()
        await settle()
        assert waiting[2].done() and not waiting[2].cancelled() and places.held == 1 and places.waiting == 0

    run(job)


def test_a_place_that_is_held_too_long_is_late_and_one_that_was_left_is_not() -> None:
    async def job() -> None:
        places = Limits(Allowed(seconds=0.02))
        asked = request()
        late = asyncio.ensure_future(places.is_late(visit_of(asked)))
        async with places.place(asked):
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert not late.done()
        await places.enter(asked)
        await asyncio.wait_for(late, 5)

    run(job)


def test_a_visit_shows_nobody() -> None:
    assert "secret" not in repr(Visit(name=b"secret"))
