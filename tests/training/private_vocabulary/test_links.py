"""Lines between computing parties, over TLS on this machine: what ends, repeats or comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.training.private_vocabulary.dealing import NAMES, agreement, certified
from training.private_vocabulary.agreement import Agreement
from training.private_vocabulary.carrier import MOST_CALLERS, Desk, _collect
from training.private_vocabulary.links import MOST_AHEAD, Link, Links, PartyFault, client_context
from training.workers import free_ports

PATIENCE, MOST = 120.0, 5_000_000
Job = Callable[[Links], Coroutine[Any, Any, Any]]


@pytest.fixture
def agreed(tmp_path: Path) -> Agreement:
    return agreement(parties=certified(tmp_path, free_ports(6)))


async def party(agreed: Agreement, folder: Path, own: int, job: Job, made: dict[int, Links] | None = None) -> Any:
    links = Links(agreed, own, MOST)
    if made is not None:
        made[own] = links
    async with links.standing(folder / NAMES[own], "127.0.0.1", PATIENCE):
        return await links.within(job(links), PATIENCE, links.silent, "trying")


def run(agreed: Agreement, folder: Path, *jobs: Job) -> list[Any]:
    async def all_three() -> list[Any]:
        each = (party(agreed, folder, own, job) for own, job in enumerate(jobs))
        return await asyncio.gather(*each, return_exceptions=True)

    return asyncio.run(all_three())


async def quiet(links: Links) -> list[str]:
    return await links.unsure(PATIENCE)


def test_a_party_that_is_first_waits_for_the_others_and_its_last_message_arrives(
    agreed: Agreement, tmp_path: Path
) -> None:
    said = bytes(MOST)

    async def first(links: Links) -> list[str]:
        for link in links.by_peer.values():
            link.send(7, said)
        return await links.unsure(PATIENCE)

    async def late(links: Links) -> list[str]:
        await asyncio.sleep(0.5)
        came = links.by_peer[0].receive(7)
        came = await came if isinstance(came, asyncio.Future) else came
        assert came == said
        return await links.unsure(PATIENCE)

    assert run(agreed, tmp_path, first, late, late) == [[], [], []]


def test_a_party_that_ends_without_the_result_is_named_to_those_that_have_it(agreed: Agreement, tmp_path: Path) -> None:
    async def gone(links: Links) -> list[str]:
        return ["gone"]

    assert run(agreed, tmp_path, quiet, gone, quiet) == [["firm"], ["gone"], ["firm"]]


@pytest.mark.parametrize(("labels", "what"), [([5, 5], "a message twice"), (range(MOST_AHEAD + 1), "too many")])
def test_a_party_that_repeats_itself_or_runs_ahead_is_named(
    agreed: Agreement, tmp_path: Path, labels: Any, what: str
) -> None:
    async def loud(links: Links) -> list[str]:
        for label in labels:
            links.by_peer[2].send(label, b"x")
        return await links.unsure(PATIENCE)

    async def patient(links: Links) -> None:
        await asyncio.sleep(PATIENCE)

    found = run(agreed, tmp_path, loud, quiet, patient)[2]
    assert isinstance(found, PartyFault) and f"union sent {what}" in str(found)


def test_a_second_line_of_a_party_changes_no_keys_and_a_line_that_ended_early_is_called_again(
    agreed: Agreement, tmp_path: Path
) -> None:
    taken: list[int] = []

    async def all_three() -> None:
        works = Links(agreed, 2, MOST)
        works.take_keys = lambda peer, keys: taken.append(peer)
        async with asyncio.timeout(PATIENCE):
            waiting = asyncio.create_task(_stand(works, tmp_path))
            early = await _line(agreed, tmp_path)  # of union, before firm is there
            while 0 not in works.by_peer:
                await asyncio.sleep(0.01)
            second = await _line(agreed, tmp_path)
            await second.ended
            assert taken == [0] and not early.ended.done()
            early.close_connection()
            await early.ended
            others = [party(agreed, tmp_path, own, quiet) for own in (0, 1)]
            assert await asyncio.gather(*others, waiting) == [[], [], []]
        assert sorted(taken) == [0, 0, 1]

    asyncio.run(all_three())


async def _stand(links: Links, folder: Path) -> list[str]:
    async with links.standing(folder / NAMES[links.own], "127.0.0.1", PATIENCE):
        return await links.unsure(PATIENCE)


async def _line(agreed: Agreement, folder: Path) -> Link:
    """A line of union to works, which greets."""
    links, works = Links(agreed, 0, MOST), agreed.parties[2]
    context = client_context(works.certificate, folder / NAMES[0])
    while True:
        try:
            loop = asyncio.get_running_loop()
            return (await loop.create_connection(lambda: Link(links, 2), works.host, works.party_port, ssl=context))[1]
        except OSError:
            await asyncio.sleep(0.05)


def test_a_desk_that_is_full_sends_callers_away_and_takes_them_later(agreed: Agreement, tmp_path: Path) -> None:
    desk, union = Desk(tmp_path / "union", agreed, 0), agreed.parties[0]

    async def call() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = client_context(union.certificate)
        return await asyncio.open_connection(union.host, union.client_port, ssl=context)

    async def crowd() -> None:
        async with asyncio.timeout(PATIENCE):
            taking = asyncio.create_task(_collect(desk, tmp_path / "union", PATIENCE, print, ""))
            await asyncio.sleep(0.2)
            held = [await call() for _ in range(MOST_CALLERS)]
            reader, _ = await call()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            for _, writer in held:
                writer.transport.abort()
            await asyncio.sleep(0.2)
            _, writer = await call()
            writer.write(b"\0" * 10_000)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    asyncio.run(crowd())
