-- Who is connected, doing what, since when (seconds), and waiting for what? Never the text of a statement: it may hold
-- data; only the word that it begins with.
SELECT a.pid, a.usename::text AS "user", a.datname::text AS database, a.application_name AS application,
       coalesce(host(a.client_addr), 'local') AS client, coalesce(a.state, a.backend_type) AS state, a.backend_type,
       extract(epoch FROM clock_timestamp() - a.backend_start)::float8 AS connected_s,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_s,
       extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS statement_s,
       extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS state_s,
       CASE WHEN a.wait_event_type IS NOT NULL THEN a.wait_event_type || ': ' || a.wait_event END AS waits_for,
       upper(substring(a.query FROM '(?i)^[\s(]*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|COPY|VALUES|TABLE|CREATE|ALTER|DROP|TRUNCATE|COMMENT|GRANT|REVOKE|REINDEX|CLUSTER|VACUUM|ANALYZE|REFRESH|LOCK|CALL|DO|BEGIN|START|COMMIT|ROLLBACK|END|ABORT|SAVEPOINT|RELEASE|PREPARE|EXECUTE|DEALLOCATE|DECLARE|FETCH|MOVE|CLOSE|SET|RESET|SHOW|EXPLAIN|LISTEN|NOTIFY|UNLISTEN|DISCARD|CHECKPOINT)\M')) AS command
FROM pg_stat_activity AS a
WHERE a.backend_type IN ('client backend', 'walsender', 'autovacuum worker', 'parallel worker') AND a.pid <> pg_backend_pid()
ORDER BY a.xact_start NULLS LAST, a.pid;
