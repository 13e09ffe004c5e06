"""A certificate authority, a server's and a client's certificate, made for one test."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

PASSWORD = b"ge&heim"
NOW = datetime.now(UTC)


def make(folder: Path) -> None:
    """Write ca.pem, crl.pem, wrong_ca.pem, server.pem and .key, client.pem, .key and .p12, and
    locked.key.
    """
    ca, ca_key = _signed("Test CA", None)
    (folder / "ca.pem").write_bytes(_pem(ca))
    (folder / "wrong_ca.pem").write_bytes(_pem(_signed("Another CA", None)[0]))
    crl = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(NOW)
    signed = crl.next_update(NOW + timedelta(days=2)).sign(ca_key, hashes.SHA256())
    (folder / "crl.pem").write_bytes(signed.public_bytes(form.Encoding.PEM))
    for name, subject in (("server", "localhost"), ("client", "certified")):
        certificate, key = _signed(subject, (ca, ca_key))
        (folder / f"{name}.pem").write_bytes(_pem(certificate))
        _write(folder / f"{name}.key", _key(key, form.NoEncryption()))
    locked = form.BestAvailableEncryption(PASSWORD)
    _write(folder / "locked.key", _key(key, locked))
    _write(
        folder / "client.p12",
        pkcs12.serialize_key_and_certificates(b"client", key, certificate, None, locked),
    )


def take_back(folder: Path) -> None:
    """The client's files are ours again: libpq wants a key to be its user's own."""
    for name in ("client.key", "locked.key", "client.p12", "client.pem"):
        os.chown(folder / name, os.getuid(), os.getgid())


def _signed(subject: str, by: tuple | None):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    issuer, signer = (by[0].subject, by[1]) if by else (name, key)
    names = [
        x509.DNSName("localhost"),
        *(x509.IPAddress(ip_address(one)) for one in ("127.0.0.1", "::1")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=not by, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return made.sign(signer, hashes.SHA256()), key


def _pem(certificate) -> bytes:
    return certificate.public_bytes(form.Encoding.PEM)


def _key(key, locked) -> bytes:
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
