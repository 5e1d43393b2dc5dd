"""What the server holds of an agreement on keys says what the participants' messages said, in less room."""

from __future__ import annotations

import pytest

from chatfed.secagg import messages, server
from chatfed.secagg.messages import Kind, MalformedMessage
from chatfed.secagg.pieces import Pieces
from tests.secagg.rounds import Carried


def test_pieces_are_what_was_given_and_of_others_there_is_none() -> None:
    given = {7: b"seven", 3: b"three", 300: b"hundr"}
    pieces = Pieces(given)
    assert dict(pieces) == given and list(pieces) == [3, 7, 300] and len(pieces) == 3
    for other in (0, 4, 301):
        assert other not in pieces
    assert dict(Pieces({1: b"", 2: b""})) == {1: b"", 2: b""}
    assert len(Pieces({})) == 0 and 1 not in Pieces({})


def test_shares_taken_one_after_another_go_out_as_those_taken_together(finished: Carried) -> None:
    sharing = finished.server_states["sharing"]
    sent = {i: message for (kind, i), message in finished.wire.items() if kind is Kind.SHARES}
    epoch, out = server.relay_shares(sharing, sent)
    taken = {i: server.take_shares(sharing, i, sent[i]) for i in sorted(sent, reverse=True)}
    later, same = server.hand_out(sharing, taken)
    assert epoch.sharers == later.sharers and list(out) == list(same) == sorted(sent)
    assert dict(out) == dict(same) == dict(out.items())
    size = sharing.parameters.layout.envelope(sharing.parameters.slots)
    for i, message in out.items():
        near = sharing.graph.neighbours(i)
        opened = messages.decode_envelopes(message, sharing.view, near, sharing.parameters)
        dealt = {j: _dealt(sharing, j, sent[j])[i] for j in near & sent.keys()}
        assert opened == {j: entry[:size] for j, entry in dealt.items()}
        assert {j: epoch.rows[j][i] for j in dealt} == {j: entry[size:] for j, entry in dealt.items()}
    with pytest.raises(KeyError):
        out[99]


def test_shares_of_a_stranger_or_under_another_name_are_refused_when_they_come(finished: Carried) -> None:
    sharing = finished.server_states["sharing"]
    message = next(m for (kind, i), m in finished.wire.items() if kind is Kind.SHARES and i == 1)
    for sender in (2, 99):
        with pytest.raises(MalformedMessage) as refused:
            server.take_shares(sharing, sender, message)
        assert refused.value.sender == sender


def _dealt(sharing: server.Sharing, sender: int, message: bytes) -> dict[int, bytes]:
    size = sharing.parameters.layout.dealt(sharing.parameters.slots)
    return messages.decode_entries(message, Kind.SHARES, sender, sharing.view, sharing.graph.neighbours(sender), size)
