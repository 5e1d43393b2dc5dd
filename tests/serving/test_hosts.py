"""By which names and under which path the page answers: --allow-host, --root-path, and who is its operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatfed.cli import main
from serving import app
from serving.guard import Guard, PublicAddress, host_name
from tests.serving.test_guard import OWN, Visit, run

EVIL = "evil.example"


def visit(only_loopback: bool, hosts: tuple[str, ...] = (), public: PublicAddress | None = None) -> Visit:
    visited = Visit()
    told = visited.guard
    visited.guard = Guard(told.app, told.calls, told.sessions, only_loopback, public, hosts)
    return visited


@pytest.mark.parametrize("only_loopback", [True, False])
def test_only_allowed_hosts_and_loopback_are_answered(only_loopback: bool) -> None:
    visited = visit(only_loopback, ("chat.example", "192.0.2.7"))
    for host in ("chat.example", "CHAT.example:8443", "192.0.2.7:7860", OWN, "localhost"):
        assert run(visited.status({"host": host})) == 200, host
        assert run(visited.status({"host": host, "origin": f"https://{host}"})) == 200, host
        assert run(visited.status({"host": host, "origin": f"https://{EVIL}"})) == 403, host
    for host in (EVIL, "chat.example.evil.example", "192.0.2.8", "", "xchat.example"):
        assert run(visited.status({"host": host})) == 403, host


def test_a_refusal_of_a_host_says_which_option_lets_it_in() -> None:
    head, body = run(visit(False, ("chat.example",)).ask({"host": EVIL}))
    assert head["status"] == 403 and b"--allow-host" in body["body"] and EVIL.encode() not in body["body"]


def test_without_allowed_hosts_a_page_for_other_machines_answers_any() -> None:
    assert run(visit(False).status({"host": EVIL})) == 200


def test_under_a_root_path_the_proxy_says_whether_it_is_https() -> None:
    visited = visit(True, ("chat.example",), PublicAddress.under("/talk"))
    for path in ("/talk/", "/"):
        for told, scheme in (("https", "https"), ("https, http", "https"), ("http", "http"), ("gopher", "http")):
            answer = run(visited.ask({"host": "chat.example", "x-forwarded-proto": told}, path))
            cookie = dict(answer[0]["headers"])[b"set-cookie"].decode()
            assert "Path=/talk;" in cookie and ("Secure" in cookie) == (scheme == "https"), (path, told)
            assert visited.seen[-1]["scheme"] == scheme and visited.seen[-1]["path"] == "/"
    assert run(visited.status({"host": ""})) == 403, "no name at all is not the public one"
    assert run(visited.status({"host": "chat.example", "origin": "https://chat.example"}, "/talk/theme.css")) == 200


def test_without_a_root_path_what_the_proxy_says_is_not_read() -> None:
    visited = visit(True)
    assert run(visited.status({"host": OWN, "x-forwarded-proto": "https"})) == 200
    assert visited.seen[-1]["scheme"] == "http"


@pytest.mark.parametrize(
    ("text", "name"),
    [("Chat.Example", "chat.example"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("my_box", "my_box")],
)
def test_a_host_is_read(text: str, name: str) -> None:
    assert host_name(text) == name


@pytest.mark.parametrize("text", ["*", "", "a b", "https://chat.example", "chat.example:80", "-a", "a..b", "*.example"])
def test_what_is_no_host_is_refused_in_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--allow-host", text]) == 2
    assert "is no name of a host; give one such as chat.example" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--root-path", "/a b"], ["--root-path", "/a", "--public-url", "https://chat.example/a"]]
)
def test_a_root_path_that_cannot_be_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *options]) == 2
    said = capsys.readouterr().err
    assert "is no path" in said or "leave --root-path out" in said


OPEN = "0.0.0.0"  # noqa: S104, none is bound


@pytest.mark.parametrize(
    ("options", "host", "operator"),
    [
        ([], "127.0.0.1", True),
        (["--no-operator-page"], "127.0.0.1", False),
        (["--public-url", "https://chat.example"], "127.0.0.1", False),
        (["--root-path", "/talk"], "127.0.0.1", False),
        (["--allow-host", "chat.example"], "127.0.0.1", False),
        ([], OPEN, False),
        (["--operator-page"], OPEN, True),
        (["--operator-page", "--root-path", "talk/"], "127.0.0.1", True),
    ],
)
def test_the_operators_page_is_for_whoever_is_alone_with_it_or_says_so(
    tmp_path: Path, options: list[str], host: str, operator: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    asked: list[app.Served] = []
    monkeypatch.setattr(app, "serve", lambda run, listener, served: asked.append(served))
    assert main(["serve", "--model", str(tmp_path), "--port", "0", *options]) == 0
    assert [each.operators(host) for each in asked] == [operator]
