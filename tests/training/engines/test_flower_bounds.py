"""What an end of the line takes from the other: so much and no more, only what is signed, and no word for another."""

from __future__ import annotations

import contextlib
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.training.engines.flower_line import End, Line

pytestmark = [pytest.mark.flower, pytest.mark.slow]

MOST = 6 << 20  # bytes of a message
PIECE = 5 << 20  # bytes
PUSH = "/v1/fleet/push-object"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A coordinator and two members that take so much, and one that takes less."""
    made = Line(tmp_path_factory.mktemp("bounds"), MOST)
    try:
        made.admit("a", "b", "small", "twice")
        for name in ("a", "b"):
            made.node(name, most=MOST)
        made.node("small", most=1 << 20)
        made.await_online("a", "b", "small")
        yield made
        assert [end.errors.read_text() for end in made.ends] == [""] * len(made.ends)
    finally:
        made.close()


def node_of(line: Line, name: str) -> End:
    return line.ends[1 + ["a", "b", "small"].index(name)]


@pytest.mark.parametrize(("size", "taken"), [(3 << 20, 3 << 20), (60 << 20, 0)], ids=["bytes", "objects"])
def test_a_member_refuses_a_message_that_is_larger_than_any_and_takes_no_more_of_it(
    line: Line, size: int, taken: int
) -> None:
    before = line.ask("small")["sent"]
    told = line.ask("small", words="much", size=size)
    assert told["right"] == {} and "larger than any of this federation (1,048,576 bytes)" in told["refusals"]["small"]
    assert told["sent"] - before < taken + 10_000
    assert "passed over" in node_of(line, "small").next()["said"]
    assert line.ask("small")["right"] == {"small": True}


@pytest.mark.parametrize("size", [11 << 20, 80 << 20], ids=["bytes", "objects"])
def test_of_an_answer_that_is_larger_than_any_so_much_is_kept_and_its_member_is_missing_with_a_reason(
    line: Line, size: int
) -> None:
    before = line.ask("a", "b")["received"]
    told = line.ask("a", "b", words=f"random {size} ")
    assert told["right"] == {} and told["received"] - before < 2 * MOST + 10_000
    assert all("larger than any of this federation (6,291,456 bytes)" in told["refusals"][name] for name in "ab")
    assert told["seconds"] < 15
    assert line.ask("a", "b")["right"] == {"a": True, "b": True}


def test_one_piece_that_stands_in_an_answer_many_times_is_as_much_as_all_of_them(line: Line) -> None:
    told = line.ask("a", words=f"zeros {3 * PIECE} ")
    assert "larger than any" in told["refusals"]["a"]


def test_as_much_as_a_message_may_have_is_taken(line: Line) -> None:
    size = MOST - 2000  # what lies around it
    assert line.ask("a", words="all", size=size)["right"] == {"a": True}


class Call:
    """A call's head, sent; its body, as it comes."""

    def __init__(self, line: Line, path: str, size: int, headers: dict[str, str]) -> None:
        context = ssl.create_default_context(cafile=line.folder / "authority.crt")
        plain = socket.create_connection(("127.0.0.1", line.port), 10)
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        head = {"host": "x", "content-type": "application/protobuf", "content-length": str(size), **headers}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    def send(self, body: bytes) -> None:
        self.socket.sendall(body)

    def status(self, within: float = 5) -> int:
        """0 where there is no answer."""
        self.socket.settimeout(within)
        with contextlib.suppress(TimeoutError):
            return int(self.socket.recv(1 << 12).split()[1])
        return 0

    def close(self) -> None:
        self.socket.close()


def signed(line: Line, name: str, by: str = "", ago: float = 0) -> dict[str, str]:
    """The head of a member's call, signed by another's key where `by` names one."""
    at = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    keys: list[Any] = [load_pem_private_key(line.key(each).read_bytes(), None) for each in (name, by or name)]
    public = keys[0].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = keys[1].sign(at.encode(), ec.ECDSA(SHA256()))
    return {
        "flwr-public-key": b64encode(public).decode(),
        "flwr-timestamp": at,
        "flwr-signature": b64encode(signature).decode(),
    }


def test_a_large_call_is_refused_before_its_body_unless_a_member_signed_it_lately(line: Line) -> None:
    copied = {"flwr-public-key": signed(line, "a")["flwr-public-key"]}
    unsigned = {**signed(line, "a"), "flwr-signature": "AAAA"}
    for head in (
        {},
        copied,
        unsigned,
        {**signed(line, "a"), "flwr-timestamp": "yesterday"},
        signed(line, "a", by="b"),
        signed(line, "a", ago=3600),
        signed(line, "a", ago=-60),
        signed(line, "nobody"),
    ):
        call = Call(line, PUSH, PIECE, head)
        assert call.status() == 401, head
        call.close()
    call = Call(line, PUSH, 3, signed(line, "a"))
    assert call.status(1) == 0, "it waits for the body"
    call.send(b"\xff\xff\xff")
    assert call.status() == 400
    assert Call(line, PUSH, 9 << 20, signed(line, "a")).status() == 413
    assert Call(line, "/v1/fleet/pull-object", 5000, signed(line, "a")).status() == 413


def test_few_large_calls_of_a_member_are_at_work_at_once_and_no_other_member_waits_for_them(line: Line) -> None:
    calls = [Call(line, PUSH, PIECE, signed(line, "a")) for _ in range(4)]
    for call in calls:
        call.send(bytes(1 << 16))
    assert all(call.status(0.5) == 0 for call in calls)
    assert Call(line, PUSH, PIECE, signed(line, "a")).status() == 429
    assert line.ask("b")["right"] == {"b": True}
    for call in calls:
        call.close()
    assert line.ask("a", "b", size=PIECE)["right"] == {"a": True, "b": True}


def test_a_member_answers_for_itself_only(line: Line) -> None:
    """Whoever knows a message's name, and who is asked, answers it for nobody else all the same."""
    line.add("c", "d")
    where = {"address": f"127.0.0.1:{line.port}", "authority": str(line.folder / "authority.crt")}
    ends = {name: line.started("caller", key=str(line.key(name)), **where) for name in ("c", "d")}
    nodes = {name: end.next()["node"] for name, end in ends.items()}
    line.coordinator.begin("ask", to=["c", "d"], words="hello", patience=20, step=1)
    asked = {name: end.tell("take") for name, end in ends.items()}
    assert asked["c"]["said"] == asked["d"]["said"] == "\x01hello"
    assert asked["c"]["name"] != asked["d"]["name"], "what is the same for all has no name that is"
    c, d = ends["c"], ends["d"]
    of_d = {"name": asked["d"]["name"], "said": "\x03wrong"}
    assert c.tell("answer", sender=nodes["d"], **of_d) == {"status": 403, "wanted": 0}
    assert c.tell("answer", sender=nodes["c"], **of_d) == {"status": 200, "wanted": 0}
    assert c.tell("answer", sender="1", name="", said="\x03wrong") == {"status": 403, "wanted": 0}
    own = {name: {"sender": nodes[name], "name": asked[name]["name"]} for name in "cd"}
    assert d.tell("answer", said="\x01olleh", **own["d"])["wanted"] > 0
    assert c.tell("answer", said="\x01olleh", **own["c"])["wanted"] > 0
    told = line.checked(line.coordinator.next())
    assert told["right"] == {"c": True, "d": True} and told["refusals"] == {}


@pytest.mark.long
def test_of_two_processes_with_one_key_one_answers_or_none_and_both_are_told(line: Line) -> None:
    first, second = line.node("twice"), line.node("twice")
    line.await_online("twice")
    for words, size in [("one", 0), ("two", 3 << 20), ("three", 0), ("four", PIECE)]:
        told = line.ask("twice", "b", words=words, size=size, step=1)
        assert told["right"] in ({"b": True}, {"twice": True, "b": True}) and told["refusals"] == {}, words
    for end in (first, second):
        while "another process answers with this member's key" not in end.next()["said"]:
            pass  # on a busy machine an answer comes too late first, which is told too
    first.end()
    told = line.ask("twice", "b", words="one is left", patience=30)
    assert told["right"]["b"]
    line.await_online("twice", within=15)
    assert line.ask("twice", "b")["right"] == {"twice": True, "b": True}
    second.end()


SPOILED = (
    "no protobuf",
    "a head without names",
    "a head that says nothing",
    "objects that are not there",
    "more than any answer",
    "an answer that unpacks",
    "elsewhere",
    "a deep refusal",
    "a heartbeat of nonsense",
)


@pytest.mark.parametrize("how", SPOILED)
def test_what_a_coordinator_answers_that_is_none_is_passed_over(line: Line, how: str) -> None:
    line.coordinator.tell("spoil", to="a", how=how)
    told = line.ask("a", patience=30)
    assert told["right"] == {"a": True} and told["seconds"] < 10


def test_a_spell_of_answers_that_are_none_is_told_in_one_sentence(line: Line) -> None:
    node = node_of(line, "a")
    node.silent()
    for _ in range(3):
        line.coordinator.tell("spoil", to="a", how="a head that says nothing")
    assert "its answers are not Flower's" in node.next()["said"]
    assert "answers again" in node.next()["said"]
    assert line.ask("a")["right"] == {"a": True} and node.lines.empty()


def test_who_is_asked_for_what_it_did_not_offer_sends_nothing_and_goes_on(line: Line) -> None:
    line.coordinator.tell("spoil", to="b", how="asked for what was not offered")
    assert line.ask("b", patience=20)["right"] == {}
    assert line.ask("b")["right"] == {"b": True}


def test_a_message_that_is_none_of_ours_is_refused_and_told_in_one_sentence(line: Line) -> None:
    node_of(line, "b").silent()
    line.coordinator.tell("spoil", to="b", how="a torn object")
    told = line.ask("b")
    assert told["right"] == {} and "no message of chatfed's" in told["refusals"]["b"]
    said = node_of(line, "b").next()["said"]
    assert "passed over" in said and "\n" not in said
    assert line.ask("b")["right"] == {"b": True}
