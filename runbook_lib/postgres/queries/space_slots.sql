-- Which replication slots keep write-ahead log (bytes), and are they in use?
SELECT slot_name::text AS name, quote_literal(slot_name) AS literal, active, coalesce(wal_status, 'unknown') AS state,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS bytes,
       CASE WHEN NOT active THEN pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::bigint END AS frees
FROM pg_replication_slots
WHERE restart_lsn IS NOT NULL
ORDER BY 5 DESC;
