"""Flower's own SecAgg+ (flwr 1.42), called as Flower calls it, messages handed over in memory.

Its stage functions at the client, its workflow at the server. What it times, it first finds right.
Knows nothing of our protocol, of a network, or of training. flwr is imported inside the functions, so this module can
be imported without it. Times are processor seconds of this process, all threads. All of the model is one float32
vector. Flower's defaults stand: clip 8.0, 2^22 levels, ring 2^32 (in int64), weight at its maximum of 1000.
"""

from __future__ import annotations

import base64
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.secagg_round import require

CLIP, LEVELS, RING, WEIGHT = 8.0, 1 << 22, 1 << 32, 1000
STAGES = ("setup", "share_keys", "collect_masked_vectors", "unmask")  # Flower's words; its functions are named so
Seconds = dict[str, float]  # processor seconds of each of STAGES, and of all of them as "total"


@dataclass(frozen=True)
class Round:
    """One whole round: the server's seconds, and the median over the clients that stayed to the end."""

    client: Seconds
    server: Seconds


def installed() -> bool:
    """Whether flwr is there to be measured."""
    return find_spec("flwr") is not None


# Pieces


def mask(d: int, neighbours: int) -> Callable[[], object]:
    """A call that expands `neighbours` pairwise masks and adds or subtracts each, as `_collect_masked_vectors` does.

    Key agreement and the reduction mod 2^32 are left out: both are in `whole_round`.
    """
    from flwr.common.secure_aggregation.ndarrays_arithmetic import (
        parameters_addition,
        parameters_mod,
        parameters_subtraction,
    )
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    def apply(vector: list[Any], keys: Sequence[bytes], add_first: bool) -> list[Any]:
        dimensions = [each.shape for each in vector]
        for place, key in enumerate(keys):
            pairwise = pseudo_rand_gen(key, RING, dimensions)
            if (place % 2 == 0) == add_first:
                vector = parameters_addition(vector, pairwise)
            else:
                vector = parameters_subtraction(vector, pairwise)
        return vector

    keys = [base64.urlsafe_b64encode(os.urandom(32)) for _ in range(neighbours)]  # what generate_shared_key returns
    plain = [np.arange(1000, dtype=np.int64)]
    masked = apply(plain, keys, True)
    require(bool((parameters_mod(masked, RING)[0] != plain[0]).mean() > 0.9), "the mask hides nothing")
    require(bool((apply(masked, keys, False)[0] == plain[0]).all()), "two sides' masks do not cancel")
    vector = [np.zeros(d, np.int64)]
    return lambda: apply(vector, keys, True)


def share(secret: bytes, t: int, n: int) -> list[bytes]:
    """Shares as Flower makes them: padded by PKCS#7 and cut in 16-byte pieces, so that 32 bytes are three of them.

    Its other secret, a P-384 key as PEM text, is 306 bytes and twenty pieces.
    """
    from flwr.common.secure_aggregation.crypto.shamir import create_shares

    return list(create_shares(secret, t, n))


def combine(shares: Sequence[bytes]) -> bytes:
    """The secret; from all shares that are given, where t of them would do. So does Flower's server."""
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares

    return bytes(combine_shares(list(shares)))


def quantize(vector: NDArray[np.float32]) -> list[Any]:
    """The clipped and stochastically rounded vector, int32."""
    from flwr.common.secure_aggregation.quantization import quantize

    return list(quantize([vector], CLIP, LEVELS))


# A client


class _Client:
    """One client's state in Flower's own type, and the seconds that its stages took."""

    def __init__(self, nid: int) -> None:
        # By name: the package shows the function `secaggplus_mod` in the place of the module.
        self.module = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
        self.state, self.seconds = self.module.SecAggPlusState(nid=nid), Seconds()

    def run(self, stage: str, configs: Any, *inputs: Any) -> dict[str, Any]:
        """What Flower's mod does with a message of this stage; not timed: its type checks, and storing the state."""
        function = getattr(self.module, f"_{stage}")
        start = time.process_time()
        answer: dict[str, Any] = function(self.state, configs, *inputs)
        self.seconds[stage] = time.process_time() - start
        return answer


def _update(nid: int, d: int) -> NDArray[np.float32]:
    """A client's update: another for each, the same again when it is asked for again."""
    return np.random.default_rng(nid).uniform(-1, 1, d).astype(np.float32)


# The server, and a whole round


def whole_round(n: int, k: int, t: int, d: int, dropped: int) -> Round:
    """Carries one round through Flower's own workflow, unscaled; `dropped` clients leave after they shared their keys.

    The server's seconds are those of the workflow's four stages less all that happens while it waits for clients. What
    its strategy would do with the mean is left out. Checks the mean. n uploads of 8 d bytes are in memory at once.
    """
    # Flower tells clients another number of shares than it then uses when this number is even and less than n.
    require(k + 1 == n or k % 2 == 0, f"k = {k}: Flower's graph has an even number of neighbours")
    _quiet()
    from flwr.app import ArrayRecord, ConfigRecord, Context, RecordDict
    from flwr.common import parameters_to_ndarrays
    from flwr.server.compat.legacy_context import LegacyContext
    from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
    from flwr.server.workflow.secure_aggregation.secaggplus_workflow import SecAggPlusWorkflow, WorkflowState

    settings = {"clipping_range": CLIP, "quantization_range": LEVELS, "modulus_range": RING}
    workflow = SecAggPlusWorkflow(k + 1, t, max_weight=float(WEIGHT), **settings)
    grid, strategy = _Grid(n, d, dropped), _Strategy(n)
    records = {MAIN_CONFIGS_RECORD: ConfigRecord({Key.CURRENT_ROUND: 1}), MAIN_PARAMS_RECORD: ArrayRecord()}
    context = LegacyContext(Context(0, 0, {}, RecordDict(records), {}), None, strategy, _Manager())
    state, seconds = WorkflowState(), Seconds()
    for stage in STAGES:  # what SecAggPlusWorkflow.__call__ does
        start, waited = time.process_time(), grid.seconds
        require(getattr(workflow, f"{stage}_stage")(grid, context, state), f"Flower halts at {stage}")
        seconds[stage] = time.process_time() - start - (grid.seconds - waited)

    (mean,) = parameters_to_ndarrays(strategy.mean)
    stayed = range(1, n - dropped + 1)
    expected = sum((_update(nid, d).astype(np.float64) for nid in stayed), np.zeros(d)) / len(stayed)
    require(float(np.abs(mean - expected).max()) <= 2 * CLIP / LEVELS * 1.5, "the mean is not that of the survivors")
    taken = [grid.clients[nid].seconds for nid in stayed]
    return Round(_in_all({stage: median(each[stage] for each in taken) for stage in STAGES}), _in_all(seconds))


class _Grid:
    """The network: hands each message of the server to its client at once, and counts the seconds that this takes."""

    def __init__(self, n: int, d: int, dropped: int) -> None:
        from flwr.supercore.task_identity import TaskIdentity

        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 0  # Message asks for them
        self.clients = {nid: _Client(nid) for nid in range(1, n + 1)}
        self.gone, self.d, self.seconds = set(range(n - dropped + 1, n + 1)), d, 0.0

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
        """The answers of all that have not gone."""
        start = time.process_time()
        answers = [answer for answer in map(self._answer, messages) if answer is not None]
        self.seconds += time.process_time() - start
        return answers

    def _answer(self, message: Any) -> Any:
        """The message back from one client, or None. What Flower's `secaggplus_mod` does around its stages."""
        from flwr.app import ConfigRecord, Message, RecordDict
        from flwr.common import Code, FitRes, Parameters, Status, ndarrays_to_parameters
        from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
        from flwr.compat.common.recorddict_compat import fitres_to_recorddict

        nid, configs = message.metadata.dst_node_id, dict(message.content.config_records[RECORD_KEY_CONFIGS])
        stage, content = configs.pop(Key.STAGE), RecordDict()
        inputs: tuple[Any, ...] = ()
        if stage == Stage.COLLECT_MASKED_VECTORS:
            if nid in self.gone:
                return None
            inputs = (WEIGHT, ndarrays_to_parameters([_update(nid, self.d)]))
            empty = FitRes(Status(Code.OK, ""), Parameters([], "numpy.ndarray"), WEIGHT, {})
            content = fitres_to_recorddict(empty, False)
        answer = self.clients[nid].run(stage, configs, *inputs)
        content.config_records[RECORD_KEY_CONFIGS] = ConfigRecord(answer, False)
        return Message(content, reply_to=message)


@dataclass(frozen=True)
class _Proxy:
    node_id: int


class _Manager:
    def num_available(self) -> int:
        """Only for Flower's log."""
        return 0


class _Strategy:
    """Samples all n clients, and keeps the mean it is given."""

    def __init__(self, n: int) -> None:
        self.n, self.mean = n, None

    def configure_fit(self, _round: int, parameters: Any, _manager: Any) -> list[Any]:
        """An instruction for each client."""
        from flwr.common import FitIns

        return [(_Proxy(nid), FitIns(parameters, {})) for nid in range(1, self.n + 1)]

    def aggregate_fit(self, _round: int, results: list[Any], _failures: list[Any]) -> tuple[None, dict[str, Any]]:
        """Flower puts the mean in place of every client's update."""
        self.mean = results[0][1].parameters
        return None, {}


def _in_all(seconds: Seconds) -> Seconds:
    return {**seconds, "total": sum(seconds.values())}


def _quiet() -> None:
    """Flower reports each stage on standard error; leaves its errors."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
