"""Gradients of clients' dialogues on a graphics processor, beside two cores: dialogues and tokens a second.

The same clients of four dialogues each, all of them taken, along the directions of smollm2's recipe in the eight
uppermost layers of the base, one gradient a dialogue in the coordinates that are summed: what a client's step costs
before clipping, noise and masks, which are the processor's on every machine. The way is the one that a client takes
there: on the processor by hand and in bfloat16 where it has that, in two processes of one thread each as a rehearsal
has them; on a graphics processor autograd in float32, in one process, and what it found goes through the machine's
memory. Frozen layers are read anew each time, and the first client of each process is not timed. Devices take turns;
figures are medians over the rounds, a ratio that of the ratios within one.

JSON: machine, quick; of each device dialogues_per_s, tokens_per_s and by_hand; cuda_over_cores where there is one.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import Row, machine, parser, print_table, write_json
from benchmarks.large_base import uppermost
from chatfed.command_line import exit_code
from chatfed.model.bases import find_base
from chatfed.model.transformer import load_tokenizer, skeleton, stay_offline
from chatfed.types import ClientId
from training.base.learner import Learner
from training.base.tokens import write_tokens
from training.plan.plan import resolve
from training.plan.recipe import DEFAULT_RECIPE, load_recipe
from training.workers import worker_context

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

RECIPE = DEFAULT_RECIPE.with_name("smollm2.toml")
PROCESSES = {"cpu": 2, "cuda": 1}
CLIENTS, DIALOGUES = 9, 4  # of each process, the first one not timed; of each client
ROUNDS = 3

_meet: Barrier


def _met(barrier: Barrier) -> None:
    global _meet
    _meet = barrier


def _changes(device: str, base: str) -> list[str]:
    learn = json.dumps(uppermost(len(skeleton(base, 0).model.layers)), allow_nan=False)
    taken = ["privacy.sampling_rate=1.0", f"privacy.expected_batch_size={DIALOGUES}", "runtime.frozen_outputs_mib=0"]
    counted = "ngrams.longest=0"  # nothing is: the base may have fewer layers than learn what was
    return [f'runtime.device="{device}"', f"model.trainable={learn}", counted, *taken]


def gradients(device: str, base: str, folder: Path, clients: int) -> tuple[int, float, float, bool]:
    """Tokens of all clients but the first, when one process began and ended them (seconds), and whether by hand."""
    plan = resolve(load_recipe(RECIPE, _changes(device, base)), 400)
    learner, tokens, began = Learner.open(plan.learning, base, folder, folder), 0, 0.0
    for number in range(clients):
        mine = learner.private.clients[ClientId(f"client-{number:03}")]
        for part in learner.learn(learner.initial, mine):
            assert np.isfinite(part).all(), "a gradient of real text"
        if number:
            tokens += int((learner.private.starts[mine + 1] - learner.private.starts[mine]).sum())
        else:
            _meet.wait(timeout=600)
            began = time.monotonic()
    return tokens, began, time.monotonic(), learner.by_hand is not None


def measured(device: str, base: str, folder: Path, clients: int) -> dict[str, float]:
    """Of all its processes together, from the first one's beginning to the last one's end."""
    context, processes = worker_context(__name__), PROCESSES[device]
    barrier = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _met, (barrier,)) as pool:
        given = [pool.submit(gradients, device, base, folder, clients) for _ in range(processes)]
        tokens, began, ended, by_hand = zip(*[each.result() for each in given], strict=True)
    seconds = max(ended) - min(began)
    dialogues = processes * (clients - 1) * DIALOGUES
    return {"dialogues_per_s": dialogues / seconds, "tokens_per_s": sum(tokens) / seconds, "by_hand": all(by_hand)}


def compared(base: str, quick: bool) -> dict[str, Any]:
    """The figures of each device that there is."""
    import torch

    from chatfed.data.helpdesk import generate

    clients, rounds = (2, 1) if quick else (CLIENTS, ROUNDS)
    corpus = generate(3, clients=clients, held_out_clients=1, public_dialogues=1)
    texts = [dialogue.messages for dialogue in corpus.private][: clients * DIALOGUES]
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "tokens"
        whose = np.arange(len(texts)).reshape(clients, DIALOGUES)
        owned = {ClientId(f"client-{number:03}"): mine for number, mine in enumerate(whose)}
        write_tokens(folder, load_tokenizer(base), texts, owned)
        found = [{device: measured(device, base, folder, clients) for device in devices} for _ in range(rounds)]
    figures = {
        device: {key: median(each[device][key] for each in found) for key in found[0]["cpu"]} for device in devices
    }
    if "cuda" not in devices:
        return figures
    ratio = median(each["cuda"]["tokens_per_s"] / each["cpu"]["tokens_per_s"] for each in found)
    return {**figures, "cuda_over_cores": ratio}


def main(argv: list[str] | None = None) -> None:
    """Runs the comparison."""
    options = parser("devices", re.split(r"\n\s*\n", __doc__ or "")[0])
    options.add_argument("--base", default="smollm2", help="a folder, or a base that was got by name")
    given = options.parse_args(argv)
    stay_offline()
    found = compared(find_base(given.base), given.quick)
    ratios = {"cpu": "1.0", "cuda": f"{found.get('cuda_over_cores', 0):.1f}"}
    rows: list[Row] = [
        (
            _name(device),
            f"{found[device]['dialogues_per_s']:.2f}",
            f"{found[device]['tokens_per_s']:.0f}",
            ratios[device],
        )
        for device in PROCESSES
        if device in found
    ]
    print(machine("torch", "transformers"))
    print_table("gradients", "", rows, ("dialogues a second", "tokens a second", "of two cores"))
    if "cuda" not in found:
        print("torch sees no graphics processor here: its row was not measured.")
    if given.json:
        write_json(given.json, {"machine": machine("torch", "transformers"), "quick": given.quick, **found})


def _name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "processor, two processes"


if __name__ == "__main__":
    sys.exit(exit_code(main))
