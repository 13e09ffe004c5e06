"""Fixtures of the sample's tests: Prisma projects in temporary folders, and databases copied
from a template.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sample_project import DEPLOYED, Project

from runbook_lib.demo.embedded import Server

ROWS = 2000


@pytest.fixture
def project(tmp_path: Path, sample: Path) -> Project:
    """A Prisma project without migrations."""
    return Project(tmp_path / "project", sample)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Project:
    """A working copy of the sample, as an operator makes one: only node_modules is shared."""
    folder = tmp_path_factory.mktemp("sample") / "platform"
    shutil.copytree(
        sample,
        folder,
        ignore=shutil.ignore_patterns("node_modules", "generated", "logs", ".pm2", ".maintenance"),
    )
    return Project(folder, sample)


@pytest.fixture(scope="session")
def deployed_template(
    server: Server, platform: Project, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name of a database with the first four migrations and some data, to be copied."""
    name = "sample_deployed"
    deployed = Project(tmp_path_factory.mktemp("deployed"), platform.sample)
    for migration in sorted(path for path in platform.migrations.iterdir() if path.is_dir())[
        :DEPLOYED
    ]:
        shutil.copytree(migration, deployed.migrations / migration.name)
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with deployed.engine(server.url(name)) as engine:
        assert "result" in engine.deploy()
    done = platform.npm("db:seed", "--rows", str(ROWS), url=server.url(name))
    assert done.returncode == 0, done.stdout
    return name


@pytest.fixture
def deployed_database(server: Server, deployed_template: str) -> Iterator[str]:
    """The URL of a copy of that database."""
    name = f"sample_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(deployed_template)
            )
        )
        yield server.url(name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def query() -> Callable[..., list[Any]]:
    """The first column of a statement's answer."""

    def first_column(url: str, statement: str) -> list[Any]:
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return [row[0] for row in cursor] if cursor.description else []

    return first_column


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits until something is true, for at most some seconds."""

    def wait(condition: Callable[[], Any], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it was still not so after {seconds} s"
            time.sleep(0.02)

    return wait


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program in a process group of its own, which is ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(command: list[str], **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            text=True,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
