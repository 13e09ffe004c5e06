"""What a table holds, as one number that does not depend on the order of the rows.

A sum over rows of a hash of each row. A row's hash is made of one hash for each column, every
column with a seed of its own, joined by XOR and then mixed once more as a whole. The seeds keep two
columns of a row from exchanging their values unseen; the mixing keeps two rows from it: XOR is a
sum without carries, and without the mixing the low bits of the whole would not see what leaves one
row for another. NULL is 0.

Each column goes in a form in which different values look different (`1.0` and `1.00`, 1 day and 24
hours, `''` and nothing). What PostgreSQL's own hash functions take for equal or fold together is
kept from them: `hashint8extended` and the hash of a timestamp fold 64 bits into 32, `hash_numeric`
knows neither scale nor sign, `hashfloat8` no `-0`.

PostgreSQL does not promise that its hash functions stay the same, so every result carries the
method and the hash of a known row (the canary), and results are compared only where both agree. 64
bits are against accidents, not against attackers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from psycopg import sql

from runbook_lib.errors import UsageError
from runbook_lib.postgres.connection import Database

LABELS_AT_MOST = 16
"""An enum with more labels is hashed label by label as text, which is then the faster way to the
same hash.
"""

_AS_TEXT = 'hashtextextended({value}::pg_catalog.text COLLATE "C", {seed})'


def _unless_zero(function: str) -> str:
    """The hash of a float: for `function` 0 and -0 are the same."""
    return f"CASE WHEN {{value}} = 0 THEN {_AS_TEXT} ELSE {function}({{value}}, {{seed}}) END"


def _by_seconds(difference: str) -> str:
    """The hash of a time, by its distance in seconds as a double.

    Within these four centuries no two microseconds share one.
    """
    near = "{value} >= '1800-01-01 00:00+00' AND {value} < '2200-01-01 00:00+00'"
    return (
        f"CASE WHEN {near} THEN hashfloat8extended({difference}({{value}}, '2000-01-01 "
        f"00:00+00'), {{seed}}) ELSE {_AS_TEXT} END"
    )


_HASHES = {
    "text": _AS_TEXT,
    "numeric": _AS_TEXT,
    "interval": _AS_TEXT,
    "time": _AS_TEXT,
    "timetz": _AS_TEXT,
    "bool": "hashint4extended({value}::pg_catalog.int4, {seed})",
    "int2": "hashint2extended({value}, {seed})",
    "int4": "hashint4extended({value}, {seed})",
    "int8": "hashint4extended({short}, {value})",  # as the seed, of which all 64 bits count
    "float4": _unless_zero("hashfloat4extended"),
    "float8": _unless_zero("hashfloat8extended"),
    # days: exact, the infinities too
    "date": "hashfloat8extended(daterange_subdiff({value}, '2000-01-01'), {seed})",
    "timestamp": _by_seconds("tsrange_subdiff"),
    "timestamptz": _by_seconds("tstzrange_subdiff"),
    "uuid": "uuid_hash_extended({value}, {seed})",
    "inet": "hashinetextended({value}, {seed})",
    # before 18 it has no function of its own
    "bytea": "hash_record_extended(ROW({value}), {seed})",
    # as text it would lose its blanks
    "bpchar": "hash_record_extended(ROW(bpcharsend({value})), {seed})",
}
"""The hash of a value by its form, with the seed of its column (`short`: 31 bits of it). Any other
type goes as text, too.
"""

_CANARY = {
    "int8": "-42",
    "timestamp": "'2001-02-03 04:05:06.789'",
    "timestamptz": "'2001-02-03 04:05:06.789+00'",
    "numeric": "'1.50'",
    "interval": "'1 month 2 days 03:04:05'",
    "float4": "'-1.5'",
    "float8": "'2.5'",
    "bpchar": "'ab '",
    "time": "'04:05:06'",
    "timetz": "'04:05:06+02'",
    "bool": "'true'",
    "int2": "'7'",
    "int4": "'-7'",
    "date": "'2001-02-03'",
    "uuid": "'00112233-4455-6677-8899-aabbccddeeff'",
    "bytea": r"'\x00ff10'",
    "inet": "'10.1.2.3/8'",
    "text": "'Grüße'",
    "varchar": "''",
    "jsonb": """'{"a": [1, null]}'""",
    "int4[]": "'{1,NULL,3}'",
}


class Method(StrEnum):
    """How content is fingerprinted.

    `HASH` is fast; `MD5` is the same on every server that writes values alike.
    """

    HASH = "column hashes, 64 bit, form 2"
    MD5 = "md5, 64 bit, form 1"

    @classmethod
    def _missing_(cls, value: object) -> Method:
        """Refuse what another version of the runbook wrote down."""
        raise UsageError(
            f"content was fingerprinted by “{value}”, which this version of the runbook does not "
            "compute",
            "use the version that took it, or take it again",
        )


@dataclass(frozen=True)
class Column:
    """One column that is fingerprinted.

    Args:
        name: quoted as PostgreSQL would.
        type: the name in `pg_type` of its type, domains resolved; "" for one that is not
            PostgreSQL's own.
        labels: of an enum, where it is one: hashed beforehand, and not once a row.
    """

    name: str
    type: str
    labels: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        """The form in which it is hashed; two columns of one form can be compared."""
        if self.type == "varchar":
            return "text"
        return self.type if self.type in _HASHES else "as text"

    def hash(self, number: int) -> str:
        """The SQL of a value's hash, a bigint, where the column is the one of that number.

        0 for NULL.
        """
        seed = _seed(number)
        one = _HASHES.get(self.form, _AS_TEXT).format(
            value=self.name, seed=seed, short=seed % 2**31
        )
        if 0 < len(self.labels) <= LABELS_AT_MOST:
            cases = " ".join(
                f"WHEN {label} THEN {_AS_TEXT.format(value=label, seed=seed)}"
                for label in map(_quoted, self.labels)
            )
            one = f"CASE {self.name} {cases} ELSE {one} END"
        return f"coalesce({one}, 0)"


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
    if method is Method.MD5:
        row = ", ".join(f'{column.name}::pg_catalog.text COLLATE "C"' for column in columns)
        return f"('x' || left(md5(ROW({row})::text), 16))::bit(64)::bigint"
    return (
        "hashint4extended(0, "
        f"{' # '.join(column.hash(number) for number, column in enumerate(columns, 1))})"
    )


@cache
def _seed(number: int) -> int:
    """A number that has nothing to do with those of other columns.

    Some hashes of 0 are the seed itself.
    """
    return int.from_bytes(
        hashlib.sha256(f"column {number}".encode()).digest()[:8], "big", signed=True
    )


def _quoted(label: str) -> str:
    return sql.Literal(label).as_string(None).strip()


def canary(db: Database, method: Method) -> str:
    """The hash of a known row on this server."""
    columns = [Column(f"c{number}", name) for number, name in enumerate(_CANARY)]
    values = ", ".join(
        f"{value}::{name} AS c{number}" for number, (name, value) in enumerate(_CANARY.items())
    )
    return str(
        db.value(f"SELECT {row_hash(columns, method)} AS canary FROM (SELECT {values}) AS known")
    )


def method_for(source: Database, proof: Database) -> Method:
    """How content has to be fingerprinted that is to be compared between two servers.

    `HASH` where both are of one major version and hash the known row alike, else `MD5`.

    Args:
        source: a session on the server that is backed up.
        proof: a session on the server where the backup is restored.

    Raises:
        UsageError: even as text the known row differs: nothing that is compared between the two
            would prove anything.
    """
    majors = [db.server_version // 10000 for db in (source, proof)]
    if majors[0] == majors[1] and canary(source, Method.HASH) == canary(proof, Method.HASH):
        return Method.HASH
    if canary(source, Method.MD5) == canary(proof, Method.MD5):
        return Method.MD5
    raise UsageError(
        f"the servers of version {majors[0]} and {majors[1]} write the same values differently: "
        "content cannot be compared between them",
        "prove the backup on a server of the source's own version",
    )
