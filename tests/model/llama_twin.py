"""A Llama read straight from a GGUF file and computed in float64, slowly: what conversions are held against.

Blocks are taken apart here, and queries and keys are turned pair by pair as GGUF stores them: nothing of ours, of
transformers or of the `gguf` package's quantisation is used but where the file says its tensors lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.model.gguf import GgufFile

Numbers = NDArray[np.float64]
F32, F16, Q4_1, Q8_0 = 0, 1, 3, 8


def logits(stored: GgufFile, ids: list[int]) -> Numbers:
    """What the model expects after each token: float64[n, vocabulary]."""
    fields = stored.fields
    embedding = values(stored, "token_embd.weight")
    hidden = embedding[ids]
    for layer in range(fields["llama.block_count"]):

        def weight(name: str, layer: int = layer) -> Numbers:
            return values(stored, f"blk.{layer}.{name}.weight")

        hidden = hidden + attention(fields, normed(fields, hidden, weight("attn_norm")), weight)
        inner = normed(fields, hidden, weight("ffn_norm"))
        gate = inner @ weight("ffn_gate").T
        hidden = hidden + (gate / (1 + np.exp(-gate)) * (inner @ weight("ffn_up").T)) @ weight("ffn_down").T
    last = normed(fields, hidden, values(stored, "output_norm.weight"))
    output = values(stored, "output.weight") if "output.weight" in stored.tensors else embedding
    return last @ output.T


def attention(fields: Any, inner: Numbers, weight: Any) -> Numbers:
    heads, groups = fields["llama.attention.head_count"], fields["llama.attention.head_count_kv"]
    length = len(inner)

    def split(name: str, count: int) -> Numbers:
        return np.asarray(inner @ weight(name).T).reshape(length, count, -1)

    queries, keys = turned(fields, split("attn_q", heads)), turned(fields, split("attn_k", groups))
    said = split("attn_v", groups)
    out = np.zeros(queries.shape)
    for head in range(heads):
        group = head * groups // heads
        for at in range(length):
            scores = keys[: at + 1, group] @ queries[at, head] / np.sqrt(queries.shape[-1])
            shares = np.exp(scores - scores.max())
            out[at, head] = shares @ said[: at + 1, group] / shares.sum()
    return np.asarray(out.reshape(length, -1) @ weight("attn_output").T)


def turned(fields: Any, vectors: Numbers) -> Numbers:
    """Neighbouring pairs turned by their position: float64[n, heads, width]."""
    length, _, width = vectors.shape
    angles = np.arange(length)[:, None] * fields["llama.rope.freq_base"] ** (-np.arange(0, width, 2) / width)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    even, odd = vectors[..., 0::2], vectors[..., 1::2]
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(vectors.shape)


def normed(fields: Any, hidden: Numbers, weight: Numbers) -> Numbers:
    epsilon = fields["llama.attention.layer_norm_rms_epsilon"]
    normal: Numbers = hidden / np.sqrt((hidden**2).mean(-1, keepdims=True) + epsilon) * weight
    return normal


def values(stored: GgufFile, name: str) -> Numbers:
    """One tensor as its blocks say: of 32 numbers a scale, in Q4_1 a least value too, and 4 or 8 bits for each."""
    tensor = stored.tensors[name]
    with stored.path.open("rb") as file:
        file.seek(tensor.start)
        raw = file.read(tensor.size)
    if tensor.kind in (F32, F16):
        return np.frombuffer(raw, "<f4" if tensor.kind == F32 else "<f2").astype(np.float64).reshape(tensor.shape)
    if tensor.kind == Q8_0:
        blocks = np.frombuffer(raw, [("scale", "<f2"), ("steps", "i1", 32)])
        found = blocks["scale"].astype(np.float64)[:, None] * blocks["steps"]
    else:
        assert tensor.kind == Q4_1
        blocks = np.frombuffer(raw, [("scale", "<f2"), ("least", "<f2"), ("steps", "u1", 16)])
        steps = np.concatenate([blocks["steps"] & 15, blocks["steps"] >> 4], 1)  # low halves are the first 16
        found = blocks["scale"].astype(np.float64)[:, None] * steps + blocks["least"].astype(np.float64)[:, None]
    return np.asarray(found).reshape(tensor.shape)
