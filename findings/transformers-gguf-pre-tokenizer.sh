#!/bin/sh
# transformers 5.24.0 (PyPI), seen 2026-11-29: a GGUF file's pre-tokenizer is not read; GPT-2's is taken without a word.
#
# Input: a GGUF file with a byte-level BPE tokenizer whose field tokenizer.ggml.pre is "smollm": each digit is a piece
# of its own. Its vocabulary has a merge of "1" and "2" all the same.
# Expected: "12" gives two tokens, "1" and "2", as the tokenizer named by the field does.
# Seen: AutoTokenizer.from_pretrained(gguf_file=...) gives one token, "12": GPT-2's pieces, whatever the field says. A
# file that says "gpt-2" gives the same.
#
# Exits 0 while this stands, 1 when it has changed. Needs Python 3.11 or later and a package registry.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "transformers==5.24.0" "gguf==0.19.0" "torch>=2.13,<2.14" "numpy>=2"
cd "$work"
HF_HOME="$work/home" HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import sys

import gguf
from transformers import AutoTokenizer

KEPT = {*range(33, 127), *range(161, 173), *range(174, 256)}
others = iter(range(256, 512))
letters = [chr(byte) if byte in KEPT else chr(next(others)) for byte in range(256)]
tokens = ["<|endoftext|>", *letters, "12"]


def pieces(pre):
    writer = gguf.GGUFWriter(f"{pre}.gguf", "llama")
    for name, size in (("block_count", 1), ("context_length", 16), ("embedding_length", 8), ("feed_forward_length", 8)):
        writer.add_uint32(f"llama.{name}", size)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, *[1] * 257])
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return AutoTokenizer.from_pretrained(".", gguf_file=f"{pre}.gguf").tokenize("12")


smollm, gpt2 = pieces("smollm"), pieces("gpt-2")
print("smollm:", smollm, "gpt-2:", gpt2)
sys.exit(0 if smollm == gpt2 == ["12"] else 1)
PYTHON
