"""A Prisma project is found where it is, and refused with a remedy where it cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib import draft
from runbook_lib.errors import UsageError
from runbook_lib.prisma import engine, history, lockfile
from runbook_lib.prisma.project import Project
from runbook_lib.prisma.transactions import TransactionRule

CONFIG = """// schema: 'commented/out.prisma'
export default { schema: 'prisma/schema.prisma', migrations: { path: 'prisma/migrations' },
  datasource: { url: process.env.DATABASE_URL } }
"""
SCHEMA = 'datasource db {\n  provider = "postgresql"\n}\n'
Fake = Callable[..., Path]


@pytest.fixture
def fake(tmp_path: Path, sample: Path) -> Fake:
    """A project that is only files and Prisma's loader of configurations: enough for all but
    running Prisma.
    """

    def made(
        version: str = "7.10.1",
        config: str = CONFIG,
        package: dict | None = None,
        schema: str = SCHEMA,
    ) -> Path:
        folder = tmp_path / "project"
        for place in (
            "node_modules/.bin",
            "node_modules/prisma",
            "node_modules/@prisma/engines",
            "prisma/migrations/1_init",
        ):
            (folder / place).mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps(package or {}))
        (folder / "node_modules/prisma/package.json").write_text(json.dumps({"version": version}))
        (folder / "node_modules/.bin/prisma").touch()
        (folder / "prisma/migrations/1_init/migration.sql").touch()
        for name in ("@prisma/config", "@prisma/adapter-pg", "@prisma/driver-adapter-utils", "pg"):
            (folder / "node_modules" / name).symlink_to(sample / "node_modules" / name)
        engine = folder / "node_modules/@prisma/schema-engine-wasm"
        engine.mkdir()
        (engine / "package.json").write_text(json.dumps({"version": f"{version}-1.abc"}))
        if version < "7":
            schema = schema.replace("}", '  url = env("DATABASE_URL")\n}', 1)
        (folder / "prisma/schema.prisma").write_text(schema)
        if config:
            (folder / "prisma.config.ts").write_text(config)
        return folder

    return made


def test_the_sample_is_found_and_fits_its_lock_file(sample: Path) -> None:
    project = Project(
        sample, engine="offline", engine_path=sample / "tooling" / "schema-engine.mjs"
    )
    assert (
        project.schema == sample / "prisma" / "schema.prisma"
        and project.migrations == sample / "prisma" / "migrations"
    )
    assert project.version == project.locked_version and project.major == 7
    assert project.checks().passed
    assert "7." in str(project)


@pytest.mark.parametrize(
    "version, engine, mode, rule",
    [
        ("5.22.0", "installed", "", TransactionRule.WHOLE_FILE),
        ("7.3.0", "installed", "", TransactionRule.WHOLE_FILE),
        ("7.4.0", "installed", "", TransactionRule.EACH_IF_PARSED),
        ("7.10.1", "installed", "", TransactionRule.EACH_IF_PARSED),
        ("7.10.1", "offline", "", TransactionRule.EACH_STATEMENT),
        ("6.6.0", "offline", "", TransactionRule.WHOLE_FILE),
        ("7.3.0", "offline", "", TransactionRule.WHOLE_FILE),
        ("7.10.1", "offline", "file", TransactionRule.WHOLE_FILE),
        ("7.3.0", "offline", "statement", TransactionRule.EACH_STATEMENT),
    ],
)
def test_how_a_file_is_sent_follows_version_and_engine(
    fake: Fake, version: str, engine: str, mode: str, rule: TransactionRule
) -> None:
    environment = {"OFFLINE_ENGINE_TRANSACTIONS": mode} if mode else {}
    project = Project(
        fake(version), engine=engine, engine_path=Path(__file__), environment=environment
    )  # type: ignore[arg-type]
    assert project.transaction_rule is rule
    told = project.variables().get("OFFLINE_ENGINE_TRANSACTIONS")
    assert engine == "installed" or told == (
        "statement" if rule is TransactionRule.EACH_STATEMENT else "file"
    )


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder.*\n→ set `prisma: project:`"):
        Project(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "gone, message",
    [
        ("package.json", "has no package.json"),
        ("node_modules/prisma/package.json", "Prisma is not installed.*\n→ run `npm ci`"),
        ("prisma/schema.prisma", "there is no Prisma schema"),
        ("prisma/migrations", "there is no folder of migrations"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(fake: Fake, gone: str, message: str) -> None:
    folder = fake()
    (folder / gone).rename(folder / "elsewhere")
    with pytest.raises(UsageError, match=message):
        Project(folder)


@pytest.mark.parametrize(
    "version, message",
    [
        ("8.0.0", "another command"),
        ("9.1.0-dev.3", "another command"),
        ("4.16.2", "knows Prisma 5 to 7"),
    ],
)
def test_other_majors_are_refused(fake: Fake, version: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Project(fake(version))


def test_a_parameter_that_contradicts_the_config_is_refused(fake: Fake) -> None:
    folder = fake()
    (folder / "other").mkdir()
    with pytest.raises(
        UsageError, match="the Prisma CLI uses prisma/migrations, as prisma.config.ts says"
    ):
        Project(folder, migrations=Path("other"))
    with pytest.raises(
        UsageError,
        match="reads the URL from DATABASE_URL, not from DIRECT_URL.*\n"
        "→ set `prisma: url_variable: DATABASE_URL`",
    ):
        Project(folder, url_variable="DIRECT_URL")


def test_an_offline_engine_that_is_not_there_is_refused(fake: Fake) -> None:
    with pytest.raises(UsageError, match="no offline schema engine"):
        Project(fake(), engine="offline", engine_path=Path("/nowhere/engine.mjs"))


FOLDER = {"prisma/schema.prisma": SCHEMA, "prisma/visit.prisma": "model Visit {\n  id Int @id\n}\n"}
PATHS = "import path from 'node:path'\n"
PLACES = [
    (
        "computed places",
        PATHS + "export default { schema: path.join(__dirname, 'prisma'), migrations: { path: "
        "path.join('db', 'migrations') }, datasource: { url: process.env.DATABASE_URL } }",
        {"prisma.config.ts": "", **FOLDER},
        ("prisma", "db/migrations", "DATABASE_URL"),
    ),
    (
        "the folder .config, relative to itself",
        "export default { schema: '../database/schema.prisma', datasource: { url: "
        "process.env['DB_URL'] } }",
        {".config/prisma.ts": "", "database/schema.prisma": SCHEMA},
        ("database/schema.prisma", "database/migrations", "DB_URL"),
    ),
    (
        "CommonJS, a chain of variables of which the first is not set",
        "module.exports = { datasource: { url: process.env.DIRECT_URL ?? process.env.DATABASE_URL "
        "} }",
        {"prisma.config.cjs": ""},
        ("prisma/schema.prisma", "prisma/migrations", "DATABASE_URL"),
    ),
    (
        "a variable from a file of variables, which overrides",
        "process.env.DIRECT_URL = process.env.DIRECT_URL ?? 'postgresql://u:p@elsewhere/db'\n"
        "export default { datasource: { url: process.env.DIRECT_URL ?? process.env.DATABASE_URL } "
        "}",
        {"prisma.config.mjs": ""},
        ("prisma/schema.prisma", "prisma/migrations", "DIRECT_URL"),
    ),
    (
        "migrations beside the file with the datasource",
        "export default { schema: './db', datasource: { url: process.env.DATABASE_URL } }",
        {
            "prisma.config.mts": "",
            "db/models/visit.prisma": FOLDER["prisma/visit.prisma"],
            "db/base/base.prisma": SCHEMA,
        },
        ("db", "db/base/migrations", "DATABASE_URL"),
    ),
    (
        "it prints, and leaves a timer behind",
        "console.log('[dotenv] injecting'); setInterval(() => {}, 1000)\n"
        "export default async () => ({ datasource: { url: process.env.DATABASE_URL } })",
        {"prisma.config.js": ""},
        ("prisma/schema.prisma", "prisma/migrations", "DATABASE_URL"),
    ),
]


@pytest.mark.parametrize("what, text, files, expected", PLACES, ids=[case[0] for case in PLACES])
def test_a_configuration_is_read_as_prisma_reads_it(
    fake: Fake, what: str, text: str, files: dict[str, str], expected: tuple[str, str, str]
) -> None:
    folder = fake(config="")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content or text)
    (folder / expected[1]).mkdir(parents=True, exist_ok=True)
    project = Project(folder)
    assert (project.schema, project.migrations) == (folder / expected[0], folder / expected[1])
    assert project.url_variable == expected[2]


@pytest.mark.parametrize(
    "text, message",
    [
        ("export default { schema: ", "Prisma cannot load prisma.config.ts: ConfigLoadError"),
        (
            "export default { shema: 'prisma' }",
            "Prisma cannot load prisma.config.ts: ConfigFileSynt",
        ),
        (
            "import 'not-installed'\nexport default {}",
            "Cannot find (package|module) 'not-installed'",
        ),
        (
            "if (!process.env.SECRET_FILE) throw new Error('SECRET_FILE is not set')\n"
            "export default {}",
            "SECRET_FILE is not set.*\n"
            "→ what it needs of the environment goes under `prisma: environment:`",
        ),
        (
            "export default { datasource: { url: `postgresql://u@${process.env.HOST_OF_DB}/db` } }",
            "prisma.config.ts has a URL that no single environment variable sets",
        ),
        ("export default { schema: 'prisma/schema.prisma' }", "does not say where Prisma gets"),
        (
            "export default { schema: 'gone' }",
            "no Prisma schema at .*gone, which prisma.config.ts names",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_in_prismas_words(
    fake: Fake, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Project(fake(config=text))


@pytest.mark.parametrize(
    "schema, message",
    [
        ('datasource db {\n  provider = "mysql"\n}\n', "is of mysql database"),
        ("model A {\n  id Int @id\n}\n", "is of no kind of database"),
    ],
)
def test_another_kind_of_database_is_refused(fake: Fake, schema: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Project(fake(schema=schema))


def test_a_url_written_into_the_schema_is_refused(fake: Fake) -> None:
    folder = fake("6.19.0", config="")
    (folder / "prisma/schema.prisma").write_text(
        SCHEMA.replace("}", '  url = "postgresql://u@h/d"\n}')
    )
    with pytest.raises(UsageError, match="has the database's URL written into it"):
        Project(folder)


def test_plug_and_play_is_refused_clearly(fake: Fake) -> None:
    folder = fake()
    (folder / "node_modules").rename(folder / "elsewhere")
    (folder / ".pnp.cjs").touch()
    with pytest.raises(UsageError, match="Yarn Plug'n'Play.*\n→ set `nodeLinker: node-modules`"):
        Project(folder)


def test_prisma_linked_from_a_store_has_its_own_packages(fake: Fake, tmp_path: Path) -> None:
    folder = fake()
    store = tmp_path / "store/node_modules"
    store.mkdir(parents=True)
    for name in ("prisma", "@prisma"):
        (folder / "node_modules" / name).rename(store / name)
    (folder / "node_modules/prisma").symlink_to(store / "prisma")
    (store / "@prisma/engines/package.json").write_text("{}")
    (store / "@prisma/engines/schema-engine-debian").touch()
    project = Project(folder)
    assert project.url_variable == "DATABASE_URL"
    assert {item.id for item in project.checks() if item.status.value == "passed"} >= {
        "prisma.engine"
    }


@pytest.mark.parametrize("version", ["5.22.0", "6.5.0"])
def test_a_prisma_without_an_engine_in_webassembly_is_refused_where_it_shall_run_offline(
    fake: Fake, version: str
) -> None:
    with pytest.raises(
        UsageError, match=f"Prisma {version} has no engine in WebAssembly.*from Prisma 6.6 on"
    ):
        Project(fake(version, config=""), engine="offline")


def test_an_engine_of_another_version_is_not_taken(fake: Fake) -> None:
    folder = fake("6.19.0", config="")
    (folder / "node_modules/@prisma/schema-engine-wasm/package.json").write_text(
        '{"version": "6.6.0-5.x"}'
    )
    with pytest.raises(
        UsageError, match="of Prisma 6.19.0 is not installed\n→ .*`runbook engine .*project`"
    ):
        Project(folder, engine="offline")


CLIENT = 'generator client {\n  provider = "prisma-client-js"\n%s}\n'
COMPILED = '  engineType = "client"\n'


@pytest.mark.parametrize(
    ("version", "generator", "there", "lines", "absent"),
    [
        (
            "6.19.0",
            CLIENT % "",
            False,
            (
                'engine: "offline"  # no schema engine is installed; first: `runbook engine',
                "generate: false  # client needs Prisma's query engine",
            ),
            (),
        ),
        (
            "6.19.0",
            CLIENT % COMPILED,
            True,
            ('engine: "offline"  # no schema engine is installed',),
            ("generate: false", "runbook engine"),
        ),
        (
            "6.5.0",
            CLIENT % "",
            False,
            (
                'engine: "installed"  # none is there: run `npx prisma version`',
                "npm has none in WebAssembly of Prisma 6.5.0",
            ),
            ("runbook engine", "generate: false"),
        ),
        (
            "7.4.0",
            CLIENT % "",
            False,
            ('engine: "offline"', "runbook engine"),
            ("generate: false",),
        ),
    ],
)
def test_a_draft_says_which_engine_is_missing_and_what_installs_it(
    fake: Fake,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    version: str,
    generator: str,
    there: bool,
    lines: tuple[str, ...],
    absent: tuple[str, ...],
) -> None:
    folder = fake(version, config=CONFIG if version > "7" else "", schema=SCHEMA + generator)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(engine, "CACHE", tmp_path / "none")
    monkeypatch.setattr(engine, "SAMPLE", tmp_path / "none") if not there else None
    if not there:
        (folder / "node_modules/@prisma/schema-engine-wasm/package.json").unlink()
    made = draft.draft(folder, "staging")
    for line in lines:
        assert line in made.text
    for line in absent:
        assert line not in made.text
    assert made.install == (f"runbook engine {folder}" if "runbook engine" in made.text else "")


def test_an_unknown_transaction_mode_is_refused(fake: Fake) -> None:
    project = Project(
        fake(),
        engine="offline",
        engine_path=Path(__file__),
        environment={"OFFLINE_ENGINE_TRANSACTIONS": "maybe"},
    )
    with pytest.raises(UsageError, match='"file" or "statement"'):
        print(project.transaction_rule)


def test_a_schema_folder_and_a_place_in_package_json_are_found(fake: Fake) -> None:
    folder = fake("6.19.0", config="", package={"prisma": {"schema": "db/schema"}})
    (folder / "db/schema/migrations/1_a").mkdir(parents=True)
    (folder / "db/schema/main.prisma").write_text(
        'datasource db {\n  provider = "postgresql"\n  url = env("POOLED") // env("OLD")\n  '
        'directUrl = env("DIRECT")\n'
        "}\n"
    )
    project = Project(folder)
    assert (
        project.schema == folder / "db/schema"
        and project.migrations == folder / "db/schema/migrations"
        and project.url_variable == "POOLED"
    )
    variables = project.variables("postgresql://u@h/d")
    assert variables["POOLED"] == variables["DIRECT"] == "postgresql://u@h/d"
    assert "OLD" not in variables


@pytest.mark.parametrize(
    ("version", "place"),
    [("5.22.0", "db"), ("6.5.0", "db"), ("6.6.0", "db/schema"), ("6.19.0", "db/schema")],
)
def test_the_migrations_of_a_schema_folder_lie_where_its_version_of_prisma_looks(
    fake: Fake, version: str, place: str
) -> None:
    folder = fake(version, config="", package={"prisma": {"schema": "db/schema"}})
    for one in ("db", "db/schema"):
        (folder / one / "migrations").mkdir(parents=True)
    (folder / "db/schema/main.prisma").write_text(
        'datasource db {\n  provider = "postgresql"\n  url = env("DATABASE_URL")\n}\n'
    )
    assert Project(folder).migrations == folder / place / "migrations"


def test_prisma_of_a_workspace_is_found_above_the_project(fake: Fake, tmp_path: Path) -> None:
    folder = fake()
    (folder / "node_modules").rename(tmp_path / "node_modules")
    assert Project(folder).program == tmp_path / "node_modules" / ".bin" / "prisma"


def test_a_migration_folder_without_sql_is_refused(fake: Fake) -> None:
    folder = fake()
    (folder / "prisma/migrations/2_empty").mkdir()
    with pytest.raises(UsageError, match="2_empty has no migration.sql"):
        history.files(Project(folder))


def test_another_version_than_the_locked_one_fails_a_check(fake: Fake) -> None:
    folder = fake()
    assert Project(folder).checks().unknown[0].id == "prisma.locked"
    (folder / "package-lock.json").write_text(
        json.dumps({"packages": {"node_modules/prisma": {"version": "7.9.0"}}})
    )
    failed = {item.id: item for item in Project(folder).checks().failed}
    assert failed["prisma.locked"].expected == "7.9.0" and "prisma.engine" in failed


@pytest.mark.parametrize(
    "name, text, version",
    [
        (
            "package-lock.json",
            '{"packages": {"node_modules/prisma": {"version": "7.1.0"}}}',
            "7.1.0",
        ),
        ("package-lock.json", '{"dependencies": {"prisma": {"version": "5.1.0"}}}', "5.1.0"),
        ("package-lock.json", '{"packages": {}}', None),
        (
            "pnpm-lock.yaml",
            "importers:\n  .:\n    devDependencies:\n      prisma:\n        specifier: "
            "^7\n        version: 7.2.0(typescript@5)\n",
            "7.2.0",
        ),
        ("pnpm-lock.yaml", "devDependencies:\n  prisma: 5.2.0\n", "5.2.0"),
        (
            "pnpm-lock.yaml",
            "importers:\n  other:\n    dependencies:\n      prisma:\n        version: 5.0.0\n"
            "  package:\n    dependencies:\n      prisma:\n        version: 7.3.0\n",
            "7.3.0",
        ),
        (
            "package-lock.json",
            '{"packages": {"node_modules/prisma": {"version": "5.1.0"}, '
            '"package/node_modules/prisma": {"version": "7.4.0"}}}',
            "7.4.0",
        ),
        ("yarn.lock", 'prisma@^6.0.0:\n  version "6.3.0"\n  resolved "x"\n', "6.3.0"),
        ("yarn.lock", '"prisma@npm:^6":\n  version: 6.4.0\n', "6.4.0"),
        ("bun.lock", '{"packages": {"prisma": ["prisma@6.5.0", "", {}]}}', "6.5.0"),
    ],
)
def test_each_lock_file_is_read(tmp_path: Path, name: str, text: str, version: str | None) -> None:
    (tmp_path / name).write_text(text)
    assert lockfile.locked((tmp_path / "package", tmp_path))[0] == version


def test_a_broken_lock_file_is_refused_and_a_missing_one_is_not(tmp_path: Path) -> None:
    assert lockfile.locked((tmp_path,)) == (None, None)
    (tmp_path / "package-lock.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        lockfile.locked((tmp_path,))
