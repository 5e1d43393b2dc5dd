"""Memory given back that nobody reads: pages of a mapped file, and what the allocator holds. Knows no model.

A process that has what it needs of its weights elsewhere, in another precision, would hold the file's for nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

_PRESENT, _OF_A_FILE = np.uint64(1 << 63), np.uint64(1 << 61)  # Linux, Documentation/admin-guide/mm/pagemap.rst
_DONTNEED = 4  # of madvise(2)


def let_go(tensors: Iterable[Tensor]) -> int:
    """Gives back the memory of those pages of the tensors that are a file's as it is on the disk -> bytes.

    They come back when they are read. A page that was written to since it was mapped is no longer the file's, as the
    kernel says page by page, and stays; so does memory that never was. Elsewhere than on Linux nothing is given back.
    """
    if sys.platform != "linux":
        return 0
    return sum(_given_back(begin, end) for each in tensors for begin, end in _unchanged(each))


def trim() -> None:
    """Has the allocator give the system back what was freed (glibc's; another one keeps it)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _unchanged(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """From where to where, in addresses, whole pages of a tensor are in memory, and a file's."""
    if tensor.device.type != "cpu" or not tensor.is_contiguous():
        return
    size, begin = mmap.PAGESIZE, tensor.data_ptr()
    first, last = -(-begin // size), (begin + tensor.numel() * tensor.element_size()) // size
    if first >= last:
        return
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            file.seek(8 * first)
            pages = np.frombuffer(file.read(8 * (last - first)), np.uint64)
    except OSError:  # a sandbox without it
        return
    wanted = _PRESENT | _OF_A_FILE
    edges = np.flatnonzero(np.diff(np.concatenate([[False], pages & wanted == wanted, [False]])))
    for start, stop in edges.reshape(-1, 2):
        yield size * (first + int(start)), size * (first + int(stop))


def _given_back(begin: int, end: int) -> int:
    call = ctypes.CDLL(None).madvise
    failed = call(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _DONTNEED)
    return 0 if failed else end - begin
