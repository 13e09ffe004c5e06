"""A whole night that fails on a row, on a server that speaks three languages.

No value of a row and no secret is in a message, in the evidence, a notebook, the report, on the
terminal, in a command line, in another program's variables, or in a temporary file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import yaml

from runbook_lib import archive
from runbook_lib.demo.embedded import Server
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import cli
from runbook_lib.run import runs
from tests.languages import LANGUAGES, WORDS, speak, speaking
from tests.prisma.conftest import INIT, lay_out, write

pytestmark = pytest.mark.timeout(900)
PASSWORD = "markerpassword-7f3a9c"
ROWS = (
    r"""INSERT INTO "Patient" SELECT n, E'Zebediah\nMarkerperson' FROM generate_series(1, 50) n"""
)
ONLY_LIVE = "current_database() = 'live'"
"""What makes a file fail in the night and not on a copy before."""
FAILING = {
    "C": f"""CREATE TABLE "Named" ("name" TEXT UNIQUE);
INSERT INTO "Named" SELECT "name" FROM "Patient" WHERE "id" < 3 AND {ONLY_LIVE};""",
    "de_DE.UTF-8": f"""CREATE TABLE "Aged" ("age" INTEGER);
INSERT INTO "Aged" SELECT "name"::int FROM "Patient" WHERE {ONLY_LIVE};""",
    "fr_FR.UTF-8": f"""DO $$ DECLARE quoted text := (SELECT "name" FROM "Patient" LIMIT 1); BEGIN
IF {ONLY_LIVE} THEN
  RAISE EXCEPTION E'orphan: %\nDETAIL:  %', quoted, quoted USING DETAIL = quoted, HINT = quoted;
END IF; END $$;""",
}
"""Language → a file that fails on a row: a duplicate, a cast, an error of its own."""


class Watcher(threading.Thread):
    """Reads, as long as a program is at work, what others on the machine could read of it.

    Args:
        temporary: the folder for temporary files that the program was given.
    """

    def __init__(self, program: subprocess.Popen[str], temporary: Path) -> None:
        super().__init__(daemon=True)
        self._program, self._temporary = psutil.Process(program.pid), temporary
        self.lines, self.variables, self.files = set[str](), set[str](), dict[str, bytes]()
        self.ended = False
        self.start()

    def run(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while self._program.status() != psutil.STATUS_ZOMBIE:
                for one in [self._program, *self._program.children(recursive=True)]:
                    self._look_at(one)
                with suppress(OSError):  # a folder is gone meanwhile
                    for path in self._temporary.rglob("*"):
                        self._read(path)
                time.sleep(0.1)
        self.ended = True

    def _read(self, path: Path) -> None:
        with suppress(OSError):  # gone meanwhile, or a socket
            self.files[str(path)] = path.read_bytes() if path.is_file() else b""

    def _look_at(self, one: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            self.lines.add("\0".join(one.cmdline()))
            self.variables |= {f"{key}={value}" for key, value in one.environ().items()}


@pytest.fixture(scope="module")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that speaks each language."""
    with speaking(tmp_path_factory.mktemp("polyglot")) as made:
        yield made


@pytest.fixture(params=LANGUAGES)
def night(
    request: pytest.FixtureRequest, polyglot: Server, sample: Path, tmp_path: Path
) -> Iterator[Path]:
    """A project whose pending file fails on a row, and its parameters."""
    with Database(Target.parse(polyglot.url())) as admin:
        speak(polyglot, "live", request.param, tables="SELECT 1")
        admin.execute(f"CREATE ROLE marked SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    project = lay_out(tmp_path / "project", sample, INIT)
    cli.deploy(project, polyglot.url("live"))
    with Database(Target.parse(polyglot.url("live"))) as db:
        db.execute(ROWS)
    write(project.folder, {"20990101000000_next": FAILING[request.param]})
    host = polyglot.url("live").rpartition("@")[2]
    (tmp_path / "url").write_text(f"postgresql://marked:{quote(PASSWORD)}@{host}")
    (tmp_path / "told").write_text((tmp_path / "messages.jsonl").as_uri())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(_values(tmp_path)))
    yield tmp_path
    with Database(Target.parse(polyglot.url())) as admin:
        for row in admin.rows("SELECT datname FROM pg_database WHERE datname LIKE 'live%'"):
            admin.execute(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')
        admin.execute("DROP ROLE marked")


def _values(folder: Path) -> dict[str, Any]:
    return {
        "environment": {"name": "test", "archive": str(folder / "archive")},
        "engineer": "Fictitious Engineer",
        "database": {"url": f"file:{folder / 'url'}"},
        "prisma": {"project": str(folder / "project"), "engine": "offline"},
        "backup": {"directory": str(folder / "backups"), "disk_free_percent": 1},
        "monitoring": {"cpu_percent": 100, "memory_percent": 100, "disk_io_percent": 100},
        "validate": {"slow_queries": False},
        "notify": {"audiences": {"operations": [f"file:{folder / 'told'}"]}},
        "rollback": {"automatic": True},
    }


def _carried(night: Path) -> tuple[str, list[Watcher]]:
    """Run the night to its end, a person opening each gate at which it waits.

    What the terminal showed, and what others could read meanwhile.
    """
    (night / "tmp").mkdir()
    status, output, watcher = _typed(night, "run", night / "params.yaml")
    watchers = [watcher]
    while status == 3:
        (run,) = runs(night / "archive")
        gate = run.state["phases"][-1]["phase"]
        for words in (("approve", run.folder, gate, "--yes"), ("resume", run.folder)):
            status, more, watcher = _typed(night, *words)
            output += more
            watchers.append(watcher)
    return output, watchers


def _typed(night: Path, *words: str | Path) -> tuple[int, str, Watcher]:
    """Status and output of one command, and what others could read while it was at work."""
    program = subprocess.Popen(
        [Path(sys.executable).parent / "runbook", *words],
        cwd=night,
        env={**os.environ, "TMPDIR": str(night / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watcher = Watcher(program, night / "tmp")
    output = program.communicate(timeout=800)[0]
    watcher.join(10)
    return program.returncode, output, watcher


def _of_prisma(word: str, line: str) -> bool:
    """Whether it is the URL that Prisma itself gives its engine, as the README says."""
    return word == PASSWORD and "schema-engine" in line and "--datasource" in line


def test_a_night_that_fails_on_a_row_tells_nothing_of_it_and_no_secret_anywhere(
    night: Path,
) -> None:
    output, watchers = _carried(night)
    assert all(one.ended for one in watchers), "nobody looked up to the end"
    lines = set[str]().union(*(one.lines for one in watchers))
    (run,) = runs(night / "archive")
    assert (run.phase("migrate") or {}).get("status") == "failed", output[-4000:]
    assert "migration failed" in {line["what"] for line in run.read_journal()}
    told = (night / "messages.jsonl").read_text()
    assert run.id in told and "migrate failed" in told
    for word in (*WORDS, PASSWORD):
        assert word not in output and word not in told
        for path in (night / "archive").rglob("*"):
            assert path.is_dir() or word.encode() not in path.read_bytes(), (word, path)
        for name, content in (file for one in watchers for file in one.files.items()):
            assert word.encode() not in content, (word, name)
        assert not [line for line in lines if word in line and not _of_prisma(word, line)]
    variables = set[str]().union(*(one.variables for one in watchers))
    assert not [one for one in variables if any(word in one for word in WORDS)]
    assert any("pg_dump" in line for line in lines)
    assert archive.verify(run) == []
    json.loads((run.folder / "run.json").read_text())
