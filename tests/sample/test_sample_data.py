"""The fictitious data, and the script that validates it."""

from __future__ import annotations

import psycopg
import pytest

CONTENT = """
SELECT md5(string_agg(part, '' ORDER BY part)) FROM (
  SELECT md5(t::text) AS part FROM "User" t UNION ALL SELECT md5(t::text) FROM "Patient" t
  UNION ALL SELECT md5(t::text) FROM "Provider" t UNION ALL SELECT md5(t::text) FROM "Appointment" t
  UNION ALL SELECT md5(t::text) FROM "Subscription" t) AS parts"""


def test_the_same_data_is_made_each_time(platform, deployed_database, query):
    first = query(deployed_database, CONTENT)
    query(deployed_database, 'TRUNCATE "User" CASCADE')
    done = platform.npm("db:seed", "--rows", "2000", url=deployed_database)
    assert done.returncode == 0 and "appointments: 2000 rows" in done.stdout
    assert query(deployed_database, CONTENT) == first


def test_filling_a_table_keeps_its_indexes_and_foreign_keys(deployed_database, query):
    constraints = (
        "SELECT conname FROM pg_constraint WHERE conrelid = '\"Appointment\"'::regclass "
        "AND contype = 'f' AND convalidated"
    )
    assert len(query(deployed_database, constraints)) == 3
    assert (
        len(
            query(
                deployed_database,
                "SELECT indexname FROM pg_indexes WHERE tablename = 'Appointment'",
            )
        )
        == 3
    )


def test_statistics_are_there_after_the_seed(deployed_database, query):
    assert query(
        deployed_database, "SELECT reltuples FROM pg_class WHERE relname = 'Appointment'"
    ) == [2000]


def test_everybody_is_obviously_fictitious(deployed_database, query):
    real = (
        "SELECT count(*) FROM \"User\" WHERE name NOT LIKE 'Fictitious %' "
        "OR email NOT LIKE 'fictitious.%@example.invalid'"
    )
    assert query(deployed_database, real) == [0]


def test_a_filled_database_is_not_filled_again(platform, deployed_database):
    refused = platform.npm("db:seed", url=deployed_database)
    assert refused.returncode == 2 and "only an empty one is filled" in refused.stdout


@pytest.mark.parametrize("rows", ["0", "many", "1.5"])
def test_a_wrong_number_of_rows_is_refused(platform, rows):
    refused = platform.npm("db:seed", "--rows", rows, url="")
    assert refused.returncode == 2 and "--rows must be a whole number" in refused.stdout


def test_valid_data_passes(platform, deployed_database):
    passed = platform.npm("db:validate", url=deployed_database)
    assert passed.returncode == 0, passed.stdout
    assert "Appointment: 2000 rows" in passed.stdout and "All 14 checks passed." in passed.stdout


def test_a_planted_orphan_is_found_and_counted_but_not_shown(platform, deployed_database):
    with psycopg.connect(deployed_database) as connection:
        connection.execute('ALTER TABLE "Subscription" DROP CONSTRAINT "Subscription_userId_fkey"')
        connection.execute(
            'UPDATE "Subscription" SET "userId" = \'nobody-at-all\' WHERE "id" LIKE \'%000000002\''
        )
    failed = platform.npm("db:validate", url=deployed_database)
    assert failed.returncode == 1 and "FAIL Subscription.userId names a User: 1" in failed.stdout
    assert "1 of 14 checks failed." in failed.stdout and "nobody-at-all" not in failed.stdout


def test_a_database_that_cannot_be_asked_is_not_valid(platform):
    failed = platform.npm("db:validate", url="postgresql://postgres:a-secret@127.0.0.1:1/none")
    assert (
        failed.returncode == 2
        and "Can't reach database server" in failed.stdout
        and "a-secret" not in failed.stdout
    )
