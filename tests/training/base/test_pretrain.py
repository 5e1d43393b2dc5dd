"""The public base: the same bytes from the same recipe, whoever trains it and however slowly; and one clear error."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from chatfed.model import arithmetic
from chatfed.model.tokenizer import train_tokenizer
from chatfed.model.transformer import Architecture, build_llama, untie_output
from chatfed.types import ChatfedError, Turn
from training.base import pretrain, replica, together
from training.base.losses import Whole
from training.base.pretrain import pretrained_base
from training.base.replica import Job
from training.base.tokens import DialogueExamples, next_token_loss, open_tokens, write_tokens
from training.durable import DiskError
from training.plan.recipe import ModelSection, PretrainSection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

TINY = ModelSection(hidden=16, layers=1, heads=2, intermediate=32, vocabulary=320, context=64, trainable=("all",))


@pytest.fixture(scope="module")
def public(tiny_corpus: HelpdeskCorpus) -> list[tuple[Turn, ...]]:
    return [dialogue.messages for dialogue in tiny_corpus.public]


@pytest.fixture
def job(public: list[tuple[Turn, ...]], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Job:
    write_tokens(tmp_path / "tokens", tiny_tokenizer, public)
    tiny_tokenizer.save_pretrained(tmp_path / "tokens" / "tokenizer")
    places = (tmp_path / "tokens", tmp_path / "base")
    return Job(TINY, PretrainSection(epochs=0.1), *places, math.inf, pretrain.DOING, pretrain.CARD)


def silent(done: float, text: str) -> None:
    pass


def test_a_full_disk_in_a_pre_training_process_is_the_parent_s_one_error(job: Job, tmp_path: Path) -> None:
    (tmp_path / "base").write_text("a file where the folder should be")
    broken = replace(job, folder=tmp_path / "base" / "deeper")
    with pytest.raises(DiskError, match="chatfed resume"):
        together.in_processes(broken, 2, silent)


@pytest.mark.parametrize(
    ("error", "kind", "part"),
    [
        (OSError(28, "No space left on device", "weights"), DiskError, "weights"),
        (RuntimeError("No space left on device, in somebody's words"), ChatfedError, "RuntimeError: No space"),
        (ChatfedError("the very words"), ChatfedError, "the very words"),
        (ValueError("odd\nlines"), ChatfedError, "ValueError: odd"),
    ],
)
def test_a_process_that_fails_says_why_and_ends_without_a_traceback(
    job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[ChatfedError], part: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    for name, what in (("_train", fail), ("end_with_parent", lambda: None)):
        monkeypatch.setattr(together, name, what)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    here = multiprocessing.get_context()
    told = here.SimpleQueue()
    with pytest.raises(SystemExit) as end:
        together._take_part(job, 0, 1, torch.zeros(1), here.Barrier(1), told)
    assert end.value.code == 1
    said = told.get()
    assert type(said) is kind and part in str(said) and "\n" not in str(said)


def test_the_tokens_do_not_stay_when_pre_training_fails(
    public: list[tuple[Turn, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DiskError("full")

    monkeypatch.setattr(pretrain, "in_processes", fail)
    left = tmp_path / "base" / f".{pretrain.inputs_digest(public, TINY, PretrainSection())[:16]}-x"
    left.mkdir(parents=True)
    with pytest.raises(DiskError):
        pretrained_base(public, TINY, PretrainSection(), tmp_path, 1, silent)
    assert [path.suffix for path in (tmp_path / "base").iterdir()] == [".lock"]


def test_shared_memory_that_is_full_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: torch.Tensor) -> None:
        raise RuntimeError("unable to resize file </torch_1> to the right size: No space left on device (28)\nat ...")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(DiskError, match=r"No room in shared memory \(/dev/shm\)") as caught:
        together._shared(torch.zeros(3))
    assert "\n" not in str(caught.value)


def weights_of(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_recipe_gives_the_same_bytes_however_many_processes_train(
    job: Job, tmp_path: Path, precision: str
) -> None:
    section = PretrainSection(epochs=0.8, precision=precision)
    made: list[str] = []
    for workers in (1, 2, 1):
        each = replace(job, pretrain=section, folder=tmp_path / f"base-{len(made)}")
        made.append(weights_of(together.in_processes(each, workers, silent)))
    assert len(set(made)) == 1


def test_a_base_is_what_a_plain_loop_makes_bit_for_bit(job: Job, tmp_path: Path) -> None:
    """The obvious twin of one replica, which is the mean of itself: AdamW on one batch after the other, dropout on."""
    section = PretrainSection(epochs=0.4, replicas=1, precision="float32")
    alone = replace(job, pretrain=section, folder=tmp_path / "alone")
    made = together.in_processes(alone, 1, silent)
    torch.set_num_threads(1)
    table, (network, _) = open_tokens(job.tokens), job.build()
    network.train()
    optimizer = torch.optim.AdamW(replica._groups(trained := list(network.parameters())), betas=(0.9, 0.98), fused=True)
    batches = replica._batches(table, section.batch, np.random.default_rng(section.seed))
    examples, steps = DialogueExamples(table, np.arange(len(table)), TINY.context), alone.steps(table)
    for step, mine in zip(range(steps), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = section.learning_rate * replica.schedule(step / steps)
        replica._step(trained, optimizer, Whole(network, lower=False), examples, mine)
    untie_output(network)
    network.save_pretrained(tmp_path / "twin")
    assert weights_of(tmp_path / "twin") == weights_of(made)


def test_the_name_of_a_base_is_what_it_was_in_earlier_builds() -> None:
    """A base in somebody's cache is found again."""
    said = [[Turn("user", "my laptop will not start"), Turn("assistant", "hold the button", learn=False)]]
    section = PretrainSection(3.0, 2_500_000, 2, 4, 2e-3, "float32", 1)
    name = pretrain.inputs_digest(said, TINY, section)
    assert name[:16] == "93048f3f7b55e9c3", (pretrain.FORMAT, name)


def test_replicas_are_the_recipes_and_another_number_of_them_is_another_base(
    job: Job, public: list[tuple[Turn, ...]], tmp_path: Path
) -> None:
    one, two = (PretrainSection(epochs=0.4, replicas=count) for count in (1, 2))
    assert pretrain.inputs_digest(public, TINY, one) != pretrain.inputs_digest(public, TINY, two)
    made = [
        weights_of(together.in_processes(replace(job, pretrain=each, folder=tmp_path / f"{each.replicas}"), 2, silent))
        for each in (one, two)
    ]
    assert made[0] != made[1]


def test_what_changes_no_base_changes_no_name_and_what_changes_one_does(
    public: list[tuple[Turn, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(**given: Any) -> str:
        return pretrain.inputs_digest(public, TINY, PretrainSection(**given))

    assert name() == name(max_seconds=1.0)
    assert (
        len({name(), name(epochs=2.0), name(max_tokens=9), name(batch=5), name(seed=2), name(learning_rate=1e-3)}) == 6
    )
    monkeypatch.setattr(arithmetic, "SAID", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("flags : avx2 avx512_bf16")
    assert name() == name(precision="bfloat16") != name(precision="float32")
    (tmp_path / "cpuinfo").write_text("flags : avx2")
    assert name() == name(precision="float32"), "a processor without bfloat16 is not asked to try it"


def test_a_batch_of_context_alone_teaches_nothing_and_leaves_the_base_finite(
    job: Job, public: list[tuple[Turn, ...]], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    marked = [[replace(turn, learn=False) for turn in turns] for turns in public[:4]]
    table = write_tokens(tmp_path / "context", tiny_tokenizer, marked)
    network = job.build()[0]
    trained = list(network.parameters())
    optimizer = torch.optim.SGD(trained, lr=1.0)
    examples = DialogueExamples(table, np.arange(4), TINY.context)
    assert replica._step(trained, optimizer, Whole(network, lower=False), examples, np.arange(4)) == (0.0, 0.0)
    assert all(bool(torch.isfinite(p).all()) for p in network.parameters())


def test_public_text_of_which_less_is_learned_makes_another_base(public: list[tuple[Turn, ...]]) -> None:
    """Messages marked as context are no target of pre-training: a base that learned them is not to be found."""
    marked = [[replace(turns[0], learn=False), *turns[1:]] for turns in public]
    one, other = (pretrain.inputs_digest(each, TINY, PretrainSection()) for each in (public, marked))
    assert one != other


def test_steps_come_from_passes_and_from_tokens_and_from_no_clock(job: Job) -> None:
    table = open_tokens(job.tokens)
    a_pass = -(-len(table) // 8)

    def of(**given: Any) -> int:
        return replace(job, pretrain=PretrainSection(**given)).steps(table)

    assert of(epochs=1.0) == a_pass and of(epochs=0.0) == 1
    assert of(epochs=1.0, replicas=1) == -(-len(table) // 4)
    assert of(epochs=9.0, max_tokens=table.tokens) == a_pass
    assert of(epochs=9.0, max_tokens=0) == -(-9 * len(table) // 8)


def test_a_base_that_the_time_limit_cut_says_so_and_is_not_found_for_a_whole_one(
    public: list[tuple[Turn, ...]], tmp_path: Path
) -> None:
    late = PretrainSection(epochs=1.5, max_seconds=1e-6)
    cut = pretrained_base(public, TINY, late, tmp_path, 1, silent)
    about = pretrain.about_pretraining(cut)
    assert about is not None and about["cut"] and (about["done"], about["steps"]) == (8, 12)
    assert "-cut-8-of-12" in cut.name and "not the base that its recipe names" in (cut / "README.md").read_text()
    whole = pretrained_base(public, TINY, replace(late, max_seconds=0), tmp_path, 1, silent)
    about = pretrain.about_pretraining(whole)
    assert about is not None and not about["cut"] and about["done"] == about["steps"] == 12 and whole != cut
    assert about["precision"] in (whole / "README.md").read_text()
    assert pretrained_base(public, TINY, late, tmp_path, 1, silent) == whole, "the whole one is found, in no time"
    assert weights_of(cut) != weights_of(whole)


def test_the_time_limit_counts_from_the_start_tokenizer_and_all(
    public: list[tuple[Turn, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def slowly(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
        time.sleep(0.3)
        return train_tokenizer(texts, vocabulary)

    monkeypatch.setattr(pretrain, "train_tokenizer", slowly)
    monkeypatch.setattr(pretrain, "in_processes", lambda job, *_: jobs.append(job))
    began = time.monotonic()
    pretrained_base(public, TINY, PretrainSection(max_seconds=100), tmp_path, 1, silent)
    assert began + 99 < jobs[0].ends <= began + 100.2
    pretrained_base(public, TINY, PretrainSection(max_seconds=0), tmp_path, 1, silent)
    assert jobs[1].ends == math.inf


def test_a_base_that_was_not_made_here_tells_nothing_of_its_pretraining(tmp_path: Path) -> None:
    assert pretrain.about_pretraining("somebody/small-model") is None
    (tmp_path / together.ABOUT).write_text("[]")
    assert pretrain.about_pretraining(tmp_path) is None


def test_padding_to_a_multiple_changes_no_loss(
    public: list[tuple[Turn, ...]], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    table = write_tokens(tmp_path / "table", tiny_tokenizer, public[:5])
    model = build_llama(Architecture(16, 1, 2, 32, 50), tiny_tokenizer, 1).train(False)
    rows, _ = DialogueExamples(table, np.arange(5), 50).rows(np.arange(5))
    plain = next_token_loss(model, rows)
    torch.testing.assert_close(next_token_loss(model, rows, 16), plain)
    few = {name: tensor[:, :21] for name, tensor in rows.items()}
    torch.testing.assert_close(next_token_loss(model, few, 16), next_token_loss(model, few))


def test_a_step_in_bfloat16_goes_nearly_where_one_in_float32_goes(job: Job, public: list[tuple[Turn, ...]]) -> None:
    network, _ = job.build()
    examples = DialogueExamples(open_tokens(job.tokens), np.arange(4), 64)
    losses = {lower: Whole(network, lower).of(examples, np.arange(4)) for lower in (False, True)}
    assert losses[False][1] == losses[True][1]
    assert losses[True][0].item() == pytest.approx(losses[False][0].item(), rel=0.01)


def test_the_second_of_two_runs_at_once_finds_the_base_of_the_first(
    public: list[tuple[Turn, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make(job: Job, *_: object) -> None:
        time.sleep(0.1)
        job.folder.mkdir()
        (job.folder / "config.json").touch()
        made.append(job.folder)

    monkeypatch.setattr(pretrain, "_make", make)
    asked = (public, TINY, PretrainSection(), tmp_path, 1, silent)
    threads = [threading.Thread(target=pretrained_base, args=asked) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1
