-- Where in its WAL does this server stand, in which segment, and what time is it there? (A standby names no segment.)
SELECT w.lsn::text AS lsn, CASE WHEN w.standby THEN '' ELSE pg_walfile_name(w.lsn) END AS segment, clock_timestamp() AS time
FROM (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END AS lsn, pg_is_in_recovery() AS standby) AS w;
