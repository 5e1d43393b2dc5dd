"""Keys are made once and kept to oneself; a roster says exactly who is who, or is refused by line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chatfed.secagg import primitives
from chatfed.types import ClientId
from training.parties.identity import (
    IdentityError,
    keys_of,
    member_line,
    members_in,
    new_key,
    read_key,
    read_members,
    read_roster,
    roster_line,
    signer,
)

ROOT = Path(__file__).parents[3]


def run(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chatfed", "identity", *map(str, options)], cwd=ROOT, capture_output=True, text=True
    )


def test_a_new_key_signs_as_its_line_of_the_roster_says(tmp_path: Path) -> None:
    key = tmp_path / "north.key"
    made = run("new", "branch north", "--key", key)
    assert made.returncode == 0, made.stderr
    (tmp_path / "roster").write_text("# who is who\n\n" + made.stdout)
    (public,) = keys_of(read_roster(tmp_path / "roster"), [ClientId("branch north")])
    assert primitives.signed(public, signer(read_key(key))(b"message"), b"message")
    assert run("line", "branch north", "--key", key).stdout == made.stdout
    assert key.stat().st_mode & 0o077 == 0
    assert read_key(key).hex() not in made.stdout + made.stderr


def test_a_key_is_never_overwritten_and_a_bad_one_is_told_without_its_content(tmp_path: Path) -> None:
    key = tmp_path / "key"
    new_key(key)
    before = key.read_bytes()
    again = run("new", "north", "--key", key)
    assert again.returncode == 2 and "exists" in again.stderr and "Traceback" not in again.stderr
    assert key.read_bytes() == before
    for content in ("", "5ec2e7", "nothex" * 11):
        key.write_text(content)
        with pytest.raises(IdentityError) as caught:
            read_key(key)
        assert not content or content not in str(caught.value)


BREAKS = ["\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("name", ["", " ", " north", "north ", *(f"a{end}b" for end in BREAKS), "north\x85"])
def test_names_that_do_not_fit_a_line_are_refused(name: str) -> None:
    with pytest.raises(IdentityError):
        roster_line(name, bytes(32))


@pytest.mark.parametrize(
    "bad",
    ["north", "ed25519 00 north", "rsa " + "0" * 64 + " north", "ed25519 " + "1" * 64, "ed25519 " + "z" * 64 + " n"],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "roster"
    path.write_text(roster_line("south", bytes(32)) + "\n" + bad + "\n")
    with pytest.raises(IdentityError, match="line 2"):
        read_roster(path)


@pytest.mark.parametrize("end", [end for end in BREAKS if end != "\n"])
@pytest.mark.parametrize("rest", ["", "b", "# b", "ed25519 " + "1" * 64 + " smuggled"])
def test_a_name_with_a_line_break_of_another_kind_is_one_error_and_never_two_entries(
    tmp_path: Path, end: str, rest: str
) -> None:
    """What an editor shows as one line must not be read as two."""
    path = tmp_path / "roster"
    path.write_text(f"{roster_line('north', bytes(32))}{end}{rest}\n", encoding="utf-8", newline="")
    if (end, rest) == ("\r", ""):  # a file with the line ends of Windows
        assert list(read_roster(path)) == ["north"]
        return
    with pytest.raises(IdentityError, match=r"line 1: .*one line") as caught:
        read_roster(path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_line_of_a_member_has_both_keys_and_serves_a_roster_too(tmp_path: Path) -> None:
    lines = [member_line(name, name.encode() * 32) for name in "ba"]
    members = read_members("# two\n\n" + "\r\n".join(lines))
    assert [(each.name, each.identity, each.transport) for each in members] == [
        (name, primitives.identity_public(name.encode() * 32), primitives.transport_public(name.encode() * 32))
        for name in "ba"
    ]
    (tmp_path / "roster").write_text("\n".join([*lines, roster_line("c", bytes(32))]))
    everybody = {each.name: each.identity for each in members} | {ClientId("c"): primitives.identity_public(bytes(32))}
    assert read_roster(tmp_path / "roster") == everybody


NORTH = member_line("north", b"\1" * 32)
POINT = primitives.transport_public(b"\2" * 32).hex()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (roster_line("south", bytes(32)), "line 2: south has no `p384` and public key of its node"),
        (f"ed25519 {'1' * 64} p384 {'0' * 98} south", "line 2: after `p384` write the public key of a node"),
        (f"ed25519 {'1' * 64} p384 {POINT[:-2]} south", "line 2: after `p384` write"),
        (f"ed25519 {'1' * 64} p384 {POINT}", "line 2: write `ed25519`"),
        (f"ed25519 {'1' * 64} p384 {POINT} ", "line 2: write `ed25519`"),
        (f"ed25519 {'1' * 64} p384 {POINT} so\x1buth", r"line 2: .* cannot be a member's name: one line of printable"),
        (f"ed25519 {'1' * 64} p384 {POINT} {'s' * 101}", "line 2: .* at most 100 characters"),
        (NORTH, "line 2: north or a key of it stands there twice"),
        (f"ed25519 {NORTH.split()[1]} p384 {POINT} south", "line 2: south or a key of it stands there twice"),
        (f"ed25519 {'1' * 64} p384 {NORTH.split()[3]} south", "line 2: south or a key of it stands there twice"),
    ],
)
def test_a_line_that_makes_no_member_is_named(bad: str, said: str) -> None:
    with pytest.raises(IdentityError, match=f"^{said}") as caught:
        read_members(f"{NORTH}\n{bad}\n")
    assert "\n" not in str(caught.value)
    with pytest.raises(IdentityError, match=f"^lines, {said}"):
        read_members(f"{NORTH}\n{bad}\n", "lines")


def test_a_name_that_reads_as_a_key_or_cannot_be_seen_gets_no_line(tmp_path: Path) -> None:
    with pytest.raises(IdentityError):
        roster_line(f"p384 {POINT} south", bytes(32))
    done = run("new", "so\u200buth", "--key", tmp_path / "key")
    assert done.returncode == 2 and "cannot be a member's name" in done.stderr
    assert not (tmp_path / "key").exists()
    with pytest.raises(IdentityError, match="cannot be read as members' lines"):
        members_in(tmp_path / "none")


def test_nobody_and_no_key_stands_twice_and_strangers_are_named(tmp_path: Path) -> None:
    path, lines = tmp_path / "roster", [roster_line("south", bytes(32)), roster_line("north", b"\1" * 32)]
    for twice in (roster_line("south", b"\2" * 32), roster_line("west", bytes(32))):
        path.write_text("\n".join([*lines, twice]))
        with pytest.raises(IdentityError, match=r"line 3.*twice"):
            read_roster(path)
    path.write_text("\n".join(lines))
    assert keys_of(read_roster(path), [ClientId("north"), ClientId("south")]) == (
        primitives.identity_public(b"\1" * 32), primitives.identity_public(bytes(32)),
    )  # fmt: skip
    with pytest.raises(IdentityError, match="east is not on the roster"):
        keys_of(read_roster(path), [ClientId("east"), ClientId("north")])
