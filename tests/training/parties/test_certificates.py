"""A coordinator's certificate is taken by strict TLS for its own host, and refused in words for anything else."""

from __future__ import annotations

import datetime
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from tests.training.federations import with_certificate
from training.parties import certificates
from training.parties.certificates import (
    AUTHORITY,
    AUTHORITY_KEY,
    SERVER,
    SERVER_KEY,
    CertificateError,
    check_certificate,
    check_key,
    make_authority,
    make_certificate,
    read_authority,
)


def shake_hands(folder: Path, authority: str, host: str) -> str:
    """What a client that goes by `authority` makes of the server in `folder`, over a socket: the TLS version."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / SERVER, folder / SERVER_KEY)
    client = ssl.create_default_context(cadata=authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as other:
        listening.settimeout(10)

        def serve() -> None:
            connection, _ = listening.accept()
            connection.settimeout(10)
            with connection, server.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.sendall(b"here")

        served = other.submit(serve)
        try:
            with (
                socket.create_connection(listening.getsockname(), timeout=10) as plain,
                client.wrap_socket(plain, server_hostname=host) as wrapped,
            ):
                assert wrapped.recv(4) == b"here"
                served.result(10)
                return wrapped.version() or ""
        finally:
            served.exception(10)  # of a server whose client went away


@pytest.mark.parametrize("host", ["localhost", "chat.example", "127.0.0.1", "::1"])
def test_a_strict_client_takes_the_certificate_for_its_host_only(host: str, tmp_path: Path) -> None:
    authority = with_certificate(tmp_path, host)
    assert shake_hands(tmp_path, authority, host) == "TLSv1.3"
    check_certificate(tmp_path / SERVER, authority, host)
    for other in ("chat.elsewhere", "127.0.0.2"):
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(tmp_path, authority, other)
        with pytest.raises(CertificateError, match=f"is for {host}, not for {other}"):
            check_certificate(tmp_path / SERVER, authority, other)


def test_another_authority_is_refused_by_the_check_as_by_tls(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    authority, other = with_certificate(tmp_path / "a"), with_certificate(tmp_path / "b")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path / "a", other, "localhost")
    with pytest.raises(CertificateError, match="comes from another authority"):
        check_certificate(tmp_path / "a" / SERVER, other, "localhost")
    check_certificate(tmp_path / "a" / SERVER, other + authority, "localhost")  # one of several is enough
    with pytest.raises(CertificateError, match="is not the authority that the federation's file names"):
        make_certificate(tmp_path / "a", "localhost", other)


def test_renewal_keeps_key_and_authority_and_takes_the_place_of_an_ended_one(tmp_path: Path) -> None:
    authority = with_certificate(tmp_path)
    before = (tmp_path / SERVER_KEY).read_bytes(), (tmp_path / AUTHORITY_KEY).read_bytes()
    make_certificate(tmp_path, "localhost", days=0)  # from yesterday to yesterday
    with pytest.raises(CertificateError, match=r"server.crt ended on 20\d\d-\d\d-\d\d: renew it"):
        check_certificate(tmp_path / SERVER, authority, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(tmp_path, authority, "localhost")
    make_certificate(tmp_path, "localhost", authority)
    ends = check_certificate(tmp_path / SERVER, authority, "localhost")
    assert 396 <= (ends - datetime.datetime.now(datetime.UTC)).days <= 397
    assert shake_hands(tmp_path, authority, "localhost") == "TLSv1.3"
    assert before == ((tmp_path / SERVER_KEY).read_bytes(), (tmp_path / AUTHORITY_KEY).read_bytes())
    check_key(tmp_path / SERVER, tmp_path / SERVER_KEY)
    with pytest.raises(CertificateError, match=r"authority.key is not the key of .*server.crt"):
        check_key(tmp_path / SERVER, tmp_path / AUTHORITY_KEY)


def test_keys_are_for_their_owner_alone_and_an_authority_is_made_once(tmp_path: Path) -> None:
    with_certificate(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {AUTHORITY: 0o644, AUTHORITY_KEY: 0o600, SERVER: 0o644, SERVER_KEY: 0o600}
    before = (tmp_path / AUTHORITY).read_bytes(), (tmp_path / AUTHORITY_KEY).read_bytes()
    with pytest.raises(CertificateError, match="never overwritten"):
        make_authority(tmp_path)
    assert before == ((tmp_path / AUTHORITY).read_bytes(), (tmp_path / AUTHORITY_KEY).read_bytes())


def test_an_authority_that_was_cut_short_is_finished_with_its_key(tmp_path: Path) -> None:
    with_certificate(tmp_path)
    (tmp_path / AUTHORITY).unlink()
    key = (tmp_path / AUTHORITY_KEY).read_bytes()
    make_authority(tmp_path)
    make_certificate(tmp_path, "localhost")
    assert (tmp_path / AUTHORITY_KEY).read_bytes() == key
    assert shake_hands(tmp_path, read_authority(tmp_path / AUTHORITY), "localhost")


def test_what_is_no_certificate_or_no_key_is_named_without_its_content(tmp_path: Path) -> None:
    authority = with_certificate(tmp_path)
    (tmp_path / "bad").write_text("planted")
    for what in (
        lambda: check_certificate(tmp_path / "bad", authority, "localhost"),
        lambda: check_certificate(tmp_path / "none", authority, "localhost"),
        lambda: check_key(tmp_path / SERVER, tmp_path / "bad"),
        lambda: check_key(tmp_path / SERVER, tmp_path / "none"),
        lambda: read_authority(tmp_path / SERVER_KEY),
    ):
        with pytest.raises(CertificateError) as caught:
            what()
        assert str(tmp_path) in str(caught.value) and "planted" not in str(caught.value)


def test_a_star_stands_for_one_label_and_a_chain_may_lead_over_others(tmp_path: Path) -> None:
    authority = with_certificate(tmp_path, "*.chat.example")
    check_certificate(tmp_path / SERVER, authority, "a.chat.example")
    for host in ("chat.example", "a.b.chat.example"):
        with pytest.raises(CertificateError, match="not for"):
            check_certificate(tmp_path / SERVER, authority, host)
    server, above = (x509.load_pem_x509_certificate((tmp_path / name).read_bytes()) for name in (SERVER, AUTHORITY))
    assert certificates._leads_to(server, [server, above], [above])
    assert not certificates._leads_to(server, [server, server], [server])
