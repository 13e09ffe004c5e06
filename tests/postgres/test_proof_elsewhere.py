"""A backup proven on another server than its own: which fingerprints compare there, and what
majors write differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import unharmed

from runbook_lib.demo.embedded import BINARIES, Server
from runbook_lib.errors import UsageError
from runbook_lib.postgres import dump, fingerprint, snapshot
from runbook_lib.postgres.backup import Backup
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.fingerprint import Method, method_for
from runbook_lib.postgres.restore import compare_with, prove, restore
from runbook_lib.postgres.tools import Tools, tools

NAME = "runbook/test/elsewhere"
OLDER = Path(__file__).resolve().parents[2] / ".servers" / "15" / "bin"
RICH = (Path(__file__).parent / "rich.sql").read_text()
QUICK = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A second server of the same major version."""
    made = Server(tmp_path_factory.mktemp("twin"), QUICK).start()
    yield Target.parse(made.url())
    made.stop("immediate")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A rich database on a server of version 15."""
    if not (OLDER / "postgres").exists():
        pytest.skip(f"PostgreSQL 15 is not in {OLDER} (Debian: postgresql-15)")
    made = Server(tmp_path_factory.mktemp("older"), QUICK, OLDER).start()
    with Database(Target.parse(made.url()), NAME) as admin:
        admin.execute("CREATE DATABASE elder TEMPLATE template0")
    with Database(Target.parse(made.url("elder")), NAME) as db:
        db.execute(RICH)
    yield Target.parse(made.url("elder"))
    made.stop("immediate")


def chosen(source: Target, proof: Target) -> Method:
    with Database(source, NAME) as first, Database(proof, NAME) as second:
        return method_for(first, second)


def test_servers_of_one_major_version_compare_the_fast_way(
    source: Target, twin: Target, programs: Tools, tmp_path: Path
) -> None:
    method = chosen(source, twin)
    assert method is Method.HASH
    with unharmed(source):
        made = dump.make(source, tmp_path / "b", NAME, tools=programs, method=method)
        proof = prove(made, twin, NAME, tools=programs)
    assert (
        proof.identical
        and proof.verified.left_out == ""
        and made.snapshot.method == Method.HASH.value
        and Method.HASH.value in str(made)
    )


def test_servers_of_one_major_version_that_hash_differently_compare_the_portable_way(
    source: Target, twin: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fingerprint.canary
    monkeypatch.setattr(
        fingerprint,
        "canary",
        lambda db, method: (
            real(db, method) + (str(db.target.port) if method is Method.HASH else "")
        ),
    )
    assert chosen(source, twin) is Method.MD5
    monkeypatch.setattr(
        fingerprint, "canary", lambda db, method: real(db, method) + str(db.target.port)
    )
    with pytest.raises(UsageError, match="write the same values differently"):
        chosen(source, twin)


@pytest.mark.parametrize(
    "folder", [OLDER, BINARIES], ids=["tools of the source", "tools of the proof server"]
)
def test_a_backup_of_an_older_server_is_proven_on_a_newer_one(
    older: Target, server: Server, folder: Path, tmp_path: Path
) -> None:
    proof_server = Target.parse(server.url())
    method = chosen(older, proof_server)
    assert method is Method.MD5
    with unharmed(older):
        made = dump.make(
            older,
            tmp_path / "b",
            NAME,
            tools=tools(proof_server if folder == BINARIES else older, folder),
            method=method,
        )
        proof = prove(made, proof_server, NAME, tools=tools(proof_server, BINARIES))
    assert proof.identical, proof
    assert (
        "between the versions 15 and 18" in proof.verified.left_out
        and "left out: between the versions 15 and 18" in str(proof)
    )
    assert made.snapshot.method == Method.MD5.value and "md5" in str(made)


def test_fingerprints_of_two_methods_are_never_compared(backup: Backup, source: Target) -> None:
    with pytest.raises(UsageError, match="content cannot be compared"):
        backup.snapshot.compare(snapshot.take(source, NAME, method=Method.MD5))


def test_what_really_differs_is_found_between_majors_too(
    older: Target, server: Server, tmp_path: Path
) -> None:
    made = dump.make(older, tmp_path / "b", NAME, tools=tools(older, OLDER), method=Method.MD5)
    there = Target.parse(server.url("came_up"))
    with Database(Target.parse(server.url()), NAME) as admin:
        try:
            restore(made, there, NAME, tools=tools(there.named("postgres"), BINARIES))
            with Database(there, NAME) as db:
                db.execute("""UPDATE wide SET body = body || '.' WHERE id = 3;
                              CREATE OR REPLACE VIEW happy AS SELECT id,
                                  t FROM kinds WHERE e = 'sad';
                              REVOKE SELECT ON kinds FROM PUBLIC; DROP EXTENSION hstore CASCADE""")
            verified = compare_with(made, there, NAME)
            said = "\n".join([str(verified), *verified.schema.in_words()])
            for one in (
                "public.wide: content differs",
                "view public.happy: definition changed",
                "acl lost =r/postgres",
                "extension hstore",
            ):
                assert one in said
        finally:
            admin.execute("DROP DATABASE IF EXISTS came_up WITH (FORCE)")


def test_tools_that_fit_no_server_are_refused_before_anything_is_touched(
    older: Target, source: Target, programs: Tools, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError, match="no PostgreSQL tools fit the server's version 15; found: 18"
    ):
        tools(older, BINARIES)
    with (
        unharmed(source),
        pytest.raises(
            UsageError,
            match="pg_dump 15.* cannot dump a server of version 18\n→ name tools of version 18",
        ),
    ):
        dump.make(source, tmp_path / "b", NAME, tools=tools(older, OLDER))
    made = dump.make(source, tmp_path / "c", NAME, tools=programs)
    with pytest.raises(UsageError, match="pg_restore 15.* cannot bring a dump of pg_dump 18"):
        prove(made, source, NAME, tools=tools(older, OLDER))
    assert not (tmp_path / "b").exists()
