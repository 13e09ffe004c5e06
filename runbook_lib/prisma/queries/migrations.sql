-- Which migrations has Prisma applied to this database, which were begun and not finished, which rolled back?
-- In psql write public._prisma_migrations for the name in braces. `logs` can quote rows: show no more than its first line.
SELECT id, checksum, finished_at, migration_name, logs, rolled_back_at, started_at, applied_steps_count
FROM {table}
ORDER BY started_at, migration_name
