"""Bytes that Flower carries between processes on this machine, behind TLS; what goes wrong is missing, and named."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.training.engines.flower_line import ROOT, Line, Wire, ended
from training.engines.flower import FlowerMissing, prepare_flower

pytestmark = [pytest.mark.flower, pytest.mark.slow]

FIVE = tuple(f"member {i}" for i in range(5))
OFFLINE = 6.0  # seconds after which a member that died is known to be gone: two heartbeats of two, in a hurry


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A coordinator and five members."""
    made = Line(tmp_path_factory.mktemp("line"))
    try:
        made.admit(*FIVE)
        for name in FIVE:
            made.node(name)
        made.await_online(*FIVE)
        yield made
        assert [end.errors.read_text() for end in made.ends] == [""] * len(made.ends), "nothing is said but by us"
    finally:
        made.close()


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A coordinator and a member, b, that miss each other sooner than Flower would let them."""
    made = Line(tmp_path_factory.mktemp("hasty"), hurry=True)
    try:
        made.admit("b")
        made.node("b")
        made.await_online("b")
        yield made
    finally:
        made.close()


def test_ten_megabytes_go_out_and_come_back(line: Line) -> None:
    told = line.ask("member 0", words="much", size=10_000_000)
    assert told["right"] == {"member 0": True}
    assert told["told"] == [[3, 1, 1]]


def test_five_members_answer_the_same_three_megabytes(line: Line) -> None:
    told = line.ask(*FIVE, words="all", size=3_000_000)
    assert told["right"] == dict.fromkeys(FIVE, True)
    assert told["told"] == [[3, i, 5] for i in range(1, 6)]
    assert told["seconds"] < 20


def test_no_bytes_but_the_step_are_a_message_and_an_answer_too(line: Line) -> None:
    assert line.ask(*FIVE, words="")["right"] == dict.fromkeys(FIVE, True)


def test_what_goes_to_all_lies_there_once_and_withdrawn_leaves_nothing(line: Line) -> None:
    told = line.coordinator.tell("stored", to=FIVE, size=3 << 20)
    assert 3 << 20 < told["bytes"] < (3 << 20) + 10_000
    assert told["left"] == {}


def test_a_refusal_is_told_in_one_line_that_controls_no_terminal(line: Line) -> None:
    told = line.ask("member 1", words="refuse ")
    assert told["right"] == {}
    assert told["refusals"] == {"member 1": "over budget;  [31mraise it"}
    assert told["told"] == [[3, 1, 1]]
    assert told["seconds"] < 5
    assert line.ask("member 0")["refusals"] == told["refusals"], "why it fell silent holds for the round"
    assert line.ask("member 0", step=1)["refusals"] == {}


def test_an_answer_that_is_none_of_ours_is_a_fault_of_whoever_sent_it(line: Line) -> None:
    told = line.ask("member 4", words="garble ")
    assert told["right"] == {} and "no message of chatfed's" in told["refusals"]["member 4"]
    assert line.ask("member 4")["right"] == {"member 4": True}


def test_an_answer_that_comes_too_late_is_dropped_and_is_none_to_the_next_message(line: Line) -> None:
    late = line.ask("member 2", "member 3", words="sleep 3 x", patience=1)
    assert late["right"] == {} and 1 <= late["seconds"] < 2
    told = line.ask("member 2", "member 3", words="the next")
    assert told["right"] == {"member 2": True, "member 3": True}


def test_a_member_whose_answer_came_too_late_is_told_and_nobody_waits_for_it_when_the_round_is_closed(
    own: Line,
) -> None:
    own.admit("quick", "slow")
    quick, slow = own.node("quick"), own.node("slow")
    own.await_online("quick", "slow")
    assert own.ask("slow", words="sleep 6 ", step=1, patience=1)["right"] == {}
    closed = own.ask("quick", "slow", words="over", step=6, patience=60)
    assert closed["right"] == {"quick": True} and closed["seconds"] < 4
    said = slow.next()["said"]
    assert "came too late" in said and "stays charged" in said and "--patience" in said
    assert own.ask("quick", "slow", step=1)["right"] == {"quick": True, "slow": True}
    assert own.ask("quick", "slow", step=6)["right"] == {"quick": True, "slow": True}, "it is back"
    assert quick.lines.empty() and slow.lines.empty()


def test_nobody_waits_long_for_the_word_that_a_round_is_over(own: Line) -> None:
    own.admit("a")
    own.node("a")
    own.await_online("a")
    told = own.ask("a", words="sleep 20 ", step=6, patience=60)
    assert told["right"] == {} and told["seconds"] < 15


TURNED_AWAY = {
    "127.0.0.1": "has a key that is no member's",
    "somebody": "does not take this coordinator's certificate",
    "member 0 (127.0.0.1)": "has another Flower than this coordinator",
}


def test_who_is_turned_away_at_the_door_is_told_of_once_with_its_name_or_address(
    line: Line, unmended: Mapping[str, tuple[str, str]]
) -> None:
    said = line.coordinator.tell("said")["said"]
    for who, why in TURNED_AWAY.items():
        assert [each for each in said if each.startswith(f"Turned away: {who} {why}")], (who, said)
    clocks = [each.partition(" of this one")[0] for each in said if "has a clock" in each]
    assert sorted(clocks) == [
        f"Turned away: member 0 (127.0.0.1) has a clock that is {way}" for way in ("ahead", "behind")
    ]
    assert len(said) == len(set(said)) == 5


def test_who_answers_in_time_is_heard_when_another_does_not(line: Line) -> None:
    told = line.ask("member 0", "nobody", words="hello", patience=2)
    assert told["right"] == {"member 0": True}
    assert told["seconds"] < 2  # nobody waits for one that is not there


REFUSED = """
/v1/control/start-run /v1/control/register-node /v1/control/list-nodes /v1/runtime/acquire-task /v1/responses
/v1/runtime/push-messages /health /docs /openapi.json /redoc / /v1/fleet/ /v1/fleet/register-node
/v1/fleet/unregister-node /v1/fleet/get-fab /v1/fleet/get-run //v1/fleet/pull-messages /v1/fleet//pull-messages
/v1/fleet/pull-messages/ /v1/fleet/pull%2Dmessages /V1/FLEET/pull-messages /v1/fleet/../control/start-run
/v1/fleet/%2e%2e/control/start-run /v1/fleet/pull-messages?a=b /v1/fleet/pull-messages/../../control/start-run
/v1/fleet/pull-messages;a /v1/fleet/pull-messages%00
""".split()


def test_from_outside_nothing_is_there_but_what_a_members_node_calls(line: Line) -> None:
    for path in REFUSED:
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            assert status(line, path, method) == 404, (method, path)


def test_a_call_is_refused_that_is_not_signed_or_not_as_a_node_makes_it(line: Line) -> None:
    pull = "/v1/fleet/pull-messages"
    protobuf = {"content-type": "application/protobuf"}
    point = load_pem_private_key(line.key("member 0").read_bytes(), None).public_key()
    known = {"flwr-public-key": b64encode(point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).decode()}
    assert status(line, pull, headers=protobuf) == 401
    assert status(line, pull, "GET") == 405
    assert status(line, pull, headers={**protobuf, "content-length": str(9 << 20), **known}) == 413
    assert status(line, pull, headers={**protobuf, "transfer-encoding": "chunked"}, body=b"0\r\n\r\n") == 411
    assert status(line, pull, headers={**protobuf, "content-length": "5000"}) == 413  # before any of it is read
    with socket.create_connection(("127.0.0.1", line.port), 10) as plain:
        plain.sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in plain.recv(100)


def status(
    line: Line, path: str, method: str = "POST", headers: dict[str, str] | None = None, body: bytes = b""
) -> int:
    context = ssl.create_default_context(cafile=line.folder / "authority.crt")
    connection = http.client.HTTPSConnection("127.0.0.1", line.port, timeout=20, context=context)
    connection.putrequest(method, path, skip_accept_encoding=True)
    lengths = {"content-length": str(len(body))} if "transfer-encoding" not in (headers or {}) else {}
    for name, value in {**lengths, **(headers or {})}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def unmended(line: Line) -> Mapping[str, tuple[str, str]]:
    """What ends members that no waiting would mend."""
    cases = {
        "stranger": line.case("stranger"),
        "another authority": line.case("member 0", authority="stranger/authority.crt"),
        "ahead": line.case("member 0", shift=60),
        "behind": line.case("member 0", shift=-900),
        "another Flower": line.case("member 0", flower="1.41.0"),
        "no address": line.case("member 0") | {"address": "https://example"},
        "no certificate": line.case("member 0", authority="member 0.key"),
        "nobody listens": line.case("member 0", port=9, give_up=0.5),
    }
    node = line.started("nodes", cases=list(cases.values()))
    told = {name: ended(node) for name in cases}
    assert node.process.wait(20) == 0
    return told


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("stranger", "not_registered", "roster"),
        ("another authority", "certificate_refused", "authority"),
        ("ahead", "clock_off", "seconds ahead of"),
        ("behind", "clock_off", "seconds behind"),
        ("another Flower", "other_flower", "1.41.0"),
        ("no address", "address_unusable", "HOST:PORT"),
        ("no certificate", "address_unusable", "authority"),
        ("nobody listens", "coordinator_gone", "has not answered for"),
    ],
)
def test_what_no_waiting_mends_ends_a_member_and_is_named(
    unmended: Mapping[str, tuple[str, str]], case: str, code: str, words: str
) -> None:
    assert unmended[case][0] == code and words in unmended[case][1]


def test_a_clock_that_is_off_is_named_with_what_it_is_off_by_and_what_sets_it(
    unmended: Mapping[str, tuple[str, str]],
) -> None:
    for case, seconds in (("ahead", 60), ("behind", 900)):
        said = unmended[case][1]
        assert abs(int(said.split(" is ")[1].split()[0]) - seconds) <= 2 and "timedatectl" in said


def test_a_clock_that_is_a_little_behind_is_no_trouble(line: Line) -> None:
    line.add("slow")
    node = line.node("slow", shift=-200)
    line.await_online("slow")
    assert line.ask("slow")["right"] == {"slow": True}
    began = time.monotonic()
    assert node.end() == 0, "told to stop while nobody asks"
    assert time.monotonic() - began < 8
    assert "slow" not in line.coordinator.tell("online")["online"]


def test_a_member_that_meets_an_error_of_its_own_is_missing_and_what_it_was_stays_with_it(hasty: Line) -> None:
    hasty.add("failing")
    failing = hasty.node("failing")
    hasty.await_online("failing")
    told = hasty.ask("failing", words="fail ")
    refusal = told["refusals"]["failing"]
    assert told["right"] == {} and "secret" not in refusal and "error of its own" in refusal
    assert failing.process.wait(20) == 1
    assert "a planted secret" in failing.errors.read_text()
    began = time.monotonic()
    assert hasty.ask("failing", "b", words="")["right"] == {"b": True}
    assert time.monotonic() - began < 3  # who says good-bye is not waited for


def test_a_member_that_is_killed_is_missing_soon_and_another_that_answers_is_heard_before(hasty: Line) -> None:
    hasty.add("killed")
    killed = hasty.node("killed")
    hasty.await_online("killed")
    killed.end(signal.SIGKILL)
    told = hasty.ask("killed", "b", words="one is dead", patience=60)
    assert told["right"] == {"b": True} and told["seconds"] < OFFLINE
    assert told["when"]["b"] < 2

    hasty.node("killed")
    hasty.await_online("killed")
    assert hasty.ask("killed", "b")["right"] == {"killed": True, "b": True}


def test_a_message_is_given_again_where_it_went_into_a_connection_that_was_cut(hasty: Line) -> None:
    hasty.add("cut")
    wire = Wire(hasty.port)
    hasty.node("cut", port=wire.port)
    hasty.await_online("cut")
    time.sleep(1)  # it has a call open that waits for a message
    wire.cut_off()
    told = hasty.ask("cut", patience=60)
    assert told["right"] == {"cut": True} and told["seconds"] < 15
    wire.close()


def test_a_member_that_is_killed_and_back_before_it_was_missed_goes_on(line: Line) -> None:
    line.add("back")
    node = line.node("back")
    line.await_online("back")
    node.end(signal.SIGKILL)
    line.node("back")
    told = line.ask("back", words="while it begins anew", patience=60)
    assert told["right"] == {"back": True} and told["seconds"] < 15


def test_who_is_killed_with_a_message_in_hand_and_comes_back_is_not_waited_for(line: Line) -> None:
    line.add("lost")
    killed = line.node("lost")
    line.await_online("lost")
    line.coordinator.begin("ask", to=["lost"], words="sleep 60 ", patience=50)
    time.sleep(1)
    killed.end(signal.SIGKILL)
    line.node("lost")
    told = line.checked(line.coordinator.next())
    assert told["right"] == {} and told["seconds"] < 15
    assert line.ask("lost")["right"] == {"lost": True}


def test_a_node_that_is_told_to_stop_while_it_answers_is_heard_says_good_bye_and_ends(line: Line) -> None:
    line.add("ending")
    node = line.node("ending")
    line.await_online("ending")
    line.coordinator.begin("ask", to=["ending"], words="sleep 2 ")
    time.sleep(0.5)
    assert node.end(signal.SIGTERM) == 0
    assert line.checked(line.coordinator.next())["right"] == {"ending": True}
    assert "ending" not in line.coordinator.tell("online")["online"]


def test_a_coordinator_that_is_not_ready_refuses_nobody_for_good(own: Line) -> None:
    node = own.node("early")
    assert "has not answered since" in node.next()["said"]
    own.admit("early")
    own.await_online("early", within=15)


def test_what_a_coordinator_cannot_listen_with_is_named(line: Line) -> None:
    taken = line.coordinator.tell("listen", port=line.port, certificate=str(line.folder / "server.crt"))
    assert taken["error"] == "link_failed" and str(line.port) in taken["line"]
    other = line.coordinator.tell("listen", port=0, certificate=str(line.folder / "authority.crt"))
    assert other["error"] == "link_failed" and "authority.crt" in other["line"]


def test_a_key_that_is_none_or_anothers_is_named_and_nobody_is_cut_off(line: Line) -> None:
    points = {name: line.points[name] for name in FIVE}
    for wrong in ("", "02" * 49, points["member 0"][:-2], "00" + points["member 0"][2:]):
        told = line.coordinator.tell("admit", members={**points, "member 5": wrong})
        assert told["error"] == "invalid_value" and "member 5" in told["line"]
    told = line.coordinator.tell("admit", members={**points, "member 5": points["member 0"]})
    assert told["error"] == "invalid_value" and "member 0" in told["line"] and "member 5" in told["line"]
    assert line.ask(*FIVE)["right"] == dict.fromkeys(FIVE, True)


def test_where_there_is_no_flower_the_mend_is_named() -> None:
    with pytest.raises(FlowerMissing, match=r"pip install 'chatfed\[flower\]'"):
        prepare_flower()


def test_another_flower_than_the_one_that_this_stands_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flwr-1.43.0.dist-info").mkdir()
    (tmp_path / "flwr-1.43.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: flwr\nVersion: 1.43.0\n")
    script = "from training.engines.flower import prepare_flower; prepare_flower()"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "OtherFlower: Here is flwr 1.43.0" in ran.stderr and "pip install 'flwr==1.42.*'" in ran.stderr
