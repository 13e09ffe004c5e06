"""The API, as an operator runs it: pm2, token, maintenance mode, log."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from runbook_lib.check import Status
from runbook_lib.postgres import quiet
from runbook_lib.postgres.connection import Database, Target
from runbook_lib.postgres.server import free_port
from runbook_lib.service import maintenance

TOKEN = "a-token-of-the-tests"
REMINDERS = """import pg from 'pg'
const client = new pg.Client({
  connectionString: process.env.DATABASE_URL,
  application_name: 'reminders',
})
await client.connect()
const first = '(SELECT min(id) FROM "Appointment")'
setInterval(() => client.query(`UPDATE "Appointment" SET id = id WHERE id = ${first}`), 100)
"""
"""A part of the application that knows nothing of maintenance mode."""
APPOINTMENT = {
    "patientId": "patient_000000001",
    "providerId": "provider_000000001",
    "scheduledAt": "2026-12-24T10:00:00Z",
}


@dataclass
class Api:
    client: httpx.Client
    environment: dict[str, str]
    url: str
    log: Path

    def npm(self, platform, script):
        done = platform.npm(script, url=self.url, **self.environment)
        assert done.returncode == 0, done.stdout
        return done


@pytest.fixture(scope="module")
def api(platform, server, deployed_template, tmp_path_factory):
    """The API of the deployed release, running on a copy of the data."""
    folder, name = tmp_path_factory.mktemp("api"), "sample_api"
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {deployed_template}")
    port = free_port()
    environment = {
        "PORT": str(port),
        "API_TOKEN": TOKEN,
        "PM2_HOME": str(folder / "pm2"),
        "LOG_FILE": str(folder / "application.log"),
        "MAINTENANCE_FILE": str(folder / "maintenance"),
    }
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    running = Api(client, environment, server.url(name), folder / "application.log")
    running.npm(platform, "client:deployed")
    running.npm(platform, "api:start")
    yield running
    running.npm(platform, "api:kill")
    client.close()


def test_it_is_healthy_once_it_was_started(api):
    health = api.client.get("/health", headers={"Authorization": ""})
    assert health.status_code == 200 and health.json() == {
        "status": "ok",
        "maintenance": False,
        "database": "up",
    }


def test_the_user_of_the_token_is_told(api):
    assert api.client.get("/api/v1/users/me").json()["name"] == "Fictitious Patient 000000001"


def test_appointments_come_in_pages(api):
    first = api.client.get("/api/v1/appointments", params={"limit": 2}).json()
    second = api.client.get(
        "/api/v1/appointments", params={"limit": 2, "before": first["next"]}
    ).json()
    numbers = [item["id"] for item in first["items"] + second["items"]]
    assert len(numbers) == 4 and numbers == sorted(numbers, reverse=True)


def test_the_deployed_client_reads_the_column_that_will_be_dropped(api):
    assert (
        "insuranceNumber"
        in api.client.get("/api/v1/appointments", params={"limit": 1}).json()["items"][0]["patient"]
    )


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", TOKEN])
def test_nothing_but_the_health_is_told_without_the_token(api, authorization):
    for path in ("/api/v1/users/me", "/api/v1/appointments"):
        assert api.client.get(path, headers={"Authorization": authorization}).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/v1/appointments", {**APPOINTMENT, "patientId": "nobody"}, 422),
        ("POST", "/api/v1/appointments", {**APPOINTMENT, "scheduledAt": "soon"}, 400),
        ("POST", "/api/v1/appointments", {**APPOINTMENT, "reason": "x" * 20_000}, 413),
        ("POST", "/api/v1/appointments", [], 400),
        ("GET", "/api/v1/appointments?limit=1000", None, 400),
        ("DELETE", "/api/v1/appointments", None, 405),
        ("GET", "/api/v1/patients", None, 404),
        ("GET", "/toString", None, 404),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(api, method, path, body, status):
    answer = api.client.request(method, path, json=body)
    assert answer.status_code == status and answer.json()["error"]


def test_maintenance_mode_serves_reads_and_refuses_writes(api, platform):
    assert api.client.post("/api/v1/appointments", json=APPOINTMENT).status_code == 201
    api.npm(platform, "maintenance:on")
    refused = api.client.post("/api/v1/appointments", json=APPOINTMENT)
    assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
    assert api.client.get("/api/v1/appointments").status_code == 200
    assert api.client.get("/health").json()["maintenance"] is True
    api.npm(platform, "maintenance:off")
    assert api.client.post("/api/v1/appointments", json=APPOINTMENT).status_code == 201


def test_what_it_writes_in_the_background_is_seen_though_it_says_that_it_is_in_maintenance_mode(
    api, platform, started, eventually, tmp_path, monkeypatch
):
    monkeypatch.setattr(quiet, "LAG_S", 3.0)
    (platform.folder / "reminders.mjs").write_text(REMINDERS)
    (tmp_path / "maintenance").touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    settings = {
        **api.environment,
        "PORT": port,
        "MAINTENANCE_FILE": str(tmp_path / "maintenance"),
        "LOG_FILE": str(tmp_path / "log"),
    }
    process = started(
        ["node", "--import", "./reminders.mjs", "src/start.mjs"],
        cwd=platform.folder,
        env=platform.environment(api.url, **settings),
    )
    seen = partial(
        maintenance.seen,
        f"http://127.0.0.1:{port}",
        "/health",
        True,
        write={"path": "/api/v1/appointments", "json": APPOINTMENT},
        token=TOKEN,
    )
    eventually(lambda: seen().passed, 60)  # from outside, all is well
    with Database(Target.parse(api.url), "runbook/tests") as db:
        found = quiet.observe(db, ["unified-healthcare-api"], "runbook/tests", 1.5)
        assert found.cleared().status is Status.PASSED and found.written().status is Status.FAILED
        assert "(reminders, " in found.written().found and '"Appointment"' in found.written().found
        process.kill()
        process.wait()
        eventually(
            lambda: quiet.observe(db, ["unified-healthcare-api"], "runbook/tests", 1).certain, 60
        )


def test_its_sessions_carry_its_name(api, query):
    api.client.get("/health")
    assert "unified-healthcare-api" in query(
        api.url, "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
    )


def test_a_failure_is_logged_by_its_kind_and_answered_without_internals(api, query):
    query(api.url, 'ALTER TABLE "Patient" RENAME COLUMN "insurerName" TO "renamed"')
    answer = api.client.get("/api/v1/appointments")
    query(api.url, 'ALTER TABLE "Patient" RENAME COLUMN "renamed" TO "insurerName"')
    assert answer.status_code == 500 and answer.json() == {"error": "Internal error"}
    assert re.search(
        r" ERROR GET /api/v1/appointments 500 \d+ ms: PrismaClientKnownRequestError P2022\n",
        api.log.read_text(),
    )


def test_the_health_tells_when_the_database_is_gone(api, server):
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("ALTER DATABASE sample_api ALLOW_CONNECTIONS false")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'sample_api'"
        )
        answer = api.client.get("/health")
        admin.execute("ALTER DATABASE sample_api ALLOW_CONNECTIONS true")
    assert answer.status_code == 503 and answer.json()["database"] == "down"
    assert api.client.get("/health").status_code == 200


def test_the_log_holds_times_levels_and_routes_but_no_data(api):
    api.client.get("/api/v1/patients/patient_000000001?token=abc")
    log = api.log.read_text()
    line = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARN|ERROR) .+")
    assert all(line.fullmatch(entry) for entry in log.splitlines())
    assert not any(word in log for word in (TOKEN, "Fictitious", "patient_", "abc"))


@pytest.mark.parametrize("missing", ["API_TOKEN", "DATABASE_URL"])
def test_it_does_not_start_without_its_settings(api, platform, missing):
    settings = {
        "url": api.url,
        **api.environment,
        "url" if missing == "DATABASE_URL" else missing: "",
    }
    failed = platform.npm("api:start", **settings)
    assert failed.returncode == 2 and failed.stdout == f"api: {missing} is not set\n"


def test_a_start_that_ends_at_once_is_not_called_started(api, platform, tmp_path):
    broken = {**api.environment, "PORT": "none", "PM2_HOME": str(tmp_path)}
    failed = platform.npm("api:start", url=api.url, **broken)
    platform.npm("api:kill", url=api.url, **broken)
    assert (
        failed.returncode == 1
        and f"api: start failed; why may stand in {tmp_path}/logs/api-error.log" in failed.stdout
    )
    assert "PORT must be a whole number" in (tmp_path / "logs/api-error.log").read_text()


def test_it_is_restarted_and_stopped_gracefully(api, platform):
    api.npm(platform, "api:restart")
    assert api.client.get("/health").status_code == 200
    api.npm(platform, "api:stop")
    assert "INFO stopping on SIGINT" in api.log.read_text()
    with pytest.raises(httpx.TransportError):
        api.client.get("/health")
