"""Settings that our sessions begin with.

None that a role, a database or a URL carries changes an answer.

Some are pinned as the session begins, where they beat `ALTER ROLE … SET` and `ALTER DATABASE …
SET`. Those that the server reports by itself are corrected afterwards, and only where they differ:
`pg_settings.reset_val` then still tells what the role carries. What a plain role may not set
(`lc_messages`, `session_replication_role`, `temp_file_limit`, `log_*`) is not pinned: nothing here
reads the server's messages, only SQLSTATEs. `search_path` and `role` stay as they are carried: they
say where and as whom the application works; what is read as text is read with an empty path
(`reading`). The Prisma CLI gets `EVERY` alone: a migration has to do what it would do without us.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

EVERY = {"client_connection_check_interval": "1s", "client_min_messages": "warning"}
"""Of each session, the Prisma CLI's too."""
BEGUN = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmloption": "content",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "default_tablespace": "",
    "check_function_bodies": "on",
}
"""Of our sessions and of PostgreSQL's programs, from their beginning."""
SINCE_17 = {"transaction_timeout": "0"}
"""Like `BEGUN`; an older server refuses a session that asks for it."""
NEWER: set[tuple[str, int]] = set()
"""Host and port of the servers that were seen to be of 17 or later; every session of this process
adds what it sees.
"""
REPORTED = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "default_transaction_read_only": "off",
}
"""Of our sessions; what the server reports of each is read without asking."""


def begun(host: str, port: int) -> dict[str, str]:
    """What a session of ours on that server begins with."""
    return {**EVERY, **BEGUN, **(SINCE_17 if (host, port) in NEWER else {})}


def flags(settings: Mapping[str, str | None]) -> str:
    """Settings as the server takes them at the beginning of a session.

    Those that are None stay as they are carried.
    """
    return " ".join(
        f"-c {name}={_escaped(value)}" for name, value in settings.items() if value is not None
    )


def _escaped(value: str) -> str:
    """In `options`, a backslash keeps a space or a backslash within a value."""
    return re.sub(r"([\\\s])", r"\\\1", value)
