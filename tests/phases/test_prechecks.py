"""`runbook check` and `runbook init`: all that is missing at once, nothing touched; and a draft
with which a run can begin.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib import cli, draft, params
from runbook_lib.commands import ending
from runbook_lib.commands.output import out
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import UsageError
from runbook_lib.phases import prechecks
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.prisma import generators
from tests.phases.conftest import _copy
from tests.prisma.conftest import INIT, Make

PENDING = {"20260201000000_note": 'ALTER TABLE "Visit" ADD COLUMN "note" TEXT;\n'}
Said = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def url(server: Server, template: str) -> Any:
    """The URL of a database to which the first migration was applied."""
    with _copy(server, template) as made:
        yield made


@pytest.fixture
def values(url: str, make: Make, tmp_path: Path) -> dict[str, Any]:
    """Parameters with which nothing is missing."""
    (tmp_path / "url").write_text(url)
    return {
        "environment": {"name": "small", "archive": str(tmp_path / "archive")},
        "engineer": "Test Engineer",
        "database": {"url": f"file:{tmp_path / 'url'}"},
        "prisma": {"project": str(make(INIT | PENDING).folder), "engine": "offline"},
        "backup": {"directory": str(tmp_path / "backups"), "disk_free_percent": 0},
        "validate": {"slow_queries": False},
        "monitoring": {"cpu_percent": 100, "memory_percent": 100, "disk_io_percent": 100},
    }


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests may take longer."""
    monkeypatch.setattr(prechecks, "DEADLINE_S", 60.0)


@pytest.fixture
def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], patient: None
) -> Said:
    """Runs a command for machines: its exit status, and the objects that it printed."""

    def run(*words: object) -> tuple[int, list[dict[str, Any]]]:
        monkeypatch.setattr("sys.argv", ["runbook", *map(str, words), "--json"])
        status = ending.ended(cli.app)
        out.machines = False
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def files(folder: Path) -> set[str]:
    """Everything below a folder, but for what node keeps for itself."""
    return {str(path) for path in folder.rglob("*") if "node_modules" not in path.parts}


def state(url: str) -> Any:
    """Which databases there are, and what is in this one."""
    with Database(Target.parse(url)) as db:
        return (
            db.rows("SELECT datname FROM pg_database ORDER BY 1"),
            db.rows("SELECT oid, relname FROM pg_class WHERE oid > 16384 ORDER BY 1"),
            db.rows('SELECT * FROM "_prisma_migrations" ORDER BY id'),
        )


def test_nothing_is_missing_and_nothing_was_touched(
    values: dict[str, Any], url: str, tmp_path: Path, said: Said
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(values))
    before, there = state(url), files(tmp_path)
    status, events = said("check", path)
    checks, last = events[:-1], events[-1]
    assert status == 0, [one for one in checks if one["status"] == "failed"]
    assert (last["event"], last["failed"], last["exit_status"]) == ("checked", 0, 0)
    assert (state(url), files(tmp_path)) == (before, there)
    asked = {one["id"] for one in checks}
    for id in (
        "start.project",
        "start.engine",
        "start.history",
        "start.pending",
        "backup.writable",
        "environment.rights.own",
        "environment.disk",
        "environment.replication",
        "environment.prepared",
    ):
        assert id in asked, id


def test_all_that_is_missing_is_said_at_once_each_with_what_to_do(
    values: dict[str, Any], tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_SERVICE", "nothing://secretword")
    (tmp_path / "file").write_text("")
    values["backup"]["directory"] = str(tmp_path / "file" / "backups")
    values["validate"] = {"slow_queries": True}
    values["notify"] = {"audiences": {"operations": ["env:NOT_SET_ANYWHERE", "env:NO_SERVICE"]}}
    values["service"] = {"url": "http://127.0.0.1:1", "endpoints": [{"path": "/me"}]}
    schema = next(Path(values["prisma"]["project"]).rglob("*.prisma"))
    schema.write_text(
        schema.read_text() + '\ngenerator zod {\n  provider = "zod-prisma-types"\n}\n'
    )
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(values))
    status, events = said("check", path)
    wrong = {one["id"]: one for one in events[:-1] if one["status"] != "passed"}
    assert status == 2
    assert wrong["performance.statements"]["status"] == "could not check"
    for id in ("backup.writable", "notify.addresses", "start.generators"):
        assert wrong[id]["status"] == "failed" and wrong[id]["remedy"], wrong[id]
    assert "secretword" not in json.dumps(events)
    assert len([one for one in events if one.get("id") == "notify.addresses"]) == 2
    assert "zod (zod-prisma-types)" in wrong["start.generators"]["found"]
    assert [id for id in wrong if id.startswith("endpoint")], wrong.keys()


def test_a_server_out_of_reach_is_one_thing_that_is_missing(
    values: dict[str, Any], tmp_path: Path, said: Said
) -> None:
    (tmp_path / "url").write_text("postgresql://u:secretword@127.0.0.1:1/d")
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(values))
    status, events = said("check", path)
    failed = [one["id"] for one in events[:-1] if one["status"] == "failed"]
    assert (status, failed) == (2, ["start.server"])
    assert "secretword" not in json.dumps(events)


def test_what_does_not_answer_in_time_could_not_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prechecks, "DEADLINE_S", 0.2)
    (late,) = prechecks._side_by_side({"slow": lambda: time.sleep(5) or []})  # type: ignore[func-returns-value]
    assert (late.status.value, late.id) == ("could not check", "check.slow")


def test_a_check_that_breaks_could_not_be_made_and_hides_no_other() -> None:
    def broken() -> list[Any]:
        raise ZeroDivisionError("by zero")

    (found,) = prechecks._side_by_side({"broken": broken})
    assert found.status.value == "could not check" and "ZeroDivisionError" in found.found


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_draft_is_explained_has_no_secret_and_passes_its_check(
    environment: str,
    values: dict[str, Any],
    url: str,
    tmp_path: Path,
    said: Said,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    path, project = tmp_path / "made.yaml", values["prisma"]["project"]
    status, events = said("init", project, "--environment", environment, "--output", path)
    text, written = path.read_text(), events[0]
    password = Target.parse(url).password
    assert (status, written["event"], written["file"]) == (0, "written", str(path))
    assert url not in text and (not password or password not in text)
    made = params.parse(yaml.safe_load(text))
    assert (made.database.url, made.environment.production) == (
        "env:DATABASE_URL",
        environment == "production",
    )
    assert made.prisma.engine == "offline" and "PostgreSQL 18" in text
    values_ = [line for line in text.splitlines() if re.match(r"  \w+: ", line)]
    assert all("  # " in line for line in values_ if not re.search("name:|percent: 100", line))
    checked = next(one for one in events if one["event"] == "checked")
    refused = [one["id"] for one in events if one.get("status") == "failed"]
    assert checked["failed"] == len(refused) and not {*refused} - {
        "environment.disk",
        "backup.space",
    }
    assert events[-1]["commands"][-1] == f"runbook run {path}"
    assert said("init", project, "--output", path)[0] == 2
    assert path.read_text() == text


def test_a_draft_without_its_server_says_so_and_holds_what_is_known(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Path(values["prisma"]["project"])
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert "the variable DATABASE_URL is not set" in draft.draft(project, "staging").text
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secretword@127.0.0.1:1/d")
    made = draft.draft(project, "staging")
    assert "# The server was not asked: " in made.text and "secretword" not in made.text
    assert made.params().prisma.project == project


def test_the_direct_url_is_taken_where_the_other_leads_to_a_pooler(
    values: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Path(values["prisma"]["project"])
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (project / ".env").write_text(
        f'DATABASE_URL="postgresql://u:p@pooler:6543/d?pgbouncer=true"\nDIRECT_URL="{url}"\n'
    )
    made = draft.draft(project, "staging")
    assert (made.variable, made.source) == ("DIRECT_URL", project / ".env")
    assert "PostgreSQL 18" in made.text and "env:DIRECT_URL" in made.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DATABASE_URL=postgresql://u@h/d", "postgresql://u@h/d"),
        ('export DATABASE_URL="postgresql://u@h/d?a=b#c"  # staging', "postgresql://u@h/d?a=b#c"),
        ("DATABASE_URL='postgresql://u@h/d' ", "postgresql://u@h/d"),
        ("DATABASE_URL=postgresql://u@h/d # staging", "postgresql://u@h/d"),
        (
            'DB_USER="u"\nDB_HOST=h\nDATABASE_URL="postgresql://${DB_USER}@${DB_HOST}/d"',
            "postgresql://u@h/d",
        ),
        ("# DATABASE_URL=postgresql://u@h/d", None),
    ],
)
def test_a_variable_is_read_from_the_projects_env_file_as_prisma_does(
    text: str, expected: str | None, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(text + "\n")
    assert draft._assigned(tmp_path / ".env").get("DATABASE_URL") == expected


@pytest.mark.parametrize(
    ("provider", "there"),
    [
        ("prisma-client", True),
        ("prisma-client-js", True),
        ("zod-prisma-types", False),
        ("npx zod-prisma-types", True),  # it is fetched where it is not installed
        ("node ./generator.js", True),
        ("node ./nowhere.js", False),
        ("./generator.js", True),
        ("tsc", True),
    ],
)
def test_a_generator_is_looked_for_where_prisma_looks(
    provider: str, there: bool, tmp_path: Path
) -> None:
    (tmp_path / "generator.js").write_text("")
    (tmp_path / "node_modules" / ".bin").mkdir(parents=True)
    (tmp_path / "node_modules" / ".bin" / "tsc").write_text("")
    (tmp_path / "api").mkdir()
    folder = tmp_path if provider.count("./") else tmp_path / "api"
    assert (provider in generators.BUILT_IN or generators._installed(provider, folder)) is there


def test_in_a_monorepo_the_only_project_is_found_and_several_are_named(
    values: dict[str, Any], tmp_path: Path
) -> None:
    project = Path(values["prisma"]["project"])
    root = tmp_path / "mono"
    (root / "apps").mkdir(parents=True)
    (root / "package.json").write_text("{}")
    (root / "apps" / "api").symlink_to(project)
    assert draft._project_folder(root) == root / "apps" / "api"
    other = root / "apps" / "billing" / "prisma"
    other.mkdir(parents=True)
    (other.parent / "package.json").write_text("{}")
    (other / "schema.prisma").write_text("")
    with pytest.raises(UsageError, match="2 Prisma projects lie in"):
        draft._project_folder(root)
    (empty := tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="there is no Prisma project in"):
        draft._project_folder(empty)
