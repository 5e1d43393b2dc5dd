"""Rounds of real clients over Flower and over a plain loop, with the same entropy and the same dropouts.

`python -m tests.training.engines.flower_sums rounds FOLDER`, in the environment that has Flower: reads a case a line,
in JSON: {"silent": {step: names}, "lost": {step: names}, "killed": {step: names}}, and writes what came of it over each
carrier. Members are threads behind nodes of their own; who is to be killed is a process (`member FOLDER NAME STEP`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from chatfed.secagg import primitives
from chatfed.types import ClientId, Entropy
from tests.secagg.rounds import entropy_from
from tests.training.federation import Federation, Learner, a_recipe, names, update_of
from training.engines.flower_coordinator import FlowerExchange
from training.engines.flower_link import Link
from training.engines.flower_node import serve
from training.parties.answering import Refused
from training.parties.certificates import make_authority, make_certificate
from training.parties.rounds import Exchange, Outcome, Standing, commit
from training.parties.session import Step

FIVE = names(5)
SIZE = 100_000  # numbers in an update: a message in several pieces
PATIENCE = 6.0  # seconds that a killed member is waited for
WITHIN = 60.0
MOST = 16 << 20  # bytes of a message

Script = Mapping[Step, Sequence[ClientId]]


def federation(home: Path) -> Federation:
    """Five clients that draw the same in every home."""
    drawn = {name: entropy_from(name) for name in FIVE}
    learners = {name: Learner(update_of(name, SIZE)) for name in FIVE}
    recipe = a_recipe(cohort=5, identities="roster", rotation=True)
    entropy: Callable[[ClientId], Entropy] = drawn.__getitem__
    return Federation(home, recipe, FIVE, entropy=entropy, learners=learners)


def two_rounds(made: Federation, exchange: Exchange, script: Callable[[], None]) -> list[dict[str, Any]]:
    """One in which everybody is there, and one with the same keys by the script."""
    standing, told = Standing(), []
    for number in range(2):
        weights = np.linspace(-1, 1, SIZE).astype(np.float32) + np.float32(number)
        session = made.session(number, weights, attempt=bytes([number]) * 16)
        outcome = made.carry(session, exchange, standing=standing)
        told.append(as_told(outcome))
        if not number:
            commit(session, exchange)
            script()
    return told


def as_told(outcome: Outcome) -> dict[str, Any]:
    return {
        "mean": primitives.digest(b"test", outcome.mean.tobytes()).hex(),
        "survivors": outcome.survivors,
        "dropped": {step.name: who for step, who in outcome.dropped.items()},
        "faults": outcome.faults,
        "bytes_up": outcome.bytes_up,
    }


def in_process(folder: Path, silent: Script, lost: Script) -> list[dict[str, Any]]:
    made = federation(folder)

    def script() -> None:
        made.silent, made.lost = silent, lost

    return two_rounds(made, made, script)


class Members:
    """Clients behind a node each, in threads of this process."""

    def __init__(self, folder: Path, link: Link, authority: Path) -> None:
        self.made, self.link, self.authority = federation(folder), link, authority
        self.silent: Script = {}
        self.lost: Script = {}
        self.gone = set[ClientId]()
        self.stop = threading.Event()

    def answer(self, name: ClientId, message: bytes) -> bytes:
        step = Step(message[0])
        if name in self.gone or name in self.silent.get(step, ()):
            self.gone.add(name)
            raise Refused("is silent")
        answer = self.made.client(name).handle(message, self.made.entropy(name))
        if name in self.lost.get(step, ()):
            self.gone.add(name)
            raise Refused("has its answer lost")
        return answer

    @contextmanager
    def serving(self, keys: Mapping[ClientId, ec.EllipticCurvePrivateKey]) -> Iterator[None]:
        threads = [threading.Thread(target=self._serve, args=each) for each in keys.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(WITHIN)

    def _serve(self, name: ClientId, key: ec.EllipticCurvePrivateKey) -> None:
        where = f"127.0.0.1:{self.link.port}"
        serve(where, self.authority, key, lambda message: self.answer(name, message), print, self.stop, WITHIN, MOST)
        self.made.restarted(name)  # a store is for one thread


def over_flower(folder: Path, certificates: Path, silent: Script, lost: Script, killed: Script) -> list[dict[str, Any]]:
    keys = {name: transport(name) for name in FIVE}
    mortal = {name: step for step, who in killed.items() for name in who}
    with Link("127.0.0.1", 0, certificates / "server.crt", certificates / "server.key", MOST) as link:
        link.admit({name: primitives.transport_public(secret(name)) for name in FIVE})
        members = Members(folder, link, certificates / "authority.crt")

        def script() -> None:
            members.silent, members.lost = silent, lost

        apart = [_process(folder, certificates, link.port, name, step) for name, step in mortal.items()]
        try:
            with members.serving({name: key for name, key in keys.items() if name not in mortal}):
                until = time.monotonic() + WITHIN
                while set(link.online()) != set(FIVE):
                    assert time.monotonic() < until, "all are to be there"
                    time.sleep(0.05)
                told = two_rounds(members.made, FlowerExchange(link, PATIENCE if mortal else WITHIN), script)
            assert [each.wait(WITHIN) for each in apart] == [-signal.SIGKILL] * len(apart)
        finally:
            for process in apart:
                process.kill()
    return told


def _process(folder: Path, certificates: Path, port: int, name: ClientId, step: Step) -> subprocess.Popen[bytes]:
    words = [str(folder), str(certificates), str(port), name, step.name]
    return subprocess.Popen([sys.executable, "-m", "tests.training.engines.flower_sums", "member", *words])


def member(folder: str, certificates: str, port: str, name: str, step: str) -> None:
    """One that is killed when it is asked for the second time for its answer to a step."""
    made, whose, asked = federation(Path(folder)), ClientId(name), [0]

    def answer(message: bytes) -> bytes:
        asked[0] += message[0] == Step[step]
        if asked[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return made.client(whose).handle(message, made.entropy(whose))

    where, authority = f"127.0.0.1:{port}", Path(certificates) / "authority.crt"
    serve(where, authority, transport(whose), answer, print, threading.Event(), WITHIN, MOST)


def secret(name: ClientId) -> bytes:
    return primitives.digest(b"test key", name.encode())


def transport(name: ClientId) -> ec.EllipticCurvePrivateKey:
    return primitives.transport_key(secret(name))


def rounds(folder: str) -> None:
    top = Path(folder)
    make_authority(top)
    make_certificate(top, "127.0.0.1")
    for number, line in enumerate(sys.stdin):
        case = {
            how: {Step[step]: [ClientId(name) for name in who] for step, who in script.items()}
            for how, script in json.loads(line).items()
        }
        silent, lost, killed = (case.get(how, {}) for how in ("silent", "lost", "killed"))
        plain = in_process(top / f"plain-{number}", {**silent, **killed}, lost)
        flower = over_flower(top / f"flower-{number}", top, silent, lost, killed)
        print(json.dumps({"plain": plain, "flower": flower}), flush=True)


if __name__ == "__main__":
    parts: dict[str, Callable[..., None]] = {"rounds": rounds, "member": member}
    parts[sys.argv[1]](*sys.argv[2:])
