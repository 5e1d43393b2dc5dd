"""How worker processes begin and end.

Forked from one that has imported what they need, one thread each, gone with their parent. Knows no work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
HEAVY = (
    "chatfed.privacy.dpsgd",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
)


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
