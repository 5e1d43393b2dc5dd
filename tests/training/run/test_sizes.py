"""How large a message is at the most: all that is sent in a whole run is less, and not by much."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.members import Neighbours
from training.run import sizes

FEW = 8 << 10  # bytes, for what is not a vector, of few members


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("secagg.scheme=threshold-he",),
        ("ngrams.cells=4096", "ngrams.longest=2", "ngrams.texts=8", "ngrams.epochs=1"),
    ],
    ids=["rounds", "threshold keys", "a count first"],
)
def test_no_message_of_a_run_is_longer(
    settings: tuple[str, ...], tiny_data: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "ROOM", FEW)
    place = Neighbours(tmp_path, tiny_base)
    federation = place.make(tiny_data / "private.jsonl", settings)
    most = sizes.most_bytes(federation, tiny_base)
    place.join()
    try:
        place.run()
    finally:
        place.close()
    longest = max(len(each) for _, _, *both in place.wire for each in both)
    assert longest <= most < 4 * longest
