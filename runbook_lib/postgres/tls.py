"""Says in libpq's words and in Prisma's what a URL asks of TLS.

| asked | libpq | Prisma |
|---|---|---|
| encryption | `sslmode` | `sslmode`, of which it knows disable, prefer and require; anything else
is prefer to it |
| the server's certificate is checked | `sslmode=verify-ca`, `verify-full` | `sslaccept=strict`,
which checks the name, too |
| against this root | `sslrootcert` | `sslcert` |
| the client's own certificate | `sslcert` and `sslkey`, in PEM | `sslidentity`, in PKCS #12, opened
by `sslpassword` |

What one side cannot say as weakly as the other is said more strictly, never more weakly. A client's
certificate in the form of the other side is made in memory alone: `/proc/PID/fd/N` is a file for
this process and its children.
"""

from __future__ import annotations

import os
import secrets
import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.errors import UsageError
from runbook_lib.redact import remember

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

FILES = frozenset({"sslcert", "sslcrl", "sslcrldir", "sslidentity", "sslkey", "sslrootcert"})
"""Parameters that name a file."""
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SYSTEM = "system"


def both(asked: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What libpq and what Prisma is given.

    Args:
        asked: the URL's TLS parameters, of either side.

    Raises:
        UsageError: a value is unknown, or a file cannot be read.
    """
    files = {name: _file(name, asked[name]) for name in FILES & asked.keys()}
    mode = _mode(asked)
    strict = asked.get("sslaccept", "accept_invalid_certs") != "accept_invalid_certs"
    theirs = "" if "sslkey" in files else files.get("sslcert", "")
    root = files.get("sslrootcert") or theirs
    libpq_cert, prisma_cert = _client(files, asked.get("sslpassword", ""))
    libpq = _libpq(mode, strict, files.get("sslrootcert", ""), root) | libpq_cert
    libpq |= {name: files[name] for name in ("sslcrl", "sslcrldir") if name in files}
    return libpq, _prisma(mode, asked, theirs, root) | prisma_cert


def _mode(asked: Mapping[str, str]) -> str:
    given = asked.get("sslmode") or ("require" if asked.get("ssl") in ("true", "1") else "")
    mode = "require" if given == "no-verify" else given  # node-postgres: encrypted, whoever answers
    if mode and mode not in _MODES:
        raise UsageError(
            f"the database URL has an unknown sslmode; it is one of {', '.join(_MODES)}",
            "correct it: Prisma would silently take it for `prefer`",
        )
    return mode


def _libpq(mode: str, strict: bool, own_root: str, root: str) -> dict[str, str]:
    if strict and mode not in ("disable", "verify-ca", "verify-full"):
        mode = "verify-full"
    if mode.startswith("verify-"):
        return {"sslmode": mode, "sslrootcert": root or _system_roots()}
    return {name: value for name, value in (("sslmode", mode), ("sslrootcert", own_root)) if value}


def _prisma(mode: str, asked: Mapping[str, str], theirs: str, root: str) -> dict[str, str]:
    verified = mode.startswith("verify-")
    accept = asked.get("sslaccept") or ("strict" if verified else "")
    said = {"": "", "allow": "prefer"}.get(mode, "require" if verified else mode)
    trusted = root if accept == "strict" else theirs
    given = (("sslmode", said), ("sslaccept", accept), ("sslcert", trusted))
    return {name: value for name, value in given if value and value != _SYSTEM}


def _system_roots() -> str:
    """The file of this machine's trusted roots: only libpq from 16 on knows the word `system`."""
    places = (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt")
    return next((place for place in places if place and Path(place).is_file()), _SYSTEM)


def _file(name: str, given: str) -> str:
    if name == "sslrootcert" and given == _SYSTEM:
        return given
    path = Path(given).expanduser()
    if not path.exists():
        raise UsageError(
            f"`{name}` of the database URL names {given}, which is not there",
            "write its path from the root on; else it is looked for in the Prisma project and in "
            "its folder `prisma`",
        )
    return str(path.resolve())


def _client(files: Mapping[str, str], password: str) -> tuple[dict[str, str], dict[str, str]]:
    """The client's certificate for libpq and for Prisma, the missing form made of the other."""
    remember(password)
    cert, key, identity = (files.get(name, "") for name in ("sslcert", "sslkey", "sslidentity"))
    if key and not cert:
        raise UsageError("the database URL has `sslkey` without `sslcert`", "name the certificate")
    if not key and not identity:
        return {}, {}
    if key:
        key = _opened(key, password) if password else key
    else:
        cert, key = _pem(identity, password)
    opened = password
    if not identity:
        identity, opened = _pkcs12(cert, key)
    return {"sslcert": cert, "sslkey": key}, {
        "sslidentity": identity,
        **({"sslpassword": opened} if opened else {}),
    }


def _readable(name: str, error: Exception) -> UsageError:
    return UsageError(
        f"`{name}` of the database URL cannot be read: {type(error).__name__}",
        "check the file, and `sslpassword`",
    )


@cache
def _pem(identity: str, password: str) -> tuple[str, str]:
    """Certificate and key of a PKCS #12 file, as files in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

    try:
        key, own, chain = pkcs12.load_key_and_certificates(
            Path(identity).read_bytes(), password.encode() or None
        )
        assert key and own
    except (OSError, ValueError, AssertionError) as error:
        raise _readable("sslidentity", error) from None
    certificates = b"".join(one.public_bytes(Encoding.PEM) for one in (own, *chain))
    return _in_memory("cert", certificates), _in_memory("key", _unlocked(key))


@cache
def _opened(key: str, password: str) -> str:
    """Return a key without its password.

    libpq's programs could be told it on their command line alone.
    """
    return _in_memory("key", _unlocked(_key(key, password)))


@cache
def _pkcs12(cert: str, key: str) -> tuple[str, str]:
    """Certificate and key as a PKCS #12 file, and its password."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    try:
        own, *chain = x509.load_pem_x509_certificates(Path(cert).read_bytes())
    except (OSError, ValueError) as error:
        raise _readable("sslcert", error) from None
    password = secrets.token_urlsafe(18)
    remember(password)
    made = pkcs12.serialize_key_and_certificates(
        b"runbook",
        _key(key, ""),  # type: ignore[arg-type]  # of a kind that PKCS #12 has, or it is refused
        own,
        chain,
        BestAvailableEncryption(password.encode()),
    )
    return _in_memory("identity", made), password


def _key(path: str, password: str) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        content = Path(path).read_bytes()
        locked = b"ENCRYPTED" in content
        return load_pem_private_key(content, password.encode() if locked else None)
    except (OSError, ValueError, TypeError) as error:
        raise _readable("sslkey", error) from None


def _unlocked(key: PrivateKeyTypes) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def _in_memory(name: str, content: bytes) -> str:
    """The path of a file that is nowhere on a disk and ends with this process."""
    if not hasattr(os, "memfd_create"):
        raise UsageError(
            "the client's certificate is there in one form only, and this system cannot convert "
            "it in memory",
            "name all of `sslcert`, `sslkey` and `sslidentity` in the URL",
        )
    descriptor = os.memfd_create(f"runbook-{name}")
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, content)
    return f"/proc/{os.getpid()}/fd/{descriptor}"
