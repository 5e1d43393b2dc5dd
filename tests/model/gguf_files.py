"""Tiny Llamas as GGUF files, written by the format's own package, right or wrong in one thing."""

from __future__ import annotations

import hashlib
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Stored
from gguf import TokenType

from tests.model.bpe_twin import byte_letters, drawn_texts

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WIDTH, HEADS, GROUPS, INNER, LAYERS, CONTEXT = 64, 4, 2, 96, 2, 96


@cache
def tokens_and_merges() -> tuple[list[str], list[str]]:
    """A vocabulary in which digits are merged too, so that who splits them not must give other tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [*drawn_texts(300, seed=2), *("12 123 2024 1234 the then there" for _ in range(9))]
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=500, show_progress=False))
    merges = [" ".join(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    letters = [each for each in byte_letters() if each != byte_letters()[4]]  # one byte has no token
    usable = [merge for merge in merges if byte_letters()[4] not in merge]
    return [*CONTROL, *letters, *(merge.replace(" ", "") for merge in usable)], usable


def write_gguf(path: Path, leave: str = "", more: str = "", short: str = "", tied: bool = True, **changed: Any) -> Path:
    """A random Llama of 30,000 numbers in Q4_1, Q8_0 and F32.

    leave, more, short: a tensor that is left out, added, or has another size. changed: arch, pre, model, chat, bos,
    or fields by their name with __ for each dot (None: left out).
    """
    tokens, merges = tokens_and_merges()
    writer = gguf.GGUFWriter(path, changed.pop("arch", "llama"))
    fields: dict[str, Any] = {
        "general__name": "Tiny",
        "general__license": "apache-2.0",
        "llama__block_count": LAYERS,
        "llama__context_length": CONTEXT,
        "llama__embedding_length": WIDTH,
        "llama__feed_forward_length": INNER,
        "llama__attention__head_count": HEADS,
        "llama__attention__head_count_kv": GROUPS,
        "llama__attention__layer_norm_rms_epsilon": 1e-5,
        "llama__rope__freq_base": 5000.0,
        "tokenizer__ggml__model": "gpt2",
        "tokenizer__ggml__pre": "smollm",
        "tokenizer__ggml__tokens": tokens,
        "tokenizer__ggml__token_type": [int(TokenType.CONTROL if t in CONTROL else TokenType.NORMAL) for t in tokens],
        "tokenizer__ggml__merges": merges,
        "tokenizer__ggml__bos_token_id": 1,
        "tokenizer__ggml__eos_token_id": 2,
        "tokenizer__ggml__padding_token_id": 2,
        "tokenizer__chat_template": CHAT,
        **changed,
    }
    for name, value in fields.items():
        if value is not None:
            _add(writer, name.replace("__", "."), value)
    for name, values, kind in _tensors(len(tokens), tied, more):
        if name != leave:
            shown = values[: len(values) // 2] if name == short else values
            writer.add_tensor(name, gguf.quantize(shown, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    kinds.get(type(value), writer.add_array)(name, value)  # type: ignore[operator]


def _tensors(vocabulary: int, tied: bool, more: str) -> list[tuple[str, Any, Stored]]:
    rng = np.random.default_rng(3)

    def drawn(*shape: int) -> Any:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    side = WIDTH // HEADS * GROUPS
    found = [
        ("token_embd.weight", drawn(vocabulary, WIDTH), Stored.Q8_0),
        ("output_norm.weight", drawn(WIDTH), Stored.F32),
    ]
    found += [] if tied else [("output.weight", drawn(vocabulary, WIDTH), Stored.Q8_0)]
    found += [(more, drawn(WIDTH), Stored.F32)] if more else []
    sizes = {"attn_q": (WIDTH, WIDTH), "attn_k": (side, WIDTH), "attn_v": (side, WIDTH), "attn_output": (WIDTH, WIDTH)}
    sizes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    for layer in range(LAYERS):
        found += [(f"blk.{layer}.{name}.weight", drawn(*size), Stored.Q4_1) for name, size in sizes.items()]
        found += [(f"blk.{layer}.{name}.weight", 1 + drawn(WIDTH), Stored.F32) for name in ("attn_norm", "ffn_norm")]
    return found


def write_wheel(folder: Path, file: Path, ran: Path) -> Path:
    """A package that holds `file`, and code that would leave the file `ran` if it were run."""
    wheel = folder / "llm_tiny-1.0-py3-none-any.whl"
    about = "Metadata-Version: 2.1\nName: llm-tiny\nVersion: 1.0\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_tiny/__init__.py", f"open({str(ran)!r}, 'w').close()\n")
        archive.write(file, f"llm_tiny/{file.name}")
        archive.writestr("llm_tiny-1.0.dist-info/METADATA", about)
        archive.writestr(
            "llm_tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_tiny-1.0.dist-info/RECORD", "")
    return wheel


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
