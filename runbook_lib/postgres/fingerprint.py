"""What a table holds, as one number that does not depend on the order of the rows.

A sum over rows of a hash of the hash of the row: the outer hash keeps two rows that swap a value from cancelling out,
and each column goes in a form in which different values look different (`1.0` and `1.00`, 1 day and 24 hours, `''` and
nothing). PostgreSQL does not promise that its hash functions stay the same, so every result carries the method and the
hash of a known row (the canary), and results are compared only where both agree. 64 bits are against accidents, not
against attackers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from runbook_lib.errors import UsageError
from runbook_lib.postgres.connection import Database

_SEND = {"int8": "int8send", "timestamp": "timestamp_send", "timestamptz": "timestamptz_send", "numeric": "numeric_send",
         "interval": "interval_send", "float4": "float4send", "float8": "float8send", "bpchar": "bpcharsend",
         "time": "time_send", "timetz": "timetz_send"}
_AS_IS = ("bool", "int2", "int4", "date", "uuid", "bytea", "inet")
_TEXT = ("text", "varchar")

_CANARY = {"int8": "-42", "timestamp": "'2001-02-03 04:05:06.789'", "timestamptz": "'2001-02-03 04:05:06.789+00'", "numeric": "'1.50'",
           "interval": "'1 month 2 days 03:04:05'", "float4": "'-1.5'", "float8": "'2.5'", "bpchar": "'ab '", "time": "'04:05:06'",
           "timetz": "'04:05:06+02'", "bool": "'true'", "int2": "'7'", "int4": "'-7'", "date": "'2001-02-03'",
           "uuid": "'00112233-4455-6677-8899-aabbccddeeff'", "bytea": r"'\x00ff10'", "inet": "'10.1.2.3/8'", "text": "'Grüße'",
           "varchar": "''", "jsonb": """'{"a": [1, null]}'""", "int4[]": "'{1,NULL,3}'"}


class Method(str, Enum):
    """How content is fingerprinted. `HASH` is fast; `MD5` is the same on every server that writes values alike."""

    HASH = "record hash, 64 bit, form 1"
    MD5 = "md5, 64 bit, form 1"


@dataclass(frozen=True)
class Column:
    """One column that is fingerprinted.

    Args:
        name: quoted as PostgreSQL would.
        type: the name in `pg_type` of its type, domains resolved; "" for one that is not PostgreSQL's own.
    """

    name: str
    type: str

    @property
    def form(self) -> str:
        """The form in which it is hashed; two columns of one form can be compared."""
        if self.type in _TEXT:
            return "text"
        return self.type if self.type in _SEND or self.type in _AS_IS else "as text"

    def expression(self, method: Method) -> str:
        """The SQL that brings a value into its form."""
        if method is Method.MD5 or self.form == "as text":
            return f'{self.name}::pg_catalog.text COLLATE "C"'
        if self.type in _SEND:
            return f"{_SEND[self.type]}({self.name})"
        return f'{self.name}::pg_catalog.text COLLATE "C"' if self.form == "text" else f"{self.name}::pg_catalog.{self.type}"


@dataclass(frozen=True)
class Fingerprint:
    """What some columns of a table hold.

    Args:
        columns: their quoted names, sorted.
        forms: the form in which each was hashed.
        value: the sum, as decimal digits.
    """

    columns: tuple[str, ...]
    forms: tuple[str, ...]
    value: str

    @property
    def key(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Two fingerprints with the same key can be compared."""
        return self.columns, self.forms

    def as_dict(self) -> dict[str, Any]:
        """For evidence files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fingerprint:
        """What `as_dict` gave."""
        return cls(tuple(data["columns"]), tuple(data["forms"]), data["value"])


def ordered(columns: Sequence[Column]) -> tuple[Column, ...]:
    """By name: the place of a column in its table must not matter."""
    return tuple(sorted(columns, key=lambda column: column.name))


def row_hash(columns: Sequence[Column], method: Method) -> str:
    """The SQL of one row's hash, a bigint; 0 where there is no column."""
    if not columns:
        return "0::bigint"
    row = f"ROW({', '.join(column.expression(method) for column in columns)})"
    if method is Method.MD5:
        return f"('x' || left(md5({row}::text), 16))::bit(64)::bigint"
    return f'hashtextextended(hash_record_extended({row}, 0)::text COLLATE "C", 0)'


def canary(db: Database, method: Method) -> str:
    """The hash of a known row on this server."""
    columns = [Column(f"c{number}", name) for number, name in enumerate(_CANARY)]
    values = ", ".join(f"{value}::{name} AS c{number}" for number, (name, value) in enumerate(_CANARY.items()))
    return str(db.value(f"SELECT {row_hash(columns, method)} AS canary FROM (SELECT {values}) AS known"))


def method_for(source: Database, proof: Database) -> Method:
    """How content has to be fingerprinted that is to be compared between two servers: `HASH` where both are of one major
    version and hash the known row alike, else `MD5`.

    Args:
        source: a session on the server that is backed up.
        proof: a session on the server where the backup is restored.

    Raises:
        UsageError: even as text the known row differs: nothing that is compared between the two would prove anything.
    """
    majors = [db.server_version // 10000 for db in (source, proof)]
    if majors[0] == majors[1] and canary(source, Method.HASH) == canary(proof, Method.HASH):
        return Method.HASH
    if canary(source, Method.MD5) == canary(proof, Method.MD5):
        return Method.MD5
    raise UsageError(f"the servers of version {majors[0]} and {majors[1]} write the same values differently: content cannot be compared between them",
                     "prove the backup on a server of the source's own version")
