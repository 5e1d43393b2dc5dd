"""The signature of an audit by itself: its exact form, and that nothing else passes for one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.audit.leakage import AuditError
from chatfed.secagg import primitives
from chatfed.signed_audit import LABEL, read
from training.audits.signing import Check, checks, sign

KEY = bytes(range(32))
PUBLIC = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"  # of KEY by RFC 8032
FILES = {"audit.json": b"{}\n", "audit.html": b"<p>", "model/model.safetensors": b"weights"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of an audited run, and their signature."""
    folder = tmp_path_factory.mktemp("signed")
    (folder / "model").mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "audit.sig").write_bytes(sign(FILES["audit.json"], FILES["audit.html"], folder, KEY))
    return folder


def test_the_form_is_six_lines_that_say_what_is_signed_by_whom(run: Path) -> None:
    lines = (run / "audit.sig").read_text().split("\n")
    assert lines[0] == LABEL == "chatfed audit 1"
    assert lines[1:4] == [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in FILES.items()]
    assert lines[4] == f"ed25519 {PUBLIC}" and lines[5].startswith("signature ") and lines[6:] == [""]
    signed = read((run / "audit.sig").read_bytes())
    assert signed.right and signed.public.hex() == PUBLIC and list(signed.sha256) == list(FILES)


def test_the_same_files_give_the_same_signature_and_another_key_another(run: Path) -> None:
    content = (run / "audit.sig").read_bytes()
    assert sign(FILES["audit.json"], FILES["audit.html"], run, KEY) == content
    assert sign(FILES["audit.json"], FILES["audit.html"], run, bytes(32)) != content


@given(st.data())
def test_no_changed_byte_passes(run: Path, data: st.DataObject) -> None:
    content = bytearray((run / "audit.sig").read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    with suppress(AuditError):  # another form is refused
        assert not read(bytes(content)).right


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text.replace(LABEL, "chatfed audit 2"),
        lambda text: text + "\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("model/model", "model/../state/model"),
        lambda text: text.upper(),
    ],
    ids=["empty", "label", "line", "line ends", "path", "case"],
)
def test_a_signature_of_any_other_form_is_refused(run: Path, spoil: Callable[[str], str]) -> None:
    with pytest.raises(AuditError, match=r"audit\.sig"):
        read(spoil((run / "audit.sig").read_text()).encode())


def test_a_message_of_the_protocol_cannot_be_signed_into_an_audit(run: Path) -> None:
    """Messages of the protocol are digests of 32 bytes: none is a message here."""
    message = read((run / "audit.sig").read_bytes()).message
    assert message.startswith(b"chatfed audit 1\n") and len(message) > 32
    digest = primitives.digest(b"advert", message)
    forged = message + f"signature {primitives.sign(KEY, digest).hex()}\n".encode()
    assert not read(forged).right


def test_a_file_that_is_gone_is_said(run: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.sig").write_bytes((run / "audit.sig").read_bytes())
    found = list(checks(tmp_path, bytes.fromhex(PUBLIC)))
    assert found[1] == Check(True, f"signer: the key {PUBLIC}, as you expect")
    assert [each.right for each in found] == [True, True, False, False, False]
    assert all("cannot be read" in each.said for each in found[2:])
