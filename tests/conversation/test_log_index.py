"""The index's own steps: Mitra as its paper has it, forward and backward private; padding as the server sees it."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.conversation import log_index as index
from chatfed.conversation.log_errors import DamagedLog
from chatfed.conversation.log_index import Counter, Entry, Op, Prf, Segment
from chatfed.conversation.log_messages import Message
from chatfed.conversation.log_owner import Log, open_log
from tests.conversation.log_parts import filled, numbers


def asked_by(log: Log, words: str) -> tuple[list[bytes], list[int]]:
    """The addresses and messages that a search asks the server for."""
    addresses: list[bytes] = []
    messages: list[int] = []
    find, fetch = log.server.find, log.server.fetch

    def noting(kept: list[Any], ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def asked(each: Any) -> Any:
            kept.extend(each)
            return ask(each)

        return asked

    noted = {"find": noting(addresses, find), "fetch": noting(messages, fetch)}
    vars(log.server).update(noted)  # noted, and done as ever
    log.search(words)
    for name in noted:
        del vars(log.server)[name]
    return addresses, messages


@given(key=st.binary(max_size=64), message=st.binary(max_size=200))
def test_the_quick_hmac_is_hmac(key: bytes, message: bytes) -> None:
    assert Prf(key)(message) == hmac.digest(key, message, "sha256")


def test_an_entry_is_where_and_what_the_paper_says() -> None:
    def f(key: bytes, *parts: bytes) -> bytes:
        return hmac.digest(key, b"".join(parts), "sha256")

    key = f(bytes(32), b"word", b"printer")
    plain = struct.pack("<Q", 5 << 2 | 1)
    check = f(key, struct.pack("<QB", 3, 2), plain)[:8]  # ours, and in the mask
    masked = bytes(a ^ b for a, b in zip(plain, f(key, struct.pack("<QB", 3, 1), check), strict=False))
    own = index.word_key(Prf(bytes(32)), "printer")
    assert index.close_entries(own, 3, [Entry(5, Op.ADD)]) == {f(key, struct.pack("<QB", 3, 0))[:16]: masked + check}


def test_an_entry_that_is_not_as_it_was_is_an_error() -> None:
    key = Prf(b"k")
    value = index.close_entry(key, 4, Entry(9, Op.DELETE))
    assert index.open_entry(key, 4, value) == Entry(9, Op.DELETE)
    flipped = [bytes(b ^ (1 << bit) * (n == at) for n, b in enumerate(value)) for at in range(16) for bit in range(8)]
    for wrong in [*flipped, None, b"", value + b"\0", index.close_entry(key, 5, Entry(9, Op.DELETE))]:
        with pytest.raises(DamagedLog):
            index.open_entry(key, 4, wrong)


def test_two_entries_of_one_number_do_not_show_what_they_differ_by() -> None:
    """As a log writes them that went on from an old backup of both its parts."""
    key = Prf(b"k")
    values = [int.from_bytes(index.close_entry(key, 4, Entry(n, Op.ADD))[:8], "little") for n in (9, 10)]
    assert values[0] ^ values[1] != (9 << 2 | Op.ADD) ^ (10 << 2 | Op.ADD) and (values[0] ^ values[1]).bit_length() > 40


def test_old_tokens_find_no_new_messages(tmp_path: Path) -> None:
    """Forward privacy: what the server was given for a search is of no use for what comes later."""
    folder = filled(tmp_path / "log", ["the red printer"] * 10)
    with open_log(folder, every=4) as log:
        log.flush()
        old, _ = asked_by(log, "printer")
        found = log.server.find(old)
        for _ in range(10):
            log.append([Message("user", "the red printer")])
        log.flush()
        assert log.server.find(old) == found and len(found) == 16, "an old token finds something new"
        new, _ = asked_by(log, "printer")
        assert set(old) < set(new) and numbers(log, "printer") == [*range(1, 21)]


def test_a_new_entry_looks_like_any_other_before_its_word_is_searched_for(tmp_path: Path) -> None:
    """The same message twice gives no address and no value twice; a word and a dummy are as long."""
    with open_log(filled(tmp_path / "log", [])) as log:
        seen: dict[bytes, bytes] = {}
        for _ in range(3):
            log.append([Message("user", "the same again")])
            log.flush()
            rows = dict(log.server._database.execute("select address, value from entries").fetchall())
            assert (len(set(rows.values())) == len(rows) and seen.items() < rows.items()) or not seen
            seen = rows
        assert {len(each) for row in seen.items() for each in row} == {16}


def test_a_deleted_message_is_not_asked_for_again(tmp_path: Path) -> None:
    """Backward privacy: a search shows the server neither the deletion's message nor which entry it took away."""
    with open_log(filled(tmp_path / "log", ["the red printer"] * 16), every=4) as log:
        log.flush()
        asked_by(log, "printer")
        log.delete(5)
        log.flush()
        before, (addresses, messages) = log.server.seen.entries, asked_by(log, "printer")
        assert 5 not in messages and len(addresses) == 17 and log.server.seen.entries == before


@pytest.mark.parametrize("count", [1, 3, 5, 8, 13])
def test_a_search_asks_for_a_power_of_two_of_entries_and_of_messages(tmp_path: Path, count: int) -> None:
    texts = [f"needle {n}" if n < count else f"hay {n}" for n in range(40)]
    with open_log(filled(tmp_path / "log", texts), every=8) as log:
        log.flush()
        first = asked_by(log, "needle")
        assert len(set(first[0])) == index.padded(count) == len(set(first[1]))
        assert asked_by(log, "needle") == first, "a second search could be set beside the first"
        assert len(log.server.find(first[0])) == len(first[0]), "a dummy is told by its absence"
        assert set(range(1, count + 1)) <= set(first[1])


def test_what_comes_later_is_padded_for_itself_and_what_was_asked_before_stays(tmp_path: Path) -> None:
    with open_log(filled(tmp_path / "log", ["needle"] * 5 + ["hay"] * 35), every=8) as log:
        log.flush()
        first = asked_by(log, "needle")
        log.append([Message("user", "needle")] * 3 + [Message("user", "hay")] * 9)
        log.flush()
        second = asked_by(log, "needle")
        assert set(first[0]) < set(second[0]) and set(first[1]) < set(second[1])
        assert (len(second[0]), len(second[1])) == (8 + 4, 8 + 4)


def test_no_dummy_pads_two_words_and_a_shortage_is_told(tmp_path: Path) -> None:
    texts = [" ".join(f"w{word}" for word in range(40)) for _ in range(30)]
    with open_log(filled(tmp_path / "log", texts, every=30), every=30) as log:
        log.flush()
        taken: set[bytes] = set()
        for word in range(40):
            addresses, _ = asked_by(log, f"w{word}")
            assert len(addresses) == 32 and taken.isdisjoint(addresses)
            taken |= set(addresses)
    with open_log(filled(tmp_path / "other", ["hay"]), every=2000) as log:
        log.append([Message("user", " ".join(f"w{word}" for word in range(20)))] * 130)
        log.flush()
        told = [log.search(f"w{word}").told_apart for word in range(20)]
        assert told[0] == 0 and set(told) == {0, 17, 126}, "only as many are written as are short"
        assert sum(byte.bit_count() for byte in log._counters.used()) == log._counters.state.dummies
        assert not any(log.search(f"w{word}").told_apart for word in range(20)), "the dummies are not kept"


def test_batches_are_padded_and_in_no_order(tmp_path: Path) -> None:
    with open_log(filled(tmp_path / "log", ["a b c d e"] * 8), every=8) as log:
        log.flush()
        rows = [address for (address,) in log.server._database.execute("select address from entries")]
        assert len(rows) % index.BATCH_UNIT == 0 and rows == sorted(rows)
    assert [index.dummies_for(n) + n for n in (0, 1, 341, 342, 1000)] == [512, 512, 512, 1024, 1536]


@given(counts=st.lists(st.tuples(st.integers(1, 2**32 - 1), st.integers(0, 2**31), st.integers(0, 2**40)), max_size=5))
def test_a_counter_is_read_as_it_was_written(counts: list[tuple[int, int, int]]) -> None:
    counter = Counter(7, tuple(Segment(*each) for each in counts))
    assert Counter.from_bytes(counter.to_bytes()) == counter


@given(wanted=st.integers(0, 40), without=st.sets(st.integers(1, 50), max_size=10))
def test_decoys_differ_and_are_the_same_again(wanted: int, without: set[int]) -> None:
    first = index.first_drawn(Prf(b"k"), 1, 50, without, wanted)
    assert len(first) == wanted and not first & without and first <= set(range(1, 51))
    assert first == index.first_drawn(Prf(b"k"), 1, 50, without, wanted)
