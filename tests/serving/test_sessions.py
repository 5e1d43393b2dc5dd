"""A session lives as long as its streams, and belongs to one visitor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serving.calls import Refused
from serving.sessions import Sessions
from tests.serving.test_guard import run

MOMENT = 0.05  # seconds


def visits(scene: Any, most: int = 10, runs_on: int = 0) -> list[str]:
    """Plays a scene with sessions that live a moment; returns what was forgotten, in order."""
    forgotten: list[str] = []

    async def forget(session: str) -> bool:
        forgotten.append(session)
        return forgotten.count(session) > runs_on

    run(scene(Sessions(forget, MOMENT, most), forgotten))
    return forgotten


def test_a_session_is_forgotten_when_its_last_stream_has_ended_and_not_before() -> None:
    async def scene(sessions: Sessions, forgotten: list[str]) -> None:
        sessions.admit("a", "me")
        with sessions.stream("a"):
            sessions.admit("a", "me")
            with sessions.stream("a"):
                await asyncio.sleep(5 * MOMENT)
            await asyncio.sleep(5 * MOMENT)
            assert not forgotten and len(sessions) == 1
        await asyncio.sleep(5 * MOMENT)
        assert forgotten == ["a"] and len(sessions) == 0

    visits(scene)


def test_a_session_that_never_opens_a_stream_is_forgotten_too() -> None:
    async def scene(sessions: Sessions, forgotten: list[str]) -> None:
        sessions.admit("a", "me")
        await asyncio.sleep(4 * MOMENT)
        assert len(sessions) == 1  # a page that loads slowly is waited for
        await asyncio.sleep(8 * MOMENT)
        assert len(sessions) == 0

    assert visits(scene) == ["a"]


def test_what_still_runs_is_forgotten_once_more_when_it_is_over() -> None:
    async def scene(sessions: Sessions, forgotten: list[str]) -> None:
        sessions.admit("a", "me")
        with sessions.stream("a"):
            pass
        await asyncio.sleep(20 * MOMENT)
        assert len(sessions) == 0

    assert visits(scene, runs_on=2) == ["a", "a", "a"]


def test_a_session_is_closed_to_others_while_it_lives() -> None:
    async def scene(sessions: Sessions, forgotten: list[str]) -> None:
        sessions.admit("a", "me")
        for stranger in ("you", ""):
            with pytest.raises(Refused, match="another visitor"):
                sessions.admit("a", stranger)
        await asyncio.sleep(12 * MOMENT)
        sessions.admit("a", "you")  # nothing of it is left

    visits(scene)


def test_there_are_only_so_many_sessions() -> None:
    async def scene(sessions: Sessions, forgotten: list[str]) -> None:
        sessions.admit("a", "me")
        sessions.admit("b", "me")
        with pytest.raises(Refused) as full:
            sessions.admit("c", "me")
        assert full.value.status == 503
        await asyncio.sleep(12 * MOMENT)
        sessions.admit("c", "me")

    visits(scene, most=2)
