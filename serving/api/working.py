"""Runs what takes long beside the event loop, and waits for its end whatever happens. Knows no model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# for texts that are made into tokens: streams wait for these two alone, and not for a probe of many seconds
READERS = ThreadPoolExecutor(2, "chatfed-read")


class Abandoned(Exception):
    """A job began, or went on, when nobody waited for it any more."""


async def in_thread(job: Callable[[threading.Event], T], where: Executor | None = None) -> T:
    """What a job gives in another thread. It is given a flag that goes up when nobody waits for it any more.

    where: None for the threads that asyncio has. A cancelled caller goes on only when the job has ended: its place is
    not another's while it still computes. A job that waits for a thread then never begins.
    """
    stop = threading.Event()

    def begun() -> T:
        if stop.is_set():
            raise Abandoned
        return job(stop)

    running = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(where, begun))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # looked at: nobody else will
        raise


def unless(stop: threading.Event) -> Callable[[], None]:
    """What raises Abandoned once nobody waits any more."""

    def check() -> None:
        if stop.is_set():
            raise Abandoned

    return check


async def in_reader(job: Callable[[], T]) -> T:
    """What a job gives that makes texts into tokens, or tokens into texts."""
    return await in_thread(lambda _: job(), READERS)
