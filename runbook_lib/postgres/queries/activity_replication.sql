-- Which standbys and replication slots are there, and how far behind (bytes, seconds) are they? What keeps WAL without
-- replaying it is behind by what it has not written.
WITH here AS (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn)
SELECT 'standby' AS kind, r.application_name AS name, r.state, (r.sync_state = 'sync') AS synchronous,
       pg_wal_lsn_diff(here.lsn, coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn))::bigint AS behind_bytes,
       extract(epoch FROM r.replay_lag)::float8 AS behind_s
FROM pg_stat_replication AS r CROSS JOIN here
UNION ALL
SELECT s.slot_type || ' slot', s.slot_name::text, CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL,
       pg_wal_lsn_diff(here.lsn, s.restart_lsn)::bigint, NULL
FROM pg_replication_slots AS s CROSS JOIN here
WHERE NOT s.temporary AND (s.database IS NULL OR s.database = current_database())
ORDER BY 1, 2;
