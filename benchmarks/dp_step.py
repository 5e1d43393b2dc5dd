"""What private training costs over ordinary training: a step of each, and of Opacus' own hooks, on one thread.

All three take the same steps on the same tokens with the same loss; rows are dialogues, so that all clip alike. Ours
is called as a client calls it, `train_private`, with its checks and the putting on and off of its hooks inside the
time; Opacus' hooks are put on before the clock starts.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import multiprocessing
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import Row, interleaved, machine, parser, print_table, write_json
from chatfed.model.parameters import dimension, flatten, set_trainable
from chatfed.model.transformer import Architecture, build_llama, quiet, stay_offline, untie_output
from chatfed.types import FloatVector, IntVector
from training.recipe import ModelSection, load_recipe
from training.tokens import next_token_loss

if TYPE_CHECKING:
    import torch

LEARNING_RATE, CLIP_NORM, NOISE_MULTIPLIER = 0.01, 1.0, 1.0
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Setting:
    """One comparison."""

    name: str
    model: ModelSection
    trainable: tuple[str, ...]
    rows: int
    tokens: int  # in a row
    steps: int  # in one sample


QUICK_MODEL = ModelSection(hidden=24, layers=2, heads=2, intermediate=40, vocabulary=300, context=32)


def settings(quick: bool) -> list[Setting]:
    """Everything trained, and what the default recipe trains; once only when that is the same."""
    model = load_recipe().model
    parts = {"all": ("all",), "default_recipe": model.trainable}
    if model.trainable == ("all",):
        del parts["default_recipe"]
    if quick:
        return [Setting(name, QUICK_MODEL, globs, 4, 16, 1) for name, globs in parts.items()]
    return [Setting(name, model, globs, 16, 128, 2) for name, globs in parts.items()]


@lru_cache(maxsize=2)
def build(model: ModelSection) -> torch.nn.Module:
    """The recipe's small Llama with random weights; its tokenizer knows nothing, but has the recipe's size."""
    from chatfed.model.tokenizer import train_tokenizer

    quiet()
    words = (f"{i * i * 2654435761 % 10**9} word{i}" for i in range(20_000 if model.vocabulary > 1000 else 500))
    tokenizer = train_tokenizer(words, model.vocabulary)
    if len(tokenizer) != model.vocabulary:
        raise SystemExit(f"benchmarks.dp_step: a vocabulary of {len(tokenizer)}, not {model.vocabulary}")
    sizes = Architecture(model.hidden, model.layers, model.heads, model.intermediate, model.context)
    model = build_llama(sizes, tokenizer, seed=1)
    untie_output(model)
    return model


def default_dimension() -> int:
    """How many numbers the default recipe trains and every client sends."""
    model = load_recipe().model
    return set_trainable(copy.deepcopy(build(model)), model.trainable)


@dataclass(frozen=True)
class FixedRows:
    """Random tokens; each row is a dialogue of its own."""

    batch: Mapping[str, torch.Tensor]

    @classmethod
    def random(cls, setting: Setting) -> FixedRows:
        import torch

        shape = (setting.rows, setting.tokens + 1)
        ids = torch.randint(0, setting.model.vocabulary, shape, generator=torch.Generator().manual_seed(2))
        weights = torch.full((setting.rows, setting.tokens), 1 / setting.tokens)
        return cls({"ids": ids[:, :-1], "targets": ids[:, 1:], "weights": weights})

    def __len__(self) -> int:
        return len(self.batch["ids"])

    def rows(self, indices: IntVector) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """As training.tokens.DialogueExamples gives them."""
        import torch

        return {key: value[indices] for key, value in self.batch.items()}, torch.arange(len(indices))


# The candidates: each makes a function that takes `steps` steps.


def ordinary(model: torch.nn.Module, data: FixedRows, steps: int, *_: float) -> Callable[[], None]:
    """Forward, backward, plain SGD."""
    import torch

    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE)
    model.train()

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            next_token_loss(model, data.batch).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return run


def private(model: torch.nn.Module, data: FixedRows, steps: int, noise: float, clip: float) -> Callable[[], None]:
    """chatfed.privacy.dpsgd.train_private, every row in the sample."""
    from chatfed.privacy.dpsgd import DPSGDConfig, train_private

    rows = len(data)
    config = DPSGDConfig(clip, noise, 1.0, rows, steps, LEARNING_RATE, dialogues_at_once=rows)
    return lambda: train_private(model, data, next_token_loss, config)


def opacus_hooks(model: torch.nn.Module, data: FixedRows, steps: int, noise: float, clip: float) -> Callable[[], None]:
    """Opacus as it comes: a gradient for each row from GradSampleModule, DPOptimizer, noise from torch.normal."""
    import torch
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    model.train()
    hooked = GradSampleModule(model)
    optimizer = DPOptimizer(
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE),
        noise_multiplier=noise,
        max_grad_norm=clip,
        expected_batch_size=len(data),
    )

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            next_token_loss(hooked, data.batch).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return run


MAKERS: dict[str, Callable[..., Callable[[], None]]] = {
    "ordinary": ordinary,
    "private": private,
    "opacus_hooks": opacus_hooks,
}


def prepare(name: str, setting: Setting) -> Callable[[], None]:
    """A candidate with a model of its own."""
    return MAKERS[name](_fresh(setting), FixedRows.random(setting), setting.steps, NOISE_MULTIPLIER, CLIP_NORM)


def check(trainable: tuple[str, ...]) -> None:
    """Without noise, and with a bound that clips nothing, all candidates must arrive at the same weights."""
    setting, arrived = Setting("check", QUICK_MODEL, trainable, 4, 16, 2), dict[str, FloatVector]()
    for name, make in MAKERS.items():
        model = _fresh(setting)
        make(model, FixedRows.random(setting), setting.steps, 0.0, 1e6)()
        arrived[name] = flatten(model)
    moved = float(abs(arrived["ordinary"] - flatten(_fresh(setting))).max())
    for name, weights in arrived.items():
        if not float(abs(weights - arrived["ordinary"]).max()) <= 1e-3 * moved:
            raise SystemExit(f"benchmarks.dp_step: {name} takes another step; its time would mean nothing")


def _fresh(setting: Setting) -> torch.nn.Module:
    model = copy.deepcopy(build(setting.model))
    set_trainable(model, setting.trainable)
    return model


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


def memory(setting: Setting) -> dict[str, int]:
    """Each candidate's peak in a fresh process; empty when it could not be measured."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["chatfed.privacy.dpsgd", "transformers.models.llama.modeling_llama"])
    taken = dict[str, int]()
    for name in MAKERS:
        with ProcessPoolExecutor(1, mp_context=server) as process:
            peak = process.submit(step_memory, name, setting).result()
        if peak is None or peak <= 0:
            return {}
        taken[name] = peak
    return taken


# The table


def compare(setting: Setting, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """Time and memory of one setting: rows of the table, and its part of the JSON."""
    peaks = memory(setting)
    check(setting.trainable)
    times = interleaved({name: prepare(name, setting) for name in MAKERS}, rounds)
    base, rows = times["ordinary"], list[Row]()
    figures: dict[str, Any] = {"rows": setting.rows, "tokens": setting.tokens, "trainable": list(setting.trainable)}
    figures |= _sizes(setting)
    head = f"{setting.name}, {figures['trained']:,} trained, {setting.rows} x {setting.tokens}"
    for name, prefix in (("private", ""), ("opacus_hooks", "opacus_hooks_")):
        each, ratio, words = times[name], times[name].over(base), name.replace("_", " ")
        cells = (_milliseconds(each.seconds, setting), _milliseconds(base.seconds, setting), f"{ratio:.2f}")
        rows.append((f"{head}: {words} / ordinary step, processor time", *cells))
        figures |= {f"{prefix}time_ratio": ratio, f"{prefix}wall_ratio": each.wall_over(base)}
        if peaks:
            share = peaks[name] / peaks["ordinary"]
            cells = (_mebibytes(peaks[name]), _mebibytes(peaks["ordinary"]), f"{share:.2f}")
            rows.append((f"{head}: {words} / ordinary step, peak memory above the model", *cells))
            figures[f"{prefix}memory_ratio"] = share
    figures |= {f"{name}_step_s": times[name].seconds / setting.steps for name in MAKERS}
    return rows, figures | {f"{name}_peak_bytes": peak for name, peak in peaks.items()}


def _sizes(setting: Setting) -> dict[str, int]:
    model = _fresh(setting)
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
    about = "A private training step beside an ordinary one and Opacus' hooks, on one thread."
    options = parser("dp_step", about).parse_args(arguments)
    _calm()
    start, rounds = time.perf_counter(), 3 if options.quick else 9
    rows, figures = list[Row](), dict[str, Any]()
    for setting in settings(options.quick):
        more, figures[setting.name] = compare(setting, rounds)
        rows += more
    title = "private training (quick: figures mean little)" if options.quick else "private training"
    where = machine("torch", "opacus", "transformers")
    print_table(title, where, rows)
    print(f"medians of {rounds} interleaved samples; {time.perf_counter() - start:.0f} s in all")
    if options.json:
        write_json(options.json, {"machine": where, "quick": options.quick, "settings": figures})


if __name__ == "__main__":
    main()
