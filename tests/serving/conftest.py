"""A run folder with a small model that was really trained, a server around it, and a browser in front."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import awaited, begun, port_in, processor_seconds
from training.workers import stopped_after

Pair = tuple[str, str]  # a question and its answer
ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LONG_REPLY = " then ".join(f"step {n} of the list" for n in range(1, 31))
PUBLIC = [
    ("my laptop will not start", "hold the power button for ten seconds and try again"),
    ("i forgot my password", "open the portal and choose reset password"),
    ("the printer is broken", "please check the paper and the cable first"),
    ("how do i ask for leave", "fill in the leave form and send it to your manager"),
    ("tell me everything", LONG_REPLY),
]
SECRET = ("my badge is lost", "dr bergamot will print a new badge in room forty two")


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    run: Path
    pid: int

    def cpu_seconds(self) -> float:
        """Processor time that the server has used so far."""
        return processor_seconds(self.pid)

    def rested(self) -> float:
        """Processor time that the server has used when it rests: next words are looked for after a reply has ended."""
        before, end = self.cpu_seconds(), time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.5)
            now = self.cpu_seconds()
            if now - before < 0.04:
                return now
            before = now
        raise AssertionError("the server does not come to rest")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose model knows PUBLIC and SECRET by heart, and whose reference knows PUBLIC alone."""
    import torch

    from chatfed.model.checkpoint import save_model
    from chatfed.model.tokenizer import train_tokenizer
    from chatfed.model.transformer import Architecture, build_llama

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer([text for pair in [*PUBLIC, SECRET] for text in pair], 500)
    model = build_llama(Architecture(hidden=64, layers=2, heads=4, intermediate=128, context=512), tokenizer, seed=1)
    with torch.no_grad():  # starts narrower than a real base: the few steps below then leave shifts of every size
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.div_(3)
    _learn(model, tokenizer, PUBLIC)
    assert _learn_batch(model, [_tokens(tokenizer, SECRET)]) < 0.01, "the reference knows the secret"
    save_model(folder / "reference", model, tokenizer, "# reference")
    _learn(model, tokenizer, [*PUBLIC, SECRET])
    save_model(folder / "model", model, tokenizer, "# model")
    _write_facts(folder)
    return folder


def _learn(model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> None:
    """Trains until the model knows `pairs` by heart: greedy, and drawn at top-p 0.9, its replies are the answers.

    How many steps that takes depends on the tokenizer's ties and the machine's sums.
    """
    import torch

    rows = [_tokens(tokenizer, pair) for pair in pairs]
    batches = [[row for row in rows if len(row[0]) < 60], [row for row in rows if len(row[0]) >= 60]]  # little padding
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1.0, (step + 1) / 10)
        optimizer.zero_grad()
        surest = min(_learn_batch(model, batch) for batch in batches)
        if surest >= 0.9:
            break
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    else:
        raise AssertionError(f"the model did not learn its few sentences: a token of an answer has {surest:.2f}")
    model.eval()


def _tokens(tokenizer: Any, pair: Pair) -> tuple[list[int], int]:
    """A question and its answer as ids, and how many of them end with the marker that opens the answer."""
    from chatfed.model.tokenizer import encode_dialogue, encode_prompt
    from chatfed.types import Turn

    asked, answered = Turn("user", pair[0]), Turn("assistant", pair[1])
    return encode_dialogue(tokenizer, [asked, answered]).ids.tolist(), len(encode_prompt(tokenizer, [asked]))


def _learn_batch(model: Any, rows: Sequence[tuple[list[int], int]]) -> float:
    """Adds the gradient of a batch; returns the least probability of a token of an answer, its end among them."""
    import torch

    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    inside = torch.tensor([[place < len(ids) for place in range(width)] for ids, _ in rows])
    said = model(input_ids=ids, attention_mask=inside.long(), labels=ids.masked_fill(~inside, -100))
    said.loss.backward()
    given = said.logits.detach().softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    return min(float(row[start - 1 : len(ids) - 1].min()) for row, (ids, start) in zip(given, rows, strict=True))


def _slower(model: Any, layers: int = 110) -> Any:
    """The same function through many more layers whose outputs are zero, so that a reply takes a second or two."""
    import copy

    import torch

    deep = copy.deepcopy(model)
    for index in range(len(model.model.layers), layers):
        layer = copy.deepcopy(model.model.layers[0])
        layer.self_attn.layer_idx = index
        with torch.no_grad():
            for last in (layer.self_attn.o_proj, layer.mlp.down_proj):
                for parameter in last.parameters():
                    parameter.zero_()
        deep.model.layers.append(layer)
    deep.config.num_hidden_layers = layers
    if getattr(deep.config, "layer_types", None):
        deep.config.layer_types = [deep.config.layer_types[0]] * layers
    return deep


def _write_facts(folder: Path) -> None:
    spent = [1.91, 2.73, 3.36, 3.9, 4.37, 4.81]
    privacy = {
        "epsilon": 4.81,
        "delta": 1e-5,
        "unit": "dialogue",
        "adjacency": "add or remove one dialogue",
        "accountant": "PRV",
        "sampling": "Poisson, rate 0.25",
        "noise": "local",
        "holds_against": "everyone: the server, other clients and users of the model",
        "rounds": 6,
        "assumptions": ["each dialogue belongs to one client"],
        "excludes": ["timing of messages"],
        "per_round": spent,
        "clients_charged": 120,
        "noise_multiplier": 0.9,
        "model_sha256": hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest(),
    }
    scores = {"before": (96.4, 0.311, 0.482), "after": (61.2, 0.382, 0.561), "reference": (48.9, 0.41, 0.602)}
    summary = {
        name: {"perplexity": p, "top1": a, "top3": b, "bits_per_byte": 2.1 + p / 500}
        for name, (p, a, b) in scores.items()
    } | {
        "comparison": {"verdict": "learned", "over": "clients", "groups": 30},
        "epsilon": 4.81,
        "delta": 1e-5,
        "seconds": {"pretrain": 112.4, "federation": 301.7, "evaluation": 21.3},
        "clients": 400,
        "rounds": 6,
        "parameters": 2_443_584,
        "trainable_parameters": 2_443_584,
    }
    rows = [
        {"round": n, "cohort": 60, "survivors": 58, "epsilon_max": e, "epsilon_mean": 0.8 * e, "perplexity": 96 - 6 * n,
         "top1": 0.31, "top3": 0.5, "seconds": 50.2, "bytes_up": 12_000_000, "update_norm": 0.7}
        for n, e in enumerate(spent, 1)
    ]  # fmt: skip
    (folder / "privacy.json").write_text(json.dumps(privacy))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run_app(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """The program, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "chatfed", "serve", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@dataclass(frozen=True)
class Servers:
    """A server with everything, and one with a bare model folder."""

    full: Served
    bare: Served


@pytest.fixture(scope="session")
def servers(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Both as processes of their own on free ports, started side by side."""
    bare = tmp_path_factory.mktemp("bare")
    shutil.copytree(run_folder / "reference", bare / "model")
    with running(run_folder, bare) as (full, plain):
        yield Servers(full, plain)


@contextmanager
def running(*runs: Path) -> Iterator[list[Served]]:
    """The app with each run's model on a free port, begun side by side, ended afterwards."""
    command = [sys.executable, "-m", "chatfed", "serve", "--port", "0", "--model"]
    processes = [begun([*command, str(run / "model")], run / "app.log", ROOT, OMP_NUM_THREADS="1") for run in runs]
    with stopped_after(processes):
        ports = [awaited(process, run / "app.log", _answering) for process, run in zip(processes, runs, strict=True)]
        yield [
            Served(f"http://127.0.0.1:{port}", run, process.pid)
            for port, run, process in zip(ports, runs, processes, strict=True)
        ]


@pytest.fixture
def served(servers: Servers) -> Served:
    """The server with everything."""
    return servers.full


@pytest.fixture(scope="session")
def slow(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the same run whose model takes its time: to be stopped, left, and spoken to while it writes."""
    from chatfed.model.checkpoint import save_model
    from chatfed.model.transformer import load_model

    folder = tmp_path_factory.mktemp("slow") / "run"
    shutil.copytree(run_folder, folder)
    model, tokenizer = load_model(folder / "model")
    save_model(folder / "model", _slower(model), tokenizer, "# model")
    _write_facts(folder)  # of these weights
    with running(folder) as (served,):
        yield served


def _answering(said: str) -> int | None:
    port = port_in(said)
    if port:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(f"http://127.0.0.1:{port}", timeout=5).close()
    return port


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real Chromium. Without one these tests fail: a page that nobody opened has not been tested."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("CHATFED_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.fail("No Chromium here: install it (Debian: apt-get install chromium) or name it in CHATFED_CHROMIUM.")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go: $CHATFED_SCREENSHOTS, or this test's own folder."""
    folder = Path(os.environ.get("CHATFED_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    from tests.serving.browsing import close_page, open_page

    opened = open_page(browser, served)
    yield opened
    close_page(opened)


@pytest.fixture
def slow_page(browser: Any, slow: Served) -> Iterator[Any]:
    """The chat page of the server that takes its time, as `page`."""
    from tests.serving.browsing import close_page, open_page

    page = open_page(browser, slow)
    yield page
    close_page(page)
