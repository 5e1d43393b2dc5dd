#!/bin/sh
# transformers 5.24.0 (PyPI), seen 2026-11-30: whoever imports a text model also imports torch's compiler, its distributed
# checkpoints, sympy, and the losses of object detectors with scipy.optimize. With torch 2.13.0 and scipy 1.17.1.
#
# Input: torch and transformers are imported, then LlamaForCausalLM, in one process without anything else; processor seconds
# and new modules are counted.
# Expected: transformers loads lazily, so that a class brings what it computes with; a Llama that reads token ids detects no
# objects, compiles nothing and is not distributed.
# Seen: the import of the one class takes longer than that of torch and transformers together (4.5 and 3.5 s of a processor,
# EPYC), and brings 1,438 modules; among them torch._dynamo, torch.distributed.checkpoint, sympy,
# transformers.loss.loss_for_object_detection and scipy.optimize, the last only where scipy is installed.
#
# Exits 0 while this stands, 1 when it has changed. Needs Python 3.11 and a package registry.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "torch==2.13.0"
"$work/venv/bin/python" -m pip install --quiet "transformers==5.24.0" "scipy==1.17.1" "numpy>=2"
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
import time

import torch
import transformers

before, began, first = set(sys.modules), time.process_time(), time.process_time()
from transformers import LlamaForCausalLM

took = time.process_time() - began
new = set(sys.modules) - before
wanted = (
    "torch._dynamo", "torch.distributed.checkpoint", "sympy",
    "transformers.loss.loss_for_object_detection", "scipy.optimize",
)
print(f"{first:.1f} s for torch and transformers, {took:.1f} s for {LlamaForCausalLM.__name__}: {len(new):,} modules")
print({name: name in new for name in wanted})
sys.exit(0 if all(name in new for name in wanted) else 1)
PYTHON
