"""Several members of a federation in one process, for benchmarks.federation: a node each, and a turn each to learn.

`python -m benchmarks.federation_members FOLDER NAME...`: below FOLDER/NAME lie a member's key and dialogues, and is
written what it was asked (asked.json): bytes down and up, milliseconds of processor, how many rounds were over before.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from chatfed.model.transformer import stay_offline
from chatfed.secagg.primitives import transport_key
from training.durable import to_json
from training.engines.flower_node import serve
from training.parties.identity import read_key
from training.parties.session import Step
from training.plan.federation import Federation, read_federation
from training.run.joined import Home, joined
from training.run.sizes import most_bytes

TURN = threading.Lock()  # one learns at a time: a process has one core, and torch is shared


def take_part(federation: Federation, home: Path, authority: Path) -> None:
    """As `chatfed join` does, in a thread."""
    asked, over, stop = list[dict[str, Any]](), 0, threading.Event()
    data = replace(federation.recipe.data, validation="", public="", label_column="", source=str(home / "mine.jsonl"))
    base, key = authority.parent / "fed" / "base", home / "my.key"
    with TURN:
        place = joined(federation, Home(home / "home"), base, key, data, lambda line: None)
        member = place.member()

    def answer(message: bytes) -> bytes:
        nonlocal over
        with TURN:
            began = time.thread_time()
            answered = member.answer(message)
            spent = 1000 * (time.thread_time() - began)
        learning = spent if message[0] == Step.SESSION else 0.0
        asked.append({"down": len(message), "up": len(answered), "ms": spent, "learning_ms": learning, "after": over})
        over += message[0] == Step.COMMITTED
        if member.over:
            stop.set()
        return answered

    with contextlib.closing(place):
        serve(
            federation.address,
            authority,
            transport_key(read_key(key)),
            answer,
            print,
            stop,
            300,
            most_bytes(federation, base),
        )
    (home / "asked.json").write_text(to_json(asked), encoding="utf-8")


def _end(error: threading.ExceptHookArgs) -> None:
    """One that fails fails all."""
    traceback.print_exception(error.exc_value)
    os._exit(1)


def main(folder: Path, names: list[str]) -> None:
    """Returns when the run is over for all of them."""
    stay_offline()
    torch.set_num_threads(1)
    federation = read_federation(folder / "fed" / "FEDERATION.toml")
    authority = folder / "authority.crt"
    authority.write_text(federation.authority, encoding="utf-8")
    threading.excepthook = _end
    threads = [threading.Thread(target=take_part, args=(federation, folder / name, authority)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
