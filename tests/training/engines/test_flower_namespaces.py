"""A federation whose parties are on two networks: nothing readable is on the wire, or at the coordinator.

Members are in one network namespace and the coordinator in another, with a cable between them that is listened to. All
else on this machine is out of reach of both. Needs root.
"""

from __future__ import annotations

import json
import re
import secrets
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatfed.model.transformer import load_tokenizer
from tests.training.engines.flower_line import flower_python
from tests.training.engines.namespaces import (
    CHANGE_CIPHER,
    DATA,
    HANDSHAKE,
    HERE,
    Cable,
    records,
    refuse_without,
    streams,
)
from tests.training.members import SMALL, lines_of
from training.parties.identity import member_line, new_key, read_key
from training.plan.recipe import load_recipe
from training.run.display import Display
from training.run.invitation import Invitation

pytestmark = [pytest.mark.flower, pytest.mark.slow]

PORT = 9443
NAMES = ("northern", "southern", "eastern")  # too long to be met by chance
WITHIN = 240.0  # seconds for the whole run, most of them imports
ELSEWHERE = (
    *("/", "/docs", "/redoc", "/openapi.json", "/health", "/healthz", "/metrics", "/v1", "/v1/fleet", "/v1/fleet/"),
    *("/v1/control/list-runs", "/v1/control/start-run", "/v1/control/register-node", "/v1/control/stream-logs"),
    *("/v1/runtime/acquire-task", "/v1/runtime/pull-task-input", "/v1/runtime/push-messages", "/v1/runtime/responses"),
    *("/v1/fleet/register-node", "/v1/fleet/unregister-node", "/v1/fleet/get-run", "/v1/fleet/get-fab"),
    *("//v1/control/list-runs", "/v1/fleet/../control/list-runs", "/v1/fleet/%2e%2e/control/list-runs"),
    *(
        "/v1/fleet/pull-messages/",
        "/v1/fleet/pull-messages?x=1",
        "/V1/FLEET/pull-messages",
        "/v1%2ffleet/pull-messages",
    ),
)
PROBE = """
import http.client, json, socket, ssl, sys
host, port, authority, paths = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=authority)
found = {}
for path in paths:
    for method in ("GET", "POST", "OPTIONS"):
        call = http.client.HTTPSConnection(host, port, context=context, timeout=20)
        call.request(method, path, body=b"" if method == "POST" else None)
        answer = call.getresponse()
        found[method + " " + path] = [answer.status, answer.read().decode()]
        call.close()
closed = []
for other in (22, 80, 443, 8000, 8080, 9091, 9092, 9093, 9094):
    try:
        socket.create_connection((host, other), 2).close()
    except OSError:
        closed.append(other)
with socket.create_connection((host, port), 20) as bare:
    bare.sendall(b"GET /docs HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    bare.settimeout(20)
    try:
        plain = bare.recv(1 << 12)
    except OSError:
        plain = b""
print(json.dumps({"found": found, "closed": closed, "plain": plain.hex()}))
"""


@dataclass
class Federation:
    """A run that is over, and what was seen of it."""

    folder: Path
    cable: Cable
    planted: dict[str, str] = field(default_factory=dict)  # by member, in its dialogues
    probed: dict[str, Any] = field(default_factory=dict)
    stranger: str = ""  # what a node with a key of its own was told
    listening: dict[str, set[str]] = field(default_factory=dict)
    dumped: str = ""
    began: float = 0.0
    streams: dict[tuple[Any, Any], bytes] = field(default_factory=dict)

    @property
    def hub(self) -> Path:
        return self.folder / "hub"

    def files_at_the_coordinator(self) -> dict[Path, bytes]:
        """All that its process may have written.

        Below its folder, which is its home and working directory too, and whatever is new in /tmp beside that.
        """
        own = [path for path in self.hub.rglob("*") if path.is_file() and path.name != "said"]
        aside = [path for path in Path("/tmp").glob("*") if path.is_file() and path.stat().st_mtime >= self.began]  # noqa: S108
        return {path: path.read_bytes() for path in (*own, *aside, self.hub / "said")}

    def figures(self, name: str) -> set[int]:
        """What is this member's alone: words and bytes that it has, in dialogues to learn from and in held-out ones."""
        lines = (self.folder / name / "mine.jsonl").read_text(encoding="utf-8").splitlines()
        tables = [self.folder / name / "home" / table for table in ("private", "held-out")]
        counts = {int(np.load(table / "bytes.npy").sum()) for table in tables}
        counts |= {(table / "ids.i32").stat().st_size // 4 for table in tables}
        said = (self.folder / name / "said").read_text(encoding="utf-8")
        told = {int(each.replace(",", "")) for each in re.findall(r"([\d,]+) dialogues are learned from", said)}
        assert told == {len(lines) - self.held_out(name)}
        return {count for count in counts if count >= 1000}  # smaller ones are found anywhere

    def held_out(self, name: str) -> int:
        said = (self.folder / name / "said").read_text(encoding="utf-8")
        (told,) = re.findall(r"and ([\d,]+) are held out", said)
        return int(told.replace(",", ""))


@pytest.fixture(scope="module")
def seen(tiny_base: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """The federation's run, from the first packet to the last."""
    refuse_without()
    folder = tmp_path_factory.mktemp("apart")
    made = Federation(folder, Cable(folder), began=time.time())
    _make(made, tiny_base, tiny_data)
    with made.cable:
        _run(made)
    made.streams = streams(made.cable.captured)
    return made


def _make(made: Federation, base: Path, data: Path) -> None:
    lines = ""
    made.hub.mkdir()
    for at, (name, dialogues) in enumerate(zip(NAMES, lines_of(data / "private.jsonl", 3, 40), strict=True)):
        home = made.folder / name
        home.mkdir()
        made.planted[name] = f"the vault of {name} opens at {secrets.token_hex(12)}"
        said = [{"role": "user", "content": "how does it open"}, {"role": "assistant", "content": made.planted[name]}]
        own = [json.dumps({"messages": said, "client_id": name}) + "\n", *dialogues[: len(dialogues) - 3 * at]]
        (home / "mine.jsonl").write_text("".join(own), encoding="utf-8")
        new_key(home / "my.key")
        lines += member_line(name, read_key(home / "my.key")) + "\n"
    (made.hub / "lines").write_text(lines, encoding="utf-8")
    recipe = load_recipe(Path(__file__).parents[1] / "plain.toml", [*SMALL, f"model.base={base}"])
    invitation = Invitation(made.hub / "fed", made.hub / "secrets", "houses", f"{HERE}:{PORT}", made.hub / "lines")
    invitation.make(recipe, Display(quiet=True))
    (made.folder / "authority.crt").write_bytes((made.hub / "secrets" / "authority.crt").read_bytes())
    for name in NAMES:
        subprocess.run(["cp", "-r", made.hub / "fed", made.folder / name / "fed"], check=True)


def _run(made: Federation) -> None:
    cable, python = made.cable, str(flower_python())
    words = [python, "-m", "chatfed", "coordinate", "fed/FEDERATION.toml", "--secrets", "secrets", "--out", "run"]
    coordinator = cable.start(cable.coordinator, [*words, "--patience", "120"], made.hub)
    processes = [coordinator]
    try:
        _until(made.hub / "said", "Waiting for", coordinator)
        made.probed = _probed(made)
        made.stranger = _stranger(made)
        for name in NAMES:
            given = ["--data", "mine.jsonl", "--key", "my.key", "--home", "home", "--yes"]
            command = [python, "-m", "chatfed", "join", "fed/FEDERATION.toml", *given]
            processes.append(cable.start(cable.members, command, made.folder / name))
        _until(made.hub / "said", "Round 1 of 2", coordinator)
        made.listening = {name: cable.listening(name) for name in cable.names}
        assert [each.wait(WITHIN) for each in processes] == [0] * 4, (made.hub / "said").read_text(encoding="utf-8")
    finally:
        for each in processes:
            if each.poll() is None:
                each.send_signal(signal.SIGKILL)
                each.wait()
        made.dumped = cable.stop()


def _until(said: Path, words: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + WITHIN
    while words not in (text := said.read_text(encoding="utf-8")):
        assert process.poll() is None and time.monotonic() < end, text
        time.sleep(0.1)


def _probed(made: Federation) -> dict[str, Any]:
    """What a program among the members is told that is none."""
    given = json.dumps([HERE, PORT, str(made.folder / "authority.crt"), ELSEWHERE])
    command = made.cable.inside(made.cable.members, sys.executable, "-c", PROBE, given)
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _stranger(made: Federation) -> str:
    """How `chatfed join` ends for somebody with all files and a key that is not on the list."""
    home, inside = made.folder / "stranger", made.folder / "stranger" / "fed"
    subprocess.run(["cp", "-r", made.folder / "northern", home], check=True)
    (home / "my.key").unlink()
    new_key(home / "my.key")
    text, line = (
        (inside / "FEDERATION.toml").read_text(encoding="utf-8"),
        member_line("northern", read_key(home / "my.key")),
    )
    (at,) = [match.start() for match in re.finditer(r'name = "northern"', text)]
    head, rest = text[:at], text[at:]
    for kind, value in zip(("identity", "transport"), line.split()[1:4:2], strict=True):
        rest = re.sub(rf'{kind} = "\w+"', f'{kind} = "{value}"', rest, count=1)
    (inside / "FEDERATION.toml").write_text(head + rest, encoding="utf-8")
    words = [str(flower_python()), "-m", "chatfed", "join", "fed/FEDERATION.toml", "--data", "mine.jsonl"]
    process = made.cable.start(made.cable.members, [*words, "--key", "my.key", "--home", "home", "--yes"], home)
    assert process.wait(WITHIN) == 2
    return (home / "said").read_text(encoding="utf-8")


def test_the_run_is_a_whole_one(seen: Federation) -> None:
    summary = json.loads((seen.hub / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["rounds"] == 2 and summary["clients"] == 3
    for name in NAMES:
        assert "The federation's run is over." in (seen.folder / name / "said").read_text(encoding="utf-8")


# The wire


@pytest.mark.parametrize(
    "stream", [b"POST /v1/fleet/pull-messages HTTP/1.1\r\n", b"\x17\x03\x03\x00\x01xPOST /v1/fleet"]
)
def test_what_is_in_no_record_is_noticed(stream: bytes) -> None:
    with pytest.raises(AssertionError, match="no TLS record"):
        list(records(stream))


def test_every_byte_on_the_wire_is_in_a_tls_record_and_after_the_handshake_none_is_readable(seen: Federation) -> None:
    assert re.search(r"^0 packets dropped by kernel", seen.dumped, re.MULTILINE), seen.dumped
    both, plain = 0, 0
    for (source, target), stream in seen.streams.items():
        assert PORT in (source[1], target[1])
        if stream.startswith(b"GET "):  # the probe that spoke without TLS
            plain += 1
            continue
        kinds = [kind for kind, _ in records(stream)]
        assert kinds[0] in (HANDSHAKE, 21)  # an alert alone answers the probe without TLS
        assert all(kind == DATA for kind in kinds[1:] if kind != CHANGE_CIPHER)
        both += len(stream) if kinds[0] == HANDSHAKE else 0
    assert plain == 1 and both > 100_000


def test_what_opens_a_connection_is_the_first_message_of_tls_13_and_no_more(seen: Federation) -> None:
    for (_, target), stream in seen.streams.items():
        kind, body = next(records(stream)) if not stream.startswith(b"GET ") else (0, b"")
        if kind == HANDSHAKE:
            assert body[0] == (1 if target[1] == PORT else 2)  # ClientHello, ServerHello (RFC 8446, section 4)
            assert b"\x00\x2b" in body and b"\x03\x04" in body  # supported_versions, and TLS 1.3


def test_no_planted_string_name_or_word_of_ours_is_on_the_wire(seen: Federation) -> None:
    heard = b"\0".join(stream for stream in seen.streams.values() if not stream.startswith(b"GET "))
    words = [
        *seen.planted.values(),
        *NAMES,
        "houses",
        "chatfed",
        "fleet",
        "flwr",
        "POST /",
        "HTTP/1.1",
        "bits_per_byte",
    ]
    words += [phrase.rpartition(" ")[2] for phrase in seen.planted.values()]
    words += [(seen.folder / name / "my.key").read_text(encoding="ascii").strip() for name in NAMES]
    assert [word for word in words if word.encode() in heard] == []
    for name in NAMES:
        assert not [form for count in seen.figures(name) for form in _forms(count) if form in heard], name


# The coordinator's disk


def test_no_planted_string_lies_at_the_coordinator_as_text_or_as_tokens(seen: Federation, tiny_base: Path) -> None:
    tokenizer, files = load_tokenizer(str(tiny_base)), seen.files_at_the_coordinator()
    assert len(files) > 20
    for name, phrase in seen.planted.items():
        code = phrase.rpartition(" ")[2]
        ids = np.array(tokenizer(phrase, add_special_tokens=False)["input_ids"][4:], np.int32)
        forms = [
            phrase.encode(),
            code.encode(),
            ids.tobytes(),
            ids.astype(np.int64).tobytes(),
            ids.astype("<u2").tobytes(),
        ]
        assert (
            forms[2]
            in (seen.folder / name / "home" / "private" / "ids.i32").read_bytes()
            + (seen.folder / name / "home" / "held-out" / "ids.i32").read_bytes()
        ), "where it should be, it is found"
        assert [path for path, content in files.items() if any(form in content for form in forms)] == []


def test_no_figure_of_a_single_member_lies_at_the_coordinator(seen: Federation) -> None:
    files = seen.files_at_the_coordinator()
    for name in NAMES:
        figures = seen.figures(name)
        assert len(figures) >= 2
        for path, content in files.items():
            if path.suffix in (".json", ".jsonl", ".html", ".toml", ".md") or path.name == "said":
                numbers = {float(each) for each in re.findall(rb"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", content)}
                assert numbers.isdisjoint(figures), f"{path}: {numbers & figures} is {name}'s own"
            assert not [count for count in figures if _holds(path, content, count)], path


def _forms(count: int) -> list[bytes]:
    """A number as text with a comma in its thousands, and as numbers of eight bytes."""
    return [f"{count:,}".encode(), struct.pack("<d", count), struct.pack("<q", count)]


def _holds(path: Path, content: bytes, count: int) -> bool:
    """Whether the file holds this number as one of eight bytes.

    Among weights of four bytes such a number stands where one of them begins: the last half of one and a bias of zeros
    behind it look like any number below 2^16.
    """
    found = (match.start() for form in _forms(count)[1:] for match in re.finditer(re.escape(form), content))
    return any(path.suffix != ".safetensors" or at % 4 == 0 for at in found)


# What members reach


def test_nothing_of_flowers_server_but_what_a_node_calls_can_be_reached(seen: Federation) -> None:
    answers = seen.probed["found"]
    assert len(answers) == 3 * len(ELSEWHERE)
    assert {call: told for call, told in answers.items() if told != [404, ""]} == {}


def test_who_speaks_without_tls_hears_nothing_of_http(seen: Federation) -> None:
    told = bytes.fromhex(seen.probed["plain"])
    assert b"HTTP" not in told and (not told or told[0] == 21)


def test_a_node_whose_key_is_on_no_list_is_let_in_nowhere(seen: Federation) -> None:
    assert "does not know this member's transport key" in seen.stranger and "Invited" not in seen.stranger


def test_the_coordinator_has_one_open_port_and_members_have_none(seen: Federation) -> None:
    assert seen.listening == {seen.cable.coordinator: {f"0.0.0.0:{PORT}"}, seen.cable.members: set()}
    assert seen.probed["closed"] == [22, 80, 443, 8000, 8080, 9091, 9092, 9093, 9094]
