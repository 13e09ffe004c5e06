-- Which sessions are in which database? Autovacuum leaves by itself where a database is renamed or dropped. Of the sessions of
-- other roles a role without pg_read_all_stats sees no kind: they are clients' where a role has logged in.
SELECT a.pid, a.datname::text AS database, a.usename::text AS "user", a.application_name AS application
FROM pg_stat_activity AS a
WHERE a.datname IS NOT NULL AND a.pid <> pg_backend_pid() AND coalesce(a.backend_type NOT IN ('autovacuum worker', 'parallel worker'), a.usesysid IS NOT NULL)
ORDER BY 1;
