#!/bin/sh
# transformers 5.24.0 (PyPI), seen 2026-11-29: a model that came from a GGUF file cannot be saved, though nothing in it is
# quantized any more, nor was in the file.
#
# Input: a GGUF file of a tiny Llama whose tensors are all float32.
# Expected: AutoModelForCausalLM.from_pretrained(gguf_file=...) says that it converts and dequantizes, and gives float32
# weights; save_pretrained then writes them, as for any model of such weights.
# Seen: all weights are float32, and save_pretrained raises ValueError: the model is quantized with gguf and is not
# serializable.
#
# Exits 0 while this stands, 1 when it has changed. Needs Python 3.11 or later and a package registry.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "transformers==5.24.0" "accelerate==1.15.0" "gguf==0.19.0" "torch>=2.13,<2.14" "numpy>=2"
cd "$work"
HF_HOME="$work/home" HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import sys
import gguf
import numpy as np
from transformers import AutoModelForCausalLM

WIDTH, INNER, TOKENS = 32, 64, 256
writer = gguf.GGUFWriter("tiny.gguf", "llama")
sizes = {"block_count": 1, "context_length": 16, "embedding_length": WIDTH, "feed_forward_length": INNER}
for name, size in sizes.items():
    writer.add_uint32(f"llama.{name}", size)
writer.add_head_count(1)
writer.add_head_count_kv(1)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_vocab_size(TOKENS)
random = np.random.default_rng(0)
shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH)}
shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
tensors = {f"blk.0.{name}.weight": shape for name, shape in shapes.items()}
tensors |= {"token_embd.weight": (TOKENS, WIDTH), "output.weight": (TOKENS, WIDTH)}
for name, shape in tensors.items():
    writer.add_tensor(name, random.standard_normal(shape).astype(np.float32))
for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
    writer.add_tensor(name, np.ones(WIDTH, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
model = AutoModelForCausalLM.from_pretrained(".", gguf_file="tiny.gguf")
kinds = {str(p.dtype) for p in model.parameters()}
try:
    model.save_pretrained("saved")
    said = "saved"
except ValueError as error:
    said = str(error)
print(kinds, said)
sys.exit(0 if kinds == {"torch.float32"} and "not serializable" in said else 1)
PYTHON
