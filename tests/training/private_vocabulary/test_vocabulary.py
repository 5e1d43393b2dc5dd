"""Three parties find the words that enough clients use: alone, and as three processes over TLS, beside a count."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.private_vocabulary.dealing import NAMES, agreement, certified, dealt, key_of
from training.private_vocabulary.agreement import Agreement, write_agreement
from training.private_vocabulary.carrier import Desk, SharedBefore, give
from training.private_vocabulary.computing import at_least, load_runtime, read_numbers
from training.private_vocabulary.field import MODULUS
from training.private_vocabulary.links import PartyFault, Said
from training.private_vocabulary.shares import messages, vector
from training.workers import free_ports, start, stopped_after

SECONDS = 300.0  # that a process may take on a busy machine


@pytest.fixture(scope="module")
def alone() -> Iterator[Any]:
    """Mpyc's runtime with one party: the same steps, and nobody to talk to."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield load_runtime()
    loop.close()
    asyncio.set_event_loop(None)


def _cases(clients: int) -> st.SearchStrategy[tuple[int, int, list[int]]]:
    counts = st.lists(st.integers(0, clients), min_size=1)
    return st.tuples(st.just(clients), st.integers(1, clients), counts)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60).flatmap(_cases))
def test_the_bit_is_whether_a_count_is_the_threshold_or_more(alone: Any, drawn: tuple[int, int, list[int]]) -> None:
    clients, least, counts = drawn
    found = alone.run(at_least(alone, np.array(counts, np.uint64), least, clients))
    assert found == [each >= least for each in counts]


def test_the_runtime_is_set_to_forty_bits_and_leaves_the_programs_arguments_alone(alone: Any) -> None:
    before = list(sys.argv)
    assert load_runtime().options.sec_param == 40 and sys.argv == before


@pytest.mark.parametrize("said", [b"", b"\0" * 7, b"\0" * 17, b"\xff" * 16, MODULUS.to_bytes(8, "little") * 2])
def test_numbers_that_do_not_fit_name_who_sent_them(said: bytes) -> None:
    came = Said(said)
    came.sender = "firm"
    with pytest.raises(PartyFault, match="firm sent numbers"):
        read_numbers(came, (2,))
    right = Said((MODULUS - 1).to_bytes(8, "little") * 2)
    assert read_numbers(right, (2,)).tolist() == [MODULUS - 1] * 2


@pytest.fixture
def agreed(tmp_path: Path) -> Agreement:
    made = agreement(words=40, clients=9, threshold=3, most_words=12, parties=certified(tmp_path, free_ports(6)))
    write_agreement(tmp_path / "VOCABULARY.json", made)
    return made


def party(folder: Path, name: str, collect: float = 0.0, patience: float = SECONDS) -> subprocess.Popen[bytes]:
    words = ["vocabulary", "party", str(folder / "VOCABULARY.json"), "--home", str(folder / name)]
    words += ["--out", str(folder / name / "words.json"), "--collect", str(collect), "--patience", str(patience)]
    return start([sys.executable, "-m", "chatfed", *words], folder / name / "said", OMP_NUM_THREADS="1")


@contextmanager
def parties(folder: Path, *names: str, **more: float) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    with stopped_after(processes):
        processes += [party(folder, name, **more) for name in names]
        yield processes


def ended(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    return [each.wait(SECONDS) for each in processes]


def said(folder: Path, name: str) -> str:
    return (folder / name / "said").read_text()


def chosen_words(agreed: Agreement) -> dict[int, list[int]]:
    """Word w is used by w % 10 of the clients, so that counts from 0 to all occur."""
    clients = range(len(agreed.clients))
    uses = {client: [w for w in range(40) if client < w % 10 and w < 20] for client in clients}
    return {client: words[: agreed.most_words] for client, words in uses.items()}


def in_clear(agreed: Agreement, chosen: dict[int, list[int]]) -> list[str]:
    counts = [sum(w in words for words in chosen.values()) for w in range(len(agreed.candidates))]
    assert {0, 2, 3} <= set(counts)
    return [word for word, count in zip(agreed.candidates, counts, strict=True) if count >= agreed.threshold]


def test_three_processes_find_the_words_of_a_count_in_clear_and_leave_out_who_cheats(
    agreed: Agreement, tmp_path: Path
) -> None:
    """Seven honest clients, one of them over the network; one that says 5 for a word; one that sent to two only."""
    chosen = chosen_words(agreed)
    chosen.pop(8)
    desks = [Desk(tmp_path / name, agreed, party) for party, name in enumerate(NAMES)]
    for client in range(1, 7):
        for desk, message in zip(desks, messages(chosen[client], agreed, key_of(client), os.urandom(32)), strict=True):
            desk.take(message)
    cheat(agreed, desks, 7)
    chosen.pop(7)
    for desk, message in zip(desks[:2], messages([0], agreed, key_of(8), os.urandom(32)), strict=False):
        desk.take(message)
    with parties(tmp_path, *NAMES, collect=10.0) as processes:
        give(agreed, chosen[0], key_of(0), tmp_path / "home", SECONDS, False, os.urandom)
        assert ended(processes) == [0, 0, 0], said(tmp_path, NAMES[0])
    for desk in desks:
        told = json.loads((tmp_path / NAMES[desk.own] / "words.json").read_text())
        assert told["words"] == in_clear(agreed, chosen)
        assert told["clients"] == 7 and told["differential_privacy"] is None and "NOT" in told["claim"]
        assert not list(desk.folder.glob("*.share"))
    assert "client-7: left out" in said(tmp_path, NAMES[0]) and "client-8: sent to some" in said(tmp_path, NAMES[0])
    kept = list((tmp_path / "home").iterdir())
    assert [path.read_bytes() for path in kept] == [b""]  # no seed is left
    with pytest.raises(SharedBefore, match="already"):
        give(agreed, chosen[0], key_of(0), tmp_path / "home", 1.0, False, os.urandom)
    with pytest.raises(SharedBefore, match="other agreement"):
        give(replace(agreed, name="another"), chosen[0], key_of(0), tmp_path / "home", 1.0, False, os.urandom)


def cheat(agreed: Agreement, desks: list[Desk], client: int) -> None:
    """Properly signed shares of a vector that says 5 for one word."""
    from training.private_vocabulary import shares as module

    vectors = vector([0], agreed)[None].copy()
    vectors[0, 0] = 5
    for desk, held in zip(desks, dealt(vectors), strict=True):
        desk.take(module._message(client, desk.own, held[0], agreed, key_of(client)))


def test_a_party_that_is_missing_is_named_by_both_others(agreed: Agreement, tmp_path: Path) -> None:
    with parties(tmp_path, "union", "firm", patience=8.0) as processes:
        assert ended(processes) == [2, 2]
    assert all("works did not answer within 8 s while connecting" in said(tmp_path, name) for name in NAMES[:2])


def test_a_party_with_other_candidates_is_named(agreed: Agreement, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "works").rename(other / "works")
    write_agreement(other / "VOCABULARY.json", replace(agreed, candidates=(*agreed.candidates[:-1], "different")))
    with parties(tmp_path, "union", "firm", patience=60.0) as processes, parties(other, "works", patience=60.0) as more:
        assert ended([*processes, *more]) == [2, 2, 2]
    assert "works holds another agreement" in said(tmp_path, "union") + said(tmp_path, "firm")
    assert "holds another agreement" in said(other, "works")


def test_too_few_clients_open_nothing(agreed: Agreement, tmp_path: Path) -> None:
    desks = [Desk(tmp_path / name, agreed, party) for party, name in enumerate(NAMES)]
    for client in range(agreed.least_clients - 1):
        for desk, message in zip(desks, messages([1], agreed, key_of(client), os.urandom(32)), strict=True):
            desk.take(message)
    desks[0].take(messages([1], agreed, key_of(6), os.urandom(32))[0])
    with parties(tmp_path, *NAMES) as processes:
        assert ended(processes) == [2, 2, 2]
    assert "Here, but not with both others: client-6." in said(tmp_path, NAMES[0])
    assert "client-6" not in said(tmp_path, NAMES[1])
    assert all("4 clients are with all three parties, and 5 are needed" in said(tmp_path, name) for name in NAMES)
    assert not desks[0].fixed and [desk.count for desk in desks] == [5, 4, 4]


def test_too_few_sound_vectors_open_no_word_and_name_whom_to_leave_out(agreed: Agreement, tmp_path: Path) -> None:
    desks = [Desk(tmp_path / name, agreed, party) for party, name in enumerate(NAMES)]
    for client in range(agreed.least_clients - 1):
        for desk, message in zip(desks, messages([1], agreed, key_of(client), os.urandom(32)), strict=True):
            desk.take(message)
    cheat(agreed, desks, 7)
    with parties(tmp_path, *NAMES) as processes:
        assert ended(processes) == [2, 2, 2]
    for name in NAMES:
        assert "Make another agreement without client-7" in said(tmp_path, name)
        assert "of 4 clients are sound, and 5 are needed" in said(tmp_path, name)
        assert not (tmp_path / name / "words.json").exists()


def test_a_party_that_shows_another_certificate_is_given_nothing(agreed: Agreement, tmp_path: Path) -> None:
    certified(tmp_path / "strangers", free_ports(6))
    swapped = (replace(agreed.parties[0], certificate=(tmp_path / "strangers/union/server.crt").read_text()),)
    believed = replace(agreed, parties=(*swapped, *agreed.parties[1:]))
    with parties(tmp_path, "union", collect=SECONDS), pytest.raises(PartyFault, match=r"union .*another certificate"):
        give(believed, [0], key_of(0), tmp_path / "home", SECONDS, False, os.urandom)
    assert Desk(tmp_path / "union", agreed, 0).count == 0
