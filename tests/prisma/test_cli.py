"""The real Prisma CLI against a real server: what it says, and what is made of it. Each call
takes a second or more.
"""

from __future__ import annotations

import os

import pytest

from runbook_lib.check import Status as Result
from runbook_lib.errors import UsageError
from runbook_lib.postgres.connection import Target
from runbook_lib.prisma import cli, history
from runbook_lib.prisma.cli import MigrationFailed, PrismaFailed
from tests.prisma.conftest import INIT, SCHEMA, Make, rows, run, values

BAD = {
    "20260102000000_bad": 'ALTER TABLE "Patient" ADD COLUMN "x" INTEGER;\n'
    'INSERT INTO "Patient" ("id", "name") '
    "VALUES (1, 'Marker Mustermann'), (1, 'Marker Mustermann');\n"
}
UNREADABLE = {
    "20260102000000_bad": 'ALTER TABLE "Patient" ADD COLUMN "x" INTEGER;\nSELECT \'Marker '
    "Mustermann'::text::integer;\n"
}
LATER = {"20260103000000_later": "SELECT 1;\n"}
COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_name = 'Patient' ORDER BY 1"
)


def test_pending_migrations_are_named_and_so_is_the_database(make: Make, database: str) -> None:
    project, target = make(INIT | LATER), Target.parse(database)
    status = cli.status(project, database)
    assert (
        status.pending == ("20260101000000_init", "20260103000000_later") and not status.up_to_date
    )
    assert not status.failed_known
    assert (
        cli.same_target(status, target.host, target.port, target.database).status is Result.PASSED
    )
    assert cli.same_target(status, target.host, target.port, "other").status is Result.FAILED
    assert cli.same_files(status, 2).status is Result.PASSED


def test_deploy_applies_the_pending_files_and_an_edit_after_that_is_seen_by_the_history_alone(
    make: Make, database: str
) -> None:
    project, lines, started = make(INIT), [], []
    done = cli.deploy(
        project, database, timeout_s=60, on_line=lines.append, on_start=started.append
    )
    assert done.applied == ("20260101000000_init",) and done.seconds > 0
    assert "All migrations have been successfully applied." in lines and not any(
        "prisma_pid" in line for line in lines
    )
    assert len(started) == 1 and started[0] != os.getpid()
    path = project.migrations / "20260101000000_init" / "migration.sql"
    path.write_text(path.read_text() + "-- edited\n")
    status = cli.status(project, database)
    assert status.up_to_date and status.failed_known and status.pending == status.failed == ()
    assert history.compare(history.files(project), rows(database)).edited == (
        "20260101000000_init",
    )
    assert cli.deploy(project, database).applied == ()


def test_a_failed_file_names_code_migration_and_sqlstate_and_no_row_and_hides_behind_a_pending_one(
    make: Make, database: str
) -> None:
    project, lines = make(INIT | BAD | LATER), []
    with pytest.raises(MigrationFailed) as caught:
        cli.deploy(project, database, on_line=lines.append)
    error = caught.value
    assert (error.code, error.migration, error.sqlstate) == ("P3018", "20260102000000_bad", "23505")
    assert 'unique violation (23505): constraint "Patient_pkey" of table' in error.message
    assert not any(
        word in text
        for text in (str(error), error.output, *lines)
        for word in ("Mustermann", "DETAIL", "(1)", "INSERT")
    )
    assert values(database, COLUMNS) == ["id", "name"]
    status, found = (
        cli.status(project, database),
        history.compare(history.files(project), rows(database)),
    )
    assert status.pending == found.pending == ("20260103000000_later",)
    assert status.failed == () and not status.failed_known
    assert found.failed == ("20260102000000_bad",) and "Mustermann" not in str(found.as_dict())


def test_statement_by_statement_a_failed_file_keeps_what_was_done_until_it_is_resolved(
    make: Make, database: str
) -> None:
    project, lines = make(INIT | UNREADABLE, "statement"), []
    with pytest.raises(MigrationFailed) as caught:
        cli.deploy(project, database, on_line=lines.append)
    assert (
        caught.value.sqlstate == "22P02" and "invalid text representation" in caught.value.message
    )
    assert "Mustermann" not in "\n".join([str(caught.value), caught.value.output, *lines])
    assert values(database, COLUMNS) == ["id", "name", "x"]
    with pytest.raises(MigrationFailed, match="P3009") as again:
        cli.deploy(project, database)
    assert again.value.migration == "20260102000000_bad"
    with pytest.raises(PrismaFailed, match="P3012"):
        cli.resolve(project, database, rolled_back="20260101000000_init")
    cli.resolve(project, database, rolled_back="20260102000000_bad")
    found = history.compare(history.files(project), rows(database))
    assert found.rolled_back == found.pending == ("20260102000000_bad",) and not found.failed


def test_resolve_wants_one_migration(make: Make, database: str) -> None:
    with pytest.raises(UsageError, match="needs one of"):
        cli.resolve(make(INIT), database)


def test_a_missing_database_is_refused_though_the_cli_could_make_it(
    make: Make, database: str
) -> None:
    with pytest.raises(PrismaFailed, match="P1003.*\n→ .*never created"):
        cli.status(make(INIT), Target.parse(database).named("nowhere").url())


def test_an_unreachable_server_fails_with_its_code_and_without_the_password(make: Make) -> None:
    with pytest.raises(MigrationFailed) as caught:
        cli.deploy(make(INIT), "postgresql://user:s3cretmarker@127.0.0.1:1/nowhere")
    assert (
        caught.value.code == "P1001"
        and "s3cretmarker" not in str(caught.value) + caught.value.output
    )


def test_timeouts_in_the_url_reach_the_server(make: Make, database: str) -> None:
    with pytest.raises(MigrationFailed) as caught:
        cli.deploy(
            make({"1_slow": "SELECT pg_sleep(30);"}),
            Target.parse(database).url("runbook", statement_timeout="200ms"),
        )
    assert caught.value.sqlstate == "57014" and caught.value.migration == "1_slow"


def test_a_deadline_ends_the_cli_and_warns_that_the_server_may_go_on(
    make: Make, database: str
) -> None:
    with pytest.raises(
        MigrationFailed, match="(?s)ended after 0.5 s, its deadline.*may still be running"
    ):
        cli.deploy(
            make({"1_slow": "SELECT pg_sleep(30);"}),
            Target.parse(database).url("runbook"),
            timeout_s=0.5,
        )


def test_what_the_database_has_is_compared_with_the_schema_file(make: Make, database: str) -> None:
    project = make(INIT)
    run(database, INIT["20260101000000_init"])
    before = project.schema.read_text()
    assert cli.differing(project, database) == ()
    run(database, 'ALTER TABLE "Patient" ADD COLUMN "stray" INTEGER')
    assert cli.differing(project, database) == ('ALTER TABLE "Patient" DROP COLUMN "stray"',)
    assert "stray Int?" in cli.db_pull(project, database).schema.replace("  ", " ")
    assert project.schema.read_text() == before


def test_the_same_in_other_words_is_no_difference(make: Make, database: str) -> None:
    """`@db.Text`, `name:` for `map:`, `@@unique([x])` for `@unique`, order, comments and default
    actions.
    """
    models = """
// the older name of an index
model Visit {
  note      String? @db.Text
  id        Int     @id @default(autoincrement())
  patient   Patient @relation(fields: [patientId], references: [id], \
onDelete: Restrict, onUpdate: Cascade)
  patientId Int
  code      String
  @@unique([code])
  @@index([patientId], name: "visit_of_patient")
}
"""
    project = make(INIT, schema=SCHEMA.replace("String\n}", "String\n  visits Visit[]\n}") + models)
    run(database, INIT["20260101000000_init"])
    run(
        database,
        """
        CREATE TABLE "Visit" (id serial PRIMARY KEY, "patientId" int NOT NULL, code text NOT NULL,
            note text,
          CONSTRAINT "Visit_patientId_fkey" FOREIGN KEY ("patientId") REFERENCES "Patient"
              ON UPDATE CASCADE ON DELETE RESTRICT);
        CREATE UNIQUE INDEX "Visit_code_key" ON "Visit" (code);
        CREATE INDEX visit_of_patient ON "Visit" ("patientId")""",
    )
    assert cli.differing(project, database) == ()


def test_format_and_validate_judge_the_schema_and_leave_it_alone(make: Make) -> None:
    untidy = SCHEMA.replace("  id   Int    @id", "  id Int @id")
    project = make(INIT, schema=untidy)
    assert "-  id Int @id" in cli.format(project) and project.schema.read_text() == untidy
    project.schema.write_text(SCHEMA.replace("String", "Strin"))
    wrong = cli.validate(project)
    assert wrong.status == 1 and '"Strin"' in wrong.output


def test_generate_makes_the_client_and_the_url_is_no_argument(make: Make, database: str) -> None:
    project = make(INIT)
    done = cli.generate(project, database)
    assert done.seconds > 0 and (project.folder / "generated" / "client.ts").exists()
    assert "postgresql:" not in done.command


def test_version_names_cli_and_engine(make: Make) -> None:
    project = make(INIT)
    said = cli.version(project)
    assert said["prisma"] == project.version and "Schema Engine" in said
