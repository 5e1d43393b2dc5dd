"""Adapters on a frozen base, from the command line to the chat: what is trained, summed, saved and served."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import chatfed
from benchmarks.simulation_watch import pss_mib
from chatfed import Turn
from chatfed.model.adapters import Adapters, attach
from chatfed.model.checkpoint import weights_digest
from chatfed.model.transformer import load_model
from chatfed.privacy.dpsgd import DPSGDConfig, train_private
from chatfed.types import IntVector
from serving.run_folder import read_run_folder
from tests.training.bases import TINY, write_base
from tests.training.processes import PLAIN, here, one_line, rows, settings, start
from tests.training.processes import TINY as TINY_MODEL
from training.base.evaluation import evaluate
from training.base.tokens import next_token_loss, open_tokens, private_token_loss
from training.run.run_folder import RunFolder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

HUNDRED_MILLION = {
    "gpt2": {"vocab_size": 32000, "n_embd": 768, "n_layer": 11, "n_head": 12, "n_positions": 512},
    "llama": {
        "vocab_size": 32000,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 8,
        "num_attention_heads": 12,
        "max_position_embeddings": 512,
    },
}
UNITS = {"gpt2": "client", "llama": "example"}
OF_UNIT = {
    "example": settings(privacy__unit="example", privacy__noise="local", privacy__expected_batch_size=2),
    "client": settings(privacy__unit="client", privacy__noise="distributed", secagg__threshold=0.75, local__batch=1),
}


@dataclass(frozen=True)
class Finished:
    """A run on adapters."""

    folder: Path
    base: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return facts


@pytest.fixture(scope="module")
def few(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dialogues of each client."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("private", "held_out"):
        kept: dict[str, list[str]] = {}
        for line in (tiny_data / f"{name}.jsonl").read_text().splitlines():
            kept.setdefault(json.loads(line)["client_id"], []).append(line + "\n")
        (folder / f"{name}.jsonl").write_text("".join(line for lines in kept.values() for line in lines[:2]))
    return folder


def options(data: Path, base: Path, out: Path, unit: str) -> list[str | Path]:
    speed = settings(runtime__evaluation_dialogues=4, model__lora_rank=4, model__lora_alpha=8)
    of_files = ("--data", data / "private.jsonl", "--validation", data / "held_out.jsonl", "--base", base)
    return [*of_files, "--recipe", PLAIN, "--rounds", "2", "--cohort", "4", "--out", out, *speed, *OF_UNIT[unit]]


@pytest.fixture(scope="module", params=TINY)
def finished(
    few: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Finished:
    """Two rounds on a tiny base: a GPT-2 whose clients are protected, a Llama whose dialogues are."""
    place = tmp_path_factory.mktemp(request.param)
    base = write_base(place / "base", request.param, TINY[request.param], tiny_tokenizer)
    done = here(*options(few, base, place / "out", UNITS[request.param]), *settings(runtime__workers=1))
    assert done.returncode == 0, done.stderr
    return Finished(place / "out", base)


def assert_plain_peft_agrees(run: Finished) -> None:
    """Peft alone, on the base that was given, and the base that the folder names: the same logits as the chat's."""
    from peft import AutoPeftModelForCausalLM, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = torch.tensor([AutoTokenizer.from_pretrained(run.model)("my laptop will not start")["input_ids"]])
    base = AutoModelForCausalLM.from_pretrained(run.base)
    with torch.inference_mode():
        bare = base(input_ids=ids).logits
        plain = PeftModel.from_pretrained(base, run.model)(input_ids=ids).logits
        named = AutoPeftModelForCausalLM.from_pretrained(run.model)(input_ids=ids).logits
        chat = chatfed.load_chat(run.model).model(input_ids=ids).logits
    assert torch.equal(plain, chat) and torch.equal(named, chat)
    assert float((plain - bare).abs().max()) > 1e-4, "two rounds moved the model"


def test_the_saved_adapters_are_plain_peft_s(finished: Finished) -> None:
    names = {path.name for path in finished.model.iterdir()}
    assert names >= {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md"}
    assert not names & {"config.json", "model.safetensors"}
    config = json.loads((finished.model / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0)
    assert Path(config["base_model_name_or_path"]) == finished.base
    assert f'base_model: "{finished.base}"' in (finished.model / "README.md").read_text()
    assert_plain_peft_agrees(finished)


def test_adapters_alone_are_trained_summed_and_saved(finished: Finished) -> None:
    saved = load_file(finished.model / "adapter_model.safetensors")
    assert all(".lora_A." in name or ".lora_B." in name for name in saved)
    assert finished.facts["trainable_parameters"] == sum(tensor.numel() for tensor in saved.values())
    assert finished.facts["parameters"] > 10 * finished.facts["trainable_parameters"]
    base, _ = load_model(finished.base)
    attach(base, Adapters(4, 8.0))
    stored = RunFolder(finished.folder).latest()
    assert stored is not None and stored.base == weights_digest(base), "what rounds are bound to"
    assert any(tensor.any() for name, tensor in saved.items() if ".lora_B." in name)
    kept = rows(finished.folder)
    assert [row["survivors"] for row in kept] == [4, 4]
    assert all(row["bytes_up"] < 4 * (8 * finished.facts["trainable_parameters"] + 9_000) for row in kept)


def assert_chat_is_what_was_measured(run: Finished) -> None:
    """The chat's model scores the held-out dialogues as the run did, and it talks."""
    chat = chatfed.load_chat(run.model)
    table = open_tokens(run.folder / "state" / "held-out")
    found = evaluate(chat.model, table, np.arange(len(table)), min(256, chat.context)).result()
    assert found.bits_per_byte == pytest.approx(run.facts["after"]["bits_per_byte"], rel=1e-5)
    assert found.words == run.facts["after"]["words"]
    reply = chatfed.Generation(max_new_tokens=3, temperature=1.0, seed=1)
    assert isinstance(chat.reply([Turn("user", "my laptop will not start")], reply), str)
    assert len(chat.word_log_probs("my laptop")) == 2 and chat.suggest("my ")


def test_the_chat_runs_on_base_and_adapters_as_they_were_measured(finished: Finished) -> None:
    assert_chat_is_what_was_measured(finished)


def test_serving_finds_the_claim_and_takes_the_base_for_reference(finished: Finished) -> None:
    run = read_run_folder(finished.model)
    assert run.privacy is not None and not run.no_claim and run.reference == finished.base
    assert (
        run.privacy["model_sha256"]
        == hashlib.sha256((finished.model / "adapter_model.safetensors").read_bytes()).hexdigest()
    )
    assert not (finished.folder / "reference").exists(), "a base that was there before is not copied"


def test_a_base_that_the_run_made_is_kept_beside_its_adapters(few: Path, tiny_data: Path, tmp_path: Path) -> None:
    sizes = settings(**{f"model__{part.partition('=')[0]}": part.partition("=")[2] for part in TINY_MODEL[:-1]})
    given = settings(
        runtime__cache=f'"{tmp_path / "cache"}"', runtime__workers=1, runtime__evaluation_dialogues=4,
        pretrain__epochs=0.1, model__lora_rank=2, model__lora_targets='["all-linear"]', privacy__sampling_rate=0.1,
    )  # fmt: skip
    done = here(
        *("--data", few / "private.jsonl", "--validation", few / "held_out.jsonl"),
        *("--public", tiny_data / "public.jsonl", "--rounds", "1", "--cohort", "2", "--out", tmp_path / "out"),
        *("--recipe", PLAIN, *sizes, *given),
    )
    assert done.returncode == 0, done.stderr
    (base,) = (path for path in (tmp_path / "cache" / "base").iterdir() if path.is_dir())
    run = Finished(tmp_path / "out", base)
    assert_plain_peft_agrees(run)
    shutil.rmtree(base)
    assert_chat_is_what_was_measured(run)  # on the copy in reference/
    assert read_run_folder(run.model).reference == run.folder / "reference"


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"model__lora_targets": '["q_prjo"]'}, ["model.lora_targets", "'q_prjo'", "q_proj"]),
        ({"model__lora_targets": '["input_layernorm"]'}, ["model.lora_targets", "is not supported"]),
        ({"model__trainable": '["all"]'}, ["model.lora_rank", "model.trainable"]),
    ],
)
def test_adapters_that_fit_nothing_are_refused_before_anything_is_trained(
    given: dict[str, str], parts: list[str], few: Path, tiny_data: Path, tmp_path: Path
) -> None:
    files = ("--data", few / "private.jsonl", "--validation", few / "held_out.jsonl")
    data = (*files, "--public", tiny_data / "public.jsonl", "--out", tmp_path / "out")
    cache = settings(runtime__cache=f'"{tmp_path / "cache"}"', model__lora_rank=2, federation__cohort=4)
    one_line(here(*data, *cache, *settings(**given)), *parts, code=2)
    assert not (tmp_path / "cache" / "base").exists()


def test_adapters_as_a_base_are_refused_by_name(finished: Finished, few: Path, tmp_path: Path) -> None:
    done = here(*options(few, finished.model, tmp_path / "out", "example"))
    one_line(done, str(finished.model), "holds adapters", code=2)


# Private steps


@dataclass(frozen=True)
class Rows:
    """Each row a dialogue."""

    batch: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.batch["ids"])

    def rows(self, indices: IntVector) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        return {key: value[indices] for key, value in self.batch.items()}, torch.arange(len(indices))


def some_rows() -> Rows:
    ids = torch.randint(0, 400, (5, 13), generator=torch.Generator().manual_seed(2))
    return Rows({"ids": ids[:, :-1], "targets": ids[:, 1:], "weights": torch.full((5, 12), 1 / 12)})


def adapted(folder: Path, *targets: str) -> tuple[PreTrainedModel, list[torch.nn.Parameter]]:
    """A base, its dropout off, with adapters that do something already; otherwise half of the gradients are 0."""
    model, _ = load_model(folder)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    attach(model, Adapters(3, 6.0, targets))
    for name, p in model.named_parameters():
        if p.requires_grad and "lora_B" in name:
            with torch.no_grad():
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    return model, [p for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("targets", [(), ("all-linear",)])
@pytest.mark.parametrize("at_once", [1, 4])
def test_a_private_step_on_adapters_is_the_clipped_sum_of_single_dialogues_gradients(
    kind: str, targets: tuple[str, ...], at_once: int, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder, data, clip = write_base(tmp_path / "base", kind, TINY[kind], tiny_tokenizer), some_rows(), 0.5
    model, trained = adapted(folder, *targets)
    before = [p.detach().clone() for p in trained]
    expected = [torch.zeros_like(p) for p in trained]
    for row in range(len(data)):
        one = {key: value[row : row + 1] for key, value in data.batch.items()}
        found = torch.autograd.grad(next_token_loss(model, one).sum(), trained)
        norm = float(torch.stack([g.norm() for g in found]).norm())
        expected = [e + g * min(1.0, clip / norm) for e, g in zip(expected, found, strict=True)]
    config = DPSGDConfig(clip, 0.0, 1.0, 5.0, 1, 1.0, dialogues_at_once=at_once)
    train_private(model, data, private_token_loss, config)
    for p, was, total in zip(trained, before, expected, strict=True):
        assert float((was - p.detach() - total / 5).norm()) <= 2e-4 * float(total.norm() / 5) + 1e-7


def test_adapters_on_the_output_layer_are_in_the_private_loss(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model, _ = adapted(write_base(tmp_path / "base", "llama", TINY["llama"], tiny_tokenizer), "lm_head")
    batch = some_rows().batch
    assert torch.allclose(private_token_loss(model, batch), next_token_loss(model, batch))


# A base of about 100 M parameters: make test-big


class Memory(threading.Thread):
    """The most memory that the processes of a session take together, each page counted once (PSS), MiB."""

    def __init__(self, leader: int) -> None:
        super().__init__(daemon=True)
        self.leader, self.most, self.over = leader, 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.2):
            self.most = max(self.most, pss_mib(self.leader))


@pytest.mark.big
@pytest.mark.parametrize("kind", HUNDRED_MILLION)
def test_a_hundred_million_parameters_are_trained_in_four_gigabytes(
    kind: str, few: Path, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", kind, HUNDRED_MILLION[kind], tiny_tokenizer)
    os.sync()  # pages that are not on the disk yet count as anybody's
    began = time.monotonic()
    process = start(*options(few, base, tmp_path / "out", UNITS[kind]))
    memory = Memory(process.pid)
    memory.start()
    said, _ = process.communicate(timeout=900)
    memory.over.set()
    assert process.returncode == 0, said
    run = Finished(tmp_path / "out", base)
    print(f"{kind}: {run.facts['parameters']:,} parameters, {run.facts['trainable_parameters']:,} trained, "
          f"{memory.most:.0f} MiB together, {time.monotonic() - began:.0f} s")  # fmt: skip
    assert run.facts["parameters"] > 95_000_000 and run.facts["trainable_parameters"] < 300_000
    assert 500 < memory.most < 4096
    assert_plain_peft_agrees(run)
    assert_chat_is_what_was_measured(run)
