"""The fault matrix as data: who or what is struck, when, how Prisma sends the files, and what
must be true afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST, NEXT = "20260115000000_first", "20260201000000_next"
STATEMENTS = (
    'ALTER TABLE "Visit" ADD COLUMN "a" INTEGER',
    'ALTER TABLE "Patient" ADD COLUMN "b" INTEGER',
    'INSERT INTO "Note" SELECT g FROM generate_series(1, 100) AS g',
    'INSERT INTO "Late" VALUES (1)',
)
"""What the migration does: each can be held up by a session of somebody else's, the last one at its
commit.
"""


@dataclass(frozen=True)
class Behaviour:
    """How Prisma sends the files.

    Args:
        words: for people.
        files: name → SQL.
        mode: what the engine does with a file: one query ("file"), or one query a statement
            ("statement").
        landed: moment → what is in the database where the migration was struck there: of each of
            its traces, whether it is there.
    """

    words: str
    files: dict[str, str]
    mode: str
    landed: dict[str, str]


def _text(*statements: str) -> str:
    return ";\n".join(statements) + ";\n"


WHOLE = {
    "before the first statement": "",
    "between two statements": "",
    "within a statement": "",
    "at the commit": "",
    "after the commit, before Prisma's record": "a b notes late",
}
PARTLY = {
    "before the first statement": "",
    "between two statements": "a",
    "within a statement": "a b",
    "at the commit": "a b notes",
    "after the commit, before Prisma's record": "a b notes late",
}
BEHAVIOURS = {
    "whole": Behaviour("a file in one transaction", {NEXT: _text(*STATEMENTS)}, "file", WHOLE),
    "own": Behaviour(
        "a file with its own BEGIN … COMMIT",
        {NEXT: _text("BEGIN", *STATEMENTS, "COMMIT")},
        "statement",
        WHOLE,
    ),
    "each": Behaviour(
        "a file, statement by statement", {NEXT: _text(*STATEMENTS)}, "statement", PARTLY
    ),
    "several": Behaviour(
        "the second of two files",
        {FIRST: _text('ALTER TABLE "Visit" ADD COLUMN "first" INTEGER'), NEXT: _text(*STATEMENTS)},
        "file",
        {moment: f"first {landed}".strip() for moment, landed in WHOLE.items()},
    ),
    "concurrently": Behaviour(
        "CREATE INDEX CONCURRENTLY alone",
        {NEXT: _text('CREATE INDEX CONCURRENTLY "by_kind" ON "Visit" ("kind")')},
        "statement",
        {
            "before the first statement": "",
            "within a statement": "invalid",
            "after the commit, before Prisma's record": "index",
        },
    ),
}

HOLDS = {
    "before the first statement": 'LOCK TABLE "Visit" IN ACCESS EXCLUSIVE MODE',
    "between two statements": 'LOCK TABLE "Patient" IN ACCESS EXCLUSIVE MODE',
    "within a statement": 'INSERT INTO "Note" VALUES (50)',
    "at the commit": 'INSERT INTO "Late" VALUES (1)',
    "after the commit, before Prisma's record": (
        'SELECT 1 FROM "_prisma_migrations" WHERE finished_at IS NULL FOR UPDATE'
    ),
}
"""What somebody else does so that the migration stands still at a moment."""
HOLDS_A_BUILD = 'UPDATE "Visit" SET "kind" = "kind" WHERE "id" = 1'
"""The same for an index that is being built concurrently."""
TRACES = {
    "first": (
        "SELECT 1 FROM pg_attribute WHERE attrelid = '\"Visit\"'::regclass AND attname = 'first'"
    ),
    "a": "SELECT 1 FROM pg_attribute WHERE attrelid = '\"Visit\"'::regclass AND attname = 'a'",
    "b": "SELECT 1 FROM pg_attribute WHERE attrelid = '\"Patient\"'::regclass AND attname = 'b'",
    "notes": 'SELECT 1 FROM "Note" HAVING count(*) = 100',
    "late": 'SELECT 1 FROM "Late"',
    "invalid": "SELECT 1 FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname = 'by_kind' "
    "AND NOT indisvalid",
    "index": "SELECT 1 FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname = 'by_kind' "
    "AND indisvalid",
}
"""How each trace of the migration is seen."""


@dataclass(frozen=True)
class Victim:
    """What is struck.

    Args:
        words: for people.
        deed: the name of what is done (see test_faults_migration); "" where a limit of the
            migration strikes by itself.
        limits: parameters of the section `migrate`.
        causes: what the failure may be called; `None` where the deployment is interrupted.
    """

    words: str
    deed: str
    limits: dict[str, float]
    causes: tuple[str, ...] | None


KILLED, LOST = "cancelled or killed from outside", "connection lost"
RECORDED = "Prisma's own record of the file was refused"
"""What it is called where the file has run, and the server refused what Prisma writes of it."""
RESTARTED = "the server crashed or was restarted"
VICTIMS = {
    "cli-kill": Victim("the Prisma CLI, kill -9", "cli_killed", {}, (KILLED,)),
    "cli-term": Victim("the Prisma CLI, SIGTERM", "cli_terminated", {}, (KILLED,)),
    "engine-kill": Victim("the schema engine, kill -9", "engine_killed", {}, (KILLED, "unknown")),
    "interrupt": Victim("the runbook's kernel, SIGINT", "interrupted", {}, None),
    "terminated": Victim(
        "the server session, terminated", "backend_terminated", {}, (KILLED, LOST)
    ),
    "cancelled": Victim("the server session, cancelled", "backend_cancelled", {}, (KILLED,)),
    "fast": Victim("the server, restarted fast", "server_fast", {}, (RESTARTED, LOST)),
    "immediate": Victim(
        "the server, crashed and restarted", "server_immediate", {}, (RESTARTED, LOST)
    ),
    "cut": Victim("the connection, cut", "connection_cut", {}, (LOST, KILLED)),
    "stalled": Victim(
        "the connection, stalled", "connection_stalled", {"deadline_s": 10.0}, (KILLED, LOST)
    ),
    "lock": Victim(
        "a foreign lock, lock timeout", "", {"lock_timeout_s": 1.5}, ("lock timeout",)
    ),
    "statement": Victim(
        "a foreign lock, statement timeout",
        "",
        {"statement_timeout_s": 1.5, "deadline_s": 10.0},
        ("statement timeout", KILLED),
    ),
}  # fmt: skip
REFUSED_RECORD = ("terminated", "cancelled", "lock", "statement")
"""The victims that make the server refuse what Prisma writes of a file that has run."""
SOME = ("cli-kill", "terminated", "immediate", "lock")
"""The victims that are struck however Prisma sends the files; the others where it sends one file in
one transaction, and one statement by statement.
"""
CELLS = [
    (victim, moment, behaviour)
    for behaviour, how in BEHAVIOURS.items()
    for moment in how.landed
    for victim in VICTIMS
    if victim in SOME or behaviour == "whole"
]
PROOF = [
    ("cli-kill", "within a statement", "each"),
    ("terminated", "at the commit", "whole"),
]
"""Cells that stand in `make test`."""
