"""Llama.cpp itself reads our GGUF files: its tokenizer gives our ids, its logits are ours. Needs llama-cpp-python.

That is built on the spot where there is no wheel of it, in some minutes: `make test-peers` does so, and runs this.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chatfed.model.checkpoint import save_model
from chatfed.model.to_gguf import write_as_gguf
from chatfed.model.transformer import load_model, load_tokenizer
from tests.model.bpe_twin import drawn_texts
from tests.model.test_to_gguf import biased

pytestmark = pytest.mark.peers
TYPED = [
    "<|end|> typed by a person",
    "a <|user|> b",
    "  two  blanks\n\n\n end ",
    "1234 it's 5x",
    "ünïcödé 你好 🙂",
    "\t\t x",
]


@pytest.fixture(scope="module")
def folder(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama") / "tiny"
    save_model(folder, biased(tiny_tokenizer), tiny_tokenizer, "# tiny\n")
    return folder


@pytest.fixture(scope="module", params=["f32", "f16", "bf16"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def llama(folder: Path, kind: str) -> Any:
    llama_cpp: Any = importlib.import_module("llama_cpp")  # only in .venv-peers

    file = folder.parent / f"{kind}.gguf"
    write_as_gguf(folder, file, kind)
    options = {"n_ctx": 64, "n_batch": 64, "n_threads": 1, "logits_all": True, "verbose": False}
    options |= {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}  # its cache is of float16 else
    return llama_cpp.Llama(str(file), **options)


def test_its_tokens_are_ours_for_200_texts_and_typed_markers_are_text(llama: Any, folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    special = set(tokenizer.all_special_ids)
    texts = [*drawn_texts(200), *TYPED]
    for text in texts:
        ours = tokenizer.backend_tokenizer
        ours.encode_special_tokens = True  # markers are text, as in our own prompts
        wanted = ours.encode(text, add_special_tokens=False).ids
        found = llama.tokenize(text.encode(), add_bos=False, special=False)
        assert found == wanted and not special & set(found), text


def test_markers_are_markers_where_it_is_asked_to_read_them(llama: Any, folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    prompt: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": "my laptop"}], add_generation_prompt=True, tokenize=False
    )
    wanted = tokenizer(prompt)["input_ids"]
    assert llama.tokenize(prompt.encode(), add_bos=False, special=True) == wanted
    assert llama.token_eos() == tokenizer.eos_token_id and llama.metadata["tokenizer.chat_template"]


def test_its_logits_are_ours(llama: Any, folder: Path, kind: str) -> None:
    model, _ = load_model(folder)
    near = {"f32": 1e-4, "f16": 5e-3, "bf16": 4e-2}[kind]
    rng = np.random.default_rng(1)
    for _ in range(5):
        ids = rng.integers(6, model.config.vocab_size, 40).tolist()
        llama.reset()
        llama.eval(ids)
        found = np.array(llama.scores[: len(ids)])
        with torch.inference_mode():
            wanted = model(input_ids=torch.tensor([ids])).logits[0].numpy()
        assert np.abs(found - wanted).max() < near * np.abs(wanted).max()
