-- Which sessions are in which database? Autovacuum leaves by itself where a database is renamed or dropped.
SELECT a.pid, a.datname::text AS database, a.usename::text AS "user", a.application_name AS application
FROM pg_stat_activity AS a
WHERE a.datname IS NOT NULL AND a.pid <> pg_backend_pid() AND a.backend_type NOT IN ('autovacuum worker', 'parallel worker')
ORDER BY 1;
