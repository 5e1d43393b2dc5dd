"""The public base: within its time on any machine, in the precision that is quicker here, and with one clear error."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from chatfed.model.transformer import Architecture, build_llama
from chatfed.types import ChatfedError
from training import pretrain
from training.durable import DiskError
from training.pretrain import Job, pretrained_base
from training.recipe import ModelSection, PretrainSection
from training.tokens import DialogueExamples, next_token_loss, write_tokens

TINY = ModelSection(hidden=16, layers=1, heads=2, intermediate=32, vocabulary=320, context=64, trainable=("all",))


@pytest.fixture(scope="module")
def public(tiny_corpus):
    return [dialogue.messages for dialogue in tiny_corpus.public]


@pytest.fixture
def job(public, tiny_tokenizer, tmp_path) -> Job:
    write_tokens(tmp_path / "tokens", tiny_tokenizer, public)
    tiny_tokenizer.save_pretrained(tmp_path / "tokens" / "tokenizer")
    return Job(TINY, PretrainSection(epochs=0.1), tmp_path / "tokens", tmp_path / "base", math.inf)


def silent(done: float, text: str) -> None:
    pass


class Told(list):
    """Takes what a process says, as the queue does."""

    put = list.append


def test_a_full_disk_in_a_pre_training_process_is_the_parent_s_one_error(job, tmp_path):
    (tmp_path / "base").write_text("a file where the folder should be")
    broken = Job(job.model, job.pretrain, job.tokens, tmp_path / "base" / "deeper", math.inf)
    with pytest.raises(DiskError, match="--resume"):
        pretrain._in_processes(broken, 2, silent)


@pytest.mark.parametrize(
    ("error", "kind", "part"),
    [
        (OSError(28, "No space left on device", "weights"), DiskError, "weights"),
        (RuntimeError("I/O error: No space left on device (os error 28)\nand more"), DiskError, "disk is full"),
        (ChatfedError("the very words"), ChatfedError, "the very words"),
        (ValueError("odd\nlines"), ChatfedError, "ValueError: odd"),
    ],
)
def test_a_process_that_fails_says_why_and_ends_without_a_traceback(job, monkeypatch, error, kind, part):
    def fail(*_: object) -> None:
        raise error

    for name, what in (("_train", fail), ("end_with_parent", lambda: None)):
        monkeypatch.setattr(pretrain, name, what)
    monkeypatch.setattr(pretrain.signal, "signal", lambda *_: None)
    said = Told()
    with pytest.raises(SystemExit) as end:
        pretrain._take_part(job, 0, None, None, said)
    assert end.value.code == 1
    assert type(said[0]) is kind and part in str(said[0]) and "\n" not in str(said[0])


def test_the_tokens_do_not_stay_when_pre_training_fails(public, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise DiskError("full")

    monkeypatch.setattr(pretrain, "_in_processes", fail)
    left = tmp_path / "base" / f".{pretrain.inputs_digest(public, TINY, PretrainSection())[:16]}-x"
    left.mkdir(parents=True)
    with pytest.raises(DiskError):
        pretrained_base(public, TINY, PretrainSection(), tmp_path, 1, silent)
    assert [path.suffix for path in (tmp_path / "base").iterdir()] == [".lock"]


def test_shared_memory_that_is_full_is_one_line(monkeypatch):
    def full(self: torch.Tensor) -> None:
        raise RuntimeError("unable to resize file </torch_1> to the right size: No space left on device (28)\nat ...")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(DiskError, match="/dev/shm") as caught:
        pretrain._shared(torch.zeros(3))
    assert "\n" not in str(caught.value)


def test_the_time_limit_covers_the_tokenizer_too(public, tmp_path, monkeypatch):
    """What the tokenizer has used is no longer there for the steps."""
    jobs: list[Job] = []
    train = pretrain.train_tokenizer
    monkeypatch.setattr(pretrain, "train_tokenizer", lambda *given: (time.sleep(0.3), train(*given))[1])
    monkeypatch.setattr(pretrain, "_in_processes", lambda job, *_: jobs.append(job))
    began = time.monotonic()
    pretrained_base(public, TINY, PretrainSection(max_seconds=100), tmp_path, 1, silent)
    assert began + 99 < jobs[0].ends <= began + 100.2
    pretrained_base(public, TINY, PretrainSection(max_seconds=0), tmp_path, 1, silent)
    assert jobs[1].ends == math.inf


def test_when_the_time_is_up_training_ends_with_a_model_and_says_its_precision(job):
    late = Job(job.model, PretrainSection(epochs=1e6), job.tokens, job.folder, time.monotonic())
    told: list[str] = []
    pretrain._in_processes(late, 1, lambda done, text: told.append(text))
    assert job.done()
    assert any(f"in {name}: loss" in told[-1] for name in ("float32", "bfloat16"))


@pytest.mark.parametrize("seconds", [{"float32": (1.0, 4.0), "bfloat16": (3.0, 1.0)}, {"float32": (1.0, 1.0)}])
def test_all_processes_take_the_precision_that_is_quicker_for_all_together(monkeypatch, seconds):
    """Process 0 alone would take float32 in the first case."""
    clock = threading.local()
    sums, barrier, chosen = torch.zeros(2, 9), threading.Barrier(2), ["", ""]

    def loss(network, examples, mine, precision):
        clock.now += seconds.get(precision, (9.0, 9.0))[clock.rank]
        return torch.zeros(1, requires_grad=True).sum(), 1.0

    def take(rank: int) -> None:
        clock.rank, clock.now = rank, 0.0
        chosen[rank] = pretrain._faster(torch.nn.Linear(1, 1), None, [np.arange(1)], sums, rank, barrier)

    monkeypatch.setattr(pretrain, "_loss", loss)
    monkeypatch.setattr(pretrain.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(pretrain, "read_if_there", lambda path: b"flags : avx512_bf16")
    threads = [threading.Thread(target=take, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert chosen == ["bfloat16" if "bfloat16" in seconds else "float32"] * 2


def test_a_processor_without_bfloat16_is_not_asked_to_try_it(monkeypatch):
    monkeypatch.setattr(pretrain, "read_if_there", lambda path: b"flags : avx2")
    assert pretrain._faster(None, None, [], None, 0, None) == "float32"


def test_padding_to_a_multiple_changes_no_loss(public, tiny_tokenizer, tmp_path):
    table = write_tokens(tmp_path / "table", tiny_tokenizer, public[:5])
    model = build_llama(Architecture(16, 1, 2, 32, 50), tiny_tokenizer, 1).train(False)
    rows, _ = DialogueExamples(table, np.arange(5), 50).rows(np.arange(5))
    plain = next_token_loss(model, rows)
    torch.testing.assert_close(next_token_loss(model, rows, 16), plain)
    few = {name: tensor[:, :21] for name, tensor in rows.items()}
    torch.testing.assert_close(next_token_loss(model, few, 16), next_token_loss(model, few))


def test_a_step_in_bfloat16_goes_nearly_where_one_in_float32_goes(job, public):
    network, _ = job.build()
    examples = DialogueExamples(pretrain.open_tokens(job.tokens), np.arange(4), 64)
    losses = {name: pretrain._loss(network, examples, np.arange(4), name) for name in ("float32", "bfloat16")}
    assert losses["float32"][1] == losses["bfloat16"][1]
    assert losses["bfloat16"][0].item() == pytest.approx(losses["float32"][0].item(), rel=0.01)


def test_the_second_of_two_runs_at_once_finds_the_base_of_the_first(public, tmp_path, monkeypatch):
    made: list[Path] = []

    def make(job: Job, *_: object) -> None:
        time.sleep(0.1)
        job.folder.mkdir()
        (job.folder / "config.json").touch()
        made.append(job.folder)

    monkeypatch.setattr(pretrain, "_make", make)
    ask = lambda: pretrained_base(public, TINY, PretrainSection(), tmp_path, 1, silent)  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1
