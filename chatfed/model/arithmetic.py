"""Which arithmetic the processor says that it has. Nothing is measured: a busy machine answers as a quiet one."""

from __future__ import annotations

from pathlib import Path

import torch

SAID = Path("/proc/cpuinfo")


def has_bfloat16() -> bool:
    """Whether products in bfloat16 are the processor's own: elsewhere they are slower than float32 by far."""
    try:
        return b"bf16" in SAID.read_bytes()
    except OSError:
        return False


def has_int8() -> bool:
    """Whether torch takes weights of 8 bits with the processor's wide instructions: elsewhere one by one."""
    return torch.backends.cpu.get_cpu_capability().startswith(("AVX2", "AVX512"))
