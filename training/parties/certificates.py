"""What the coordinator of a federation shows for itself: a certificate, from an authority that its members are given.

Both are X.509 (RFC 5280) on P-256, signed with ECDSA and SHA-256, and pass Python's strict verification. Who has an
authority of its own takes that. Knows no member, no round and no socket. It builds certificates and nothing that masks
or seals, so `cryptography` has a second home here (tests/test_layering.py).
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chatfed.types import ChatfedError

from ..durable import write_atomically, write_new

AUTHORITY_KEY, AUTHORITY = "authority.key", "authority.crt"
SERVER_KEY, SERVER = "server.key", "server.crt"
AUTHORITY_DAYS = 3652
SERVER_DAYS = 398  # no client that is known takes more
BEFORE = datetime.timedelta(days=1)  # that a member's clock may be behind


class CertificateError(ChatfedError):
    """A certificate or its key cannot be used; names the file and the mend."""

    code = "bad_certificate"
    mend = "renew it with chatfed members certificate, or give the right file"


def make_authority(folder: Path) -> None:
    """Draws a certificate authority into `folder`: authority.key (mode 0600) and authority.crt, for ten years.

    Raises CertificateError where there is one: what it signed would be worth nothing.
    """
    if (folder / AUTHORITY).exists():
        raise CertificateError(f"{folder / AUTHORITY} exists: an authority is never overwritten.", param=str(folder))
    key = _key_at(folder / AUTHORITY_KEY)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"chatfed authority {own.digest.hex()[:16]}")
    built = (
        _dated(name, name, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(own, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
    )
    _write(folder / AUTHORITY, built.sign(key, SHA256()))


def make_certificate(
    folder: Path, host: str, authority: str = "", days: int = SERVER_DAYS, calls: bool = False
) -> None:
    """Writes server.crt for a host name or an address, signed by the authority in `folder`.

    server.key (mode 0600) is drawn where there is none. Made again it is renewed: the same key, from today on; members
    need nothing new. authority: PEM, the one that it must be, where members have it already. calls: whether it is shown
    to others' servers too. Raises CertificateError where `folder` holds no authority, or another.
    """
    issuer, signing = _certificates(folder / AUTHORITY)[0], _read_key(folder / AUTHORITY_KEY)
    if authority and issuer not in _parsed(authority.encode(), "the federation's authority"):
        raise CertificateError(f"{folder / AUTHORITY} is not the authority that the federation's file names.")
    if signing.public_key() != issuer.public_key():
        raise CertificateError(
            f"{folder / AUTHORITY_KEY} is not the key of {folder / AUTHORITY}: restore the right one."
        )
    key = _key_at(folder / SERVER_KEY).public_key()
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if calls else [])]
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    built = (
        _dated(_name("chatfed coordinator"), issuer.subject, key, days)
        .add_extension(x509.SubjectAlternativeName([_host(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    _write(folder / SERVER, built.sign(signing, SHA256()))


def check_certificate(path: Path, authority: str, host: str) -> datetime.datetime:
    """When a server's certificate ends, in UTC, if members that go by `authority` take it for `host` today.

    path: PEM, the server's own first, then what lies between it and the authority, if anything does. authority: PEM.
    Raises CertificateError, which says whether it is the time, the host or the authority that does not fit.
    """
    chain, anchors = _certificates(path), _parsed(authority.encode(), "the federation's authority")
    own, now = chain[0], _now()
    if now < own.not_valid_before_utc:
        raise CertificateError(f"{path} is valid from {own.not_valid_before_utc:%Y-%m-%d} on only: look at the clock.")
    if now > own.not_valid_after_utc:
        raise CertificateError(f"{path} ended on {own.not_valid_after_utc:%Y-%m-%d}: renew it.")
    if not _is_for(own, host):
        raise CertificateError(f"{path} is for {', '.join(_hosts(own)) or 'no host'}, not for {host}: make one for it.")
    if not _leads_to(own, chain[1:], anchors):
        raise CertificateError(f"{path} comes from another authority than the federation's file names.")
    ended = [each for each in anchors if each.not_valid_after_utc < now]
    if len(ended) == len(anchors):
        raise CertificateError(f"The federation's authority ended on {ended[0].not_valid_after_utc:%Y-%m-%d}.")
    return own.not_valid_after_utc


def check_key(certificate: Path, key: Path) -> None:
    """Raises CertificateError where a certificate is not of this private key."""
    if _certificates(certificate)[0].public_key() != _read_key(key).public_key():
        raise CertificateError(f"{key} is not the key of {certificate}: give the two that belong together.")


def read_authority(path: Path) -> str:
    """The certificates of a file as PEM and nothing else, for a federation's file. Raises CertificateError."""
    return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in _certificates(path))


def _dated(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    start = _now() - BEFORE
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=days))


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """An authority signs certificates and lists of revoked ones; a server signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts(certificate: x509.Certificate) -> list[str]:
    """Names and addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def _is_for(certificate: x509.Certificate, host: str) -> bool:
    """RFC 9525, section 6.3: an address as it is; a name in any case, or with a star for its whole first label."""
    wanted = _host(host).value
    if not isinstance(wanted, str):
        return str(wanted) in _hosts(certificate)
    star = f"*.{wanted.partition('.')[2]}"
    return any(each.lower() in (wanted.lower(), star.lower()) for each in _hosts(certificate))


def _leads_to(own: x509.Certificate, between: list[x509.Certificate], anchors: list[x509.Certificate]) -> bool:
    """Whether signatures lead from a certificate to an authority. What else a chain must be, TLS looks at."""
    if any(_issued(own, anchor) for anchor in anchors):
        return True
    above = next((each for each in between if _issued(own, each)), None)
    return above is not None and _leads_to(above, [each for each in between if each != above], anchors)


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return _parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise CertificateError(f"{path} cannot be read ({error.strerror}).", param=str(path)) from None


def _parsed(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError(f"{what} is no certificate in PEM.") from None


def _key_at(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in a file, drawn into it now where there is none: by OpenSSL, from the system's generator."""
    if path.exists():
        return _read_key(path)
    key = ec.generate_private_key(ec.SECP256R1())
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Raises CertificateError, which shows nothing of what the file holds."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read ({error.strerror}).", param=str(path)) from None
    except (ValueError, TypeError):
        raise CertificateError(f"{path} is no private key in PEM without a password.", param=str(path)) from None
    return key  # type: ignore[return-value]  # or of another kind, where it is somebody's own: it is compared only


def _write(path: Path, certificate: x509.Certificate) -> None:
    write_atomically(path, certificate.public_bytes(Encoding.PEM), 0o644)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
