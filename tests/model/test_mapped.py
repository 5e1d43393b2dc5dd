"""Memory of a mapped file is given back page by page, and nothing that was written is lost with it."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from chatfed.model.mapped import let_go

NUMBERS = 1 << 20  # float32: 4 MB
PAGE = mmap.PAGESIZE // 4  # numbers
linux = pytest.mark.skipif(not os.access("/proc/self/pagemap", os.R_OK), reason="only Linux says whose a page is")


def of_a_file(path: Path) -> Tensor:
    """Numbers that are the pages of a file, every one read."""
    torch.arange(NUMBERS, dtype=torch.float32).numpy().tofile(path)
    found = torch.from_file(str(path), shared=False, size=NUMBERS, dtype=torch.float32)
    assert float(found.sum()) > 0
    return found


@linux
def test_pages_of_a_file_are_given_back_once_and_come_back_as_they_were(tmp_path: Path) -> None:
    numbers = of_a_file(tmp_path / "numbers")
    assert let_go([numbers]) == 4 * NUMBERS
    assert let_go([numbers]) == 0, "none is in memory"
    assert torch.equal(numbers, torch.arange(NUMBERS, dtype=torch.float32))
    assert let_go([numbers]) == 4 * NUMBERS


@linux
def test_a_page_that_was_written_to_keeps_what_was_written(tmp_path: Path) -> None:
    numbers = of_a_file(tmp_path / "numbers")
    wanted = torch.arange(NUMBERS, dtype=torch.float32)
    for at in (0, 5 * PAGE, 5 * PAGE + 1, NUMBERS - 1):
        numbers[at] = wanted[at] = -1.0
    assert torch.equal(numbers, wanted), "all pages are in memory again: writing to one may unmap its neighbours"
    written = 3  # pages
    assert let_go([numbers]) == 4 * NUMBERS - written * mmap.PAGESIZE
    assert torch.equal(numbers, wanted)


def test_memory_that_is_of_no_file_and_part_of_a_page_stay() -> None:
    own = torch.arange(NUMBERS, dtype=torch.float32)
    assert let_go([own, own[:3], own[::2], own.view(1024, 1024).t()]) == 0
    assert torch.equal(own, torch.arange(NUMBERS, dtype=torch.float32))


@linux
def test_a_part_of_a_file_gives_back_its_own_pages_only(tmp_path: Path) -> None:
    numbers = of_a_file(tmp_path / "numbers")
    inside = numbers[100 : 100 + 4 * PAGE]  # four pages, of which it has three whole ones
    assert let_go([inside]) == 3 * mmap.PAGESIZE
    assert torch.equal(numbers, torch.arange(NUMBERS, dtype=torch.float32))


@pytest.mark.parametrize("system", ["darwin", "linux without its table of pages"])
def test_elsewhere_nothing_is_given_back(tmp_path: Path, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError

    numbers = of_a_file(tmp_path / "numbers")
    if system == "darwin":
        monkeypatch.setattr("sys.platform", system)
    else:
        monkeypatch.setattr("builtins.open", denied)
    assert let_go([numbers]) == 0
