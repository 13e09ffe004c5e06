"""One URL, three programs: psycopg, pg_dump and Prisma's engine reach the same database by the same
role.

For each URL the sample's schema engine connects in one process of node, as it does beneath the CLI;
the CLI itself, with its two seconds a command, is given one URL of each kind.
"""

from __future__ import annotations

import getpass
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pytest

from runbook_lib.check import Status
from runbook_lib.demo.embedded import Server
from runbook_lib.errors import RunbookError, UsageError
from runbook_lib.postgres import urls
from runbook_lib.postgres.connection import Database, Target, identifier, sql
from runbook_lib.postgres.server import give
from runbook_lib.prisma import cli
from runbook_lib.redact import redact
from tests.prisma import certificates

NAME = "runbook/test/urls"
Execute = Callable[[Target], None]
BINARIES = Path(__file__).parents[2] / ".servers" / "17" / "bin"
"""The embedded server is built without TLS."""
ODD_USER, ODD_PASSWORD, ODD_DATABASE = (
    "Jürgen @:/?#% \"'",
    "p@:/?#% \"'äß\\&=+",
    "Bücher @:/?#% \"'",
)
OWNER = "-c role=app_owner"
MARK = (
    "INSERT INTO public.reached SELECT current_database(), session_user, current_user, (SELECT "
    "ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), current_setting('search_path'), "
    "current_setting('work_mem')"
)
HBA = (
    "local all all scram-sha-256\nhostssl all certified all cert\nhost all all all scram-sha-256\n"
)


@dataclass(frozen=True)
class Reached:
    """Where a session is."""

    database: str = "plain"
    user: str = "app"
    acts_as: str = "app"
    encrypted: bool = True
    schema: str = "public"
    work_mem: str = "4MB"


@dataclass(frozen=True)
class World:
    """A server, and the folder of its certificates and its socket."""

    server: Server
    folder: Path

    def url(self, text: str) -> str:
        """The text with port, folder and the odd names filled in."""
        odd = {"ODD_USER": ODD_USER, "ODD_PASSWORD": ODD_PASSWORD, "ODD_DATABASE": ODD_DATABASE}
        known = {"PORT": str(self.server.port), "SOCKET": quote(str(self.folder), safe="")}
        known |= {"FOLDER": str(self.folder), "ME": getpass.getuser()}
        known |= {name: quote(value, safe="") for name, value in odd.items()}
        for name, value in known.items():
            text = text.replace("{" + name + "}", value)
        return text


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if not (BINARIES / "postgres").exists():
        pytest.skip("PostgreSQL 17 is not here: `make servers` fetches it")
    with TemporaryDirectory(prefix="urls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        certificates.make(folder)
        for path in (folder, *folder.iterdir()):
            give(path)
        made = Server(
            folder / "server",
            {
                "listen_addresses": "127.0.0.1,::1",
                "unix_socket_directories": str(folder),
                "ssl": "on",
                "ssl_ca_file": str(folder / "ca.pem"),
                "ssl_cert_file": str(folder / "server.pem"),
                "ssl_key_file": str(folder / "server.key"),
                "log_connections": "on",
                "log_line_prefix": "%a|",
                "fsync": "off",
            },
            BINARIES,
        ).start()
        certificates.take_back(folder)
        world = World(made, folder)
        _fill(world)
        yield world
        made.stop("immediate")


def _fill(world: World) -> None:
    admin = Target.parse(world.server.url())
    with Database(admin) as db:
        for role, password in (
            ("app", "geheim"),
            (ODD_USER, ODD_PASSWORD),
            ("certified", "x"),
            (getpass.getuser(), "mine"),
        ):
            db.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    identifier(role), sql.Literal(password)
                )
            )
        db.execute(
            "ALTER ROLE app NOINHERIT; CREATE ROLE app_owner; GRANT app_owner TO app; GRANT "
            "pg_read_all_stats TO app_owner; CREATE ROLE other; GRANT other TO app"
        )
        for name in ("plain", ODD_DATABASE):
            db.execute(sql.SQL("CREATE DATABASE {} OWNER app_owner").format(identifier(name)))
    for name in ("plain", ODD_DATABASE):
        with Database(admin.named(name)) as db:
            db.execute(
                'CREATE SCHEMA app; CREATE SCHEMA "Straße 1%"; GRANT ALL '
                'ON SCHEMA app, "Straße 1%", public TO PUBLIC'
            )
            db.execute(
                "CREATE TABLE reached (database text, who text, acts_as text, encrypted bool, "
                "search_path text, work_mem text); GRANT ALL ON reached TO PUBLIC"
            )
            db.execute("CREATE TABLE owned (); ALTER TABLE owned OWNER TO app_owner")
            db.execute(
                sql.SQL("COMMENT ON TABLE reached IS {}").format(sql.Literal(f"marks {name}"))
            )
    (world.server.data / "pg_hba.conf").write_text(HBA)
    with Database(admin) as db:
        db.execute("SELECT pg_reload_conf()")


APP = "postgresql://app:geheim@127.0.0.1:{PORT}/plain"
LOCAL = "postgresql://app:geheim@localhost:{PORT}/plain"
PLAIN = Reached()
TABLE = {
    # the place
    "postgresql://app:geheim@127.0.0.1:{PORT}/plain": PLAIN,
    "postgres://app:geheim@127.0.0.1:{PORT}/plain": PLAIN,
    "postgresql://app:geheim@localhost:{PORT}/plain": PLAIN,
    "postgresql://app:geheim@[::1]:{PORT}/plain": PLAIN,
    "postgresql://app:geheim@[0:0:0:0:0:0:0:1]:{PORT}/plain?schema=app": replace(
        PLAIN, schema="app"
    ),
    "postgresql://app:geheim@127.0.0.1:{PORT}/plain/": PLAIN,
    "postgresql://app:geheim@127.0.0.1/plain?port={PORT}": PLAIN,
    "postgresql://127.0.0.1:{PORT}/plain?user=app&password=geheim": PLAIN,
    "postgresql://app:geheim@127.0.0.1:{PORT}?dbname=plain": PLAIN,
    "postgresql://app:geheim@nowhere.invalid:{PORT}/plain?host=127.0.0.1": PLAIN,
    "postgresql://app:geheim@db.example:{PORT}/plain?hostaddr=127.0.0.1": PLAIN,
    "postgresql://:mine@127.0.0.1:{PORT}/plain": replace(PLAIN, user="{ME}", acts_as="{ME}"),
    # sockets
    "postgresql://app:geheim@localhost:{PORT}/plain?host={SOCKET}": replace(PLAIN, encrypted=False),
    "postgresql://app:geheim@localhost:{PORT}/plain?host={FOLDER}": replace(PLAIN, encrypted=False),
    "postgresql://app:geheim@{SOCKET}:{PORT}/plain": replace(PLAIN, encrypted=False),
    "postgresql://app:geheim@/plain?host={FOLDER}&port={PORT}": replace(PLAIN, encrypted=False),
    "postgresql:///plain?host={FOLDER}&port={PORT}&user=app&password=geheim": replace(
        PLAIN, encrypted=False
    ),
    "postgresql://app:geheim@localhost:{PORT}/plain?host={SOCKET}&sslmode=require": replace(
        PLAIN, encrypted=False
    ),
    # names
    "postgresql://{ODD_USER}:{ODD_PASSWORD}@127.0.0.1:{PORT}/{ODD_DATABASE}": Reached(
        ODD_DATABASE, ODD_USER, ODD_USER
    ),
    "postgresql://{ODD_USER}:{ODD_PASSWORD}@127.0.0.1:{PORT}/plain": Reached(
        "plain", ODD_USER, ODD_USER
    ),
    "postgresql://app:geheim@[::1]:{PORT}/{ODD_DATABASE}?schema=app": Reached(
        ODD_DATABASE, schema="app"
    ),
    "postgresql://app:geheim@localhost:{PORT}/{ODD_DATABASE}?host={SOCKET}": Reached(
        ODD_DATABASE, encrypted=False
    ),
    "postgresql://%61pp:ge%68eim@127.0.0.1:{PORT}/%70lain": PLAIN,
    APP + "?schema=public": PLAIN,
    APP + "?schema=Stra%C3%9Fe+1%25": replace(PLAIN, schema="Straße 1%"),
    APP + "?schema=Stra%C3%9Fe%201%25": replace(PLAIN, schema="Straße 1%"),
    # options
    APP + "?options=-c%20role%3Dapp_owner": replace(PLAIN, acts_as="app_owner"),
    APP + "?options=-c+role=app_owner": replace(PLAIN, acts_as="app_owner"),
    APP + "?options=--role%3Dapp_owner": replace(PLAIN, acts_as="app_owner"),
    APP + "?options=-crole%3Dapp_owner%20-c%20work_mem%3D5MB": replace(
        PLAIN, acts_as="app_owner", work_mem="5MB"
    ),
    APP + "?options=--work-mem%3D5MB&schema=app": replace(PLAIN, schema="app", work_mem="5MB"),
    APP + "?options=-c%20search_path%3Dapp%2Cpublic": replace(PLAIN, schema="app,public"),
    APP + "?options=-c%20search_path%3Dapp%5C%20,%5C%20public": replace(
        PLAIN, schema="app , public"
    ),
    APP + "?options=-c%20search_path%3Dpublic&schema=app": replace(PLAIN, schema="app"),
    APP + "?options=-c%20statement_timeout%3D5min%20-c%20role%3Dapp_owner": replace(
        PLAIN, acts_as="app_owner"
    ),
    APP + "?options=-c%20TimeZone%3DEtc/GMT%2B3": PLAIN,
    APP + "?options=-c%20datestyle%3DSQL,DMY": PLAIN,
    # Prisma's own
    APP + "?connection_limit=1&pool_timeout=0&connect_timeout=30": PLAIN,
    APP + "?pgbouncer=true&schema=app": replace(PLAIN, schema="app"),
    APP + "?socket_timeout=60&statement_cache_size=0&max_connection_lifetime=60": PLAIN,
    APP + "?application_name=shop&max_idle_connection_lifetime=10": PLAIN,
    APP + "?workaround=supabase-pooler.vercel": PLAIN,
    # libpq's own
    APP + "?target_session_attrs=read-write&keepalives_idle=20&tcp_user_timeout=9000": PLAIN,
    APP + "?require_auth=scram-sha-256&gssencmode=disable&client_encoding=LATIN1": PLAIN,
    APP + "?load_balance_hosts=disable&min_protocol_version=3.0": PLAIN,
    # encryption
    APP + "?sslmode=disable": replace(PLAIN, encrypted=False),
    APP + "?sslmode=prefer": PLAIN,
    APP + "?sslmode=allow": replace(
        PLAIN, encrypted=None
    ),  # libpq begins in plain text, Prisma encrypted
    APP + "?sslmode=require&channel_binding=require": PLAIN,
    APP + "?sslmode=no-verify": PLAIN,
    APP + "?ssl=true": PLAIN,
    APP + "?sslmode=require&sslaccept=accept_invalid_certs&sslcert={FOLDER}/wrong_ca.pem": PLAIN,
    APP + "?sslmode=require&sslaccept=strict&sslcert={FOLDER}/ca.pem": PLAIN,
    LOCAL + "?sslaccept=strict&sslcert={FOLDER}/ca.pem": PLAIN,
    LOCAL + "?sslmode=verify-full&sslrootcert={FOLDER}/ca.pem": PLAIN,
    LOCAL + "?sslmode=verify-ca&sslrootcert={FOLDER}/ca.pem&sslcrl={FOLDER}/crl.pem": PLAIN,
    LOCAL + "?sslmode=require&sslrootcert={FOLDER}/ca.pem": PLAIN,
    LOCAL
    + "?sslmode=require&ssl_min_protocol_version=TLSv1.3&sslnegotiation=direct&sslsni=0": PLAIN,
    # the client's own certificate, in the form of either side
    "postgresql://certified@localhost:{PORT}/plain?sslmode=verify-full&"
    "sslrootcert={FOLDER}/ca.pem&sslcert={FOLDER}/client.pem&sslkey={FOLDER}/client.key": Reached(
        user="certified", acts_as="certified"
    ),
    "postgresql://certified@localhost:{PORT}/plain?sslmode=require&"
    "sslcert={FOLDER}/client.pem&sslkey={FOLDER}/locked.key&sslpassword=ge%26heim": Reached(
        user="certified", acts_as="certified"
    ),
    "postgresql://certified@localhost:{PORT}/plain?sslmode=require&"
    "sslidentity={FOLDER}/client.p12&sslpassword=ge%26heim": Reached(
        user="certified", acts_as="certified"
    ),
    "postgresql://certified@127.0.0.1:{PORT}/plain?sslaccept=strict&"
    "sslcert={FOLDER}/ca.pem&sslidentity={FOLDER}/client.p12&sslpassword=ge%26heim": Reached(
        user="certified", acts_as="certified"
    ),
    "postgresql://certified@127.0.0.1:{PORT}/plain?sslrootcert={FOLDER}/ca.pem&"
    "sslcert={FOLDER}/client.pem&sslkey={FOLDER}/client.key&sslidentity={FOLDER}/client.p12&"
    "sslpassword=ge%26heim": Reached(user="certified", acts_as="certified"),
}
"""The URL, and where it leads; `encrypted` None: one side is, the other not."""


def test_the_table_is_long_enough():
    assert len(TABLE) >= 50


def reached(row: dict[str, object]) -> Reached:
    return Reached(
        row["database"],
        row["who"],
        row["acts_as"],
        row["encrypted"],
        _plain(row["search_path"]),
        row["work_mem"],
    )  # type: ignore[arg-type]


def _plain(search_path: object) -> str:
    usual = {'"$user", public': "public"}
    return usual.get(str(search_path), str(search_path).strip('"'))


@pytest.mark.parametrize("text", TABLE, ids=range(len(TABLE)))
def test_every_program_reaches_the_same_database_by_the_same_role(world, engine, text):
    expected = TABLE[text]
    expected = replace(
        expected,
        **{k: world.url(v) for k in ("user", "acts_as") if (v := getattr(expected, k)) == "{ME}"},
    )
    target = Target.parse(urls.anchored(world.url(text)))
    with Database(target, NAME) as db:
        db.execute(MARK)
        ours = _taken(world, expected.database)
    _dump(world, target, expected)
    engine(target)
    theirs = _taken(world, expected.database)
    if expected.encrypted is None:
        ours, theirs = (replace(one, encrypted=None) for one in (ours, theirs))
    assert theirs == expected
    assert replace(ours, schema=expected.schema) == expected  # ours stays where role and URL lead


def _taken(world: World, database: str) -> Reached:
    with Database(Target.parse(world.server.url()).named(database)) as db:
        (row,) = db.rows("DELETE FROM reached RETURNING *")
    return reached(row)


def _dump(world: World, target: Target, expected: Reached) -> None:
    """pg_dump reads the comment that marks its database; the server's log says who it was."""
    name = f"dump-{os.urandom(4).hex()}"
    owns = expected.acts_as == "app_owner"  # what it owns, app may not read without acting as it
    tables = [f"--table=public.{table}" for table in ("reached", *(["owned"] if owns else []))]
    done = subprocess.run(
        [BINARIES / "pg_dump", "--schema-only", "--no-password", *tables],
        env={**os.environ, **HOSTILE, **target.environment(name)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, redact(done.stderr)
    assert f"marks {expected.database}".replace("'", "''") in done.stdout
    log = (world.server.folder / "server.log").read_text()
    said = next(line for line in log.splitlines() if f"application_name={name}" in line)
    assert f"user={expected.user} database={expected.database} " in said
    if expected.encrypted is not None:
        assert ("SSL enabled" in said) == expected.encrypted


HOSTILE = {
    "PGSERVICE": "elsewhere",
    "PGHOSTADDR": "192.0.2.1",
    "PGSSLMODE": "verify-full",
    "PGOPTIONS": "-c role=other",
}
"""What an operator's shell may hold."""


@pytest.fixture(scope="module")
def engine(sample: Path) -> Iterator[Execute]:
    """The engine's own way from a URL to a session, for one URL after the other."""
    script = [str(Path(__file__).with_name("execute.mjs")), str(sample)]
    process = subprocess.Popen(
        ["node", *script], cwd=sample, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin and process.stdout

    def execute(target: Target) -> None:
        url = target.url(NAME, lock_timeout="5s")
        process.stdin.write(json.dumps({"url": url, "script": MARK}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert not target.password or target.password not in answer.get("message", "")
        assert answer["done"], redact(answer["message"])

    yield execute
    process.communicate(timeout=60)


CERTIFIED = "postgresql://certified@localhost:{PORT}/plain?sslmode=require"
BY_CLI = (
    "postgresql://{ODD_USER}:{ODD_PASSWORD}@127.0.0.1:{PORT}/{ODD_DATABASE}",
    "postgresql://app:geheim@[::1]:{PORT}/plain",
    "postgresql://app:geheim@/plain?host={FOLDER}&port={PORT}",
    APP + "?options=-c+role=app_owner",
    APP + "?schema=Stra%C3%9Fe%201%25",
    LOCAL + "?sslmode=verify-full&sslrootcert={FOLDER}/ca.pem",
    CERTIFIED + "&sslcert={FOLDER}/client.pem&sslkey={FOLDER}/client.key",
)


@pytest.mark.parametrize("text", BY_CLI, ids=range(len(BY_CLI)))
def test_the_prisma_cli_itself_reaches_what_is_meant_and_says_so(world, make, text):
    project, target = make({}), Target.parse(world.url(text))
    said = cli.status(project, target.url(NAME))
    check = cli.same_target(said, target.shown_host, target.port, target.database)
    assert check.status is Status.PASSED, check.found
    (project.folder / "mark.sql").write_text(MARK)
    done = cli.call(project, target.url(NAME), "db", "execute", "--file", "mark.sql")
    assert done.status == 0, done.output
    taken = _taken(world, target.database)
    role = "app_owner" if "role=" in text else target.user
    assert (taken.user, taken.acts_as, taken.schema) == (target.user, role, target.schema)


REFUSED = {
    "": "is not of the form",
    "mysql://app:geheim@127.0.0.1/plain": "is not of the form",
    "prisma://accelerate.example/?api_key=geheim": "is not of the form",
    "postgresql://app:geheim@127.0.0.1:{PORT}": "names no database",
    "postgresql://app:geheim@127.0.0.1:{PORT}/": "names no database",
    "postgresql://app:geheim@one:1,two:2/plain": "names several hosts",
    "postgresql://app:geheim@one/plain?host=one,two": "names several hosts",
    "postgresql://app:geheim@[::1]:1,[::1]:2/plain": "names several hosts",
    "postgresql://app:geheim@127.0.0.1:geheim/plain": "its port is no number",
    "postgresql://app:geheim@127.0.0.1:65536/plain": "its port is no number",
    "postgresql://app:geheim@127.0.0.1/plain/more": "several parts",
    "postgresql://app:geheim@127.0.0.1/plain#geheim": "a # behind its host",
    "postgresql://app:%ff%fegeheim@127.0.0.1/plain": "not encoded in UTF-8",
    "postgresql://app:geheim%00@127.0.0.1/plain": "a zero byte",
    APP + "?sslmod=require": "neither Prisma nor libpq reads `sslmod`",
    APP + "?sslfoo=geheim": "neither Prisma nor libpq reads `sslfoo`",
    APP + "?conection_limit=1": "neither Prisma nor libpq reads `conection_limit`",
    APP + "?sslmode=verify": "an unknown sslmode",
    APP + "?service=shop": "has `service`",
    APP + "?passfile=/geheim": "has `passfile`",
    APP + "?replication=database": "has `replication`",
    APP + "?oauth_client_secret=geheim": "has `oauth_client_secret`",
    APP + "?sslcert={FOLDER}/missing.pem": "which is not there",
    APP + "?sslkey={FOLDER}/client.key": "`sslkey` without `sslcert`",
    APP + "?sslidentity={FOLDER}/client.p12&sslpassword=false": (
        "`sslidentity` of the database URL cannot be read"
    ),
    APP + "?sslcert={FOLDER}/client.pem&sslkey={FOLDER}/locked.key&sslpassword=false": (
        "`sslkey` of the database URL cannot be read"
    ),
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_kept_for_both_is_refused_and_says_why(world, text):
    with pytest.raises(UsageError, match=REFUSED[text]) as caught:
        Target.parse(world.url(text))
    assert "geheim" not in str(caught.value) and caught.value.remedy


@pytest.mark.parametrize(
    "text",
    (
        LOCAL + "?sslaccept=strict",
        LOCAL + "?sslmode=verify-full&sslrootcert={FOLDER}/wrong_ca.pem",
        LOCAL + "?sslmode=require&sslaccept=strict&sslcert={FOLDER}/wrong_ca.pem",
        "postgresql://certified@localhost:{PORT}/plain?sslmode=require",
        "postgresql://app:false-password@localhost:{PORT}/plain",
        LOCAL + "?options=-c%20role%3Dnobody_knows",
    ),
)
def test_what_one_program_is_refused_the_others_are_refused_too(world, engine, text):
    target = Target.parse(world.url(text))
    with pytest.raises(RunbookError) as caught:
        Database(target, NAME)
    assert "false-password" not in str(caught.value)
    for attempt in (lambda: _dump(world, target, PLAIN), lambda: engine(target)):
        with pytest.raises(AssertionError):
            attempt()


def test_a_relative_certificate_is_looked_for_in_the_prisma_project(world, tmp_path):
    (tmp_path / "prisma").mkdir()
    (tmp_path / "prisma" / "root 1.pem").write_bytes((world.folder / "ca.pem").read_bytes())
    url = world.url(LOCAL + "?sslaccept=strict&sslcert=./root+1.pem")
    target = Target.parse(urls.anchored(url, tmp_path / "prisma", tmp_path))
    assert target.options["sslrootcert"] == str(tmp_path / "prisma" / "root 1.pem")
    with Database(target, NAME) as db:
        assert db.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


def test_variables_of_the_operator_lead_no_session_elsewhere(world, monkeypatch):
    for name, value in HOSTILE.items():
        if name != "PGSERVICE":
            monkeypatch.setenv(name, value)
    for name in ("PGTZ", "PGDATESTYLE"):
        monkeypatch.setenv(name, {"PGTZ": "Asia/Kolkata", "PGDATESTYLE": "German"}[name])
    with Database(Target.parse(world.url(APP)), NAME) as db:
        row = db.row(
            "SELECT current_user AS who, current_setting('TimeZone') AS tz, current_date AS day"
        )
    assert row["who"] == "app" and row["tz"] == "UTC" and row["day"].year > 2000
