-- How large is each table (bytes), how many rows does the planner think it has, and how was it read and written?
-- n_live_tup is 0 after a reset of the statistics, reltuples is -1 before the first ANALYZE: both are estimates.
SELECT format('%I.%I', s.schemaname, s.relname) AS name,
       pg_table_size(s.relid) AS table_bytes, pg_indexes_size(s.relid) AS index_bytes,
       nullif(c.reltuples, -1)::bigint AS estimated_rows, s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows,
       s.seq_scan AS sequential_scans, s.seq_tup_read AS rows_read_sequentially, coalesce(s.idx_scan, 0) AS index_scans,
       s.n_tup_ins AS inserted, s.n_tup_upd AS updated, s.n_tup_del AS deleted,
       greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at, greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at
FROM pg_stat_user_tables AS s
JOIN pg_class AS c ON c.oid = s.relid
WHERE s.schemaname !~ '^pg_'
ORDER BY table_bytes DESC, 1;
