"""What a client says, what a party keeps of it, and the file that all agree to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.types import InvalidValue
from tests.training.private_vocabulary.dealing import PEM, agreement, key_of
from training.private_vocabulary.agreement import (
    Agreement,
    AgreementError,
    check_numbers,
    choose,
    read_agreement,
    read_candidates,
    words_in,
    write_agreement,
)
from training.private_vocabulary.carrier import Computed, Desk, SharedBefore, _begun, _kept
from training.private_vocabulary.field import recombined
from training.private_vocabulary.links import NoParty, make_party
from training.private_vocabulary.rehearsal import make_agreement
from training.private_vocabulary.shares import BadShares, message_bytes, messages, read_message, vector

SEED = bytes(range(32))


def sent(client: int = 2, chosen: list[int] | None = None, agreed: Agreement | None = None) -> list[bytes]:
    return messages([0, 3] if chosen is None else chosen, agreed or agreement(), key_of(client), SEED)


def test_three_parties_together_could_read_what_a_client_said() -> None:
    agreed = agreement()
    held = [read_message(said, agreed, party) for party, said in enumerate(sent())]
    assert {each.client for each in held} == {2}
    assert (recombined([each.held for each in held]) == vector([0, 3], agreed)).all()


def test_messages_have_one_length_and_one_sum_whatever_is_chosen() -> None:
    agreed = agreement()
    for chosen in ([], [5], [0, 1, 2, 3]):
        assert {len(each) for each in sent(chosen=chosen)} == {message_bytes(agreed)}
        assert vector(chosen, agreed).sum() == agreed.most_words


def test_the_same_seed_sends_the_same_again_and_another_agreement_other_shares() -> None:
    assert sent() == sent()
    other = agreement(threshold=4)
    assert read_message(sent()[0], agreement(), 0).held[0] != read_message(sent(agreed=other)[0], other, 0).held[0]


def test_another_choice_or_client_of_one_seed_has_other_slopes_so_no_party_can_subtract() -> None:
    agreed = agreement(clients=8)
    one, more = (read_message(sent(chosen=chosen, agreed=agreed)[0], agreed, 0) for chosen in ([0, 3], [0, 3, 5]))
    other = read_message(sent(client=3, chosen=[0, 3], agreed=agreed)[0], agreed, 0)
    for each in (more, other):
        difference = {int(step) for step in each.held.astype(object) - one.held.astype(object)}
        assert len(difference) == agreed.width and all(abs(step) > 1 << 20 for step in difference)


def test_a_start_after_the_data_changed_sends_what_it_began_with_to_each_party(tmp_path: Path) -> None:
    agreed = agreement()
    kept = [_kept(agreed, tmp_path, key_of(client)) for client in (2, 3)]
    assert kept[0] != kept[1]
    seed, chosen = _begun(agreed, [0, 3], kept[0], False, os.urandom)
    assert (seed, chosen) == _begun(agreed, [0, 3, 5], kept[0], False, os.urandom) and chosen == [0, 3]
    assert _begun(agreed, [0, 3], kept[1], False, os.urandom)[0] != seed
    assert kept[0].stat().st_mode & 0o077 == 0
    other = agreement(threshold=4)
    with pytest.raises(SharedBefore, match="other agreement"):
        _begun(other, [0], _kept(other, tmp_path, key_of(2)), False, os.urandom)
    for said in (b"{", b"[]", b'{"seed": "00", "chosen": [0]}', b'{"seed": 1, "chosen": 2}', b"[" * 200_000):
        kept[0].write_bytes(said)
        with pytest.raises(SharedBefore, match="not what was kept"):
            _begun(agreed, [0], kept[0], False, os.urandom)


def test_numbers_that_fit_are_asked_for_before_a_rehearsal_leaves_a_folder(tmp_path: Path) -> None:
    keys = {f"client-{each}": key_of(each) for each in range(6)}
    with pytest.raises(AgreementError, match="least_clients"):
        make_agreement(tmp_path / "rehearsal", keys, ("word",), 10)
    assert not (tmp_path / "rehearsal").exists()


@pytest.mark.parametrize("ports", ["\N{SUPERSCRIPT TWO},7", "7101,7201,x", "7101", "-5,7201", "7101, 7201", "\u0661,7"])
def test_ports_that_are_not_two_numbers_are_refused_before_anything_is_made(tmp_path: Path, ports: str) -> None:
    with pytest.raises(NoParty, match="two port numbers"):
        make_party("union", "127.0.0.1", tmp_path / "party", ports)
    assert not (tmp_path / "party").exists()


def test_more_shares_than_a_party_holds_in_memory_are_refused() -> None:
    with pytest.raises(AgreementError, match="fewer words"):
        check_numbers(40, 1, 256, 80, 1 << 16, 1 << 18)
    check_numbers(40, 1, 256, 80, 1 << 16, 4096)


def test_shares_stay_out_of_what_is_printed() -> None:
    held = read_message(sent()[0], agreement(), 0)
    assert str(int(held.held[0])) not in repr(held) and "held" not in repr(held)


@pytest.mark.parametrize(("chosen", "what"), [([0, 0], "4 different"), ([0, 1, 2, 3, 4], "4 different"), ([6], "list")])
def test_a_choice_that_does_not_fit_is_refused(chosen: list[int], what: str) -> None:
    with pytest.raises(InvalidValue, match=what):
        vector(chosen, agreement())


def test_a_stranger_cannot_send() -> None:
    with pytest.raises(AgreementError, match="Your key is not in the agreement"):
        sent(client=99)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda said: said[:-1], "bytes"),
        (lambda said: said + b"\0", "bytes"),
        (lambda said: b"X" + said[1:], "another version"),
        (lambda said: said[:8] + b"\0" * 32 + said[40:], "in client-2's name is of another agreement"),
        (lambda said: said[:40] + b"\1" + said[41:], "client-2 is not signed by it"),
        (lambda said: sent()[1], "client-2 sent what was meant for another party"),
        (lambda said: said[:41] + b"\3" + said[42:], "client-3 is not signed by it"),
        (lambda said: said[:41] + b"\xff" * 4 + said[45:], "there is none"),
        (lambda said: said[:50] + bytes([said[50] ^ 1]) + said[51:], "client-2 is not signed by it"),
    ],
)
def test_a_message_that_does_not_fit_is_refused_by_name(spoil: Callable[[bytes], bytes], what: str) -> None:
    with pytest.raises(BadShares, match=what):
        read_message(spoil(sent()[0]), agreement(), 0)


def test_a_number_that_is_no_residue_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    too_large = [np.full(agreement().width, (1 << 61) - 1, np.uint64)] * 3
    monkeypatch.setattr("training.private_vocabulary.shares.shares", lambda secret, slopes: too_large)
    with pytest.raises(BadShares, match="client-2 sent a number that is no residue"):
        read_message(sent()[0], agreement(), 0)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_by_type(said: bytes) -> None:
    agreed = agreement()
    for tried in (said, said.ljust(message_bytes(agreed), b"\0"), sent()[0][: -len(said) or None] + said):
        try:
            read_message(tried[: message_bytes(agreed)], agreed, 0)
        except BadShares:
            continue
        assert tried == sent()[0]


def test_a_party_keeps_the_first_shares_of_a_client_over_a_restart(tmp_path: Path) -> None:
    desk = Desk(tmp_path, agreement(), 0)
    assert desk.take(sent()[0]) == "client-2" and desk.take(sent()[0]) == "client-2" and desk.count == 1
    with pytest.raises(BadShares, match="client-2 has sent other shares before"):
        desk.take(sent(chosen=[1])[0])
    assert list(Desk(tmp_path, agreement(), 0).given) == [2]
    assert all(path.stat().st_mode & 0o077 == 0 for path in desk.folder.iterdir())


def test_once_clients_are_fixed_no_other_set_is_computed_and_in_the_end_no_share_is_left(tmp_path: Path) -> None:
    desk = Desk(tmp_path, agreement(), 0)
    for client in (1, 2):
        desk.take(sent(client)[0])
    desk.fix([2])
    desk.fix([2])
    assert list(desk.given) == [2]
    with pytest.raises(BadShares, match="client-3 comes too late"):
        desk.take(sent(3)[0])
    with pytest.raises(Computed, match="other clients"):
        desk.fix([1, 2])
    desk.finish()
    assert [path.name for path in desk.folder.iterdir()] == ["clients.json"]
    with pytest.raises(Computed, match="computed already"):
        _ = desk.given


def test_a_client_says_its_most_frequent_words() -> None:
    agreed = replace(agreement(), candidates=("the", "printer's", "wi-fi", "again", "lamp"), most_words=2)
    texts = ["The printer's Wi-Fi, again!", "WI-FI; wi\N{HYPHEN}fi lamp lamp lamp"]
    assert choose(texts, agreed) == [2, 4]
    assert choose([], agreed) == []


def test_words_of_other_scripts_are_words() -> None:
    assert words_in("Größe_2 naïve, 東京 x' 'y") == ["grösse", "2", "naïve", "東京", "x", "y"]


def test_an_agreement_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "VOCABULARY.json"
    write_agreement(path, agreement())
    assert read_agreement(path) == agreement() and read_agreement(path).digest == agreement().digest


def test_addresses_may_change_and_nothing_else() -> None:
    agreed = agreement()
    moved = tuple(replace(each, host="elsewhere", client_port=1) for each in agreed.parties)
    assert replace(agreed, parties=moved).digest == agreed.digest
    others = [
        replace(agreed, threshold=4, least_clients=6),
        replace(agreed, candidates=(*agreed.candidates[:-1], "other")),
        replace(agreed, clients=agreed.clients[:-1]),
        replace(agreed, colluders=0),
        replace(agreed, most_words=3),
        replace(agreed, parties=(replace(moved[0], certificate=PEM.format("x")), *moved[1:])),
    ]
    assert len({agreed.digest, *(each.digest for each in others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"threshold": 2}, "threshold"),  # less one colluder, a word could be one client's
        ({"threshold": True}, "threshold"),
        ({"least_clients": 3}, "least_clients"),  # a word would tell that everyone uses it
        ({"least_clients": 4}, "least_clients"),  # or that all but the one colluder do
        ({"colluders": 0, "least_clients": 3}, "least_clients"),
        ({"least_clients": 8}, "least_clients"),
        ({"most_words": 0}, "most_words"),
        ({"most_words": 7}, "most_words"),
        ({"candidates": ("a", "A")}, "candidates"),
        ({"candidates": ("a", "a")}, "candidates"),
        ({"candidates": ("two words",)}, "candidates"),
        ({"parties": agreement().parties[:2]}, "parties"),
        ({"parties": (agreement().parties[0],) * 3}, "parties"),
        ({"clients": (*agreement().clients, agreement().clients[0])}, "clients"),
        ({"clients": (("x", "00"),) * 1}, "clients"),
        ({"name": "two\nlines"}, "name"),
    ],
)
def test_an_agreement_that_protects_nobody_is_refused(change: dict[str, Any], param: str) -> None:
    with pytest.raises(AgreementError) as refused:
        replace(agreement(), **change)
    assert refused.value.param == param


@pytest.mark.parametrize("said", ["", "{}", "[]", '{"format": "chatfed private vocabulary 1"}', "NaN", "[" * 200_000])
def test_a_file_that_is_no_agreement_is_refused_by_name(tmp_path: Path, said: str) -> None:
    path = tmp_path / "some.json"
    path.write_text(said)
    with pytest.raises(AgreementError, match=r"some\.json"):
        read_agreement(path)


@pytest.mark.parametrize("key", ["name", "candidates", "clients", "parties", "threshold", "most_words"])
@pytest.mark.parametrize("value", [None, 7, "x", [], [[]], {}, [{}], 1.5, True])
def test_a_key_of_another_kind_is_refused_by_type(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "some.json"
    write_agreement(path, agreement())
    told = json.loads(path.read_bytes())
    path.write_text(json.dumps(told | {key: value}))
    if (key, value) != ("name", "x"):
        with pytest.raises(AgreementError, match=r"some\.json"):
            read_agreement(path)
    del told[key]
    path.write_text(json.dumps(told))
    with pytest.raises(AgreementError, match="lacks a key"):
        read_agreement(path)


def test_a_list_of_candidates_names_the_line_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("lamp\n\nprinter\nNot this\n")
    with pytest.raises(AgreementError, match=r"words\.txt, line 3: 'Not this'"):
        read_candidates(path)
    path.write_text("lamp\nprinter\n")
    assert read_candidates(path) == ("lamp", "printer")


def test_the_claim_says_that_it_is_no_differential_privacy_and_counts_without_colluders() -> None:
    claim = agreement(threshold=5, clients=9, colluders=2).claim(8)
    assert "NOT differential privacy" in claim and "at least 5 of 8 clients" in claim and "at least 3 others" in claim
