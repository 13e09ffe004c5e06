"""The whole runbook, headless, on the newest minor release that Debian offers: its servers keep
numbers of their own in the catalogue.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib.demo.embedded import Server
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import cli
from tests.conftest import DEBIAN, FAST
from tests.prisma.conftest import INIT, lay_out, write

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (DEBIAN / "postgres").exists(),
        reason=f"there is no PostgreSQL in {DEBIAN} (Debian: postgresql-15)",
    ),
]
PENDING = {
    "20990101000000_next": (
        'ALTER TABLE "Patient" ADD COLUMN "note" TEXT, ALTER COLUMN "id" TYPE BIGINT;\n'
        'CREATE TABLE "Tag" ("id" SERIAL PRIMARY KEY, "name" TEXT NOT NULL UNIQUE, "patientId" '
        'BIGINT REFERENCES "Patient");\n'
        """DO $$ BEGIN CREATE TYPE "Mood" AS ENUM ('GOOD'); EXCEPTION WHEN duplicate_object """
        """THEN null; END $$;\n"""
    )
}
SCHEMA = """generator client {
  provider = "prisma-client"
  output   = "../generated"
}
datasource db {
  provider = "postgresql"
}
model Patient {
  id   BigInt @id
  name String
  note String?
  tags Tag[]
}
model Tag {
  id   Int    @id @default(autoincrement())
  name String @unique
  patientId BigInt?
  patient Patient? @relation(fields: [patientId], references: [id])
}
enum Mood {
  GOOD
}
"""


def test_a_run_succeeds_unaided(sample: Path, tmp_path: Path) -> None:
    server = Server(tmp_path / "server", FAST, DEBIAN).start()
    try:
        with Database(Target.parse(server.url())) as admin:
            admin.execute("CREATE DATABASE live TEMPLATE template0")
        project = lay_out(tmp_path / "project", sample, INIT, schema=SCHEMA)
        cli.deploy(project, server.url("live"))
        with Database(Target.parse(server.url("live"))) as db:
            db.execute(
                """INSERT INTO "Patient" SELECT n, 'Fictitious' FROM generate_series(1, 50) n"""
            )
            assert db.value(
                "SELECT count(*) > 0 FROM pg_attribute WHERE attoptions::text LIKE '%pg_attver%'"
            )
        write(project.folder, PENDING)
        file = tmp_path / "params.yaml"
        file.write_text(yaml.safe_dump(_values(tmp_path, server.url("live"))))
        command = [Path(sys.executable).parent / "runbook", "run", file]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        state = json.loads(next((tmp_path / "archive").glob("*/run.json")).read_text())
        assert (done.returncode, state["outcome"]) == (0, "succeeded"), done.stdout[-3000:]
    finally:
        server.stop("immediate")


def _values(folder: Path, url: str) -> dict[str, Any]:
    (folder / "url").write_text(url)
    return {
        "environment": {"name": "test", "archive": str(folder / "archive")},
        "engineer": "Fictitious Engineer",
        "database": {"url": f"file:{folder / 'url'}"},
        "prisma": {"project": str(folder / "project"), "engine": "offline"},
        "backup": {"directory": str(folder / "backups"), "disk_free_percent": 1},
        "monitoring": {"cpu_percent": 100, "memory_percent": 100, "disk_io_percent": 100},
        "validate": {"slow_queries": False},
    }
