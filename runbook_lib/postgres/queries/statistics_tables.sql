-- How large is each table (bytes, with what is toasted; its indexes are counted by themselves), how many rows does the
-- planner think it has, and how was it read and written? n_live_tup is 0 after a reset of the statistics, reltuples is -1
-- before the first ANALYZE: both are estimates. (One pg_relation_size a relation: pg_table_size takes twice as long.)
SELECT format('%I.%I', s.schemaname, s.relname) AS name,
       pg_relation_size(s.relid) + coalesce(toast.bytes + CASE WHEN toast.bytes > 0 THEN pg_indexes_size(c.reltoastrelid) ELSE 0 END, 0) AS table_bytes,
       nullif(c.reltuples, -1)::bigint AS estimated_rows, s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows,
       s.seq_scan AS sequential_scans, s.seq_tup_read AS rows_read_sequentially, coalesce(s.idx_scan, 0) AS index_scans,
       s.n_tup_ins AS inserted, s.n_tup_upd AS updated, s.n_tup_del AS deleted,
       greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at, greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at
FROM pg_stat_user_tables AS s
JOIN pg_class AS c ON c.oid = s.relid
CROSS JOIN LATERAL (SELECT pg_relation_size(nullif(c.reltoastrelid, 0)) AS bytes OFFSET 0) AS toast
WHERE s.schemaname !~ '^pg_'
ORDER BY table_bytes DESC, 1;
