"""What private training costs over ordinary training: a step of each, and of its peers, on one thread.

All take the same steps on the same tokens with the same loss and AdamW; rows are dialogues, so all clip alike. Ours
is called as a client calls it, `train_private`, with its checks and the putting on and off of its hooks inside the
time: `private` in one pass over 1,024 tokens at a time, `private_alone` a dialogue at a time by autograd, as is safe
against a server that chooses the weights, `private_by_hand` so too, but as a learner does it where the model is a plain
Llama. What a learner does with each dialogue has a table of its own (`dp_alone`). Opacus' hooks are put on before the
clock starts. fastDP is not here: no package of it can be installed.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import Row, interleaved, machine, parser, print_table, write_json
from benchmarks.dp_alone import MAKERS as ALONE
from benchmarks.dp_alone import alone_settings, compare_alone
from benchmarks.dp_models import QUICK_MODEL, FixedRows, Setting, fresh, scaling_settings, settings
from chatfed.command_line import exit_code
from chatfed.model.parameters import dimension, flatten
from chatfed.model.transformer import stay_offline
from chatfed.types import FloatVector
from training.base.tokens import next_token_loss, private_token_loss

if TYPE_CHECKING:
    import torch

    from chatfed.privacy.clipping import Gradient

LEARNING_RATE, CLIP_NORM, NOISE_MULTIPLIER = 0.01, 1.0, 1.0
TOKENS_AT_ONCE = 1024  # in one pass: fewer make products small, more make memory large
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


# The candidates: each makes a function that takes `steps` steps.


@dataclass(frozen=True)
class Work:
    """What a candidate is given."""

    model: torch.nn.Module
    data: FixedRows
    steps: int
    noise: float = NOISE_MULTIPLIER
    clip: float = CLIP_NORM
    plain: bool = False  # SGD in place of AdamW, whose steps say little about the gradient

    def optimizer(self) -> torch.optim.Optimizer:
        import torch

        trained = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.SGD(trained, LEARNING_RATE) if self.plain else torch.optim.AdamW(trained, LEARNING_RATE)


def ordinary(work: Work) -> Callable[[], None]:
    """Forward, backward, optimiser."""
    optimizer = work.optimizer()
    work.model.train()

    def run() -> None:
        for _ in range(work.steps):
            optimizer.zero_grad()
            next_token_loss(work.model, work.data.batch).mean().backward()
            optimizer.step()

    return run


def private(work: Work, alone: bool = False, by_hand: Gradient | None = None) -> Callable[[], None]:
    """chatfed.privacy.dpsgd.train_private, every row in the sample."""
    from chatfed.privacy.dpsgd import DPSGDConfig, train_private

    rows, optimizer = len(work.data), work.optimizer()
    at_once = 1 if alone else max(1, min(rows, TOKENS_AT_ONCE // work.data.batch["ids"].shape[1]))
    config = DPSGDConfig(work.clip, work.noise, 1.0, rows, work.steps, LEARNING_RATE, dialogues_at_once=at_once)
    given = work.model, work.data, private_token_loss, config
    return lambda: train_private(*given, optimizer=optimizer, by_hand=by_hand)


def private_alone(work: Work) -> Callable[[], None]:
    """The same, a dialogue at a time."""
    return private(work, alone=True)


def private_by_hand(work: Work) -> Callable[[], None]:
    """The same without autograd, where the model is one whose gradient is worked out by hand: not with adapters."""
    from chatfed.model.by_hand import llama_gradient

    return private(work, alone=True, by_hand=llama_gradient(work.model))


def opacus_hooks(work: Work) -> Callable[[], None]:
    """Opacus as it comes: a gradient for each row from GradSampleModule, DPOptimizer, noise from torch.normal."""
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    work.model.train()
    hooked = GradSampleModule(work.model)
    optimizer = DPOptimizer(
        work.optimizer(), noise_multiplier=work.noise, max_grad_norm=work.clip, expected_batch_size=len(work.data)
    )

    def run() -> None:
        for _ in range(work.steps):
            optimizer.zero_grad()
            next_token_loss(hooked, work.data.batch).mean().backward()
            optimizer.step()

    return run


def opacus_ghost(work: Work) -> Callable[[], None]:
    """Opacus' ghost clipping: norms in one backward pass, the clipped sum in a second."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

    work.model.train()
    hooked = GradSampleModuleFastGradientClipping(work.model, max_grad_norm=work.clip, use_ghost_clipping=True)
    optimizer = DPOptimizerFastGradientClipping(
        work.optimizer(), noise_multiplier=work.noise, max_grad_norm=work.clip, expected_batch_size=len(work.data)
    )

    def run() -> None:
        for _ in range(work.steps):
            optimizer.zero_grad()
            losses = next_token_loss(hooked, work.data.batch)
            DPTensorFastGradientClipping(hooked, optimizer, losses, "mean").backward()
            optimizer.step()

    return run


def functorch(work: Work) -> Callable[[], None]:
    """torch.func: vmap of grad over the rows, then clipped sum and torch.randn."""
    import torch
    from torch.func import functional_call, grad, vmap
    from torch.nn.functional import cross_entropy

    model, optimizer, rows = work.model.train(), work.optimizer(), len(work.data)
    model.set_attn_implementation("eager")  # type: ignore[operator]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def loss(weights: dict[str, torch.Tensor], ids: torch.Tensor, targets: torch.Tensor, w: torch.Tensor) -> Any:
        logits = functional_call(model, weights, (), {"input_ids": ids[None], "use_cache": False}).logits[0]
        return (cross_entropy(logits, targets, reduction="none") * w).sum()

    def run() -> None:
        batch = work.data.batch
        for _ in range(work.steps):
            values = {name: p.detach() for name, p in trained.items()}
            found = vmap(grad(loss), (None, 0, 0, 0))(values, batch["ids"], batch["targets"], batch["weights"])
            norms = torch.stack([g.flatten(1).norm(dim=1) for g in found.values()]).norm(dim=0)
            factor = (work.clip / (norms + 1e-6)).clamp(max=1.0)
            for name, p in trained.items():
                total = torch.einsum("r,r...->...", factor, found[name])
                p.grad = (total + work.noise * work.clip * torch.randn_like(p)) / rows
            optimizer.step()

    return run


MAKERS: dict[str, Callable[[Work], Callable[[], None]]] = {
    "ordinary": ordinary,
    "private": private,
    "private_alone": private_alone,
    "private_by_hand": private_by_hand,
    "opacus_hooks": opacus_hooks,
    "opacus_ghost": opacus_ghost,
    "functorch": functorch,
}
OURS = ("ordinary", "private", "private_alone", "private_by_hand")


def prepare(name: str, setting: Setting) -> Callable[[], None]:
    """A candidate with a model of its own."""
    if name in ALONE:
        return ALONE[name](setting)
    return MAKERS[name](Work(fresh(setting), FixedRows.random(setting), setting.steps))


def check(of: Setting) -> None:
    """Without noise, and with a bound that clips nothing, all candidates must arrive at the same weights."""
    tiny = replace(QUICK_MODEL, lora_rank=of.model.lora_rank)
    setting, arrived = Setting("check", tiny, of.trainable, 4, 16, 2), dict[str, FloatVector]()
    for name, make in MAKERS.items():
        model = fresh(setting)
        make(Work(model, FixedRows.random(setting), setting.steps, 0.0, 1e6, plain=True))()
        arrived[name] = flatten(model)
    moved = float(abs(arrived["ordinary"] - flatten(fresh(setting))).max())
    for name, weights in arrived.items():
        if not float(abs(weights - arrived["ordinary"]).max()) <= 1e-3 * moved:
            raise SystemExit(f"benchmarks.dp_step: {name} takes another step; its time would mean nothing")


# Memory


def step_memory(name: str, setting: Setting) -> int | None:
    """Peak resident bytes of a candidate's steps above what the process held before them, model included.

    To be called in a process of its own. A run on a tiny model comes first, so that the libraries' own code and tables
    are not counted. None where Linux's /proc is not there to tell.
    """
    _calm()
    prepare(name, Setting("warm-up", QUICK_MODEL, ("all",), 4, 16, 1))()
    run = prepare(name, setting)
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text("5", encoding="ascii")  # 5 resets the peak, see proc(5)
        before = _kibibytes("VmRSS")
        run()
        return 1024 * (_kibibytes("VmHWM") - before)
    except (OSError, AttributeError):
        return None


def _kibibytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise OSError(f"{STATUS} has no {field}")
    return int(found[1])


def memory(setting: Setting, names: Sequence[str]) -> dict[str, int]:
    """Each candidate's peak in a fresh process; empty when it could not be measured."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["chatfed.privacy.dpsgd", "transformers.models.llama.modeling_llama"])
    taken = dict[str, int]()
    for name in names:
        with ProcessPoolExecutor(1, mp_context=server) as process:
            peak = process.submit(step_memory, name, setting).result()
        if peak is None or peak <= 0:
            return {}
        taken[name] = peak
    return taken


# The table


def compare(setting: Setting, rounds: int, names: Sequence[str]) -> tuple[list[Row], dict[str, Any]]:
    """Time and memory of one setting: rows of the table, and its part of the JSON."""
    peaks = memory(setting, names)
    check(setting)
    times = interleaved({name: prepare(name, setting) for name in names}, rounds)
    base, rows = times["ordinary"], list[Row]()
    figures: dict[str, Any] = {"rows": setting.rows, "tokens": setting.tokens, "trainable": list(setting.trainable)}
    figures |= _sizes(setting)
    head = f"{setting.name}, {figures['trained']:,} trained, {setting.rows} x {setting.tokens}"
    for name in names[1:]:
        prefix = {"private": "", "private_alone": "alone_", "private_by_hand": "by_hand_"}.get(name, f"{name}_")
        each, ratio, words = times[name], times[name].over(base), name.replace("_", " ")
        cells = (_milliseconds(each.seconds, setting), _milliseconds(base.seconds, setting), f"{ratio:.2f}")
        rows.append((f"{head}: {words} / ordinary step, processor time", *cells))
        figures |= {f"{prefix}time_ratio": ratio, f"{prefix}wall_ratio": each.wall_over(base)}
        if peaks:
            share = peaks[name] / peaks["ordinary"]
            cells = (_mebibytes(peaks[name]), _mebibytes(peaks["ordinary"]), f"{share:.2f}")
            rows.append((f"{head}: {words} / ordinary step, peak memory above the model", *cells))
            figures[f"{prefix}memory_ratio"] = share
    figures |= {f"{name}_step_s": times[name].seconds / setting.steps for name in names}
    return rows, figures | {f"{name}_peak_bytes": peak for name, peak in peaks.items()}


def _sizes(setting: Setting) -> dict[str, int]:
    model = fresh(setting)
    return {"parameters": sum(p.numel() for p in model.parameters()), "trained": dimension(model)}


def _milliseconds(seconds: float, setting: Setting) -> str:
    return f"{1e3 * seconds / setting.steps:.1f} ms"


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _calm() -> None:
    """One thread, nothing from the network, no advice on the terminal."""
    import warnings

    import torch

    stay_offline()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module=r"opacus|torch")
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # of Opacus on an embedding: ids take no gradient


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the JSON where asked to."""
    about = "A private training step beside an ordinary one and its peers, on one thread."
    made = parser("dp_step", about)
    made.add_argument("--scaling", action="store_true", help="how the ratio changes with the sizes")
    made.add_argument("--alone", action="store_true", help="dialogues one by one as learners take them, and no more")
    options = made.parse_args(arguments)
    _calm()
    start, rounds = time.perf_counter(), 3 if options.quick else 5 if options.scaling else 7
    rows, figures = list[Row](), dict[str, Any]()
    names = OURS if options.scaling else tuple(MAKERS)
    alone = dict[str, Any]()
    for setting in () if options.scaling else alone_settings(options.quick):
        more, alone[setting.name] = compare_alone(setting, rounds, memory(setting, tuple(ALONE)))
        rows += more
    for setting in () if options.alone else (scaling_settings if options.scaling else settings)(options.quick):
        more, figures[setting.name] = compare(setting, rounds, names)
        rows += more
    title = "private training (quick: figures mean little)" if options.quick else "private training"
    where = machine("torch", "opacus", "transformers")
    print_table(title, where, rows)
    print(f"medians of {rounds} interleaved samples; {time.perf_counter() - start:.0f} s in all")
    if options.json:
        write_json(options.json, {"machine": where, "quick": options.quick, "settings": figures, "alone": alone})


if __name__ == "__main__":
    sys.exit(exit_code(main))
