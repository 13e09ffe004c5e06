-- How many bytes of write-ahead log has each session of this database written? From PostgreSQL 18 on; up to ten seconds late.
SELECT a.pid, w.wal_bytes::bigint AS bytes
FROM pg_stat_activity AS a CROSS JOIN LATERAL pg_stat_get_backend_wal(a.pid) AS w
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND w.wal_bytes IS NOT NULL;
