"""One of three processes that compare: `benchmarks.comparison` starts them. Prints its figures as a line of JSON.

The lines are those of a private vocabulary, TLS and all; what arrives is held back for half of a round trip.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.durable import from_json, to_json
from training.private_vocabulary.agreement import read_agreement
from training.private_vocabulary.computing import _carry, _end, at_least, load_runtime
from training.private_vocabulary.field import MODULUS
from training.private_vocabulary.links import Link, Links
from training.private_vocabulary.rehearsal import PARTIES

READY = 1 << 61  # label of what makes all begin at once
CONNECTING, COMPARING = 300.0, 1400.0  # seconds at most


class Delayed:
    """Lets what a line receives wait, in order, and keeps the labels that were waited for, one a step."""

    seconds = 0.0

    def __init__(self) -> None:
        self.labels: set[int] = set()
        self._received, asked = Link.data_received, Link.receive

        def ask(link: Link, label: int) -> Any:
            self.labels.add(label)
            return asked(link, label)

        Link.receive = ask  # type: ignore[method-assign,assignment]
        Link.data_received = self._receive  # type: ignore[method-assign,assignment]

    @property
    def _receive(self) -> Callable[[Link, bytes], None]:
        received, held = self._received, dict[Link, deque[bytes]]()

        def receive(link: Link, data: bytes) -> None:
            waiting = held.setdefault(link, deque())
            if not self.seconds and not waiting:
                received(link, data)
                return
            waiting.append(data)
            asyncio.get_running_loop().call_later(self.seconds, lambda: received(link, waiting.popleft()))

        return receive


async def ready(links: Links) -> None:
    """Returns when all parties are here."""
    for link in links.by_peer.values():
        link.send(READY, b"")
    for link in links.by_peer.values():
        said = link.receive(READY)
        if isinstance(said, asyncio.Future):
            await said


def methods(mpc: Any, clients: int, least: int) -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """What is compared, by name: a call takes shares of counts."""
    bits = clients.bit_length() + 1  # with a sign
    narrow, wide = mpc.SecInt(bits, p=MODULUS), mpc.SecInt(32)

    async def zero_test(sums: Any) -> list[bool]:
        return await at_least(mpc, sums, least, clients)

    async def by_bits(sums: Any, kind: Any = narrow) -> list[bool]:
        shares = kind.array(kind.field.array(sums.astype(object)))
        return [not each for each in await mpc.output(mpc.np_sgn(shares - least, LT=True))]

    async def of_32(sums: Any) -> list[bool]:
        return await by_bits(sums, wide)

    return {"zero test": zero_test, "mpyc, bits of a count": by_bits, "mpyc, 32 bits": of_32}


async def measured(mpc: Any, links: Links, setting: dict[str, Any], delayed: Delayed) -> list[dict[str, Any]]:
    """A row for each method, number of comparisons and round trip."""
    rows: list[dict[str, Any]] = []
    for name, call in methods(mpc, setting["clients"], setting["least"]).items():
        for count, round_trip, repeat in cases(setting, name):
            # A constant is its own sharing: what a comparison costs does not depend on the slopes.
            clear = np.arange(count, dtype=np.uint64) % np.uint64(setting["clients"] + 1)
            delayed.seconds = 0.0
            await ready(links)
            delayed.seconds = round_trip / 2
            delayed.labels.clear()
            sent = {peer: link.nbytes_sent for peer, link in links.by_peer.items()}
            wall, cpu = time.perf_counter(), time.process_time()
            found = await call(clear)
            row = {"method": name, "comparisons": count, "round_trip": round_trip, "repeat": repeat}
            row |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            row["steps"] = len(delayed.labels)  # each waits for the one before: half a round trip
            row["bytes"] = sum(link.nbytes_sent - sent[peer] for peer, link in links.by_peer.items())
            if found != [each >= setting["least"] for each in clear.tolist()]:
                raise SystemExit(f"{name} compared wrongly")
            rows.append(row)
    return rows


def cases(setting: dict[str, Any], method: str) -> list[tuple[int, float, int]]:
    """Comparisons at once, seconds of a round trip, which repeat: round trips are waited for by the fewest only."""
    fewest, *more = setting["counts"] if method == "zero test" else [*setting["counts"][:-1], setting["most_others"]]
    trips = [(fewest, trip, repeat) for trip in setting["round_trips"] for repeat in range(setting["repeats"])]
    return trips + [(count, 0.0, repeat) for count in more for repeat in range(setting["repeats"])]


def main(arguments: Sequence[str]) -> None:
    out, own = Path(arguments[0]), int(arguments[1])
    agreed, setting = read_agreement(out / "VOCABULARY.json"), from_json((out / "setting.json").read_bytes())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    delayed = Delayed()
    links = Links(agreed, own, 1 << 27)

    async def run() -> list[dict[str, Any]]:
        async with links.standing(out / PARTIES[own], agreed.parties[own].host, CONNECTING):
            for peer, link in links.by_peer.items():
                mpc.parties[peer].protocol = link
            job = measured(mpc, links, setting, delayed)
            rows: list[dict[str, Any]] = await links.within(job, COMPARING, links.silent, "comparing")
            await ready(links)
            return rows

    mpc = load_runtime(own, [(each.host, each.party_port) for each in agreed.parties])
    _carry(mpc, links)
    try:
        print(to_json(loop.run_until_complete(run())))
    finally:
        _end(loop)


if __name__ == "__main__":
    main(sys.argv[1:])
