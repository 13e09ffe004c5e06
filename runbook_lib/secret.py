"""Secrets by reference: parameters say where a secret is, never what it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

from runbook_lib.errors import UsageError
from runbook_lib.redact import remember

HOME = Path(os.environ.get("RUNBOOK_HOME") or Path(__file__).resolve().parents[1])
"""What relative paths in parameters are relative to: `$RUNBOOK_HOME`, else this checkout."""

FORMS = "env:NAME, file:PATH or keyring:SERVICE/NAME"
_REFERENCE = re.compile(r"^(env|file|keyring):(?P<place>\S.*)$")


def is_reference(text: str) -> bool:
    """Whether `text` has the form of a reference to a secret."""
    return bool(_REFERENCE.match(text))


def resolve(reference: str, key: str) -> str:
    """The secret that a reference leads to; hidden in all output from now on.

    Args:
        reference: `env:NAME`, `file:PATH` (its first line) or `keyring:SERVICE/NAME`.
        key: the parameter that holds it, for the error.

    Raises:
        UsageError: it leads nowhere.
    """
    kind, _, place = reference.partition(":")
    value = {"env": _from_environment, "file": _from_file, "keyring": _from_keyring}[kind](
        place, key
    )
    remember(value)
    return value


def _from_environment(name: str, key: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise UsageError(
            f"`{key}` refers to the variable {name}, which is not set",
            f"export {name}=… and try again",
        )
    return value


def _from_file(name: str, key: str) -> str:
    path = HOME / Path(name).expanduser()
    try:
        value = path.read_text(encoding="utf-8").strip().split("\n")[0]
    except OSError as error:
        raise UsageError(
            f"`{key}` refers to the file {name}, which cannot be read: {error.strerror}",
            "write the secret into it (mode 600)"
            if ".demo" not in name
            else "start the demo with `runbook demo up`",
        ) from None
    if not value:
        raise UsageError(
            f"`{key}` refers to the file {name}, which is empty",
            "write the secret into its first line",
        )
    return value


def _from_keyring(place: str, key: str) -> str:
    try:
        import keyring
    except ImportError:
        raise UsageError(
            f"`{key}` refers to a keyring, but the package keyring is not installed",
            "pip install 'database-migration-runbook[keyring]'",
        ) from None
    service, _, name = place.partition("/")
    value: str | None = keyring.get_password(service, name)
    if not value:
        raise UsageError(
            f"`{key}`: the keyring has no entry {name!r} of service {service!r}",
            f"keyring set {service} {name}",
        )
    return value
