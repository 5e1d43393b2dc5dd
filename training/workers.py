"""How other processes of this machine begin and end: workers, and programs that are called as a person calls them.

Workers are forked from one that has imported what they need, one thread each, gone with their parent. Knows no work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
HEAVY = (
    "chatfed.privacy.dpsgd",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
)
ENDS_WITHIN = 20.0  # seconds that a program has to stop by itself


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_context(*work: str) -> ForkServerContext:
    """How worker processes begin: forked from one that has imported all they need, so that pages are shared.

    That one begins now and imports while the caller goes on with other things: ask early, ask as often as you like.
    work: names of the modules whose functions the workers will run, as far as they are known at the first call.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*work, *HEAVY])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is the main process's to handle
    told = _told()
    chosen = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name, value in chosen.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})
    return context


def _told() -> dict[str, str]:
    """What the environment says to that one: a thread for each, and modules from where this process has them.

    Else it would look in the current folder first, where another package may be called like one of ours.
    """
    places = [os.path.abspath(place) for place in sys.path]
    threads = dict.fromkeys(THREADS, "1")  # numpy's products too, which read it when they are imported
    return threads | {"PYTHONPATH": os.pathsep.join(places), "PYTHONSAFEPATH": "1"}


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone, however it went: killed, it could not say goodbye."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only processes started by multiprocessing have a parent to watch"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start(words: Sequence[str], said: Path, folder: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
    """A program with its options; what it says goes to the end of the file `said`. Raises OSError.

    folder: where it runs, this process's where None. environment: beside this process's.
    """
    with said.open("ab") as file:
        return subprocess.Popen(  # noqa: S603
            words, cwd=folder, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )


@contextmanager
def stopped_after(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Whatever happens inside, none of the processes is there afterwards."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + ENDS_WITHIN
        for process in processes:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on now."""
    with ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in listeners]
