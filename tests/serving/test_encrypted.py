"""`chatfed he serve` and `chatfed he ask`: words from a server that sees ciphertexts, over a real socket."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chatfed.cli import app
from chatfed.command_line import run_typer
from chatfed.encrypted.errors import MalformedCiphertext, OtherKey
from chatfed.encrypted.network import FREE, BadHalf
from chatfed.encrypted.wire import HEAD, Kind
from chatfed.types import ChatfedError, InvalidValue
from serving import encrypted_answers, encrypted_questions
from serving.app import bind
from serving.encrypted_answers import Answers, answerer_of, answering
from serving.encrypted_questions import KEYS, QUESTION, Caller, NoAnswer, _refusal, read_half
from tests.secagg.fuzz import spoiled
from tests.serving.halves import in_clear, write_halves

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEXT = "my unmistakable zebra"


class Recording(Answers):
    """Keeps what came and what went."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.came: list[tuple[str, bytes]] = []
        super().__init__(answerer_of(folder), self.said.append)

    def to(self, path: str, body: bytes) -> bytes:
        self.came.append((path, body))
        return super().to(path, body)


@contextmanager
def served(answers: Answers) -> Iterator[tuple[str, int]]:
    with bind("127.0.0.1", 0) as listener, answering(answers, listener) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            server.shutdown()
            thread.join(10)


@pytest.fixture(scope="module")
def run(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_halves(tmp_path_factory.mktemp("run"), tiny_tokenizer)


@pytest.fixture(scope="module")
def answers(run: Path) -> Recording:
    return Recording(run)


@pytest.fixture(scope="module")
def address(answers: Recording) -> Iterator[tuple[str, int]]:
    with served(answers) as found:
        yield found


@pytest.fixture(scope="module")
def caller(run: Path, address: tuple[str, int]) -> Iterator[Caller]:
    with Caller.open(run, *address) as made:
        yield made


def test_words_come_back_as_in_clear_and_what_crossed_is_said(run: Path, answers: Recording, caller: Caller) -> None:
    before, questions = len(answers.came), caller.crossed.questions
    words = caller.next_words(TEXT, 2)
    assert [each.word for each in words] == in_clear(run, TEXT, 2)
    assert all(0 < each.probability <= 1 for each in words)
    asked = answers.came[before:]
    assert [path for path, _ in asked] == [QUESTION] * (caller.crossed.questions - questions) and len(asked) >= 3
    assert max(map(len, (body for _, body in asked))) <= HEAD.size + answers.most[QUESTION]
    assert "ciphertext" in answers.said[-1] and f"{len(asked[-1][1]):,} bytes in" in answers.said[-1]
    assert f"{caller.crossed.questions} questions" in caller.crossed.in_words()


def test_neither_text_nor_words_nor_scores_reach_the_server(answers: Recording, caller: Caller) -> None:
    before = len(answers.came)
    words = caller.next_words(TEXT, 1)
    everything = b"".join(body for _, body in answers.came) + "".join(answers.said).encode()
    secrets = [
        word for word in (*TEXT.split(), *(each.word for each in words)) if len(word) > 4
    ]  # shorter ones by chance
    assert "unmistakable" in secrets and [word for word in secrets if word.encode() in everything] == []
    kinds = [body[5] for _, body in answers.came]
    assert set(kinds) == {Kind.KEYS, Kind.QUESTION} and set(kinds[before:]) == {Kind.QUESTION}


def test_the_commands_do_the_same(
    run: Path, address: tuple[str, int], caller: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    at = f"{address[0]}:{address[1]}"
    assert run_typer(app, "chatfed", ["he", "ask", TEXT, "--half", str(run), "--at", at, "-k", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.split()[0] == in_clear(run, TEXT, 1)[0] and "The server saw ciphertexts" in err


def test_keys_that_the_server_forgot_are_sent_again(answers: Recording, caller: Caller) -> None:
    answers._answerer._keys.clear()
    before = len(answers.came)
    caller.scores([5, 6])
    assert [path for path, _ in answers.came[before:]] == [QUESTION, KEYS, QUESTION]


def test_a_connection_that_the_server_closed_meanwhile_is_opened_anew(
    answers: Recording, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encrypted_answers, "HEAD_SECONDS", 0.5)
    caller.scores([5, 6])
    first = caller.connection.sock
    assert first is not None and first.recv(1, socket.MSG_PEEK) == b"", "the server waits no longer for a next question"
    before = len(answers.came)
    caller.scores([5, 7])
    assert caller.connection.sock is not first and len(answers.came) == before + 1


def test_whoever_looks_sees_each_message_as_it_crosses(answers: Recording, caller: Caller) -> None:
    seen = list[tuple[str, bytes, float]]()
    caller.seen = lambda *message: seen.append(message)
    before = len(answers.came)
    answers._answerer._keys.clear()
    caller.next_words(TEXT, 1)
    sent = [(KEYS if what == "keys" else QUESTION, content) for what, content, _ in seen if what != "answer"]
    assert sent == answers.came[before:]
    assert [what for what, _, _ in seen][:4] == ["question", "keys", "question", "answer"]
    assert all((seconds > 0) == (what == "answer") for what, _, seconds in seen)


@pytest.mark.parametrize(
    ("path", "length", "sent"),
    [
        ("/elsewhere", "3", b"abc"),
        (QUESTION, "99999999", b""),
        (QUESTION, "nonsense", b""),
        (KEYS, str(1 << 40), b""),
        (QUESTION, "3", b"abc"),
        (KEYS, "0", b""),
    ],
)
def test_what_is_no_message_is_refused_in_words(address: tuple[str, int], path: str, length: str, sent: bytes) -> None:
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", length)
    connection.endheaders(sent)
    response = connection.getresponse()
    assert response.status == 400 and b'"code"' in response.read()
    connection.close()


def test_a_message_that_never_ends_is_given_up(
    address: tuple[str, int], caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encrypted_answers, "BODY_SECONDS", 0.3)
    with socket.create_connection(address, timeout=20) as slow:
        slow.sendall(f"POST {QUESTION} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc".encode())
        assert b"400" in slow.recv(1 << 16)
    assert len(caller.scores([5]))


def drip(connection: socket.socket, most: int) -> int:
    """Sends a byte each tenth of a second until the other side is gone; how many went."""
    for sent in range(most):
        try:
            connection.sendall(b"a")
        except OSError:
            return sent
        time.sleep(0.1)
    return most


def test_heads_that_drip_are_given_up_and_keep_nobody_out(
    address: tuple[str, int], caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes well within the time that a whole head has."""
    monkeypatch.setattr(encrypted_answers, "HEAD_SECONDS", 0.5)
    caller.connection.close()
    slow = [socket.create_connection(address, timeout=20) for _ in range(encrypted_answers.CALLERS)]
    threads = [threading.Thread(target=drip, args=(each, 100)) for each in slow[1:]]
    for each in slow:
        each.sendall(f"POST {QUESTION} HTTP/1.1\r\nX: ".encode())
    for thread in threads:
        thread.start()
    assert drip(slow[0], 100) < 100
    for thread in threads:
        thread.join(20)
    for each in slow:
        each.close()
    monkeypatch.undo()
    assert len(caller.scores([5]))


def test_a_caller_beyond_eight_is_sent_away_while_they_are_there(answers: Recording) -> None:
    with served(answers) as address, ExitStack() as there:
        for _ in range(8):
            each = there.enter_context(socket.create_connection(address, timeout=20))
            each.sendall(f"POST {QUESTION} HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".encode())
            assert b"400" in each.recv(1 << 16)  # it is served, and its line stays open
        further = there.enter_context(socket.create_connection(address, timeout=20))
        assert further.recv(1) == b""


@pytest.mark.parametrize("start", ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_an_answer_that_drips_is_given_up_and_the_server_named(
    run: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encrypted_questions, "WAIT", 0.5)
    sent = list[int]()

    def dripping(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(start.encode())
            sent.append(drip(connection, 100))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=dripping, args=(listener,))
        thread.start()
        with pytest.raises(NoAnswer, match=r"within 0\.5 s"):
            Caller.open(run, *listener.getsockname()[:2])
        thread.join(20)
    assert sent[0] < 100


def test_a_server_that_is_none_is_named(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()[:2]
    with pytest.raises(NoAnswer, match="chatfed he serve"):
        Caller.open(run, *address)


class Lying(Answers):
    """Answers with the first answer that it ever gave, whatever is asked; or with nothing of ours."""

    first = b""
    nonsense = False

    def to(self, path: str, body: bytes) -> bytes:
        found = super().to(path, body)
        if path == KEYS:
            return found
        self.first = self.first or found
        return b"nonsense" if self.nonsense else self.first


def test_a_server_that_answers_something_else_is_named_and_asked_no_more(run: Path) -> None:
    answers = Lying(answerer_of(run), lambda line: None)
    with served(answers) as address, Caller.open(run, *address) as caller:
        caller.scores([5])
        with pytest.raises(OtherKey, match="the server"):
            caller.scores([6])
        answers.nonsense = True
        with pytest.raises(MalformedCiphertext, match="the server"):
            caller.scores([6])


def test_whatever_a_server_says_is_wrong_becomes_an_error_of_ours_in_words_of_ours() -> None:
    said = {"error": {"code": "other_key", "message": "words", "param": "question", "mend": "send it"}}
    real, rng = json.dumps(said).encode(), random.Random(3)
    assert isinstance(_refusal(real), OtherKey) and "The question that the asker sent" in str(_refusal(real))
    for _ in range(2000):
        error = _refusal(spoiled(real, [real, b"[]"], rng))
        assert isinstance(error, ChatfedError) and str(error).isprintable() and len(str(error)) < 2000
    hostile = json.dumps({"error": said["error"] | {"param": "\x1b[2J\ud800"}}).encode()
    assert "The message that the asker sent" in str(_refusal(hostile))


def test_halves_that_are_not_there_or_damaged_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadHalf, match="distil"):
        answerer_of(tmp_path)
    with pytest.raises(BadHalf, match=r"network\.npz"):
        read_half(tmp_path)
    whole = (run / "encrypted" / "asker" / "network.npz").read_bytes()
    for bad in (b"", whole[:1000], (run / "encrypted" / "server" / "network.npz").read_bytes()):
        (tmp_path / "network.npz").write_bytes(bad)
        with pytest.raises(BadHalf):
            read_half(tmp_path)


@pytest.mark.parametrize("at", ["nowhere", "127.0.0.1:", "127.0.0.1:99999", ":7870"])
def test_an_address_that_is_none_is_named(run: Path, at: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_typer(app, "chatfed", ["he", "ask", "hello", "--half", str(run), "--at", at]) == 2
    assert "HOST:PORT" in capsys.readouterr().err


def test_a_question_of_no_word_is_asked_too(caller: Caller) -> None:
    assert len(caller.next_words("", 1)) == 1
    with pytest.raises(InvalidValue):
        caller.asker.ask(np.full(FREE, 3, np.float32))
