"""Servers as processes: waited for, said of when they fail, and gone afterwards."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.servers import port_in, served

LISTENS = "import time; print('it is at http://127.0.0.1:7071 ', flush=True); time.sleep(60)"


def test_a_server_is_there_once_it_has_said_where_and_gone_afterwards(tmp_path: Path) -> None:
    refused = iter([True, False])

    def ready(said: str) -> int | None:
        if port_in(said) and next(refused):
            raise ConnectionRefusedError
        return port_in(said)

    with served([sys.executable, "-c", LISTENS], tmp_path / "said", ready) as (process, port):
        assert port == 7071 and next(refused, None) is None
        os.kill(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_server_is_not_taken_for_the_one_that_wrote_into_the_same_file_before(tmp_path: Path) -> None:
    (tmp_path / "said").write_text("it is at http://127.0.0.1:7070 \n")
    with served([sys.executable, "-c", LISTENS], tmp_path / "said", port_in) as (_, port):
        assert port == 7071


def test_a_server_that_ends_is_said_with_its_last_words(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import os; raise SystemExit('no ' + os.environ['WHAT'])"]
    with (
        pytest.raises(SystemExit, match="did not start:\nno model"),
        served(words, tmp_path / "a", port_in, WHAT="model"),
    ):
        pass
