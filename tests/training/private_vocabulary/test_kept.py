"""Lines and folders of a private vocabulary: what speaks to whom, what is never unpickled, and what stays on a disk."""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.secagg import fuzz
from tests.secagg.readers_beside import readers_of_vocabulary
from tests.training.private_vocabulary.dealing import agreement, certified, key_of
from training.private_vocabulary import computing
from training.private_vocabulary.agreement import Agreement, write_agreement
from training.private_vocabulary.carrier import DamagedDesk, Desk
from training.private_vocabulary.command import _party
from training.private_vocabulary.computing import Outcome
from training.private_vocabulary.links import PartyFault, client_context, server_context
from training.private_vocabulary.shares import messages

PORTS = [7101, 7201, 7102, 7202, 7103, 7203]


@pytest.fixture
def agreed(tmp_path: Path) -> Agreement:
    made = agreement(parties=certified(tmp_path, PORTS))
    write_agreement(tmp_path / "VOCABULARY.json", made)
    return made


# Lines


def shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> str | None:
    """The version that both agree on, in memory. Raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(up, down, server_side=True), client.wrap_bio(down, up)]
    for _ in range(6):
        for each in reversed(ends):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version()


def test_lines_of_parties_and_clients_speak_tls_1_3_and_nothing_older(agreed: Agreement, tmp_path: Path) -> None:
    to_union = agreed.parties[0].certificate
    firm = agreed.parties[1].certificate
    desk, party = server_context(tmp_path / "union"), server_context(tmp_path / "union", [firm])
    assert shaken(desk, client_context(to_union)) == "TLSv1.3"
    assert shaken(party, client_context(to_union, tmp_path / "firm")) == "TLSv1.3"
    for listening in (desk, party):
        older = client_context(to_union, tmp_path / "firm")
        older.minimum_version, older.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            shaken(listening, older)
    for calling in (client_context(to_union), client_context(to_union, tmp_path / "firm")):
        older = server_context(tmp_path / "union")
        older.minimum_version, older.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            shaken(older, calling)


# Folders


@pytest.fixture
def desk(agreed: Agreement, tmp_path: Path) -> Desk:
    """What union was given by all clients, who are fixed."""
    made = Desk(tmp_path / "union", agreed, 0)
    for client in range(len(agreed.clients)):
        made.take(messages([1], agreed, key_of(client), os.urandom(32))[0])
    made.fix(range(len(agreed.clients)))
    return made


@pytest.mark.parametrize("unsure", [(), ("works",), ("firm", "works")])
def test_shares_stay_for_another_start_where_a_party_did_not_say_that_it_has_the_words(
    agreed: Agreement, desk: Desk, tmp_path: Path, unsure: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*given: Any) -> Outcome:
        found = Outcome(("w1",), tuple(range(7)), (), ())
        given[-1](found)
        return replace(found, unsure=unsure)

    monkeypatch.setattr(computing, "compute", computed)
    out = tmp_path / "words.json"
    if unsure:
        with pytest.raises(PartyFault) as caught:
            _party(tmp_path / "VOCABULARY.json", out, tmp_path / "union", "", 0.0, 1.0)
        assert caught.value.param == ", ".join(unsure) and str(desk.folder) in str(caught.value)
        assert len(desk.given) == desk.count == 7  # another start reads them
    else:
        _party(tmp_path / "VOCABULARY.json", out, tmp_path / "union", "", 0.0, 1.0)
        assert desk.count == 0
    assert json.loads(out.read_text())["words"] == ["w1"]


@pytest.mark.parametrize(
    "said",
    [b"", b"nonsense", b"[]", b"{}", b"7", b'{"clients": 3, "done": false}', b'{"clients": ["1"], "done": false}',
     b'{"clients": [99], "done": false}', b'{"clients": [1], "done": 0}', b'{"clients": [true], "done": false}'],
)  # fmt: skip
def test_a_damaged_list_of_fixed_clients_is_named_and_nothing_is_computed_over_it(desk: Desk, said: bytes) -> None:
    path = desk.folder / "clients.json"
    path.write_bytes(said)
    for call in (lambda: desk.given, lambda: desk.fix([1]), desk.finish):
        with pytest.raises(DamagedDesk, match=r"clients\.json") as caught:
            call()
        assert caught.value.param == str(path)
    assert desk.count == 7 and path.read_bytes() == said


def test_whatever_comes_over_a_line_or_lies_in_a_file_is_read_or_refused_by_type(tmp_path: Path) -> None:
    readers = list(readers_of_vocabulary(tmp_path))
    for reader in readers:
        assert fuzz.try_one(reader, reader.real) is None, reader
    figures = fuzz.fuzz(readers, seed=3, executions=2_000)
    assert figures.executions.keys() == figures.refused.keys() == {reader.kind for reader in readers}
